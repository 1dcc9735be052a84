//! Files that other engines wrote beside ours: they must survive a power cut before a pointer refers to them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use lacus_core::{Error, Kind, Result};
use tokio::task::spawn_blocking;

use crate::lake::Inner;
use crate::store::make_directory;

impl Inner {
    /// Syncs existing files and their names to the disk. In an object store they are durable as soon as they exist.
    ///
    /// # Errors
    /// `Invalid` if one of them is missing.
    pub(crate) async fn make_durable(&self, paths: Vec<String>) -> Result<()> {
        if !self.files.warehouse.is_local() {
            return Ok(());
        }
        let directory = self.directory.clone();
        spawn_blocking(move || sync(&directory, &paths)).await.map_err(ended)?
    }

    /// Makes the directories in which engines write a table's files.
    pub(crate) async fn make_directories(&self, table: &str) -> Result<()> {
        if !self.files.warehouse.is_local() {
            return Ok(());
        }
        let table = self.directory.join(table);
        let make = move || ["data", "metadata"].iter().try_for_each(|name| make_directory(&table.join(name)));
        spawn_blocking(make).await.map_err(ended)?.map_err(|error| unusable("make a table's directory", error))
    }
}

fn sync(directory: &Path, paths: &[String]) -> Result<()> {
    let mut parents: BTreeSet<PathBuf> = BTreeSet::new();
    for path in paths {
        let file = directory.join(path);
        let synced = File::open(&file).and_then(|file| file.sync_all());
        synced.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(Kind::Invalid, format!("{path} is not there")),
            _ => unusable(&format!("sync {path}"), error),
        })?;
        parents.extend(file.ancestors().skip(1).take_while(|parent| parent.starts_with(directory)).map(Path::to_owned));
    }
    for parent in parents {
        let synced = File::open(&parent).and_then(|parent| parent.sync_all());
        synced.map_err(|error| unusable(&format!("sync {}", parent.display()), error))?;
    }
    Ok(())
}

fn unusable(doing: &str, error: io::Error) -> Error {
    Error::unavailable(doing).with_source(error)
}

fn ended(error: tokio::task::JoinError) -> Error {
    Error::internal("syncing files ended unexpectedly").with_source(error)
}
