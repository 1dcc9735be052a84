//! `INSERT`, `UPDATE`, `DELETE … RETURNING`: columns of the rows that came, or that went, and what is computed of them.
//!
//! They are taken from the very rows that go to the lake, on their way and as the lake casts them, and are kept until the commit:
//! nothing is looked up afterwards, and nothing can fail then. What is computed of them ([`Computed`]) is computed before it. All of
//! that is bounded: what is too much is refused while nothing is written.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, SelectItem, SelectItemQualifiedWildcardKind, Statement as Ast, TableFactor,
};
use lacus_core::{Kind, TableName};

use super::computed::Computed;
use super::planning::Shape;
use super::questions::target;
use super::running::numbers;
use crate::allowance::Allowance;
use crate::error::SqlError;
use crate::json::write_arrays;
use crate::large_joins::physical_plan;
use crate::running::RunningPlan;

/// So many bytes of rows a statement returns.
const RETURNED_BYTES_MAX: usize = 16 << 20;
/// What is counted for a row beside its columns: its place, if it went.
const ROW_BYTES: usize = 32;

/// The columns that a statement returns.
#[derive(Debug, Clone)]
pub(super) struct Returning {
    /// Where those are among those of the table that are kept.
    places: Vec<usize>,
    /// What they are called, with their types.
    kept: SchemaRef,
    /// What is computed of them. None: they are returned as they are.
    computed: Option<Computed>,
    /// The columns that are returned.
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
    /// What stands behind `RETURNING`, of a table that has these columns and is called so.
    ///
    /// # Errors
    /// `42703` for columns that are not there, `0A000` for what is no value of each row.
    pub(super) async fn of(
        state: &SessionState,
        items: &[SelectItem],
        columns: &Schema,
        name: &TableName,
        called: &Ident,
        explained: impl Fn(DataFusionError) -> SqlError,
    ) -> Result<Self, SqlError> {
        if let Some(returning) = Self::of_columns(items, columns, &called.value)? {
            return Ok(returning);
        }
        let computed = Computed::of(state, items, name, called, &explained).await?;
        let (places, kept) = computed.columns(columns).map_err(&explained)?;
        let schema = Arc::clone(&computed.schema);
        Ok(Self { places, kept, computed: Some(computed), schema })
    }

    /// The same, where all are columns of the table. None: there are others.
    fn of_columns(items: &[SelectItem], columns: &Schema, called: &str) -> Result<Option<Self>, SqlError> {
        let (mut places, mut fields) = (Vec::new(), Vec::new());
        for item in items {
            let (found, name) = match item {
                SelectItem::Wildcard(options) if options.to_string().is_empty() => (all(columns), None),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), options)
                    if options.to_string().is_empty() && is_called(&of.to_string(), called) =>
                {
                    (all(columns), None)
                }
                SelectItem::UnnamedExpr(expr) => (place(expr, columns, called)?.into_iter().collect(), None),
                SelectItem::ExprWithAlias { expr, alias } => {
                    (place(expr, columns, called)?.into_iter().collect(), Some(&alias.value))
                }
                _ => return Ok(None),
            };
            if found.is_empty() {
                return Ok(None);
            }
            for place in found {
                let field = columns.field(place).clone().with_nullable(true);
                fields.push(match name {
                    Some(name) => field.with_name(name),
                    None => field,
                });
                places.push(place);
            }
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(Some(Self { places, kept: Arc::clone(&schema), computed: None, schema }))
    }

    /// The columns of rows that have those of the table from `first` on.
    fn rows(&self, rows: &RecordBatch, first: usize) -> Result<RecordBatch, DataFusionError> {
        let mut columns = Vec::with_capacity(self.places.len());
        for place in &self.places {
            let column = rows.columns().get(first + place);
            columns.push(Arc::clone(column.ok_or_else(|| DataFusionError::Internal("rows lack a column".to_owned()))?));
        }
        typed(&columns, &self.kept)
    }

    /// What is returned of the rows that were kept.
    ///
    /// # Errors
    /// `54000` if that is too much, `22008` for a time that no answer can show, or what `explained` says.
    pub(super) async fn answers(
        &self,
        kept: Vec<RecordBatch>,
        state: &SessionState,
        allowance: &Allowance,
        explained: impl Fn(DataFusionError) -> SqlError,
    ) -> Result<Vec<RecordBatch>, SqlError> {
        let Some(computed) = &self.computed else {
            kept.iter().try_for_each(must_be_shown)?;
            return Ok(kept);
        };
        let plan = computed.asked_of(kept, &self.kept).map_err(&explained)?;
        let plan = physical_plan(state, &plan).await.map_err(&explained)?;
        let mut rows = RunningPlan::begin(plan, state, allowance).map_err(&explained)?;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = rows.next(&explained).await? {
            let batch = typed(batch.columns(), &self.schema).map_err(&explained)?;
            bytes += bytes_of(&batch);
            must_be_few(bytes)?;
            must_be_shown(&batch)?;
            batches.push(batch);
        }
        Ok(batches)
    }
}

