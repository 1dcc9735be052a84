//! What a stream says itself about its commits, instead of the settings: Firehose's buffering hints are such.

use std::collections::BTreeMap;
use std::time::Duration;

use lacus_core::attributes::{COMMIT_AFTER_MS, COMMIT_BYTES};
use lacus_core::settings;

/// The attributes of a stream about its commits. A value that is no integer is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    commit_bytes: Option<u64>,
    commit_after_ms: Option<u64>,
}

impl Hints {
    pub(crate) fn of(attributes: &BTreeMap<String, String>) -> Self {
        let number = |name: &str| attributes.get(name)?.parse().ok();
        Self { commit_bytes: number(COMMIT_BYTES), commit_after_ms: number(COMMIT_AFTER_MS) }
    }

    /// How many bytes of events may wait for a commit.
    pub(crate) fn commit_bytes(&self, settings: &settings::Delivery) -> u64 {
        self.commit_bytes.unwrap_or(settings.commit_bytes.0)
    }

    /// How long events may wait for one.
    pub(crate) fn commit_after(&self, settings: &settings::Delivery) -> Duration {
        self.commit_after_ms.map_or_else(|| settings.commit_after.duration(), Duration::from_millis)
    }
}
