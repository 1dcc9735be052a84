//! The rows of a commit, assigned to files: one file for each partition, sorted within.
//!
//! Rows are not moved until a file is written: a partition is a list of row numbers, sixteen bytes for each row. So there may be
//! as many partitions at once as there are rows.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Date32Type, Fields, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::row::{Row, RowConverter, Rows, SortField};
use iceberg::arrow::arrow_primitive_to_literal;
use iceberg::spec::{NullOrder, Schema, SortDirection, SortOrder, Struct, Transform, Type};
use iceberg::transform::create_transform_function;
use lacus_core::{Error, Result};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::layout::Layout;
use crate::manifests::iceberg_error;

const MICROS_OF_DAY: i64 = 86_400_000_000;
/// Partitions that a row is compared with before its own is looked up, which takes longer.
const RECENT_MAX: usize = 8;
/// What stands for a null among texts: none has this byte.
const NULL: &[u8] = &[0xFF];

/// A row: the number of its batch, and its place in that. In the form that the library's `interleave` takes.
pub(crate) type Place = (usize, usize);

/// The rows of one file.
#[derive(Debug, PartialEq)]
pub(crate) struct Arranged {
    /// The values of its partition.
    pub(crate) values: Struct,
    /// Its rows, in order; none if they are all rows, as they came.
    pub(crate) rows: Option<Arc<Vec<Place>>>,
}

/// Arranges the rows of batches that have one schema. CPU-bound.
///
/// # Errors
/// If the batches lack a column of the layout.
pub(crate) fn arrange(batches: &[RecordBatch], layout: &Layout, schema: &Schema) -> Result<Vec<Arranged>> {
    let is_sorted = !layout.order.is_unsorted();
    if layout.spec.is_unpartitioned() && !is_sorted {
        return Ok(vec![Arranged { values: Struct::empty(), rows: None }]);
    }
    let mut partitions = partition(batches, layout, schema)?;
    if is_sorted {
        let keys = SortKeys::of(batches, &layout.order)?;
        for (_, rows) in &mut partitions {
            rows.sort_by(|&one, &other| keys.get(one).cmp(&keys.get(other)));
        }
    }
    let is_whole = matches!(&partitions[..], [(_, rows)] if rows.is_sorted());
    let arranged = |(values, rows)| Arranged { values, rows: (!is_whole).then(|| Arc::new(rows)) };
    Ok(partitions.into_iter().map(arranged).collect())
}

/// The rows of each partition, in the order in which partitions first appear.
fn partition(batches: &[RecordBatch], layout: &Layout, schema: &Schema) -> Result<Vec<(Struct, Vec<Place>)>> {
    let mut partitions: Vec<(Struct, Vec<Place>)> = Vec::new();
    let mut known: HashMap<Box<[u8]>, usize> = HashMap::new();
    let mut converter: Option<RowConverter> = None;
    for (number, batch) in batches.iter().enumerate() {
        let values = partition_values(batch, layout)?;
        if values.is_empty() {
            let all = (0..batch.num_rows()).map(|row| (number, row));
            match partitions.first_mut() {
                Some((_, rows)) => rows.extend(all),
                None => partitions.push((Struct::empty(), all.collect())),
            }
            continue;
        }
        let keys = Keys::of(&values, &mut converter)?;
        // Rows of a partition mostly come together where it is a time, and else there are mostly few partitions.
        let mut recent: VecDeque<(&[u8], usize)> = VecDeque::with_capacity(RECENT_MAX);
        for row in 0..batch.num_rows() {
            let key = keys.get(row);
            let same = recent.iter().find(|(before, _)| *before == key).map(|(_, index)| *index);
            let index = match same.or_else(|| known.get(key).copied()) {
                Some(index) => index,
                None => {
                    partitions.push((literals(&values, row, layout, schema)?, Vec::new()));
                    known.insert(key.into(), partitions.len() - 1);
                    partitions.len() - 1
                }
            };
            partitions[index].1.push((number, row));
            if same.is_none() {
                recent.truncate(RECENT_MAX - 1);
                recent.push_front((key, index));
            }
        }
    }
    Ok(partitions)
}

/// What rows of one partition have in common, and those of others have not: bytes, the same in all batches.
enum Keys {
    /// The one text that partitions them. To bring it into the form of several values takes longer than to compare it.
    Texts(StringArray),
    Rows(Rows),
}

impl Keys {
    fn of(values: &[ArrayRef], converter: &mut Option<RowConverter>) -> Result<Self> {
        if let [value] = values
            && let Some(texts) = value.as_string_opt::<i32>()
        {
            return Ok(Self::Texts(texts.clone()));
        }
        let converter = match converter {
            Some(converter) => converter,
            None => {
                let fields = values.iter().map(|array| SortField::new(array.data_type().clone())).collect();
                converter.insert(RowConverter::new(fields).map_err(broken)?)
            }
        };
        Ok(Self::Rows(converter.convert_columns(values).map_err(broken)?))
    }

    fn get(&self, row: usize) -> &[u8] {
        match self {
            Self::Texts(texts) if texts.is_null(row) => NULL,
            Self::Texts(texts) => texts.value(row).as_bytes(),
            Self::Rows(rows) => rows.row(row).data(),
        }
    }
}

/// The values of each field of the partition spec, for each row.
fn partition_values(batch: &RecordBatch, layout: &Layout) -> Result<Vec<ArrayRef>> {
    let values = layout.spec.fields().iter().map(|field| {
        let column = column(batch, field.source_id)?;
        transformed(&column, field.transform)
    });
    values.collect()
}

