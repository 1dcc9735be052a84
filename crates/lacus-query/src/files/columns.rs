//! Values of files brought to the columns of a table.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, FixedSizeBinaryBuilder, RecordBatch, RecordBatchOptions, StringArray,
    new_null_array,
};
use datafusion::arrow::compute::kernels::cmp::distinct;
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options, nullif};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::array_value_to_string;
use lacus_core::{Kind, TableName};
use lacus_lake::TableState;

use super::binary::DecodeBinary;
use crate::error::SqlError;
use crate::json::type_name;

/// The longest value that an error shows, in characters.
const SHOWN_MAX: usize = 60;

/// The columns that files have, and the table's.
pub(super) struct Columns {
    table: TableName,
    /// All columns of the table.
    pub(super) all: SchemaRef,
    /// The place in the table of each of the files' columns, in their order.
    pub(super) places: Vec<usize>,
    /// Whether the statement names them.
    pub(super) are_named: bool,
}

/// A value that does not fit.
#[derive(Debug)]
pub(super) struct Misfit {
    /// Which of the rows it is in.
    pub(super) row: usize,
    /// The message: `column "price": "abc" is no double precision`.
    pub(super) what: String,
}

impl Columns {
    /// The columns of a table that files have: the named ones, or all but those that are `taken`.
    ///
    /// # Errors
    /// For names that are no columns, and those that can't be set.
    pub(super) fn new(
        table: &TableName,
        state: &TableState,
        named: Option<&[String]>,
        is_taken: impl Fn(&str) -> bool,
    ) -> Result<Self, SqlError> {
        let all = Arc::clone(&state.arrow_schema);
        let (mut places, are_named) = (Vec::new(), named.is_some());
        let Some(named) = named else {
            places.extend((0..all.fields().len()).filter(|&index| !is_taken(all.field(index).name())));
            return Ok(Self { table: table.clone(), all, places, are_named });
        };
        for name in named {
            let found = all.fields().iter().position(|field| field.name() == name);
            let found = found.or_else(|| all.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name)));
            let place = found
                .ok_or_else(|| SqlError::invalid("42703", format!("table \"{table}\" has no column \"{name}\"")))?;
            if is_taken(all.field(place).name()) {
                return Err(SqlError::invalid(
                    "428C9",
                    format!("column \"{name}\" says which event a row is of: it can't be set"),
                ));
            }
            if places.contains(&place) {
                return Err(SqlError::invalid("42701", format!("column \"{name}\" is named twice")));
            }
            places.push(place);
        }
        Ok(Self { table: table.clone(), all, places, are_named })
    }

    /// All columns of a table that consists of nothing but its files.
    pub(super) fn all(table: &TableName, all: SchemaRef) -> Self {
        let places = (0..all.fields().len()).collect();
        Self { table: table.clone(), all, places, are_named: false }
    }

    /// The column of this name, if files may have it.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        let is =
            |same: &dyn Fn(&str) -> bool| self.places.iter().copied().find(|&place| same(self.all.field(place).name()));
        is(&|other| other == name).or_else(|| is(&|other| other.to_lowercase() == name.to_lowercase()))
    }

    /// Refuses columns whose values the binary format does not have.
    ///
    /// # Errors
    /// The first of them.
    pub(super) fn must_be_decoded(&self, decode: DecodeBinary) -> Result<(), SqlError> {
        for &place in &self.places {
            let field = self.all.field(place);
            let is_decoded = decode(field, &[]).is_ok_and(|values| self.fit(&values, field).is_ok());
            if !is_decoded {
                let (name, table, kind) = (field.name(), &self.table, type_name(field.data_type()));
                let message =
                    format!("column \"{name}\" of table \"{table}\" is of type {kind}, which is not read in binary");
                return Err(SqlError::invalid("0A000", message)
                    .with_hint("name the columns that are sent, or send JSON: COPY … FROM STDIN JSON"));
            }
        }
        Ok(())
    }

    /// Rows of the table, made of columns for some of its columns: all others are null.
    ///
    /// # Errors
    /// The first value that does not fit.
    pub(super) fn rows(
        &self,
        columns: &[(usize, ArrayRef)],
        rows: usize,
    ) -> Result<Result<RecordBatch, Misfit>, SqlError> {
        let mut whole: Vec<Option<ArrayRef>> = vec![None; self.all.fields().len()];
        let mut first: Option<Misfit> = None;
        for (place, column) in columns {
            match self.fit(column, self.all.field(*place))? {
                Ok(column) => whole[*place] = Some(column),
                Err(misfit) if first.as_ref().is_none_or(|first| misfit.row < first.row) => first = Some(misfit),
                Err(_) => {}
            }
        }
        if let Some(misfit) = first {
            return Ok(Err(misfit));
        }
        let fields = self.all.fields().iter();
        let columns = whole.into_iter().zip(fields);
        let columns = columns.map(|(column, field)| column.unwrap_or_else(|| new_null_array(field.data_type(), rows)));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        // The lake refuses nulls where none may be.
        let nullable =
            self.all.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
        let schema = Arc::new(Schema::new(nullable));
        let batch = RecordBatch::try_new_with_options(schema, columns.collect(), &options);
        batch.map(Ok).map_err(|error| {
            SqlError::new(Kind::Internal, "XX000", "put the columns of a file together").with_source(error)
        })
    }

    fn fit(&self, column: &ArrayRef, field: &Field) -> Result<Result<ArrayRef, Misfit>, SqlError> {
        let kind = field.data_type();
        let refused = |from: &DataType| {
            let (from, to) = type_names(from, kind);
            let message = format!(
                "column \"{}\" of table \"{}\" is of type {to}, but files have {from}",
                field.name(),
                self.table
            );
            SqlError::invalid("42804", message)
        };
        let text = column.as_string_opt::<i32>();
        let fitting = match (text, kind) {
            _ if column.data_type() == kind => Arc::clone(column),
            (Some(text), DataType::Utf8) => Arc::new(text.clone()),
            (Some(text), DataType::FixedSizeBinary(16)) => uuids(text),
            (Some(text), DataType::Binary | DataType::LargeBinary) => bytes(text, kind),
            (Some(_), kind) if kind.is_nested() || matches!(kind, DataType::FixedSizeBinary(_)) => {
                return Err(refused(column.data_type()).with_hint("load it from JSON or Parquet"));
            }
            (None, kind) if !keeps(column.data_type(), kind) => {
                let (_, to) = type_names(column.data_type(), kind);
                let hint = format!("convert it to {to} where the files are written");
                return Err(refused(column.data_type()).with_hint(hint));
            }
            _ => gently(&trimmed(column, kind), kind).map_err(|_| refused(column.data_type()))?,
        };
        let nulls = trimmed(column, kind).logical_nulls();
        let is_value = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let lost = (0..column.len()).find(|&row| is_value(row) && fitting.is_null(row));
        Ok(match lost {
            None => Ok(fitting),
            Some(row) => {
                let value = array_value_to_string(column, row).unwrap_or_default();
                let shown: String = value.chars().take(SHOWN_MAX).collect();
                let more = if shown.len() < value.len() { "…" } else { "" };
                let what = format!("column \"{}\": \"{shown}{more}\" is no {}", field.name(), type_name(kind));
                Err(Misfit { row, what })
            }
        })
    }
}

