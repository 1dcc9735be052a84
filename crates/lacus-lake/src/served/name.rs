//! Names of files in the bucket, and the paths they stand for: always below the folder of a table, never through a link.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use lacus_core::{Error, Kind, Result, TableName};

/// Folders below that of a table, and the file.
const PARTS_MAX: usize = 64;

/// A name that a file of a table can have: `<database>/<table>/…`.
#[derive(Debug, Clone)]
pub(super) struct FileName(String);

impl FileName {
    /// # Errors
    /// `Denied` for every other name.
    pub(super) fn parse(name: &str) -> Result<Self> {
        let parts: Vec<&str> = name.split('/').collect();
        let is_file_of_table = match parts.as_slice() {
            [database, table, file @ ..] => {
                is_table(database, table)
                    && (1..=PARTS_MAX).contains(&file.len())
                    && file.iter().all(|part| is_part(part))
            }
            _ => false,
        };
        if is_file_of_table {
            return Ok(Self(name.to_owned()));
        }
        let shown: String = name.chars().take(200).collect();
        Err(Error::new(Kind::Denied, format!("\"{}\" is no file of a table", shown.escape_debug()))
            .with_hint("names are <database>/<table>/data/… and <database>/<table>/metadata/…"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder of the table: `<database>/<table>`.
    pub(super) fn folder(&self) -> String {
        self.0.splitn(3, '/').take(2).collect::<Vec<_>>().join("/")
    }

    /// Where it is, below the folder of the lake.
    ///
    /// # Errors
    /// `Denied` if a symbolic link is on the way, or at its end.
    pub(super) fn path_in(&self, lake: &Path) -> Result<PathBuf> {
        let mut path = lake.to_owned();
        for part in self.0.split('/') {
            path.push(part);
            match path.symlink_metadata() {
                Ok(found) if found.is_symlink() => {
                    return Err(Error::new(Kind::Denied, format!("{self} leads out of the lake")));
                }
                Ok(_) => {}
                // Nothing of what follows is there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                // Whoever opens it is told.
                Err(_) => break,
            }
        }
        Ok(lake.join(&self.0))
    }

    /// # Errors
    /// `Denied` if lacus made no folder for this table: there is none, and nobody is about to make it.
    pub(super) fn must_have_table(&self, lake: &Path) -> Result<()> {
        self.path_in(lake)?;
        if lake.join(self.folder()).is_dir() {
            return Ok(());
        }
        Err(Error::new(Kind::Denied, format!("there is no table at {}", self.folder()))
            .with_hint("make it in the catalog first; then its files can be written"))
    }
}

/// Whether a table may be in this folder.
pub(super) fn is_table(database: &str, table: &str) -> bool {
    TableName::new(&format!("{database}.{table}"))
        .is_ok_and(|name| name.database() == database && name.table() == table)
}

/// Whether a database may have this folder.
pub(super) fn is_database(database: &str) -> bool {
    is_table(database, "t")
}

/// Whether a file, or a folder below that of a table, may be called so.
pub(super) fn is_part(part: &str) -> bool {
    !part.is_empty() && !part.starts_with('.') && !part.contains(|letter: char| letter.is_control() || letter == '\\')
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files_of_tables() {
        for name in [
            "main/clicks/data/a.parquet",
            "shop/my-orders/data/day=2026-01-01/x y.parquet",
            "main/t__quarantine/metadata/v.json",
        ] {
            assert_eq!(FileName::parse(name).unwrap().as_str(), name);
        }
        for wrong in [
            "",
            "/",
            "main",
            "main/clicks",
            "main/clicks/",
            "main//x",
            "/main/clicks/x",
            "main/clicks/../../x",
            "main/clicks/data/..",
            "main/clicks/./x",
            "../keys.json",
            "raw/clicks/2026/x.zst",
            "raw/x/y",
            "main/Clicks/x",
            "main/clicks/.hidden",
            "main/clicks/a\\b",
            "main/clicks/a\0b",
            "pg_catalog/t/x",
            "main/clicks/data/",
        ] {
            assert_eq!(FileName::parse(wrong).unwrap_err().kind(), Kind::Denied, "{wrong:?}");
        }
    }

    #[test]
    fn links_lead_nowhere() {
        let lake = tempfile::tempdir().unwrap();
        let table = lake.path().join("main/clicks");
        std::fs::create_dir_all(&table).unwrap();
        std::fs::write(lake.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(lake.path().join("secret"), table.join("link")).unwrap();
        std::os::unix::fs::symlink(lake.path(), table.join("folder")).unwrap();
        for name in ["main/clicks/link", "main/clicks/folder/secret"] {
            assert_eq!(FileName::parse(name).unwrap().path_in(lake.path()).unwrap_err().kind(), Kind::Denied, "{name}");
        }
        assert!(FileName::parse("main/clicks/data/x").unwrap().must_have_table(lake.path()).is_ok());
        assert!(FileName::parse("main/other/data/x").unwrap().must_have_table(lake.path()).is_err());
    }
}
