//! Places outside of the lake that SQL may read from or write to.

use std::fmt;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::Location;

/// A folder, or a part of a bucket, with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// A folder of this machine. One that is not absolute is within the project's folder.
    Folder(String),
    /// A part of a bucket, reached as `lake.s3` says.
    Bucket(Location),
}

impl Place {
    /// Whether it is in a bucket.
    #[must_use]
    pub fn is_bucket(&self) -> bool {
        matches!(self, Self::Bucket(_))
    }
}

impl TryFrom<String> for Place {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no place for files: it is a folder, or like s3://bucket/prefix");
        if text.starts_with("s3://") {
            return Location::try_from(text.clone()).map(Self::Bucket).map_err(|_| wrong());
        }
        let leaves = Path::new(&text).components().any(|part| part == Component::ParentDir);
        if text.is_empty() || text.contains("://") || text.contains('\0') || leaves {
            return Err(wrong());
        }
        Ok(Self::Folder(text))
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => f.write_str(folder),
            Self::Bucket(location) => location.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;

    #[test]
    fn a_place_is_a_folder_or_a_part_of_a_bucket() {
        let query = Settings::load("[query]\nunload_to = [\"out/\", \"/data\", \"s3://b/x/\"]\n", []).unwrap().query;
        let places: Vec<String> = query.unload_to.iter().map(ToString::to_string).collect();
        assert_eq!(places, ["out/", "/data", "s3://b/x"]);
        for wrong in ["", "../x", "a/../../b", "gs://b", "s3://", "file:///x"] {
            let error = Settings::load(&format!("[query]\ncopy_from = [\"{wrong}\"]\n"), []).unwrap_err();
            assert!(error.message().contains("is no place for files"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_place_in_a_bucket_has_the_credentials_of_aws_tools() {
        let key = |name: &str| vec![("AWS_ACCESS_KEY_ID".to_owned(), name.to_owned())];
        let with = Settings::load("[query]\nunload_to = [\"s3://b\"]\n", key("me")).unwrap();
        assert_eq!(with.lake.s3.access_key_id.as_deref(), Some("me"));
        let without = Settings::load("[query]\nunload_to = [\"b\"]\n", key("me")).unwrap();
        assert_eq!(without.lake.s3.access_key_id, None);
    }
}
