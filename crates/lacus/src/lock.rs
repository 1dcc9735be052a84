//! One process per project at a time, and where the one that serves it listens.
//!
//! The lock is the operating system's, on `.lacus/lock`: it ends with the process, however that ends, so it is never
//! stale. The file's text and `server.json` only say who holds it; they mean nothing without the lock.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lacus_core::{Context, Error, Kind, Result};
use serde::{Deserialize, Serialize};

use crate::project::Project;

/// The lock of a project, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    server_file: PathBuf,
}

/// The outcome of trying to lock a project.
pub(crate) enum Attempt {
    /// The project is ours.
    Taken(Lock),
    /// Another process has it.
    Held(Holder),
}

/// Who has a project open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The process, unless it took the lock this very moment.
    pub(crate) pid: Option<u32>,
    /// Where it serves the project; none when it is another command, or a server that just starts or stops.
    pub(crate) server: Option<ServerAddress>,
}

/// The contents of `server.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerAddress {
    /// The process that serves.
    pub(crate) pid: u32,
    /// Where it takes HTTP.
    pub(crate) http: SocketAddr,
    /// Where it takes the Postgres wire protocol.
    pub(crate) postgres: SocketAddr,
    /// The secret that shows the server, where it does not trust the loopback, that a request comes from a process that may
    /// read this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pass: Option<String>,
}

impl Lock {
    /// Takes the lock of `project` if it is free, without waiting.
    ///
    /// # Errors
    /// If the data folder can't be used.
    pub(crate) fn attempt(project: &Project) -> Result<Attempt> {
        project.make_data()?;
        let path = project.lock_file();
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .context(format_args!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Held(holder(project, file)?)),
            Err(TryLockError::Error(error)) => return Err(error).context(format_args!("lock {}", path.display())),
        }
        forget(&project.server_file())?;
        file.set_len(0)?;
        file.write_all(std::process::id().to_string().as_bytes()).context(format_args!("write {}", path.display()))?;
        Ok(Attempt::Taken(Self { _file: file, server_file: project.server_file() }))
    }

    /// Tells other processes where this one listens. Not synced: after a crash it means nothing anyway.
    ///
    /// # Errors
    /// If `server.json` can't be written.
    pub(crate) fn announce(&self, address: &ServerAddress) -> Result<()> {
        let text = serde_json::to_string(address).map_err(|error| Error::internal(error.to_string()))?;
        let unfinished = self.server_file.with_extension("json.new");
        // One that a crash left behind may be readable for all.
        forget(&unfinished)?;
        let mode = if address.pass.is_some() { 0o600 } else { 0o666 };
        let written = File::options().create_new(true).write(true).mode(mode).open(&unfinished);
        let written = written.and_then(|mut file| file.write_all((text + "\n").as_bytes()));
        written.context(format_args!("write {}", unfinished.display()))?;
        fs::rename(&unfinished, &self.server_file).context(format_args!("write {}", self.server_file.display()))
    }

    /// Undoes [`Self::announce`].
    ///
    /// # Errors
    /// If `server.json` can't be removed.
    pub(crate) fn withdraw(&self) -> Result<()> {
        forget(&self.server_file)
    }
}

impl Holder {
    /// Why this process can't have the project.
    pub(crate) fn refusal(&self) -> Error {
        let pid = self.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        match &self.server {
            Some(server) => Error::new(
                Kind::Exists,
                format!(
                    "this project is served already{pid}: HTTP on {}, Postgres on {}",
                    server.http, server.postgres
                ),
            )
            .with_hint("use that server, or stop it first; another project needs a folder of its own"),
            None => Error::unavailable(format!("this project is in use by another lacus command{pid}"))
                .with_hint("wait until it ends"),
        }
    }
}

/// Removes `server.json`: this process stops serving, or an earlier one ended without.
fn forget(server_file: &Path) -> Result<()> {
    match fs::remove_file(server_file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(format_args!("remove {}", server_file.display()))
        }
        _ => Ok(()),
    }
}

fn holder(project: &Project, mut lock_file: File) -> Result<Holder> {
    let mut text = String::new();
    // What is there may be half written or from an earlier holder; it is only shown, and compared with server.json.
    lock_file.read_to_string(&mut text).context("read the lock file")?;
    let pid = text.trim().parse().ok();
    let server = match fs::read_to_string(project.server_file()) {
        Ok(text) => serde_json::from_str::<ServerAddress>(&text).ok(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).context("read server.json"),
    };
    Ok(Holder { pid, server: server.filter(|server| Some(server.pid) == pid) })
}
