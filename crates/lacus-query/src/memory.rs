//! The memory that running queries share.
//!
//! Of `DataFusion`'s pools one lets the first operator take all, and the other gives each operator of each query the same
//! part, needed or not: a grouping among ten operators goes to disk with nine tenths of the memory free. Here an operator
//! that can go to disk may have more than its part while half is free for the others: for joins above all, which can't.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::common::{DataFusionError, Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

/// One part of so many is for those that have less than their share, and for what can't go to disk.
const KEPT_FREE: usize = 2;

/// A bound on the memory of all operators together.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    /// Bytes.
    size: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that operators have.
    taken: usize,
    /// Operators that can go to disk.
    spillers: usize,
}

impl SharedMemory {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are right after each step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryPool for SharedMemory {
    fn name(&self) -> &'static str {
        "shared"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.state().spillers += usize::from(consumer.can_spill());
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state();
        state.spillers = state.spillers.saturating_sub(usize::from(consumer.can_spill()));
    }

    fn grow(&self, _reservation: &MemoryReservation, additional: usize) {
        self.state().taken += additional;
    }

    fn shrink(&self, _reservation: &MemoryReservation, less: usize) {
        let mut state = self.state();
        state.taken = state.taken.saturating_sub(less);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut state = self.state();
        let share = self.size / state.spillers.max(1);
        let is_greedy = reservation.consumer().can_spill() && reservation.size() + additional > share;
        let kept = if is_greedy { self.size / KEPT_FREE } else { 0 };
        let left = self.size.saturating_sub(state.taken + kept);
        if additional > left {
            return Err(refused(reservation, additional, left));
        }
        state.taken += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.state().taken
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.size)
    }
}

impl fmt::Display for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes taken", self.reserved(), self.size)
    }
}

fn refused(reservation: &MemoryReservation, additional: usize, left: usize) -> DataFusionError {
    let (name, has) = (reservation.consumer().name(), reservation.size());
    resources_datafusion_err!("{name} has {has} bytes and wants {additional} more: {left} are left for it")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pool() -> Arc<dyn MemoryPool> {
        Arc::new(SharedMemory::new(1000))
    }

    fn spiller(pool: &Arc<dyn MemoryPool>) -> MemoryReservation {
        MemoryConsumer::new("spiller").with_can_spill(true).register(pool)
    }

    #[test]
    fn one_may_have_more_than_its_share_while_half_is_free() {
        let pool = pool();
        let (greedy, modest, idle) = (spiller(&pool), spiller(&pool), spiller(&pool));
        greedy.try_grow(500).unwrap();
        assert!(greedy.try_grow(1).is_err());
        modest.try_grow(333).unwrap();
        assert!(modest.try_grow(1).is_err());
        // It went to disk.
        greedy.free();
        modest.try_grow(167).unwrap();
        assert!(modest.try_grow(1).is_err());
        drop((greedy, idle));
        modest.try_grow(500).unwrap();
        assert_eq!(pool.reserved(), 1000);
    }

    #[test]
    fn shares_grow_as_operators_end() {
        let pool = pool();
        let first = spiller(&pool);
        let others: Vec<_> = (0..9).map(|_| spiller(&pool)).collect();
        first.try_grow(500).unwrap();
        assert!(first.try_grow(1).is_err());
        drop(others);
        first.try_grow(500).unwrap();
    }

    #[test]
    fn what_can_not_go_to_disk_has_what_is_left() {
        let pool = pool();
        let fixed = MemoryConsumer::new("fixed").register(&pool);
        fixed.try_grow(900).unwrap();
        let spiller = spiller(&pool);
        spiller.try_grow(100).unwrap();
        assert!(fixed.try_grow(1).is_err());
        fixed.shrink(10);
        fixed.try_grow(10).unwrap();
    }
}
