//! The loop that delivers one stream: decode what is new, commit when it is due, answer who waits.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lacus_core::{Clock, Error, Kind, Offsets, Result, settings};
use lacus_lake::{Commit, CommitReport};
use lacus_stream::StreamInfo;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decoding::{Decoding, Frozen, Source, Turn};
use crate::progress::{Progress, TailShare};
use crate::reading;

/// After a change, or a small turn, we wait this long before reading, so that many small appends make one turn.
const PACE: Duration = Duration::from_millis(10);
/// A turn of at least this many bytes is followed by the next one at once; so is one after which a query still waits.
const BIG_TURN_BYTES: u64 = 256 << 10;
/// The most commands that wait here; further ones wait in the inbox.
const WAITING_MAX: usize = 1_024;
/// With nothing to do, the delivery looks again after this long.
const IDLE: Duration = Duration::from_secs(3_600);
/// While memory is exhausted, how often to check whether a commit made room.
const ROOM_CHECK: Duration = Duration::from_millis(50);
/// The first wait after a failure; it doubles up to [`RETRY_AFTER_MAX`].
const RETRY_AFTER: Duration = Duration::from_millis(500);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// What others ask of a delivery.
pub(crate) enum Command {
    /// Answer when everything before `target` is visible.
    CaughtUp { target: Offsets, reply: oneshot::Sender<Result<()>> },
    /// Answer when everything before `target` is committed.
    Flush { target: Offsets, report: CommitReport, reply: oneshot::Sender<Result<CommitReport>> },
    /// Do this while everything visible is committed and nothing new becomes visible. It answers by itself; it is dropped
    /// when the delivery can't commit.
    Alone(Alone),
}

/// Work on the tables of a stream that its delivery must not see half done.
pub(crate) type Alone = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Command {
    /// Whether nobody waits for the answer any more.
    fn is_forgotten(&self) -> bool {
        match self {
            Self::CaughtUp { reply, .. } => reply.is_closed(),
            Self::Flush { reply, .. } => reply.is_closed(),
            Self::Alone(_) => false,
        }
    }
}

pub(crate) struct Delivery {
    source: Source,
    /// Absent while a turn runs on a blocking thread, after such a turn panicked or left it broken, and after tables became other ones.
    decoding: Option<Decoding>,
    settings: settings::Delivery,
    clock: Arc<dyn Clock>,
    progress: Arc<Progress>,
    share: TailShare,
    /// The part of the tail that is being committed, until that succeeds.
    frozen: Option<Frozen>,
    committing: Option<JoinHandle<Result<CommitReport>>>,
    /// The offsets of commits whose outcome is known here. The table shows a commit a moment earlier.
    committed: Offsets,
    waiting: Vec<Command>,
    retry: Retry,
    /// Whether a query is to be expected.
    is_expected: bool,
    /// The stream before the last turn, if that turn left nothing to do, and how often the index of ids had been begun anew.
    done_as: Option<(StreamInfo, u64)>,
}

/// Delays retries after failures.
#[derive(Default)]
struct Retry {
    failures: u32,
    not_before: Option<Instant>,
}

impl Retry {
    fn failed(&mut self) {
        let wait = RETRY_AFTER.saturating_mul(1 << self.failures.min(10)).min(RETRY_AFTER_MAX);
        self.failures += 1;
        self.not_before = Some(Instant::now() + wait);
    }

    fn must_wait(&self) -> bool {
        self.not_before.is_some_and(|time| Instant::now() < time)
    }
}

impl Delivery {
    pub(crate) fn new(
        source: Source,
        decoding: Decoding,
        settings: settings::Delivery,
        clock: Arc<dyn Clock>,
        progress: Arc<Progress>,
        share: TailShare,
    ) -> Self {
        Self {
            committed: decoding.committed(),
            source,
            decoding: Some(decoding),
            settings,
            clock,
            progress,
            share,
            frozen: None,
            committing: None,
            waiting: Vec::new(),
            retry: Retry::default(),
            is_expected: false,
            done_as: None,
        }
    }

