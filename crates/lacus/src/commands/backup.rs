//! `lacus backup`: a copy of the project, taken while it is served or while it is not.
//!
//! It works on the files and asks no lacus; PostgreSQL only if the catalog is there. What makes the copy whole is the order:
//! the log up to now, the catalog with the list of its files, the rest of the log, and then the files, which never change
//! (see [`LogBackup`] and [`lacus_lake::back_up_lake`]). The copy gets its name when all of it is on disk: a folder of that
//! name is whole.
//!
//! Where links can't reach, they are made beside the project first, and then copied: however long copying takes, nothing that
//! the backup needs is deleted meanwhile.

mod folder;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use lacus_core::units::{human_bytes, human_count, human_count_of};
use lacus_core::{Context, Error, Kind, Result};
use lacus_lake::back_up_lake;
use lacus_stream::{LogBackup, make_directory};
use serde_json::json;

use self::folder::{Folder, Held};
use crate::cli::Backup;
use crate::project::{DATA_DIRECTORY, Project, SETTINGS_FILE};
use crate::run::Invocation;
use crate::terminal::Terminal;

/// How often a backup begins again because the log removed files before they were linked, which takes moments, or let go of a
/// stream whose tables were dropped.
const TRIES_MAX: usize = 5;
/// Held by the one process that backs the project up.
const LOCK: &str = "backup.lock";
/// Where links are made when the target is on another disk.
const LINKS: &str = "backup.links";
/// Files of the data folder that only running processes need, or that are backed up in their own way.
const NOT_STATE: [&str; 6] = ["lock", "server.json", "doctor.tmp", LOCK, "catalog.db", "catalog.db-journal"];

/// A backup that was taken.
struct Taken {
    tables: usize,
    held: Held,
}

/// Takes a backup and says what is in it.
pub(crate) fn run(asked: &Backup, invocation: &Invocation) -> Result<()> {
    let project = invocation.project()?;
    let begun = Instant::now();
    let taken = take(&project, asked, invocation.terminal);
    invocation.terminal.progress("")?;
    let Taken { tables, held } = taken.context(format_args!("back up to {}", asked.folder.display()))?;
    let took = begun.elapsed();
    let terminal = invocation.terminal;
    if invocation.json {
        let Held { files, linked, bytes } = held;
        let line = json!({
            "backup": asked.folder, "tables": tables, "files": files, "linked_files": linked, "bytes": bytes,
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        return terminal.say(&line.to_string());
    }
    terminal.say(&format!(
        "Backed up {} to {}: {}, {}, in {:.1} s.",
        human_count_of(tables as u64, "table"),
        asked.folder.display(),
        human_count_of(held.files, "file"),
        human_bytes(held.bytes),
        took.as_secs_f64()
    ))?;
    if held.linked > 0 {
        let linked = human_count(held.linked);
        terminal.say(&terminal.dim(&format!(
            "{linked} of them are hard links: they cost no space, and end with this disk. --copy makes copies."
        )))?;
    }
    if project.settings.lake.catalog_url().is_some() {
        terminal.say(&format!(
            "Its catalog is in it, not in PostgreSQL: take lake.catalog out of {} before you serve it.",
            asked.folder.join(SETTINGS_FILE).display()
        ))?;
    }
    let copy = invocation.in_folder(&asked.folder);
    terminal.say(&format!(
        "It is a project: {} looks at it, {} serves it.",
        copy.command_line("doctor"),
        copy.command_line("up")
    ))
}

fn take(project: &Project, asked: &Backup, terminal: Terminal) -> Result<Taken> {
    let _alone = alone(project)?;
    let (target, parent) = place(project, &asked.folder)?;
    let name = target.file_name().ok_or_else(|| Error::invalid("a backup needs a folder with a name"))?;
    let unfinished = parent.join(format!(".{}.lacus-unfinished", name.display()));
    let is_near = !asked.copy && fs::metadata(project.data())?.dev() == fs::metadata(&parent)?.dev();
    let taken = if is_near {
        freeze(project, &unfinished, terminal)?
    } else {
        let links = project.data().join(LINKS);
        let frozen = freeze(project, &links, terminal)?;
        folder::clear(&unfinished)?;
        let mut folder = Folder::new(&unfinished, terminal);
        folder.copy_all(&links, frozen.held.files)?;
        folder::clear(&links)?;
        Taken { held: folder.finish()?, ..frozen }
    };
    fs::rename(&unfinished, &target).context("name what was copied")?;
    File::open(&parent)?.sync_all().context(format_args!("sync {}", parent.display()))?;
    Ok(taken)
}

/// Allows one backup of a project at a time. The lock of one that was killed is free.
fn alone(project: &Project) -> Result<File> {
    let path = project.data().join(LOCK);
    let file = match File::options().create(true).truncate(false).write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::new(Kind::NotFound, "there is nothing to back up: this project was never served")
                .with_hint("lacus up serves it"));
        }
        opened => opened.context(format_args!("open {}", path.display()))?,
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::unavailable("another backup of this project is being taken").with_hint("wait until it ends"))
        }
        Err(TryLockError::Error(error)) => Err(error).context(format_args!("lock {}", path.display())),
    }
}

