//! Statements that write on their way: limits, the question's answer piece by piece to the lake, one commit.
//!
//! Until the commit begins, a statement that takes too long or is cancelled changes nothing. Once it has begun, it is waited
//! for: who is told that a statement was stopped can rely on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{AsArray, BooleanArray, Int64Array, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{Statement as Ast, TableObject};
use lacus_core::{Error, Kind, TableName};
use lacus_lake::foreign::Properties;
use lacus_lake::{Piece, RowPlace, Target, Written};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use super::planning::{Into, Planned, Shape, lake, plan, table_to_write};
use super::questions::{Doing, target_name};
use super::returning::{Kept, Returning};
use super::{Creation, ExternalSchema, Write};
use crate::allowance::{Allowance, Deadline};
use crate::alter::Alteration;
use crate::answer::{Answer, StopOnDrop};
use crate::engine::Shared;
use crate::error::{SqlError, explain};
use crate::files::{is_external, must_not_be_external};
use crate::large_joins::physical_plan;
use crate::parameters;
use crate::running::RunningPlan;
use crate::session::{Session, Turn, must_be_as_prepared};
use crate::stated_name::StatedName;
use crate::statement::{Statement, StatementKind};

/// Pieces that wait for the lake.
const PIECES_AHEAD: usize = 2;
/// How often to ask for the rows again when another engine changed them meanwhile.
const TRIES_MAX: u32 = 3;

/// Until when a statement may go on.
pub(crate) struct Limits {
    pub(crate) deadline: Deadline,
    pub(crate) stopped: watch::Receiver<bool>,
}

impl Limits {
    /// Waits until the statement has to stop, and says why.
    pub(crate) async fn over(&mut self) -> SqlError {
        tokio::select! {
            () = sleep_until(self.deadline.at) => self.deadline.passed(),
            Ok(_) = self.stopped.wait_for(|stopped| *stopped) => {
                SqlError::cancelled("canceling statement due to user request")
            }
        }
    }

    /// Does something, unless the statement has to stop first.
    pub(crate) async fn within<T>(&mut self, work: impl Future<Output = T>) -> Result<T, SqlError> {
        tokio::select! {
            why = self.over() => Err(why),
            done = work => Ok(done),
        }
    }
}

