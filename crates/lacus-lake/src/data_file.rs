//! Rows as one Parquet file, with what Iceberg's manifests say about it.
//!
//! Every leaf carries its Iceberg field id, so that other engines find columns by id. Before a row is encoded we check
//! that it belongs here: it comes after what the table has, and before what the commit will say the table has.

mod distinct;
pub(crate) mod encoding;

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Float64Type, Int32Type, Int64Type, SchemaRef};
use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat, Schema, TableMetadata};
use lacus_core::{Context, Error, Offsets, Partition, Result};
use object_store::PutPayload;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use crate::arrange::Place;
use crate::bloom_filters::BloomFilters;
use crate::bounds::bounds_of;
use crate::conform::conform;
use crate::data_file::distinct::distinct_columns;
use crate::data_file::encoding::{Source, write_all};
use crate::file_stats::Placement;
use crate::kernel::AddedFile;
use crate::pieces::Pieces;
use crate::schema::{OFFSET, PARTITION};

/// Rows per row group: the unit that engines read in parallel and skip by statistics.
pub(crate) const ROW_GROUP_ROWS_MAX: usize = 262_144;
/// zstd's fastest level. Commits are small files that upkeep writes anew.
const ZSTD_LEVEL: i32 = 1;
/// Dictionaries larger than this are given up for the rest of a column chunk: most values occur once, and looking each up
/// costs more than it saves. The library's 1 MiB notices that only when a small file is almost written.
const DICTIONARY_BYTES_MAX: usize = 128 << 10;

/// A Parquet file in memory.
pub(crate) struct Encoded {
    pub(crate) bytes: PutPayload,
    footer: Footer,
}

/// What is known of a file that was written.
pub(crate) struct Footer {
    metadata: ParquetMetaData,
    not_numbers: NotNumbers,
}

/// The number of NaNs in each floating point column, by field id. Bounds say nothing about them.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct NotNumbers(HashMap<i32, u64>);

/// What a file is written as.
#[derive(Debug, Clone)]
pub(crate) struct FileForm {
    /// Its columns.
    pub(crate) schema: SchemaRef,
    /// Those of its columns that get bloom filters.
    pub(crate) filters: BloomFilters,
}

impl FileForm {
    /// A file of a table, with these columns.
    pub(crate) fn of(metadata: &TableMetadata, schema: SchemaRef) -> Self {
        Self { schema, filters: BloomFilters::of(metadata.properties()) }
    }
}

/// The writer's properties for files with at most this many rows in a row group, and no dictionaries of `distinct` columns.
pub(crate) fn properties(
    zstd_level: i32,
    form: &FileForm,
    rows_max: usize,
    distinct: Vec<ColumnPath>,
) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(zstd_level).map_err(|error| parquet_error(error, "set the compression"))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_created_by(concat!("lacus ", env!("CARGO_PKG_VERSION")).to_owned());
    // A column with this name that a person made may be of any type.
    let has_offsets = form.schema.field_with_name(OFFSET).is_ok_and(|field| *field.data_type() == DataType::Int64);
    let properties = match has_offsets {
        // No offset occurs twice, and almost each is one more than the one before.
        true => properties
            .set_column_dictionary_enabled(OFFSET.into(), false)
            .set_column_encoding(OFFSET.into(), Encoding::DELTA_BINARY_PACKED),
        false => properties,
    };
    let without_dictionary =
        |properties: WriterPropertiesBuilder, column| properties.set_column_dictionary_enabled(column, false);
    let properties = distinct.into_iter().fold(properties, without_dictionary);
    Ok(form.filters.add_to(properties, &form.schema, rows_max)?.build())
}

