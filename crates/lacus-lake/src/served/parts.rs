//! Files that come in parts: each part is a file of its own until the last is there and they become one.
//!
//! What is known of an upload is in memory, and its parts are in the folder of uploads: they end with the process, and
//! otherwise a day after the last part came. That it was completed is remembered beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lacus_core::{Context, Error, Kind, Result, Timestamp};
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use super::completed::{Completed, told};
use super::name::FileName;
use super::{FILE_BYTES_MAX, Gathering, Incoming, Served, ServedFile, blocking, describe, keep, too_large};
use crate::lake::detached;

/// Uploads that wait for parts at once.
const UPLOADS_MAX: usize = 256;
/// Parts of one file.
const PARTS_MAX: u32 = 10_000;
/// An upload without a new part for so long is given up.
const IDLE_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// All uploads.
pub(super) struct Uploads {
    directory: PathBuf,
    open: Mutex<BTreeMap<String, Upload>>,
    completed: Completed,
}

struct Upload {
    name: FileName,
    parts: BTreeMap<u32, Part>,
    touched: Timestamp,
    /// Held by the one who completes it: who asks for the same meanwhile waits for how that ends.
    completing: Arc<AsyncMutex<()>>,
    /// Whether its parts are being put together. Nobody else gets at it then.
    is_completing: bool,
}

struct Part {
    place: Gathering,
    bytes: u64,
    tag: String,
}

impl Uploads {
    pub(super) fn new(directory: PathBuf, completed: Completed) -> Self {
        Self { directory, open: Mutex::default(), completed }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Upload>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has an upload be one that nobody went on with since then.
    #[cfg(test)]
    pub(super) fn age(&self, id: &str, touched: Timestamp) {
        self.open().get_mut(id).unwrap().touched = touched;
    }

    /// Does something with an upload of this name, if it is there and nobody completes it.
    fn with<T>(&self, id: &str, name: &FileName, work: impl FnOnce(&mut Upload) -> Result<T>) -> Result<T> {
        let mut open = self.open();
        let found = open.get_mut(id).filter(|upload| upload.name.as_str() == name.as_str() && !upload.is_completing);
        found.ok_or_else(no_upload).and_then(work)
    }

    /// Takes an upload of this name out, if it is there and nobody completes it.
    fn take(&self, id: &str, name: &FileName) -> Result<Upload> {
        let mut open = self.open();
        match open.get(id) {
            Some(upload) if upload.name.as_str() == name.as_str() && !upload.is_completing => {
                Ok(open.remove(id).expect("it was just found"))
            }
            _ => Err(no_upload()),
        }
    }

    /// The turn to complete an upload, if it is there.
    fn turn(&self, id: &str) -> Option<Arc<AsyncMutex<()>>> {
        self.open().get(id).map(|upload| Arc::clone(&upload.completing))
    }

    /// Ends an upload that was completed, or could not be.
    fn end(&self, id: &str) -> Option<Upload> {
        self.open().remove(id)
    }

    /// Puts parts together as a file with this name, and remembers it. Blocks on the disk.
    fn complete(
        &self,
        id: &str,
        told: &str,
        parts: Vec<Part>,
        keep: impl FnOnce(&File, &Gathering) -> Result<ServedFile>,
    ) -> Result<ServedFile> {
        let (file, place) = join(parts).context("put the parts of a file together")?;
        let remember = |tag: &str| self.completed.remember(id, told, tag).context("remember an upload");
        // The name will be a link to this very file, so its tag is known. Remembered first, it holds if we die in between.
        let tag = file.metadata().map(|metadata| describe(&metadata).tag).context("look at a file that came in")?;
        remember(&tag)?;
        let kept = keep(&file, &place)?;
        if kept.tag != tag {
            // The same bytes were there.
            remember(&kept.tag)?;
        }
        Ok(kept)
    }
}

fn no_upload() -> Error {
    Error::not_found("there is no such upload: it was completed, given up, or its server was started anew")
        .with_hint("begin it again")
}

impl Served {
    /// Begins a file that comes in parts, and says what it is called until it is complete.
    ///
    /// # Errors
    /// As for [`take_in`](Self::take_in).
    pub async fn begin_parts(&self, name: &str) -> Result<String> {
        let name = FileName::parse(name)?;
        let (lake, asked) = (self.inner.directory.clone(), name.clone());
        blocking(move || asked.must_have_table(&lake)).await?;
        self.sweep().await;
        let id = Uuid::new_v4().simple().to_string();
        let touched = self.inner.clock.now();
        let mut open = self.uploads.open();
        if open.len() >= UPLOADS_MAX {
            return Err(Error::new(Kind::Limited, format!("{UPLOADS_MAX} uploads wait for their parts already"))
                .with_hint("complete or abort some, then try again"));
        }
        let (completing, is_completing) = (Arc::default(), false);
        open.insert(id.clone(), Upload { name, parts: BTreeMap::new(), touched, completing, is_completing });
        Ok(id)
    }

