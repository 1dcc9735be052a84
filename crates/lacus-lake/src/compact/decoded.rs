//! How many rows are decoded at once: as many as have room in memory, where they take more than in their file.
//!
//! That is judged by the average of their row group. Values in a dictionary are larger than what is stored of them.

use parquet::arrow::ProjectionMask;
use parquet::basic::Type;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

/// Bytes of a column that are decoded at once.
const COLUMN_BYTES: u64 = 1 << 20;
/// Rows of a column that are decoded at once: the fewest, the most, and the most where nothing tells how long the values are.
const ROWS_MIN: usize = 64;
const ROWS_MAX: usize = 8_192;
pub(super) const ROWS_OF_UNKNOWN_SIZE_MAX: usize = 1_024;
/// Bytes of whole rows that are decoded at once, or written: a row alone may have more.
pub(super) const WHOLE_ROWS_BYTES: usize = 2 << 20;

/// How many of a row group's rows are decoded at once from these leaves of a column.
pub(super) fn rows_at_once(rows: i64, leaves: &[ColumnChunkMetaData]) -> usize {
    let is_told = leaves.iter().all(|leaf| told_bytes(leaf).is_some());
    let most = if is_told { ROWS_MAX } else { ROWS_OF_UNKNOWN_SIZE_MAX };
    rows_within(COLUMN_BYTES, rows, leaves.iter()).clamp(ROWS_MIN, most)
}

/// How many rows of a file are decoded at once, with all columns that are read: at least one.
pub(super) fn whole_rows_at_once(file: &ParquetMetaData, read: &ProjectionMask, rows_max: usize) -> usize {
    let of_group = |group: &RowGroupMetaData| {
        let leaves = group.columns().iter().enumerate().filter(|(leaf, _)| read.leaf_included(*leaf));
        rows_within(WHOLE_ROWS_BYTES as u64, group.num_rows(), leaves.map(|(_, leaf)| leaf))
    };
    let groups = file.row_groups().iter().filter(|group| group.num_rows() > 0);
    groups.map(of_group).min().unwrap_or(rows_max).clamp(1, rows_max)
}

/// How many rows have so many bytes in these leaves, which have `rows` rows in all.
fn rows_within<'a>(bytes_max: u64, rows: i64, leaves: impl Iterator<Item = &'a ColumnChunkMetaData>) -> usize {
    let bytes = leaves.map(decoded_bytes).fold(0, u64::saturating_add).max(1);
    let fitting = bytes_max.saturating_mul(u64::try_from(rows).unwrap_or(0)) / bytes;
    usize::try_from(fitting).unwrap_or(usize::MAX)
}

fn decoded_bytes(leaf: &ColumnChunkMetaData) -> u64 {
    told_bytes(leaf).unwrap_or_else(|| u64::try_from(leaf.uncompressed_size()).unwrap_or(0))
}

/// None for texts of which the writer did not tell how long they are.
fn told_bytes(leaf: &ColumnChunkMetaData) -> Option<u64> {
    let values = u64::try_from(leaf.num_values()).ok()?;
    let each = match leaf.column_type() {
        Type::BYTE_ARRAY => {
            let texts = u64::try_from(leaf.unencoded_byte_array_data_bytes()?).ok()?;
            return Some(texts.saturating_add(values.saturating_mul(4)));
        }
        Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(leaf.column_descr().type_length()).ok()?,
        // At the most, as decimals have.
        _ => 16,
    };
    Some(values.saturating_mul(each))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::file::metadata::FileMetaData;
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor};

    use super::*;

    fn schema() -> SchemaDescPtr {
        let columns = "message rows { REQUIRED INT64 n; OPTIONAL BYTE_ARRAY name (UTF8); }";
        Arc::new(SchemaDescriptor::new(Arc::new(parse_message_type(columns).unwrap())))
    }

    /// A leaf of 10,000 values.
    fn leaf(leaf: usize, stored: i64, texts: Option<i64>) -> ColumnChunkMetaData {
        let leaf = ColumnChunkMetaData::builder(schema().column(leaf));
        let leaf = leaf.set_num_values(10_000).set_total_uncompressed_size(stored);
        leaf.set_unencoded_byte_array_data_bytes(texts).build().unwrap()
    }

    #[test]
    fn large_values_are_decoded_few_at_a_time() {
        let (n, name) = (|stored| leaf(0, stored, None), |stored, texts| leaf(1, stored, texts));
        assert_eq!(rows_at_once(10_000, &[n(80_000)]), ROWS_MAX);
        assert_eq!(rows_at_once(10_000, &[name(100_000, Some(100_000))]), ROWS_MAX);
        assert_eq!(rows_at_once(10_000, &[name(100_000, None)]), ROWS_OF_UNKNOWN_SIZE_MAX);
        // A dictionary makes little of long texts: of 20 KB, and of 4 KB.
        assert_eq!(rows_at_once(10_000, &[name(100_000, Some(200_000_000))]), ROWS_MIN);
        assert_eq!(rows_at_once(10_000, &[name(100_000, Some(41_060_000))]), 255);
        assert_eq!(rows_at_once(10_000, &[name(41_100_000, None)]), 255);
        // Several leaves of one column are decoded together.
        assert_eq!(rows_at_once(10_000, &[name(0, Some(41_060_000)), name(0, Some(41_060_000))]), 127);
        // Lists have more values than there are rows.
        assert_eq!(rows_at_once(100, &[n(80_000)]), 655);
        assert_eq!(rows_at_once(0, &[]), ROWS_MIN);
    }

    #[test]
    fn whole_rows_are_decoded_as_the_largest_ones_have_room() {
        let schema = schema();
        let of_groups = |groups: &[(i64, i64)], read: &ProjectionMask| {
            let group = |&(rows, texts): &(i64, i64)| {
                let leaves = vec![leaf(0, 0, None), leaf(1, 0, Some(texts))];
                let group = RowGroupMetaData::builder(Arc::clone(&schema)).set_num_rows(rows);
                group.set_column_metadata(leaves).build().unwrap()
            };
            let file = FileMetaData::new(2, 0, None, None, Arc::clone(&schema), None);
            whole_rows_at_once(&ParquetMetaData::new(file, groups.iter().map(group).collect()), read, 1_024)
        };
        let all = ProjectionMask::all();
        assert_eq!(of_groups(&[(10_000, 100_000)], &all), 1_024);
        // 20 KB a row.
        assert_eq!(of_groups(&[(10_000, 199_800_000)], &all), 104);
        assert_eq!(of_groups(&[(10_000, 100_000), (10_000, 199_800_000), (0, 0)], &all), 104);
        assert_eq!(of_groups(&[(1, 100_000_000)], &all), 1, "one alone may be larger");
        assert_eq!(of_groups(&[(10_000, 199_800_000)], &ProjectionMask::leaves(&schema, [0])), 1_024);
        assert_eq!(of_groups(&[], &all), 1_024);
    }
}
