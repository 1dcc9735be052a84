//! How far named readers have come, in `cursors.json`.
//!
//! The file is replaced whole and durably with each change. A cursor is what a reader said, no promise that its records
//! are still there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lacus_core::{Context, Error, Kind, Offsets, Result, StreamName};
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::streams::StreamId;

/// The most readers of one stream that have a cursor.
pub const READERS_MAX: usize = 1_000;
/// The longest name of a reader, in bytes.
pub const READER_BYTES_MAX: usize = 128;

const FILE: &str = "cursors.json";
const FORMAT: u32 = 1;

type ByReader = BTreeMap<String, Offsets>;

/// All cursors.
#[derive(Debug)]
pub(crate) struct Cursors {
    path: PathBuf,
    by_stream: BTreeMap<StreamId, ByReader>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCursors {
    format: u32,
    /// CRC-32 of `cursors` as compact JSON.
    crc32: u32,
    cursors: BTreeMap<StreamId, ByReader>,
}

impl Cursors {
    /// Reads the cursors of the log in `directory`; none if there is no file yet.
    pub(crate) fn load(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let damaged = |how: &str| {
            Error::corrupt(format!("{} is damaged: {how}", path.display()))
                .with_hint("remove it: readers then begin where they say themselves, or at the start")
        };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, by_stream: BTreeMap::new() });
            }
            Err(error) => return Err(error).context(format!("read {}", path.display())),
        };
        let stored: StoredCursors =
            serde_json::from_slice(&text).map_err(|error| damaged("it is no list of cursors").with_source(error))?;
        if stored.format != FORMAT || stored.crc32 != checksum(&stored.cursors)? {
            return Err(damaged("its checksum or format does not match"));
        }
        Ok(Self { path, by_stream: stored.cursors })
    }

    /// Where a reader is; empty for one that never said.
    pub(crate) fn get(&self, stream: StreamId, reader: &str) -> Offsets {
        self.by_stream.get(&stream).and_then(|readers| readers.get(reader)).cloned().unwrap_or_default()
    }

    /// Moves a reader, or forgets it.
    pub(crate) fn set(
        &mut self,
        stream: (StreamId, &StreamName),
        reader: &str,
        offsets: Option<&Offsets>,
    ) -> Result<()> {
        let is_name = (1..=READER_BYTES_MAX).contains(&reader.len()) && !reader.chars().any(char::is_control);
        if !is_name {
            return Err(Error::invalid("this can't be the name of a reader")
                .with_hint(format!("use 1 to {READER_BYTES_MAX} bytes of text")));
        }
        let mut by_stream = self.by_stream.clone();
        let readers = by_stream.entry(stream.0).or_default();
        match offsets {
            Some(offsets) => readers.insert(reader.to_owned(), offsets.clone()),
            None => readers.remove(reader),
        };
        if readers.len() > READERS_MAX {
            return Err(Error::new(
                Kind::Limited,
                format!("stream \"{}\" has {READERS_MAX} readers already", stream.1),
            )
            .with_hint("forget readers that are no more"));
        }
        self.replace(by_stream)
    }

    /// Forgets the readers of a stream.
    pub(crate) fn forget(&mut self, stream: StreamId) -> Result<()> {
        if !self.by_stream.contains_key(&stream) {
            return Ok(());
        }
        let mut by_stream = self.by_stream.clone();
        by_stream.remove(&stream);
        self.replace(by_stream)
    }

    fn replace(&mut self, by_stream: BTreeMap<StreamId, ByReader>) -> Result<()> {
        let stored = StoredCursors { format: FORMAT, crc32: checksum(&by_stream)?, cursors: by_stream };
        let text = serde_json::to_vec(&stored).map_err(|error| Error::internal(error.to_string()))?;
        disk::replace(&self.path, &text).map(drop).context(format!("write {}", self.path.display()))?;
        self.by_stream = stored.cursors;
        Ok(())
    }
}

fn checksum(cursors: &BTreeMap<StreamId, ByReader>) -> Result<u32> {
    let text = serde_json::to_vec(cursors).map_err(|error| Error::internal(error.to_string()))?;
    Ok(crc32fast::hash(&text))
}
