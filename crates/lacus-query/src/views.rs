//! Views: SQL with a name, of lacus or of another engine, that queries read like a table.
//!
//! A view is planned each time it is read, in the dialect it was written in: its functions and operators mean what they
//! meant to whoever wrote it, whatever dialect the question is in. SQL of a dialect that lacus does not speak is refused, not
//! guessed at. All tables of a statement are seen in one state each, also when several views read them.

mod statements;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use lacus_core::{Context, Error, Kind, Result, TableName};
use lacus_lake::views::View;
use lacus_lake::{Lake, Table, TableState};
use tokio::sync::oneshot;

pub(crate) use self::statements::{CreateView, DropViews};

use crate::answer::StopOnDrop;
use crate::dialect::Dialect;
use crate::engine::Shared;
use crate::error::{SqlError, explain, external};
use crate::files::ExternalTable;
use crate::parameters;
use crate::session::plan;
use crate::statement::{StatementKind, parse};

/// How deep views may be nested.
const DEPTH_MAX: usize = 16;

/// The dialects of SQL that lacus speaks, by the names that engines give them, best first.
const SPOKEN: [(&str, Dialect); 7] = [
    ("lacus", Dialect::Lacus),
    ("redshift", Dialect::Redshift),
    ("postgres", Dialect::Lacus),
    ("postgresql", Dialect::Lacus),
    ("athena", Dialect::Athena),
    ("trino", Dialect::Athena),
    ("presto", Dialect::Athena),
];

/// The dialect that a view made in a session of ours states. Athena's is Trino's, which other engines know.
pub(crate) fn name_of(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Lacus => "lacus",
        Dialect::Athena => "trino",
        Dialect::Redshift => "redshift",
    }
}

tokio::task_local! {
    /// The statement that is being planned.
    static PLANNING: Planning;
}

/// What the plans of one statement, and of the views it reads, share.
#[derive(Clone, Default)]
struct Planning {
    /// How many views are around it.
    depth: usize,
    /// The tables that were looked up, in their state then.
    seen: Arc<Mutex<BTreeMap<TableName, Arc<TableState>>>>,
    /// The planned views, by where their metadata is. A statement looks a name up more than once, and views on views would be
    /// planned twice as often with each level.
    planned: Arc<Mutex<BTreeMap<String, Arc<ViewTable>>>>,
    /// The external tables that were looked up, by where their metadata is: all uses see the same files.
    external: Arc<Mutex<BTreeMap<String, Arc<ExternalTable>>>>,
}

/// Plans a statement, or a view that it reads.
pub(crate) async fn as_one<T>(work: impl Future<Output = Result<T, DataFusionError>>) -> Result<T, DataFusionError> {
    let planning = PLANNING.try_with(|around| Planning { depth: around.depth + 1, ..around.clone() });
    let planning = planning.unwrap_or_default();
    if planning.depth > DEPTH_MAX {
        let error = Error::invalid(format!("more than {DEPTH_MAX} views read from each other"))
            .with_hint("does a view read from itself?");
        return Err(external(error));
    }
    PLANNING.scope(planning, work).await
}

/// A table as the statement that is being planned sees it.
pub(crate) fn state_of(table: &Table) -> Arc<TableState> {
    let seen = PLANNING.try_with(|planning| {
        let mut seen = lock(&planning.seen);
        Arc::clone(seen.entry(table.name().clone()).or_insert_with(|| table.state()))
    });
    // Outside of a statement only its columns are of interest.
    seen.unwrap_or_else(|_| table.state())
}

/// Makes the statement being planned see a table in this state, also through views planned before.
pub(crate) fn see(table: &Table, state: Arc<TableState>) {
    // Outside of a statement, nothing is looked up twice.
    let _alone = PLANNING.try_with(|planning| {
        lock(&planning.seen).insert(table.name().clone(), state);
        lock(&planning.planned).clear();
    });
}

/// The external table that a view is, for the statement being planned; none if it is a view.
///
/// # Errors
/// If its columns can't be told.
pub(crate) fn external_of(lake: &Arc<Lake>, view: &View) -> Option<Result<Arc<ExternalTable>>> {
    let seen = PLANNING.try_with(|planning| Arc::clone(&planning.external)).unwrap_or_default();
    if let Some(table) = lock(&seen).get(&view.location) {
        return Some(Ok(Arc::clone(table)));
    }
    let made = ExternalTable::of(lake, view)?.map(Arc::new);
    if let Ok(table) = &made {
        lock(&seen).insert(view.location.clone(), Arc::clone(table));
    }
    Some(made)
}

