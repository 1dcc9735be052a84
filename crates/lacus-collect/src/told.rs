//! A warning of a source once in a while: senders cause it as often as they like, and a log is for people.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lacus_core::StreamName;

/// Between two warnings of a source.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// The most sources of which is told in that time. Others come later.
const SOURCES_MAX: usize = 64;

/// When each source was told of, if that was not long ago.
#[derive(Default)]
pub(crate) struct Told(Mutex<BTreeMap<StreamName, Instant>>);

impl Told {
    /// Whether the warning of this source is to be told now.
    pub(crate) fn is_due(&self, source: &StreamName, now: Instant) -> bool {
        let mut told_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told_at.retain(|_, at| now.saturating_duration_since(*at) < TELL_EVERY);
        let is_due = told_at.len() < SOURCES_MAX && !told_at.contains_key(source);
        if is_due {
            told_at.insert(source.clone(), now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_is_told_at_once_and_then_once_a_minute() {
        let (told, start) = (Told::default(), Instant::now());
        let (web, app) = (StreamName::new("web").unwrap(), StreamName::new("app").unwrap());
        let after = [0, 0, 59, 60, 61, 119, 120];
        let due = after.map(|seconds| told.is_due(&web, start + Duration::from_secs(seconds)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
        let after = [120, 179, 180];
        let due = after.map(|seconds| told.is_due(&app, start + Duration::from_secs(seconds)));
        assert_eq!(due, [true, false, true]);
    }

    #[test]
    fn of_many_sources_so_many_are_told_in_a_minute() {
        let (told, start) = (Told::default(), Instant::now());
        let due = |now: Instant| {
            let sources = (0..2 * SOURCES_MAX).map(|number| StreamName::new(&format!("s{number}")).unwrap());
            sources.filter(|source| told.is_due(source, now)).count()
        };
        assert_eq!(due(start), SOURCES_MAX);
        assert_eq!(due(start + TELL_EVERY / 2), 0);
        assert_eq!(due(start + TELL_EVERY), SOURCES_MAX);
    }
}
