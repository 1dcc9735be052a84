//! What a statement writes to, and the plan of its question.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, WriteOp};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Insert, ObjectName, SelectItem, SetExpr, Statement as Ast, TableObject, Value,
};
use lacus_core::layout::PartitionField;
use lacus_core::{Kind, TableName};
use lacus_lake::foreign::NewTable;
use lacus_lake::schema::is_uuid;
use lacus_lake::{Column, Lake, Table, TableSchema, TableState};

use super::Write;
use super::assignments::one_by_one;
use super::casts::{cast_choices, cast_columns, cluster, in_place, is_bytes, misfit};
use super::create::Creation;
use super::overwrite::{Fixed, add_to_rows, add_to_values, replaced, take_fixed, values_of};
use super::questions::{Columns, question};
use super::returning::{self, Returning};
use crate::error::{SqlError, explain};
use crate::files::must_not_be_external;
use crate::numbered::{COLUMNS_ONLY, ColumnsOnly};
use crate::rewrite::{call, keep_digits};
use crate::session::{plan_parsed, prepared, with_types};
use crate::statement::Statement;
use crate::uuids::TO_UUID;
use crate::views::{as_one, see};
use crate::{engine::Shared, error::Names};

/// The question of a statement, and what to do with its answer.
pub(super) struct Planned {
    pub(super) plan: LogicalPlan,
    /// A second question, for the places of rows to remove.
    pub(super) gone: Option<LogicalPlan>,
    pub(super) into: Into,
    /// What is returned of the rows.
    pub(super) returning: Option<Returning>,
}

/// Where an answer goes.
pub(super) enum Into {
    /// To a table that it makes.
    New(Box<NewTable>),
    /// To a table.
    Old { table: Arc<Table>, state: Arc<TableState>, shape: Shape },
}

/// What the columns of an answer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Those of rows that come.
    Added,
    /// Places of rows that go.
    Gone,
    /// Places of old rows, and the columns of new ones.
    Changed,
    /// The same, with the action between them.
    Merged,
}

/// The table of this name, to be written to.
///
/// # Errors
/// `42P01` if it is not there, `42809` if it is a view, `Corrupt` if it can't be read.
pub(crate) fn table_to_write(shared: &Shared, name: &TableName) -> Result<Arc<Table>, SqlError> {
    let lake = lake(shared)?;
    if let Some(table) = lake.table(name) {
        return Ok(table);
    }
    if let Some(damage) = lake.damage_of(name) {
        return Err(damage.into());
    }
    must_not_be_external(lake, name)?;
    let tables = shared.tables();
    if tables.iter().any(|table| table == name.as_str()) {
        return Err(SqlError::invalid("42809", format!("\"{name}\" is a view, not a table"))
            .with_hint("write to the tables that it reads; DROP VIEW takes a view away"));
    }
    let error = SqlError::new(Kind::NotFound, "42P01", format!("there is no table \"{name}\""));
    Err(match crate::error::nearest(name.as_str(), tables.iter().map(String::as_str)) {
        Some(nearest) => error.with_hint(format!("did you mean \"{nearest}\"?")),
        None => error.with_hint("CREATE TABLE makes one; SHOW TABLES lists those that are there"),
    })
}

pub(super) fn lake(shared: &Shared) -> Result<&Arc<Lake>, SqlError> {
    let lake = shared.altering.as_ref().map(|(lake, _)| lake);
    lake.ok_or_else(|| SqlError::invalid("0A000", "nothing can be written here"))
}

/// Plans the question of a statement that writes to the table of this name.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn plan(
    shared: &Shared,
    state: &SessionState,
    statement: &Statement,
    write: &Write,
    name: &TableName,
) -> Result<Planned, SqlError> {
    let planned = as_one(Box::pin(async { Ok(plan_alone(shared, state, statement, write, name).await) })).await;
    planned.map_err(|error| explain(error, &statement.sql, shared))?
}

