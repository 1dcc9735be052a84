//! `INSERT`, `UPDATE`, `DELETE … RETURNING`: columns of the rows that came, or that went.
//!
//! They are taken from the very rows that go to the lake, on their way and as the lake casts them, and are kept until the commit:
//! nothing is looked up afterwards, and nothing can fail then. So they are columns and no expressions, and bounded: what is too
//! much is refused while nothing is written.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, SelectItem, SelectItemQualifiedWildcardKind, Statement as Ast, TableFactor,
};
use lacus_core::Kind;

use super::planning::Shape;
use super::questions::target;
use super::running::numbers;
use crate::error::SqlError;
use crate::json::write_arrays;

/// So many bytes of rows a statement returns.
const RETURNED_BYTES_MAX: usize = 16 << 20;
/// What is counted for a row beside its columns: its place, if it went.
const ROW_BYTES: usize = 32;

/// The columns that a statement returns.
#[derive(Debug, Clone)]
pub(super) struct Returning {
    /// Where they are among those of the table.
    places: Vec<usize>,
    /// What they are called, with the types that they have in the table.
    pub(super) schema: SchemaRef,
}

/// Takes `RETURNING` out of a statement that changes rows, with what the statement calls its table.
pub(super) fn take(statement: &mut Ast) -> Option<(Vec<SelectItem>, Option<Ident>)> {
    let called = match target(statement) {
        Ok(TableFactor::Table { alias, .. }) => alias.as_ref().map(|alias| alias.name.clone()),
        _ => None,
    };
    let items = match statement {
        Ast::Delete(delete) => delete.returning.take(),
        Ast::Update(update) => update.returning.take(),
        _ => None,
    };
    items.map(|items| (items, called))
}

impl Returning {
    /// The columns that stand behind `RETURNING`, of a table that has these and is called so.
    ///
    /// # Errors
    /// `42703` for columns that are not there, `0A000` for what is none.
    pub(super) fn of(items: &[SelectItem], columns: &Schema, called: &str) -> Result<Self, SqlError> {
        let (mut places, mut fields) = (Vec::new(), Vec::new());
        for item in items {
            let (found, name) = match item {
                SelectItem::Wildcard(options) if options.to_string().is_empty() => (all(columns), None),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), options)
                    if options.to_string().is_empty() && is_called(&of.to_string(), called) =>
                {
                    (all(columns), None)
                }
                SelectItem::UnnamedExpr(expr) => (vec![place(expr, columns, called)?], None),
                SelectItem::ExprWithAlias { expr, alias } => (vec![place(expr, columns, called)?], Some(&alias.value)),
                other => return Err(no_column(&other.to_string())),
            };
            for place in found {
                let field = columns.field(place).clone().with_nullable(true);
                fields.push(match name {
                    Some(name) => field.with_name(name),
                    None => field,
                });
                places.push(place);
            }
        }
        Ok(Self { places, schema: Arc::new(Schema::new(fields)) })
    }

    /// The columns of rows that have those of the table from `first` on.
    fn rows(&self, rows: &RecordBatch, first: usize) -> Result<RecordBatch, DataFusionError> {
        // As the lake does it.
        let strictly = CastOptions { safe: false, ..CastOptions::default() };
        let mut columns = Vec::with_capacity(self.places.len());
        for (field, place) in self.schema.fields().iter().zip(&self.places) {
            let column = rows.columns().get(first + place);
            let column = column.ok_or_else(|| DataFusionError::Internal("rows lack a column".to_owned()))?;
            columns.push(cast_with_options(column, field.data_type(), &strictly)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// Rows that are kept until the commit.
pub(super) struct Kept<'a> {
    returning: &'a Returning,
    /// The places of rows that went: each goes once, however often it was found.
    gone: HashSet<(i64, i64)>,
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl<'a> Kept<'a> {
    pub(super) fn new(returning: &'a Returning) -> Self {
        Self { returning, gone: HashSet::new(), batches: Vec::new(), bytes: 0 }
    }

    /// Keeps what is returned of a part of a question's answer.
    ///
    /// # Errors
    /// `54000` if that is too much by now.
    pub(super) fn add(
        &mut self,
        shape: Shape,
        rows: &RecordBatch,
        explained: impl Fn(DataFusionError) -> SqlError,
    ) -> Result<(), SqlError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let kept = match shape {
            Shape::Added => self.returning.rows(rows, 0),
            Shape::Gone => self.new_ones(rows).and_then(|rows| self.returning.rows(&rows, 2)),
            // One that is changed twice is refused by the lake.
            Shape::Changed => self.returning.rows(rows, 2),
            Shape::Merged => Err(DataFusionError::Internal("MERGE returns no rows".to_owned())),
        };
        let kept = kept.map_err(explained)?;
        self.bytes += kept.columns().iter().map(used_bytes).sum::<usize>() + kept.num_rows() * ROW_BYTES;
        self.batches.push(kept);
        if self.bytes <= RETURNED_BYTES_MAX {
            return self.must_be_shown();
        }
        let message = format!("RETURNING has more than {} MiB of rows: nothing is written", RETURNED_BYTES_MAX >> 20);
        Err(SqlError::new(Kind::Limited, "54000", message)
            .with_hint("leave it out, and SELECT the rows before or afterwards; or name fewer columns"))
    }

    /// Refuses what the last batch has and no answer can show, while nothing is written.
    fn must_be_shown(&self) -> Result<(), SqlError> {
        self.batches.last().map_or(Ok(()), |batch| write_arrays(batch, true, &mut Vec::new()))
    }

    /// The rows whose places did not come before.
    fn new_ones(&mut self, rows: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let (files, numbers) = (numbers(rows, 0)?, numbers(rows, 1)?);
        let is_new = files.values().iter().zip(numbers.values());
        let is_new: BooleanArray = is_new.map(|(file, row)| Some(self.gone.insert((*file, *row)))).collect();
        Ok(filter_record_batch(rows, &is_new)?)
    }

    /// All of them.
    pub(super) fn batches(self) -> Vec<RecordBatch> {
        self.batches
    }
}

/// Bytes of a column, and not of what it may be a part of.
fn used_bytes(column: &ArrayRef) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
}

fn all(columns: &Schema) -> Vec<usize> {
    (0..columns.fields().len()).collect()
}

/// The place of the column that an expression is.
fn place(expr: &Expr, columns: &Schema, called: &str) -> Result<usize, SqlError> {
    let word = match expr {
        Expr::Identifier(word) => word,
        Expr::CompoundIdentifier(words) => match words.as_slice() {
            [of, word] if is_called(&of.value, called) => word,
            _ => return Err(no_column(&expr.to_string())),
        },
        _ => return Err(no_column(&expr.to_string())),
    };
    let find = |is_it: &dyn Fn(&Field) -> bool| columns.fields().iter().position(|field| is_it(field));
    let exact = find(&|field| *field.name() == word.value);
    let any = || find(&|field| field.name().eq_ignore_ascii_case(&word.value));
    exact.or_else(|| if word.quote_style.is_none() { any() } else { None }).ok_or_else(|| {
        let names: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
        SqlError::invalid("42703", format!("column \"{word}\" of table \"{called}\" does not exist"))
            .with_hint(format!("columns of the table: {}", names.join(", ")))
    })
}

fn is_called(name: &str, called: &str) -> bool {
    name.trim_matches('"').eq_ignore_ascii_case(called)
}

fn no_column(item: &str) -> SqlError {
    SqlError::invalid("0A000", format!("RETURNING {item} is not supported: it returns columns of the table"))
        .with_hint("RETURNING id, name AS called, or RETURNING *; compute the rest of them")
}
