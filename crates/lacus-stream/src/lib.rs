//! The durable partitioned log. It knows no schema.
//!
//! [`Log::append`] answers when the bytes are on disk, and only then. A reader sees a record only after that.
//!
//! All streams and partitions share one journal, so that one write and one sync serve all senders that wait: `append`
//! encodes on the sender's task, `writer` puts what waits on disk as one group, `state` is what readers see then.
//! The files: `streams.json` (see `streams`), `cursors/` (see `cursors`), and in `segments/` numbered log files (see
//! `segment`, `frame`) with an index beside each finished one (see `index`). `recovery` opens them after any crash.
//!
//! Shards split and merge while records come (see `streams`): a group is written, or the shards change, never both at once
//! ([`Shared::place`](state::Shared::place)). What was encoded for a shard that was closed meanwhile is sent back and
//! encoded again, so that no record comes into a parent once a child may have one. docs/decisions/008-shards.md says why.
//!
//! The log must never acknowledge what a power cut could take, show what is not on disk, or pass over damaged bytes in
//! silence. A directory is opened by one process at a time: it is locked as long as the log is open.

mod append;
mod backup;
mod cursors;
mod disk;
mod frame;
mod ids;
mod index;
mod partitioning;
mod reading;
mod recovery;
mod retention;
mod room;
mod scan;
mod segment;
mod shards;
mod state;
mod stats;
mod streams;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::{self, JoinHandle};

use lacus_core::units::Millis;
use lacus_core::{
    Clock, Context, Error, Kind, NewRecord, Offset, Offsets, Partition, Position, Record, Result, StreamName,
    Timestamp, settings,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::append::{Refusal, Request};
use crate::frame::PartitionId;
use crate::recovery::Recovered;
use crate::retention::Limits;
use crate::room::Room;
use crate::state::{Shared, lock};
use crate::stats::Counters;
use crate::streams::{StoredStream, Streams};
use crate::writer::{Command, Trouble, Writer};

pub use crate::backup::{LogBackup, Take, Taking};
pub use crate::cursors::{READER_BYTES_MAX, READERS_MAX};
pub use crate::disk::{make_directory, replace_private};
pub use crate::frame::RECORD_BYTES_MAX;
pub use crate::ids::{MessageIds, Seen};
pub use crate::shards::Shard;
pub use crate::stats::Stats;
pub use crate::streams::{EarlierFormat, FORMAT_ATTRIBUTE, NewStream, SHARDS_EVER_MAX, STREAMS_MAX};

/// A log of streams in one directory. Cheap to clone; it closes when the last clone is dropped.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    settings: settings::Stream,
    clock: Arc<dyn Clock>,
    commands: Option<mpsc::Sender<Command>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// A stream as it is now. Partitions that never had a record are absent from `start` and `end`: they are at zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: StreamName,
    /// All shards it ever had, by number; those that a reshard closed keep their records.
    pub shards: Vec<Shard>,
    /// Shards below this number are from before the stream was last deleted: only deliveries still read them.
    pub first_shard: u32,
    /// Whether it was deleted: it takes no more records, what it has is still delivered.
    pub is_deleted: bool,
    /// For how long its delivered records stay, if not as the settings say.
    pub retention: Option<Millis>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What others remember about it (see [`NewStream`]).
    pub attributes: BTreeMap<String, String>,
    /// What shards from before it was deleted hold, if that was something else. Oldest first.
    pub earlier_formats: Vec<EarlierFormat>,
    /// Nobody needs what is before these: it was delivered, and its tables are dropped.
    pub let_go: Offsets,
    /// The first record still there, by partition.
    pub start: Offsets,
    /// The next record to come, by partition: everything before it is on disk.
    pub end: Offsets,
}

impl StreamInfo {
    /// What the records of a shard are: the attribute [`FORMAT_ATTRIBUTE`] of the stream when the shard took them.
    #[must_use]
    pub fn format_of(&self, shard: Partition) -> Option<&str> {
        let earlier = self.earlier_formats.iter().find(|earlier| shard.0 < earlier.before_shard);
        let format = earlier.map_or_else(|| self.attributes.get(FORMAT_ATTRIBUTE), |earlier| earlier.format.as_ref());
        format.map(String::as_str)
    }

