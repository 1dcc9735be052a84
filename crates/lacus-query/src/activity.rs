//! What the sessions of clients are doing, and how they are stopped by others: what `pg_stat_activity`, `pg_cancel_backend()` and
//! `pg_terminate_backend()` go by.
//!
//! A session is listed from when it was announced until it goes. What somebody asks, since when and from where, only sessions of
//! the same user see, and only they stop it: no user stands above others. Of each session there is one text, cut to its first
//! kilobyte, and some times.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lacus_core::{Clock, Kind, Timestamp};

use crate::error::SqlError;
use crate::variables::Variables;

/// How many bytes of a statement are shown: the default of PostgreSQL's `track_activity_query_size`.
const QUERY_BYTES_MAX: usize = 1024;

/// What another session tells this one to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Stop the statement that is running, if there is one.
    Cancel,
    /// To end.
    Terminate,
}

/// How a session waits for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// In no transaction block.
    Idle,
    /// In a transaction block.
    InBlock,
    /// In a transaction block that refuses all statements until it ends.
    InFailedBlock,
}

/// A session that is listed.
pub(crate) struct Activity {
    user: String,
    backend: i32,
    address: SocketAddr,
    began_at: Timestamp,
    clock: Arc<dyn Clock>,
    variables: Arc<Mutex<Variables>>,
    signal: Box<dyn Fn(Signal) + Send + Sync>,
    doing: Mutex<Doing>,
}

/// What a session does, or did last.
#[derive(Debug, Clone)]
pub(crate) struct Doing {
    /// None while it answers.
    pub(crate) waiting: Option<Waiting>,
    /// The beginning of the last statement.
    pub(crate) query: String,
    pub(crate) query_at: Option<Timestamp>,
    pub(crate) changed_at: Timestamp,
    /// When its transaction block began.
    pub(crate) block_at: Option<Timestamp>,
}

/// A session as another one sees it.
pub(crate) struct Seen {
    pub(crate) backend: i32,
    pub(crate) user: String,
    pub(crate) application: String,
    /// What only sessions of the same user may see.
    pub(crate) own: Option<Own>,
}

/// What sessions of one user see of each other.
pub(crate) struct Own {
    pub(crate) address: SocketAddr,
    pub(crate) began_at: Timestamp,
    pub(crate) doing: Doing,
}

impl Activity {
    pub(crate) fn new(
        (user, backend): (String, i32),
        address: SocketAddr,
        clock: Arc<dyn Clock>,
        variables: Arc<Mutex<Variables>>,
        signal: Box<dyn Fn(Signal) + Send + Sync>,
    ) -> Self {
        let began_at = clock.now();
        let waiting = Some(Waiting::Idle);
        let doing =
            Mutex::new(Doing { waiting, query: String::new(), query_at: None, changed_at: began_at, block_at: None });
        Self { user, backend, address, began_at, clock, variables, signal, doing }
    }

    /// It answers this text from now on.
    pub(crate) fn asks(&self, text: &str) {
        let now = self.clock.now();
        let mut doing = self.doing();
        doing.waiting = None;
        doing.query.clear();
        doing.query.push_str(beginning(text));
        doing.query_at = Some(now);
        doing.changed_at = now;
    }

    /// From now on it waits for its client.
    pub(crate) fn waits(&self, waiting: Waiting) {
        let now = self.clock.now();
        let mut doing = self.doing();
        if doing.waiting != Some(waiting) {
            doing.waiting = Some(waiting);
            doing.changed_at = now;
        }
        doing.block_at = match waiting {
            Waiting::Idle => None,
            // The block began with the statement that was just answered.
            Waiting::InBlock | Waiting::InFailedBlock => doing.block_at.or(doing.query_at),
        };
    }

    /// The session as this user sees it; nothing of `own` for nobody.
    fn seen_by(&self, user: Option<&str>) -> Seen {
        let variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        let application = variables.get("application_name").unwrap_or_default().to_owned();
        drop(variables);
        let own = (user == Some(self.user.as_str())).then(|| Own {
            address: self.address,
            began_at: self.began_at,
            doing: self.doing().clone(),
        });
        Seen { backend: self.backend, user: self.user.clone(), application, own }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        // A panic leaves what is only shown.
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As much of a text as is shown.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(QUERY_BYTES_MAX)]
}

/// The listed sessions, by number. Those that ended are swept when the next one comes.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<BTreeMap<i32, Weak<Activity>>>);

impl Sessions {
    pub(crate) fn add(&self, activity: &Arc<Activity>) {
        let mut sessions = self.sessions();
        sessions.retain(|_, session| session.strong_count() > 0);
        sessions.insert(activity.backend, Arc::downgrade(activity));
    }

    /// All of them as a session of this user sees them, by their numbers.
    pub(crate) fn seen_by(&self, user: Option<&str>) -> Vec<Seen> {
        let all: Vec<Arc<Activity>> = self.sessions().values().filter_map(Weak::upgrade).collect();
        all.iter().map(|session| session.seen_by(user)).collect()
    }

    /// Tells a session what to do, for a user. Whether there is one of this number.
    ///
    /// # Errors
    /// `42501` if it is another user's.
    pub(crate) fn tell(&self, backend: i32, signal: Signal, user: &str) -> Result<bool, SqlError> {
        let Some(session) = self.sessions().get(&backend).and_then(Weak::upgrade) else { return Ok(false) };
        if session.user != user {
            let what = match signal {
                Signal::Cancel => "cancel a query",
                Signal::Terminate => "terminate a session",
            };
            let message = format!("permission denied to {what}: session {backend} is that of another user");
            return Err(SqlError::new(Kind::Denied, "42501", message).with_hint("connect as that user"));
        }
        (session.signal)(signal);
        Ok(true)
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<i32, Weak<Activity>>> {
        // Every change is one insertion: a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_letters() {
        let text = format!("{}é", "a".repeat(QUERY_BYTES_MAX - 1));
        assert_eq!(beginning(&text).len(), QUERY_BYTES_MAX - 1);
        assert_eq!(beginning("SELECT 1"), "SELECT 1");
    }
}
