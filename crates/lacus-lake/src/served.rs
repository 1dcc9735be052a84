//! The lake's folder as a bucket, for engines on other machines: what may be read and written there.
//!
//! A name is `<database>/<table>/…`; raw events and all else in the folder have none, and neither has what a symbolic link leads
//! to. Files are written once: an existing name is never written again, unless with the same bytes. A write that is answered is
//! on disk, with its name; incoming bytes are gathered in a folder beside the lake, so that half a file never has a name.
//! Nothing is deleted here: lacus deletes what tables no longer need.

mod completed;
mod listing;
mod name;
mod parts;
mod rests;

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use lacus_core::{Context, Error, Kind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use self::completed::Completed;
use self::name::FileName;
use self::parts::Uploads;
use self::rests::Rests;
use crate::lake::{Inner, detached};
use crate::store::{Directories, make_directory};

pub use self::listing::{Listed, Listing};

/// The most bytes of a file.
const FILE_BYTES_MAX: u64 = 5 << 30;
/// The most files, and parts of files, that are received at the same time.
const INCOMING_MAX: usize = 32;
/// Bytes that are gathered before they are written.
const GATHERED_BYTES: usize = 1 << 20;
/// Bytes that are read at once to compare two files.
const COMPARED_BYTES: usize = 64 << 10;

/// The files of a lake that is served.
pub struct Served {
    inner: Arc<Inner>,
    bucket: String,
    /// Where files gather that come in.
    uploads_directory: PathBuf,
    uploads: Arc<Uploads>,
    incoming: Arc<Semaphore>,
    /// Files get their names one after the other: a name that is taken back was never reported.
    naming: Arc<Mutex<Directories>>,
    /// What lists go on with.
    rests: Arc<Rests>,
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedFile {
    /// How long it is.
    pub bytes: u64,
    /// When it was written.
    pub modified: SystemTime,
    /// Differs from that of any other file that ever had this name.
    pub tag: String,
}

/// A file being received. If it is dropped before it is complete, it leaves nothing.
pub struct Incoming {
    /// None while a piece is being written, and after that failed.
    file: Option<File>,
    place: Gathering,
    lake: Arc<Inner>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    bytes: u64,
    bytes_max: u64,
    _permit: OwnedSemaphorePermit,
}

/// A file without a name in the lake, removed when it is dropped.
struct Gathering(PathBuf);

impl Drop for Gathering {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // The next opening removes the whole folder.
            Err(error) => tracing::warn!(%error, "what is left of an upload could not be removed"),
        }
    }
}

