//! Records that a query waits for, decoded by two threads: while it waits, there is little else to do.

use std::panic::resume_unwind;
use std::thread;

use arrow::array::RecordBatch;
use lacus_core::settings::Contract;
use lacus_core::{Record, Result};
use lacus_lake::TableSchema;
use lacus_lake::decode::{Decoded, Rejected, decode_under};

/// To begin a thread for fewer records would save nothing.
const RECORDS_LEAST: usize = 512;

/// What became of records, as [`Decoded`], with their rows in one batch or in two.
pub(crate) struct Parts {
    pub(crate) rows: Vec<RecordBatch>,
    pub(crate) schema: TableSchema,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) widened: bool,
}

impl From<Decoded> for Parts {
    fn from(Decoded { rows, schema, rejected, widened }: Decoded) -> Self {
        Self { rows: vec![rows], schema, rejected, widened }
    }
}

/// Decodes records as [`decode_under`] does; with a second thread if somebody waits for them.
///
/// # Errors
/// As [`decode_under`].
pub(crate) fn decode_in_parts(
    records: &[Record],
    schema: &TableSchema,
    contract: Contract,
    is_awaited: bool,
) -> Result<Parts> {
    if is_awaited
        && records.len() >= RECORDS_LEAST
        && let Some(parts) = in_halves(records, schema, contract)?
    {
        return Ok(parts);
    }
    decode_under(records, schema, contract).map(Parts::from)
}

/// None if one half has to know what the other one brought.
fn in_halves(records: &[Record], schema: &TableSchema, contract: Contract) -> Result<Option<Parts>> {
    let middle = records.len() / 2;
    let (first, second) = records.split_at(middle);
    let (first, second) = thread::scope(|scope| {
        let second = scope.spawn(|| decode_under(second, schema, contract));
        let first = decode_under(first, schema, contract);
        (first, second.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let (first, second) = (first?, second?);
    // Columns of the first half are known to the second, and both have the same types.
    if first.schema != *schema || second.widened {
        return Ok(None);
    }
    let second_rejected = second.rejected.into_iter();
    let second_rejected = second_rejected.map(|rejected| Rejected { index: middle + rejected.index, ..rejected });
    Ok(Some(Parts {
        rows: vec![first.rows, second.rows],
        schema: second.schema,
        rejected: first.rejected.into_iter().chain(second_rejected).collect(),
        widened: false,
    }))
}

#[cfg(test)]
mod tests {
    use arrow::compute::concat_batches;
    use bytes::Bytes;
    use lacus_core::{Offset, Partition, Position, Timestamp};
    use lacus_lake::conform::conform;
    use lacus_lake::decode::decode;

    use super::*;

    fn records(count: u64, special: &[(u64, &'static str)]) -> Vec<Record> {
        let value = |number: u64| {
            let found = special.iter().find(|(place, _)| *place == number);
            found.map_or(r#"{"a":1,"b":"x"}"#, |(_, value)| *value)
        };
        let record = |number: u64| Record {
            position: Position { partition: Partition(0), offset: Offset(number) },
            received_at: Timestamp::from_micros(0),
            key: None,
            id: None,
            value: Bytes::from_static(value(number).as_bytes()),
        };
        (0..count).map(record).collect()
    }

    /// Decodes 1,000 records, of which some are special, and says in how many batches.
    #[track_caller]
    fn check(special: &[(u64, &'static str)]) -> usize {
        let known = decode(&records(1, &[]), &TableSchema::empty()).unwrap().schema;
        let records = records(1_000, special);
        let whole = decode(&records, &known).unwrap();
        let parts = decode_in_parts(&records, &known, Contract::Evolve, true).unwrap();
        assert_eq!((&parts.schema, parts.widened), (&whole.schema, whole.widened));
        assert_eq!(parts.rejected, whole.rejected);
        let schema = whole.rows.schema();
        let rows: Vec<RecordBatch> = parts.rows.iter().map(|rows| conform(rows, &schema).unwrap()).collect();
        assert_eq!(concat_batches(&schema, &rows).unwrap(), whole.rows);
        rows.len()
    }

    #[test]
    fn two_halves_are_what_the_whole_is() {
        assert_eq!(check(&[]), 2);
        assert_eq!(check(&[(3, "broken"), (700, "[]"), (999, "{}")]), 2, "what is no object is told with its place");
        assert_eq!(check(&[(10, r#"{"a":"rescued"}"#), (800, r#"{"b":2}"#)]), 2);
        assert_eq!(check(&[(900, r#"{"new":true}"#)]), 2, "the first half has nothing of it");
        assert_eq!(check(&[(100, r#"{"new":true}"#), (900, r#"{"new":"no"}"#)]), 1);
        assert_eq!(check(&[(900, r#"{"a":1.5}"#)]), 1, "the first half has fractions, too");
    }

    #[test]
    fn one_thread_is_enough_for_few_records_and_where_nobody_waits() {
        let known = decode(&records(1, &[]), &TableSchema::empty()).unwrap().schema;
        for (count, is_awaited) in [(100, true), (1_000, false)] {
            let parts = decode_in_parts(&records(count, &[]), &known, Contract::Evolve, is_awaited).unwrap();
            assert_eq!(parts.rows.len(), 1);
        }
    }
}
