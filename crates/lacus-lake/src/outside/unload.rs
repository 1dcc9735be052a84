//! Files that SQL writes: none has its name before all of them are written.
//!
//! In a folder they grow in one of their own beside ([`UNFINISHED`](super::UNFINISHED)) and are renamed at the end; in a bucket
//! they are uploads that are completed at the end. So a statement that fails, or is killed while it writes, leaves nothing.
//! While names are given it can't be stopped; if that fails, those that have theirs are deleted again, and what they replaced
//! comes back; the error says for which that could not be done, and where they are kept. In a bucket nothing comes back:
//! there, files that may have replaced others stay, and the error names them. Who is killed in that moment leaves those that
//! have their names, each of them whole, and others as they were; a manifest comes last of all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use lacus_core::{Context, Error, Kind, Result};
use object_store::{MultipartUpload, ObjectStoreExt, UploadPart};
use serde_json::json;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::compression::Compressor;
use super::{Compression, Found, Outside, Prefix, REPLACED, Root, UNFINISHED, must_be_few};
use crate::store::{make_directory, store_error};

/// Bytes of a part of an upload.
const PART_BYTES: usize = 8 << 20;
/// Parts that are sent side by side.
const PARTS_AT_ONCE: usize = 2;
/// The longest name of a file or folder that disks take.
const NAME_BYTES_MAX: usize = 255;

/// What becomes of files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Nothing is written where there are some.
    Refused,
    /// Those with the name of a new one are replaced. If that fails half-way, those of a folder come back.
    Replaced,
    /// All are deleted: in the folders that get new ones if there are `parts`, else all that begin like the new ones.
    Deleted {
        /// Whether the new ones are in folders, one for each partition.
        parts: bool,
    },
}

/// Files that are being written.
#[derive(Debug)]
pub struct Unloading {
    outside: Arc<Outside>,
    prefix: Prefix,
    existing: Existing,
    /// The folder that has them until the end, if they are in a folder.
    unfinished: PathBuf,
    written: Vec<Whole>,
    begun: usize,
    /// Files that are replaced, by their paths from the root: where they are kept until all new ones have their names.
    kept: BTreeMap<String, PathBuf>,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unloaded {
    /// How people call it.
    pub name: String,
    /// How large it is.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
}

/// A file that is being written.
pub struct UnloadFile {
    rest: String,
    compressor: Compressor,
    sink: Sink,
    /// Bytes that it has, as they are stored.
    pub bytes: u64,
    /// Rows that it has.
    pub rows: u64,
}

enum Sink {
    Folder { path: PathBuf, file: File },
    Bucket { upload: Box<dyn MultipartUpload>, part: Vec<u8>, sent: FuturesUnordered<UploadPart> },
}

/// A file that is written and has no name yet.
#[derive(Debug)]
struct Whole {
    rest: String,
    bytes: u64,
    rows: u64,
    at: At,
}

#[derive(Debug)]
enum At {
    Folder(PathBuf),
    Bucket(Box<dyn MultipartUpload>),
}

/// What could not be undone.
#[derive(Debug, Default)]
struct Left {
    /// New files that stay.
    new: Vec<String>,
    /// What some of them replaced, and by which name it is kept.
    kept: Vec<String>,
}

impl Outside {
    /// Begins to write files whose path begins with `prefix`.
    ///
    /// # Errors
    /// `Exists` if there are some and they are not to go, `Unavailable` when the store does not answer.
    pub async fn begin_unload(self: &Arc<Self>, prefix: Prefix, existing: Existing) -> Result<Unloading> {
        if existing == Existing::Refused {
            must_be_none(&prefix, &prefix.list().await?)?;
        }
        let unfinished = match &prefix.root {
            Root::Folder(root) => root.join(format!("{UNFINISHED}{}", Uuid::now_v7())),
            Root::Bucket(..) => PathBuf::new(),
        };
        let (outside, written, kept) = (Arc::clone(self), Vec::new(), BTreeMap::new());
        Ok(Unloading { outside, prefix, existing, unfinished, written, begun: 0, kept })
    }
}

fn must_be_none(prefix: &Prefix, found: &[Found]) -> Result<()> {
    let Some(first) = found.first() else { return Ok(()) };
    let more = if found.len() > 1 { format!(" and {} more", found.len() - 1) } else { String::new() };
    Err(Error::new(Kind::Exists, format!("there are files at {prefix} already: {}{more}", prefix.name(&first.rest)))
        .with_hint("unload to another path, or say ALLOWOVERWRITE or CLEANPATH"))
}

fn must_be_short(rest: &str) -> Result<()> {
    let Some(part) = rest.split('/').find(|part| part.len() > NAME_BYTES_MAX) else { return Ok(()) };
    let shown: String = part.chars().take(60).collect();
    Err(Error::invalid(format!("\"{shown}…\" is too long for a name: it has {} bytes", part.len()))
        .with_hint(format!("names of files and folders have {NAME_BYTES_MAX} bytes at most")))
}

impl Unloading {
    /// A new file, whose path has `name` behind that of all.
    ///
    /// # Errors
    /// `Limited` if there are too many, `Invalid` if a part of its path is too long, `Unavailable` when the store or the disk
    /// refuses.
    pub async fn file(&mut self, name: &str, compression: Compression) -> Result<UnloadFile> {
        must_be_few(self.begun, &self.prefix)?;
        let rest = format!("{}{name}", self.prefix.rest);
        must_be_short(&rest)?;
        let doing = format!("write {}", self.prefix.name(&rest));
        let sink = match &self.prefix.root {
            Root::Folder(_) => {
                let (folder, path) = (self.unfinished.clone(), self.unfinished.join(self.begun.to_string()));
                on_disk(move || make_directory(&folder)).await.context(&doing)?;
                Sink::Folder { file: File::create_new(&path).await.context(&doing)?, path }
            }
            Root::Bucket(location, store) => {
                let upload = store.put_multipart(&Prefix::key(location, &rest)?).await;
                let upload = upload.map_err(|error| store_error(error, &doing))?;
                Sink::Bucket { upload, part: Vec::new(), sent: FuturesUnordered::new() }
            }
        };
        self.begun += 1;
        let compressor = Compressor::new(compression).context(&doing)?;
        Ok(UnloadFile { rest, compressor, sink, bytes: 0, rows: 0 })
    }