/// Applies a transform to a column. Nulls stay null.
///
/// # Errors
/// If the transform is not for this type.
pub(crate) fn transformed(column: &ArrayRef, transform: Transform) -> Result<ArrayRef> {
    // The library overflows at the smallest integer; Iceberg's own implementation wraps around.
    if let Transform::Truncate(width) = transform {
        match column.data_type() {
            DataType::Int64 => {
                let width = i64::from(width);
                let truncated = column.as_primitive::<Int64Type>().unary(|v| v.wrapping_sub(v.rem_euclid(width)));
                return Ok(Arc::new(truncated as arrow::array::PrimitiveArray<Int64Type>));
            }
            DataType::Int32 => {
                let width = i32::try_from(width).map_err(|_| Error::internal("a number is truncated by too much"))?;
                let truncated = column.as_primitive::<Int32Type>().unary(|v| v.wrapping_sub(v.rem_euclid(width)));
                return Ok(Arc::new(truncated as arrow::array::PrimitiveArray<Int32Type>));
            }
            _ => {}
        }
    }
    // The library assigns the last second of each day before 1970 to the next day.
    if let (Transform::Day, DataType::Timestamp(TimeUnit::Microsecond, _)) = (transform, column.data_type()) {
        let day = |micros: i64| i32::try_from(micros.div_euclid(MICROS_OF_DAY));
        let days = column.as_primitive::<TimestampMicrosecondType>().try_unary::<_, Date32Type, _>(day);
        let days = days.map_err(|_| Error::invalid("a timestamp has no day: it is out of range"))?;
        return Ok(Arc::new(days));
    }
    create_transform_function(&transform)
        .and_then(|function| function.transform(Arc::clone(column)))
        .map_err(|error| iceberg_error(error, "partition rows"))
}

/// The values of one row, as Iceberg keeps them.
fn literals(values: &[ArrayRef], row: usize, layout: &Layout, schema: &Schema) -> Result<Struct> {
    let kinds = layout.spec.partition_type(schema).map_err(|error| iceberg_error(error, "partition rows"))?;
    let mut literals = Vec::with_capacity(values.len());
    for (array, field) in values.iter().zip(kinds.fields()) {
        literals.push(literal(&array.slice(row, 1), &field.field_type)?);
    }
    Ok(Struct::from_iter(literals))
}

fn literal(one: &ArrayRef, kind: &Type) -> Result<Option<iceberg::spec::Literal>> {
    let mut literal =
        arrow_primitive_to_literal(one, kind).map_err(|error| iceberg_error(error, "read a partition value"))?;
    Ok(literal.pop().flatten())
}

/// What rows are sorted by, encoded so that comparing bytes compares the values.
struct SortKeys(Vec<Rows>);

impl SortKeys {
    fn of(batches: &[RecordBatch], order: &SortOrder) -> Result<Self> {
        let mut sorter = None;
        let keys = batches.iter().map(|batch| sort_keys(&mut sorter, batch, order));
        keys.collect::<Result<_>>().map(Self)
    }

    fn get(&self, (batch, row): Place) -> Row<'_> {
        self.0[batch].row(row)
    }
}

/// The sort keys of a batch. Keys that one converter made compare with each other.
pub(crate) fn sort_keys(converter: &mut Option<RowConverter>, batch: &RecordBatch, order: &SortOrder) -> Result<Rows> {
    let columns = order.fields.iter().map(|field| {
        let column = column(batch, field.source_id)?;
        if field.transform == Transform::Identity { Ok(column) } else { transformed(&column, field.transform) }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let converter = match converter {
        Some(converter) => converter,
        None => {
            let fields = order.fields.iter().zip(&columns).map(|(field, column)| {
                let descending = field.direction == SortDirection::Descending;
                let nulls_first = field.null_order == NullOrder::First;
                SortField::new_with_options(column.data_type().clone(), SortOptions { descending, nulls_first })
            });
            converter.insert(RowConverter::new(fields.collect()).map_err(broken)?)
        }
    };
    converter.convert_columns(&columns).map_err(broken)
}

/// The column with this field id, at the top or in structs; null where a struct around it is null.
fn column(batch: &RecordBatch, id: i32) -> Result<ArrayRef> {
    find(batch.schema_ref().fields(), batch.columns(), None, id)
        .ok_or_else(|| Error::internal(format!("rows have no column with field id {id}")))
}

fn find(fields: &Fields, columns: &[ArrayRef], around: Option<&NullBuffer>, id: i32) -> Option<ArrayRef> {
    fields.iter().zip(columns).find_map(|(field, column)| {
        let own = field.metadata().get(PARQUET_FIELD_ID_META_KEY).and_then(|own| own.parse::<i32>().ok());
        if own == Some(id) {
            return Some(with_nulls(column, around));
        }
        let DataType::Struct(inner) = field.data_type() else { return None };
        let nulls = NullBuffer::union(around, column.nulls());
        find(inner, column.as_struct().columns(), nulls.as_ref(), id)
    })
}

fn with_nulls(column: &ArrayRef, around: Option<&NullBuffer>) -> ArrayRef {
    let Some(nulls) = NullBuffer::union(around, column.nulls()).filter(|_| around.is_some()) else {
        return Arc::clone(column);
    };
    let data = column.to_data().into_builder().nulls(Some(nulls)).build();
    make_array(data.expect("nulls of a struct are as long as its columns"))
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::internal("arrange rows").with_source(error)
}

#[cfg(test)]
mod tests;
