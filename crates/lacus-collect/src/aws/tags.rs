//! Tags: names and values that clients put on streams, kept among the attributes.

use std::collections::BTreeMap;

use lacus_core::{Error, Kind, Result};
use lacus_stream::StreamInfo;
use serde::{Deserialize, Serialize};

/// What the attribute of a tag of a Kinesis stream begins with.
pub(super) const KINESIS: &str = "aws.tag.";
/// The same for a delivery stream, which may share its stream with a Kinesis stream.
pub(super) const FIREHOSE: &str = "firehose.tag.";
/// The most tags of a stream.
const TAGS_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

/// A page of tags.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    pub(super) tags: Vec<Tag>,
    has_more_tags: bool,
}

/// Puts tags of a kind on a stream.
///
/// # Errors
/// `Invalid` for one that can't be, `Limited` for too many.
pub(super) fn add(
    kind: &str,
    attributes: &mut BTreeMap<String, String>,
    tags: &BTreeMap<String, String>,
) -> Result<()> {
    for (key, value) in tags {
        if !(1..=KEY_CHARS_MAX).contains(&key.chars().count()) || value.chars().count() > VALUE_CHARS_MAX {
            return Err(Error::invalid(format!(
                "a tag has a key of 1 to {KEY_CHARS_MAX} characters and a value of {VALUE_CHARS_MAX} at most"
            )));
        }
        attributes.insert(format!("{kind}{key}"), value.clone());
    }
    if attributes.keys().filter(|name| name.starts_with(kind)).count() > TAGS_MAX {
        return Err(Error::new(Kind::Limited, format!("a stream has {TAGS_MAX} tags at most")));
    }
    Ok(())
}

/// Takes tags off.
pub(super) fn remove(kind: &str, attributes: &mut BTreeMap<String, String>, keys: &[String]) {
    for key in keys {
        attributes.remove(&format!("{kind}{key}"));
    }
}

/// Takes all tags off.
pub(super) fn remove_all(kind: &str, attributes: &mut BTreeMap<String, String>) {
    attributes.retain(|name, _| !name.starts_with(kind));
}

/// The tags of a kind by key, `limit` at most, those after `after`.
pub(super) fn list(kind: &str, stream: &StreamInfo, after: Option<&str>, limit: Option<usize>) -> Listed {
    let tags = stream.attributes.iter().filter_map(|(name, value)| Some((name.strip_prefix(kind)?, value)));
    let mut tags: Vec<Tag> = tags
        .filter(|(key, _)| after.is_none_or(|after| *key > after))
        .map(|(key, value)| Tag { key: key.to_owned(), value: value.clone() })
        .collect();
    let most = limit.unwrap_or(TAGS_MAX).clamp(1, TAGS_MAX);
    let has_more_tags = tags.len() > most;
    tags.truncate(most);
    Listed { tags, has_more_tags }
}
