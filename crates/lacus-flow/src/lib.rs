//! What must keep happening: deliveries from the log to tables.
//!
//! A delivery is a function of (log, last commit): kill it anywhere, start it again, and the tables hold the same rows.
//! Progress is recorded in one place only, the table's commit; nothing here writes a file.

mod altering;
mod decoding;
mod delivery;
mod halves;
mod hints;
mod judging;
mod names;
mod pending;
mod progress;
mod reading;
mod replay;
mod routing;
mod segment;
mod shape;
mod tables;
mod upkeep;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lacus_core::{Clock, Context, Error, Kind, Offsets, Result, Settings, StreamName, TableName, settings};
use lacus_lake::{CommitReport, Lake};
use lacus_stream::{Log, MessageIds, StreamInfo};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::decoding::{Decoding, Source};
use crate::delivery::{Command, Delivery};
pub use crate::progress::{DeliveryStatus, ShardStatus};
use crate::progress::{Progress, TailBudget};
pub use crate::replay::ReplayReport;
pub use crate::tables::delivered;

/// Requests that may wait for one delivery at once.
const COMMANDS_MAX: usize = 64;
/// How long a new stream may wait for its delivery, unless a query asks for it: nearly all changes of the log are records,
/// and looking at all streams after each group of them would cost more than the group.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often files of log and lake that nobody needs any more are removed.
const LET_GO_EVERY: Duration = Duration::from_secs(60);

/// One delivery per stream, running. Cheap to clone.
#[derive(Clone)]
pub struct Deliveries(Arc<Inner>);

struct Inner {
    log: Log,
    lake: Arc<Lake>,
    ids: Arc<MessageIds>,
    settings: settings::Delivery,
    /// What the settings say about the tables of some streams.
    shapes: BTreeMap<StreamName, Arc<settings::Shape>>,
    clock: Arc<dyn Clock>,
    budget: Arc<TailBudget>,
    running: Mutex<BTreeMap<StreamName, Handle>>,
    /// Streams whose delivery could not begin, and why.
    failing: Mutex<BTreeMap<StreamName, String>>,
    /// Held while deliveries begin, and while a delivery ends and tables of its stream go.
    beginning: tokio::sync::Mutex<()>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Clone)]
struct Handle {
    commands: mpsc::Sender<Command>,
    progress: Arc<Progress>,
    /// Ends this delivery alone.
    end: CancellationToken,
}

