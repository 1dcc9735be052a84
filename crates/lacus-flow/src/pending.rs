//! One table's rows that are visible and not frozen for a commit.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use lacus_core::{Error, Result};
use lacus_lake::conform::conform;
use lacus_lake::{Table, TableAppend, TableSchema, TailBatch};

/// Small tail batches are merged up to this many rows, so that a scan meets few batches. As many as a query works on at once:
/// what a turn has when it lags stays as it is.
const MERGED_ROWS_MAX: usize = 8_192;
/// And up to this much memory: copying more would delay what comes next.
const MERGED_BYTES_MAX: usize = 8 << 20;

/// The uncommitted rows that a delivery has made visible in one table.
pub(crate) struct Pending {
    table: Arc<Table>,
    schema: TableSchema,
    /// How many batches at the end of the table's tail are not frozen. Frozen batches before them are removed when their
    /// commit ends, so these are counted from the end.
    batches: usize,
}

impl Pending {
    /// A table whose tail is empty.
    pub(crate) fn new(table: Arc<Table>) -> Self {
        let schema = TableSchema::clone(&table.state().schema);
        Self { table, schema, batches: 0 }
    }

    /// Whether it is this table, with the columns that it has now. While it has rows that are not committed it stays as it is: if
    /// somebody else changed the table all the same, their commit tells.
    pub(crate) fn is_of(&self, table: Option<&Arc<Table>>) -> bool {
        let state = self.table.state();
        let is_same = |table: &Arc<Table>| Arc::ptr_eq(table, &self.table) && *state.schema == self.schema;
        !state.tail.is_empty() || table.is_some_and(is_same)
    }

    /// The columns that the next rows are decoded with.
    pub(crate) fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// Memory of all uncommitted rows, frozen ones too.
    pub(crate) fn bytes(&self) -> u64 {
        self.table.state().tail.iter().map(|batch| batch.bytes as u64).sum()
    }

    /// Shows rows; together with all pending rows decoded again, if a column became wider.
    pub(crate) fn show(&mut self, schema: TableSchema, rows: Vec<RecordBatch>, decoded_again: Option<Vec<TailBatch>>) {
        self.schema = schema;
        let rows = rows.into_iter().filter(|rows| rows.num_rows() > 0).map(tail_batch);
        if let Some(mut batches) = decoded_again {
            batches.extend(rows);
            self.replace_last(self.batches, batches);
            return;
        }
        for batch in rows {
            self.table.append_tail(&self.schema, batch);
            self.batches += 1;
        }
    }

    /// Ends the part of the tail that the next commit takes. From here on the types of its columns are final.
    pub(crate) fn freeze(&mut self) -> TableAppend {
        self.schema.pin();
        self.batches = 0;
        let batches = self.table.state().tail.len();
        TableAppend { table: Arc::clone(&self.table), schema: self.schema.clone(), batches }
    }

    /// Whether a commit would have rows of this table.
    pub(crate) fn has_rows(&self) -> bool {
        self.batches > 0
    }

    /// Merges batches at the end of the tail so that sizes grow, as in a log-structured merge tree: a row is copied O(log n)
    /// times.
    pub(crate) fn merge_small_batches(&mut self) {
        let state = self.table.state();
        let (mut count, mut rows, mut bytes) = (0, 0, 0);
        for batch in state.tail.iter().rev().take(self.batches) {
            let more = batch.rows.num_rows();
            let is_full = rows + more > MERGED_ROWS_MAX || bytes + batch.bytes > MERGED_BYTES_MAX;
            if is_full || (rows > 0 && more > 2 * rows) {
                break;
            }
            rows += more;
            bytes += batch.bytes;
            count += 1;
        }
        if count < 2 {
            return;
        }
        match merged(&state.tail[state.tail.len() - count..], &state.arrow_schema) {
            Ok(merged) => self.replace_last(count, vec![tail_batch(merged)]),
            Err(error) => tracing::warn!(error = %error.chain(), "batches of the tail stay as they are"),
        }
    }

    fn replace_last(&mut self, count: usize, batches: Vec<TailBatch>) {
        self.batches = self.batches - count + batches.len();
        self.table.replace_end_of_tail(&self.schema, count, batches);
    }
}

fn merged(batches: &[Arc<TailBatch>], schema: &SchemaRef) -> Result<RecordBatch> {
    let batches = batches.iter().map(|batch| conform(&batch.rows, schema)).collect::<Result<Vec<_>>>()?;
    concat_batches(schema, &batches).map_err(|error| Error::internal("merge batches of the tail").with_source(error))
}

/// Rows as a batch of the tail, without spare capacity: with hundreds of tables a turn has few rows for each, and the
/// capacity left over from decoding would be many times what they take.
pub(crate) fn tail_batch(rows: RecordBatch) -> TailBatch {
    let count = rows.num_rows();
    let (schema, mut columns, _) = rows.into_parts();
    columns.iter_mut().for_each(Array::shrink_to_fit);
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let rows = RecordBatch::try_new_with_options(schema, columns, &options)
        .expect("these columns were a batch of this schema above");
    TailBatch { bytes: rows.get_array_memory_size(), rows }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lacus_core::{Offset, Partition, Position, Record, SystemClock, TableName, Timestamp};
    use lacus_lake::Lake;
    use lacus_lake::decode::decode;

    use super::*;

    /// How many rows the batches of a tail have after turns with so many rows.
    async fn rows_of_batches(turns: &[u64]) -> Vec<usize> {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake::open(directory.path(), Arc::new(SystemClock)).await.unwrap();
        let table = lake.create_table(&TableName::new("clicks").unwrap(), TableSchema::empty()).await.unwrap();
        let mut pending = Pending::new(Arc::clone(&table));
        for rows in turns {
            let records: Vec<Record> = (0..*rows).map(record).collect();
            let decoded = decode(&records, pending.schema()).unwrap();
            pending.show(decoded.schema, vec![decoded.rows], None);
            pending.merge_small_batches();
        }
        table.state().tail.iter().map(|batch| batch.rows.num_rows()).collect()
    }

    fn record(offset: u64) -> Record {
        Record {
            position: Position { partition: Partition(0), offset: Offset(offset) },
            received_at: Timestamp::from_micros(0),
            key: None,
            id: None,
            value: Bytes::from_static(b"{\"a\":1}"),
        }
    }

    #[tokio::test]
    async fn small_batches_are_merged_and_large_ones_stay() {
        assert_eq!(rows_of_batches(&[5_000, 5_000, 5_000]).await, [5_000, 5_000, 5_000]);
        let merged = rows_of_batches(&[100; 200]).await;
        assert_eq!(merged.iter().sum::<usize>(), 20_000);
        assert!(merged.len() <= 8 && merged.iter().all(|rows| *rows <= MERGED_ROWS_MAX), "{merged:?}");
    }
}