    /// Whether nothing of it is delivered any more: it was deleted, and all that it had was let go of.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_deleted && self.end.iter().all(|(shard, end)| self.let_go.next(shard) >= end)
    }

    /// The shards since the stream was made, or made again.
    pub fn current_shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().filter(|shard| shard.partition.0 >= self.first_shard)
    }
}

impl Log {
    /// Opens the log in `directory`, makes it if it is new, repairs a torn tail.
    ///
    /// # Errors
    /// If the directory can't be used, or bytes before the tail are corrupt.
    pub fn open(directory: &Path, settings: &settings::Stream, clock: Arc<dyn Clock>) -> Result<Self> {
        let recovered = recovery::recover(directory, &*clock).context("open the log")?;
        let (commands, waiting) = mpsc::channel(writer::REQUESTS_WAITING_MAX);
        let (shared, writer) = set_up(recovered, settings, &clock);
        let writer = thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run(waiting))
            .context("start the writer of the log")?;
        let inner = Inner {
            shared,
            settings: settings.clone(),
            clock,
            commands: Some(commands),
            writer: Mutex::new(Some(writer)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes a stream, durably; the one that exists is returned as it is. Blocks on the disk.
    ///
    /// # Errors
    /// `Invalid` for a number of shards that can't be, `Limited` if there are [`STREAMS_MAX`], or if it can't be
    /// written.
    pub fn create_stream(&self, name: &StreamName, new: &NewStream) -> Result<StreamInfo> {
        if let Some(info) = self.stream(name) {
            return Ok(info);
        }
        let now = self.inner.clock.now();
        // Another caller may have made it meanwhile.
        let made = self.change_streams(|streams| {
            if streams.live(name).is_ok() {
                return Ok(None);
            }
            // Readers of a deleted stream of this name are none of this one's, even if a crash kept them.
            if let Some(deleted) = streams.get(name) {
                self.inner.shared.cursors.forget(deleted.id)?;
            }
            streams.with(name, new, now).map(Some)
        });
        made.context(format!("make stream \"{name}\""))?;
        self.describe(name)
    }

    /// The stream of this name, unless it was deleted.
    #[must_use]
    pub fn stream(&self, name: &StreamName) -> Option<StreamInfo> {
        let stream = Arc::clone(self.inner.shared.streams().live(name).ok()?);
        Some(self.inner.shared.state().describe(&stream))
    }

    /// The stream of this name, deleted or not: what a deleted one has is still delivered.
    #[must_use]
    pub fn stream_or_deleted(&self, name: &StreamName) -> Option<StreamInfo> {
        let stream = Arc::clone(self.inner.shared.streams().get(name)?);
        Some(self.inner.shared.state().describe(&stream))
    }

    /// What is remembered about a stream under this name (see [`NewStream`]). Cheap: to be asked for each request.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream.
    pub fn attribute(&self, stream: &StreamName, name: &str) -> Result<Option<String>> {
        Ok(self.inner.shared.streams().live(stream)?.attributes.get(name).cloned())
    }

    /// All streams, by name; the deleted ones too, as what they have is still delivered.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamInfo> {
        let shared = &self.inner.shared;
        let streams: Vec<_> = shared.streams().iter().cloned().collect();
        let state = shared.state();
        streams.iter().map(|stream| state.describe(stream)).collect()
    }

    /// Appends records and answers, once they are on disk, where each one is.
    ///
    /// Records with a key go to the partition that the key's hash names, always the same; those without go to one
    /// partition together, another one for each call. Records of one call keep their order within a partition. If the
    /// caller goes away before the answer, the records may be written all the same.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream, `Invalid` for a record of more than [`RECORD_BYTES_MAX`] or more bytes than
    /// may ever wait, `Limited` when too many bytes wait for the disk, `Unavailable` when the disk refuses or the log
    /// is closed: then nothing is acknowledged and the sender should retry.
    pub async fn append(&self, stream: &StreamName, records: Vec<NewRecord>) -> Result<Vec<Position>> {
        let inner = &*self.inner;
        loop {
            let (generation, stream) = {
                let streams = inner.shared.streams();
                (streams.generation(), Arc::clone(streams.live(stream)?))
            };
            if records.is_empty() {
                return Ok(Vec::new());
            }
            let reserved = append::reserve(&inner.shared, &records, inner.settings.in_flight_bytes_max.0)?;
            let (frames, positions) = append::encode(&stream, &records).split();
            let (answer, answered) = oneshot::channel();
            let commands = inner.commands.as_ref().expect("taken only when the last handle is dropped");
            let request = Request { frames, generation, answer, reserved };
            commands.send(Command::Append(request)).await.map_err(|_| closed())?;
            match answered.await.map_err(|_| closed())? {
                Ok(bases) => return Ok(positions(&bases)),
                Err(Refusal::Resharded) => {}
                Err(Refusal::Failed(error)) => return Err(error),
            }
        }
    }

    /// Divides an open shard at `hash_key`, which becomes the first hash key of the second child. Records that are
    /// appended meanwhile go to the parent or to a child, never to the parent after a child. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream or shard, `Invalid` for a closed shard or a hash key that gives an empty child,
    /// `Limited` when the stream would have too many shards, `Unavailable` when it can't be written.
    pub fn split_shard(&self, stream: &StreamName, shard: Partition, hash_key: u128) -> Result<StreamInfo> {
        let now = self.inner.clock.now();
        self.change_stream(stream, |stream| stream.split(shard, hash_key, now))
            .context(format!("split shard {} of stream \"{stream}\"", shard.0))
    }

    /// Joins two open shards with adjacent ranges into one. Blocks on the disk.
    ///
    /// # Errors
    /// As for [`Log::split_shard`]; `Invalid` for shards that are not adjacent.
    pub fn merge_shards(&self, stream: &StreamName, shard: Partition, adjacent: Partition) -> Result<StreamInfo> {
        let now = self.inner.clock.now();
        self.change_stream(stream, |stream| stream.merge(shard, adjacent, now))
            .context(format!("merge shards {} and {} of stream \"{stream}\"", shard.0, adjacent.0))
    }

    /// Splits and merges until the stream has `count` open shards with equal ranges, in one step. Blocks on the disk.
    ///
    /// # Errors
    /// As for [`Log::split_shard`].
    pub fn set_shard_count(&self, stream: &StreamName, count: u32) -> Result<StreamInfo> {
        let now = self.inner.clock.now();
        self.change_stream(stream, |stream| stream.spread(count, now)).context(format!("reshard stream \"{stream}\""))
    }

    /// Replaces the attributes of a stream by what `change` makes of them. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream, what `change` says, `Unavailable` when it can't be written.
    pub fn change_attributes(
        &self,
        stream: &StreamName,
        change: &mut dyn FnMut(&mut BTreeMap<String, String>) -> Result<()>,
    ) -> Result<StreamInfo> {
        self.change_stream(stream, |stream| change(stream.attributes()))
    }

    /// Sets for how long delivered records of one stream stay; `None` for what the settings say. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream, `Unavailable` when it can't be written.
    pub fn set_retention(&self, stream: &StreamName, retention: Option<Millis>) -> Result<StreamInfo> {
        self.change_stream(stream, |stream| {
            stream.set_retention(retention);
            Ok(())
        })
    }

    /// Ends a stream: it takes no more records and is found under its name no more. What it has is delivered all the
    /// same. A stream that is made with its name again goes on with new shard numbers. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream, `Unavailable` when it can't be written.
    pub fn delete_stream(&self, stream: &StreamName) -> Result<()> {
        let now = self.inner.clock.now();
        let id = self.inner.shared.streams().live(stream)?.id;
        let deleted = self.change_streams(|streams| {
            let changed = streams.changed(stream, |stream| {
                stream.delete(now);
                Ok(())
            });
            changed.map(Some)
        });
        deleted.context(format!("delete stream \"{stream}\""))?;
        // The stream is gone, whatever becomes of its cursors: nobody finds them, and they go before it is made again.
        if let Err(error) = self.inner.shared.cursors.forget(id) {
            tracing::warn!(%stream, error = %error.chain(), "could not remove the cursors of a deleted stream");
        }
        Ok(())
    }

    /// Says that nobody needs any more what a deleted stream had: all of it was `delivered`, to tables that are dropped. One
    /// of its name begins behind it. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream, `Conflict` if it was made again or has more than that, `Unavailable` when it can't be
    /// written.
    pub fn let_go(&self, stream: &StreamName, delivered: &Offsets) -> Result<()> {
        let doing = format!("let go of stream \"{stream}\"");
        let found = self.streams().into_iter().find(|found| found.name == *stream);
        let found =
            found.ok_or_else(|| Error::not_found(format!("there is no stream \"{stream}\""))).context(&doing)?;
        if let Some((shard, _)) = found.end.iter().find(|(shard, end)| delivered.next(*shard) < *end) {
            let message = format!("shard {} of stream \"{stream}\" has records that are not delivered", shard.0);
            return Err(Error::new(Kind::Conflict, message));
        }
        let shards = found.shards.len();
        self.change_streams(|streams| streams.without(stream, shards, delivered).map(Some)).context(&doing)
    }

    /// The first record of a shard that was received at or after `time`; the end if there is none. Blocks on the disk.
    ///
    /// # Errors
    /// As for [`Log::read`].
    pub fn find_time(&self, stream: &StreamName, shard: Partition, time: Timestamp) -> Result<Offset> {
        let id = self.partition_id(stream, shard)?;
        reading::find_time(&self.inner.shared, id, time)
            .context(format!("look for a time in shard {} of stream \"{stream}\"", shard.0))
    }

    /// How far a named reader says it has come: its cursor. Empty for one that never said.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream, `Invalid` for what can't be a reader's name.
    pub fn cursor(&self, stream: &StreamName, reader: &str) -> Result<Offsets> {
        let id = self.inner.shared.streams().live(stream)?.id;
        self.inner.shared.cursors.get(id, reader)
    }

    /// Remembers, durably, how far a named reader has come. `None` forgets the reader. Blocks on the disk.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream or shard, `Invalid` for a reader's name that is empty or long, `Limited` when
    /// there are too many readers, `Unavailable` when it can't be written.
    pub fn set_cursor(&self, stream: &StreamName, reader: &str, offsets: Option<&Offsets>) -> Result<()> {
        let found = Arc::clone(self.inner.shared.streams().live(stream)?);
        if let Some((shard, _)) = offsets.and_then(|offsets| offsets.iter().find(|(shard, _)| !found.has(*shard))) {
            return Err(no_shard(stream, shard));
        }
        self.inner.shared.cursors.set((found.id, stream), reader, offsets)
    }

    /// Reads records of one partition in order, from `from` on: about `bytes_max` bytes, one record at least if there
    /// is one. Empty when there is none yet. Blocks on the disk.
    ///
    /// Records share the memory of the piece of file they were read with, which is a few times longer than all of them at most:
    /// copy what is to be kept for long.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream or offsets that retention removed, `Corrupt` for bytes that fail their checksum.
    pub fn read(
        &self,
        stream: &StreamName,
        partition: Partition,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Record>> {
        let id = self.partition_id(stream, partition)?;
        reading::read(&self.inner.shared, id, from, bytes_max)
            .context(format!("read stream \"{stream}\" at {}/{}", partition.0, from.0))
    }

    /// Changes whenever more records became readable or a stream was made.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.shared.changes.subscribe()
    }

    /// For how long delivered records stay in streams that have no time of their own.
    #[must_use]
    pub fn retention(&self) -> Millis {
        self.inner.settings.retention
    }

    /// Removes whole log files, oldest first, whose records all lie before `delivered` and are older than the retention of
    /// their streams, or too many for `retention_bytes`. Returns the bytes freed. Blocks on the disk.
    ///
    /// # Errors
    /// If a file can't be removed.
    pub fn retain(&self, delivered: &dyn Fn(&StreamName) -> Offsets) -> Result<u64> {
        let Inner { shared, settings, clock, .. } = &*self.inner;
        let limits = Limits { now: clock.now(), retention: settings.retention, bytes_max: settings.retention_bytes };
        retention::retain(shared, &limits, delivered).context("remove old log files")
    }

    /// What the log did since it was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.inner.shared;
        let (segments, disk_bytes) = {
            let state = shared.state();
            let finished: u64 = state.finished.iter().map(|finished| finished.length).sum();
            (1 + state.finished.len() as u64, finished + state.active.length)
        };
        let in_flight_bytes = shared.in_flight_bytes.load(Ordering::Relaxed);
        Stats { segments, disk_bytes, in_flight_bytes, ..lock(&shared.counters).stats() }
    }