/// The names of two types, such that they differ.
fn type_names(from: &DataType, to: &DataType) -> (String, String) {
    let (one, other) = (type_name(from), type_name(to));
    if one == other { (from.to_string(), to.to_string()) } else { (one, other) }
}

/// Whether a cast keeps each value, or makes it null.
fn keeps(from: &DataType, to: &DataType) -> bool {
    if from.is_nested() || to.is_nested() {
        return *from == DataType::Null || is_same(from, to);
    }
    match (from, to) {
        (DataType::Null, _)
        | (DataType::Date32 | DataType::Date64, DataType::Date32 | DataType::Date64)
        | (DataType::Float16, DataType::Float32 | DataType::Float64)
        | (DataType::Float32, DataType::Float64) => true,
        (DataType::Dictionary(_, value), to) => value.as_ref() == to || value.is_string() && to.is_string(),
        (DataType::Timestamp(unit, zone), DataType::Timestamp(wanted, other)) => {
            // Whether nanoseconds are lost is checked value by value.
            zone.is_some() == other.is_some() && (unit == wanted || *wanted == TimeUnit::Microsecond)
        }
        (
            DataType::Decimal128(digits, scale),
            DataType::Decimal128(most, other) | DataType::Decimal256(most, other),
        )
        | (DataType::Decimal256(digits, scale), DataType::Decimal256(most, other)) => scale == other && digits <= most,
        (from, to) if from.is_integer() => to.is_integer() || to.is_floating(),
        (from, to) => is_alike(from, to),
    }
}

