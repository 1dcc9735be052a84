//! Names of large folders, kept for the next page of a list, which would otherwise read the folder anew.
//!
//! A client goes on from name to name, and nothing is promised to be kept: without it a page takes longer and says the same. What
//! is kept is used only while the folder's time of modification is the same.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lacus_core::Timestamp;

/// Folders whose names are kept. Each has 16,384 names at most, of 255 bytes and the folder's own.
const FOLDERS_MAX: usize = 4;
/// A folder that changed so lately may change again without its time telling: clocks of file systems tick some times in a second.
const SETTLED_MICROS: i64 = 2_000_000;

/// Some names of a folder, in order, and whether they are folders.
#[derive(Debug, Clone)]
pub(super) struct Names {
    names: Arc<[(String, bool)]>,
    /// Whether there are none behind them.
    pub(super) is_all: bool,
}

/// What tells whether a folder has the names it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    inode: u64,
    changed: (i64, i64),
}

/// Names that are kept, those that were kept last behind.
#[derive(Debug, Default)]
pub(super) struct Rests(Mutex<VecDeque<Rest>>);

#[derive(Debug)]
struct Rest {
    folder: String,
    /// They are names of a list with this prefix …
    prefix: String,
    /// … behind this one.
    after: String,
    state: State,
    names: Names,
}

impl Default for Names {
    fn default() -> Self {
        Self::new(Vec::new(), true)
    }
}

impl Names {
    /// These names, which are in order.
    pub(super) fn new(names: Vec<(String, bool)>, is_all: bool) -> Self {
        Self { names: names.into(), is_all }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, (String, bool)> {
        self.names.iter()
    }

    pub(super) fn last(&self) -> Option<&str> {
        self.names.last().map(|(name, _)| name.as_str())
    }
}

impl State {
    /// That of a folder now.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(folder)?;
        Ok(Self { inode: metadata.ino(), changed: (metadata.mtime(), metadata.mtime_nsec()) })
    }

    /// Whether a further change will show.
    pub(super) fn is_settled(&self, now: Timestamp) -> bool {
        let changed_micros = self.changed.0.saturating_mul(1_000_000).saturating_add(self.changed.1 / 1_000);
        now.as_micros().saturating_sub(changed_micros) > SETTLED_MICROS
    }
}

impl Rests {
    /// The names of a folder that a list with this prefix goes on with behind `after`, if they are kept.
    pub(super) fn find(&self, folder: &str, prefix: &str, state: State, after: &str) -> Option<Names> {
        let rests = self.rests();
        let found = rests.iter().rev().find(|rest| {
            let is_of_list = rest.folder == folder && rest.prefix == prefix && rest.state == state;
            let has_next = rest.names.is_all || rest.names.last().is_some_and(|last| after < last);
            is_of_list && rest.after.as_str() <= after && has_next
        });
        found.map(|rest| rest.names.clone())
    }

    /// Keeps names of a folder, all of a list with this prefix behind `after` or the first of them.
    pub(super) fn keep(&self, folder: &str, prefix: &str, state: State, after: &str, names: Names) {
        let mut rests = self.rests();
        rests.retain(|rest| rest.folder != folder || rest.prefix != prefix);
        if rests.len() == FOLDERS_MAX {
            rests.pop_front();
        }
        let [folder, prefix, after] = [folder, prefix, after].map(str::to_owned);
        rests.push_back(Rest { folder, prefix, after, state, names });
    }

    /// Lets go of what is kept for lists with this prefix: one came to its end.
    pub(super) fn forget(&self, prefix: &str) {
        self.rests().retain(|rest| rest.prefix != prefix);
    }

    fn rests(&self) -> MutexGuard<'_, VecDeque<Rest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Rests {
    /// How many folders have names here.
    pub(super) fn count(&self) -> usize {
        self.rests().len()
    }
}
