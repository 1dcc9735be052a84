//! How far named readers have come: one file for each stream that has any, `cursors/<stream number>.json`.
//!
//! A file is replaced whole and durably with each change; looking a cursor up waits for no disk. A cursor is what a reader
//! said, no promise that its records are still there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use lacus_core::{Context, Error, Kind, Offsets, Result, StreamName};
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::state::lock;
use crate::streams::StreamId;

/// The most readers of one stream that have a cursor.
pub const READERS_MAX: usize = 1_000;
/// The longest name of a reader, in bytes.
pub const READER_BYTES_MAX: usize = 128;

/// The folder of the files, in that of the log.
pub(crate) const FOLDER: &str = "cursors";
const EXTENSION: &str = "json";
const FORMAT: u32 = 1;

type ByReader = BTreeMap<String, Offsets>;

/// All cursors.
#[derive(Debug)]
pub(crate) struct Cursors {
    folder: PathBuf,
    by_stream: RwLock<BTreeMap<StreamId, ByReader>>,
    /// Held while a file is replaced, so that no change overtakes another.
    storing: Mutex<()>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCursors {
    format: u32,
    /// CRC-32 of `stream` and `readers` as compact JSON.
    crc32: u32,
    stream: StreamId,
    readers: ByReader,
}

impl Cursors {
    /// Reads the cursors of the log in `directory`. The folder for them must exist.
    pub(crate) fn load(directory: &Path) -> Result<Self> {
        let folder = directory.join(FOLDER);
        let mut by_stream = BTreeMap::new();
        for entry in folder.read_dir().context(format!("list {}", folder.display()))? {
            let path = entry.context(format!("list {}", folder.display()))?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                let (stream, readers) = load_file(&path)?;
                by_stream.insert(stream, readers);
            }
        }
        Ok(Self { folder, by_stream: RwLock::new(by_stream), storing: Mutex::new(()) })
    }

    /// The cursor of a reader; empty if it never set one.
    pub(crate) fn get(&self, stream: StreamId, reader: &str) -> Result<Offsets> {
        check_name(reader)?;
        let by_stream = self.by_stream.read().unwrap_or_else(PoisonError::into_inner);
        Ok(by_stream.get(&stream).and_then(|readers| readers.get(reader)).cloned().unwrap_or_default())
    }

    /// Sets a reader's cursor, or removes it.
    pub(crate) fn set(&self, stream: (StreamId, &StreamName), reader: &str, offsets: Option<&Offsets>) -> Result<()> {
        check_name(reader)?;
        let _storing = lock(&self.storing);
        let mut readers = self.of_stream(stream.0);
        match offsets {
            Some(offsets) => readers.insert(reader.to_owned(), offsets.clone()),
            None => readers.remove(reader),
        };
        if readers.len() > READERS_MAX {
            let message = format!("stream \"{}\" has {READERS_MAX} readers already", stream.1);
            return Err(Error::new(Kind::Limited, message).with_hint("forget readers that are no more"));
        }
        self.store(stream.0, readers)
    }

    /// Removes all cursors of a stream.
    pub(crate) fn forget(&self, stream: StreamId) -> Result<()> {
        let _storing = lock(&self.storing);
        if self.of_stream(stream).is_empty() { Ok(()) } else { self.store(stream, ByReader::new()) }
    }

    fn of_stream(&self, stream: StreamId) -> ByReader {
        let by_stream = self.by_stream.read().unwrap_or_else(PoisonError::into_inner);
        by_stream.get(&stream).cloned().unwrap_or_default()
    }

    fn store(&self, stream: StreamId, readers: ByReader) -> Result<()> {
        let path = self.folder.join(format!("{}.{EXTENSION}", stream.0));
        let stored = StoredCursors { format: FORMAT, crc32: checksum(stream, &readers)?, stream, readers };
        let text = serde_json::to_vec(&stored).map_err(|error| Error::internal(error.to_string()))?;
        disk::replace(&path, &text).map_err(|error| disk::refused(&path, error))?;
        self.by_stream.write().unwrap_or_else(PoisonError::into_inner).insert(stream, stored.readers);
        Ok(())
    }
}

/// The files of the log in `directory`, by their paths in it.
pub(crate) fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = match directory.join(FOLDER).read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut files = Vec::new();
    for entry in listed {
        let file = Path::new(FOLDER).join(entry?.file_name());
        if file.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(file);
        }
    }
    Ok(files)
}

fn check_name(reader: &str) -> Result<()> {
    if (1..=READER_BYTES_MAX).contains(&reader.len()) && !reader.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid("this can't be the name of a reader")
        .with_hint(format!("use 1 to {READER_BYTES_MAX} bytes of text")))
}

fn load_file(path: &Path) -> Result<(StreamId, ByReader)> {
    let damaged = |how: &str| {
        Error::corrupt(format!("{} is damaged: {how}", path.display()))
            .with_hint("remove it: the stream's readers then begin where they say themselves, or at the start")
    };
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Err(damaged("it is a directory")),
        read => read.context(format!("read {}", path.display()))?,
    };
    let stored: StoredCursors =
        serde_json::from_slice(&text).map_err(|error| damaged("it is no list of cursors").with_source(error))?;
    if stored.format != FORMAT {
        let message = format!("{} has format {}, this lacus knows {FORMAT}", path.display(), stored.format);
        return Err(Error::invalid(message).with_hint("open it with the lacus that wrote it, or a newer one"));
    }
    if stored.crc32 != checksum(stored.stream, &stored.readers)? {
        return Err(damaged("its checksum does not match"));
    }
    Ok((stored.stream, stored.readers))
}

fn checksum(stream: StreamId, readers: &ByReader) -> Result<u32> {
    let text = serde_json::to_vec(&(stream, readers)).map_err(|error| Error::internal(error.to_string()))?;
    Ok(crc32fast::hash(&text))
}