    /// Begins to take a part in.
    ///
    /// # Errors
    /// `NotFound` if there is no such upload, `Invalid` for a number that no part has; otherwise as for [`take_in`](Self::take_in).
    pub async fn take_part_in(&self, name: &str, upload: &str, number: u32, bytes: Option<u64>) -> Result<Incoming> {
        let name = FileName::parse(name)?;
        if !(1..=PARTS_MAX).contains(&number) {
            return Err(Error::invalid(format!("the number of a part is 1 to {PARTS_MAX}")));
        }
        self.uploads.with(upload, &name, |_| Ok(()))?;
        self.gather(bytes).await
    }

    /// Keeps a part that came in, in place of one with its number, and says what tells it from others.
    ///
    /// # Errors
    /// `NotFound` if the upload has ended meanwhile.
    pub async fn keep_part(&self, upload: &str, number: u32, incoming: Incoming) -> Result<String> {
        let bytes = incoming.bytes();
        let (_, place, _permit) = incoming.complete().await?;
        let tag = Uuid::new_v4().simple().to_string();
        let now = self.inner.clock.now();
        let replaced = {
            let mut open = self.uploads.open();
            let found = open.get_mut(upload).filter(|found| !found.is_completing).ok_or_else(no_upload)?;
            found.touched = now;
            found.parts.insert(number, Part { place, bytes, tag: tag.clone() })
        };
        // Its file goes after the lock.
        drop(replaced);
        Ok(tag)
    }

    /// A part that was kept, to be read.
    ///
    /// # Errors
    /// `NotFound` if there is no such upload, `Conflict` if the part is not there or another one than said.
    pub async fn open_part(&self, name: &str, upload: &str, number: u32, tag: &str) -> Result<File> {
        let name = FileName::parse(name)?;
        let place = self.uploads.with(upload, &name, |upload| Ok(part_of(upload, number, tag)?.place.0.clone()))?;
        blocking(move || File::open(place).context("read a part of a file")).await
    }

    /// The file that an upload became when these parts completed it, if they did: who did not hear of it asks again. Waits for
    /// whoever completes it now.
    ///
    /// # Errors
    /// If what is remembered can't be read.
    pub async fn completed(&self, name: &str, upload: &str, parts: &[(u32, String)]) -> Result<Option<ServedFile>> {
        if let Some(turn) = self.uploads.turn(upload) {
            drop(turn.lock().await);
        }
        self.remembered(&FileName::parse(name)?, upload, parts).await
    }

