//! The threads that bring events from the log to tables. Whoever waits for an acknowledgement or an answer goes before
//! them: they are what fills a machine under load, and what they do later is in the log already.

use lacus_core::{Error, Result};
use thread_priority::{ThreadPriority, ThreadPriorityValue};
use tokio::runtime::{Handle, Runtime};

/// As little as niceness 10: beside one busy thread of ordinary priority, a tenth of a core. 100 is the highest
/// priority there is, 50 the ordinary one.
const PRIORITY: u8 = 25;

/// A runtime of its own, with the blocking threads that its tasks ask for.
pub(crate) struct Workers(Option<Runtime>);

impl Workers {
    /// Starts them.
    ///
    /// # Errors
    /// `Unavailable` if the system gives no thread.
    pub(crate) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("delivery")
            .on_thread_start(go_after_others)
            .enable_all()
            .build()
            .map_err(|error| Error::unavailable("start the threads of the deliveries").with_source(error))?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("only drop takes it").handle()
    }
}

/// Their tasks have ended by then, or are stopped: a runtime can't be waited for where tasks run.
impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn go_after_others() {
    let lowered = ThreadPriorityValue::try_from(PRIORITY).map(ThreadPriority::Crossplatform);
    // A system that does not let us is one where they have the ordinary priority.
    if let Ok(priority) = lowered
        && let Err(error) = priority.set_for_current()
    {
        tracing::debug!(?error, "deliveries have the priority of all threads");
    }
}