    pub(crate) async fn run(
        mut self,
        mut changes: watch::Receiver<u64>,
        mut inbox: mpsc::Receiver<Command>,
        cancel: CancellationToken,
    ) {
        while !cancel.is_cancelled() {
            changes.mark_unchanged();
            let again_after = match self.step(&mut inbox).await {
                Ok(again_after) => again_after,
                Err(error) => {
                    self.failed(&error);
                    None
                }
            };
            let wake = self.wake_at(again_after);
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                Some(command) = inbox.recv(), if self.waiting.len() < WAITING_MAX => self.waiting.push(command),
                ended = ended(&mut self.committing) => self.commit_ended(ended),
                changed = changes.changed(), if again_after.is_none() && !self.retry.must_wait() => match changed {
                    Ok(()) => self.pace(&mut inbox).await,
                    Err(_) => break,
                },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.finish().await;
    }

    /// Lets small appends gather for one turn, unless a query waits for them, or one asked since the last time: then another
    /// may come as soon as they are acknowledged. Those who wait for a commit gain nothing from small turns.
    async fn pace(&mut self, inbox: &mut mpsc::Receiver<Command>) {
        self.is_expected = self.progress.was_asked();
        if self.is_expected || self.is_awaited() {
            return;
        }
        tokio::select! {
            Some(command) = inbox.recv(), if self.waiting.len() < WAITING_MAX => self.waiting.push(command),
            () = tokio::time::sleep(PACE) => {}
        }
    }

    /// Whether a query waits for rows.
    fn is_awaited(&self) -> bool {
        self.waiting.iter().any(|command| matches!(command, Command::CaughtUp { .. }))
    }

    /// Decodes what is new, starts a commit if one is due, and answers who waits. Returns when to continue if there is more.
    async fn step(&mut self, inbox: &mut mpsc::Receiver<Command>) -> Result<Option<Duration>> {
        if self.retry.must_wait() {
            return Ok(None);
        }
        if self.decoding.is_none() {
            self.begin_again().await?;
        }
        // A stream that can't commit must not take the memory of those that can.
        let is_stuck = self.retry.failures > 0 && self.share.has_its_part();
        let must_wait_for_room = is_stuck || self.share.is_exhausted();
        let again_after = match () {
            // The end of the commit wakes us.
            () if self.must_be_alone() => None,
            () if must_wait_for_room => Some(ROOM_CHECK),
            () => self.turn(inbox).await?,
        };
        self.start_commit_if_due().await?;
        // The command may have come in the turn: nothing else would wake us for it.
        if self.must_be_alone() && self.is_idle() {
            self.work_alone().await?;
            return Ok(Some(Duration::ZERO));
        }
        self.answer_waiting();
        Ok(again_after)
    }

    fn must_be_alone(&self) -> bool {
        self.waiting.iter().any(|command| matches!(command, Command::Alone(_)))
    }

    /// Whether everything that is visible is committed.
    fn is_idle(&self) -> bool {
        let has_pending = self.decoding.as_ref().is_none_or(|decoding| decoding.pending_since().is_some());
        self.committing.is_none() && self.frozen.is_none() && !has_pending
    }

    /// Lets others change the tables, one after the other, and reads their state again afterwards.
    async fn work_alone(&mut self) -> Result<()> {
        for command in std::mem::take(&mut self.waiting) {
            match command {
                Command::Alone(work) => work.await,
                command => self.waiting.push(command),
            }
        }
        self.done_as = None;
        self.with_decoding(Decoding::look_anew).await
    }

    /// A turn broke off and its state is lost, or tables became other ones under their rows: drops what is not committed, and
    /// reads it again from the log.
    async fn begin_again(&mut self) -> Result<()> {
        if self.committing.is_some() {
            let committed = ended(&mut self.committing).await;
            self.commit_ended(committed);
        }
        let Source { lake, stream, .. } = &self.source;
        // A commit that is shown later would take rows off a tail that no longer has them.
        lake.settle().await?;
        self.frozen = None;
        for table in lake.tables().iter().filter(|table| table.name().stream() == *stream) {
            table.forget_tail()?;
        }
        let decoding = Decoding::open(&self.source).await?;
        self.committed = decoding.committed();
        self.decoding = Some(decoding);
        self.done_as = None;
        tracing::warn!(stream = %self.source.stream, "reading again from the log what was not committed");
        Ok(())
    }

    async fn turn(&mut self, inbox: &mut mpsc::Receiver<Command>) -> Result<Option<Duration>> {
        // A new index of ids has to know those of a quiet stream, too: it is filled in a turn.
        let source = (reading::describe(&self.source.log, &self.source.stream)?, self.source.ids.begun_anew());
        // Every group of records wakes all deliveries: those of other streams have no reason for a turn.
        if self.done_as.as_ref() == Some(&source) {
            return Ok(None);
        }
        self.done_as = None;
        let is_awaited = std::mem::take(&mut self.is_expected) || self.is_awaited();
        let turn = self.with_decoding(move |decoding| decoding.turn(is_awaited)).await?;
        let Turn { received_at, bytes, duplicates, is_behind } = turn;
        self.done_as = (!is_behind).then_some(source);
        let now = self.clock.now();
        let ages = received_at.iter().map(|time| u64::try_from(now.as_micros() - time.as_micros()).unwrap_or(0));
        self.progress.became_visible_after(&ages.collect::<Vec<_>>());
        self.progress.had_duplicates(duplicates);
        self.report_progress();
        // Who waits for rows, or came meanwhile, does not wait for the rest of the turn.
        self.take_commands(inbox);
        self.answer_waiting();
        if !received_at.is_empty() {
            self.with_decoding(Decoding::finish_turn).await?;
            self.report_progress();
        }
        let goes_on = bytes >= BIG_TURN_BYTES || (bytes > 0 && self.is_awaited());
        Ok(is_behind.then_some(if goes_on { Duration::ZERO } else { PACE }))
    }

    async fn start_commit_if_due(&mut self) -> Result<()> {
        if self.committing.is_some() {
            return Ok(());
        }
        if self.frozen.is_none() && self.commit_is_due() {
            self.frozen = Some(self.with_decoding(Decoding::freeze).await?);
        }
        if let Some(frozen) = self.frozen.clone() {
            let stream = self.source.stream.clone();
            let Frozen { delivered, tables, raw } = frozen;
            let lake = Arc::clone(&self.source.lake);
            let commit = Commit { stream, delivered, tables, raw };
            self.committing = Some(tokio::spawn(async move { lake.commit(commit).await }));
        }
        Ok(())
    }

    fn commit_is_due(&self) -> bool {
        let Some(decoding) = &self.decoding else { return false };
        let Some(since) = decoding.pending_since() else { return false };
        // What is to be flushed is decoded first, so that one commit takes it if it fits.
        let is_wanted = |command: &Command| match command {
            Command::Alone(_) => true,
            Command::Flush { target, .. } => reaches(decoding.seen(), target),
            Command::CaughtUp { .. } => false,
        };
        self.waiting.iter().any(is_wanted)
            || decoding.must_commit()
            || decoding.pending_bytes() >= decoding.hints().commit_bytes(&self.settings)
            || since.elapsed() >= decoding.hints().commit_after(&self.settings)
            || self.share.is_pressing()
    }

    fn commit_ended(&mut self, ended: Result<CommitReport>) {
        self.committing = None;
        match ended {
            Ok(report) => {
                if let Some(frozen) = self.frozen.take() {
                    self.committed = frozen.delivered;
                }
                let CommitReport { rows, parquet_bytes, .. } = report;
                tracing::info!(stream = %self.source.stream, rows, bytes = parquet_bytes, "committed");
                self.tell_flushes(&report);
                self.retry = Retry::default();
                self.progress.set_error(None);
                self.report_progress();
            }
            Err(error) => {
                let is_outdated = |frozen: &Frozen| frozen.tables.iter().any(|rows| self.source.lake.is_outdated(rows));
                if self.frozen.as_ref().is_some_and(is_outdated) {
                    // The same rows would be refused again: they are decoded anew.
                    self.decoding = None;
                }
                self.failed(&error);
            }
        }
    }

    /// Answers who waits with the error, and tries again later: everything is still in the log.
    fn failed(&mut self, error: &Error) {
        self.retry.failed();
        tracing::error!(stream = %self.source.stream, error = %error.chain(), failures = self.retry.failures, "delivery failed; trying again");
        self.progress.set_error(Some(error.chain()));
        for command in self.waiting.drain(..) {
            let again = || copy_of(error);
            match command {
                Command::CaughtUp { reply, .. } => drop(reply.send(Err(again()))),
                Command::Flush { reply, .. } => drop(reply.send(Err(again()))),
                // Who waits notices that it was dropped.
                Command::Alone(work) => drop(work),
            }
        }
    }

    /// Takes the commands that are there.
    fn take_commands(&mut self, inbox: &mut mpsc::Receiver<Command>) {
        while self.waiting.len() < WAITING_MAX
            && let Ok(command) = inbox.try_recv()
        {
            self.waiting.push(command);
        }
    }

    fn answer_waiting(&mut self) {
        let Some(decoding) = &self.decoding else { return };
        let seen = decoding.seen();
        for command in std::mem::take(&mut self.waiting) {
            match command {
                command if command.is_forgotten() => {}
                Command::CaughtUp { target, reply } if reaches(seen, &target) => drop(reply.send(Ok(()))),
                Command::Flush { target, report, reply } if reaches(&self.committed, &target) => {
                    drop(reply.send(Ok(report)));
                }
                command => self.waiting.push(command),
            }
        }
    }

    fn tell_flushes(&mut self, committed: &CommitReport) {
        for command in &mut self.waiting {
            if let Command::Flush { report, .. } = command {
                report.rows += committed.rows;
                report.parquet_bytes += committed.parquet_bytes;
                report.raw_bytes += committed.raw_bytes;
            }
        }
    }

    fn report_progress(&mut self) {
        let Some(decoding) = &self.decoding else { return };
        let tail_bytes = decoding.tail_bytes();
        // What is being committed stays in memory until it is committed.
        let frozen_bytes = self.frozen.as_ref().map_or(0, Frozen::raw_bytes);
        self.share.set(tail_bytes + decoding.raw_bytes() + frozen_bytes);
        self.progress.moved(decoding.seen().clone(), decoding.committed(), tail_bytes);
    }

    /// When to look again without being asked.
    fn wake_at(&self, again_after: Option<Duration>) -> Instant {
        let now = Instant::now();
        if let Some(retry) = self.retry.not_before.filter(|time| *time > now) {
            return retry;
        }
        if let Some(wait) = again_after {
            return now + wait;
        }
        let due = self.decoding.as_ref().and_then(|decoding| {
            let wait = decoding.hints().commit_after(&self.settings);
            Some(wait.saturating_sub(decoding.pending_since()?.elapsed()))
        });
        now + due.unwrap_or(IDLE).clamp(Duration::from_millis(1), IDLE)
    }

    /// Runs CPU-bound work on the decoding, off the async threads.
    async fn with_decoding<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Decoding) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut decoding = self.decoding.take().ok_or_else(|| Error::internal("this delivery has ended"))?;
        let (decoding, result) = spawn_blocking(move || {
            let result = work(&mut decoding);
            (decoding, result)
        })
        .await
        .map_err(|error| Error::internal("a turn of the delivery panicked").with_source(error))?;
        self.decoding = Some(decoding).filter(|decoding| !decoding.is_broken());
        result
    }

    /// Lets a running commit end, so that a clean stop leaves no leftovers.
    async fn finish(mut self) {
        if self.committing.is_some() {
            let result = ended(&mut self.committing).await;
            self.commit_ended(result);
        }
    }
}

async fn ended(committing: &mut Option<JoinHandle<Result<CommitReport>>>) -> Result<CommitReport> {
    match committing {
        Some(task) => task.await.map_err(|error| Error::internal("commit ended unexpectedly").with_source(error))?,
        None => std::future::pending().await,
    }
}

fn reaches(offsets: &Offsets, target: &Offsets) -> bool {
    target.iter().all(|(partition, next)| offsets.next(partition) >= next)
}

fn copy_of(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.chain());
    match (error.hint(), error.kind()) {
        (Some(hint), _) => copy.with_hint(hint),
        (None, Kind::Unavailable) => copy.with_hint("lacus keeps trying; nothing acknowledged is lost"),
        (None, _) => copy,
    }
}
