//! Which messages a stream had already: an exact, persistent index of message ids, for de-duplication at delivery.
//!
//! It keeps, for each id, the position of the first record with it that was judged. A record is a duplicate if another
//! position is known for its id. So judging the same records again, as after a crash, gives the same verdicts, however far
//! the index is ahead of what was delivered; and of the records with one id exactly one is kept: the one whose position is
//! known. For that to hold, what is delivered must have been judged with what is durable here ([`MessageIds::sync`] before
//! a commit), and what was delivered before an index was lost must be judged again first ([`MessageIds::covered`]).
//!
//! A stream that was deleted lets go of what it had when its tables are dropped. Positions of that don't count: whoever sends
//! the same to the stream that is made with its name again gets rows, and the index the new positions.
//!
//! Ids are kept in buckets of a day, by when their record was received. A record is compared with its own bucket and the one
//! before: the window is 24 hours at least; and with later ones, which there are when the clock was set back. Older buckets
//! are dropped whole. An id that is forgotten early could only make one row more, never one less.
//!
//! The store (see `store`) is an LSM tree of 28 bytes an id, and about 32 on disk; its memory is bounded, whatever the number
//! of ids and however slow the disk: who judges waits for it. All of it is derived from the log: an index that can't be opened,
//! or has bytes that fail their checksum, is begun anew, and nobody goes on as if it had what it had
//! ([`MessageIds::judge`] compares).

mod store;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use lacus_core::{Context, Error, MessageId, Offsets, Position, Result, StreamName, Timestamp};

use crate::disk;
use crate::ids::store::Store;
use crate::state::lock;

/// Memory for ids that are not sorted into files yet: one part of them, each bucket. Up to two more wait to be sorted. The same
/// for how far streams were judged: a few bytes that are written again with every judgement, and each time take memory until they
/// are sorted into a file.
const PART_BYTES: u64 = 4 << 20;
/// A store that fails while the disk has this much room may have a damaged file.
const ROOM_BYTES: u64 = 256 << 20;
/// An index that the disk fails to read so often, over this long, is taken for damaged: a file that can't be read stays so.
const DISK_ERRORS_MAX: u32 = 8;
const DISK_ERRORS_FOR: Duration = Duration::from_secs(60);
/// Errors that are further apart have nothing to do with each other.
const DISK_ERRORS_APART: Duration = Duration::from_secs(600);
/// What the directory of an index that is begun anew has added to its name until it is removed.
const GONE: &str = "gone";

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
    part_bytes: u64,
    state: RwLock<State>,
    disk_errors: Mutex<Option<DiskErrors>>,
    /// For how long the disk may fail.
    patience: Duration,
    begun_anew: AtomicU64,
}

/// Times that the disk failed, one soon after the other.
struct DiskErrors {
    count: u32,
    first: Instant,
    last: Instant,
}

enum State {
    Open(Store),
    /// It failed, and does not trust itself any more: it is opened again.
    Closed,
    /// Its thread failed, and not for want of room: it is opened again, and all of it is read.
    Suspect,
    /// It has what can't be read, or what the log doesn't have: it is begun anew.
    Unusable,
}

impl MessageIds {
    /// Opens the index in `directory`, or begins one.
    ///
    /// # Errors
    /// `Unavailable` if the directory can't be used.
    pub fn open(directory: &Path) -> Result<Self> {
        Self::with_parts(directory, PART_BYTES)
    }

    fn with_parts(directory: &Path, part_bytes: u64) -> Result<Self> {
        // A crash may have left some of it.
        remove(&directory.with_added_extension(GONE))?;
        let ids = Self {
            directory: directory.to_owned(),
            part_bytes,
            state: RwLock::new(State::Closed),
            disk_errors: Mutex::default(),
            patience: DISK_ERRORS_FOR,
            begun_anew: AtomicU64::new(0),
        };
        ids.open_again()?;
        Ok(ids)
    }