/// Sets a flag when it goes.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Session {
    /// Runs a statement that writes.
    pub(crate) async fn write(
        &self,
        statement: &Statement,
        write: &Write,
        parameters: &[ScalarValue],
        expected: Option<&SchemaRef>,
    ) -> Result<Answer, SqlError> {
        self.must_be_allowed(write.command())?;
        match write {
            Write::CreateTable(creation) => self.create_table(creation).await,
            Write::DropTables { names, if_there } => self.drop_tables(names, *if_there).await,
            Write::CreateDatabase { command, name, unless_there } => {
                self.create_database(command, name, *unless_there).await
            }
            Write::CreateExternalSchema(schema) => self.create_external_schema(write.command(), schema).await,
            Write::DropDatabases { command, names, if_there } => self.drop_databases(command, names, *if_there).await,
            Write::CreateTableAs(creation, _) => {
                if self.is_there_already(creation, &self.target(write)?)? {
                    return Ok(Answer::wrote(write.command(), 0));
                }
                self.write_rows(statement, write, parameters, expected).await
            }
            Write::Rows { .. } => self.write_rows(statement, write, parameters, expected).await,
        }
    }

    /// The table that a statement writes to.
    fn target(&self, write: &Write) -> Result<TableName, SqlError> {
        match write {
            Write::CreateTableAs(creation, _) => self.meant_new(&creation.name),
            write => self.meant(&written_table(write)?.0),
        }
    }

    /// Changes the columns or the properties of a table.
    pub(crate) async fn alter(&self, alteration: &Alteration) -> Result<Answer, SqlError> {
        self.must_be_allowed("ALTER TABLE")?;
        let stated = &alteration.table;
        let no_table = || SqlError::new(Kind::NotFound, "42P01", format!("there is no table \"{stated}\""));
        let (lake, altering) = self.shared().altering.as_ref().ok_or_else(no_table)?;
        let table = &self.meant(stated)?;
        must_not_be_external(lake, table)?;
        let found = lake.table(table).ok_or_else(no_table)?;
        if !alteration.properties.is_empty() {
            lake.set_properties(table, alteration.properties.clone()).await?;
            return Ok(Answer::done("ALTER TABLE"));
        }
        let changes = alteration.changes(&found.state().schema);
        if !changes.is_empty() {
            altering.alter(table, changes).await?;
        }
        Ok(Answer::done("ALTER TABLE"))
    }

    /// The parameters of a statement that writes and the columns it returns, after checking that it can be done.
    pub(crate) async fn check_write(&self, statement: Statement) -> Result<Checked, SqlError> {
        let name = match &statement.kind {
            StatementKind::Write(write) if write.question().is_some() => self.target(write)?,
            _ => return Ok(Checked::default()),
        };
        let (shared, state) = (Arc::clone(self.shared()), self.state_now());
        let work = async move {
            let StatementKind::Write(write) = &statement.kind else { return Ok(Checked::default()) };
            let planned = plan(&shared, &state, &statement, write, &name).await?;
            let parameters = parameters::types(&planned.plan);
            let parameters = parameters.map_err(|error| explain(error, &statement.sql, &*shared))?;
            Ok(Checked { parameters, returned: planned.returning.map(|returning| returning.schema) })
        };
        let (tell, told) = oneshot::channel();
        let task = StopOnDrop(self.shared().workers.spawn(async move {
            // Nobody listens once the session is gone.
            let _gone = tell.send(work.await);
        }));
        let checked = told.await;
        drop(task);
        checked.map_err(|_| SqlError::new(Kind::Internal, "XX000", "planning ended unexpectedly"))?
    }

    pub(crate) fn must_be_allowed(&self, command: &str) -> Result<(), SqlError> {
        if self.is_read_only() {
            return Err(SqlError::new(
                Kind::Denied,
                "25006",
                format!("cannot execute {command}: this session only reads"),
            )
            .with_hint("SET default_transaction_read_only = off, unless query.read_only is set in lacus.toml"));
        }
        Ok(())
    }

    fn is_there_already(&self, creation: &Creation, name: &TableName) -> Result<bool, SqlError> {
        let lake = lake(self.shared())?;
        if let Some(damage) = lake.damage_of(name) {
            return Err(damage.into());
        }
        if lake.table(name).is_some() {
            let there = || SqlError::new(Kind::Exists, "42P07", format!("table \"{name}\" exists"));
            return if creation.unless_there {
                Ok(true)
            } else {
                Err(there().with_hint("drop it first, or INSERT INTO it"))
            };
        }
        if !lake.is_database(name.database()) {
            return Err(no_database(name.database()));
        }
        Ok(false)
    }

    async fn create_table(&self, creation: &Creation) -> Result<Answer, SqlError> {
        let lake = lake(self.shared())?;
        let name = self.meant_new(&creation.name)?;
        if !self.is_there_already(creation, &name)? {
            lake.make_table(creation.table(name, None)?).await?;
        }
        Ok(Answer::done("CREATE TABLE"))
    }

    async fn drop_tables(&self, names: &[StatedName], if_there: bool) -> Result<Answer, SqlError> {
        let lake = lake(self.shared())?;
        must_be_one("DROP TABLE", names)?;
        let names = names.iter().map(|name| self.meant(name)).collect::<Result<Vec<TableName>, _>>()?;
        for name in &names {
            let is_there = lake.table(name).is_some() || is_external(lake, name);
            if !is_there && (!if_there || lake.damage_of(name).is_some()) {
                table_to_write(self.shared(), name)?;
            }
        }
        for name in names.iter().filter(|name| is_external(lake, name)) {
            lake.drop_view(name).await?;
        }
        let altering = self.shared().altering.as_ref().map(|(_, altering)| altering);
        for name in names.iter().filter(|name| lake.table(name).is_some()) {
            match altering {
                Some(altering) => altering.drop_table(name, false).await?,
                None => lake.drop_table(name, false).await?,
            }
        }
        Ok(Answer::done("DROP TABLE"))
    }

    async fn create_database(&self, command: &'static str, name: &str, unless_there: bool) -> Result<Answer, SqlError> {
        let made = lake(self.shared())?.create_database(name, &Properties::new()).await;
        made_unless_there(made, command, name, unless_there)?;
        Ok(Answer::done(command))
    }

    async fn create_external_schema(&self, command: &'static str, schema: &ExternalSchema) -> Result<Answer, SqlError> {
        let lake = lake(self.shared())?;
        let ExternalSchema { name, unless_there, database, makes_database } = schema;
        if name != database && lake.is_database(name) {
            if *unless_there {
                return Ok(Answer::done(command));
            }
            return Err(database_exists("CREATE EXTERNAL SCHEMA", name));
        }
        if *makes_database {
            self.create_database(command, database, true).await?;
        }
        if !lake.is_database(database) {
            return Err(SqlError::new(Kind::NotFound, "3F000", format!("database \"{database}\" does not exist"))
                .with_hint("CREATE EXTERNAL DATABASE IF NOT EXISTS at the end makes it"));
        }
        // The alias exists already.
        if name != database {
            let made = lake.create_other_name(name, database).await;
            made_unless_there(made, "CREATE EXTERNAL SCHEMA", name, *unless_there)?;
        }
        Ok(Answer::done(command))
    }

    async fn drop_databases(
        &self,
        command: &'static str,
        names: &[String],
        if_there: bool,
    ) -> Result<Answer, SqlError> {
        let lake = lake(self.shared())?;
        must_be_one(command, names)?;
        for name in names {
            match lake.drop_database(name).await {
                Err(error) if error.kind() == Kind::NotFound && if_there => {}
                dropped => dropped.map_err(|error| match error.kind() {
                    Kind::NotFound => no_database(name).with_hint(format!("{command} IF EXISTS {name}")),
                    Kind::Conflict => SqlError::new(Kind::Conflict, "2BP01", error.message())
                        .with_hint("drop its tables first; main always stays"),
                    _ => error.into(),
                })?,
            }
        }
        Ok(Answer::done(command))
    }

    /// Runs a statement with a question.
    async fn write_rows(
        &self,
        statement: &Statement,
        write: &Write,
        parameters: &[ScalarValue],
        expected: Option<&SchemaRef>,
    ) -> Result<Answer, SqlError> {
        let mut turn = self.turn_to_write().await?;
        let mut tries = 1;
        let written = loop {
            match self.write_once(statement, write, parameters, expected, &mut turn).await {
                Err(error) if error.kind() == Kind::Conflict && tries < TRIES_MAX => tries += 1,
                done => break done?,
            }
        };
        let rows = match write {
            Write::Rows { command: "DELETE" | "UPDATE", .. } => written.gone,
            Write::Rows { command: "MERGE", .. } => written.merged,
            _ => written.added,
        };
        Ok(match written.returned {
            Some((schema, batches)) => Answer::returned(write.command(), rows, schema, batches),
            None => Answer::wrote(write.command(), rows),
        })
    }

    async fn write_once(
        &self,
        statement: &Statement,
        write: &Write,
        parameters: &[ScalarValue],
        expected: Option<&SchemaRef>,
        turn: &mut Turn<'_>,
    ) -> Result<Counted, SqlError> {
        let Turn { limits, allowance, .. } = turn;
        // Resolved once: a table that appears meanwhile in an earlier database of the search path must not get these rows.
        let name = self.target(write)?;
        let _stay = match write {
            Write::Rows { .. } => {
                let (_, is_changed) = written_table(write)?;
                let table = table_to_write(self.shared(), &name)?;
                // Rows to change must be in files, and the columns of rows in the tail committed.
                if let Some((_, altering)) = &self.shared().altering
                    && table.is_delivered()
                {
                    limits.within(altering.flush(&name)).await??;
                }
                if is_changed { Some(limits.within(table.files_stay()).await?) } else { None }
            }
            _ => None,
        };
        let (begin, begun) = oneshot::channel();
        let (end, mut ended) = oneshot::channel();
        let (send, pieces) = mpsc::channel(PIECES_AHEAD);
        let job = Job {
            shared: Arc::clone(self.shared()),
            state: self.state_now(),
            statement: statement.clone(),
            write: write.clone(),
            name,
            parameters: parameters.to_vec(),
            allowance: allowance.clone(),
        };
        let task = StopOnDrop(self.shared().workers.spawn(job.run(begin, send, end)));
        let unexpected = || SqlError::new(Kind::Internal, "XX000", "the statement ended unexpectedly");
        let (target, returned) = limits.within(begun).await?.map_err(|_| unexpected())??;
        if let Some(schema) = &returned {
            must_be_as_prepared(expected, schema)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let _stop = SetOnDrop(Arc::clone(&stop));
        let mut writing = std::pin::pin!(lake(self.shared())?.write(target, pieces, Arc::clone(&stop)));
        let written = tokio::select! {
            written = &mut writing => written,
            why = limits.over() => {
                stop.store(true, Ordering::Relaxed);
                drop(task);
                return match writing.await {
                    // It was too late to stop it.
                    Ok(written) => Ok(Counted::of(written, ended.try_recv().ok(), returned)),
                    // Nobody knows whether the commit happened.
                    Err(error) if error.kind() == Kind::Internal => Err(of_lake(error)),
                    Err(_) => Err(why),
                };
            }
        };
        // The question reports its end before it drops the sender of pieces.
        match (written, ended.try_recv()) {
            (Ok(written), how) => Ok(Counted::of(written, how.ok(), returned)),
            (Err(_), Ok(Err(error))) => Err(error),
            (Err(error), _) => Err(of_lake(error)),
        }
    }
}

