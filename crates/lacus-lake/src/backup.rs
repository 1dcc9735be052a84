//! A copy of a lake that may be in use: its catalog at one instant, and the files that were part of it then.
//!
//! Nothing of the lake is opened. While the catalog is copied and the files are listed, this holds the catalog's lock, so no
//! commit happens; what one is writing is on record as a leftover already (see `leftovers`). So the files of the lake are
//! those on disk that are not on record. No table's metadata is read: the names of 300,000 files take a second, and commits
//! that come meanwhile wait, or are tried again. Files that are listed never change, and stay an hour at least after a commit replaced
//! them: long enough for links to be made. The copy's catalog is in a file, even if that of the lake is in PostgreSQL.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lacus_core::{Context, Error, Kind, Result, settings};

use crate::catalog::{CatalogPlace, Tell, catalog_file, copy_catalog};

/// How often the catalog is told that files are still being listed. PostgreSQL ends a session that says nothing for a minute.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What a copy of the catalog belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackedUp {
    /// How many tables.
    pub tables: usize,
    /// Their files and those of the raw zone, by their paths in the data directory (`.lacus`).
    pub files: Vec<PathBuf>,
}

/// Copies the catalog of the lake in `directory` (`.lacus`) to a new file below `to`, durably, and lists the files that it
/// is about. Blocks on the disk, and on PostgreSQL if the catalog is there: then on a thread of a runtime that may be blocked.
///
/// # Errors
/// `NotFound` if there is no lake yet, `Invalid` if it is in a bucket or has two catalogs, `Unavailable` if somebody keeps
/// the catalog locked for long.
pub fn back_up_lake(directory: &Path, settings: &settings::Lake, to: &Path) -> Result<BackedUp> {
    must_be_on_a_disk(settings)?;
    let catalog = place_of(directory, settings)?;
    let mut found = BackedUp::default();
    copy_catalog(&catalog, &catalog_file(to), &mut |leftovers, tables, tell| {
        let leftovers: HashSet<PathBuf> = leftovers.iter().map(|path| Path::new("lake").join(path)).collect();
        found = BackedUp { tables, files: Vec::new() };
        let mut told = Instant::now();
        let mut now_and_then = || {
            if told.elapsed() < TOLD_EVERY {
                return Ok(());
            }
            told = Instant::now();
            tell()
        };
        list(directory, Path::new("lake"), &mut found.files, &mut now_and_then)
            .context("list the files of the lake")?;
        found.files.retain(|file| !leftovers.contains(file));
        Ok(())
    })
    .context("back up the catalog")?;
    found.files.sort_unstable();
    Ok(found)
}

fn place_of(directory: &Path, settings: &settings::Lake) -> Result<CatalogPlace> {
    let place = CatalogPlace::of(directory, settings)?;
    if let CatalogPlace::File(file) = &place
        && !file.try_exists().context(format_args!("look for {}", file.display()))?
    {
        return Err(Error::new(Kind::NotFound, "there is nothing to back up: this project was never served")
            .with_hint("lacus up serves it"));
    }
    Ok(place)
}

/// A copy that leads to the same bucket would delete what the original still needs, as each knows its own snapshots only.
fn must_be_on_a_disk(settings: &settings::Lake) -> Result<()> {
    let Some(location) = &settings.location else { return Ok(()) };
    Err(Error::invalid(format!("the files of this lake are in {location}: a backup is of files on a disk")).with_hint(
        "keep versions of the bucket's objects; stop lacus, copy the project's folder, and pg_dump the catalog if it is in PostgreSQL: docs/reference/backup.md says how they come back",
    ))
}

/// All files below a folder, by their paths in `root`. Nothing but their names is read. After each, `tell` is called.
fn list(root: &Path, folder: &Path, files: &mut Vec<PathBuf>, tell: Tell<'_>) -> Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in root.join(&folder).read_dir()? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
            tell()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
