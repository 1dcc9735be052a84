//! A project on disk: where its files are, and its settings.
//!
//! `lacus.toml` is the user's, everything below `.lacus/` is ours. Nothing here opens the log or the lake.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lacus_collect::MasterKey;
use lacus_core::{Context, Error, Kind, Result, Settings};

/// The file with the settings.
pub(crate) const SETTINGS_FILE: &str = "lacus.toml";
/// The folder with the data.
pub(crate) const DATA_DIRECTORY: &str = ".lacus";

/// A project: a folder with a `lacus.toml`, and its settings.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    root: PathBuf,
    /// What `lacus.toml` and the environment set.
    pub(crate) settings: Settings,
    /// The key that encrypts secrets on disk, if the environment has one.
    pub(crate) master_key: Option<MasterKey>,
}

impl Project {
    /// Reads the project in `root`.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Invalid` when its settings can't be.
    pub(crate) fn open(
        root: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
        master_key: Option<MasterKey>,
    ) -> Result<Self> {
        let path = root.join(SETTINGS_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_project(root)),
            Err(error) => return Err(error).context(format_args!("read {}", path.display())),
        };
        let settings = Settings::load(&text, environment)?;
        Ok(Self { root: root.to_owned(), settings, master_key })
    }

    /// The project's folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The file with its settings.
    pub(crate) fn settings_file(&self) -> PathBuf {
        self.root.join(SETTINGS_FILE)
    }

    /// The folder with everything that is ours.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join(DATA_DIRECTORY)
    }

    /// The durable log.
    pub(crate) fn stream(&self) -> PathBuf {
        self.data().join("stream")
    }

    /// The index of message ids: derived from the log, and made again when it is missing.
    pub(crate) fn message_ids(&self) -> PathBuf {
        self.data().join("ids")
    }

    /// Who has the project open.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.data().join("lock")
    }

    /// Where the running server listens.
    pub(crate) fn server_file(&self) -> PathBuf {
        self.data().join("server.json")
    }

    /// Makes the data folder, durably.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn make_data(&self) -> Result<()> {
        let data = self.data();
        match fs::create_dir(&data) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(error).context(format_args!("make the folder {}", data.display())),
        }
        File::open(&self.root)?.sync_all().context(format_args!("sync the folder {}", self.root.display()))
    }
}

fn no_project(root: &Path) -> Error {
    let name = root.display();
    Error::new(Kind::NotFound, format!("there is no project in {name}: no {SETTINGS_FILE}"))
        .with_hint(format!("make one with lacus init {name}, or name another folder with --project"))
}