/// Rows of a statement.
struct Counted {
    added: u64,
    gone: u64,
    /// Rows that a `MERGE` changed, deleted or inserted.
    merged: u64,
    /// What is returned of them.
    returned: Option<(SchemaRef, Vec<RecordBatch>)>,
}

impl Counted {
    fn of(written: Written, ended: Option<Result<Ended, SqlError>>, returned: Option<SchemaRef>) -> Self {
        // Only a question that ended well is committed.
        let ended = ended.and_then(Result::ok);
        let merged = ended.as_ref().map_or(written.added.max(written.gone), |ended| ended.merged);
        let rows = ended.map(|ended| ended.returned).unwrap_or_default();
        Self { added: written.added, gone: written.gone, merged, returned: returned.map(|schema| (schema, rows)) }
    }
}

/// What a look at a statement finds.
#[derive(Default)]
pub(crate) struct Checked {
    /// The types of its parameters.
    pub(crate) parameters: Vec<Option<DataType>>,
    /// The columns that it returns.
    pub(crate) returned: Option<SchemaRef>,
}

/// What is known once a question is answered completely.
#[derive(Default)]
struct Ended {
    /// Rows that a `MERGE` did something with.
    merged: u64,
    returned: Vec<RecordBatch>,
}

/// The lake's error, with the SQLSTATE that clients know.
pub(crate) fn of_lake(error: Error) -> SqlError {
    let message = error.chain();
    let code = match error.kind() {
        Kind::Invalid if message.contains("can't be null") => "23502",
        Kind::Invalid if message.contains("changed twice") => "21000",
        kind => kind.sqlstate(),
    };
    let sql = SqlError::new(error.kind(), code, message);
    match error.hint() {
        Some(hint) => sql.with_hint(hint),
        None => sql,
    }
    .with_source(error)
}