/// Every change is one assignment: a panic leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plans views, once the engine exists.
#[derive(Default)]
pub(crate) struct ViewPlanner(OnceLock<Weak<Shared>>);

impl ViewPlanner {
    /// Hands over the engine. Only the first call counts.
    pub(crate) fn begin(&self, engine: &Arc<Shared>) {
        self.0.get_or_init(|| Arc::downgrade(engine));
    }

    /// A view as a table. One that can't be read still has columns, and fails only when it is read: listing all tables must
    /// not fail because of it.
    ///
    /// # Errors
    /// If its columns can't be told.
    pub(crate) async fn table(&self, view: &View) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        let planning = PLANNING.try_with(Planning::clone).unwrap_or_default();
        let known = |planned: &Planning| lock(&planned.planned).get(&view.location).cloned();
        if let Some(table) = known(&planning) {
            return Ok(table);
        }
        let table = Arc::new(self.plan(view, planning.clone()).await?);
        lock(&planning.planned).insert(view.location.clone(), Arc::clone(&table));
        Ok(table)
    }

    async fn plan(&self, view: &View, around: Planning) -> Result<ViewTable, DataFusionError> {
        let read = async {
            let shared = self.0.get().and_then(Weak::upgrade);
            let shared = shared.ok_or_else(|| Error::unavailable("the SQL engine does not run"))?;
            let (dialect, sql) = spoken(view)?;
            let (sql, database) = (sql.to_owned(), view.database().to_owned());
            let planning = Arc::clone(&shared);
            let planned = async move { Planned::new(&planning, dialect, &sql, &database).await };
            aside(&shared, PLANNING.scope(around, planned)).await??.named(&shared, &view.columns())
        };
        let query: Result<Query> = read.await.context(format_args!("view \"{}\"", view.name));
        let schema = match &query {
            Ok(query) => Arc::new(Schema::new(query.plan.schema().fields().clone())),
            Err(_) => view.arrow().map_err(external)?,
        };
        let sql = view.statements().first().map(|(_, sql)| (*sql).to_owned()).unwrap_or_default();
        Ok(ViewTable { location: view.location.clone(), query, schema, sql })
    }
}

/// Runs work in a task of its own, which ends when nobody waits for it: nested views would take more stack than a thread has.
pub(crate) async fn aside<T: Send + 'static>(
    shared: &Shared,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, SqlError> {
    let (tell, told) = oneshot::channel();
    let task = StopOnDrop(shared.workers.spawn(async move {
        // Nobody listens once the statement is gone.
        let _gone = tell.send(work.await);
    }));
    let done = told.await;
    drop(task);
    done.map_err(|_| SqlError::new(Kind::Internal, "XX000", "planning ended unexpectedly"))
}

/// The view's SQL in the dialect that lacus speaks best.
fn spoken(view: &View) -> Result<(Dialect, &str)> {
    let statements = view.statements();
    let find = |name: &str| statements.iter().find(|(dialect, _)| dialect.eq_ignore_ascii_case(name));
    let best = SPOKEN.iter().find_map(|(name, dialect)| Some((*dialect, find(name)?.1)));
    best.ok_or_else(|| {
        let has: Vec<&str> = statements.iter().map(|(dialect, _)| *dialect).collect();
        let speaks: Vec<&str> = SPOKEN.iter().map(|(name, _)| *name).collect();
        Error::invalid(format!("its SQL is in dialect {}, which lacus does not speak", has.join(" and ")))
            .with_hint(format!("give it SQL in one of these dialects, too: {}", speaks.join(", ")))
    })
}

/// The query that a view is.
pub(crate) struct Planned {
    plan: LogicalPlan,
    /// The state it was planned with, and will be run with.
    state: SessionState,
    /// Its columns, as they are called.
    pub(crate) columns: SchemaRef,
}