    /// Has the file be one of those that get their names at the end.
    ///
    /// # Errors
    /// `Unavailable` when the store or the disk refuses.
    pub async fn end(&mut self, file: UnloadFile) -> Result<()> {
        let whole = file.end().await.context(format_args!("write files at {}", self.prefix))?;
        self.written.push(whole);
        Ok(())
    }

    /// Gives all files their names. With a `manifest`, one more file lists them.
    ///
    /// # Errors
    /// `Exists` if others came meanwhile and are not to go, `Unavailable` when the store or the disk refuses. None of the new
    /// files is there then, but for those that the error names, and what was to be replaced is.
    pub async fn publish(mut self, manifest: bool) -> Result<Vec<Unloaded>> {
        let outside = Arc::clone(&self.outside);
        let _alone = outside.publishing.lock().await;
        let mut named = Vec::new();
        let published = self.try_publish(manifest, &mut named).await;
        match published {
            Ok(files) => {
                self.abandon().await;
                Ok(files)
            }
            Err(error) => Err(self.undo(named, error).await),
        }
    }

    /// Undoes what was named, and has the error say for which files that could not be done.
    async fn undo(mut self, named: Vec<String>, error: Error) -> Error {
        let Left { new, kept } = self.take_back(named).await;
        let hint = format!("these files are new, and no others: {}", new.join(", "));
        if kept.is_empty() {
            self.abandon().await;
            return if new.is_empty() { error } else { error.with_hint(hint) };
        }
        // It has the only copies: no start must clear it away.
        let folder = self.unfinished.with_file_name(format!("{REPLACED}{}", Uuid::now_v7()));
        let renamed = tokio::fs::rename(&self.unfinished, &folder).await;
        let folder = if renamed.is_ok() { folder } else { self.unfinished };
        error.with_hint(format!("{hint}; what they replaced is in {}: {}", folder.display(), kept.join(", ")))
    }

    async fn try_publish(&mut self, manifest: bool, named: &mut Vec<String>) -> Result<Vec<Unloaded>> {
        if manifest {
            self.write_manifest().await?;
        }
        self.make_room().await?;
        let mut files = Vec::with_capacity(self.written.len());
        self.written.reverse();
        while let Some(mut whole) = self.written.pop() {
            let name = self.prefix.name(&whole.rest);
            let done = self.name(&whole.rest, &mut whole.at).await;
            if let Err(error) = done.context(format_args!("write {name}")) {
                // A bucket may have it all the same. Where it would have replaced another, that one must stay.
                if matches!(whole.at, At::Bucket(_)) && self.existing != Existing::Replaced {
                    named.push(whole.rest.clone());
                }
                // What has no name is disposed of with the others.
                self.written.push(whole);
                return Err(error);
            }
            named.push(whole.rest);
            files.push(Unloaded { name, bytes: whole.bytes, rows: whole.rows });
        }
        if let Root::Folder(root) = &self.prefix.root {
            let folders: BTreeSet<PathBuf> =
                named.iter().filter_map(|rest| root.join(rest).parent().map(FilePath::to_owned)).collect();
            let sync = move || folders.iter().try_for_each(|folder| std::fs::File::open(folder)?.sync_all());
            on_disk(sync).await.context(format_args!("write files at {}", self.prefix))?;
        }
        Ok(files)
    }

