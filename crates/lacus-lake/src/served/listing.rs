//! Lists of files in the order of their names, a page at a time: no more of the folder is read than a page needs.
//!
//! If a folder has more names than a page takes, the names that follow are kept for the next page, as long as the folder has not
//! changed: a list that goes on says what one that begins anew would.

use std::fs;
use std::io;
use std::path::Path;

use lacus_core::{Context, Result, Timestamp};

use super::name::{is_database, is_part, is_table};
use super::rests::{Names, Rests, State};
use super::{ServedFile, describe};

/// The most names of a page.
const PAGE_MAX: usize = 1_000;
/// The most names of a folder that are sorted at once.
const NAMES_MAX: usize = 16_384;

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
    rests: &'a Rests,
    now: Timestamp,
}

/// A page of files.
///
/// # Errors
/// If a folder can't be read.
pub(super) fn list(lake: &Path, listing: &Listing, rests: &Rests, now: Timestamp) -> Result<Listed> {
    let page = listing.page.min(PAGE_MAX);
    let mut walk = Walk { lake, listing, page, found: Listed::default(), rests, now };
    if page > 0 {
        walk.folder("").context("list the lake's files")?;
    }
    if !walk.found.is_cut {
        rests.forget(&listing.prefix);
    }
    Ok(walk.found)
}

