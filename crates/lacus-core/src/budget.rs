//! How many bytes of bodies may be in memory at once, over all requests.
//!
//! A request takes from the budget as its bytes arrive, and gives all back when it is answered. Nobody waits for the
//! budget while holding a part of it: who can't have more is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Kind, Result};

/// The smallest step by which memory is reserved: most requests take one.
const STEP_BYTES: usize = 16 << 10;

/// The bytes that are left. A clone is the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    left: Arc<AtomicUsize>,
}

/// The share of one request, given back when dropped.
#[derive(Debug)]
pub struct Share {
    left: Arc<AtomicUsize>,
    taken: usize,
}

impl Budget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)) }
    }

    /// An empty share.
    #[must_use]
    pub fn share(&self) -> Share {
        Share { left: Arc::clone(&self.left), taken: 0 }
    }
}

impl Share {
    /// Extends the share to cover `bytes` in all.
    ///
    /// # Errors
    /// `Limited` if the others hold too much.
    pub fn cover(&mut self, bytes: usize) -> Result<()> {
        let missing = bytes.saturating_sub(self.taken).next_multiple_of(STEP_BYTES);
        if missing == 0 {
            return Ok(());
        }
        let without = |left: usize| left.checked_sub(missing);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, without).is_err() {
            return Err(Error::new(Kind::Limited, "too many requests are being read at once")
                .with_hint("send it again a little later"));
        }
        self.taken += missing;
        Ok(())
    }

    /// Gives back all but what covers `bytes`.
    pub fn keep(&mut self, bytes: usize) {
        let needless = self.taken.saturating_sub(bytes.next_multiple_of(STEP_BYTES));
        self.taken -= needless;
        self.left.fetch_add(needless, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.left.fetch_add(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_refused_when_others_hold_too_much_and_given_back_when_dropped() {
        let budget = Budget::new(3 * STEP_BYTES);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.cover(1).unwrap();
        one.cover(STEP_BYTES).unwrap();
        other.cover(STEP_BYTES + 1).unwrap();
        assert_eq!(one.cover(STEP_BYTES + 1).unwrap_err().kind(), Kind::Limited);
        drop(other);
        one.cover(3 * STEP_BYTES).unwrap();
        assert_eq!(one.cover(usize::MAX / 2).unwrap_err().kind(), Kind::Limited);
        drop(one);
        budget.share().cover(3 * STEP_BYTES).unwrap();
    }

    #[test]
    fn a_share_gives_back_what_it_needs_no_more() {
        let budget = Budget::new(3 * STEP_BYTES);
        let (mut one, mut other) = (budget.share(), budget.clone().share());
        one.cover(3 * STEP_BYTES).unwrap();
        one.keep(STEP_BYTES + 1);
        other.cover(STEP_BYTES).unwrap();
        assert_eq!(other.cover(2 * STEP_BYTES).unwrap_err().kind(), Kind::Limited);
        one.keep(3 * STEP_BYTES);
        drop((one, other));
        budget.share().cover(3 * STEP_BYTES).unwrap();
    }
}
