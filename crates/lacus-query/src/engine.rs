//! The engine: what all sessions share.
//!
//! One memory pool for all queries, one cache of Parquet footers, one set of functions and catalogs, and threads of its
//! own, so that a heavy query takes time from other queries and not from acknowledging events.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::CatalogProvider;
use datafusion::error::DataFusionError;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::object_store::{ObjectStoreRegistry, ObjectStoreUrl};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::enforce_sorting::EnforceSorting;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_optimizer::sanity_checker::SanityCheckPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::scalar::ScalarValue;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use lacus_core::settings::{self, Price};
use lacus_core::{Error, MAIN_DATABASE, Result};
use lacus_lake::{AlterTables, Lake};
use object_store::ObjectStore;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use trino_functions::{Semantics, install};
use url::Url;

use crate::activity::Sessions;
use crate::allowance::OfAll;
use crate::array_of_rows;
use crate::array_order::ArrayOrder;
use crate::array_texts::ArrayTexts;
use crate::asked_after::AskedAfter;
use crate::asked_order::AskedOrder;
use crate::beside_distinct::SumsBesideDistinct;
use crate::catalog::LakeCatalog;
use crate::coalesced::Coalesce;
use crate::counted_files::CountedFiles;
use crate::dependencies::NoDependencies;
use crate::depth::STACK_BYTES;
use crate::dialect::Dialect;
use crate::elements::SubqueriesOfElements;
use crate::error::Names;
use crate::exceptions::with_exceptions;
use crate::filter_stop::StopFilters;
use crate::found_first::FoundFirst;
use crate::intervals::Intervals;
use crate::key_bounds::KeyBounds;
use crate::late::LateMaterialization;
use crate::lone_laterals::LoneLaterals;
use crate::memory::{SharedMemory, fit_sorts};
use crate::needed_keys::NeededKeys;
use crate::null_joins::WholeNotIn;
use crate::offset_order::OffsetOrder;
use crate::once::Planner;
use crate::one_partition::OnePartition;
use crate::one_sided_joins::OneSidedJoins;
use crate::opaque::OpaqueValues;
use crate::outer_nulls::OuterNulls;
use crate::own_rows::OwnRows;
use crate::parts::GroupsInParts;
use crate::postgres::{self, Oids, is_system};
use crate::reuse::Answers;
use crate::series;
use crate::session::Session;
use crate::stop::NoStops;
use crate::subquery_order::OrderBesideSubqueries;
use crate::table::STORE_URL;
use crate::uuids;
use crate::variables::SERVER_VERSION;
use crate::views::ViewPlanner;
use crate::whole_order::WholeOrder;
use crate::whole_union::WholeUnion;
use crate::yielding_joins::YieldingJoins;

/// The catalog that every session starts in.
pub(crate) const CATALOG: &str = "lake";

/// Sorts and joins that don't fit in memory may use this many times `memory_max` of temporary disk.
const SPILL_FACTOR: u64 = 16;

/// A partial aggregate that finds so many groups to a row at first passes all others on as they are.
const PASSED_ON: f64 = 0.75;

/// Statements that may write at the same time; others wait for their turn.
const WRITES_MAX: usize = 4;

/// Answers SQL for one lake. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    /// What a session is copied from.
    templates: Templates,
    pub(crate) catalog: Arc<dyn CatalogProvider>,
    /// Rewrites what Postgres clients ask about tables.
    pub(crate) postgres: PostgresCompatibilityParser,
    /// The lake, and who may alter its tables; none in tests.
    pub(crate) altering: Option<(Arc<Lake>, Arc<dyn AlterTables>)>,
    /// The numbers of tables that Postgres clients know.
    pub(crate) oids: Arc<Oids>,
    /// The sessions that others see.
    pub(crate) sessions: Arc<Sessions>,
    /// The limits of one statement, for all users.
    pub(crate) limits: OfAll,
    /// Whether no session may write.
    pub(crate) read_only: bool,
    /// What reading costs.
    pub(crate) price: Price,
    /// Earlier answers that may be given again.
    pub(crate) answers: Answers,
    /// Turns of statements that write: each holds rows in memory.
    pub(crate) writes: Arc<Semaphore>,
    pub(crate) workers: Workers,
}