impl Deliveries {
    /// Starts a delivery for every stream of the log, and for each one made later.
    ///
    /// # Errors
    /// `Corrupt` if a table holds more of a stream than the log ever had; `Unavailable` if a table can't be made.
    pub async fn start(
        log: Log,
        lake: Arc<Lake>,
        ids: Arc<MessageIds>,
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let shape = |(name, source): (&String, &settings::Source)| Ok((StreamName::new(name)?, source.shape().into()));
        let inner = Inner {
            budget: Arc::new(TailBudget::new(settings.delivery.tail_bytes_max)),
            log,
            lake,
            ids,
            settings: settings.delivery.clone(),
            shapes: settings.sources.iter().map(shape).collect::<Result<_>>()?,
            clock,
            running: Mutex::default(),
            failing: Mutex::default(),
            beginning: tokio::sync::Mutex::default(),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        must_have_been_logged(&inner.log, &inner.lake)?;
        let (log, ids) = (inner.log.clone(), Arc::clone(&inner.ids));
        let fitted = tokio::task::spawn_blocking(move || fit_ids(&log, &ids)).await;
        fitted.map_err(|error| Error::internal("beginning deliveries ended unexpectedly").with_source(error))??;
        let deliveries = Self(Arc::new(inner));
        match deliveries.start_new().await {
            // Nothing but that stream or its table is wrong, and `follow_new_streams` says so.
            Err(error) if matches!(error.kind(), Kind::Invalid | Kind::Corrupt | Kind::Exists) => {}
            started => started?,
        }
        deliveries.0.tasks.spawn(deliveries.clone().follow_new_streams());
        deliveries.0.tasks.spawn(deliveries.clone().let_go());
        deliveries.0.tasks.spawn(deliveries.clone().merge_small_files());
        Ok(deliveries)
    }

    /// Waits until every record acknowledged before this call is visible to SQL.
    ///
    /// # Errors
    /// Why a delivery can't go on; all others have caught up then.
    pub async fn caught_up(&self) -> Result<()> {
        let mut caught_up = Ok(());
        for stream in self.0.log.streams().into_iter().filter(|stream| !stream.is_over()) {
            let one = self.stream_caught_up(&stream).await;
            caught_up = caught_up.and(one.context(format_args!("stream \"{}\"", stream.name)));
        }
        caught_up
    }

    /// Waits until every record acknowledged before this call is visible to SQL, but no longer than `most`: after it, an
    /// answer that lacks the latest records is better than none. Costs nothing while nothing is on its way, and does not
    /// wait for what can't be delivered, nor for streams other than those that are `asked` for.
    pub async fn catch_up_within(&self, most: Duration, asked: Option<&BTreeSet<StreamName>>) {
        let mut behind = self.0.log.streams();
        let is_asked = |stream: &StreamInfo| asked.is_none_or(|asked| asked.contains(&stream.name));
        behind.retain(|stream| is_asked(stream) && self.is_behind(stream));
        if !behind.is_empty() {
            let all = futures::future::join_all(behind.iter().map(|stream| self.stream_caught_up(stream)));
            // Who asks is told by the answer's rows, and by the status.
            drop(tokio::time::timeout(most, all).await);
        }
    }

    fn is_behind(&self, stream: &StreamInfo) -> bool {
        if stream.is_deleted || stream.end.total() == 0 {
            return false;
        }
        match self.handle(&stream.name) {
            Some(handle) => !handle.progress.shows_or_fails(&stream.end),
            None => !self.failing().contains_key(&stream.name),
        }
    }

    async fn stream_caught_up(&self, stream: &StreamInfo) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.ask(stream, Command::CaughtUp { target: stream.end.clone(), reply }).await?;
        answer.await.map_err(|_| stopping())?
    }

    /// Commits everything of `table` that was acknowledged before this call.
    ///
    /// # Errors
    /// `NotFound` for a table that no stream feeds; why the commit failed.
    pub async fn flush(&self, table: &TableName) -> Result<CommitReport> {
        let stream = self.feeding(table);
        let stream = stream.ok_or_else(|| {
            Error::not_found(format!("no stream feeds a table \"{table}\""))
                .with_hint("lacus stream list shows the streams; what SQL and engines write is committed at once")
        })?;
        self.flush_stream(&stream).await
    }

    /// The stream that delivers to a table, or will: one that is over never does, once its delivery has ended.
    fn feeding(&self, table: &TableName) -> Option<StreamInfo> {
        let stream = reading::describe(&self.0.log, &table.stream()).ok();
        stream.filter(|stream| !stream.is_over() || self.handle(&stream.name).is_some())
    }

    async fn flush_stream(&self, stream: &StreamInfo) -> Result<CommitReport> {
        let (reply, answer) = oneshot::channel();
        self.ask(stream, Command::Flush { target: stream.end.clone(), report: CommitReport::default(), reply }).await?;
        answer.await.map_err(|_| stopping())?
    }

