//! A warning once in a while: senders cause it as often as they like, and a log is for people.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two warnings.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// When a warning was told last.
#[derive(Default)]
pub(crate) struct Told(Mutex<Option<Instant>>);

impl Told {
    /// Whether it is to be told now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let mut told_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told_at.is_none_or(|at| now.saturating_duration_since(at) >= TELL_EVERY);
        if is_due {
            *told_at = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_once_and_then_once_a_minute() {
        let (told, start) = (Told::default(), Instant::now());
        let after = [0, 0, 59, 60, 61, 119, 120];
        let due = after.map(|seconds| told.is_due(start + Duration::from_secs(seconds)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
