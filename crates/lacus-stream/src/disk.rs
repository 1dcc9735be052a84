//! Files whose names and bytes survive a power cut.
//!
//! A new name is on disk only after its directory was synced, and a replaced file is either the old one or the new one,
//! whole. Nothing here knows what the bytes mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lacus_core::{Error, Result};

/// The extension of unfinished files. They mean nothing: the log removes its own when it is opened, and the next change
/// overwrites others.
pub(crate) const UNFINISHED: &str = "tmp";
/// The permissions of a new file, before the user's mask.
const ORDINARY: u32 = 0o666;
/// Only its owner may read and write it.
const PRIVATE: u32 = 0o600;

/// Creates a directory and its parents, and syncs their names.
///
/// # Errors
/// What the system says of the directory that could not be made or synced.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !parent.try_exists()? {
        make_directory(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // Even an existing one may have been created just before a power cut: its name is synced all the same.
        _ => sync_directory(parent),
    }
}

/// Syncs the names in a directory.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Replaces the file at `path` durably. The new one stays open for reading and writing.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<File> {
    replace_with(path, |file| file.write_all(bytes))
}

/// The same, with the bytes that `write` writes.
pub(crate) fn replace_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let file = replace_unsynced(path, ORDINARY, |file| write(file).and_then(|()| file.sync_all()))?;
    sync_directory(directory)?;
    Ok(file)
}

/// Replaces the file at `path` durably by one that only its owner can read: for secrets.
///
/// # Errors
/// `Unavailable` when the disk refuses. Then the old file is still there or, if only the name could not be synced, the new
/// one.
pub fn replace_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let replace = || {
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        replace_unsynced(path, PRIVATE, |file| file.write_all(bytes).and_then(|()| file.sync_all()))?;
        sync_directory(directory)
    };
    replace().map_err(|error| refused(path, error))
}

/// Replaces the file at `path` without waiting for the disk: for what can be derived again.
pub(crate) fn replace_derived(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_unsynced(path, ORDINARY, |file| file.write_all(bytes)).map(drop)
}

/// The error for a file that could not be replaced. Whatever the disk said, the sender may try again: a folder that is
/// missing or read-only is not a wrong name of the sender's.
pub(crate) fn refused(path: &Path, error: io::Error) -> Error {
    Error::unavailable(format!("could not write {}: {error}", path.display()))
        .with_source(error)
        .with_hint("try again when the disk takes writes: is it full, or read-only?")
}

fn replace_unsynced(
    path: &Path,
    permissions: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let unfinished = unfinished_name(path);
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(true).mode(permissions).open(&unfinished)?;
    let done = write(&mut file).and_then(|()| fs::rename(&unfinished, path));
    if let Err(error) = done {
        // The first error counts. The file left behind means nothing.
        fs::remove_file(&unfinished).ok();
        return Err(error);
    }
    Ok(file)
}

fn unfinished_name(path: &Path) -> PathBuf {
    path.with_added_extension(UNFINISHED)
}