/// With several, each would be a commit, and the first done when the second is refused.
fn must_be_one<T>(command: &str, names: &[T]) -> Result<(), SqlError> {
    if names.len() > 1 {
        return Err(SqlError::invalid("0A000", format!("{command} takes one name"))
            .with_hint("each is committed by itself: write a statement for each"));
    }
    Ok(())
}

/// The outcome of making a database, for who may want it only unless it is there. Only the lake knows: two may make it at once.
fn made_unless_there(made: Result<(), Error>, command: &str, name: &str, unless_there: bool) -> Result<(), SqlError> {
    match made {
        Err(error) if error.kind() == Kind::Exists && unless_there => Ok(()),
        Err(error) if error.kind() == Kind::Exists => Err(database_exists(command, name)),
        made => Ok(made?),
    }
}

fn database_exists(command: &str, name: &str) -> SqlError {
    SqlError::new(Kind::Exists, "42P06", format!("database \"{name}\" exists"))
        .with_hint(format!("{command} IF NOT EXISTS {name}"))
}

fn no_database(name: &str) -> SqlError {
    SqlError::new(Kind::NotFound, "3F000", format!("database \"{name}\" does not exist"))
        .with_hint(format!("CREATE SCHEMA {name}"))
}

/// The table whose rows a statement changes, and whether rows are removed: then its files must stay meanwhile.
fn written_table(write: &Write) -> Result<(StatedName, bool), SqlError> {
    let no_rows = || SqlError::new(Kind::Internal, "XX000", "this statement changes no rows");
    let Write::Rows { parsed, .. } = write else { return Err(no_rows()) };
    let Parsed::Statement(ast) = parsed.as_ref() else { return Err(no_rows()) };
    match ast.as_ref() {
        Ast::Insert(insert) => match &insert.table {
            TableObject::TableName(name) => Ok((StatedName::of(name)?, insert.overwrite)),
            other => Err(SqlError::invalid("42809", format!("\"{other}\" is no table"))),
        },
        changing => Ok((target_name(changing)?, true)),
    }
}

