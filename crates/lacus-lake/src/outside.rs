//! Files outside of the lake, which SQL writes (`UNLOAD`) and reads (`COPY … FROM`).
//!
//! They are only where the settings allow: permission to send SQL is not permission to read or write any file of this machine. A
//! place that contains files of the project or of the lake is refused at the start, so no statement can ever touch those. What a
//! statement writes gets its name only when all of it is written ([`unload`]); what it reads is bounded piece by piece
//! ([`load`]).

mod compression;
mod load;
mod unload;

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use lacus_core::settings::{self, Location, Place};
use lacus_core::{Context, Error, Kind, Result};
use object_store::ObjectStore;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

pub use self::compression::Compression;
pub use self::load::OutsideFile;
pub use self::unload::{Existing, UnloadFile, Unloaded, Unloading};
use crate::s3::client;
use crate::store::store_error;

/// The most files that one statement reads or writes.
pub const OUTSIDE_FILES_MAX: usize = 10_000;
/// The most files of external tables that are being read at once, over all statements.
pub const READERS_MAX: usize = 128;
/// The prefix of folders with files that are not complete yet.
const UNFINISHED: &str = ".unfinished-";
/// The prefix of folders with the only copies of files that were replaced and could not come back: they stay until somebody
/// takes them out.
const REPLACED: &str = ".replaced-";

/// The places where SQL may write and read files.
#[derive(Debug, Default)]
pub struct Outside {
    project: PathBuf,
    to: Vec<Root>,
    from: Vec<Root>,
    /// Held while files get their names: of two statements that write to one place, the second sees the first one's files.
    publishing: Mutex<()>,
    readers: Readers,
}

/// Turns to read files whose rows are consumed slowly: each may hold a thread for that long, and the lake's own files need
/// threads, too.
#[derive(Debug, Clone)]
pub struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READERS_MAX)))
    }
}

impl Readers {
    /// A turn, held until it is dropped. None if none is left: waiting might be for a turn that waits for us.
    #[must_use]
    pub fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

/// A place that is allowed.
#[derive(Debug, Clone)]
enum Root {
    Folder(PathBuf),
    Bucket(Location, Arc<AmazonS3>),
}

/// All files of a place whose path begins with a given text.
#[derive(Debug, Clone)]
pub struct Prefix {
    root: Root,
    /// What follows the root and a slash.
    rest: String,
}

/// A file that is there.
#[derive(Debug)]
struct Found {
    /// Its path from the root.
    rest: String,
    bytes: u64,
    /// Changes when the file is rewritten, if the store tells.
    tag: Option<String>,
    /// Whether it is a symbolic link, wherever that leads.
    is_link: bool,
}

impl Outside {
    /// Opens the places that the settings of the project in the folder `project` allow. Leftovers of an `UNLOAD` that was
    /// killed are removed.
    ///
    /// # Errors
    /// `Invalid` if one of them has files of the project or of the lake in it, or can't be reached.
    pub fn open(project: &FilePath, lake: &settings::Lake, query: &settings::Query) -> Result<Self> {
        let project = std::path::absolute(project).context(format_args!("find {}", project.display()))?;
        let roots = |setting: &str, places: &[Place]| {
            let root = |place| Root::of(place, &project, lake, setting);
            places.iter().map(root).collect::<Result<Vec<_>>>()
        };
        let to = roots("query.unload_to", &query.unload_to)?;
        let from = roots("query.copy_from", &query.copy_from)?;
        for root in &to {
            if let Root::Folder(folder) = root
                && folder.starts_with(&project)
            {
                remove_unfinished(folder);
            }
        }
        Ok(Self { project, to, from, publishing: Mutex::default(), readers: Readers::default() })
    }

    /// Turns to read files whose rows are consumed slowly.
    #[must_use]
    pub fn readers(&self) -> Readers {
        self.readers.clone()
    }

    /// The prefix at which a statement may write files with this path.
    ///
    /// # Errors
    /// `Denied` where it may not, `Invalid` for what is no path.
    pub fn to_write(&self, path: &str) -> Result<Prefix> {
        self.find(path, &self.to, "write to", "query.unload_to")
    }

