//! Files whose names and bytes survive a power cut.
//!
//! A new name is on disk only after its directory was synced, and a replaced file is either the old one or the new one,
//! whole. Nothing here knows what the bytes mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What an unfinished file adds to its name. Such files mean nothing and are removed at open.
pub(crate) const UNFINISHED: &str = "tmp";

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
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let file = replace_unsynced(path, bytes, File::sync_all)?;
    sync_directory(directory)?;
    Ok(file)
}

/// Puts a file with these bytes at `path` without waiting for the disk: for what can be derived again.
pub(crate) fn replace_derived(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_unsynced(path, bytes, |_| Ok(())).map(drop)
}

fn replace_unsynced(path: &Path, bytes: &[u8], sync: impl Fn(&File) -> io::Result<()>) -> io::Result<File> {
    let unfinished = unfinished_name(path);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&unfinished)?;
    let done = file.write_all(bytes).and_then(|()| sync(&file)).and_then(|()| fs::rename(&unfinished, path));
    if let Err(error) = done {
        // The first error is the one that counts. What stays behind is removed at the next open.
        fs::remove_file(&unfinished).ok();
        return Err(error);
    }
    Ok(file)
}

fn unfinished_name(path: &Path) -> PathBuf {
    path.with_added_extension(UNFINISHED)
}
