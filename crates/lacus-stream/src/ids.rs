//! Which messages a stream had already: an exact, persistent index of message ids, for de-duplication at delivery.
//!
//! It keeps, for each id, the position of the first record with it that was judged. A record is a duplicate if another
//! position is known for its id. So judging the same records again, as after a crash, gives the same verdicts, however far
//! the index is ahead of what was delivered; and of the records with one id exactly one is kept: the one whose position is
//! known. For that to hold, what is delivered must have been judged with what is durable here ([`MessageIds::sync`] before
//! a commit), and what was delivered before an index was lost must be judged again first ([`MessageIds::covered`]).
//!
//! Ids are kept in buckets of a day, by when their record was received. A record is compared with its own bucket and the one
//! before: the window is 24 hours at least; and with later ones, which there are when the clock was set back. Older buckets
//! are dropped whole. An id that is forgotten early could only make one row more, never one less.
//!
//! The store is an LSM tree (crate fjall) of 28 bytes an id; its memory is bounded, whatever the number of ids. All of it is
//! derived from the log: an index that can't be opened is begun anew.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use fjall::compaction::Leveled;
use fjall::config::{CompressionPolicy, PartitioningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use lacus_core::{Context, Error, MessageId, Offset, Offsets, Partition, Position, Result, StreamName, Timestamp};
use sha2::{Digest, Sha256};

/// A bucket has the ids of this long.
const BUCKET_MICROS: i64 = 24 * 3_600 * 1_000_000;
/// Memory for blocks that were read, over all buckets.
const CACHE_BYTES: u64 = 16 << 20;
/// Memory for ids that are not sorted into files yet: one part of them, each bucket. Those that come while files are merged wait in
/// memory until the merge has ended, for one thread does both (fjall 3.1).
const MEMTABLE_BYTES: u64 = 4 << 20;
/// The same for how far streams were judged: a few bytes that are written again with every judgement, and each time take memory until
/// they are sorted into a file.
const META_MEMTABLE_BYTES: u64 = 4 << 20;
/// How large a file of ids is. Ids are spread over all files, so those of a merge are many: small ones let a merge be short, and few
/// parts wait for it however many ids there are.
const FILE_BYTES: u64 = 8 << 20;
/// Log of what is in memory only: the least that the store takes.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// Files that are kept open: those of fifteen million ids.
const FILES_OPEN_MAX: usize = 64;

const META: &str = "covered";
const POSITION_BYTES: usize = 12;

/// A record with an id, to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Who it is.
    pub id: MessageId,
    /// Where it is.
    pub position: Position,
    /// When it was received.
    pub received_at: Timestamp,
}

/// The index of all streams of a project. Deliveries of several streams may use it at once.
pub struct MessageIds {
    directory: PathBuf,
    /// None after a failed write: the store does not trust itself then, and is opened again.
    open: RwLock<Option<Store>>,
}

struct Store {
    database: Database,
    meta: Keyspace,
    buckets: RwLock<HashMap<i64, Keyspace>>,
}

impl MessageIds {
    /// Opens the index in `directory`, or begins one.
    ///
    /// # Errors
    /// `Unavailable` if the directory can't be used.
    pub fn open(directory: &Path) -> Result<Self> {
        let open = Store::open(directory).or_else(|error| begin_anew(directory, &error))?;
        Ok(Self { directory: directory.to_owned(), open: RwLock::new(Some(open)) })
    }