/// The target, which must not be there, and the folder it will be in.
fn place(project: &Project, target: &Path) -> Result<(PathBuf, PathBuf)> {
    let target = std::path::absolute(target).context(format_args!("find {}", target.display()))?;
    if target.try_exists().context(format_args!("look for {}", target.display()))? {
        return Err(Error::new(Kind::Exists, format!("{} is there already", target.display()))
            .with_hint("each backup is a new folder: backups/monday"));
    }
    let parent = target.parent().unwrap_or(Path::new("/")).to_owned();
    if !parent.is_dir() {
        make_directory(&parent).context(format_args!("make the folder {}", parent.display()))?;
    }
    if parent.canonicalize()?.starts_with(project.data().canonicalize()?) {
        return Err(Error::invalid("a backup can't be in the data of its own project")
            .with_hint("name a folder outside of .lacus"));
    }
    Ok((target, parent))
}

/// The project as it is at one instant, in a new folder.
fn freeze(project: &Project, to: &Path, terminal: Terminal) -> Result<Taken> {
    for _ in 1..TRIES_MAX {
        folder::clear(to)?;
        match freeze_once(project, to, terminal) {
            Err(error) if error.kind() == Kind::Conflict => {}
            frozen => return frozen,
        }
    }
    folder::clear(to)?;
    freeze_once(project, to, terminal)
}

fn freeze_once(project: &Project, to: &Path, terminal: Terminal) -> Result<Taken> {
    let mut folder = Folder::new(to, terminal);
    let data = Path::new(DATA_DIRECTORY);
    for file in settings_files(project).iter().chain(&state_files(project)?) {
        folder.copy(&project.root().join(file), file).context(format_args!("copy {}", file.display()))?;
    }
    let stream = data.join("stream");
    for part in ["segments", "cursors"] {
        folder.make(&stream.join(part))?;
    }
    folder.make(&data.join("lake"))?;
    let log = LogBackup::begin(&project.stream(), &mut |file, how| folder.take(project, &stream.join(file), how))?;
    let lake = back_up_lake(&project.data(), &project.settings.lake, &to.join(data))?;
    folder.count(&data.join("catalog.db"))?;
    log.finish(&mut |file, how| folder.take(project, &stream.join(file), how))?;
    folder.link_all(project, data, &lake.files)?;
    Ok(Taken { tables: lake.tables, held: folder.finish()? })
}

/// The settings, and the files that they name.
fn settings_files(project: &Project) -> Vec<PathBuf> {
    let is_below = |path: &PathBuf| path.components().all(|part| matches!(part, Component::Normal(_)));
    let named = project.settings.files().into_iter().map(PathBuf::from).filter(is_below);
    std::iter::once(PathBuf::from(SETTINGS_FILE)).chain(named).collect()
}

/// Small files of the data folder, such as the keyring.
fn state_files(project: &Project) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in project.data().read_dir().context("list the data folder")? {
        let entry = entry.context("list the data folder")?;
        let is_state = entry.file_type()?.is_file() && !NOT_STATE.iter().any(|name| entry.file_name() == *name);
        if is_state && entry.path().extension().is_none_or(|extension| extension != "new" && extension != "tmp") {
            files.push(Path::new(DATA_DIRECTORY).join(entry.file_name()));
        }
    }
    Ok(files)
}