    /// As Redshift writes it: `{"entries":[{"url":"s3://…","meta":{"content_length":1}}]}`.
    async fn write_manifest(&mut self) -> Result<()> {
        let entry = |file: &Whole| json!({"url": self.prefix.name(&file.rest), "meta": {"content_length": file.bytes}});
        let entries: Vec<_> = self.written.iter().map(entry).collect();
        let mut file = self.file("manifest", Compression::None).await?;
        file.write(format!("{}\n", json!({ "entries": entries })).as_bytes()).await?;
        self.end(file).await
    }

    /// Deletes what is to go; looks once more whether there is what must not be.
    async fn make_room(&mut self) -> Result<()> {
        match self.existing {
            Existing::Replaced => self.keep_old().await,
            Existing::Refused => must_be_none(&self.prefix, &self.prefix.list().await?),
            Existing::Deleted { parts } => {
                let folder = |rest: &str| rest.rsplit_once('/').map(|(folder, _)| folder.to_owned());
                self.make_folders().await?;
                let filled: BTreeSet<_> = self.written.iter().map(|file| folder(&file.rest)).collect();
                let old = self.prefix.list().await?.into_iter().map(|file| file.rest);
                let old: Vec<String> = old.filter(|rest| !parts || filled.contains(&folder(rest))).collect();
                match self.delete(old).await.as_slice() {
                    [] => Ok(()),
                    left => Err(Error::unavailable(format!("{} can't be deleted", left.join(", ")))),
                }
            }
        }
    }