impl Walk<'_> {
    /// Takes what is in a folder, whose name is empty or ends with `/`.
    fn folder(&mut self, folder: &str) -> io::Result<()> {
        let listing = self.listing;
        let mut names = self.names(folder, &listing.after)?;
        loop {
            for (name, is_folder) in names.iter() {
                if self.found.is_cut {
                    return Ok(());
                }
                if may_have_more(listing, name, *is_folder) {
                    self.entry(name, *is_folder)?;
                }
            }
            // Whatever is behind them, they end with another name each time.
            match names.last().filter(|_| !names.is_all && !self.found.is_cut).map(str::to_owned) {
                Some(last) => names = self.names_behind(folder, &last)?,
                None => return Ok(()),
            }
        }
    }

    fn entry(&mut self, name: &str, is_folder: bool) -> io::Result<()> {
        let Listing { prefix, after, by_folder, .. } = self.listing;
        if !is_folder {
            self.file(name)
        } else if *by_folder && name.len() > prefix.len() {
            // One that the last page told, or told a part of, is told.
            if name > after.as_str() && self.has_file(name)? {
                self.take(name.to_owned(), |found, name| found.folders.push(name));
            }
            Ok(())
        } else {
            self.folder(name)
        }
    }

    /// The next names of a folder that this list may tell, or tell a part of: kept from the page before, or read.
    fn names(&self, folder: &str, after: &str) -> io::Result<Names> {
        let prefix = self.listing.prefix.as_str();
        let state = match State::of(&self.lake.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Names::default()),
            state => state?,
        };
        if let Some(kept) = self.rests.find(folder, prefix, state, after) {
            return Ok(kept);
        }
        let names = self.read(folder, |name, is_folder| may_have_more(self.listing, name, is_folder))?;
        if names.len() > PAGE_MAX && state.is_settled(self.now) {
            self.rests.keep(folder, prefix, state, after, names.clone());
        }
        Ok(names)
    }

    /// Those behind a name that was come to.
    fn names_behind(&self, folder: &str, last: &str) -> io::Result<Names> {
        self.read(folder, |name, is_folder| name > last && may_have_more(self.listing, name, is_folder))
    }

    /// The first names of a folder that are wanted.
    fn read(&self, folder: &str, is_wanted: impl Fn(&str, bool) -> bool) -> io::Result<Names> {
        let mut names = self.entries(folder)?;
        names.retain(|(name, is_folder)| is_wanted(name, *is_folder));
        let is_all = names.len() <= NAMES_MAX;
        if !is_all {
            names.select_nth_unstable(NAMES_MAX);
            names.truncate(NAMES_MAX);
        }
        names.sort_unstable();
        Ok(Names::new(names, is_all))
    }

    fn file(&mut self, name: &str) -> io::Result<()> {
        match self.lake.join(name).symlink_metadata() {
            Ok(metadata) => {
                let file = describe(&metadata);
                self.take(name.to_owned(), |found, name| found.files.push((name, file)));
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

    /// The names in a folder that others may know; those of folders end with `/`. Links are none.
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
        Ok(names)
    }
}

/// Whether a list may tell a name, or one below it: a folder that begins the prefix, or that the last page ended in, may have some.
fn may_have_more(listing: &Listing, name: &str, is_folder: bool) -> bool {
    let (prefix, after) = (listing.prefix.as_str(), listing.after.as_str());
    let is_behind = name > after || is_folder && after.starts_with(name);
    is_behind && (name.starts_with(prefix) || is_folder && prefix.starts_with(name))
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

    /// A page, without anything of earlier ones.
    fn list(lake: &Path, listing: &Listing) -> Result<Listed> {
        super::list(lake, listing, &Rests::default(), Timestamp::from_micros(0))
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

    /// A folder that changed last at this second.
    fn many(count: usize, second: u64) -> tempfile::TempDir {
        let lake = tempfile::tempdir().unwrap();
        let folder = lake.path().join("main/a/data");
        fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            fs::write(folder.join(format!("{number:06}")), "").unwrap();
        }
        changed_at(&folder, second);
        lake
    }

    fn changed_at(folder: &Path, second: u64) {
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
        fs::File::open(folder).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_list_goes_on_with_what_it_read_while_the_folder_is_as_it_was() {
        let lake = many(2_500, 1_000);
        let (folder, rests) = (lake.path().join("main/a/data"), Rests::default());
        let page = |after: &str, second: i64| {
            let (prefix, after) = ("main/a/".to_owned(), after.to_owned());
            let listing = Listing { prefix, after, by_folder: false, page: 1_000 };
            super::list(lake.path(), &listing, &rests, Timestamp::from_micros(second * 1_000_000)).unwrap()
        };
        let first = page("", 1_001);
        assert_eq!((first.files.len(), first.is_cut, rests.count()), (1_000, true, 0), "it may change in this second");
        assert_eq!(page("", 2_000), first);
        assert_eq!(rests.count(), 1);
        // The time of change tells nothing of this one, so it shows that the folder is not read again.
        fs::write(folder.join("001000-new"), "").unwrap();
        changed_at(&folder, 1_000);
        let second = page(&first.last, 2_000);
        assert!(names(&second).iter().all(|name| !name.ends_with("-new")), "{:?}", names(&second));
        assert_eq!((names(&second)[0], second.last.as_str()), ("main/a/data/001000", "main/a/data/001999"));
        // This one shows at once.
        changed_at(&folder, 1_500);
        assert_eq!(names(&page(&first.last, 2_000))[..2], ["main/a/data/001000", "main/a/data/001000-new"]);
        let third = page(&second.last, 2_000);
        assert_eq!((third.files.len(), third.is_cut), (500, false));
        assert_eq!(rests.count(), 0, "nothing is kept of a list that ended");
    }

    #[test]
    fn folders_with_more_names_than_are_sorted_at_once_are_told_to_the_end() {
        let lake = many(NAMES_MAX + 1_500, 1_000);
        let (mut found, mut after, rests) = (Vec::new(), String::new(), Rests::default());
        loop {
            let listing = Listing { prefix: String::new(), after, by_folder: false, page: 900 };
            let listed = super::list(lake.path(), &listing, &rests, Timestamp::from_micros(2_000_000_000)).unwrap();
            found.extend(names(&listed).into_iter().map(str::to_owned));
            if !listed.is_cut {
                break;
            }
            after = listed.last;
        }
        let all: Vec<String> = (0..NAMES_MAX + 1_500).map(|number| format!("main/a/data/{number:06}")).collect();
        assert!(found == all, "{} names of {}", found.len(), all.len());
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
