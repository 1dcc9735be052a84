//! The folder that a backup is written to: files are linked or copied into it, and all of it is on disk at the end.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lacus_core::units::{human_bytes, human_count};
use lacus_core::{Context, Error, Kind, Result};
use lacus_stream::Taking;

use crate::project::Project;
use crate::terminal::Terminal;

/// How often progress is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Characters of the bar.
const BAR: u64 = 30;

/// A folder that is being filled.
pub(super) struct Folder {
    root: PathBuf,
    /// Folders that were created, or got a file, by their paths in it. They are synced at the end.
    touched: BTreeSet<PathBuf>,
    held: Held,
    terminal: Terminal,
    drawn: Instant,
}

/// The contents of a folder, counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    pub(super) files: u64,
    /// Those among them that are hard links.
    pub(super) linked: u64,
    pub(super) bytes: u64,
}

/// Removes a folder that was not finished, if it is there.
pub(super) fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(format_args!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

impl Folder {
    /// A new folder.
    pub(super) fn new(root: &Path, terminal: Terminal) -> Self {
        let drawn = Instant::now();
        Self { root: root.to_owned(), touched: BTreeSet::new(), held: Held::default(), terminal, drawn }
    }

    /// Makes a folder in it, and those above.
    pub(super) fn make(&mut self, path: &Path) -> io::Result<()> {
        if self.touched.contains(path) {
            return Ok(());
        }
        fs::create_dir_all(self.root.join(path))?;
        self.touched.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    /// Takes a file of a project under its own name.
    pub(super) fn take(&mut self, project: &Project, path: &Path, how: Taking) -> io::Result<()> {
        let from = project.root().join(path);
        match how {
            Taking::Link => self.link(&from, path),
            Taking::Copy => self.copy(&from, path),
        }
    }

    /// Links a file that never changes, or copies it where there are no links.
    fn link(&mut self, from: &Path, path: &Path) -> io::Result<()> {
        self.make(path.parent().unwrap_or(Path::new("")))?;
        match fs::hard_link(from, self.root.join(path)) {
            Ok(()) => {
                self.held.linked += 1;
                self.count(path)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // No links on this file system, or none to there. Any other problem shows when copying.
            Err(_) => self.copy(from, path),
        }
    }

    /// Copies the bytes that a file has when it is opened, and syncs them.
    pub(super) fn copy(&mut self, from: &Path, path: &Path) -> io::Result<()> {
        self.make(path.parent().unwrap_or(Path::new("")))?;
        let mut from = File::open(from)?;
        let metadata = from.metadata()?;
        // The contents may be secret: nobody else can open the file before it has the permissions of the original.
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.root.join(path))?;
        io::copy(&mut (&mut from).take(metadata.len()), &mut to)?;
        to.set_permissions(metadata.permissions())?;
        to.sync_all()?;
        self.count(path)
    }

    /// Counts a file that something else has written here.
    pub(super) fn count(&mut self, path: &Path) -> io::Result<()> {
        self.held.bytes += fs::metadata(self.root.join(path))?.len();
        self.held.files += 1;
        self.touched.insert(path.parent().unwrap_or(Path::new("")).to_owned());
        Ok(())
    }

    /// Links the files of a lake, named by their paths in the data folder.
    ///
    /// # Errors
    /// `Conflict` if one is gone: it was replaced long ago, so the list is old.
    pub(super) fn link_all(&mut self, project: &Project, data: &Path, files: &[PathBuf]) -> Result<()> {
        let total = self.held.files + files.len() as u64;
        for file in files {
            let path = data.join(file);
            match self.link(&project.root().join(&path), &path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(Error::new(Kind::Conflict, format!("{} was deleted meanwhile", path.display())));
                }
                linked => linked.context(format_args!("take {}", path.display()))?,
            }
            self.draw(total)?;
        }
        Ok(())
    }

    /// Copies another folder with all that is in it.
    pub(super) fn copy_all(&mut self, from: &Path, total: u64) -> Result<()> {
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            self.make(&folder)?;
            let there = from.join(&folder);
            for entry in there.read_dir().context(format_args!("list {}", there.display()))? {
                let entry = entry?;
                let path = folder.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                    continue;
                }
                self.copy(&entry.path(), &path).context(format_args!("copy {}", path.display()))?;
                self.draw(total)?;
            }
        }
        Ok(())
    }

    /// Makes all names in it durable, and returns its counts.
    pub(super) fn finish(self) -> Result<Held> {
        for folder in self.touched.iter().rev() {
            let folder = self.root.join(folder);
            File::open(&folder).and_then(|it| it.sync_all()).context(format_args!("sync {}", folder.display()))?;
        }
        Ok(self.held)
    }

    fn draw(&mut self, total: u64) -> Result<()> {
        if self.drawn.elapsed() < DRAW_EVERY {
            return Ok(());
        }
        self.drawn = Instant::now();
        let Held { files, bytes, .. } = self.held;
        let full = (BAR * files).checked_div(total).unwrap_or(BAR).min(BAR);
        let bar: String = (0..BAR).map(|at| if at < full { '█' } else { '░' }).collect();
        let (files, total) = (human_count(files), human_count(total));
        self.terminal.progress(&format!("{bar} {files} of {total} files, {}", human_bytes(bytes)))
    }
}
