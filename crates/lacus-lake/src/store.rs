//! Files on disk behind the `ObjectStore` interface, made so that they survive a power cut.
//!
//! [`DurableDirectory::put`](ObjectStore::put_opts) answers when the file, its name and every directory above it are
//! on disk. Objects are written once: a name that exists is refused, never overwritten. A large one is written in parts;
//! its name is told to nobody before it is complete, so no reader ever sees a file change. It must never rename or rewrite.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::FutureExt;
use futures::stream::{BoxStream, StreamExt};
use lacus_core::{Context, Error, Kind, Result};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, UploadPart,
};
use tokio::task::spawn_blocking;

/// Files that one call deletes side by side.
const DELETES_AT_ONCE: usize = 8;
/// The most directories remembered as synced. The raw zone makes a new one every hour; beyond this we start anew.
const SYNCED_DIRECTORIES_MAX: usize = 4_096;

/// A directory of immutable files.
#[derive(Clone)]
pub(crate) struct DurableDirectory(Arc<Inner>);

struct Inner {
    directories: Directories,
    files: LocalFileSystem,
}

/// Directories below a root, made so that they survive a power cut. Those that an earlier process made, or began to make, are
/// synced again: how far it came is not known.
pub(crate) struct Directories {
    root: PathBuf,
    /// Directories whose own name is known to be on disk.
    synced: Mutex<HashSet<PathBuf>>,
}

impl DurableDirectory {
    /// The directory, made if it is new.
    pub(crate) fn open(root: &FilePath) -> Result<Self> {
        make_directory(root).context(format_args!("create {}", root.display()))?;
        let files = LocalFileSystem::new_with_prefix(root).map_err(|error| store_error(error, "open the lake"))?;
        Ok(Self(Arc::new(Inner { directories: Directories::below(root), files })))
    }
}

#[cfg(test)]
impl DurableDirectory {
    pub(crate) fn root(&self) -> &FilePath {
        &self.0.directories.root
    }
}

impl Inner {
    fn write(&self, path: &FilePath, payload: &PutPayload) -> io::Result<()> {
        let mut file = self.create(path)?;
        let written = write_all(&mut file, payload).and_then(|()| complete(&file, path));
        if written.is_err() {
            // What can't be removed now is recorded as a leftover and removed at the next start.
            drop(fs::remove_file(path));
        }
        written
    }

    /// A new, empty file in a directory that is durable.
    fn create(&self, path: &FilePath) -> io::Result<File> {
        let parent = path.parent().ok_or_else(|| io::Error::other("an object needs a directory"))?;
        self.directories.with(parent, || File::create_new(path))
    }
}

impl Directories {
    /// The directories below `root`, which exists.
    pub(crate) fn below(root: &FilePath) -> Self {
        Self { root: root.to_owned(), synced: Mutex::default() }
    }

    /// Does something in a directory after that and all directories above it are durable.
    ///
    /// # Errors
    /// Those of the disk, and of `work`, which is done again if someone removed a directory that was there.
    pub(crate) fn with<T>(&self, directory: &FilePath, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
        self.make(directory)?;
        match work() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.synced().clear();
                self.make(directory)?;
                work()
            }
            done => done,
        }
    }

    /// Makes a directory and all above it durable, from the root down.
    fn make(&self, directory: &FilePath) -> io::Result<()> {
        if directory == self.root || self.synced().contains(directory) {
            return Ok(());
        }
        let parent = directory.parent().ok_or_else(|| io::Error::other("the path leaves the lake"))?;
        self.make(parent)?;
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_directory(parent)?,
        }
        let mut synced = self.synced();
        if synced.len() >= SYNCED_DIRECTORIES_MAX {
            synced.clear();
        }
        synced.insert(directory.to_owned());
        Ok(())
    }

    fn synced(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.synced.lock().expect("nothing panics while it holds this lock")
    }
}

/// Makes a directory, and those above it that are missing, durably.
pub(crate) fn make_directory(directory: &FilePath) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(FilePath::new("."));
    make_directory(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(parent),
    }
}