impl Engine {
    /// Starts an engine for a lake, whose tables `altering` changes.
    ///
    /// # Errors
    /// If there are no threads or no place for temporary files.
    pub fn new(lake: Arc<Lake>, altering: Arc<dyn AlterTables>, settings: &settings::Query) -> Result<Self> {
        let store = lake.store();
        let views = Arc::new(ViewPlanner::default());
        let catalog = Arc::new(LakeCatalog::new(Arc::clone(&lake), Arc::clone(&views)));
        let engine = Self::with(catalog, store, Some((lake, altering)), settings)?;
        views.begin(&engine.shared);
        Ok(engine)
    }

    /// An engine for the tables of `catalog`, with their files in `store`.
    #[cfg(test)]
    pub(crate) fn over(
        catalog: Arc<dyn CatalogProvider>,
        store: Arc<dyn ObjectStore>,
        settings: &settings::Query,
    ) -> Result<Self> {
        Self::with(catalog, store, None, settings)
    }

    fn with(
        catalog: Arc<dyn CatalogProvider>,
        store: Arc<dyn ObjectStore>,
        altering: Option<(Arc<Lake>, Arc<dyn AlterTables>)>,
        settings: &settings::Query,
    ) -> Result<Self> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let runtime = runtime(store, settings).map_err(no_engine)?;
        let oids = Arc::new(Oids::default());
        let mut config = config(threads);
        fit_sorts(&mut config, settings.memory_max.as_usize());
        let sessions = Arc::new(Sessions::default());
        let templates = Templates::new(&catalog, (&oids, &sessions), runtime, config).map_err(no_engine)?;
        let workers = Workers::start(threads)?;
        Ok(Self {
            shared: Arc::new(Shared {
                templates,
                catalog,
                postgres: PostgresCompatibilityParser::new(),
                altering,
                oids,
                sessions,
                limits: OfAll::new(settings),
                read_only: settings.read_only,
                price: settings.price_per_tb,
                answers: Answers::new(settings.reuse_bytes_max.as_usize()),
                writes: Arc::new(Semaphore::new(WRITES_MAX)),
                workers,
            }),
        })
    }

    /// A session: one for each connection.
    #[must_use]
    pub fn session(&self, dialect: Dialect) -> Session {
        Session::new(Arc::clone(&self.shared), dialect)
    }
}

impl Shared {
    /// The session state that a statement of this dialect begins with.
    pub(crate) fn state(&self, dialect: Dialect) -> SessionState {
        let template = match dialect.semantics() {
            Semantics::Trino => &self.templates.trino,
            Semantics::DataFusion => &self.templates.own,
        };
        let mut state = template.clone();
        dialect.apply(state.config_mut().options_mut());
        // For our planners, which are given nothing but the state.
        state.config_mut().set_extension(Arc::new(dialect));
        state
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

impl Names for Shared {
    fn tables(&self) -> Vec<String> {
        let mut names = Vec::new();
        for database in self.catalog.schema_names().into_iter().filter(|name| !is_system(name)) {
            let tables = self.catalog.schema(&database).map(|database| database.table_names()).unwrap_or_default();
            let is_main = database == MAIN_DATABASE;
            names.extend(tables.into_iter().map(|table| if is_main { table } else { format!("{database}.{table}") }));
        }
        names
    }

    fn functions(&self) -> Vec<String> {
        let state = &self.templates.trino;
        let scalar = state.scalar_functions().keys();
        scalar.chain(state.aggregate_functions().keys()).chain(state.window_functions().keys()).cloned().collect()
    }
}

fn no_engine(error: DataFusionError) -> Error {
    Error::unavailable("start the SQL engine").with_source(error)
}

fn runtime(store: Arc<dyn ObjectStore>, settings: &settings::Query) -> Result<Arc<RuntimeEnv>, DataFusionError> {
    let spill = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::OsTmpDirectory)
        .with_max_temp_directory_size(settings.memory_max.0.saturating_mul(SPILL_FACTOR));
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(SharedMemory::new(settings.memory_max.as_usize())))
        .with_disk_manager_builder(spill)
        .with_object_store_registry(Arc::new(OnlyTheLake { store }))
        .build_arc()
}