    /// The prefix at which a statement may read files with this path.
    ///
    /// # Errors
    /// `Denied` where it may not, `Invalid` for what is no path.
    pub fn to_read(&self, path: &str) -> Result<Prefix> {
        self.find(path, &self.from, "read", "query.copy_from")
    }

    fn find(&self, path: &str, roots: &[Root], what: &str, setting: &str) -> Result<Prefix> {
        let found = roots.iter().find_map(|root| Some((root, self.rest_of(path, root)?)));
        let Some((root, rest)) = found else {
            let allowed: Vec<String> = roots.iter().map(ToString::to_string).collect();
            let hint = match allowed.as_slice() {
                [] => format!("{setting} in lacus.toml allows no place"),
                some => format!("{setting} in lacus.toml allows {}", some.join(", ")),
            };
            return Err(Error::new(Kind::Denied, format!("SQL may not {what} \"{path}\"")).with_hint(hint));
        };
        must_be_path(&rest, path)?;
        Ok(Prefix { root: root.clone(), rest })
    }

    /// The rest of a path below a root, if it is there.
    fn rest_of(&self, path: &str, root: &Root) -> Option<String> {
        match root {
            Root::Bucket(location, _) => {
                let rest = path.strip_prefix(location.to_string().as_str())?;
                if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('/').map(str::to_owned) }
            }
            Root::Folder(folder) => {
                let path = path.strip_prefix("file://").unwrap_or(path);
                if path.contains("://") {
                    return None;
                }
                let path = path.strip_prefix("./").unwrap_or(path);
                let whole = self.project.join(path).to_str()?.to_owned();
                let folder = folder.to_str()?.trim_end_matches('/');
                let rest = whole.strip_prefix(folder)?;
                if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('/').map(str::to_owned) }
            }
        }
    }
}

impl Root {
    fn of(place: &Place, project: &FilePath, lake: &settings::Lake, setting: &str) -> Result<Self> {
        let has_own = || {
            Error::invalid(format!("{setting}: \"{place}\" has the project's own files in it, or is among them"))
                .with_hint("name another folder, or another part of the bucket: SQL must not reach those")
        };
        match place {
            Place::Bucket(location) => {
                if lake.location.as_ref().is_some_and(|lake| overlap(lake, location)) {
                    return Err(has_own());
                }
                let store = client(location, &lake.s3).context(format_args!("use {place} of {setting}"))?;
                Ok(Self::Bucket(location.clone(), Arc::new(store)))
            }
            Place::Folder(folder) => {
                let folder: PathBuf =
                    project.join(folder).components().filter(|part| *part != Component::CurDir).collect();
                // Where links lead counts, too.
                let real = |path: &FilePath| path.canonicalize().unwrap_or_else(|_| path.to_owned());
                let (own, real) = (real(project), real(&folder));
                if own.starts_with(&real)
                    || real.starts_with(own.join(".lacus"))
                    || folder.starts_with(project.join(".lacus"))
                {
                    return Err(has_own());
                }
                Ok(Self::Folder(folder))
            }
        }
    }
}

/// Whether one location is inside of the other.
fn overlap(one: &Location, other: &Location) -> bool {
    let within = |one: &str, other: &str| {
        other.is_empty() || one.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    one.bucket == other.bucket && (within(&one.prefix, &other.prefix) || within(&other.prefix, &one.prefix))
}

fn must_be_path(rest: &str, path: &str) -> Result<()> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.starts_with(UNFINISHED)
            && !part.contains(char::is_control)
    };
    let parts = rest.strip_suffix('/').unwrap_or(rest);
    if parts.is_empty() && !rest.starts_with('/') || !parts.is_empty() && parts.split('/').all(is_part) {
        return Ok(());
    }
    Err(Error::invalid(format!("\"{path}\" is no path of files"))
        .with_hint("it has no empty parts, and none that is . or .."))
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Bucket(location, _) => location.fmt(f),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name(&self.rest))
    }
}

impl Prefix {
    /// The same with a slash at the end: all files in a folder.
    #[must_use]
    pub fn as_folder(mut self) -> Self {
        if !self.rest.is_empty() && !self.rest.ends_with('/') {
            self.rest.push('/');
        }
        self
    }

