//! Values of files brought to the columns of a table.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, FixedSizeBinaryBuilder, RecordBatch, RecordBatchOptions, StringArray,
    new_null_array,
};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::util::display::array_value_to_string;
use lacus_core::{Kind, TableName};
use lacus_lake::TableState;

use crate::error::SqlError;
use crate::json::type_name;

/// The longest value that an error shows, in characters.
const SHOWN_MAX: usize = 60;

/// The columns that files have, and the table's.
pub(super) struct Columns {
    table: TableName,
    /// All columns of the table.
    pub(super) all: SchemaRef,
    /// Which of them the files have, in their order.
    pub(super) places: Vec<usize>,
    /// Whether the statement names them.
    pub(super) are_named: bool,
}

/// A value that does not fit.
#[derive(Debug)]
pub(super) struct Misfit {
    /// Which of the rows it is in.
    pub(super) row: usize,
    /// What is wrong: `column "price": "abc" is no double precision`.
    pub(super) what: String,
}

impl Columns {
    /// The columns of a table that files have: those that are named, or all but such as are `taken`.
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

    /// The column of this name, if files may have it.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        let is =
            |same: &dyn Fn(&str) -> bool| self.places.iter().copied().find(|&place| same(self.all.field(place).name()));
        is(&|other| other == name).or_else(|| is(&|other| other.eq_ignore_ascii_case(name)))
    }

    /// Columns, each for one of the table's, as rows of the table: all others are null.
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
        // What may not be null, the lake says.
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
            let (from, to) = (type_name(from), type_name(kind));
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
            _ => {
                if may_be_fraction(column.data_type()) && kind.is_integer() {
                    return Err(refused(column.data_type()).with_hint("it would be cut"));
                }
                let gently = CastOptions { safe: true, ..CastOptions::default() };
                cast_with_options(&trimmed(column, kind), kind, &gently).map_err(|_| refused(column.data_type()))?
            }
        };
        let value = trimmed(column, kind);
        let lost = (0..column.len()).find(|&row| value.is_valid(row) && fitting.is_null(row));
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

fn may_be_fraction(kind: &DataType) -> bool {
    kind.is_floating() || matches!(kind, DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) if *scale > 0)
}

/// Text for a column of another type: without blanks around, and none is null.
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
