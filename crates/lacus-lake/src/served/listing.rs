//! Lists of files in the order of their names, a page at a time: no more of the folder is read than a page needs.

use std::fs;
use std::io;
use std::path::Path;

use lacus_core::{Context, Result};

use super::name::{is_database, is_part, is_table};
use super::{ServedFile, describe};

/// The most names of a page.
const PAGE_MAX: usize = 1_000;

/// What is to be listed.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// What the names begin with.
    pub prefix: String,
    /// Names after this one.
    pub after: String,
    /// Whether names that have a `/` after the prefix are told as one, up to it.
    pub by_folder: bool,
    /// The most names of this page; beyond 1,000 there are none.
    pub page: usize,
}

/// A page of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// The files.
    pub files: Vec<(String, ServedFile)>,
    /// What names begin with that were told as one.
    pub folders: Vec<String>,
    /// Whether there are more.
    pub is_cut: bool,
    /// The last name of this page.
    pub last: String,
}

/// A walk that goes on until its page is full.
struct Walk<'a> {
    lake: &'a Path,
    listing: &'a Listing,
    page: usize,
    found: Listed,
}

pub(super) fn list(lake: &Path, listing: &Listing) -> Result<Listed> {
    let page = listing.page.min(PAGE_MAX);
    let mut walk = Walk { lake, listing, page, found: Listed::default() };
    if page > 0 {
        walk.folder("").context("list the lake's files")?;
    }
    Ok(walk.found)
}

impl Walk<'_> {
    /// Takes what is in a folder, whose name is empty or ends with `/`.
    fn folder(&mut self, folder: &str) -> io::Result<()> {
        for (name, is_folder) in self.entries(folder)? {
            if self.found.is_cut {
                return Ok(());
            }
            let Listing { prefix, after, by_folder, .. } = self.listing;
            let (prefix, after, by_folder) = (prefix.as_str(), after.as_str(), *by_folder);
            // A folder that begins the prefix, or that the last page ended in, may have some.
            let is_on_the_way = is_folder && prefix.starts_with(name.as_str());
            let may_have_more = name.as_str() > after || is_folder && after.starts_with(name.as_str());
            if !may_have_more || !(name.starts_with(prefix) || is_on_the_way) {
                continue;
            }
            if !is_folder {
                self.file(name)?;
            } else if by_folder && name.len() > prefix.len() {
                // One that the last page told, or told a part of, is told.
                if name.as_str() > after && self.has_file(&name)? {
                    self.take(name, |found, name| found.folders.push(name));
                }
            } else {
                self.folder(&name)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, name: String) -> io::Result<()> {
        match self.lake.join(&name).symlink_metadata() {
            Ok(metadata) => {
                let file = describe(&metadata);
                self.take(name, |found, name| found.files.push((name, file)));
                Ok(())
            }
            // It was deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, name: String, put: impl FnOnce(&mut Listed, String)) {
        if self.found.files.len() + self.found.folders.len() == self.page {
            self.found.is_cut = true;
            return;
        }
        self.found.last.clone_from(&name);
        put(&mut self.found, name);
    }

    fn has_file(&self, folder: &str) -> io::Result<bool> {
        for (name, is_folder) in self.entries(folder)? {
            if !is_folder || self.has_file(&name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The names in a folder that others may know, in order; those of folders end with `/`. Links are none.
    fn entries(&self, folder: &str) -> io::Result<Vec<(String, bool)>> {
        let read = match fs::read_dir(self.lake.join(folder)) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in read {
            let entry = entry?;
            let kind = entry.file_type()?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if kind.is_dir() && may_be_known(folder, &name, true) {
                names.push((format!("{folder}{name}/"), true));
            } else if kind.is_file() && may_be_known(folder, &name, false) {
                names.push((format!("{folder}{name}"), false));
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Databases, tables in them, and all that is in those.
fn may_be_known(folder: &str, name: &str, is_folder: bool) -> bool {
    match folder.split('/').collect::<Vec<_>>().as_slice() {
        [""] => is_folder && is_database(name),
        [database, ""] => is_folder && is_table(database, name),
        _ => is_part(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lake(files: &[&str]) -> tempfile::TempDir {
        let lake = tempfile::tempdir().unwrap();
        for file in files {
            let path = lake.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, *file).unwrap();
        }
        lake
    }

    fn names(listed: &Listed) -> Vec<&str> {
        listed.files.iter().map(|(name, _)| name.as_str()).collect()
    }

    const FILES: [&str; 6] = [
        "main/a/data/1.parquet",
        "main/a/data-old/1.parquet",
        "main/a/data.parquet",
        "main/ab/metadata/v.json",
        "shop/t/data/day=1/x.parquet",
        "shop/t/data/y.parquet",
    ];

    #[test]
    fn pages_together_are_all_names_in_order() {
        let lake = lake(&FILES);
        fs::create_dir_all(lake.path().join("raw/web")).unwrap();
        fs::write(lake.path().join("raw/web/1.zst"), "x").unwrap();
        fs::write(lake.path().join("main/stray"), "x").unwrap();
        let mut sorted = FILES.to_vec();
        sorted.sort_unstable();
        for page in 1..=7 {
            let (mut found, mut after) = (Vec::new(), String::new());
            loop {
                let listed = list(lake.path(), &Listing { after, page, ..Listing::default() }).unwrap();
                assert!(listed.files.len() <= page);
                found.extend(names(&listed).into_iter().map(str::to_owned));
                if !listed.is_cut {
                    break;
                }
                after = listed.last;
            }
            assert_eq!(found, sorted, "in pages of {page}");
        }
    }

    #[test]
    fn prefixes_and_folders_are_those_of_s3() {
        let lake = lake(&FILES);
        let of = |prefix: &str, by_folder| {
            let listing = Listing { prefix: prefix.to_owned(), by_folder, page: 100, ..Listing::default() };
            list(lake.path(), &listing).unwrap()
        };
        assert_eq!(
            names(&of("main/a/data", false)),
            ["main/a/data-old/1.parquet", "main/a/data.parquet", "main/a/data/1.parquet"]
        );
        let listed = of("main/a", true);
        assert_eq!((listed.folders, listed.files), (vec!["main/a/".to_owned(), "main/ab/".to_owned()], vec![]));
        let listed = of("main/a/da", true);
        assert_eq!(listed.folders, ["main/a/data-old/", "main/a/data/"]);
        assert_eq!(listed.files.len(), 1);
        assert_eq!(of("", true).folders, ["main/", "shop/"]);
        assert_eq!(of("nothing/", true), Listed::default());
        assert_eq!(of("main/a/data/1.parquet/x", false), Listed::default());
        fs::create_dir_all(lake.path().join("main/empty/data")).unwrap();
        assert_eq!(of("main/e", true), Listed::default(), "a bucket has no empty folders");
    }

    #[test]
    fn pages_of_folders_tell_each_once() {
        let lake = lake(&FILES);
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let listing = Listing { prefix: "main/a/".to_owned(), after, by_folder: true, page: 1 };
            let listed = list(lake.path(), &listing).unwrap();
            found.push(listed.last.clone());
            if !listed.is_cut {
                break;
            }
            after = listed.last;
        }
        assert_eq!(found, ["main/a/data-old/", "main/a/data.parquet", "main/a/data/"]);
    }
}
