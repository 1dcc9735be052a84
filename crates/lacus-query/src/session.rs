//! A session: one connection's dialect and variables, and the statements it runs.
//!
//! A statement is planned when it runs, so that it sees the tables as they are then; a prepared statement is planned
//! once more each time, and refused if its columns have changed since it was described.

mod job;
mod listing;
mod planning;
mod told;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::CatalogProvider;
use datafusion::execution::SessionState;
use datafusion::scalar::ScalarValue;
use lacus_core::{Kind, StatementLimits};
use lacus_lake::Lake;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout_at;

use self::job::{Begun, Job};
use self::planning::with_nulls;
pub(crate) use self::planning::{filled, plan, plan_parsed, prepared, with_types};
pub(crate) use self::told::must_be_as_prepared;
use crate::activity::Activity;
use crate::allowance::Allowance;
use crate::answer::{Answer, BATCHES_AHEAD, End, Running, StopOnDrop, crashed};
use crate::cost::{self, Scans};
use crate::cursors::{Around, Cursors, must_be_short};
use crate::declared::Declared;
use crate::dialect::Dialect;
use crate::engine::Shared;
use crate::error::{Names, SqlError, explain};
use crate::files;
use crate::parameters;
use crate::postgres::{Asking, OWNER, of_session};
use crate::search_path::together;
use crate::statement::{Statement, StatementKind, parse};
use crate::transactions::{Block, Transaction, outside};
use crate::variables::Variables;
use crate::writing::{Checked, Limits};

/// One connection's view of the lake.
pub struct Session {
    shared: Arc<Shared>,
    variables: Arc<Mutex<Variables>>,
    /// The client, for `current_user` and `pg_backend_pid()`, and its user's limits.
    client: Mutex<Client>,
    /// What the client set when it connected, and a reset restores.
    initial: Mutex<Variables>,
    /// The open transaction block.
    block: Mutex<Option<Block>>,
    cursors: Cursors,
    /// Stops the statement that is writing, if there is one.
    writing: Mutex<Option<watch::Sender<bool>>>,
    /// What others see of the session, if it is listed.
    activity: OnceLock<Arc<Activity>>,
}

/// Who a session is for.
#[derive(Debug, Clone)]
struct Client {
    user: String,
    backend: i32,
    limits: StatementLimits,
}

impl Default for Client {
    fn default() -> Self {
        Self { user: OWNER.to_owned(), backend: 0, limits: StatementLimits::default() }
    }
}

/// Marks a session as writing until it is dropped.
struct WritingNow<'a>(&'a Session);

impl Drop for WritingNow<'_> {
    fn drop(&mut self) {
        *self.0.writing() = None;
    }
}

/// The turn of a statement that writes, with its limits and deadline.
pub(crate) struct Turn<'a> {
    pub(crate) limits: Limits,
    pub(crate) allowance: Allowance,
    _writing: WritingNow<'a>,
    _permit: OwnedSemaphorePermit,
}

/// A statement that was checked against the tables, with what a client may ask about it before it runs.
#[derive(Debug, Clone)]
pub struct Prepared {
    statement: Statement,
    /// The types of `$1`, `$2` …; none where the statement does not tell.
    parameters: Vec<Option<DataType>>,
    schema: SchemaRef,
}

impl Prepared {
    /// The statement.
    #[must_use]
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The types of `$1`, `$2` …; none where the statement does not tell.
    #[must_use]
    pub fn parameters(&self) -> &[Option<DataType>] {
        &self.parameters
    }

