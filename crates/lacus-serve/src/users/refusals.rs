//! How many of those who were not let in are in the log: so many of each minute, and how many more there were.
//!
//! Whoever reaches the port may try any name, without end: the log must not fill the disk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// As many are told …
const TOLD_MAX: u32 = 100;
/// … of those that come within this time.
const PERIOD: Duration = Duration::from_secs(60);

/// Those who were not let in.
#[derive(Default)]
pub(crate) struct Refusals {
    period: Mutex<Period>,
}

#[derive(Default)]
struct Period {
    began: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Refusals {
    /// Counts a refusal. If it should be logged, returns how many before it were not.
    pub(crate) fn count(&self, now: Instant) -> Option<u64> {
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        if period.began.is_none_or(|began| now.duration_since(began) >= PERIOD) {
            let before = std::mem::replace(&mut *period, Period { began: Some(now), told: 1, untold: 0 });
            return Some(before.untold);
        }
        if period.told < TOLD_MAX {
            period.told += 1;
            return Some(0);
        }
        period.untold += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_part_and_then_counted() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let told = (0..1000).filter(|_| refusals.count(now).is_some()).count();
        assert_eq!(told, TOLD_MAX as usize);
        assert_eq!(refusals.count(now + PERIOD), Some(1000 - u64::from(TOLD_MAX)));
        assert_eq!(refusals.count(now + PERIOD), Some(0), "it is told once");
    }
}
