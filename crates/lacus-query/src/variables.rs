//! What a session may `SET` and `SHOW`.
//!
//! `dialect`, `statement_timeout` and `search_path` change answers; `default_transaction_read_only` keeps a session from writing.
//! What ends with `_max` shows what a statement may take. The others are what Postgres clients set when they connect: they are
//! kept and shown, and change nothing. A name that is not in [`KNOWN`] is refused, with the nearest one as hint.

use std::collections::BTreeMap;
use std::time::Duration;

use lacus_core::units::Millis;

use crate::allowance::Allowance;
use crate::dialect::Dialect;
use crate::error::{SqlError, nearest};
use crate::postgres::PG_CATALOG;

/// Every variable with its value in a new session.
const KNOWN: [(&str, &str); 46] = [
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
    ("memory_max", "0"),
    ("query_group", ""),
    ("row_security", "on"),
    ("rows_max", "0"),
    ("scan_max", "0"),
    ("search_path", "main"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "150000"),
    ("ssl", "off"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronous_commit", "on"),
    ("time_max", "0"),
    ("timezone", "UTC"),
    ("transaction_deferrable", "off"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
];

/// The server's version. Drivers parse the leading number and expect what Postgres 15 has; Redshift's driver parses it as a
/// Python version (PEP 440).
pub(crate) const SERVER_VERSION: &str = concat!("15.0+lacus.", env!("CARGO_PKG_VERSION"));

/// Variables that nobody sets.
const FIXED: [&str; 14] = [
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "lc_collate",
    "lc_ctype",
    "max_identifier_length",
    "max_index_keys",
    "memory_max",
    "rows_max",
    "scan_max",
    "server_encoding",
    "server_version",
    "server_version_num",
    "time_max",
];

/// Either of these makes a session read-only.
const READ_ONLY: [&str; 2] = ["default_transaction_read_only", "transaction_read_only"];

/// The longest value kept, in bytes.
const VALUE_BYTES_MAX: usize = 1024;

/// The variables of one session.
#[derive(Debug, Clone)]
pub(crate) struct Variables {
    values: BTreeMap<&'static str, String>,
    /// The longest `statement_timeout` that the user may set, and how it is shown.
    timeout_max: Option<(Duration, String)>,
}

impl Variables {
    pub(crate) fn new(dialect: Dialect) -> Self {
        let mut values: BTreeMap<_, _> = KNOWN.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        values.insert("dialect", dialect.to_string());
        Self { values, timeout_max: None }
    }

    /// Shows whether the server is read-only.
    pub(crate) fn read_only_by(&mut self, server: bool) {
        if server {
            READ_ONLY.iter().for_each(|name| drop(self.values.insert(name, "on".to_owned())));
        }
    }

    /// Shows the limits of a statement. No `statement_timeout` can be longer than the user's limit.
    pub(crate) fn limited_by(&mut self, allowance: &Allowance, time_max: Option<Millis>) {
        self.values.extend(allowance.shown());
        self.timeout_max = time_max.map(|most| (most.duration(), as_timeout(most)));
    }

    pub(crate) fn get(&self, name: &str) -> Result<&str, SqlError> {
        let key = known(name)?;
        Ok(self.shown(key, self.values.get(key).expect("every known variable has a value")))
    }

    /// All names and values, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, self.shown(name, value)))
    }

    /// The value that counts.
    fn shown<'a>(&'a self, key: &str, value: &'a str) -> &'a str {
        match &self.timeout_max {
            Some((most, shown)) if key == "statement_timeout" => {
                let own = timeout(value).filter(|own| !own.is_zero());
                if own.is_some_and(|own| own <= *most) { value } else { shown.as_str() }
            }
            _ => value,
        }
    }

    /// Sets a variable; without a value, to its initial one.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), SqlError> {
        let key = known(name)?;
        let value = match value {
            Some(value) => checked(key, value)?,
            None => default(key).to_owned(),
        };
        self.values.insert(key, value);
        Ok(())
    }

    /// Restores an earlier value of a variable.
    pub(crate) fn restore(&mut self, name: &str, value: String) {
        if let Ok(key) = known(name) {
            self.values.insert(key, value);
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.values.get("dialect").and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// The databases of `SET search_path`.
    pub(crate) fn search_path(&self) -> Vec<String> {
        let path = self.values.get("search_path").map(String::as_str).unwrap_or_default();
        let names = path.split(',').map(|name| name.trim().trim_matches('"').to_owned());
        names.filter(|name| !name.is_empty() && name != "$user" && name != PG_CATALOG).collect()
    }

    /// Whether statements that write are refused.
    pub(crate) fn is_read_only(&self) -> bool {
        READ_ONLY.iter().any(|name| self.values.get(name).is_some_and(|value| value == "on"))
    }

    /// The time limit of a statement, if the session sets one.
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
        let error = SqlError::invalid("55P02", format!("session variable \"{key}\" cannot be changed"));
        return Err(if key.ends_with("_max") {
            error.with_hint("an administrator sets it: lacus user limit, or [query] in lacus.toml")
        } else {
            error
        });
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

/// The letters and digits of a name, in lowercase, as Postgres compares names of encodings.
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

/// A limit as `SHOW statement_timeout` has it.
fn as_timeout(limit: Millis) -> String {
    let units = [(3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let (factor, unit) = units.into_iter().find(|(factor, _)| limit.0.is_multiple_of(*factor)).unwrap_or((1, "ms"));
    format!("{}{unit}", limit.0 / factor)
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
    use lacus_core::{StatementLimits, settings};

    use super::*;
    use crate::allowance::OfAll;

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

    #[test]
    fn no_timeout_is_shown_that_is_more_than_the_limit() {
        let all = OfAll::new(&settings::Query::default());
        let limits = StatementLimits { time_max: Some(Millis::seconds(60)), rows_max: Some(7), ..Default::default() };
        let mut variables = Variables::new(Dialect::Lacus);
        variables.limited_by(&Allowance::new(&all, "ada", &limits, None), limits.time_max);
        assert_eq!(["rows_max", "scan_max", "time_max"].map(|name| variables.get(name).unwrap()), ["7", "0", "1m"]);
        for (set, shown) in [("0", "1min"), ("2h", "1min"), ("59s", "59s"), ("60000", "60000"), ("100ms", "100ms")] {
            variables.set("statement_timeout", Some(set)).unwrap();
            assert_eq!(variables.get("statement_timeout").unwrap(), shown, "{set}");
            assert!(variables.iter().any(|(name, value)| (name, value) == ("statement_timeout", shown)), "{set}");
        }
        let fixed = variables.set("rows_max", Some("8")).unwrap_err();
        assert_eq!(fixed.sqlstate(), "55P02");
        assert!(fixed.hint().unwrap().contains("lacus user limit"), "{fixed:?}");
        for (millis, shown) in [(250, "250ms"), (90_000, "90s"), (300_000, "5min"), (7_200_000, "2h")] {
            assert_eq!(as_timeout(Millis(millis)), shown);
        }
    }
}
