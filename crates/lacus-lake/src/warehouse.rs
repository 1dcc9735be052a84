//! Where the lake's files are: for lacus a path in the store, for other engines an absolute URL.
//!
//! Iceberg metadata holds absolute URLs. Their base is recorded in the catalog when the lake is made and never changes;
//! lacus strips it before it looks for a file, so a project folder may be moved.

use std::path::Path as FilePath;

use lacus_core::settings::Location;
use lacus_core::{Error, Result};
use object_store::path::Path;

/// The base of all URLs in the tables of a lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warehouse {
    base: String,
    /// Whether the files are on a disk of this machine, whatever the base is.
    is_local: bool,
}

impl Warehouse {
    /// The warehouse in a directory, which must be absolute.
    pub(crate) fn of_directory(directory: &FilePath) -> Result<Self> {
        let text = directory.to_str().ok_or_else(|| {
            Error::invalid(format!("the lake's directory {} is not named in UTF-8", directory.display()))
        })?;
        Ok(Self { base: format!("file://{}", text.trim_end_matches('/')), is_local: true })
    }

    /// The warehouse in a bucket.
    pub(crate) fn of_bucket(location: &Location) -> Self {
        Self { base: location.to_string(), is_local: false }
    }

    /// The warehouse in a directory whose files lacus serves as a bucket.
    pub(crate) fn served_as(bucket: &str) -> Self {
        Self { base: format!("s3://{bucket}"), is_local: true }
    }

    /// Whether the files are on a disk of this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.is_local
    }

    /// Whether engines open the files on this machine's disk directly.
    pub(crate) fn has_file_urls(&self) -> bool {
        self.base.starts_with("file://")
    }

    /// Refuses settings that lead to another lake. A project's folder may move, but not from or between buckets.
    ///
    /// # Errors
    /// `Invalid` if the settings lead elsewhere than the catalog says.
    pub(crate) fn must_lead_to(&self, recorded: &Self) -> Result<()> {
        if self.base == recorded.base || self.has_file_urls() && recorded.has_file_urls() {
            return Ok(());
        }
        Err(Error::invalid(format!("this lake was made at {}, and the settings say {}", recorded.base, self.base))
            .with_hint("the files of tables name each other by that: set lake.location and lake.bucket back to what they were when the lake was made; for another place make a new project"))
    }

    /// The warehouse here, with the recorded base.
    pub(crate) fn with_recorded(&self, base: &str) -> Self {
        Self { base: base.to_owned(), is_local: self.is_local }
    }

    /// The base, without a trailing slash.
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
    fn a_lake_is_served_from_its_making_on_or_never() {
        let here = Warehouse::of_directory(FilePath::new("/srv/lake")).unwrap();
        let (served, other) = (Warehouse::served_as("lake"), Warehouse::served_as("other"));
        assert!(served.is_local() && !served.has_file_urls());
        assert!(
            served.must_lead_to(&served).is_ok() && here.must_lead_to(&here.with_recorded("file:///moved")).is_ok()
        );
        for (settings, recorded) in [(&served, &here), (&here, &served), (&other, &served)] {
            let error = settings.must_lead_to(recorded).unwrap_err();
            assert!(error.hint().unwrap_or_default().contains("lake.bucket"), "{error}");
        }
    }

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