    async fn remembered(&self, name: &FileName, upload: &str, parts: &[(u32, String)]) -> Result<Option<ServedFile>> {
        let (uploads, id, told) = (Arc::clone(&self.uploads), upload.to_owned(), told(name, parts));
        let tag = blocking(move || uploads.completed.tag(&id, &told).context("look for a completed upload")).await?;
        let Some(tag) = tag else { return Ok(None) };
        let found = match self.look(name.as_str()).await {
            Ok(file) if file.tag == tag => file,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Whoever gave it its name may have been killed before that was on disk.
        let path = name.path_in(&self.inner.directory)?;
        blocking(move || make_durable(&path).context("sync a completed upload")).await?;
        Ok(Some(found))
    }

    /// Makes a file of parts, by their numbers and tags, in order: after that it is on disk under its name. Done again with the
    /// same parts, it answers the same.
    ///
    /// # Errors
    /// `NotFound` if there is no such upload, `Conflict` if a part is not there or another one than said; then the upload goes on.
    /// Otherwise as for [`keep`](Self::keep): then it has ended.
    pub async fn complete_parts(
        &self,
        name: &str,
        upload: &str,
        parts: &[(u32, String)],
        only_new: bool,
    ) -> Result<ServedFile> {
        let (name, lake) = (FileName::parse(name)?, self.inner.directory.clone());
        let turn = match self.uploads.turn(upload) {
            Some(turn) => Some(turn.lock_owned().await),
            None => None,
        };
        if let Some(file) = self.remembered(&name, upload, parts).await? {
            return Ok(file);
        }
        let (permit, naming) = (self.permit()?, Arc::clone(&self.naming));
        let bytes = self.uploads.with(upload, &name, |found| check(found, parts))?;
        self.inner.must_have_room(bytes)?;
        let wanted: Vec<Part> = self.uploads.with(upload, &name, |found| {
            check(found, parts)?;
            found.is_completing = true;
            Ok(parts.iter().filter_map(|(number, _)| found.parts.remove(number)).collect())
        })?;
        let (uploads, id, told) = (Arc::clone(&self.uploads), upload.to_owned(), told(&name, parts));
        detached(async move {
            let (completing, of) = (Arc::clone(&uploads), id.clone());
            let kept = blocking(move || {
                let named = |file: &File, place: &Gathering| keep(&naming, &lake, &name, (file, place), only_new);
                completing.complete(&of, &told, wanted, named)
            });
            let kept = kept.await;
            // What was not wanted goes, too.
            drop((uploads.end(&id), permit, turn));
            kept
        })
        .await
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// `NotFound` if there is no such upload.
    pub async fn abort_parts(&self, name: &str, upload: &str) -> Result<()> {
        let given_up = self.uploads.take(upload, &FileName::parse(name)?)?;
        blocking(move || {
            drop(given_up);
            Ok(())
        })
        .await
    }

    /// Gives up uploads that nobody went on with for a day.
    pub(crate) async fn sweep(&self) {
        let now = self.inner.clock.now();
        let idle: Vec<Upload> = {
            let mut open = self.uploads.open();
            let is_idle = |upload: &Upload| !upload.is_completing && now.millis_since(upload.touched) > IDLE_MS_MAX;
            let ids: Vec<String> =
                open.iter().filter(|(_, upload)| is_idle(upload)).map(|(id, _)| id.clone()).collect();
            ids.iter().filter_map(|id| open.remove(id)).collect()
        };
        if idle.is_empty() {
            return;
        }
        tracing::info!(uploads = idle.len(), directory = %self.uploads.directory.display(), "gave up uploads without a new part for a day");
        let dropped = blocking(move || {
            drop(idle);
            Ok(())
        });
        if let Err(error) = dropped.await {
            tracing::warn!(error = %error.chain(), "parts of uploads are left; they go with the next start");
        }
    }
}

/// Says how many bytes a file of these parts has.
fn check(upload: &Upload, parts: &[(u32, String)]) -> Result<u64> {
    if parts.is_empty() {
        return Err(Error::new(Kind::Conflict, "a file has one part at least"));
    }
    if !parts.is_sorted_by(|(one, _), (other, _)| one < other) {
        return Err(Error::invalid("the parts of a file are told in the order of their numbers"));
    }
    let mut bytes = 0_u64;
    for (number, tag) in parts {
        bytes += part_of(upload, *number, tag)?.bytes;
    }
    if bytes > FILE_BYTES_MAX { Err(too_large()) } else { Ok(bytes) }
}

/// The part with this number, if it is the one with this tag.
fn part_of<'a>(upload: &'a Upload, number: u32, tag: &str) -> Result<&'a Part> {
    match upload.parts.get(&number) {
        Some(part) if part.tag == tag => Ok(part),
        Some(_) => Err(Error::new(Kind::Conflict, format!("part {number} is another one"))),
        None => Err(Error::new(Kind::Conflict, format!("part {number} is not there"))),
    }
}

/// Appends all parts to the first one.
fn join(parts: Vec<Part>) -> io::Result<(File, Gathering)> {
    let mut parts = parts.into_iter();
    let first = parts.next().ok_or_else(|| io::Error::other("a file has one part at least"))?;
    let mut whole = File::options().read(true).write(true).open(&first.place.0)?;
    whole.seek(io::SeekFrom::End(0))?;
    for part in parts {
        io::copy(&mut File::open(&part.place.0)?, &mut whole)?;
    }
    Ok((whole, first.place))
}

/// Syncs a file and the folder with its name.
fn make_durable(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    path.parent().map_or(Ok(()), |folder| File::open(folder).and_then(|folder| folder.sync_all()))
}