    /// Begins anew if it judged records that the log does not have: `end` says where the log of a stream ends. So it is when
    /// the log was restored from a backup and the index was not. What came after the backup is sent again then, and must not
    /// be left out for the sake of records that are gone. For before the first is judged. Blocks on the disk.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub fn fit(&self, end: impl Fn(&str) -> Offsets) -> Result<()> {
        if self.with(|open| open.is_within(&end)).context("compare the index of messages with the log")? {
            return Ok(());
        }
        let directory = self.directory.display();
        tracing::warn!(%directory, "the index of messages is ahead of the log, and is made again from it");
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        *open = None;
        *open = Some(make_anew(&self.directory)?);
        Ok(())
    }

    /// Says for each record, in the order of the log, whether it is a duplicate. Ids that are new are remembered, together
    /// with `covered`: everything before these offsets has been judged. Blocks on the disk.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses: nothing was remembered, and the same may be asked again.
    pub fn judge(&self, stream: &StreamName, records: &[Seen], covered: &Offsets) -> Result<Vec<bool>> {
        self.with(|open| open.judge(stream, records, covered)).context(format!("judge messages of stream \"{stream}\""))
    }

    /// Everything before these offsets has been judged and is remembered.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub fn covered(&self, stream: &StreamName) -> Result<Offsets> {
        self.with(|open| open.covered(stream)).context(format!("look up messages of stream \"{stream}\""))
    }

    /// Returns when all that was remembered is on disk.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.with(|store| store.database.persist(PersistMode::SyncData)).context("sync the index of messages")
    }

    /// Bytes on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().and_then(|open| open.database.disk_space().ok()).unwrap_or(0)
    }

    fn with<T>(&self, work: impl FnOnce(&Store) -> fjall::Result<T>) -> Result<T> {
        self.open_again()?;
        let done = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            let Some(open) = open.as_ref() else { return Err(failed(&fjall::Error::Poisoned)) };
            work(open)
        };
        done.map_err(|error| {
            *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
            failed(&error)
        })
    }

    fn open_again(&self) -> Result<()> {
        if self.open.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            *open = Some(Store::open(&self.directory).or_else(|error| begin_anew(&self.directory, &error))?);
        }
        Ok(())
    }
}

/// Whether an index can't be opened for what it holds, and not because the machine refuses for now.
fn is_damage(error: &fjall::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, NotFound, UnexpectedEof};
    if matches!(error, fjall::Error::Locked) {
        return false;
    }
    let first: &(dyn std::error::Error + 'static) = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    let machine = causes.into_iter().find_map(|cause| cause.downcast_ref::<io::Error>());
    // What a start that was cut short leaves behind shows as files that are there or missing.
    machine.is_none_or(|error| matches!(error.kind(), AlreadyExists | InvalidData | NotFound | UnexpectedEof))
}

/// Begins an empty index where one can't be opened: what it knew is in the log.
fn begin_anew(directory: &Path, error: &fjall::Error) -> Result<Store> {
    if !is_damage(error) {
        return Err(failed(error)).context(format!("open the index of messages in {}", directory.display()));
    }
    tracing::warn!(directory = %directory.display(), %error, "the index of messages is made again from the log");
    make_anew(directory)
}

fn make_anew(directory: &Path) -> Result<Store> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).context(format!("remove {}", directory.display()));
        }
        _ => {}
    }
    Store::open(directory).map_err(|error| failed(&error)).context("begin the index of messages")
}

fn failed(error: &fjall::Error) -> Error {
    Error::unavailable(format!("the index of messages is not usable now: {error}"))
        .with_hint("is the disk full? lacus goes on by itself when there is room")
}

impl Store {
    fn open(directory: &Path) -> fjall::Result<Self> {
        let database = Database::builder(directory)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .max_cached_files(Some(FILES_OPEN_MAX))
            .worker_threads(1)
            .open()?;
        let small = || KeyspaceCreateOptions::default().max_memtable_size(META_MEMTABLE_BYTES);
        let meta = database.keyspace(META, small)?;
        Ok(Self { database, meta, buckets: RwLock::default() })
    }

    fn covered(&self, stream: &StreamName) -> fjall::Result<Offsets> {
        let stored = self.meta.get(stream.as_str())?;
        Ok(stored.map(|stored| read_covered(&stored)).unwrap_or_default())
    }