/// A question that can be run.
type Question = Arc<dyn ExecutionPlan>;

/// The question of a statement on its way through the engine's threads.
struct Job {
    shared: Arc<Shared>,
    state: SessionState,
    statement: Statement,
    write: Write,
    /// The table that it writes to.
    name: TableName,
    parameters: Vec<ScalarValue>,
    allowance: Allowance,
}

impl Job {
    async fn run(
        self,
        begin: oneshot::Sender<Result<(Target, Option<SchemaRef>), SqlError>>,
        send: mpsc::Sender<Piece>,
        end: oneshot::Sender<Result<Ended, SqlError>>,
    ) {
        let (plan, gone, into, returning) = match self.plan().await {
            Ok(planned) => planned,
            Err(error) => {
                // Nobody listens once the statement is stopped.
                let _gone = begin.send(Err(error));
                return;
            }
        };
        let (target, shape) = match into {
            Into::New(new) => (Target::New(new), Shape::Added),
            Into::Old { table, state, shape } => {
                // A row may be found through several rows of another table.
                (Target::Old { table, state, may_repeat: shape == Shape::Gone }, shape)
            }
        };
        let returned = returning.as_ref().map(|returning| Arc::clone(&returning.schema));
        if begin.send(Ok((target, returned))).is_err() {
            return;
        }
        let answered = self.answers(gone, plan, shape, returning.as_ref(), &send).await;
        let is_whole = answered.is_ok();
        // Nobody listens once the statement is stopped.
        let _gone = end.send(answered);
        if is_whole {
            // If the lake has stopped already, it says why.
            let _gone = send.send(Piece::End).await;
        }
    }

    /// The plans of the question and of the one for removed rows, where the answers go, and what is returned of them.
    async fn plan(&self) -> Result<(Question, Option<Question>, Into, Option<Returning>), SqlError> {
        let explained = |error| explain(error, &self.statement.sql, &*self.shared);
        let planned = plan(&self.shared, &self.state, &self.statement, &self.write, &self.name).await?;
        let Planned { plan, gone, into, returning } = planned;
        let plan = parameters::fill(plan, &self.parameters).map_err(explained)??;
        let gone = match gone {
            Some(gone) => Some(physical_plan(&self.state, &gone).await.map_err(explained)?),
            None => None,
        };
        Ok((physical_plan(&self.state, &plan).await.map_err(explained)?, gone, into, returning))
    }

