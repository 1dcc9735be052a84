//! A copy of a log that may be in use: which of its files it takes, and when.
//!
//! It reads files alone, so it works beside the process that has the log open, and without one. Every log file but the last
//! never changes and may be a hard link; of the last one are taken the bytes it has by then, which end as after a crash:
//! opening the copy cuts off a group that was not finished, and that nobody was told is stored.
//!
//! The caller looks at what was delivered between [`LogBackup::begin`] and [`LogBackup::finish`]. That makes the copy fit:
//! what `begin` takes goes back to what was not delivered by then, and what `finish` takes goes on beyond. Cursors are
//! taken first, so that no reader is ahead of the copy, and the list of streams last, as it is stored before their records.
//! What streams were let go of must not change meanwhile: whoever looked before might have tables with less than that, and the
//! copy would never deliver the rest.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use lacus_core::{Context, Error, Kind, Offsets, Result, StreamName};

use crate::index;
use crate::recovery::SEGMENTS;
use crate::streams::Streams;
use crate::{cursors, segment, streams};

/// How a file may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// Its bytes never change: a hard link will do.
    Link,
    /// It is still written to: it has to be copied, with the bytes that it has when it is opened.
    Copy,
}

/// Links or copies a file, named by its path in the log's directory. `NotFound` if it is not there.
pub type Take<'a> = dyn FnMut(&Path, Taking) -> io::Result<()> + 'a;

/// A backup that was begun.
#[derive(Debug)]
pub struct LogBackup {
    directory: PathBuf,
    /// The first log file that was not taken; none if there were no log files.
    next: Option<u64>,
    /// What streams had been let go of.
    let_go: BTreeMap<StreamName, Offsets>,
}

impl LogBackup {
    /// Takes the cursors, and every finished log file of the log in `directory`.
    ///
    /// # Errors
    /// If the directory can't be read, or a file can't be taken.
    pub fn begin(directory: &Path, take: &mut Take<'_>) -> Result<Self> {
        let let_go = let_go(directory)?;
        for file in cursors::files(directory).context("list the cursors of the log")? {
            take_if_there(&file, Taking::Copy, take)?;
        }
        let numbers = numbers(directory)?;
        // From the newest back: where retention was faster, the older ones are gone, too. They were delivered.
        for number in numbers.iter().rev().skip(1) {
            if !link(*number, take)? {
                break;
            }
        }
        Ok(Self { directory: directory.to_owned(), next: numbers.last().copied(), let_go })
    }

    /// Takes the log files that were finished since, what the last one has, and the list of streams.
    ///
    /// # Errors
    /// `Conflict` if retention removed a file that was not taken yet, or tables of a deleted stream were dropped: begin anew.
    pub fn finish(self, take: &mut Take<'_>) -> Result<()> {
        if let Some(last) = numbers(&self.directory)?.pop() {
            for number in self.next.unwrap_or(last)..last {
                if !link(number, take)? {
                    return Err(Error::new(Kind::Conflict, format!("log file {number} was removed meanwhile")));
                }
            }
            let file = in_log(last);
            take(&file, Taking::Copy).context(format_args!("take {}", file.display()))?;
        }
        take_if_there(Path::new(streams::FILE), Taking::Copy, take)?;
        // It only ever grows: what is so now was so when the list was taken.
        if let_go(&self.directory)? != self.let_go {
            return Err(Error::new(Kind::Conflict, "tables of a deleted stream were dropped meanwhile"));
        }
        Ok(())
    }
}

/// What each stream was let go of, if anything.
fn let_go(directory: &Path) -> Result<BTreeMap<StreamName, Offsets>> {
    let streams = Streams::load(directory)?;
    let let_go = streams.iter().filter(|stream| stream.let_go.total() > 0);
    Ok(let_go.map(|stream| (stream.name.clone(), stream.let_go.clone())).collect())
}

fn numbers(directory: &Path) -> Result<Vec<u64>> {
    match segment::numbers(&directory.join(SEGMENTS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        numbers => numbers.context("list the log files"),
    }
}

/// Takes a finished log file, and its index if it has one; false if it is gone.
fn link(number: u64, take: &mut Take<'_>) -> Result<bool> {
    let file = in_log(number);
    if !take_if_there(&file, Taking::Link, take)? {
        return Ok(false);
    }
    take_if_there(&file.with_extension(index::EXTENSION), Taking::Link, take)?;
    Ok(true)
}

fn take_if_there(file: &Path, how: Taking, take: &mut Take<'_>) -> Result<bool> {
    match take(file, how) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context(format_args!("take {}", file.display())),
    }
}

fn in_log(number: u64) -> PathBuf {
    segment::path(Path::new(SEGMENTS), number)
}