/// Whether two types have the same values, whatever their layout in memory.
fn is_alike(from: &DataType, to: &DataType) -> bool {
    from == to || from.is_string() && to.is_string() || is_bytes(from) && is_bytes(to)
}

fn is_bytes(kind: &DataType) -> bool {
    matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// Whether two types are the same, including the names and the order of fields. The names of elements and entries don't
/// count: the writer of a file chooses them.
fn is_same(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Struct(from), DataType::Struct(to)) => {
            let mut pairs = from.iter().zip(to);
            from.len() == to.len()
                && pairs.all(|(one, other)| one.name() == other.name() && is_same(one.data_type(), other.data_type()))
        }
        (DataType::List(from), DataType::List(to)) | (DataType::LargeList(from), DataType::LargeList(to)) => {
            is_same(from.data_type(), to.data_type())
        }
        (DataType::Map(from, _), DataType::Map(to, _)) => match (from.data_type(), to.data_type()) {
            (DataType::Struct(from), DataType::Struct(to)) => {
                let mut pairs = from.iter().zip(to);
                from.len() == to.len() && pairs.all(|(one, other)| is_same(one.data_type(), other.data_type()))
            }
            _ => false,
        },
        _ => is_alike(from, to),
    }
}

/// The values as another type; null where they don't fit.
fn gently(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let values = cast_with_options(column, kind, &options)?;
    let is_rounded = match (column.data_type(), kind) {
        (DataType::Timestamp(TimeUnit::Nanosecond, _), DataType::Timestamp(TimeUnit::Microsecond, _)) => true,
        // Large ones.
        (from, to) => from.is_integer() && to.is_floating(),
    };
    if !is_rounded {
        return Ok(values);
    }
    let back = cast_with_options(&values, column.data_type(), &options)?;
    nullif(&values, &distinct(&back, column)?)
}

/// Texts for a column of another type: without blanks around, and empty ones null.
fn trimmed(column: &ArrayRef, kind: &DataType) -> ArrayRef {
    match column.as_string_opt::<i32>() {
        Some(text) if !matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => {
            let value = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
            Arc::new(text.iter().map(value).collect::<StringArray>())
        }
        _ => Arc::clone(column),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().strip_prefix("\\x").unwrap_or(text.trim());
    if digits.len() % 2 == 1 || !digits.is_ascii() {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn uuids(text: &StringArray) -> ArrayRef {
    let mut values = FixedSizeBinaryBuilder::with_capacity(text.len(), 16);
    for text in text {
        let bytes = text.and_then(|text| unhex(&text.replace('-', ""))).filter(|bytes| bytes.len() == 16);
        match bytes {
            Some(bytes) => values.append_value(&bytes).expect("it has sixteen bytes"),
            None => values.append_null(),
        }
    }
    Arc::new(values.finish())
}

fn bytes(text: &StringArray, kind: &DataType) -> ArrayRef {
    let mut values = BinaryBuilder::new();
    for text in text {
        values.append_option(text.and_then(unhex));
    }
    let values: ArrayRef = Arc::new(values.finish());
    // Both have the same values.
    cast(&values, kind).unwrap_or(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_that_keep_values_are_taken() {
        let time = |unit: TimeUnit| DataType::Timestamp(unit, None);
        let record = |names: [&str; 2]| {
            DataType::Struct(names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect())
        };
        for (from, to, expected) in [
            (DataType::Int64, DataType::Int16, true),
            (DataType::Int64, DataType::Float64, true),
            (DataType::Float64, DataType::Float32, false),
            (DataType::Float64, DataType::Int64, false),
            (DataType::LargeUtf8, DataType::Utf8, true),
            (DataType::Boolean, DataType::Utf8, false),
            (DataType::Decimal128(10, 2), DataType::Decimal128(12, 2), true),
            (DataType::Decimal128(10, 2), DataType::Decimal128(12, 1), false),
            (time(TimeUnit::Millisecond), time(TimeUnit::Microsecond), true),
            (time(TimeUnit::Nanosecond), time(TimeUnit::Microsecond), true),
            (time(TimeUnit::Microsecond), time(TimeUnit::Nanosecond), false),
            (time(TimeUnit::Microsecond), DataType::Date32, false),
            (record(["a", "b"]), record(["a", "b"]), true),
            (record(["a", "b"]), record(["b", "a"]), false),
        ] {
            assert_eq!(keeps(&from, &to), expected, "{from} to {to}");
        }
    }
}