async fn plan_alone(
    shared: &Shared,
    state: &SessionState,
    statement: &Statement,
    write: &Write,
    name: &TableName,
) -> Result<Planned, SqlError> {
    let explained = |error: DataFusionError| explain(error, &statement.sql, shared);
    let Some(question) = write.question() else {
        return Err(SqlError::new(Kind::Internal, "XX000", "this statement has no question"));
    };
    let parsed = prepared(state, statement, question).await.map_err(explained)?;
    if let Write::CreateTableAs(creation, _) = write {
        let plan = plan_parsed(state, parsed).await.and_then(|plan| with_types(state, plan)).map_err(explained)?;
        return create(plan, creation, name, statement).map_err(explained)?;
    }
    let Parsed::Statement(ast) = parsed else {
        return Err(SqlError::new(Kind::Internal, "XX000", "this statement changes no rows"));
    };
    match *ast {
        Ast::Insert(insert) => self::insert(shared, state, insert, name, explained).await,
        ast => change(shared, state, ast, name, explained).await,
    }
}

/// `CREATE TABLE … AS`.
fn create(
    plan: LogicalPlan,
    creation: &Creation,
    name: &TableName,
    statement: &Statement,
) -> Result<Result<Planned, SqlError>, DataFusionError> {
    let named = statement.names.apply(plan.schema().inner());
    let columns = named.fields().iter().map(|field| Column::of_arrow(field)).collect::<Result<Vec<_>, _>>();
    let columns = match columns {
        Ok(columns) => TableSchema::of_columns(columns),
        Err(error) => return Ok(Err(error.into())),
    };
    let new = match creation.table(name.clone(), Some(&columns)) {
        Ok(new) => new,
        Err(error) => return Ok(Err(error)),
    };
    let plan = match cast_columns(plan, 0, name, &columns.arrow())? {
        Ok(plan) => plan,
        Err(error) => return Ok(Err(error)),
    };
    let plan = cluster(plan, &creation.partition_of(&columns))?;
    Ok(Ok(Planned { plan, gone: None, into: Into::New(Box::new(new)), returning: None }))
}