    /// Gives what is to be replaced a second name, or copies it, so that it can come back.
    async fn keep_old(&mut self) -> Result<()> {
        let Root::Folder(root) = &self.prefix.root else { return Ok(()) };
        let (root, unfinished) = (root.clone(), self.unfinished.clone());
        let names: Vec<String> = self.written.iter().map(|file| file.rest.clone()).collect();
        let keep = move || {
            let mut kept = BTreeMap::new();
            for (number, rest) in names.into_iter().enumerate() {
                let second = unfinished.join(format!("replaced-{number}"));
                match link_or_copy(&root.join(&rest), &second) {
                    Ok(()) => drop(kept.insert(rest, second)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(kept)
        };
        self.kept =
            on_disk(keep).await.context(format_args!("keep the files at {} until they are replaced", self.prefix))?;
        Ok(())
    }

    /// Undoes what was named: what it replaced comes back, all else goes. Names those for which that could not be done.
    async fn take_back(&mut self, named: Vec<String>) -> Left {
        let Root::Folder(root) = &self.prefix.root else {
            let new = match self.existing {
                // Nobody knows any more whether there was another: without these there might be nothing.
                Existing::Replaced => named.iter().map(|rest| self.prefix.name(rest)).collect(),
                _ => self.delete(named).await,
            };
            return Left { new, kept: Vec::new() };
        };
        let root = root.clone();
        let (mut added, mut left) = (Vec::new(), Left::default());
        for rest in named {
            match self.kept.remove(&rest) {
                None => added.push(rest),
                Some(kept) => {
                    if tokio::fs::rename(&kept, root.join(&rest)).await.is_err() {
                        let (name, kept) = (self.prefix.name(&rest), kept.file_name().unwrap_or_default());
                        left.kept.push(format!("{} was {name}", kept.display()));
                        left.new.push(name);
                    }
                }
            }
        }
        left.new.extend(self.delete(added).await);
        left
    }

    /// Makes the folders of all new files: where that can't be done, nothing old goes.
    async fn make_folders(&mut self) -> Result<()> {
        let Root::Folder(root) = &self.prefix.root else { return Ok(()) };
        let folder = |file: &Whole| root.join(&file.rest).parent().map(FilePath::to_owned);
        let folders: BTreeSet<PathBuf> = self.written.iter().filter_map(folder).collect();
        let make = move || folders.iter().try_for_each(|folder| must_make(folder));
        on_disk(make).await.context(format_args!("make the folders of files at {}", self.prefix))
    }

    async fn name(&mut self, rest: &str, at: &mut At) -> Result<()> {
        match (at, &self.prefix.root) {
            (At::Folder(from), Root::Folder(root)) => {
                let (from, to) = (from.clone(), root.join(rest));
                let rename = move || {
                    make_directory(to.parent().unwrap_or(FilePath::new("/")))?;
                    std::fs::rename(&from, &to)
                };
                Ok(on_disk(rename).await?)
            }
            (At::Bucket(upload), _) => {
                let completed = upload.complete().await;
                completed.map(drop).map_err(|error| store_error(error, "complete an upload"))
            }
            (At::Folder(_), Root::Bucket(..)) => Err(Error::internal("a file of a bucket is in a folder")),
        }
    }

    /// Deletes files; names those that could not be.
    async fn delete(&mut self, files: Vec<String>) -> Vec<String> {
        let mut left = Vec::new();
        for rest in files {
            let deleted = match &self.prefix.root {
                Root::Folder(root) => tokio::fs::remove_file(root.join(&rest)).await.is_ok_or_gone(),
                Root::Bucket(location, store) => match Prefix::key(location, &rest) {
                    Ok(key) => store.delete(&key).await.is_ok_or_gone(),
                    Err(_) => false,
                },
            };
            if !deleted {
                left.push(self.prefix.name(&rest));
            }
        }
        left
    }

    /// Deletes what has no name.
    pub async fn abandon(mut self) {
        for whole in std::mem::take(&mut self.written) {
            if let At::Bucket(mut upload) = whole.at
                && let Err(error) = upload.abort().await
            {
                tracing::warn!(file = self.prefix.name(&whole.rest), %error, "an unfinished upload can't be ended");
            }
        }
        if self.unfinished.as_os_str().is_empty() || self.begun == 0 {
            return;
        }
        if let Err(error) = tokio::fs::remove_dir_all(&self.unfinished).await {
            tracing::warn!(folder = %self.unfinished.display(), %error, "an unfinished unload can't be removed");
        }
    }

    /// The same for a file that was never ended.
    pub async fn abandon_file(&mut self, file: UnloadFile) {
        if let Sink::Bucket { mut upload, .. } = file.sink
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(file = self.prefix.name(&file.rest), %error, "an unfinished upload can't be ended");
        }
    }
}

impl UnloadFile {
    /// Adds bytes.
    ///
    /// # Errors
    /// `Unavailable` when the store or the disk refuses.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let bytes = self.compressor.add(bytes)?;
        self.bytes += bytes.len() as u64;
        self.sink.add(bytes, PART_BYTES).await
    }

    async fn end(mut self) -> Result<Whole> {
        let bytes = self.compressor.end()?;
        self.bytes += bytes.len() as u64;
        self.sink.add(bytes, 1).await?;
        let at = match self.sink {
            Sink::Folder { path, file } => {
                file.sync_all().await?;
                At::Folder(path)
            }
            Sink::Bucket { upload, mut sent, .. } => {
                while sent.try_next().await.map_err(|error| store_error(error, "send a part"))?.is_some() {}
                At::Bucket(upload)
            }
        };
        Ok(Whole { rest: self.rest, bytes: self.bytes, rows: self.rows, at })
    }
}

impl Sink {
    /// Takes bytes, and sends them as a part once there are `enough`.
    async fn add(&mut self, bytes: Vec<u8>, enough: usize) -> Result<()> {
        match self {
            Self::Folder { file, .. } => {
                file.write_all(&bytes).await?;
                // Else the last write's error would be told to nobody.
                Ok(file.flush().await?)
            }
            Self::Bucket { upload, part, sent } => {
                part.extend(bytes);
                while part.len() >= enough {
                    let rest = part.split_off(part.len().min(PART_BYTES));
                    let full = std::mem::replace(part, rest);
                    sent.push(upload.put_part(full.into()));
                    if sent.len() >= PARTS_AT_ONCE
                        && let Some(done) = sent.next().await
                    {
                        done.map_err(|error| store_error(error, "send a part"))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Gives a file a second name; copies it where there are no hard links.
fn link_or_copy(file: &FilePath, second: &FilePath) -> std::io::Result<()> {
    match std::fs::hard_link(file, second) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            std::fs::copy(file, second)?;
            std::fs::File::open(second)?.sync_all()
        }
        linked => linked,
    }
}

/// Makes a folder; an error if there is something else of that name.
fn must_make(folder: &FilePath) -> std::io::Result<()> {
    make_directory(folder)?;
    if folder.is_dir() { Ok(()) } else { Err(std::io::ErrorKind::NotADirectory.into()) }
}

/// What is gone need not be deleted.
trait IsGone {
    fn is_ok_or_gone(&self) -> bool;
}

impl IsGone for std::io::Result<()> {
    fn is_ok_or_gone(&self) -> bool {
        self.as_ref().map_or_else(|error| error.kind() == std::io::ErrorKind::NotFound, |()| true)
    }
}

impl IsGone for object_store::Result<()> {
    fn is_ok_or_gone(&self) -> bool {
        self.as_ref().map_or_else(|error| matches!(error, object_store::Error::NotFound { .. }), |()| true)
    }
}

async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    spawn_blocking(work).await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests;