    /// Whether nothing was judged that lies behind these ends.
    fn is_within(&self, end: &impl Fn(&str) -> Offsets) -> fjall::Result<bool> {
        for stored in self.meta.iter() {
            let (stream, covered) = stored.into_inner()?;
            let end = end(&String::from_utf8_lossy(&stream));
            if read_covered(&covered).iter().any(|(shard, next)| next > end.next(shard)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn judge(&self, stream: &StreamName, records: &[Seen], covered: &Offsets) -> fjall::Result<Vec<bool>> {
        let salt = salt(stream);
        let mut batch = self.database.batch();
        let mut new: HashMap<u128, Position> = HashMap::new();
        let mut verdicts = Vec::with_capacity(records.len());
        let days = self.days();
        for seen in records {
            let (key, bucket) = (seen.id.0 ^ salt, seen.received_at.as_micros().div_euclid(BUCKET_MICROS));
            let first = match new.get(&key) {
                Some(first) => Some(*first),
                None => self.find(key, bucket, &days)?,
            };
            verdicts.push(first.is_some_and(|first| first != seen.position));
            if first.is_none() {
                new.insert(key, seen.position);
                batch.insert(&self.bucket(bucket)?, key.to_be_bytes(), encode(seen.position));
            }
        }
        let covered = serde_json::to_vec(covered).unwrap_or_default();
        batch.insert(&self.meta, stream.as_str(), covered);
        batch.commit()?;
        Ok(verdicts)
    }

    /// Where the first record with an id is, if it was received in this bucket, the one before, or one of `days` behind it.
    fn find(&self, key: u128, bucket: i64, days: &[i64]) -> fjall::Result<Option<Position>> {
        let later = days.iter().copied().filter(|day| *day > bucket);
        for bucket in [bucket, bucket - 1].into_iter().chain(later) {
            if let Some(found) = self.bucket(bucket)?.get(key.to_be_bytes())? {
                return Ok(decode(&found));
            }
        }
        Ok(None)
    }

    /// The buckets there are.
    fn days(&self) -> Vec<i64> {
        self.database.list_keyspace_names().iter().filter_map(|name| number(name)).collect()
    }

    fn bucket(&self, bucket: i64) -> fjall::Result<Keyspace> {
        if let Some(found) = self.buckets.read().unwrap_or_else(PoisonError::into_inner).get(&bucket) {
            return Ok(found.clone());
        }
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = !self.database.keyspace_exists(&name(bucket));
        let made = self.database.keyspace(&name(bucket), options)?;
        buckets.insert(bucket, made.clone());
        // One that is looked into again may be of a clock that was ahead, and those before it of today.
        if is_new {
            self.drop_before(bucket - 2, &mut buckets)?;
        }
        Ok(made)
    }

    /// Drops the buckets that no record is compared with any more. One more than needed stays: records of the days before
    /// may be judged again.
    fn drop_before(&self, oldest: i64, buckets: &mut HashMap<i64, Keyspace>) -> fjall::Result<()> {
        for name in self.database.list_keyspace_names() {
            let Some(old) = number(&name).filter(|bucket| *bucket < oldest) else { continue };
            buckets.remove(&old);
            let keyspace = self.database.keyspace(&name, options)?;
            self.database.delete_keyspace(keyspace)?;
        }
        Ok(())
    }
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(FILE_BYTES)))
        // Digests don't compress, and whole filters in memory would grow with the number of ids.
        .data_block_compression_policy(CompressionPolicy::disabled())
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
}

fn read_covered(stored: &[u8]) -> Offsets {
    serde_json::from_slice(stored).unwrap_or_default()
}

fn name(bucket: i64) -> String {
    format!("day-{bucket}")
}

fn number(name: &str) -> Option<i64> {
    name.strip_prefix("day-")?.parse().ok()
}

/// Keeps equal ids of two streams apart.
fn salt(stream: &StreamName) -> u128 {
    let digest: [u8; 32] = Sha256::digest(stream.as_str().as_bytes()).into();
    let (half, _) = digest.split_first_chunk::<16>().expect("a digest has 32 bytes");
    u128::from_be_bytes(*half)
}

fn encode(position: Position) -> [u8; POSITION_BYTES] {
    let mut bytes = [0; POSITION_BYTES];
    bytes[..4].copy_from_slice(&position.partition.0.to_le_bytes());
    bytes[4..].copy_from_slice(&position.offset.0.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Position> {
    let (partition, offset) = bytes.split_first_chunk::<4>()?;
    let offset = offset.try_into().ok()?;
    Some(Position { partition: Partition(u32::from_le_bytes(*partition)), offset: Offset(u64::from_le_bytes(offset)) })
}

#[cfg(test)]
mod tests;