impl Served {
    /// Opens the files of a lake, with a folder for incoming ones in `data`. What an earlier process left unfinished is
    /// removed.
    pub(crate) async fn open(inner: Arc<Inner>, bucket: String, data: &Path) -> Result<Self> {
        let (uploads_directory, completed) = (data.join("uploads"), data.join("completed"));
        let directory = uploads_directory.clone();
        let completed = blocking(move || {
            empty(&directory).context(format_args!("empty {}", directory.display()))?;
            Completed::open(completed)
        });
        let uploads = Arc::new(Uploads::new(uploads_directory.clone(), completed.await?));
        let incoming = Arc::new(Semaphore::new(INCOMING_MAX));
        let naming = Arc::new(Mutex::new(Directories::below(&inner.directory)));
        let rests = Arc::default();
        Ok(Self { inner, bucket, uploads_directory, uploads, incoming, naming, rests })
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The name of the folder of a table in the bucket, by its location.
    ///
    /// # Errors
    /// If the location is not in the lake.
    pub fn folder_of(&self, location: &str) -> Result<String> {
        self.inner.files.warehouse.path(location).map(|path| path.to_string())
    }

    /// Size, time and tag of a file.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Denied` if no file that others may read can have this name.
    pub async fn look(&self, name: &str) -> Result<ServedFile> {
        self.open_file(name).await.map(|(file, _)| file)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As for [`look`](Self::look).
    pub async fn open_file(&self, name: &str) -> Result<(ServedFile, File)> {
        if name.ends_with('/') {
            return Err(Error::not_found("folders are no files"));
        }
        let name = FileName::parse(name)?;
        let lake = self.inner.directory.clone();
        blocking(move || {
            let path = name.path_in(&lake)?;
            let file = File::open(&path).map_err(|error| unusable(&name, "read", error))?;
            let metadata = file.metadata().map_err(|error| unusable(&name, "read", error))?;
            if !metadata.is_file() {
                return Err(missing(&name));
            }
            Ok((describe(&metadata), file))
        })
        .await
    }

    /// Files in order of their names.
    ///
    /// # Errors
    /// If a folder can't be read.
    pub async fn list(&self, listing: Listing) -> Result<Listed> {
        let (lake, rests, now) = (self.inner.directory.clone(), Arc::clone(&self.rests), self.inner.clock.now());
        blocking(move || listing::list(&lake, &listing, &rests, now)).await
    }

    /// Whether an empty file may be accepted as the mark of a folder, which some engines write. It is not stored, because
    /// folders exist through the files in them.
    ///
    /// # Errors
    /// `Denied` for a name that no folder of a table can have.
    pub async fn is_mark(&self, name: &str) -> Result<bool> {
        let Some(folder) = name.strip_suffix('/') else { return Ok(false) };
        let (name, lake) = (FileName::parse(folder)?, self.inner.directory.clone());
        blocking(move || name.must_have_table(&lake)).await?;
        Ok(true)
    }

    /// Begins to receive a file, of this size if it is known.
    ///
    /// # Errors
    /// `Denied` for a name that no file of a table can have, `Invalid` for a file that is too large, `Limited` if too many
    /// come in, `Unavailable` if there is no room.
    pub async fn take_in(&self, name: &str, bytes: Option<u64>) -> Result<Incoming> {
        let name = FileName::parse(name)?;
        let lake = self.inner.directory.clone();
        blocking(move || name.must_have_table(&lake)).await?;
        self.gather(bytes).await
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.incoming).try_acquire_owned().map_err(|_| {
            Error::new(Kind::Limited, format!("{INCOMING_MAX} files come in already")).with_hint("try again")
        })
    }

    async fn gather(&self, bytes: Option<u64>) -> Result<Incoming> {
        let permit = self.permit()?;
        if bytes.is_some_and(|bytes| bytes > FILE_BYTES_MAX) {
            return Err(too_large());
        }
        self.inner.must_have_room(bytes.unwrap_or(0))?;
        let path = self.uploads_directory.join(Uuid::new_v4().to_string());
        let (file, place) = blocking(move || {
            let folder = path.parent().unwrap_or(&path);
            make_directory(folder).context("make the folder of uploads")?;
            let file = File::options().read(true).write(true).create_new(true).open(&path);
            Ok((file.context("begin a file that comes in")?, Gathering(path)))
        })
        .await?;
        let (lake, bytes_max) = (Arc::clone(&self.inner), bytes.unwrap_or(FILE_BYTES_MAX));
        let (file, gathered) = (Some(file), Vec::new());
        Ok(Incoming { file, place, lake, gathered, gathered_bytes: 0, bytes: 0, bytes_max, _permit: permit })
    }

    /// Gives a received file its name: after that it is on disk. With `only_new` an existing file is an error even if it has
    /// the same bytes.
    ///
    /// # Errors
    /// `Exists` if another file has the name; `Unavailable` if the disk refuses: nothing has the name then.
    pub async fn keep(&self, name: &str, incoming: Incoming, only_new: bool) -> Result<ServedFile> {
        let (name, lake) = (FileName::parse(name)?, self.inner.directory.clone());
        let (file, place, permit) = incoming.complete().await?;
        let naming = Arc::clone(&self.naming);
        // To its end, whoever waits for it.
        detached(async move {
            let kept = blocking(move || keep(&naming, &lake, &name, (&file, &place), only_new)).await;
            drop(permit);
            kept
        })
        .await
    }

    /// Deletes nothing that exists: lacus does that itself, when no table needs a file any more. Marks of folders and missing
    /// files count as deleted.
    ///
    /// # Errors
    /// `Denied` if the file is there, or can't be in the bucket.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let parsed = FileName::parse(name.strip_suffix('/').unwrap_or(name))?;
        if name.ends_with('/') {
            return Ok(());
        }
        match self.look(name).await {
            Ok(_) => Err(Error::new(Kind::Denied, format!("lacus deletes {parsed} itself, when no table needs it"))
                .with_hint("leave it; DELETE FROM takes rows out of a table, and lacus doctor names files of none")),
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Incoming {
    /// Takes the next piece.
    ///
    /// # Errors
    /// `Invalid` if the file gets larger than it was said to be, `Unavailable` if the disk refuses.
    pub async fn add(&mut self, piece: Bytes) -> Result<()> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(too_large());
        }
        self.gathered_bytes += piece.len();
        self.gathered.push(piece);
        if self.gathered_bytes < GATHERED_BYTES { Ok(()) } else { self.write().await }
    }

    async fn write(&mut self) -> Result<()> {
        // Others come in meanwhile.
        self.lake.must_have_room(self.gathered_bytes as u64)?;
        let (pieces, file) = (std::mem::take(&mut self.gathered), self.file.take());
        self.gathered_bytes = 0;
        let mut file = file.ok_or_else(|| Error::unavailable("an earlier piece of this file could not be written"))?;
        let written = blocking(move || {
            pieces.iter().try_for_each(|piece| file.write_all(piece)).context("write a file that comes in")?;
            Ok(file)
        });
        self.file = Some(written.await?);
        Ok(())
    }

    /// How many bytes came in.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn complete(mut self) -> Result<(File, Gathering, OwnedSemaphorePermit)> {
        self.write().await?;
        let file = self.file.take().expect("it was just written");
        Ok((file, self.place, self._permit))
    }
}