    /// Does something with `table` while its stream delivers nothing: everything visible is committed, and nothing becomes
    /// visible until it is done. Then the delivery goes on with the table as it is. A table that no stream feeds has no
    /// delivery to wait for. Dropping the future does not stop what has begun.
    ///
    /// # Errors
    /// What the work fails with; `Unavailable` if the stream can't commit.
    pub async fn alone<T: Send + 'static>(
        &self,
        table: &TableName,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let Some(stream) = self.feeding(table) else { return work.await };
        let (reply, answer) = oneshot::channel();
        let work = async move {
            // In a task of its own: a bug in it must not end the delivery.
            let done = tokio::spawn(work).await;
            let done = done.unwrap_or_else(|error| {
                Err(Error::internal("what was to be done with the table ended unexpectedly").with_source(error))
            });
            // Who asked may have gone.
            drop(reply.send(done));
        };
        self.ask(&stream, Command::Alone(Box::pin(work))).await?;
        answer.await.map_err(|_| {
            Error::unavailable(format!("stream \"{}\" can't commit what it has now", stream.name))
                .with_hint("lacus status says why; try again when it is over")
        })?
    }

    /// How far each delivery is, by stream name. Deleted streams are there until all they had is committed.
    #[must_use]
    pub fn status(&self) -> Vec<DeliveryStatus> {
        let mut statuses = Vec::new();
        for stream in self.0.log.streams().into_iter().filter(|stream| !stream.is_over()) {
            let handle = self.handle(&stream.name);
            let progress = handle.map(|handle| handle.progress).unwrap_or_default();
            let mut status = progress.status(&stream);
            status.error = status.error.or_else(|| self.failing().get(&stream.name).cloned());
            if !stream.is_deleted || status.committed < status.acknowledged {
                statuses.push(status);
            }
        }
        statuses
    }

    /// Commits nothing more and ends: what is visible but not committed is delivered again from the log at next start.
    pub async fn stop(&self) {
        self.0.cancel.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn ask(&self, stream: &StreamInfo, command: Command) -> Result<()> {
        let handle = match self.going_on(&stream.name) {
            Some(handle) => handle,
            None => {
                let started = self.start_new().await;
                let handle = self.handle(&stream.name);
                handle.ok_or_else(|| started.err().unwrap_or_else(stopping))?
            }
        };
        let ended = |_| if self.0.cancel.is_cancelled() { stopping() } else { ended_unexpectedly(&stream.name) };
        handle.commands.send(command).await.map_err(ended)
    }

    fn handle(&self, stream: &StreamName) -> Option<Handle> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).get(stream).cloned()
    }

    /// The same, unless it was told to end.
    fn going_on(&self, stream: &StreamName) -> Option<Handle> {
        self.handle(stream).filter(|handle| !handle.end.is_cancelled())
    }

    /// Starts what is not running yet. A stream that can't be delivered keeps no other from it.
    async fn start_new(&self) -> Result<()> {
        let _beginning = self.0.beginning.lock().await;
        let mut failed = Ok(());
        for stream in self.0.log.streams() {
            if self.going_on(&stream.name).is_some() || self.0.cancel.is_cancelled() {
                continue;
            }
            let started = self.start_one(&stream).await;
            if let Err(error) = started.context(format_args!("deliver stream \"{}\"", stream.name)) {
                self.failing().insert(stream.name, error.chain());
                failed = Err(error);
            }
        }
        failed
    }

    async fn start_one(&self, stream: &StreamInfo) -> Result<()> {
        // If one was to end, and failed half-way.
        self.end_delivery(&stream.name).await?;
        if stream.is_over() {
            return Ok(());
        }
        let source = self.source(&stream.name);
        let decoding = Decoding::open(&source).await?;
        self.failing().remove(&stream.name);
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.entry(stream.name.clone()).or_insert_with(|| self.spawn(source, decoding));
        Ok(())
    }

    fn failing(&self) -> MutexGuard<'_, BTreeMap<StreamName, String>> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source(&self, stream: &StreamName) -> Source {
        let Inner { log, lake, ids, shapes, .. } = &*self.0;
        let shape = shapes.get(stream).cloned().unwrap_or_default();
        Source { log: log.clone(), lake: Arc::clone(lake), ids: Arc::clone(ids), stream: stream.clone(), shape }
    }

    fn spawn(&self, source: Source, decoding: Decoding) -> Handle {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let progress = Arc::new(Progress::default());
        tracing::info!(stream = %source.stream, "delivering");
        let delivery = Delivery::new(
            source,
            decoding,
            self.0.settings.clone(),
            Arc::clone(&self.0.clock),
            Arc::clone(&progress),
            self.0.budget.share(),
        );
        let end = self.0.cancel.child_token();
        self.0.tasks.spawn(delivery.run(self.0.log.changes(), inbox, end.clone()));
        Handle { commands, progress, end }
    }

    /// Ends the delivery of a stream, if it runs. What it had not committed is delivered from the log when another begins. If
    /// that fails half-way, the next one that begins has it done first.
    async fn end_delivery(&self, stream: &StreamName) -> Result<()> {
        let Some(handle) = self.handle(stream) else { return Ok(()) };
        handle.end.cancel();
        // It lets go of its commands when it has ended.
        handle.commands.closed().await;
        // A commit that is shown later would take rows off the tail that it does not have.
        self.0.lake.settle().await?;
        for table in self.0.lake.tables().iter().filter(|table| table.name().stream() == *stream) {
            table.forget_tail()?;
        }
        // Not before: another one begins with tails that have nothing.
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).remove(stream);
        Ok(())
    }

    async fn follow_new_streams(self) {
        let mut changes = self.0.log.changes();
        changes.mark_changed();
        let mut told = None;
        loop {
            tokio::select! {
                () = self.0.cancel.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            let failed = self.start_new().await.err().map(|error| error.chain());
            if failed != told
                && let Some(error) = &failed
            {
                tracing::error!(error, "a stream is not delivered; trying again every second");
            }
            let wait = if failed.is_some() { Duration::from_secs(1) } else { LOOK_EVERY };
            if self.0.cancel.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            if failed.is_some() {
                changes.mark_changed();
            }
            told = failed;
        }
    }

    /// Lets go of what nobody needs: log files past their retention, files of the lake past their grace period.
    async fn let_go(self) {
        loop {
            tokio::select! {
                () = self.0.cancel.cancelled() => return,
                () = tokio::time::sleep(LET_GO_EVERY) => {}
            }
            let (log, lake) = (self.0.log.clone(), Arc::clone(&self.0.lake));
            // What was let go of, the log knows by itself.
            let committed = move |stream: &StreamName| delivered(&lake, stream, &Offsets::default());
            match tokio::task::spawn_blocking(move || log.retain(&committed)).await {
                Ok(Ok(0)) => {}
                Ok(Ok(bytes)) => tracing::info!(bytes, "removed delivered log files past their retention"),
                Ok(Err(error)) => tracing::warn!(error = %error.chain(), "could not remove old log files"),
                Err(error) => tracing::error!(%error, "retention ended unexpectedly"),
            }
            match self.0.lake.sweep().await {
                Ok(0) => {}
                Ok(files) => tracing::debug!(files, "deleted files that nothing references any more"),
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "old files could not be deleted; trying again in a minute");
                }
            }
        }
    }
}