    /// Whether no append will succeed any more: it was closed, or its writer ended in a bug.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.commands.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    /// Writes what is waiting, and ends the writer. Appends after it are refused; reads go on.
    ///
    /// # Errors
    /// If the writer had ended in a bug before.
    pub async fn close(&self) -> Result<()> {
        let commands = self.inner.commands.as_ref().expect("taken only when the last handle is dropped");
        let (closing, closed) = oneshot::channel();
        if commands.send(Command::Close(closing)).await.is_ok() {
            // The writer drops its end without a word.
            closed.await.ok();
        }
        self.inner.join()
    }

    /// A shard of a stream, deleted or not.
    fn partition_id(&self, name: &StreamName, partition: Partition) -> Result<PartitionId> {
        let streams = self.inner.shared.streams();
        let stream = streams.get(name).ok_or_else(|| Error::not_found(format!("there is no stream \"{name}\"")))?;
        if !stream.has(partition) {
            return Err(no_shard(name, partition));
        }
        Ok(PartitionId { stream: stream.id, partition })
    }

    fn describe(&self, name: &StreamName) -> Result<StreamInfo> {
        self.stream(name).ok_or_else(|| Error::not_found(format!("there is no stream \"{name}\"")))
    }

    fn change_stream(
        &self,
        name: &StreamName,
        change: impl FnOnce(&mut StoredStream) -> Result<()>,
    ) -> Result<StreamInfo> {
        self.change_streams(|streams| streams.changed(name, change).map(Some))?;
        self.describe(name)
    }

