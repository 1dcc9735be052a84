//! The index of message ids as an LSM tree (crate fjall): a keyspace a day, and one for how far streams were judged.
//!
//! Everything here is bounded, and nothing waits for what can't come. The store alone (fjall 3.1) would have neither. Its one
//! thread both sorts ids into files and merges files: while it merges, ids gather in memory without a bound, and each batch asks it
//! again to sort them, by a queue of a thousand. When that is full the thread waits for room to put its own next step there, which
//! only it could make. And a writer that the store has wait does so for ever once the thread has failed. So a batch is written when
//! there is room for it ([`make_room`](Store::make_room)), and none of that begins. Two threads would be worse: one of them takes
//! requests to merge from the queue and puts them back, without a pause, for as long as the other one merges.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use fjall::compaction::Leveled;
use fjall::config::{CompressionPolicy, PartitioningPolicy};
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use lacus_core::{Offset, Offsets, Partition, Position, StreamName};
use sha2::{Digest, Sha256};

use crate::ids::Seen;
use crate::state::lock;

/// A bucket has the ids of this long.
pub(super) const BUCKET_MICROS: i64 = 24 * 3_600 * 1_000_000;
/// Memory for blocks that were read, over all buckets.
const CACHE_BYTES: u64 = 16 << 20;
/// Parts of ids that wait to be sorted into a file, each bucket. The store would wait for ever from four on.
pub(super) const PARTS_WAITING_MAX: usize = 2;
/// Files that wait to be merged, each bucket: they are some four. The store would wait for ever from thirty on.
pub(super) const FILES_WAITING_MAX: usize = 16;
/// How long who waits for the store's thread sleeps before looking again.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How large a file of ids is. Ids are spread over all files, so those of a merge are many: small ones let a merge be short, and
/// who judges waits little for it however many ids there are.
const FILE_BYTES: u64 = 8 << 20;
/// Log of what is in memory only: the least that the store takes. There are two such at most: one that is written, and one whose
/// last ids are being sorted into files.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// Files that are kept open: those of fifteen million ids.
const FILES_OPEN_MAX: usize = 64;

const META: &str = "covered";
/// Where how many ids a bucket has at least stands beside how far streams were judged. No name of a stream begins so.
const COUNT_OF: &str = "\0";
const POSITION_BYTES: usize = 12;

pub(super) struct Store {
    pub(super) database: Database,
    pub(super) meta: Keyspace,
    buckets: RwLock<HashMap<i64, Keyspace>>,
    /// How many bytes of ids a part has.
    part_bytes: u64,
    /// How many ids each bucket has at least. Held while a batch is written: there is room for one.
    writing: Mutex<BTreeMap<i64, u64>>,
}

/// What is known of an id.
struct Known {
    /// Where the first record with it is, of those that count.
    first: Option<Position>,
    /// Whether its own bucket has it, counting or not.
    is_there: bool,
}

impl Store {
    pub(super) fn open(directory: &Path, part_bytes: u64) -> fjall::Result<Self> {
        let database = Database::builder(directory)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .max_cached_files(Some(FILES_OPEN_MAX))
            .worker_threads(1)
            .open()?;
        let small = || KeyspaceCreateOptions::default().max_memtable_size(part_bytes);
        let meta = database.keyspace(META, small)?;
        let store = Self { database, meta, buckets: RwLock::default(), part_bytes, writing: Mutex::default() };
        store.counted()
    }

    /// Counts the ids, and fails if there are fewer than were on disk. Where the store's own log is damaged, it drops what follows
    /// and says nothing. Ids may be gone then, while how far they go is in a file.
    fn counted(self) -> fjall::Result<Self> {
        let mut on_disk: BTreeMap<i64, u64> = BTreeMap::new();
        for stored in self.meta.iter() {
            let (key, count) = stored.into_inner()?;
            on_disk.extend(read_count(&key, &count));
        }
        let days = self.days();
        let newest = days.iter().chain(on_disk.keys()).max().copied().unwrap_or_default();
        on_disk.retain(|day, _| *day >= oldest_kept(newest));
        for (&day, &least) in &on_disk {
            // An id that was written again counts twice here until its files are merged.
            let most = if days.contains(&day) { self.bucket(day)?.approximate_len() as u64 } else { 0 };
            if most < least {
                let gone = format!("{} of {least} ids of {} are gone", least - most, name(day));
                return Err(io::Error::new(io::ErrorKind::InvalidData, gone).into());
            }
        }
        *lock(&self.writing) = on_disk;
        Ok(self)
    }