/// Encodes batches, whose schemas may be older, as one file: these rows in this order, or all. CPU-bound.
pub(crate) fn encode(batches: &[RecordBatch], rows: Option<&[Place]>, form: &FileForm) -> Result<Encoded> {
    let schema = &form.schema;
    let batches: Result<Vec<RecordBatch>> = batches.iter().map(|batch| conform(batch, schema)).collect();
    let batches = batches.context("bring rows to the table's columns")?;
    let source = Source::of(&batches, rows, schema)?;
    let properties = properties(ZSTD_LEVEL, form, ROW_GROUP_ROWS_MAX.min(source.count()), distinct_columns(&source))?;
    // The footer has the Arrow schema too, so that a scan need not convert columns.
    let (mut bytes, mut not_numbers) = (Pieces::default(), NotNumbers::default());
    let writer = ArrowWriter::try_new(&mut bytes, schema.clone(), Some(properties))
        .map_err(|error| parquet_error(error, "start a Parquet file"))?;
    let metadata = write_all(writer, &source, &mut not_numbers)?;
    Ok(Encoded { bytes: bytes.freeze(), footer: Footer { metadata, not_numbers } })
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
    let allowed_in = |partition: i32| {
        let partition = u32::try_from(partition).map(Partition);
        partition.map_or(0..0, |partition| current.next(partition).0..delivered.next(partition).0)
    };
    // Rows of one partition mostly follow each other.
    let (mut last, mut allowed) = (None, 0..0);
    for (&partition, &offset) in partitions.values().iter().zip(offsets.values()) {
        if last != Some(partition) {
            (last, allowed) = (Some(partition), allowed_in(partition));
        }
        if !u64::try_from(offset).is_ok_and(|offset| allowed.contains(&offset)) {
            return Err(Error::internal(format!("row {partition}/{offset} is not part of this commit")));
        }
    }
    Ok(())
}

impl Encoded {
    /// The file as Iceberg knows it.
    pub(crate) fn describe(&self, url: String, schema: &Schema, placement: Placement) -> Result<AddedFile> {
        self.footer.describe(self.bytes.content_length() as u64, url, schema, placement)
    }
}

impl Footer {
    pub(crate) fn new(metadata: ParquetMetaData, not_numbers: NotNumbers) -> Self {
        Self { metadata, not_numbers }
    }

    /// The rows that it says the file has.
    pub(crate) fn rows(&self) -> u64 {
        u64::try_from(self.metadata.file_metadata().num_rows()).unwrap_or(0)
    }

    /// A file as Iceberg knows it, with the statistics that are certain.
    pub(crate) fn describe(&self, bytes: u64, url: String, schema: &Schema, placement: Placement) -> Result<AddedFile> {
        let metadata = &self.metadata;
        let (lower, upper) = bounds_of(metadata, schema);
        let counts = Counts::of(metadata);
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::Data)
            .file_path(url)
            .file_format(DataFileFormat::Parquet)
            .partition(placement.values)
            .partition_spec_id(placement.spec_id)
            .record_count(self.rows())
            .file_size_in_bytes(bytes)
            .column_sizes(counts.sizes)
            .value_counts(counts.values)
            .null_value_counts(counts.nulls)
            .nan_value_counts(self.not_numbers.0.clone())
            .lower_bounds(lower)
            .upper_bounds(upper)
            .split_offsets(metadata.row_groups().iter().map(|group| group.file_offset()).collect());
        if placement.sort_order != 0 {
            builder.sort_order_id(placement.sort_order);
        }
        let file = builder.build().map_err(|error| Error::internal("describe a data file").with_source(error))?;
        Ok(AddedFile { file, spec_id: placement.spec_id })
    }
}

impl NotNumbers {
    /// Counts those of a batch, at the top and in structs.
    pub(crate) fn count(&mut self, batch: &RecordBatch) {
        self.count_in(batch.schema_ref().fields(), batch.columns());
    }

    fn count_in(&mut self, fields: &Fields, columns: &[ArrayRef]) {
        fields.iter().zip(columns).for_each(|(field, column)| self.count_in_column(field, column));
    }

    /// The same of one column.
    fn count_in_column(&mut self, field: &Field, column: &ArrayRef) {
        let count = match column.data_type() {
            DataType::Float64 => {
                column.as_primitive::<Float64Type>().values().iter().filter(|value| value.is_nan()).count()
            }
            DataType::Float32 => {
                column.as_primitive::<Float32Type>().values().iter().filter(|value| value.is_nan()).count()
            }
            DataType::Struct(inner) => return self.count_in(inner, column.as_struct().columns()),
            _ => return,
        };
        let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY).and_then(|id| id.parse().ok());
        if let Some(id) = id {
            *self.0.entry(id).or_default() += count as u64;
        }
    }
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
