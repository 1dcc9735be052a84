//! From a statement that reads to its plan, with the types that its columns come to have.

use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, LogicalPlanBuilder, WriteOp, cast, col, lit};
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as Parsed;

use crate::array_of_rows::collected;
use crate::beside_rows::beside_rows;
use crate::correlated::joinable;
use crate::dialect::Dialect;
use crate::error::SqlError;
use crate::frames::moving;
use crate::json::columns;
use crate::mixed_numbers::as_doubles;
use crate::named_casts::naming_casts;
use crate::once::{computed_once, is_volatile};
use crate::one_row::count_rows;
use crate::parameters;
use crate::peer_frames::of_peers;
use crate::recursions::without_numbers;
use crate::rewrite::{
    joins_at, name_inner_columns, name_sorted_columns, number_first_of_each, put_columns, sharing, tell_columns_apart,
    tell_shared,
};
use crate::set_order::in_no_order;
use crate::set_types::in_common_types;
use crate::spelling::Spellings;
use crate::statement::{Statement, StatementKind};
use crate::time_travel::{self, Moment, Versions};
use crate::totals::whole;
use crate::uuids;
use crate::views::as_one;

/// Plans a query. Refuses whatever would write or define anything, in any form. Each table is seen in one state.
pub(crate) async fn plan(state: &SessionState, statement: &Statement) -> Result<LogicalPlan, DataFusionError> {
    as_one(plan_alone(state, statement)).await
}

async fn plan_alone(state: &SessionState, statement: &Statement) -> Result<LogicalPlan, DataFusionError> {
    let StatementKind::Query { parsed, .. } = &statement.kind else {
        return internal_err!("only queries have plans");
    };
    let parsed = prepared(state, statement, parsed).await?;
    match plan_parsed(state, parsed).await? {
        LogicalPlan::DescribeTable(table) if !table.schema.fields().is_empty() => described(&table.schema),
        plan => with_types(state, plan),
    }
}

/// `DESCRIBE`, with types as SQL calls them and not as the engine does.
fn described(schema: &SchemaRef) -> Result<LogicalPlan, DataFusionError> {
    let is_nullable = schema.fields().iter().map(|field| if field.is_nullable() { "YES" } else { "NO" });
    let row = |((name, kind), is_nullable): ((String, String), &str)| vec![lit(name), lit(kind), lit(is_nullable)];
    let rows = columns(schema).into_iter().zip(is_nullable).map(row).collect();
    let names = (1..).zip(["column_name", "data_type", "is_nullable"]);
    let named = names.map(|(place, name)| col(format!("column{place}")).alias(name));
    LogicalPlanBuilder::values(rows)?.project(named)?.build()
}

/// The part of a statement that reads, with versions of tables and spellings of columns resolved.
pub(crate) async fn prepared(
    state: &SessionState,
    statement: &Statement,
    question: &Parsed,
) -> Result<Parsed, DataFusionError> {
    let moments = &statement.moments;
    let mut parsed = Parsed::clone(question);
    let versions = Versions::of(state, moments).await?;
    versions.apply(&mut parsed);
    let spellings = spellings(state, &parsed, moments).await?;
    if let Some(spelled) = statement.spelled(&spellings)? {
        parsed = spelled;
        versions.apply(&mut parsed);
    }
    statement.put_types(&mut parsed);
    Ok(parsed)
}

/// Plans a query, or an `INSERT` of one; refuses what would write or define anything else. Types are not final yet: see
/// [`with_types`].
pub(crate) async fn plan_parsed(state: &SessionState, parsed: Parsed) -> Result<LogicalPlan, DataFusionError> {
    let parsed = Box::pin(with_shared(state, parsed)).await;
    let (plan, are_shared) = Box::pin(with_shared_queries(state, parsed)).await?;
    let plan = collected(without_numbers(uuids::meant(as_doubles(plan)?)?)?)?;
    let plan = beside_rows(count_rows(plan)?)?;
    let plan = of_peers(moving(in_no_order(joinable(whole(plan)?)?)?)?)?;
    let plan = if are_shared { computed_once(plan)? } else { plan };
    let reads_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    match &plan {
        // The engine plans only the rows: the lake writes them.
        LogicalPlan::Dml(dml) if matches!(dml.op, WriteOp::Insert(_)) => reads_only.verify_plan(&dml.input)?,
        plan => reads_only.verify_plan(plan)?,
    }
    Ok(plan)
}