    /// Replaces the list of streams, on disk and then in memory. No group is written meanwhile: what comes after it finds
    /// the new shards, or is sent back to choose again.
    fn change_streams(&self, change: impl FnOnce(&Streams) -> Result<Option<Streams>>) -> Result<()> {
        let shared = &self.inner.shared;
        let _placing = shared.place();
        let Some(streams) = change(&shared.streams())? else { return Ok(()) };
        streams.store()?;
        *shared.streams_mut() = streams;
        shared.changed();
        Ok(())
    }
}

impl Inner {
    fn join(&self) -> Result<()> {
        let writer = lock(&self.writer).take();
        match writer.map(JoinHandle::join) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(Error::internal("the writer of the log ended in a panic")),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.commands = None;
        if let Err(error) = self.join() {
            tracing::error!(error = %error, "could not close the log");
        }
    }
}

fn set_up(recovered: Recovered, settings: &settings::Stream, clock: &Arc<dyn Clock>) -> (Arc<Shared>, Writer) {
    let Recovered { segments, streams, cursors, state, last_received_at, guard } = recovered;
    let (segment, file) = (Arc::clone(&state.active.segment), Arc::clone(&state.active.file));
    let (length, ends) = (state.active.length, state.ends.clone());
    tracing::info!(
        directory = %segments.display(),
        streams = streams.iter().count(),
        segments = state.finished.len() + 1,
        "log opened"
    );
    let shared = Arc::new(Shared {
        _guard: guard,
        segments,
        streams: RwLock::new(streams),
        state: RwLock::new(state),
        finished_open: Mutex::default(),
        in_flight_bytes: AtomicU64::new(0),
        counters: Mutex::new(Counters::default()),
        changes: watch::Sender::new(0),
        placing: Mutex::new(()),
        turn: Mutex::new(()),
        cursors,
        retaining: Mutex::new(()),
    });
    let room = Room::new(shared.segments.clone(), settings.disk_reserve);
    let writer = Writer {
        shared: Arc::clone(&shared),
        clock: Arc::clone(clock),
        segment_bytes_max: settings.segment_bytes_max.0,
        file,
        segment,
        length,
        ends,
        last_received_at,
        must_begin: false,
        room,
        trouble: Trouble::default(),
    };
    (shared, writer)
}

fn no_shard(stream: &StreamName, shard: Partition) -> Error {
    Error::not_found(format!("stream \"{stream}\" has no shard {}", shard.0))
}

fn closed() -> Error {
    Error::unavailable("the log is closed").with_hint("nothing was acknowledged: send it again when lacus is back")
}