    /// Reads everything: each block has a checksum.
    pub(super) fn checked(self) -> fjall::Result<Self> {
        for stored in self.meta.iter() {
            stored.into_inner()?;
        }
        for day in self.days() {
            for stored in self.bucket(day)?.iter() {
                stored.into_inner()?;
            }
        }
        Ok(self)
    }

    /// Returns when everything is on disk, and remembers how many ids that are. A power cut may take later ones, of records that
    /// are in no commit and are judged again.
    pub(super) fn sync(&self) -> fjall::Result<()> {
        let counts = lock(&self.writing).clone();
        self.database.persist(PersistMode::SyncData)?;
        let _writing = lock(&self.writing);
        self.make_room(&self.meta)?;
        let mut batch = self.database.batch();
        for (bucket, count) in counts {
            batch.insert(&self.meta, count_of(bucket), count.to_be_bytes());
        }
        batch.commit()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }

    pub(super) fn covered(&self, stream: &StreamName) -> fjall::Result<Offsets> {
        let stored = self.meta.get(stream.as_str())?;
        Ok(stored.map(|stored| read_covered(&stored)).unwrap_or_default())
    }

    /// Whether nothing was judged that lies behind these ends.
    pub(super) fn is_within(&self, end: &impl Fn(&str) -> Offsets) -> fjall::Result<bool> {
        for stored in self.meta.iter() {
            let (stream, covered) = stored.into_inner()?;
            if stream.starts_with(COUNT_OF.as_bytes()) {
                continue;
            }
            let end = end(&String::from_utf8_lossy(&stream));
            if read_covered(&covered).iter().any(|(shard, next)| next > end.next(shard)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// As [`MessageIds::judge`](super::MessageIds::judge).
    pub(super) fn judge(
        &self,
        stream: &StreamName,
        records: &[Seen],
        after: &Offsets,
        covered: &Offsets,
        let_go: &Offsets,
    ) -> fjall::Result<Option<Vec<bool>>> {
        if self.covered(stream)? != *after {
            return Ok(None);
        }
        let salt = salt(stream);
        let mut batch = self.database.batch();
        let mut new: HashMap<u128, Position> = HashMap::new();
        let mut verdicts = Vec::with_capacity(records.len());
        let mut written = BTreeMap::new();
        let mut added: BTreeMap<i64, u64> = BTreeMap::new();
        let days = self.days();
        for seen in records {
            let (key, bucket) = (seen.id.0 ^ salt, seen.received_at.as_micros().div_euclid(BUCKET_MICROS));
            let counts = |first: Position| first == seen.position || !let_go.include(first);
            let Known { first, is_there } = match new.get(&key) {
                Some(first) => Known { first: Some(*first), is_there: true },
                None => self.find(key, bucket, &days, counts)?,
            };
            verdicts.push(first.is_some_and(|first| first != seen.position));
            if first.is_none() {
                new.insert(key, seen.position);
                let keyspace = self.bucket(bucket)?;
                batch.insert(&keyspace, key.to_be_bytes(), encode(seen.position));
                written.insert(bucket, keyspace);
                *added.entry(bucket).or_default() += u64::from(!is_there);
            }
        }
        let covered = serde_json::to_vec(covered).unwrap_or_default();
        batch.insert(&self.meta, stream.as_str(), covered);
        let mut counts = lock(&self.writing);
        for keyspace in written.values().chain([&self.meta]) {
            self.make_room(keyspace)?;
        }
        batch.commit()?;
        for (bucket, more) in added {
            *counts.entry(bucket).or_default() += more;
        }
        Ok(Some(verdicts))
    }

    /// Waits until a batch more may be in memory.
    fn make_room(&self, keyspace: &Keyspace) -> fjall::Result<()> {
        while keyspace.l0_table_count() >= FILES_WAITING_MAX {
            // Nothing is merged here while the store's thread is at it.
            keyspace.tree.compact(merging(), 0)?;
            self.wait()?;
        }
        if keyspace.tree.active_memtable().size() < self.part_bytes {
            return Ok(());
        }
        while keyspace.sealed_memtable_count() >= PARTS_WAITING_MAX {
            self.wait()?;
        }
        keyspace.rotate_memtable()?;
        Ok(())
    }

    /// Waits a moment for the store's thread; fails when that has failed.
    fn wait(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::Buffer)?;
        thread::sleep(LOOK_EVERY);
        Ok(())
    }

    /// What this bucket, the one before, and those of `days` behind it know of an id. A position that `counts` ends the search.
    fn find(&self, key: u128, bucket: i64, days: &[i64], counts: impl Fn(Position) -> bool) -> fjall::Result<Known> {
        let mut is_there = false;
        let later = days.iter().copied().filter(|day| *day > bucket);
        for day in [bucket, bucket - 1].into_iter().chain(later) {
            let found = self.bucket(day)?.get(key.to_be_bytes())?;
            is_there |= day == bucket && found.is_some();
            let first = found.and_then(|found| decode(&found)).filter(|first| counts(*first));
            if first.is_some() {
                return Ok(Known { first, is_there });
            }
        }
        Ok(Known { first: None, is_there })
    }

    /// The buckets there are.
    pub(super) fn days(&self) -> Vec<i64> {
        self.database.list_keyspace_names().iter().filter_map(|name| number(name)).collect()
    }

    pub(super) fn bucket(&self, bucket: i64) -> fjall::Result<Keyspace> {
        if let Some(found) = self.buckets.read().unwrap_or_else(PoisonError::into_inner).get(&bucket) {
            return Ok(found.clone());
        }
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = !self.database.keyspace_exists(&name(bucket));
        let made = self.database.keyspace(&name(bucket), || self.options())?;
        buckets.insert(bucket, made.clone());
        // One that is looked into again may be of a clock that was ahead, and those before it of today.
        if is_new {
            self.drop_before(oldest_kept(bucket), &mut buckets)?;
        }
        Ok(made)
    }

    /// Drops the buckets that no record is compared with any more.
    fn drop_before(&self, oldest: i64, buckets: &mut HashMap<i64, Keyspace>) -> fjall::Result<()> {
        for name in self.database.list_keyspace_names() {
            let Some(old) = number(&name).filter(|bucket| *bucket < oldest) else { continue };
            buckets.remove(&old);
            lock(&self.writing).remove(&old);
            self.meta.remove(count_of(old))?;
            let keyspace = self.database.keyspace(&name, || self.options())?;
            self.database.delete_keyspace(keyspace)?;
        }
        Ok(())
    }

    fn options(&self) -> KeyspaceCreateOptions {
        KeyspaceCreateOptions::default()
            .max_memtable_size(self.part_bytes)
            .compaction_strategy(merging())
            // Digests don't compress, and whole filters in memory would grow with the number of ids.
            .data_block_compression_policy(CompressionPolicy::disabled())
            .filter_block_partitioning_policy(PartitioningPolicy::all(true))
            .index_block_partitioning_policy(PartitioningPolicy::all(true))
    }
}

fn merging() -> Arc<Leveled> {
    Arc::new(Leveled::default().with_table_target_size(FILE_BYTES))
}

fn read_covered(stored: &[u8]) -> Offsets {
    serde_json::from_slice(stored).unwrap_or_default()
}

/// The oldest bucket that stays beside this one. It is one more than records are compared with: those of the days before may be
/// judged again.
fn oldest_kept(bucket: i64) -> i64 {
    bucket.saturating_sub(2)
}

fn count_of(bucket: i64) -> String {
    format!("{COUNT_OF}{}", name(bucket))
}

/// A bucket and its number of ids, if it is that.
fn read_count(key: &[u8], count: &[u8]) -> Option<(i64, u64)> {
    let bucket = std::str::from_utf8(key).ok()?.strip_prefix(COUNT_OF)?;
    Some((number(bucket)?, u64::from_be_bytes(count.try_into().ok()?)))
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