/// `INSERT`.
async fn insert(
    shared: &Shared,
    state: &SessionState,
    mut insert: Insert,
    name: &TableName,
    explained: impl Fn(DataFusionError) -> SqlError,
) -> Result<Planned, SqlError> {
    must_be_plain(&insert)?;
    let returned = insert.returning.take();
    let table = table_to_write(shared, name)?;
    let partition = partition_of(shared, &table)?;
    let now = if insert.overwrite { committed(&table) } else { table.state() };
    let columns = columns_of(name, &table, &now);
    let returning = match returned {
        Some(items) => {
            let called = Ident::with_quote('"', name.table());
            let of_rows = Returning::of(state, &items, &now.arrow_schema, name, &called, &explained);
            Some(Box::pin(of_rows).await?)
        }
        None => None,
    };
    let fixed = take_fixed(&mut insert, &columns)?;
    let mut places = named_places(&insert, &columns, &fixed)?;
    must_match(&insert, places.len())?;
    let values = values_of(state, &fixed).await.map_err(&explained)?;
    let gone = match insert.overwrite {
        true => Some(replaced(state, &columns, &partition, &fixed, &values).await.map_err(&explained)??),
        false => None,
    };
    insert.overwrite = false;
    keep_all_digits(&mut insert, &places, &now);
    if let Some(question) = insert.source.take_if(|source| !matches!(source.body.as_ref(), SetExpr::Values(_))) {
        // Planned by itself: within an `INSERT`, the engine casts all nested `VALUES` to the columns of the table.
        let question = Parsed::Statement(Box::new(Ast::Query(question)));
        let rows = plan_parsed(state, question).await.and_then(|rows| with_types(state, rows)).map_err(&explained)?;
        if rows.schema().fields().len() != places.len() {
            return Err(wrong_count(rows.schema().fields().len(), places.len()));
        }
        let rows = add_to_rows(rows, &values).map_err(&explained)?;
        places.extend(fixed.iter().map(|fixed| fixed.place));
        let rows = in_place(rows, &places, &now.arrow_schema).map_err(&explained)?;
        let rows = cast_columns(rows, 0, name, &now.arrow_schema).map_err(&explained)??;
        let plan = cluster(rows, &partition).map_err(&explained)?;
        return Ok(Planned { plan, gone, into: Into::Old { table, state: now, shape: Shape::Added }, returning });
    }
    add_to_values(&mut insert, &fixed);
    places.extend(fixed.iter().map(|fixed| fixed.place));
    insert.columns =
        places.iter().map(|&place| ObjectName::from(vec![Ident::with_quote('"', columns.names[place])])).collect();
    insert.partitioned = None;
    insert.into = true;
    insert.after_columns = Vec::new();
    read_uuids(&mut insert, &places, &now);
    must_be_no_text_for_bytes(&insert, &places, &now)?;
    let columns_only = format!("{}{COLUMNS_ONLY}", name.table());
    let parts = [name.database(), &columns_only].map(|part| Ident::with_quote('"', part));
    insert.table = TableObject::TableName(ObjectName::from(parts.to_vec()));
    let parsed = Parsed::Statement(Box::new(Ast::Insert(insert)));
    let planned = plan_parsed(state, parsed).await;
    let LogicalPlan::Dml(dml) = planned.map_err(&explained)? else {
        return Err(SqlError::new(Kind::Internal, "XX000", "an INSERT has another plan"));
    };
    let source = source_as_provider(&dml.target).map_err(&explained)?;
    let Some(target) = source.downcast_ref::<ColumnsOnly>() else {
        return Err(SqlError::new(Kind::Internal, "XX000", "an INSERT has another plan"));
    };
    if !matches!(dml.op, WriteOp::Insert(_)) {
        return Err(SqlError::new(Kind::Internal, "XX000", "an INSERT has another plan"));
    }
    let state_of_plan = Arc::clone(target.state());
    // Below the casts to the table's columns are the rows as the query gives them.
    if let LogicalPlan::Projection(casts) = dml.input.as_ref() {
        for (index, &place) in places.iter().enumerate() {
            if let Some(error) = misfit(&casts.input, index, name, state_of_plan.arrow_schema.field(place)) {
                return Err(error);
            }
        }
    }
    let plan = cluster(dml.input.as_ref().clone(), &partition).map_err(&explained)?;
    if gone.is_none() && returning.is_none() {
        let into = Into::Old { table, state: state_of_plan, shape: Shape::Added };
        return Ok(Planned { plan, gone, into, returning });
    }
    // Places of rows, and of returned columns, are those of the state that was planned with.
    if state_of_plan.arrow_schema != now.arrow_schema {
        let message = format!("the columns of table \"{name}\" were changed meanwhile");
        return Err(SqlError::new(Kind::Conflict, "40001", message).with_hint("try again"));
    }
    let state = if gone.is_some() { now } else { state_of_plan };
    Ok(Planned { plan, gone, into: Into::Old { table, state, shape: Shape::Added }, returning })
}