/// One state for the functions of each kind of dialect.
struct Templates {
    /// The engine's functions, and those of Trino that it lacks.
    own: SessionState,
    /// Trino's functions and semantics.
    trino: SessionState,
}

impl Templates {
    fn new(
        catalog: &Arc<dyn CatalogProvider>,
        told: (&Arc<Oids>, &Arc<Sessions>),
        runtime: Arc<RuntimeEnv>,
        config: SessionConfig,
    ) -> Result<Self, DataFusionError> {
        let state = template(catalog, told, runtime, config)?;
        let mut planners = state.expr_planners().to_vec();
        planners.insert(0, Arc::new(ArrayTexts));
        let own = SessionStateBuilder::new_from_existing(state.clone()).with_expr_planners(planners);
        let mut own = own.build();
        own.register_expr_planner(Arc::new(Intervals))?;
        let mut own = install(own, Semantics::DataFusion)?;
        own.register_function_rewrite(Arc::new(ArrayOrder))?;
        own.register_udf(Arc::new(ScalarUDF::from(Coalesce::default())))?;
        Ok(Self { own, trino: install(state, Semantics::Trino)? })
    }
}

/// How questions are planned and run.
fn config(threads: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, MAIN_DATABASE)
        .with_create_default_catalog_and_schema(false)
        // It has tables of ours.
        .with_information_schema(false)
        .with_target_partitions(threads);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    // If a thread has seen only nulls of a column, its half of the filter is left out (`max(v), min(v)` keeps only larger
    // rows): DataFusion 54.1, `aggregates/no_grouping.rs`.
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // It skips groups whose values are all null, and confuses columns of the same name (DataFusion 54.1,
    // `aggregates/topk_stream.rs`, `topk_aggregation.rs`).
    options.optimizer.enable_topk_aggregation = false;
    // Stacked windows need more rows than the one that needs the most (DataFusion 54.1, `limit_pushdown_past_window.rs`).
    options.optimizer.enable_window_limits = false;
    // One spill file per batch: a reader that waits at an open file never sees what another writer puts into the next one,
    // and the query hangs (DataFusion issue 24883, mended after 54.1).
    options.execution.max_spill_file_size_bytes = 0;
    // Of so many groups it makes a table that is not near the processor, to save a few rows: grouping in parts costs less.
    options.execution.skip_partial_aggregation_probe_ratio_threshold = PASSED_ON;
    // Field ids that only one part of a plan has are no reason to reject it.
    options.execution.skip_physical_aggregate_schema_check = true;
    config
}

fn template(
    catalog: &Arc<dyn CatalogProvider>,
    (oids, sessions): (&Arc<Oids>, &Arc<Sessions>),
    runtime: Arc<RuntimeEnv>,
    config: SessionConfig,
) -> Result<SessionState, DataFusionError> {
    let builder = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
    let builder =
        builder.with_optimizer_rules(optimizer_rules()).with_relation_planners(vec![Arc::new(NoDependencies)]);
    let builder = builder.with_physical_optimizer_rules(physical_optimizer_rules());
    let state = builder.with_query_planner(Arc::new(Planner)).build();
    let context = SessionContext::new_with_state(state);
    context.register_catalog(CATALOG, Arc::clone(catalog));
    postgres::install(&context, CATALOG, catalog, oids, sessions)?;
    context.register_udf(version());
    array_of_rows::register(&context);
    series::register(&context);
    uuids::register(&context);
    Ok(context.state())
}

