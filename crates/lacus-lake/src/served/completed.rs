//! Completed uploads, remembered: a client that did not hear of it completes again, and gets the same answer.
//!
//! Each has a small file beside the lake, written before the upload's file gets its name. It holds the answer, and nothing
//! happens by it: either the file is there with this tag, or the upload was never completed. The last few hundred are kept.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lacus_core::{Context, Result};

use super::name::FileName;
use crate::store::make_directory;

/// Uploads that are remembered.
const COMPLETED_MAX: usize = 256;

/// Completed uploads, the last ones.
pub(super) struct Completed {
    directory: PathBuf,
    /// The number of each, and its id: oldest first.
    known: Mutex<VecDeque<(u64, String)>>,
}

/// The name and the parts of an upload, as a file of [`Completed`] has them.
pub(super) fn told(name: &FileName, parts: &[(u32, String)]) -> String {
    let mut told = format!("{name}\n");
    for (number, tag) in parts {
        writeln!(told, "{number} {tag}").expect("writing to a string does not fail");
    }
    told
}

impl Completed {
    /// Those that are remembered in `directory`. Blocks on the disk.
    pub(super) fn open(directory: PathBuf) -> Result<Self> {
        let mut known = read(&directory).context(format_args!("read {}", directory.display()))?;
        known.sort_unstable();
        Ok(Self { directory, known: Mutex::new(known.into()) })
    }

    /// Remembers that an upload of this name and these parts becomes a file with this tag. Blocks on the disk.
    pub(super) fn remember(&self, upload: &str, told: &str, tag: &str) -> io::Result<()> {
        let mut known = self.known();
        let number = known.back().map_or(0, |(number, _)| number + 1);
        make_directory(&self.directory)?;
        let mut file = File::create(self.path(number, upload))?;
        file.write_all(format!("{tag}\n{told}").as_bytes())?;
        file.sync_all()?;
        File::open(&self.directory)?.sync_all()?;
        known.push_back((number, upload.to_owned()));
        while known.len() > COMPLETED_MAX
            && let Some((number, upload)) = known.pop_front()
        {
            match fs::remove_file(self.path(number, &upload)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "a completed upload could not be forgotten");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The tag of the file that an upload of this name and these parts became, or was to become. Blocks on the disk.
    pub(super) fn tag(&self, upload: &str, told: &str) -> io::Result<Option<String>> {
        let path = {
            let known = self.known();
            let found = known.iter().rev().find(|(_, id)| id == upload);
            let Some((number, id)) = found else { return Ok(None) };
            self.path(*number, id)
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            // It was forgotten meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            // A crash cut it short.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = text.split_once('\n').filter(|(_, rest)| *rest == told);
        Ok(found.map(|(tag, _)| tag.to_owned()))
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<(u64, String)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, number: u64, upload: &str) -> PathBuf {
        self.directory.join(format!("{number}-{upload}"))
    }
}

fn read(directory: &Path) -> io::Result<Vec<(u64, String)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut known = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let parts = name.to_str().and_then(|name| name.split_once('-'));
        known.extend(parts.and_then(|(number, upload)| Some((number.parse().ok()?, upload.to_owned()))));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_uploads_are_remembered_with_their_parts() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("completed");
        let name = FileName::parse("shop/orders/data/a").unwrap();
        let parts = [(1, "one".to_owned()), (3, "three".to_owned())];
        let text = told(&name, &parts);
        let completed = Completed::open(folder.clone()).unwrap();
        assert_eq!(completed.tag("first", &text).unwrap(), None);
        completed.remember("first", &text, "expected").unwrap();
        completed.remember("first", &text, "found").unwrap();
        let other = told(&FileName::parse("shop/orders/data/b").unwrap(), &parts);
        for completed in [&completed, &Completed::open(folder.clone()).unwrap()] {
            assert_eq!(completed.tag("first", &text).unwrap().as_deref(), Some("found"));
            for otherwise in [&told(&name, &parts[..1]), &other, &String::new()] {
                assert_eq!(completed.tag("first", otherwise).unwrap(), None, "{otherwise}");
            }
        }
        for number in 0..COMPLETED_MAX {
            completed.remember(&format!("upload{number}"), &text, "tag").unwrap();
        }
        assert_eq!(completed.tag("first", &text).unwrap(), None, "it is too long ago");
        assert_eq!(completed.tag("upload0", &text).unwrap().as_deref(), Some("tag"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), COMPLETED_MAX);
    }

    #[test]
    fn what_a_crash_cut_short_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let text = told(&FileName::parse("shop/orders/data/a").unwrap(), &[(1, "one".to_owned())]);
        let whole = format!("tag\n{text}");
        for cut in 0..whole.len() {
            fs::write(directory.path().join("7-upload"), &whole[..cut]).unwrap();
            let completed = Completed::open(directory.path().to_owned()).unwrap();
            assert_eq!(completed.tag("upload", &text).unwrap(), None, "{cut} bytes");
        }
        fs::write(directory.path().join("7-upload"), &whole).unwrap();
        let completed = Completed::open(directory.path().to_owned()).unwrap();
        assert_eq!(completed.tag("upload", &text).unwrap().as_deref(), Some("tag"));
    }
}