/// The places of the columns that rows give values for.
fn named_places(insert: &Insert, columns: &Columns<'_>, fixed: &[Fixed]) -> Result<Vec<usize>, SqlError> {
    let named: Vec<&ObjectName> = insert.columns.iter().collect();
    let fixed: Vec<usize> = fixed.iter().map(|fixed| fixed.place).collect();
    let mut places = if named.is_empty() && insert.after_columns.is_empty() {
        columns.default_places().into_iter().filter(|place| !fixed.contains(place)).collect()
    } else {
        named.into_iter().map(|name| columns.place(name)).collect::<Result<Vec<_>, _>>()?
    };
    // Hive's `PARTITION (a, b)`: the last columns of the rows are these.
    for field in insert.partitioned.iter().flatten() {
        let Expr::Identifier(word) = field else {
            return Err(SqlError::invalid("0A000", format!("PARTITION ({field}) is not supported"))
                .with_hint("name the column only, and have its value last in the query"));
        };
        let place = columns.place(&ObjectName::from(vec![word.clone()]))?;
        places.retain(|&other| other != place);
        places.push(place);
    }
    for word in &insert.after_columns {
        places.push(columns.place(&ObjectName::from(vec![word.clone()]))?);
    }
    let all = [places.as_slice(), &fixed].concat();
    let twice = all.iter().enumerate().find(|(index, place)| all[..*index].contains(place));
    if let Some((_, &place)) = twice {
        let message = format!("column \"{}\" is named twice", columns.names[place]);
        return Err(SqlError::invalid("42701", message).with_hint("give each column one value"));
    }
    Ok(places)
}

/// Refuses `VALUES` with too few or too many values in a row.
fn must_match(insert: &Insert, columns: usize) -> Result<(), SqlError> {
    if let Some(source) = &insert.source
        && let SetExpr::Values(values) = source.body.as_ref()
        && let Some(row) = values.rows.iter().find(|row| row.content.len() != columns)
    {
        return Err(wrong_count(row.content.len(), columns));
    }
    Ok(())
}

/// Keeps all digits of number literals in `VALUES`, or in a `SELECT`, for decimal columns.
fn keep_all_digits(insert: &mut Insert, places: &[usize], state: &TableState) {
    match insert.source.as_mut().map(|source| source.body.as_mut()) {
        Some(SetExpr::Values(values)) => {
            values.rows.iter_mut().for_each(|row| keep_digits_of(row.content.iter_mut(), places, state));
        }
        Some(SetExpr::Select(select)) => {
            // After a `*` it is not known which columns follow.
            let values = select.projection.iter_mut().map_while(|item| match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
                _ => None,
            });
            keep_digits_of(values, places, state);
        }
        _ => {}
    }
}

fn keep_digits_of<'a>(values: impl Iterator<Item = &'a mut Expr>, places: &[usize], state: &TableState) {
    for (value, &place) in values.zip(places) {
        keep_digits(value, state.arrow_schema.field(place).data_type());
    }
}

/// A text for a column of UUIDs is parsed as one.
fn read_uuids(insert: &mut Insert, places: &[usize], state: &TableState) {
    let Some(SetExpr::Values(values)) = insert.source.as_mut().map(|source| source.body.as_mut()) else { return };
    for (column, &place) in places.iter().enumerate() {
        if !is_uuid(state.arrow_schema.field(place)) {
            continue;
        }
        for value in values.rows.iter_mut().filter_map(|row| row.content.get_mut(column)) {
            if is_text_literal(value) {
                *value = call(TO_UUID, vec![value.clone()]);
            }
        }
    }
}