/// A log that ends before its table was once lost or replaced. Its next events would get offsets that the table
/// already counts as delivered: acknowledged and never seen. So refuse to go on.
fn must_have_been_logged(log: &Log, lake: &Lake) -> Result<()> {
    let ends: BTreeMap<_, _> = log.streams().into_iter().map(|stream| (stream.name, stream.end)).collect();
    for table in lake.tables().iter().filter(|table| !table.name().is_quarantine()) {
        let end = ends.get(&table.name().stream()).cloned().unwrap_or_default();
        for (partition, next) in table.state().delivered.iter() {
            if next > end.next(partition) {
                return Err(Error::corrupt(format!(
                    "table \"{}\" holds records of partition {} up to {}, but the log ends at {}: the log was lost or replaced",
                    table.name(),
                    partition.0,
                    next.0,
                    end.next(partition).0
                ))
                .with_hint("restore .lacus/stream from the same time as .lacus/lake and .lacus/catalog.db"));
            }
        }
    }
    Ok(())
}

/// An index of messages that is ahead of the log would make duplicates of what is sent again after a restore.
fn fit_ids(log: &Log, ids: &MessageIds) -> Result<()> {
    let ends: BTreeMap<_, _> = log.streams().into_iter().map(|stream| (stream.name, stream.end)).collect();
    let end = |stream: &str| StreamName::new(stream).ok().and_then(|stream| ends.get(&stream).cloned());
    ids.fit(|stream| end(stream).unwrap_or_default())
}

fn no_table(lake: &Lake, table: &TableName) -> Error {
    lake.damage_of(table).unwrap_or_else(|| {
        Error::not_found(format!("there is no table \"{table}\"")).with_hint("lacus sql \"SHOW TABLES\" lists them")
    })
}

fn ended_unexpectedly(stream: &StreamName) -> Error {
    Error::internal(format!("the delivery of stream \"{stream}\" ended unexpectedly"))
        .with_hint("restart lacus: everything acknowledged is in the log, and is delivered from there")
}

fn stopping() -> Error {
    Error::new(Kind::Unavailable, "lacus is stopping").with_hint("try again when it is up")
}
