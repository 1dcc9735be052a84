//! Where the lake's files are, for lacus (a path in the store) and for other engines (an absolute URL).
//!
//! Iceberg metadata holds absolute URLs. Their base is recorded in the catalog when the lake is made and never changes;
//! lacus takes it off before it looks for a file, so a project folder may be moved.

use std::path::Path as FilePath;

use lacus_core::settings::Location;
use lacus_core::{Error, Result};
use object_store::path::Path;

/// The base of all URLs in the tables of a lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warehouse {
    base: String,
}

impl Warehouse {
    /// The warehouse in a directory, which must be absolute.
    pub(crate) fn of_directory(directory: &FilePath) -> Result<Self> {
        let text = directory.to_str().ok_or_else(|| {
            Error::invalid(format!("the lake's directory {} is not named in UTF-8", directory.display()))
        })?;
        Ok(Self { base: format!("file://{}", text.trim_end_matches('/')) })
    }

    /// The warehouse in a bucket.
    pub(crate) fn of_bucket(location: &Location) -> Self {
        Self { base: location.to_string() }
    }

    /// Whether the files are on a disk of this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.base.starts_with("file://")
    }

    /// A project's folder may move; what is in a bucket, or in another one, is another lake.
    ///
    /// # Errors
    /// `Invalid` if the settings lead elsewhere than the catalog says.
    pub(crate) fn must_lead_to(&self, recorded: &Self) -> Result<()> {
        if self == recorded || self.is_local() && recorded.is_local() {
            return Ok(());
        }
        Err(Error::invalid(format!("this lake was made at {}, and the settings say {}", recorded.base, self.base))
            .with_hint("set lake.location back to where the lake is; for a new place make a new project"))
    }

    /// The warehouse with a recorded base.
    pub(crate) fn recorded(base: &str) -> Self {
        Self { base: base.to_owned() }
    }

    /// The base, without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The URL of a path in the store.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// The path in the store of a URL.
    pub(crate) fn path(&self, url: &str) -> Result<Path> {
        url.strip_prefix(&self.base)
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|path| Path::parse(path).ok())
            .ok_or_else(|| Error::corrupt(format!("{url} is outside of the lake {}", self.base)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_and_a_path_name_the_same_file() {
        let warehouse = Warehouse::of_directory(FilePath::new("/srv/my data/lake")).unwrap();
        let url = warehouse.url("main/clicks/data/a.parquet");
        assert_eq!(url, "file:///srv/my data/lake/main/clicks/data/a.parquet");
        assert_eq!(warehouse.path(&url).unwrap().as_ref(), "main/clicks/data/a.parquet");
        for foreign in ["file:///srv/my data/lake2/x", "s3://bucket/x", "file:///srv/my data/lake/../x", ""] {
            assert!(warehouse.path(foreign).is_err(), "{foreign}");
        }
    }
}