fn is_text_literal(value: &Expr) -> bool {
    matches!(value, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

/// Refuses texts for columns of bytes: Postgres parses `'\x00ff'` as two bytes, the engine as six letters.
fn must_be_no_text_for_bytes(insert: &Insert, places: &[usize], state: &TableState) -> Result<(), SqlError> {
    let Some(SetExpr::Values(values)) = insert.source.as_ref().map(|source| source.body.as_ref()) else {
        return Ok(());
    };
    for (column, &place) in places.iter().enumerate() {
        let field = state.arrow_schema.field(place);
        let is_text = |value: Option<&Expr>| value.is_some_and(is_text_literal);
        if is_bytes(field.data_type()) && values.rows.iter().any(|row| is_text(row.content.get(column))) {
            let message = format!("column \"{}\" has bytes, and the value is a text", field.name());
            return Err(
                SqlError::invalid("42804", message).with_hint("write bytes as X'00ff', or send them as a parameter")
            );
        }
    }
    Ok(())
}

fn wrong_count(values: usize, columns: usize) -> SqlError {
    SqlError::invalid("42601", format!("INSERT has {values} values for {columns} columns"))
        .with_hint("name the columns that the values are for: INSERT INTO t (a, b) …")
}

fn must_be_plain(insert: &Insert) -> Result<(), SqlError> {
    let refused = [
        (insert.on.is_some(), "ON CONFLICT", "MERGE INTO does it"),
        (insert.output.is_some(), "OUTPUT", "RETURNING has columns of the rows"),
        (insert.source.is_none(), "INSERT without rows", "INSERT INTO t VALUES (…), or INSERT INTO t SELECT …"),
        (insert.or.is_some() || insert.replace_into || insert.ignore, "INSERT OR …", "MERGE INTO does it"),
    ];
    match refused.into_iter().find(|(is_there, ..)| *is_there) {
        None => Ok(()),
        Some((_, what, hint)) => Err(SqlError::invalid("0A000", format!("{what} is not supported")).with_hint(hint)),
    }
}

/// `DELETE`, `UPDATE`, `MERGE`.
async fn change(
    shared: &Shared,
    state: &SessionState,
    mut ast: Ast,
    name: &TableName,
    explained: impl Fn(DataFusionError) -> SqlError,
) -> Result<Planned, SqlError> {
    let table = table_to_write(shared, name)?;
    let now = committed(&table);
    let columns = columns_of(name, &table, &now);
    let shape = match &ast {
        Ast::Delete(_) => Shape::Gone,
        Ast::Update(_) => Shape::Changed,
        _ => Shape::Merged,
    };
    let returning = match returning::take(&mut ast) {
        Some((items, called)) => {
            let called = called.unwrap_or_else(|| Ident::with_quote('"', name.table()));
            let of_rows = Returning::of(state, &items, &now.arrow_schema, name, &called, &explained);
            Some(Box::pin(of_rows).await?)
        }
        None => None,
    };
    let ast = one_by_one(ast, &|function| state.aggregate_functions().contains_key(function))?;
    let asked = Parsed::Statement(Box::new(question(ast, &columns, returning.is_some())?));
    let mut plan = plan_parsed(state, asked).await.map_err(&explained)?;
    let first = match shape {
        Shape::Added | Shape::Gone => None,
        Shape::Changed => Some(2),
        Shape::Merged => Some(3),
    };
    if shape == Shape::Merged {
        plan = cast_choices(plan, 3, name, &now.arrow_schema).map_err(&explained)??;
    }
    if let Some(first) = first {
        plan = cast_columns(plan, first, name, &now.arrow_schema).map_err(&explained)??;
    }
    Ok(Planned { plan, gone: None, into: Into::Old { table, state: now, shape }, returning })
}

/// The committed state of a table, to be changed; subqueries of the statement see the same one.
fn committed(table: &Table) -> Arc<TableState> {
    let now = Arc::new(TableState { tail: Vec::new(), ..TableState::clone(&table.state()) });
    see(table, Arc::clone(&now));
    now
}

fn columns_of<'a>(name: &'a TableName, table: &Table, state: &'a TableState) -> Columns<'a> {
    let names = state.arrow_schema.fields().iter().map(|field| field.name().as_str()).collect();
    let kinds = state.arrow_schema.fields().iter().map(|field| field.data_type()).collect();
    Columns { table: name, called: name.table().to_owned(), names, kinds, is_delivered: table.is_delivered() }
}

/// The partition fields of a table.
fn partition_of(shared: &Shared, table: &Table) -> Result<Vec<PartitionField>, SqlError> {
    let fields = lake(shared)?.layout(table).into_iter();
    let fields = fields.filter(|field| field.is_partition && field.missing.is_none());
    Ok(fields.filter_map(|field| field.field.parse().ok()).collect())
}