    /// The columns of the answer. None for a statement that returns no rows.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, dialect: Dialect) -> Self {
        let mut variables = Variables::new(dialect);
        variables.read_only_by(shared.read_only);
        let session = Self {
            shared,
            initial: Mutex::new(variables.clone()),
            variables: Arc::new(Mutex::new(variables)),
            client: Mutex::default(),
            block: Mutex::default(),
            cursors: Cursors::default(),
            writing: Mutex::default(),
            activity: OnceLock::new(),
        };
        session.show_limits();
        session.begin();
        session
    }

    /// Tells the session its client: the user's name, the number of the connection, and the user's limits, which replace
    /// those of the settings. To be called before anything else is set.
    pub fn set_client(&self, user: &str, backend: i32, limits: StatementLimits) {
        *lock(&self.client) = Client { user: user.to_owned(), backend, limits };
        self.show_limits();
    }

    /// The session without a limit on rows: for what lacus asks in order to act, and no client is answered with.
    #[must_use]
    pub fn uncounted(self) -> Self {
        lock(&self.client).limits.rows_max = Some(u64::MAX);
        self
    }

    /// Makes the variables show the limits of a statement.
    fn show_limits(&self) {
        let (allowance, time_max) = (self.allowance(), lock(&self.client).limits.time_max);
        self.variables().limited_by(&allowance, time_max);
    }

    /// Keeps the variables as they are now as those that a reset restores.
    pub fn begin(&self) {
        *lock(&self.initial) = self.variables().clone();
    }

    /// Rolls back the transaction block.
    pub fn roll_back(&self) {
        if let Some(block) = lock(&self.block).take() {
            *self.variables() = block.roll_back();
        }
        self.cursors.roll_back();
    }

    /// The columns of a cursor.
    ///
    /// # Errors
    /// If there is no such cursor.
    pub fn cursor(&self, name: &str) -> Result<SchemaRef, SqlError> {
        self.cursors.schema(name)
    }

    /// Reads SQL text: statements separated by semicolons, or none.
    ///
    /// # Errors
    /// For what is no SQL, and for statements that lacus does not do.
    pub fn parse(&self, sql: &str) -> Result<Vec<Statement>, SqlError> {
        parse(sql, self.variables().dialect(), &self.shared.postgres, &*self.shared)
    }

    /// Answers one statement given as text.
    ///
    /// # Errors
    /// What is wrong with it, or why it can't be answered now.
    pub async fn query(&self, sql: &str, parameters: &[ScalarValue]) -> Result<Answer, SqlError> {
        let mut statements = self.parse(sql)?;
        match (statements.pop(), statements.is_empty()) {
            (Some(statement), true) => self.run(&statement, parameters).await,
            (None, _) => Err(SqlError::invalid("42601", "there is no statement")),
            (Some(_), false) => {
                Err(SqlError::invalid("42601", "there is more than one statement").with_hint("send them one by one"))
            }
        }
    }

    /// Answers one statement.
    ///
    /// # Errors
    /// What is wrong with it, or why it can't be answered now.
    pub async fn run(&self, statement: &Statement, parameters: &[ScalarValue]) -> Result<Answer, SqlError> {
        let started = Instant::now();
        Ok(self.run_as(statement, parameters, None).await?.since(started))
    }

    /// Answers a prepared statement.
    ///
    /// # Errors
    /// As [`run`](Self::run), and if the answer would have other columns than when it was prepared.
    pub async fn run_prepared(&self, prepared: &Prepared, parameters: &[ScalarValue]) -> Result<Answer, SqlError> {
        let Prepared { statement, schema, .. } = prepared;
        match statement.declared.with_numbers(&prepared.parameters, parameters) {
            Some(declared) => self.run_as(&statement.clone().declaring(&declared), parameters, Some(schema)).await,
            None => self.run_as(statement, parameters, Some(schema)).await,
        }
    }

    /// Checks a statement and finds out what its parameters and columns are, without running it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn prepare(&self, statement: Statement) -> Result<Prepared, SqlError> {
        if let StatementKind::Write(_) = &statement.kind {
            let Checked { parameters, returned } = self.check_write(statement.clone()).await?;
            return Ok(Prepared {
                statement,
                parameters,
                schema: returned.unwrap_or_else(|| Arc::new(Schema::empty())),
            });
        }
        if let StatementKind::Around(around) = &statement.kind
            && let Some(query) = around.query()
        {
            let Prepared { parameters, .. } = Box::pin(self.prepare(query.clone())).await?;
            return Ok(Prepared { statement, parameters, schema: Arc::new(Schema::empty()) });
        }
        if let StatementKind::Unload(unload) = &statement.kind {
            let question = Box::pin(self.prepare(Statement::clone(&unload.question))).await?;
            return Ok(Prepared { statement, parameters: question.parameters, schema: files::answer_schema() });
        }
        if let StatementKind::Cost(question) = &statement.kind {
            let question = Box::pin(self.prepare(Statement::clone(question))).await?;
            return Ok(Prepared { statement, parameters: question.parameters, schema: cost::answer_schema() });
        }
        let StatementKind::Query { .. } = &statement.kind else {
            let schema = match &statement.kind {
                StatementKind::Show(name) => self.show(name.as_deref())?.schema().clone(),
                StatementKind::External(external) => external.schema(),
                StatementKind::Around(Around::Fetch { name, is_move: false, .. }) => self.cursors.schema(name)?,
                _ => Arc::new(Schema::empty()),
            };
            return Ok(Prepared { statement, parameters: Vec::new(), schema });
        };
        let (state, statement_now) = (self.state_now(), statement.clone());
        let (tell, told) = oneshot::channel();
        let task = StopOnDrop(self.shared.workers.spawn(async move {
            // Nobody listens once the session is gone.
            let _gone = tell.send(plan(&state, &statement_now).await);
        }));
        let planned = told.await;
        drop(task);
        let explained = |error| explain(error, &statement.sql, &*self.shared);
        let plan = planned
            .map_err(|_| SqlError::new(Kind::Internal, "XX000", "planning ended unexpectedly"))?
            .map_err(explained)?;
        let parameters = parameters::types(&plan).map_err(explained)?;
        let plan = match parameters.as_slice() {
            [] => plan,
            types => with_nulls(&self.state_now(), plan, types).map_err(explained)?,
        };
        let schema = statement.names.apply(plan.schema().inner());
        Ok(Prepared { parameters, schema, statement })
    }

    /// The same with declared types of parameters. Where a cast to one can't stand, the statement decides.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn prepare_declared(&self, statement: Statement, declared: &Declared) -> Result<Prepared, SqlError> {
        match self.prepare(statement.clone().declaring(declared)).await {
            Err(error) if declared.is_any() => self.prepare(statement).await.map_err(|_| error),
            prepared => prepared,
        }
    }

    /// The value of a session variable.
    ///
    /// # Errors
    /// If there is no such variable.
    pub fn variable(&self, name: &str) -> Result<String, SqlError> {
        self.variables().get(name).map(str::to_owned)
    }

    /// Sets a session variable, as `SET` does.
    ///
    /// # Errors
    /// If there is no such variable, or it can't have this value.
    pub fn set_variable(&self, name: &str, value: &str) -> Result<(), SqlError> {
        self.variables().set(name, Some(value))
    }

    async fn run_as(
        &self,
        statement: &Statement,
        parameters: &[ScalarValue],
        expected: Option<&SchemaRef>,
    ) -> Result<Answer, SqlError> {
        let of_values = statement.declared.of_values(parameters);
        let statement =
            &of_values.map_or(Cow::Borrowed(statement), |declared| Cow::Owned(statement.clone().declaring(&declared)));
        match &statement.kind {
            StatementKind::Query { command, .. } => self.run_query(command, statement, parameters, expected).await,
            StatementKind::Set { name, value, is_local } => {
                self.set(name, value.as_deref(), *is_local)?;
                Ok(Answer::done(statement.command()))
            }
            StatementKind::ResetAll(command) => {
                if *command == "DISCARD ALL" {
                    if lock(&self.block).is_some() {
                        return Err(SqlError::invalid("25001", "DISCARD ALL cannot run inside a transaction block"));
                    }
                    self.cursors.close(None)?;
                }
                *self.variables() = lock(&self.initial).clone();
                Ok(Answer::done(command))
            }
            StatementKind::Transaction(transaction) => self.transact(transaction),
            StatementKind::Around(around) => self.run_around(statement, around, parameters, expected).await,
            StatementKind::Show(name) => self.show(name.as_deref()),
            StatementKind::Alter(alteration) => self.alter(alteration).await,
            StatementKind::Write(write) => self.write(statement, write, parameters, expected).await,
            StatementKind::CreateView(view) => self.create_view(statement, view).await,
            StatementKind::DropViews(views) => self.drop_views(views).await,
            StatementKind::Unload(unload) => self.unload(unload, parameters).await,
            StatementKind::Cost(question) => self.cost(question, parameters).await,
            StatementKind::Load(load) => self.load(load).await,
            StatementKind::External(external) => self.external(external).await,
            StatementKind::Nothing(command) => Ok(Answer::done(command)),
        }
    }

    /// Sets a variable; without a value, to what it was when the session began.
    fn set(&self, name: &str, value: Option<&str>, is_local: bool) -> Result<(), SqlError> {
        let mut block = lock(&self.block);
        if is_local && block.is_none() {
            // Postgres warns: the setting would end with this statement.
            return self.variables().get(name).map(drop);
        }
        let mut variables = self.variables();
        let before = variables.get(name)?.to_owned();
        match value {
            Some(value) => variables.set(name, Some(value))?,
            None => {
                let initial = lock(&self.initial).get(name)?.to_owned();
                variables.set(name, None)?;
                variables.restore(name, initial);
            }
        }
        match block.as_mut() {
            Some(block) if is_local => block.keep(name, before),
            // This setting ends with the block, however it was made.
            Some(block) if name != "transaction_read_only" => block.let_go(name),
            _ => {}
        }
        Ok(())
    }

    fn transact(&self, transaction: &Transaction) -> Result<Answer, SqlError> {
        let mut block = lock(&self.block);
        match (transaction, block.as_mut()) {
            (Transaction::Begin { read_only }, None) => {
                let mut begun = Block::begin(&self.variables());
                if *read_only {
                    begun.keep("transaction_read_only", self.variable("transaction_read_only")?);
                    self.variables().set("transaction_read_only", Some("on"))?;
                }
                *block = Some(begun);
            }
            // Postgres warns that there is a block already, or none.
            (Transaction::Begin { .. }, Some(_)) => {}
            (Transaction::Commit, _) => {
                if let Some(block) = block.take() {
                    block.commit(&mut self.variables());
                }
                self.cursors.commit();
            }
            (Transaction::Rollback, _) => {
                drop(block);
                self.roll_back();
            }
            (Transaction::Savepoint(_), None) => return Err(outside("SAVEPOINT")),
            (Transaction::RollbackTo(_), None) => return Err(outside("ROLLBACK TO SAVEPOINT")),
            (Transaction::Release(_), None) => return Err(outside("RELEASE SAVEPOINT")),
            (Transaction::Savepoint(name), Some(block)) => {
                must_be_short(name)?;
                block.savepoint(name, &self.variables())?;
            }
            (Transaction::RollbackTo(name), Some(block)) => {
                let before = block.roll_back_to(name)?;
                *self.variables() = before;
            }
            (Transaction::Release(name), Some(block)) => block.release(name)?,
        }
        Ok(Answer::done(transaction.command()))
    }

    async fn run_around(
        &self,
        statement: &Statement,
        around: &Around,
        parameters: &[ScalarValue],
        expected: Option<&SchemaRef>,
    ) -> Result<Answer, SqlError> {
        match around {
            Around::Declare { name, hold, query } => {
                let is_in_block = lock(&self.block).is_some();
                if !hold && !is_in_block {
                    return Err(outside("DECLARE CURSOR without HOLD"));
                }
                let answer = self.run_query("SELECT", query, parameters, None).await?;
                self.cursors.declare(name, *hold, is_in_block, answer)?;
                Ok(Answer::done(statement.command()))
            }
            Around::Fetch { name, rows, is_move: false } => {
                let schema = self.cursors.schema(name)?;
                must_be_as_prepared(expected, &schema)?;
                self.cursors.fetch(name, *rows)
            }
            Around::Fetch { name, rows, is_move: true } => self.cursors.pass(name, *rows).await,
            Around::Close(name) => {
                self.cursors.close(name.as_deref())?;
                Ok(Answer::done(statement.command()))
            }
            Around::Copy { query, .. } => self.run_query("COPY", query, parameters, None).await,
            Around::Deallocate(_) => Ok(Answer::done(statement.command())),
            Around::Prepare(_) | Around::Execute(_) => {
                let message = format!("{} is for sessions of the Postgres protocol", statement.command());
                Err(SqlError::invalid("0A000", message).with_hint("send the statement itself"))
            }
        }
    }

    async fn run_query(
        &self,
        command: &'static str,
        statement: &Statement,
        parameters: &[ScalarValue],
        expected: Option<&SchemaRef>,
    ) -> Result<Answer, SqlError> {
        let started = Instant::now();
        let allowance = self.allowance();
        let deadline = allowance.deadline(started);
        let (begin, begun) = oneshot::channel();
        let (send, batches) = mpsc::channel(BATCHES_AHEAD);
        let mut state = self.state_now();
        let scans = Scans::begin(&mut state, false);
        let job = Job {
            shared: Arc::clone(&self.shared),
            state,
            statement: statement.clone(),
            parameters: parameters.to_vec(),
            expected: expected.cloned(),
            allowance,
            deadline: deadline.clone(),
        };
        let mut task = StopOnDrop(self.shared.workers.spawn(job.run(begin, send)));
        match timeout_at(deadline.at, begun).await.map_err(|_| deadline.passed())? {
            Ok(begun) => {
                let plan = match begun? {
                    Begun::Running(plan) => plan,
                    Begun::Given(given) => {
                        let schema = statement.names.apply(&given.schema);
                        return Ok(Answer::given(command, schema, started, given.batches));
                    }
                };
                let schema = statement.names.apply(&plan.schema());
                let end = End::at(deadline);
                let running = Running { plan, scans, planning: started.elapsed(), batches, task, end };
                Ok(Answer::running(command, schema, started, running))
            }
            Err(_) => Err(match (&mut task.0).await {
                Err(error) => crashed(error),
                Ok(()) => SqlError::new(Kind::Internal, "XX000", "the query ended before it began"),
            }),
        }
    }

    /// What a query would read; nothing is read.
    async fn cost(&self, question: &Statement, parameters: &[ScalarValue]) -> Result<Answer, SqlError> {
        let allowance = self.allowance();
        let deadline = allowance.deadline(Instant::now());
        let mut state = self.state_now();
        let scans = Scans::begin(&mut state, true);
        let job = Job {
            shared: Arc::clone(&self.shared),
            state,
            statement: question.clone(),
            parameters: parameters.to_vec(),
            expected: None,
            allowance,
            deadline: deadline.clone(),
        };
        let (tell, told) = oneshot::channel();
        let _task = StopOnDrop(self.shared.workers.spawn(async move {
            // Nobody listens once the session is gone.
            let _gone = tell.send(job.plan().await.map(drop));
        }));
        let planned = timeout_at(deadline.at, told).await.map_err(|_| deadline.passed())?;
        planned.map_err(|_| SqlError::new(Kind::Internal, "XX000", "planning ended unexpectedly"))??;
        Ok(Answer::ready("EXPLAIN", cost::answer_schema(), vec![scans.answer(self.shared.price)?]))
    }

    /// The lake, to change what is in it.
    pub(crate) fn lake(&self) -> Result<&Arc<Lake>, SqlError> {
        let altering = self.shared.altering.as_ref();
        altering.map(|(lake, _)| lake).ok_or_else(|| SqlError::invalid("0A000", "nothing can be changed here"))
    }

    fn show(&self, name: Option<&str>) -> Result<Answer, SqlError> {
        let variables = self.variables();
        let columns: Vec<(&str, Vec<&str>)> = match name {
            Some(name) => vec![(name, vec![variables.get(name)?])],
            None => {
                let (names, values) = variables.iter().unzip();
                vec![("name", names), ("setting", values)]
            }
        };
        let fields: Vec<Field> = columns.iter().map(|(name, _)| Field::new(*name, DataType::Utf8, false)).collect();
        let schema = Arc::new(Schema::new(fields));
        let arrays = columns.into_iter().map(|(_, texts)| Arc::new(StringArray::from(texts)) as ArrayRef).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)
            .map_err(|error| explain(error.into(), "", &*self.shared))?;
        Ok(Answer::ready("SHOW", schema, vec![batch]))
    }

    /// Stops the statement that is writing, unless its commit has begun: its own answer tells. Whether there was one.
    pub fn stop_writing(&self) -> bool {
        // The receiver goes with the statement.
        self.writing().as_ref().is_some_and(|stop| stop.send(true).is_ok())
    }

    /// Waits for a turn to write; [`stop_writing`](Self::stop_writing) stops the statement from then on.
    ///
    /// # Errors
    /// If it is stopped, or took too long.
    pub(crate) async fn turn_to_write(&self) -> Result<Turn<'_>, SqlError> {
        let (stop, stopped) = watch::channel(false);
        *self.writing() = Some(stop);
        let writing = WritingNow(self);
        let allowance = self.allowance();
        let mut limits = Limits { deadline: allowance.deadline(Instant::now()), stopped };
        let permit = limits.within(Arc::clone(&self.shared.writes).acquire_owned()).await?;
        let permit = permit.map_err(|_| SqlError::new(Kind::Unavailable, "57P01", "the server is stopping"))?;
        Ok(Turn { limits, allowance, _writing: writing, _permit: permit })
    }

    /// The limits of a statement that begins now.
    fn allowance(&self) -> Allowance {
        let Client { user, limits, .. } = lock(&self.client).clone();
        let statement_timeout = self.variables().statement_timeout();
        Allowance::new(&self.shared.limits, &user, &limits, statement_timeout)
    }

    /// Whether statements that write are refused.
    pub(crate) fn is_read_only(&self) -> bool {
        self.shared.read_only || self.variables().is_read_only()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn writing(&self) -> MutexGuard<'_, Option<watch::Sender<bool>>> {
        // Every change is one assignment: a panic leaves nothing half done.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names that exist.
    pub(crate) fn names(&self) -> &dyn Names {
        &*self.shared
    }

    pub(crate) fn catalog(&self) -> &dyn CatalogProvider {
        &*self.shared.catalog
    }

    /// The engine's state with this session's settings.
    pub(crate) fn state_now(&self) -> SessionState {
        let mut state = self.shared.state(self.variables().dialect());
        let Client { user, backend, .. } = lock(&self.client).clone();
        let (variables, sessions) = (Arc::clone(&self.variables), Arc::clone(&self.shared.sessions));
        let asking = Asking { user, backend, variables, sessions };
        of_session(&mut state, &asking, &self.shared.oids);
        if let Some(path) = self.path() {
            state.config_mut().options_mut().catalog.default_schema = together(&path);
        }
        state.mark_start_execution();
        state
    }

    pub(crate) fn variables(&self) -> MutexGuard<'_, Variables> {
        // Every change is one assignment: a panic leaves nothing half done.
        self.variables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one assignment: a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
