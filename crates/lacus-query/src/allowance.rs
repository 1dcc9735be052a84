//! What a statement may take: bytes that it reads, rows that it has, time, memory; and who says so.
//!
//! The settings say it for all, and a user's own limits stand in their place, whether they are more or less. A session can only
//! make its time less. A refusal names the limit, whose it is, and what to do.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::error::DataFusionError;
use lacus_core::settings;
use lacus_core::units::{ByteSize, Millis, human_bytes};
use lacus_core::{Kind, StatementLimits};

use crate::error::SqlError;
use crate::memory::is_of_statement;

/// The limits of one statement, for all users.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfAll {
    scan: Option<ByteSize>,
    rows: Option<u64>,
    time: Millis,
    memory: Option<ByteSize>,
}

impl OfAll {
    pub(crate) fn new(settings: &settings::Query) -> Self {
        Self {
            scan: settings.bytes_scanned_max.filter(|most| most.0 > 0),
            rows: settings.rows_max.filter(|most| *most > 0),
            time: settings.timeout,
            memory: settings.statement_memory_max.filter(|most| most.0 > 0),
        }
    }
}

/// What a statement may take.
#[derive(Debug, Clone)]
pub(crate) struct Allowance {
    scan: Option<Most<ByteSize>>,
    rows: Option<Most<u64>>,
    time: Most<Millis>,
    memory: Option<Most<ByteSize>>,
}

/// A limit, and who set it.
#[derive(Debug, Clone)]
struct Most<T> {
    value: T,
    by: By,
}

/// Who says how much it may be.
#[derive(Debug, Clone)]
enum By {
    /// `lacus.toml`, in this setting.
    Setting(&'static str),
    /// A limit of a user.
    User { limit: &'static str, user: Arc<str> },
    /// The session itself.
    Session,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(setting) => f.write_str(setting),
            Self::User { limit, user } => write!(f, "{limit} of user \"{user}\""),
            Self::Session => f.write_str("statement_timeout"),
        }
    }
}

impl By {
    /// How there may be more.
    fn raised(&self) -> String {
        match self {
            Self::Setting(setting) => format!("raise {setting} in lacus.toml"),
            Self::User { limit, user } => {
                format!("have an administrator raise it: lacus user limit {user} --{}", limit.replace('_', "-"))
            }
            Self::Session => "SET statement_timeout to more".to_owned(),
        }
    }
}

impl<T: fmt::Display> Most<T> {
    /// The refusal of a statement that `what`: took longer, needs more memory.
    fn refusal(&self, sqlstate: &'static str, what: &str, instead: &str) -> SqlError {
        let Self { value, by } = self;
        let error = SqlError::new(Kind::Limited, sqlstate, format!("the statement {what} than {by} allows: {value}"));
        error.with_hint(format!("{instead}, or {}", by.raised()))
    }
}

impl Allowance {
    /// The limits of this user's statements, in a session with this `statement_timeout`.
    pub(crate) fn new(all: &OfAll, user: &str, own: &StatementLimits, statement_timeout: Option<Duration>) -> Self {
        let user: Arc<str> = user.into();
        let by_user = |limit| By::User { limit, user: Arc::clone(&user) };
        let time = most(Some(all.time), "query.timeout", own.time_max, by_user("time_max"));
        let time = time.expect("the settings say how long");
        let set = statement_timeout.map(|set| Millis(u64::try_from(set.as_millis()).unwrap_or(u64::MAX)));
        let time = match set.filter(|set| *set < time.value) {
            Some(value) => Most { value, by: By::Session },
            None => time,
        };
        Self {
            scan: most(all.scan, "query.bytes_scanned_max", own.scan_max, by_user("scan_max")),
            rows: most(all.rows, "query.rows_max", own.rows_max, by_user("rows_max")),
            time,
            memory: most(all.memory, "query.statement_memory_max", own.memory_max, by_user("memory_max")),
        }
    }

    /// What `SHOW` shows of the limits, by variable; 0 is no limit.
    pub(crate) fn shown(&self) -> [(&'static str, String); 4] {
        [
            ("memory_max", shown(self.memory.as_ref())),
            ("rows_max", shown(self.rows.as_ref())),
            ("scan_max", shown(self.scan.as_ref())),
            ("time_max", self.time.value.to_string()),
        ]
    }

    /// When a statement that began `started` must have ended.
    pub(crate) fn deadline(&self, started: Instant) -> Deadline {
        Deadline { at: (started + self.time.value.duration()).into(), most: self.time.clone() }
    }

    /// Bytes of memory, if they are limited.
    pub(crate) fn memory(&self) -> Option<usize> {
        self.memory.as_ref().map(|most| most.value.as_usize())
    }

    /// Whether there is a limit to what it reads.
    pub(crate) fn limits_scan(&self) -> bool {
        self.scan.is_some()
    }

    /// Refuses a statement that has read this many bytes, if that is too much.
    ///
    /// # Errors
    /// `53400` if so.
    pub(crate) fn must_have_read(&self, bytes: u64) -> Result<(), SqlError> {
        let Some(most) = self.scan.as_ref().filter(|most| bytes > most.value.0) else { return Ok(()) };
        let instead = "read fewer columns or partitions (EXPLAIN COST SELECT … says how much it is)";
        Err(most.refusal("53400", &format!("read {}, more", human_bytes(bytes)), instead))
    }

    /// How many more rows there may be after this many.
    pub(crate) fn rows_left(&self, rows: u64) -> u64 {
        self.rows.as_ref().map_or(u64::MAX, |most| most.value.saturating_sub(rows))
    }

    /// Refuses a statement with this many rows, if that is too many.
    ///
    /// # Errors
    /// `53400` if so.
    pub(crate) fn must_have_rows(&self, rows: u64) -> Result<(), SqlError> {
        let Some(most) = self.rows.as_ref().filter(|most| rows > most.value) else { return Ok(()) };
        Err(most.refusal("53400", &format!("has {rows} rows by now, more"), "ask for fewer: filter, group, or LIMIT"))
    }

    /// If the error of the engine says that the statement is out of memory: the refusal to show instead.
    pub(crate) fn memory_refused(&self, error: &DataFusionError) -> Option<SqlError> {
        let most = self.memory.as_ref().filter(|_| is_of_statement(error))?;
        Some(most.refusal("53200", "needs more memory", "read fewer columns or rows, group by less"))
    }
}

/// The user's limit, or else the setting.
fn most<T>(all: Option<T>, setting: &'static str, own: Option<T>, by_user: By) -> Option<Most<T>> {
    let of_user = own.map(|value| Most { value, by: by_user });
    of_user.or_else(|| all.map(|value| Most { value, by: By::Setting(setting) }))
}

fn shown<T: fmt::Display>(most: Option<&Most<T>>) -> String {
    most.map_or_else(|| "0".to_owned(), |most| most.value.to_string())
}

/// When a statement must have ended.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    pub(crate) at: tokio::time::Instant,
    most: Most<Millis>,
}

impl Deadline {
    /// The error of a statement that ran into the deadline.
    pub(crate) fn passed(&self) -> SqlError {
        self.most.refusal("57014", "took longer", "read less")
    }
}
