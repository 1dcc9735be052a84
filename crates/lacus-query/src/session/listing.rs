//! A session as others see it in `pg_stat_activity`: that it is there, and what it does.

use std::net::SocketAddr;
use std::sync::Arc;

use lacus_core::Clock;

use super::{Client, Session, lock};
use crate::activity::{Activity, Signal, Waiting};

impl Session {
    /// Lists the session, whose client is at `address`, until it is dropped. `signal` does what another session tells it to
    /// do. To be called once, after [`set_client`](Self::set_client).
    pub fn announce(
        &self,
        address: SocketAddr,
        clock: Arc<dyn Clock>,
        signal: impl Fn(Signal) + Send + Sync + 'static,
    ) {
        let Client { user, backend, .. } = lock(&self.client).clone();
        let variables = Arc::clone(&self.variables);
        let activity = Activity::new((user, backend), address, clock, variables, Box::new(signal));
        self.shared.sessions.add(self.activity.get_or_init(|| Arc::new(activity)));
    }

    /// Shows this text as the current statement, if the session is listed.
    pub fn asks(&self, text: &str) {
        if let Some(activity) = self.activity.get() {
            activity.asks(text);
        }
    }

    /// Shows that the session waits for its client.
    pub fn waits(&self, waiting: Waiting) {
        if let Some(activity) = self.activity.get() {
            activity.waits(waiting);
        }
    }
}
