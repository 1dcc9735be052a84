//! The memory pool that running queries share.
//!
//! DataFusion has two pools. With one, the first operator may take everything; the other gives each operator of each query the
//! same share, needed or not, so that one grouping among ten operators goes to disk with nine tenths of the memory free. Here an
//! operator that can spill may exceed its share while half of the memory is free for the others: above all for joins, which
//! can't spill. And each operator gets its first bytes however much others hold: without any it would fail.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::{DataFusionError, Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::prelude::SessionConfig;

/// The part of the memory (one in this many) that is kept for operators below their share, and for those that can't spill.
const KEPT_FREE: usize = 2;

/// The part of its share (one in this many) that each operator always finds free.
const FIRST_BYTES: usize = 4;

/// The part of the memory (one in this many) for what can't spill: a sort that did spill needs it to merge its rows.
const FOR_FIXED: usize = 4;

/// The part of all memory (one in this many) that a sort reserves for merging, at most.
const MERGING_PARTS: usize = 32;

/// How refusals begin when the statement's own memory is used up.
const OF_STATEMENT: &str = "of what one statement may have";

/// Makes sorts fit into this much memory: each reserves some to merge what it spilled, and a join may have four of them.
pub(crate) fn fit_sorts(config: &mut SessionConfig, bytes: usize) {
    let merging = &mut config.options_mut().execution.sort_spill_reservation_bytes;
    *merging = (*merging).min(bytes / MERGING_PARTS);
}

/// Whether an error says that the statement's own memory is used up, though others may have more.
pub(crate) fn is_of_statement(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(why) if why.contains(OF_STATEMENT))
}

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
    /// The bytes of operators that can spill, by the number of their consumer.
    spillers: HashMap<usize, usize>,
}

impl State {
    /// The bytes that all other operators that can spill lack to have this many each.
    fn lacking(&self, floor: usize, but: usize) -> usize {
        let others = self.spillers.iter().filter(|(id, _)| **id != but);
        others.map(|(_, has)| floor.saturating_sub(*has)).sum()
    }

    /// The bytes that operators that can't spill lack to have this many.
    fn lacking_fixed(&self, floor: usize) -> usize {
        floor.saturating_sub(self.taken.saturating_sub(self.spillers.values().sum()))
    }

    fn add(&mut self, reservation: &MemoryReservation, bytes: usize) {
        self.taken += bytes;
        if let Some(has) = self.spillers.get_mut(&reservation.consumer().id()) {
            *has += bytes;
        }
    }
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
        if consumer.can_spill() {
            self.state().spillers.insert(consumer.id(), 0);
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.state().spillers.remove(&consumer.id());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.state().add(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, less: usize) {
        let mut state = self.state();
        state.taken = state.taken.saturating_sub(less);
        if let Some(has) = state.spillers.get_mut(&reservation.consumer().id()) {
            *has = has.saturating_sub(less);
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut state = self.state();
        let id = reservation.consumer().id();
        let kept = state.spillers.get(&id).map_or(0, |has| {
            let share = self.size / state.spillers.len();
            let floor = share / FIRST_BYTES;
            let for_others = state.lacking(floor, id) + state.lacking_fixed(self.size / FOR_FIXED);
            match has + additional {
                wanted if wanted > share => for_others.max(self.size / KEPT_FREE),
                wanted if wanted > floor => for_others,
                _ => 0,
            }
        });
        let left = self.size.saturating_sub(state.taken + kept);
        if additional > left {
            return Err(refused(reservation, additional, left));
        }
        state.add(reservation, additional);
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

/// The memory of one statement, as a part of the memory that all share: its operators divide it among them in the same way.
#[derive(Debug)]
pub(crate) struct StatementMemory {
    own: SharedMemory,
    all: Arc<dyn MemoryPool>,
}

impl StatementMemory {
    /// This many bytes of the memory of all.
    pub(crate) fn new(size: usize, all: Arc<dyn MemoryPool>) -> Self {
        Self { own: SharedMemory::new(size), all }
    }
}

impl MemoryPool for StatementMemory {
    fn name(&self) -> &'static str {
        "statement"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
        self.all.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
        self.all.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, less: usize) {
        self.own.shrink(reservation, less);
        self.all.shrink(reservation, less);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let own = self.own.try_grow(reservation, additional);
        own.map_err(|error| resources_datafusion_err!("{OF_STATEMENT}: {}", error.strip_backtrace()))?;
        let taken = self.all.try_grow(reservation, additional);
        if taken.is_err() {
            self.own.shrink(reservation, additional);
        }
        taken
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

impl fmt::Display for StatementMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of one statement, of {}", self.own, self.all)
    }
}

fn refused(reservation: &MemoryReservation, additional: usize, left: usize) -> DataFusionError {
    let (name, has) = (reservation.consumer().name(), reservation.size());
    resources_datafusion_err!("{name} has {has} bytes and wants {additional} more: {left} are left for it")
}

#[cfg(test)]
mod tests {
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
        modest.try_grow(167).unwrap();
        assert!(modest.try_grow(1).is_err());
        // It went to disk.
        greedy.free();
        modest.try_grow(333).unwrap();
        assert!(modest.try_grow(1).is_err());
        drop((greedy, idle));
        modest.try_grow(250).unwrap();
        assert!(modest.try_grow(1).is_err());
        assert_eq!(pool.reserved(), 750);
    }

    #[test]
    fn whoever_has_little_is_not_refused_for_others() {
        let pool = pool();
        let all: Vec<_> = (0..10).map(|_| spiller(&pool)).collect();
        all[0].try_grow(500).unwrap();
        // What is left is for the first bytes of those that have nothing yet, and for what can't spill.
        assert!(all[1].try_grow(100).is_err());
        for spiller in &all[1..] {
            spiller.try_grow(25).unwrap();
        }
        all[1].try_grow(25).unwrap();
        assert!(all[1].try_grow(1).is_err());
        MemoryConsumer::new("fixed").register(&pool).try_grow(250).unwrap();
    }

    #[test]
    fn shares_grow_as_operators_end() {
        let pool = pool();
        let first = spiller(&pool);
        let others: Vec<_> = (0..9).map(|_| spiller(&pool)).collect();
        first.try_grow(500).unwrap();
        assert!(first.try_grow(1).is_err());
        drop(others);
        first.try_grow(250).unwrap();
    }

    #[test]
    fn a_statement_has_no_more_than_its_own_and_gives_all_of_it_back() {
        let all = pool();
        let other = MemoryConsumer::new("other").register(&all);
        let own: Arc<dyn MemoryPool> = Arc::new(StatementMemory::new(400, Arc::clone(&all)));
        let (fixed, spiller) = (MemoryConsumer::new("fixed").register(&own), spiller(&own));
        fixed.try_grow(300).unwrap();
        assert!(is_of_statement(&fixed.try_grow(101).unwrap_err()));
        fixed.try_grow(100).unwrap();
        assert!(is_of_statement(&spiller.try_grow(1).unwrap_err()));
        assert_eq!((own.reserved(), all.reserved()), (400, 400));
        fixed.shrink(200);
        // The others took what it might have had.
        other.try_grow(700).unwrap();
        assert!(!is_of_statement(&fixed.try_grow(101).unwrap_err()));
        fixed.try_grow(100).unwrap();
        assert_eq!((own.reserved(), all.reserved()), (300, 1000));
        drop((fixed, spiller));
        assert_eq!((own.reserved(), all.reserved()), (0, 700));
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