/// Replaces the names of columns that joins share, from the innermost queries outwards.
async fn with_shared(state: &SessionState, mut parsed: Parsed) -> Parsed {
    for place in 0..sharing(&parsed) {
        let Some(joins) = joins_at(&parsed, place) else { continue };
        // Joins that have no plan by themselves are planned with the whole, which reports what is wrong.
        if let Ok(plan) = state.statement_to_plan(joins).await {
            put_columns(&mut parsed, place, &plan);
        }
    }
    parsed
}

/// What the engine makes of a statement; where something in it may differ each time, with names for the queries of a `WITH` that are
/// read more than once. Whether there are any.
async fn with_shared_queries(state: &SessionState, parsed: Parsed) -> Result<(LogicalPlan, bool), DataFusionError> {
    let mut told = parsed.clone();
    let plan = Box::pin(first_of_each(state, parsed)).await?;
    if !is_volatile(&plan)? || !tell_shared(&mut told) {
        return Ok((plan, false));
    }
    Ok((Box::pin(first_of_each(state, told)).await?, true))
}

/// What the engine makes of a statement; with numbers of rows, where it has no plan for the first of each.
async fn first_of_each(state: &SessionState, mut parsed: Parsed) -> Result<LogicalPlan, DataFusionError> {
    let planned = Box::pin(named(state, parsed.clone())).await;
    let is_missed = match &planned {
        Err(error) => says(error, &[NO_FIRST_IN_ORDER, NO_FIRST_OF_GROUPS, NO_COLUMN]),
        Ok(plan) => plan.exists(|plan| Ok(misses_what_is_first(plan)))?,
    };
    if !is_missed || !number_first_of_each(&mut parsed) {
        return planned;
    }
    let numbered = Box::pin(named(state, parsed)).await;
    // What is wrong with both is said of what was asked.
    if numbered.is_err() && planned.is_err() { planned } else { numbered }
}

/// Whether it asks for the first rows of each of something that is no column below.
fn misses_what_is_first(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Distinct(Distinct::On(first)) = plan else { return false };
    let is_missing = |column: &&Column| !first.input.schema().has_column(column);
    first.on_expr.iter().any(|each| each.column_refs().iter().any(is_missing))
}

/// What the engine makes of a statement; with the names that PostgreSQL has for columns inside, where one is missed. For Trino they
/// have none.
async fn named(state: &SessionState, mut parsed: Parsed) -> Result<LogicalPlan, DataFusionError> {
    let missed = match Box::pin(sorted(state, parsed.clone())).await {
        Err(error) if says(&error, &[NO_COLUMN]) => error,
        planned => return planned,
    };
    let is_postgres = state.config().get_extension::<Dialect>().is_none_or(|dialect| *dialect != Dialect::Athena);
    if !is_postgres || !name_inner_columns(&mut parsed) {
        return Err(missed);
    }
    Box::pin(sorted(state, parsed)).await.map_err(|_| missed)
}

/// The engine's plan; if it does not find a column of `ORDER BY`, with names for the columns that are sorted by place.
async fn sorted(state: &SessionState, mut parsed: Parsed) -> Result<LogicalPlan, DataFusionError> {
    let missed = match Box::pin(told_apart(state, parsed.clone())).await {
        Err(error) if says(&error, &[NO_SORTED_COLUMN]) => error,
        planned => return planned,
    };
    if !name_sorted_columns(&mut parsed) {
        return Err(missed);
    }
    Box::pin(told_apart(state, parsed)).await
}

/// The engine's plan; if two columns would have one name, with other names inside.
async fn told_apart(state: &SessionState, mut parsed: Parsed) -> Result<LogicalPlan, DataFusionError> {
    match state.statement_to_plan(parsed.clone()).await {
        Err(error) if says(&error, &[NAMES_OF_ONE_SELECT, NAMES_OF_A_PLAN, NAMES_OF_A_TABLE]) => {}
        planned => return planned,
    }
    let state = naming_casts(state);
    match state.statement_to_plan(parsed.clone()).await {
        Err(error) if says(&error, &[NAMES_OF_ONE_SELECT, NAMES_OF_A_PLAN, NAMES_OF_A_TABLE]) => {}
        planned => return planned,
    }
    tell_columns_apart(&mut parsed);
    state.statement_to_plan(parsed).await
}

