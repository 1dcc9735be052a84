//! The memory in which a part is grouped.

use std::fmt;
use std::sync::{Arc, Mutex};

use datafusion::common::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;

use super::locked;

/// What was kept for it, and more where there is more: whoever deals out rows meanwhile would take it otherwise.
#[derive(Debug)]
pub(super) struct Room {
    kept: MemoryReservation,
    /// Bytes of it that are in use.
    used: Mutex<usize>,
}

impl Room {
    /// What an aggregate runs with that has this memory.
    pub(super) fn context(kept: MemoryReservation, context: &TaskContext) -> Arc<TaskContext> {
        let mut runtime = RuntimeEnv::clone(&context.runtime_env());
        runtime.memory_pool = Arc::new(Self { kept, used: Mutex::default() });
        let context = TaskContext::default().with_session_config(context.session_config().clone());
        Arc::new(context.with_runtime(Arc::new(runtime)))
    }
}

impl MemoryPool for Room {
    fn name(&self) -> &'static str {
        "room"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        let mut used = locked(&self.used);
        *used += additional;
        self.kept.grow(used.saturating_sub(self.kept.size()));
    }

    fn shrink(&self, _: &MemoryReservation, less: usize) {
        let mut used = locked(&self.used);
        *used = used.saturating_sub(less);
    }

    fn try_grow(&self, _: &MemoryReservation, additional: usize) -> Result<()> {
        let mut used = locked(&self.used);
        self.kept.try_grow((*used + additional).saturating_sub(self.kept.size()))?;
        *used += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        *locked(&self.used)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Unknown
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes kept", self.reserved(), self.kept.size())
    }
}