/// Makes a complete file durable and gives it its name.
fn keep(
    naming: &Mutex<Directories>,
    lake: &Path,
    name: &FileName,
    (file, place): (&File, &Gathering),
    only_new: bool,
) -> Result<ServedFile> {
    file.sync_all().context("sync a file that came in")?;
    let folders = naming.lock().unwrap_or_else(PoisonError::into_inner);
    let path = name.path_in(lake)?;
    let folder = path.parent().ok_or_else(|| Error::internal("a name has a folder"))?;
    let is_named = match folders.with(folder, || fs::hard_link(&place.0, &path)) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // A client that did not hear of its success writes the same file again.
            let is_same = !only_new && is_same(&place.0, &path).map_err(|error| unusable(name, "read", error))?;
            if !is_same {
                return Err(Error::new(Kind::Exists, format!("{name} exists, and files are written once"))
                    .with_hint("write to another name"));
            }
            // Another engine on this machine may have written it without a sync.
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|error| unusable(name, "sync", error))?;
            false
        }
        Err(error) => return Err(unusable(name, "write", error)),
    };
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        // The next sync may succeed without this name being on disk: a retry has to make it again.
        if is_named {
            fs::remove_file(&path).map_err(|error| unusable(name, "take back the name of", error))?;
        }
        return Err(unusable(name, "sync the folder of", error));
    }
    fs::metadata(&path).map(|metadata| describe(&metadata)).map_err(|error| unusable(name, "read", error))
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut ours, mut theirs) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
    loop {
        let count = one.read(&mut ours)?;
        if count == 0 {
            return Ok(true);
        }
        other.read_exact(&mut theirs[..count])?;
        if ours[..count] != theirs[..count] {
            return Ok(false);
        }
    }
}

fn describe(metadata: &Metadata) -> ServedFile {
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let written = metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec());
    let tag = format!("{:x}-{written:x}-{:x}", metadata.ino(), metadata.len());
    ServedFile { bytes: metadata.len(), modified, tag }
}

/// Removes all that is in a folder.
fn empty(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn too_large() -> Error {
    Error::invalid("a file has 5 GiB at most, and no more bytes than it was said to have")
}

fn missing(name: &FileName) -> Error {
    Error::not_found(format!("there is no file {name}"))
}

fn unusable(name: &FileName, doing: &str, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound | Io::NotADirectory | Io::IsADirectory => missing(name),
        Io::InvalidFilename | Io::InvalidInput => Error::invalid(format!("no file can be called {name}")),
        _ => Error::unavailable(format!("{doing} {name}")).with_source(error),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let ended = spawn_blocking(work).await;
    ended.map_err(|error| Error::internal("work on a served file ended unexpectedly").with_source(error))?
}

#[cfg(test)]
mod tests;
