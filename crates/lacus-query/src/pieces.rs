//! Pieces of an answer that whoever takes them can hold.
//!
//! Rows come by their number, thousands at once, however large they are; and many may show one long text without having it
//! more than once in memory. Files and clients get each of them written out, in columns and messages that end at 2 GiB.

use std::ops::Range;

use datafusion::arrow::array::{Array, AsArray, OffsetSizeTrait, RecordBatch};
use datafusion::arrow::datatypes::{ArrowNativeType, DataType};
use lacus_core::Kind;
use lacus_core::units::human_bytes;

use crate::error::SqlError;

/// Bytes of values that are given at once, if there is more than one row.
const PIECE_BYTES: usize = 64 << 20;
/// Bytes of values that a row may have. A byte becomes six at most, `\u0001` in JSON, and those fit into 2 GiB.
const ROW_BYTES_MAX: usize = 340 << 20;
/// Bytes that a value counts at least: as text it has no more than six times as many.
const VALUE_BYTES: usize = 8;

/// How many of the first rows are given at once; all of them, unless they are large.
///
/// # Errors
/// `54000` if the first one alone is too large.
pub(crate) fn rows_at_once(rows: &RecordBatch) -> Result<usize, SqlError> {
    let mut count = rows.num_rows();
    let mut bytes = bytes_of(rows, count);
    while count > 1 && bytes > PIECE_BYTES {
        count /= 2;
        bytes = bytes_of(rows, count);
    }
    if bytes <= ROW_BYTES_MAX {
        return Ok(count);
    }
    let (has, most) = (human_bytes(bytes as u64), human_bytes(ROW_BYTES_MAX as u64));
    Err(SqlError::new(Kind::Limited, "54000", format!("a row of the answer has {has}: {most} is the most"))
        .with_hint("select fewer columns, or bring less together in one value"))
}

fn bytes_of(rows: &RecordBatch, count: usize) -> usize {
    rows.columns().iter().map(|column| bytes_in(column, 0..count)).fold(0, usize::saturating_add)
}

/// Bytes of some of the values of a column, each of them written out.
fn bytes_in(values: &dyn Array, rows: Range<usize>) -> usize {
    if rows.is_empty() {
        return 0;
    }
    let each = VALUE_BYTES.saturating_mul(rows.len());
    let more = match values.data_type() {
        DataType::Utf8 => within(values.as_string::<i32>().value_offsets(), rows).len(),
        DataType::LargeUtf8 => within(values.as_string::<i64>().value_offsets(), rows).len(),
        DataType::Binary => within(values.as_binary::<i32>().value_offsets(), rows).len(),
        DataType::LargeBinary => within(values.as_binary::<i64>().value_offsets(), rows).len(),
        DataType::Utf8View => lengths(&values.as_string_view().views()[rows]),
        DataType::BinaryView => lengths(&values.as_binary_view().views()[rows]),
        DataType::List(_) => {
            let lists = values.as_list::<i32>();
            bytes_in(lists.values(), within(lists.value_offsets(), rows))
        }
        DataType::LargeList(_) => {
            let lists = values.as_list::<i64>();
            bytes_in(lists.values(), within(lists.value_offsets(), rows))
        }
        DataType::Map(..) => {
            let maps = values.as_map();
            bytes_in(maps.entries(), within(maps.value_offsets(), rows))
        }
        DataType::FixedSizeList(_, length) => {
            let length = length.as_usize();
            bytes_in(values.as_fixed_size_list().values(), rows.start * length..rows.end * length)
        }
        DataType::Struct(fields) => {
            let names: usize = fields.iter().map(|field| field.name().len()).sum();
            let columns = values.as_struct().columns().iter().map(|column| bytes_in(column, rows.clone()));
            columns.fold(names.saturating_mul(rows.len()), usize::saturating_add)
        }
        DataType::Dictionary(..) => {
            let named = values.as_any_dictionary().values();
            let largest = (0..named.len()).map(|value| bytes_in(named, value..value + 1)).max();
            largest.unwrap_or_default().saturating_mul(rows.len())
        }
        DataType::FixedSizeBinary(bytes) => bytes.as_usize().saturating_mul(rows.len()),
        kind => kind.primitive_width().unwrap_or_default().saturating_mul(rows.len()),
    };
    each.saturating_add(more)
}

fn within<O: OffsetSizeTrait>(offsets: &[O], rows: Range<usize>) -> Range<usize> {
    offsets[rows.start].as_usize()..offsets[rows.end].as_usize()
}

/// What the values have whose places these are: the first four bytes of each say how many.
fn lengths(views: &[u128]) -> usize {
    views.iter().map(|view| *view as u32 as usize).fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, Int64Array, ListArray, StringArray, StringViewArray, StringViewBuilder, StructArray,
    };
    use datafusion::arrow::buffer::{Buffer, OffsetBuffer};
    use datafusion::arrow::datatypes::{Field, Fields};

    use super::*;

    /// Rows that all show one text of a megabyte.
    fn shared(rows: usize) -> StringViewArray {
        let mut texts = StringViewBuilder::new();
        let block = texts.append_block(Buffer::from(vec![b'x'; 1 << 20]));
        for _ in 0..rows {
            texts.try_append_view(block, 0, 1 << 20).unwrap();
        }
        texts.finish()
    }

    #[track_caller]
    fn check(column: ArrayRef, expected: Result<usize, &str>) {
        let rows = RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap();
        let count = rows_at_once(&rows).map_err(|error| format!("{} {}", error.sqlstate(), error.message()));
        assert_eq!(count, expected.map_err(str::to_owned));
    }

    #[test]
    fn rows_come_together_unless_they_are_large() {
        check(Arc::new(Int64Array::from(vec![1; 8192])), Ok(8192));
        check(Arc::new(StringArray::from(vec!["short"; 8192])), Ok(8192));
        check(Arc::new(StringArray::from(Vec::<&str>::new())), Ok(0));
        // A GiB, if each had its own.
        check(Arc::new(shared(1024)), Ok(32));
        check(Arc::new(shared(1024).slice(1000, 20)), Ok(20));
        check(Arc::new(shared(1)), Ok(1));
    }

    #[test]
    fn what_is_inside_counts() {
        let element = Arc::new(Field::new("element", DataType::Utf8View, true));
        let lists = |lengths: Vec<usize>| {
            let all = shared(lengths.iter().sum());
            ListArray::new(Arc::clone(&element), OffsetBuffer::from_lengths(lengths), Arc::new(all), None)
        };
        let field = |column: &ListArray| Fields::from(vec![Field::new("texts", column.data_type().clone(), true)]);
        check(Arc::new(lists(vec![20; 8])), Ok(2));
        let inside = lists(vec![1, 40, 1, 40]);
        check(Arc::new(StructArray::new(field(&inside), vec![Arc::new(inside)], None)), Ok(2));
        check(Arc::new(lists(vec![0, 0, 300]).slice(2, 1)), Ok(1));
        let too_large = "54000 a row of the answer has 400.0 MB: 340.0 MB is the most";
        check(Arc::new(lists(vec![400, 1])), Err(too_large));
    }
}