impl Planned {
    /// Plans a query. Unqualified tables are looked for in this database.
    ///
    /// # Errors
    /// If it is no query, or can't be planned.
    pub(crate) async fn new(
        shared: &Arc<Shared>,
        dialect: Dialect,
        sql: &str,
        database: &str,
    ) -> Result<Self, SqlError> {
        let mut statements = parse(sql, dialect, &shared.postgres, &**shared)?;
        let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
            return Err(SqlError::invalid("42601", "a view is one query"));
        };
        if !matches!(statement.kind, StatementKind::Query { command: "SELECT", .. }) {
            return Err(SqlError::invalid("42601", "a view is a query").with_hint("CREATE VIEW v AS SELECT …"));
        }
        let mut state = shared.state(dialect);
        database.clone_into(&mut state.config_mut().options_mut().catalog.default_schema);
        state.mark_start_execution();
        let explained = |error| explain(error, sql, &**shared);
        let plan = plan(&state, &statement).await.map_err(explained)?;
        if !parameters::types(&plan).map_err(explained)?.is_empty() {
            return Err(
                SqlError::invalid("42P02", "a view has no parameters").with_hint("write the value instead of $1")
            );
        }
        let columns = statement.names.apply(plan.schema().inner());
        Ok(Self { plan, state, columns })
    }

    /// Which of its columns are the view's: those with the same names. A query may have more, as tables grow. If names differ
    /// but their number is the same, the view renamed them.
    fn places(&self, names: &[&str]) -> Result<Vec<usize>> {
        let own: Vec<&str> = self.columns.fields().iter().map(|field| field.name().as_str()).collect();
        let by_name: Option<Vec<usize>> = names.iter().map(|name| own.iter().position(|own| own == name)).collect();
        match by_name {
            Some(places) => Ok(places),
            None if own.len() == names.len() => Ok((0..own.len()).collect()),
            None => Err(Error::new(
                Kind::Conflict,
                format!("it has {} columns, and its query has {} by now", names.len(), own.len()),
            )
            .with_hint("make it again: CREATE OR REPLACE VIEW")),
        }
    }

    /// The query with its columns renamed.
    fn named(self, shared: &Arc<Shared>, names: &[&str]) -> Result<Query> {
        let places = self.places(names)?;
        let Self { plan, state, .. } = self;
        let columns = places.into_iter().zip(names).map(|(place, name)| {
            let (table, field) = plan.schema().qualified_field(place);
            Expr::Column(Column::from((table, field))).alias(*name)
        });
        let columns: Vec<Expr> = columns.collect();
        let named = LogicalPlanBuilder::from(plan).project(columns).and_then(LogicalPlanBuilder::build);
        let plan = named.map_err(|error| Error::invalid(error.strip_backtrace()))?;
        // The physical plan becomes part of the outer query's, and is optimised there, once: a second time would remove the
        // limit from sorted partitions.
        let state = SessionStateBuilder::new_from_existing(state).with_physical_optimizer_rules(Vec::new()).build();
        Ok(Query { plan, state, shared: Arc::clone(shared) })
    }
}

/// A view's query, with the view's columns.
struct Query {
    plan: LogicalPlan,
    state: SessionState,
    shared: Arc<Shared>,
}

/// A view that is read.
pub(crate) struct ViewTable {
    /// Where its metadata is.
    location: String,
    /// Why it can't be read, if so.
    query: Result<Query>,
    schema: SchemaRef,
    sql: String,
}

impl ViewTable {
    /// Where its metadata is, and its plan. None if it can't be read.
    pub(crate) fn question(&self) -> Option<(&str, &LogicalPlan)> {
        self.query.as_ref().ok().map(|query| (self.location.as_str(), &query.plan))
    }
}

impl fmt::Debug for ViewTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ViewTable").field(&self.sql).finish()
    }
}

#[async_trait]
impl TableProvider for ViewTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_table_definition(&self) -> Option<&str> {
        Some(&self.sql)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    /// Planned with the view's own state: the rules of another dialect must not change it.
    async fn scan(
        &self,
        _question: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let Query { plan: query, state, shared } = self.query.as_ref().map_err(|error| external(again(error)))?;
        let mut plan = LogicalPlanBuilder::from(query.clone());
        if let Some(filter) = filters.iter().cloned().reduce(Expr::and) {
            plan = plan.filter(filter)?;
        }
        if let Some(projection) = projection {
            let columns =
                projection.iter().map(|&place| Expr::Column(Column::from(query.schema().qualified_field(place))));
            plan = plan.project(columns.collect::<Vec<_>>())?;
        }
        if limit.is_some() {
            plan = plan.limit(0, limit)?;
        }
        let (state, plan) = (state.clone(), plan.build()?);
        let planned = aside(shared, async move { state.create_physical_plan(&plan).await }).await;
        planned.map_err(|error| external(Error::from(error)))?
    }
}

/// The same error once more.
pub(crate) fn again(error: &Error) -> Error {
    let told = Error::new(error.kind(), error.chain());
    match error.hint() {
        Some(hint) => told.with_hint(hint),
        None => told,
    }
}