/// How the engine says that a column does not exist.
const NO_COLUMN: &str = "No field named";
/// What the engine says of the first rows of each, where it does not find what they are sorted by, and where there are groups or
/// windows.
const NO_FIRST_IN_ORDER: &str = "DISTINCT ON expressions must match";
const NO_FIRST_OF_GROUPS: &str = "DISTINCT ON expressions with GROUP BY";
/// How the engine says that two columns have the same name.
const NAMES_OF_ONE_SELECT: &str = "require unique expression names";
const NAMES_OF_A_PLAN: &str = "Schema contains duplicate";
/// The same where one of them is of a table.
const NAMES_OF_A_TABLE: &str = "which would be ambiguous";
/// How the engine says that it does not find a column of `ORDER BY` where rows are grouped.
const NO_SORTED_COLUMN: &str = "Column in ORDER BY must be in GROUP BY";

fn says(error: &DataFusionError, texts: &[&str]) -> bool {
    let said = error.strip_backtrace();
    texts.iter().any(|text| said.contains(text))
}

/// The plan with values in place of its parameters.
///
/// # Errors
/// If there are too few, or one is none of what the statement takes it for.
pub(crate) fn filled(
    state: &SessionState,
    plan: LogicalPlan,
    values: &[ScalarValue],
) -> Result<Result<LogicalPlan, SqlError>, DataFusionError> {
    if plan.get_parameter_names()?.is_empty() {
        return parameters::fill(plan, values);
    }
    match parameters::fill(plan, values)? {
        Ok(plan) => with_types(state, plan).map(Ok),
        refused => Ok(refused),
    }
}

/// The plan with nulls for its parameters, to know its columns.
pub(super) fn with_nulls(
    state: &SessionState,
    plan: LogicalPlan,
    types: &[Option<DataType>],
) -> Result<LogicalPlan, DataFusionError> {
    let nulls = types.iter().map(|kind| ScalarValue::try_from(kind.as_ref().unwrap_or(&DataType::Utf8)));
    let nulls = nulls.collect::<Result<Vec<_>, _>>()?;
    // What can't be planned without a value says so when there is one.
    Ok(plan.clone().with_param_values(nulls).and_then(|known| with_types(state, known)).unwrap_or(plan))
}

/// The plan with its final types. Before it is analyzed, a `UNION` has the types of its first part, and a `CASE` that of its
/// first value. With unknown parameters it stays as it is.
pub(crate) fn with_types(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    if !plan.get_parameter_names()?.is_empty() {
        return Ok(plan);
    }
    let analyzed = |plan| state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {});
    let typed = in_common_types(analyzed(plan)?)?;
    with_signs(if typed.transformed { analyzed(typed.data)? } else { typed.data })
}

/// Casts unsigned integers, such as `row_number()`, to signed ones: neither tables nor clients know others.
fn with_signs(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let is_unsigned = |field: &Field| field.data_type().is_unsigned_integer();
    if matches!(plan, LogicalPlan::Dml(_)) || !plan.schema().fields().iter().any(|field| is_unsigned(field)) {
        return Ok(plan);
    }
    let columns = plan.schema().iter().map(|(table, field)| {
        let column = Expr::Column(Column::from((table, field)));
        if is_unsigned(field) {
            cast(column, DataType::Int64).alias_qualified(table.cloned(), field.name())
        } else {
            column
        }
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// The spellings of columns in the tables that a statement reads.
async fn spellings(state: &SessionState, parsed: &Parsed, moments: &[Moment]) -> Result<Spellings, DataFusionError> {
    let mut schemas = Vec::new();
    for name in state.resolve_table_references(parsed)? {
        let Ok(database) = state.schema_for_ref(name.clone()) else { continue };
        let found = database.table(name.table()).await;
        let found = found.map_err(|error| time_travel::located(moments, name.table(), error))?;
        schemas.extend(found.map(|table| table.schema()));
    }
    Ok(Spellings::of(&schemas))
}
