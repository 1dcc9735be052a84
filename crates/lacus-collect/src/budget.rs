//! How many bytes of bodies may be in memory at once, over all requests.
//!
//! A request takes from the budget as its bytes arrive, and gives all back when it is answered. Nobody waits for the
//! budget while holding a part of it: who can't have more is refused.

use std::sync::Arc;

use lacus_core::{Error, Kind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The smallest step by which memory is reserved: most requests take one.
const STEP_BYTES: usize = 16 << 10;

/// The bytes that are left.
pub(crate) struct Budget {
    left: Arc<Semaphore>,
}

/// The share of one request, given back when dropped.
pub(crate) struct Share {
    left: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: Arc::new(Semaphore::new(bytes)) }
    }

    /// An empty share.
    pub(crate) fn share(&self) -> Share {
        Share { left: Arc::clone(&self.left), taken: None }
    }
}

impl Share {
    /// Extends the share to cover `bytes` in all.
    ///
    /// # Errors
    /// `Limited` if the others hold too much.
    pub(crate) fn cover(&mut self, bytes: usize) -> Result<()> {
        let taken = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.saturating_sub(taken).next_multiple_of(STEP_BYTES);
        if missing == 0 {
            return Ok(());
        }
        let more =
            u32::try_from(missing).ok().and_then(|missing| Arc::clone(&self.left).try_acquire_many_owned(missing).ok());
        let Some(more) = more else {
            return Err(Error::new(Kind::Limited, "too many requests are being read at once")
                .with_hint("send it again a little later"));
        };
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            taken => *taken = Some(more),
        }
        Ok(())
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
    }
}