    /// Sends the answers of both questions, and keeps what is returned of them.
    async fn answers(
        &self,
        gone: Option<Question>,
        plan: Question,
        shape: Shape,
        returning: Option<&Returning>,
        send: &mpsc::Sender<Piece>,
    ) -> Result<Ended, SqlError> {
        if let Some(gone) = gone {
            self.answer(gone, Shape::Gone, None, send).await?;
        }
        let Some(returning) = returning else {
            let merged = self.answer(plan, shape, None, send).await?;
            return Ok(Ended { merged, returned: Vec::new() });
        };
        let explained = |error| explain(error, &self.statement.sql, &*self.shared);
        let mut kept = Kept::new(returning);
        let merged = self.answer(plan, shape, Some(&mut kept), send).await?;
        let returned = returning.answers(kept.batches(), &self.state, &self.allowance, explained).await?;
        Ok(Ended { merged, returned })
    }

    /// Sends the answer of a question. Returns the number of rows that a `MERGE` did something with.
    async fn answer(
        &self,
        plan: Question,
        shape: Shape,
        mut kept: Option<&mut Kept<'_>>,
        send: &mpsc::Sender<Piece>,
    ) -> Result<u64, SqlError> {
        let explained = |error| explain(error, &self.statement.sql, &*self.shared);
        let mut rows = RunningPlan::begin(plan, &self.state, &self.allowance).map_err(explained)?;
        let mut done = 0;
        while let Some(batch) = rows.next(explained).await? {
            if let Some(kept) = &mut kept {
                kept.add(shape, &batch, explained)?;
            }
            for piece in pieces(shape, batch, &mut done).map_err(explained)? {
                if send.send(piece).await.is_err() {
                    return Ok(done);
                }
            }
        }
        Ok(done)
    }
}

/// What a part of an answer changes.
fn pieces(shape: Shape, rows: RecordBatch, done: &mut u64) -> Result<Vec<Piece>, DataFusionError> {
    if rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    Ok(match shape {
        Shape::Added => vec![Piece::Added(rows)],
        Shape::Gone => vec![Piece::Gone(places(&rows)?)],
        Shape::Changed => vec![Piece::Gone(places(&rows)?), Piece::Added(behind(&rows, 2)?)],
        Shape::Merged => {
            let doing = numbers(&rows, 2)?.clone();
            let is = |wanted: &[Doing]| {
                let is_one = |value: Option<i64>| wanted.iter().any(|doing| value == Some(*doing as i64));
                doing.iter().map(|value| Some(is_one(value))).collect::<BooleanArray>()
            };
            let gone = filter_record_batch(&rows, &is(&[Doing::Update, Doing::Delete]))?;
            let added = filter_record_batch(&rows, &is(&[Doing::Update, Doing::Insert]))?;
            *done += is(&[Doing::Update, Doing::Delete, Doing::Insert]).true_count() as u64;
            let mut pieces = Vec::new();
            if gone.num_rows() > 0 {
                pieces.push(Piece::Gone(places(&gone)?));
            }
            if added.num_rows() > 0 {
                pieces.push(Piece::Added(behind(&added, 3)?));
            }
            pieces
        }
    })
}

/// The columns from one on.
fn behind(rows: &RecordBatch, first: usize) -> Result<RecordBatch, DataFusionError> {
    Ok(rows.project(&(first..rows.num_columns()).collect::<Vec<_>>())?)
}

fn places(rows: &RecordBatch) -> Result<Vec<RowPlace>, DataFusionError> {
    let (files, numbers) = (numbers(rows, 0)?, numbers(rows, 1)?);
    let place = |(file, row): (Option<i64>, Option<i64>)| {
        Some(RowPlace { file: u32::try_from(file?).ok()?, row: u64::try_from(row?).ok()? })
    };
    let places = files.iter().zip(numbers).map(place).collect::<Option<Vec<_>>>();
    places.ok_or_else(|| DataFusionError::Internal("a row that goes has no place".to_owned()))
}

pub(super) fn numbers(rows: &RecordBatch, column: usize) -> Result<&Int64Array, DataFusionError> {
    let column = rows.columns().get(column).and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.ok_or_else(|| DataFusionError::Internal("the place of a row is no number".to_owned()))
}