    /// How people call a file.
    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.root.to_string().trim_end_matches('/'))
    }

    /// The key of a file in its bucket.
    fn key(location: &Location, rest: &str) -> Result<Path> {
        let key = if location.prefix.is_empty() { rest.to_owned() } else { format!("{}/{rest}", location.prefix) };
        Path::parse(key).map_err(|error| Error::invalid(format!("\"{rest}\" is no name of a file")).with_source(error))
    }

    /// The files that are there, by name.
    async fn list(&self) -> Result<Vec<Found>> {
        let folder = self.rest.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let mut found = match &self.root {
            Root::Folder(root) => {
                let (root, rest) = (root.clone(), self.rest.clone());
                let listed = spawn_blocking(move || {
                    let mut found = Vec::new();
                    walk(&root, &folder, &rest, &mut found)?;
                    Ok::<_, Error>(found)
                });
                listed
                    .await
                    .map_err(|error| Error::internal("listing files ended unexpectedly").with_source(error))??
            }
            Root::Bucket(location, store) => {
                let base = if location.prefix.is_empty() { String::new() } else { format!("{}/", location.prefix) };
                let folder = Self::key(location, &folder)?;
                let mut objects = store.list(Some(&folder));
                let mut found = Vec::new();
                while let Some(object) =
                    objects.try_next().await.map_err(|error| store_error(error, format!("list {self}")))?
                {
                    let rest = object.location.as_ref().strip_prefix(&base).unwrap_or_default();
                    if rest.starts_with(&self.rest) && !rest.is_empty() {
                        must_be_few(found.len(), self)?;
                        let (rest, tag) = (rest.to_owned(), object.e_tag);
                        found.push(Found { rest, bytes: object.size, tag, is_link: false });
                    }
                }
                found
            }
        };
        found.sort_by(|a, b| a.rest.cmp(&b.rest));
        Ok(found)
    }
}

fn must_be_few(files: usize, what: &impl fmt::Display) -> Result<()> {
    if files < OUTSIDE_FILES_MAX {
        return Ok(());
    }
    Err(Error::new(Kind::Limited, format!("there are more than {OUTSIDE_FILES_MAX} files at {what}"))
        .with_hint("name a part of them"))
}

/// Adds the files in a folder and in those below it, if their paths begin with `rest`.
fn walk(root: &FilePath, folder: &str, rest: &str, found: &mut Vec<Found>) -> Result<()> {
    let path = root.join(folder);
    let doing = || format!("list {}", path.display());
    let entries = match std::fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.context(doing())?,
    };
    for entry in entries {
        let entry = entry.context(doing())?;
        let within = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let Ok(name) = entry.file_name().into_string() else {
            if within(&entry.file_name().to_string_lossy()).starts_with(rest) {
                return Err(Error::invalid(format!("the name of {} is no UTF-8", entry.path().display()))
                    .with_hint("rename it: only names that are UTF-8 are read"));
            }
            continue;
        };
        if name.starts_with(UNFINISHED) || name.starts_with(REPLACED) {
            continue;
        }
        let name = within(&name);
        let kind = entry.file_type().context(doing())?;
        let may_match = name.starts_with(rest) || rest.starts_with(&format!("{name}/"));
        if kind.is_dir() && may_match {
            walk(root, &name, rest, found)?;
        } else if (kind.is_file() || kind.is_symlink()) && name.starts_with(rest) {
            must_be_few(found.len(), &path.display())?;
            let metadata = entry.metadata().context(doing())?;
            let (bytes, tag) = (metadata.len(), Some(tag_of(&metadata)));
            found.push(Found { rest: name, bytes, tag, is_link: kind.is_symlink() });
        }
    }
    Ok(())
}

/// Changes when a file in a folder is rewritten.
fn tag_of(file: &Metadata) -> String {
    format!("{}-{}.{:09}-{}", file.ino(), file.mtime(), file.mtime_nsec(), file.len())
}

fn remove_unfinished(folder: &FilePath) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        match std::fs::remove_dir_all(entry.path()) {
            Ok(()) => tracing::info!(folder = %entry.path().display(), "removed what an unload that was killed left"),
            Err(error) => {
                tracing::warn!(folder = %entry.path().display(), %error, "an unfinished unload can't be removed");
            }
        }
    }
}