fn write_all(file: &mut File, payload: &PutPayload) -> io::Result<()> {
    payload.iter().try_for_each(|part| file.write_all(part))
}

/// Makes a file and its name durable.
fn complete(file: &File, path: &FilePath) -> io::Result<()> {
    file.sync_all()?;
    path.parent().map_or(Ok(()), sync_directory)
}

fn sync_directory(directory: &FilePath) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn remove(path: &FilePath) -> io::Result<()> {
    fs::remove_file(path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

#[async_trait]
impl ObjectStore for DurableDirectory {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        _options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let path = self.0.files.path_to_filesystem(location)?;
        let inner = Arc::clone(&self.0);
        spawn_blocking(move || inner.write(&path, &payload)).await?.map_err(|error| io_error(location, error))?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let path = self.0.files.path_to_filesystem(location)?;
        let inner = Arc::clone(&self.0);
        let target = path.clone();
        let file = spawn_blocking(move || inner.create(&target)).await?.map_err(|error| io_error(location, error))?;
        Ok(Box::new(Upload { location: location.clone(), path, file: Arc::new(file), bytes: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.files.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> object_store::Result<Vec<bytes::Bytes>> {
        self.0.files.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let inner = Arc::clone(&self.0);
        let deleted = locations.map(move |location| {
            let inner = Arc::clone(&inner);
            async move {
                let location = location?;
                let path = inner.files.path_to_filesystem(&location)?;
                spawn_blocking(move || remove(&path)).await?.map_err(|error| io_error(&location, error))?;
                Ok(location)
            }
        });
        deleted.buffered(DELETES_AT_ONCE).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> object_store::Result<()> {
        Err(not_implemented("copy_opts"))
    }
}

/// A large file that is written in parts, at the same time, each at its offset. If it is never completed, it is recorded as a
/// leftover and removed.
#[derive(Debug)]
struct Upload {
    location: Path,
    path: PathBuf,
    file: Arc<File>,
    /// Where the next part begins.
    bytes: u64,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (file, location, mut place) = (Arc::clone(&self.file), self.location.clone(), self.bytes);
        self.bytes += payload.content_length() as u64;
        let write = move || {
            payload.iter().try_for_each(|piece| {
                file.write_all_at(piece, place)?;
                place += piece.len() as u64;
                Ok(())
            })
        };
        async move { spawn_blocking(write).await?.map_err(|error| io_error(&location, error)) }.boxed()
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let (file, path) = (Arc::clone(&self.file), self.path.clone());
        let completed = spawn_blocking(move || complete(&file, &path)).await?;
        completed.map_err(|error| io_error(&self.location, error))?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        let path = self.path.clone();
        spawn_blocking(move || remove(&path)).await?.map_err(|error| io_error(&self.location, error))
    }
}

fn io_error(location: &Path, error: io::Error) -> object_store::Error {
    let path = location.to_string();
    match error.kind() {
        io::ErrorKind::NotFound => object_store::Error::NotFound { path, source: error.into() },
        io::ErrorKind::AlreadyExists => object_store::Error::AlreadyExists { path, source: error.into() },
        _ => object_store::Error::Generic { store: "lake", source: format!("{path}: {error}").into() },
    }
}

fn not_implemented(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented { operation: operation.into(), implementer: "lake".into() }
}

/// Converts an error of the store: a missing file is damage, everything else may pass.
pub(crate) fn store_error(error: object_store::Error, doing: impl fmt::Display) -> Error {
    let kind = match error {
        object_store::Error::NotFound { .. } => Kind::Corrupt,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => Kind::Denied,
        _ => Kind::Unavailable,
    };
    Error::new(kind, doing.to_string()).with_source(error)
}

impl fmt::Display for DurableDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.directories.root.display())
    }
}

impl fmt::Debug for DurableDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableDirectory({})", self.0.directories.root.display())
    }
}

#[cfg(test)]
mod tests;