    /// Begins anew if it judged records that the log does not have: `end` says where the log of a stream ends. So it is when
    /// the log was restored from a backup and the index was not. What came after the backup is sent again then, and must not
    /// be left out for the sake of records that are gone. For before the first is judged. Blocks on the disk.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub fn fit(&self, end: impl Fn(&str) -> Offsets) -> Result<()> {
        if self.with(|store| store.is_within(&end)).context("compare the index of messages with the log")? {
            return Ok(());
        }
        let directory = self.directory.display();
        tracing::warn!(%directory, "the index of messages is ahead of the log, and is made again from it");
        *self.state_mut() = State::Unusable;
        self.open_again()
    }

    /// Says for each record, in the order of the log, whether it is a duplicate. Ids that are new are remembered, together
    /// with `covered`: everything before these offsets has been judged. Of what was `let_go`, no record is the first one with
    /// its id. Blocks on the disk, and for as long as too many ids wait for it.
    ///
    /// None, and nothing is remembered, if what the index covers is not `after`, as who asks was told last: it was begun
    /// anew meanwhile, and would call records new that it had. What is behind has to be judged first.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses: the same may be asked again.
    pub fn judge(
        &self,
        stream: &StreamName,
        records: &[Seen],
        after: &Offsets,
        covered: &Offsets,
        let_go: &Offsets,
    ) -> Result<Option<Vec<bool>>> {
        self.with(|store| store.judge(stream, records, after, covered, let_go))
            .context(format!("judge messages of stream \"{stream}\""))
    }

    /// Everything before these offsets has been judged and is remembered.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub fn covered(&self, stream: &StreamName) -> Result<Offsets> {
        self.with(|store| store.covered(stream)).context(format!("look up messages of stream \"{stream}\""))
    }

    /// Returns when all that was remembered is on disk.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.with(Store::sync).context("sync the index of messages")
    }

    /// Bytes on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        match &*self.state() {
            State::Open(store) => store.disk_bytes(),
            _ => 0,
        }
    }

    /// How often it was begun anew since it was opened, and had to be filled again from the log.
    #[must_use]
    pub fn begun_anew(&self) -> u64 {
        self.begun_anew.load(Ordering::Relaxed)
    }

    /// Works with the store; once more with a new one, if what it has is damaged.
    fn with<T>(&self, work: impl Fn(&Store) -> fjall::Result<T>) -> Result<T> {
        let mut done = self.try_with(&work)?;
        if done.as_ref().is_err_and(is_damage) {
            done = self.try_with(&work)?;
        }
        done.map_err(|error| failed(&error))
    }

    fn try_with<T>(&self, work: &impl Fn(&Store) -> fjall::Result<T>) -> Result<fjall::Result<T>> {
        self.open_again()?;
        let done = match &*self.state() {
            State::Open(store) => work(store),
            // Another one had it fail just now.
            _ => return Ok(Err(fjall::Error::Poisoned)),
        };
        if let Err(error) = &done {
            *self.state_mut() = self.after(error);
        }
        Ok(done)
    }

    /// What comes of a failure of the store.
    fn after(&self, error: &fjall::Error) -> State {
        if is_damage(error) || self.disk_fails_for_long(error) {
            self.warn_of(error);
            return State::Unusable;
        }
        // Its thread does not say why it failed: for want of room, or for bytes that it came upon when it merged files.
        let is_of_the_thread = matches!(error, fjall::Error::Poisoned);
        if is_of_the_thread && has_room(&self.directory) { State::Suspect } else { State::Closed }
    }

    fn open_again(&self) -> Result<()> {
        if matches!(&*self.state(), State::Open(_)) {
            return Ok(());
        }
        let mut state = self.state_mut();
        let opened = match &*state {
            State::Open(_) => return Ok(()),
            State::Closed => Store::open(&self.directory, self.part_bytes).map(Some),
            State::Suspect => Store::open(&self.directory, self.part_bytes).and_then(Store::checked).map(Some),
            State::Unusable => Ok(None),
        };
        let store = match opened {
            Ok(Some(store)) => store,
            Ok(None) => self.begin_anew()?,
            Err(error) if is_damage(&error) || self.disk_fails_for_long(&error) => {
                self.warn_of(&error);
                self.begin_anew()?
            }
            Err(error) => {
                let context = format!("open the index of messages in {}", self.directory.display());
                return Err(failed(&error)).context(context);
            }
        };
        *state = State::Open(store);
        Ok(())
    }

    /// Begins an empty index: what the old one knew is in the log. That one goes at once, by its name: half of it could say
    /// that it covers records whose ids it has lost.
    fn begin_anew(&self) -> Result<Store> {
        let gone = self.directory.with_added_extension(GONE);
        remove(&gone)?;
        rename(&self.directory, &gone).context(format!("rename {}", self.directory.display()))?;
        self.begun_anew.fetch_add(1, Ordering::Relaxed);
        let store = Store::open(&self.directory, self.part_bytes);
        let store = store.map_err(|error| failed(&error)).context("begin the index of messages")?;
        remove(&gone)?;
        *lock(&self.disk_errors) = None;
        Ok(store)
    }

    /// Whether this is one more error of the disk, of many and for a while.
    fn disk_fails_for_long(&self, error: &fjall::Error) -> bool {
        if !is_of_the_disk(error) {
            return false;
        }
        let now = Instant::now();
        let mut errors = lock(&self.disk_errors);
        let known = errors.take().filter(|known| now.duration_since(known.last) < DISK_ERRORS_APART);
        let DiskErrors { count, first, .. } = known.unwrap_or(DiskErrors { count: 0, first: now, last: now });
        *errors = Some(DiskErrors { count: count + 1, first, last: now });
        count + 1 >= DISK_ERRORS_MAX && now.duration_since(first) >= self.patience
    }

    fn warn_of(&self, error: &fjall::Error) {
        let directory = self.directory.display();
        tracing::warn!(%directory, %error, "the index of messages is damaged, and is made again from the log");
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an index fails for what it holds, and not because the machine refuses for now.
fn is_damage(error: &fjall::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, NotFound, UnexpectedEof};
    if matches!(error, fjall::Error::Locked | fjall::Error::Poisoned) {
        return false;
    }
    // What a start that was cut short leaves behind shows as files that are there or missing.
    of_the_machine(error)
        .is_none_or(|error| matches!(error.kind(), AlreadyExists | InvalidData | NotFound | UnexpectedEof))
}

/// Whether the disk itself failed.
fn is_of_the_disk(error: &fjall::Error) -> bool {
    let code = rustix::io::Errno::IO.raw_os_error();
    of_the_machine(error).is_some_and(|error| error.raw_os_error() == Some(code))
}

/// What the machine said, if that is the cause.
fn of_the_machine(error: &fjall::Error) -> Option<&io::Error> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source()).find_map(|cause| cause.downcast_ref::<io::Error>())
}

fn has_room(directory: &Path) -> bool {
    rustix::fs::statvfs(directory).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= ROOM_BYTES)
}

/// Gives a directory another name, durably, if there is one.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    let parent = from.parent().filter(|parent| !parent.as_os_str().is_empty());
    disk::sync_directory(parent.unwrap_or(Path::new(".")))
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

fn failed(error: &fjall::Error) -> Error {
    let hint = match is_of_the_disk(error) {
        true => {
            "the disk fails: look into the system's log. Events are taken all the same; what goes on for a minute is taken for damage, and the index is made again from the log"
        }
        false => "is the disk full? lacus goes on by itself when there is room",
    };
    Error::unavailable(format!("the index of messages is not usable now: {error}")).with_hint(hint)
}

#[cfg(test)]
mod tests;
