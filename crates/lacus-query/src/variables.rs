//! What a session may `SET` and `SHOW`.
//!
//! `dialect` and `statement_timeout` change answers; `default_transaction_read_only` keeps a session from writing. The others are what Postgres clients set when they connect: they
//! are kept and shown, and change nothing. A name that is not in [`KNOWN`] is refused, with the nearest one as hint.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dialect::Dialect;
use crate::error::{SqlError, nearest};
use crate::postgres::PG_CATALOG;

/// Every variable with its value in a new session.
const KNOWN: [(&str, &str); 42] = [
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_deferrable", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("dialect", "lacus"),
    ("enable_result_cache_for_session", "on"),
    ("escape_string_warning", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C.UTF-8"),
    ("lc_messages", "C"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("query_group", ""),
    ("row_security", "on"),
    ("search_path", "main"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "150000"),
    ("ssl", "off"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronous_commit", "on"),
    ("timezone", "UTC"),
    ("transaction_deferrable", "off"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
];

/// What the server calls itself: drivers read the number in front and expect what Postgres 15 has; Redshift's reads a
/// version as Python writes it (PEP 440).
pub const SERVER_VERSION: &str = concat!("15.0+lacus.", env!("CARGO_PKG_VERSION"));

/// Variables that nobody sets.
const FIXED: [&str; 10] = [
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "lc_collate",
    "lc_ctype",
    "max_identifier_length",
    "max_index_keys",
    "server_encoding",
    "server_version",
    "server_version_num",
];

/// Either keeps a session from writing.
const READ_ONLY: [&str; 2] = ["default_transaction_read_only", "transaction_read_only"];

/// The longest value kept, in bytes.
const VALUE_BYTES_MAX: usize = 1024;

/// The variables of one session.
#[derive(Debug, Clone)]
pub(crate) struct Variables {
    values: BTreeMap<&'static str, String>,
}

impl Variables {
    pub(crate) fn new(dialect: Dialect) -> Self {
        let mut values: BTreeMap<_, _> = KNOWN.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        values.insert("dialect", dialect.to_string());
        Self { values }
    }

    /// Shows that the server only reads, if it does.
    pub(crate) fn read_only_by(&mut self, server: bool) {
        if server {
            READ_ONLY.iter().for_each(|name| drop(self.values.insert(name, "on".to_owned())));
        }
    }

    pub(crate) fn get(&self, name: &str) -> Result<&str, SqlError> {
        let key = known(name)?;
        Ok(self.values.get(key).expect("every known variable has a value"))
    }

    /// All names and values, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// Sets a variable; to its first value if there is none.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), SqlError> {
        let key = known(name)?;
        let value = match value {
            Some(value) => checked(key, value)?,
            None => default(key).to_owned(),
        };
        self.values.insert(key, value);
        Ok(())
    }

    /// Gives a variable back a value that it had.
    pub(crate) fn restore(&mut self, name: &str, value: String) {
        if let Ok(key) = known(name) {
            self.values.insert(key, value);
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.values.get("dialect").and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// The databases that a table without one is looked for in, as `SET search_path` named them.
    pub(crate) fn search_path(&self) -> Vec<String> {
        let path = self.values.get("search_path").map(String::as_str).unwrap_or_default();
        let names = path.split(',').map(|name| name.trim().trim_matches('"').to_owned());
        names.filter(|name| !name.is_empty() && name != "$user" && name != PG_CATALOG).collect()
    }

    /// Whether statements that write are refused.
    pub(crate) fn is_read_only(&self) -> bool {
        READ_ONLY.iter().any(|name| self.values.get(name).is_some_and(|value| value == "on"))
    }

    /// The time a statement may take, if the session limits it.
    pub(crate) fn statement_timeout(&self) -> Option<Duration> {
        let value = self.values.get("statement_timeout")?;
        timeout(value).filter(|timeout| !timeout.is_zero())
    }
}

/// Every variable with its value in a new session of dialect `lacus`.
pub(crate) fn defaults() -> impl Iterator<Item = (&'static str, &'static str)> {
    KNOWN.into_iter()
}

fn known(name: &str) -> Result<&'static str, SqlError> {
    let found = KNOWN.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(known, _)| *known).ok_or_else(|| {
        let error = SqlError::invalid("42704", format!("there is no session variable \"{name}\""));
        match nearest(name, KNOWN.iter().map(|(known, _)| *known)) {
            Some(nearest) => error.with_hint(format!("did you mean \"{nearest}\"?")),
            None => error.with_hint("SHOW ALL lists them"),
        }
    })
}

fn default(key: &str) -> &'static str {
    KNOWN.iter().find(|(known, _)| *known == key).map_or("", |(_, value)| *value)
}

fn checked(key: &str, value: &str) -> Result<String, SqlError> {
    if FIXED.contains(&key) {
        return Err(SqlError::invalid("55P02", format!("session variable \"{key}\" cannot be changed")));
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(SqlError::invalid("22023", format!("the value of \"{key}\" is too long")));
    }
    match key {
        "dialect" => Ok(value.parse::<Dialect>().map_err(SqlError::from)?.to_string()),
        "statement_timeout" if timeout(value).is_none() => Err(SqlError::invalid(
            "22023",
            format!("\"{value}\" is no statement_timeout: use milliseconds, or a duration such as '30s'"),
        )),
        "client_encoding" if !["utf8", "unicode"].contains(&plain(value).as_str()) => {
            Err(SqlError::invalid("0A000", format!("client_encoding \"{value}\" is not supported"))
                .with_hint("lacus speaks UTF8"))
        }
        "client_encoding" => Ok("UTF8".to_owned()),
        "datestyle" => Ok("ISO, MDY".to_owned()),
        "default_transaction_read_only" | "transaction_read_only" => switch(key, value),
        _ => Ok(value.to_owned()),
    }
}

/// The letters and digits of a name, as Postgres compares those of encodings.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

fn switch(key: &str, value: &str) -> Result<String, SqlError> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok("on".to_owned()),
        "off" | "false" | "no" | "0" => Ok("off".to_owned()),
        _ => Err(SqlError::invalid("22023", format!("\"{key}\" is on or off, not \"{value}\""))),
    }
}

/// `500` (milliseconds), `30s`, `5min`.
fn timeout(value: &str) -> Option<Duration> {
    let digits = value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic() || letter == ' ');
    let factor = match value[digits.len()..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_in_any_case_and_checked() {
        let mut variables = Variables::new(Dialect::Athena);
        assert_eq!(variables.get("DIALECT").unwrap(), "athena");
        variables.set("Statement_Timeout", Some("2s")).unwrap();
        assert_eq!(variables.statement_timeout(), Some(Duration::from_secs(2)));
        variables.set("statement_timeout", None).unwrap();
        assert_eq!(variables.statement_timeout(), None);

        let unknown = variables.set("dialct", Some("lacus")).unwrap_err();
        assert_eq!((unknown.sqlstate(), unknown.hint()), ("42704", Some("did you mean \"dialect\"?")));
        let wrong = variables.set("dialect", Some("oracle")).unwrap_err();
        assert_eq!(wrong.hint(), Some("dialects are lacus, athena and redshift"));
        assert_eq!(variables.set("client_encoding", Some("latin1")).unwrap_err().sqlstate(), "0A000");
        assert_eq!(variables.set("server_version", Some("9")).unwrap_err().sqlstate(), "55P02");
        assert_eq!(variables.dialect(), Dialect::Athena);
    }
}
