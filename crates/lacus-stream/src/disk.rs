//! Files whose names and bytes survive a power cut.
//!
//! A new name is on disk only after its directory was synced, and a replaced file is either the old one or the new one,
//! whole. Nothing here knows what the bytes mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lacus_core::{Error, Result};

/// What an unfinished file adds to its name. Such files mean nothing: the log removes its own when it is opened, and others
/// are written over by the next change.
pub(crate) const UNFINISHED: &str = "tmp";
/// The permissions of a new file, less what the user's mask takes away.
const ORDINARY: u32 = 0o666;
/// Its owner may read and write it, and nobody else.
const PRIVATE: u32 = 0o600;

/// Makes a directory and those above it, and syncs the names.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !parent.try_exists()? {
        make_directory(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // One that exists may have been made just before a power cut: its name is synced all the same.
        _ => sync_directory(parent),
    }
}

/// Syncs the names in a directory.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Puts a file with these bytes at `path`, durably, in place of what is there. The file stays open to read and write.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<File> {
    replace_with(path, |file| file.write_all(bytes))
}

/// As [`replace`], with the bytes that `write` writes.
pub(crate) fn replace_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let file = replace_unsynced(path, ORDINARY, |file| write(file).and_then(|()| file.sync_all()))?;
    sync_directory(directory)?;
    Ok(file)
}

/// Puts a file with secrets at `path`, durably, in place of what is there: only its owner can read it.
///
/// # Errors
/// `Unavailable` when the disk does not take it; what was there is there then, or, if only its name could not be synced, these
/// bytes.
pub fn replace_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let replace = || {
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        replace_unsynced(path, PRIVATE, |file| file.write_all(bytes).and_then(|()| file.sync_all()))?;
        sync_directory(directory)
    };
    replace().map_err(|error| refused(path, error))
}

/// Puts a file with these bytes at `path` without waiting for the disk: for what can be derived again.
pub(crate) fn replace_derived(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_unsynced(path, ORDINARY, |file| file.write_all(bytes)).map(drop)
}

/// The error for a file that could not be replaced. Whatever the disk said, the sender may try again: a folder that is away
/// or may not be written to is no name that the sender got wrong.
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
        // The first error is the one that counts. What stays behind means nothing.
        fs::remove_file(&unfinished).ok();
        return Err(error);
    }
    Ok(file)
}

fn unfinished_name(path: &Path) -> PathBuf {
    path.with_added_extension(UNFINISHED)
}