fn must_be_shown(rows: &RecordBatch) -> Result<(), SqlError> {
    write_arrays(rows, true, &mut Vec::new())
}

/// Columns as those of a schema.
fn typed(columns: &[ArrayRef], schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    // As the lake does it.
    let strictly = CastOptions { safe: false, ..CastOptions::default() };
    let typed = columns.iter().zip(schema.fields());
    let typed = typed.map(|(column, field)| cast_with_options(column, field.data_type(), &strictly));
    Ok(RecordBatch::try_new(Arc::clone(schema), typed.collect::<Result<_, _>>()?)?)
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
        self.bytes += bytes_of(&kept);
        self.batches.push(kept);
        must_be_few(self.bytes)
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

fn must_be_few(bytes: usize) -> Result<(), SqlError> {
    if bytes <= RETURNED_BYTES_MAX {
        return Ok(());
    }
    let message = format!("RETURNING has more than {} MiB of rows: nothing is written", RETURNED_BYTES_MAX >> 20);
    Err(SqlError::new(Kind::Limited, "54000", message)
        .with_hint("leave it out, and SELECT the rows before or afterwards; or name fewer columns"))
}

fn bytes_of(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(used_bytes).sum::<usize>() + rows.num_rows() * ROW_BYTES
}

/// Bytes of a column, and not of what it may be a part of.
fn used_bytes(column: &ArrayRef) -> usize {
    if matches!(column.data_type(), DataType::Utf8View | DataType::BinaryView) {
        return column.get_array_memory_size();
    }
    column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
}

fn all(columns: &Schema) -> Vec<usize> {
    (0..columns.fields().len()).collect()
}

/// The place of the column that an expression is. None: it is no column of the table.
fn place(expr: &Expr, columns: &Schema, called: &str) -> Result<Option<usize>, SqlError> {
    let word = match expr {
        Expr::Identifier(word) => word,
        Expr::CompoundIdentifier(words) => match words.as_slice() {
            [of, word] if is_called(&of.value, called) => word,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let find = |is_it: &dyn Fn(&Field) -> bool| columns.fields().iter().position(|field| is_it(field));
    let exact = find(&|field| *field.name() == word.value);
    let any = || find(&|field| field.name().eq_ignore_ascii_case(&word.value));
    exact.or_else(|| if word.quote_style.is_none() { any() } else { None }).map(Some).ok_or_else(|| {
        let names: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
        SqlError::invalid("42703", format!("column \"{word}\" of table \"{called}\" does not exist"))
            .with_hint(format!("columns of the table: {}", names.join(", ")))
    })
}

fn is_called(name: &str, called: &str) -> bool {
    name.trim_matches('"').eq_ignore_ascii_case(called)
}