/// The optimizer's rules, with ours in front of those that need them.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    type Rule = Arc<dyn OptimizerRule + Send + Sync>;
    let count_on_dependencies: [&dyn OptimizerRule; 3] =
        [&EliminateDuplicatedExpr::new(), &OptimizeProjections::new(), &ReplaceDistinctWithAggregate::new()];
    let with_mends = |rule: Rule| {
        let before: Option<Rule> = if rule.name() == PushDownFilter::new().name() {
            Some(Arc::new(WholeNotIn))
        } else if rule.name() == SingleDistinctToGroupBy::new().name() {
            Some(Arc::new(SumsBesideDistinct))
        } else if rule.name() == DecorrelateLateralJoin::new().name() {
            Some(Arc::new(LoneLaterals))
        } else if count_on_dependencies.iter().any(|other| other.name() == rule.name()) {
            Some(Arc::new(NoDependencies))
        } else {
            None
        };
        before.into_iter().chain([with_exceptions(rule)])
    };
    let first: [Rule; 4] =
        [Arc::new(SubqueriesOfElements), Arc::new(OpaqueValues), Arc::new(KeyBounds), Arc::new(NeededKeys)];
    let last: Rule = Arc::new(CountedFiles);
    let mended = Optimizer::new().rules.into_iter().flat_map(with_mends);
    first.into_iter().chain(mended).chain([last]).collect()
}

/// The same for physical plans.
fn physical_optimizer_rules() -> Vec<Rule> {
    let first: [Rule; 3] = [Arc::new(OrderBesideSubqueries), Arc::new(OffsetOrder), Arc::new(OuterNulls)];
    let last: [Rule; 3] = [Arc::new(OwnRows), Arc::new(YieldingJoins), Arc::new(GroupsInParts)];
    let mended = PhysicalOptimizer::new().rules.into_iter().flat_map(with_mends);
    first.into_iter().chain(mended).chain(last).collect()
}

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// A rule of DataFusion, with the rules that mend its input before it and those that mend its output after it.
fn with_mends(rule: Rule) -> Vec<Rule> {
    if rule.name() == FilterPushdown::new().name() {
        vec![Arc::new(AskedAfter), Arc::new(StopFilters), rule, Arc::new(NoStops)]
    } else if rule.name() == FilterPushdown::new_post_optimization().name() {
        let before: [Rule; 3] = [Arc::new(WholeOrder), Arc::new(LateMaterialization), Arc::new(StopFilters)];
        before.into_iter().chain([rule, Arc::new(NoStops), Arc::new(FoundFirst)]).collect()
    } else if rule.name() == ProjectionPushdown::new().name() {
        vec![Arc::new(WholeUnion), Arc::new(OneSidedJoins), rule, Arc::new(NoStops)]
    } else if rule.name() == EnforceSorting::new().name() {
        vec![rule, Arc::new(OnePartition)]
    } else if rule.name() == SanityCheckPlan::new().name() {
        vec![Arc::new(AskedOrder), rule]
    } else {
        vec![rule]
    }
}

/// `version()`: drivers read the number behind "PostgreSQL".
fn version() -> ScalarUDF {
    let text = ScalarValue::Utf8(Some(format!("PostgreSQL {SERVER_VERSION}")));
    let answer = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(text.clone()));
    create_udf("version", Vec::new(), DataType::Utf8, Volatility::Stable, Arc::new(answer))
}

/// The only place that a plan can read from: the lake. There is no local file system behind it.
#[derive(Debug)]
struct OnlyTheLake {
    store: Arc<dyn ObjectStore>,
}

impl ObjectStoreRegistry for OnlyTheLake {
    fn register_store(&self, _url: &Url, _store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
        if *url == *ObjectStoreUrl::parse(STORE_URL)?.as_ref() {
            return Ok(Arc::clone(&self.store));
        }
        Err(DataFusionError::Plan(format!("reading {url} is not supported")))
    }
}

/// The threads that plan and run queries.
pub(crate) struct Workers(Option<Runtime>);

impl Workers {
    fn start(threads: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| Error::unavailable("start the threads of the SQL engine").with_source(error))?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
        self.0.as_ref().expect("only drop takes it").spawn(work)
    }
}

/// Running queries are stopped, not waited for.
impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
