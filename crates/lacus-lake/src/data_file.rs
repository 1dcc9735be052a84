//! Rows as one Parquet file, with what Iceberg's manifests say about it.
//!
//! Every leaf carries its Iceberg field id, so that other engines find columns by id. Before a row is encoded we check
//! that it belongs here: it comes after what the table has, and before what the commit will say the table has.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef};
use bytes::Bytes;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Schema};
use lacus_core::{Context, Error, Offset, Offsets, Partition, Position, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;

use crate::bounds::bounds_of;
use crate::conform::conform;
use crate::schema::{OFFSET, PARTITION};

/// Rows per row group: the unit that engines read in parallel and skip by statistics.
const ROW_GROUP_ROWS_MAX: usize = 262_144;
/// zstd's fastest level. Commits are small files that upkeep writes anew.
const ZSTD_LEVEL: i32 = 1;

/// A Parquet file in memory.
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    metadata: ParquetMetaData,
}

/// How files are written.
pub(crate) fn properties(zstd_level: i32) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(zstd_level).map_err(|error| parquet_error(error, "set the compression"))?;
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_created_by(concat!("lacus ", env!("CARGO_PKG_VERSION")).to_owned())
        .build())
}

/// Writes batches, whose schemas may be older, as one file of `schema`. CPU-bound.
pub(crate) fn encode(batches: &[RecordBatch], schema: &SchemaRef) -> Result<Encoded> {
    // The footer carries the Arrow schema too: a scan sees the table's own types and need not convert a column.
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema.clone(), Some(properties(ZSTD_LEVEL)?))
        .map_err(|error| parquet_error(error, "start a Parquet file"))?;
    for batch in batches {
        let batch = conform(batch, schema).context("bring rows to the table's columns")?;
        writer.write(&batch).map_err(|error| parquet_error(error, "encode rows"))?;
    }
    let metadata = writer.close().map_err(|error| parquet_error(error, "end a Parquet file"))?;
    Ok(Encoded { bytes: bytes.into(), metadata })
}

/// Checks that every row comes after `current` and before `delivered`: a row outside would be in the table twice, or
/// would come again after a restart.
pub(crate) fn check_positions(batch: &RecordBatch, current: &Offsets, delivered: &Offsets) -> Result<()> {
    let column = |name| {
        batch.column_by_name(name).ok_or_else(|| Error::internal(format!("rows to commit have no column \"{name}\"")))
    };
    let partitions = column(PARTITION)?.as_primitive_opt::<Int32Type>();
    let offsets = column(OFFSET)?.as_primitive_opt::<Int64Type>();
    let (Some(partitions), Some(offsets)) = (partitions, offsets) else {
        return Err(Error::internal("rows to commit have positions of another type"));
    };
    if partitions.null_count() + offsets.null_count() > 0 {
        return Err(Error::internal("rows to commit have no position"));
    }
    for (&partition, &offset) in partitions.values().iter().zip(offsets.values()) {
        let position = u32::try_from(partition).ok().zip(u64::try_from(offset).ok());
        let position =
            position.map(|(partition, offset)| Position { partition: Partition(partition), offset: Offset(offset) });
        if !position.is_some_and(|position| !current.include(position) && delivered.include(position)) {
            return Err(Error::internal(format!("row {partition}/{offset} is not part of this commit")));
        }
    }
    Ok(())
}

impl Encoded {
    pub(crate) fn rows(&self) -> u64 {
        rows_of(&self.metadata)
    }

    /// The file as Iceberg knows it.
    pub(crate) fn describe(&self, url: String, schema: &Schema) -> Result<DataFile> {
        describe(&self.metadata, self.bytes.len() as u64, url, schema)
    }
}

/// The rows that a footer says the file has.
pub(crate) fn rows_of(metadata: &ParquetMetaData) -> u64 {
    u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0)
}

/// A file as Iceberg knows it, with the statistics that are certain.
pub(crate) fn describe(metadata: &ParquetMetaData, bytes: u64, url: String, schema: &Schema) -> Result<DataFile> {
    let (lower, upper) = bounds_of(metadata, schema);
    let counts = Counts::of(metadata);
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(url)
        .file_format(DataFileFormat::Parquet)
        .record_count(rows_of(metadata))
        .file_size_in_bytes(bytes)
        .column_sizes(counts.sizes)
        .value_counts(counts.values)
        .null_value_counts(counts.nulls)
        .lower_bounds(lower)
        .upper_bounds(upper)
        .split_offsets(metadata.row_groups().iter().map(|group| group.file_offset()).collect())
        .build()
        .map_err(|error| Error::internal("describe a data file").with_source(error))
}

/// Sizes and counts by field id. Leaves in lists have sizes only: Iceberg counts rows, they have elements.
#[derive(Default)]
struct Counts {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
}

impl Counts {
    fn of(metadata: &ParquetMetaData) -> Self {
        let mut counts = Self::default();
        for (index, leaf) in metadata.file_metadata().schema_descr().columns().iter().enumerate() {
            let id = leaf.self_type().get_basic_info().id();
            let chunks = || metadata.row_groups().iter().map(move |group| group.column(index));
            let number = |count: i64| u64::try_from(count).unwrap_or(0);
            counts.sizes.insert(id, chunks().map(|chunk| number(chunk.compressed_size())).sum());
            if leaf.max_rep_level() > 0 {
                continue;
            }
            counts.values.insert(id, chunks().map(|chunk| number(chunk.num_values())).sum());
            let nulls = chunks().map(|chunk| chunk.statistics().and_then(|statistics| statistics.null_count_opt()));
            if let Some(nulls) = nulls.sum::<Option<u64>>() {
                counts.nulls.insert(id, nulls);
            }
        }
        counts
    }
}

/// An error of the library as one of ours.
pub(crate) fn parquet_error(error: parquet::errors::ParquetError, doing: &str) -> Error {
    Error::internal(doing).with_source(error)
}

#[cfg(test)]
mod tests;
