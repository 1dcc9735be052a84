//! What one statement may take at most: said of a user, or of all.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::units::{ByteSize, Millis};

/// The most that one statement may use. An absent limit is not set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatementLimits {
    /// Bytes read, of files (compressed) and hot tails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan_max: Option<ByteSize>,
    /// Rows answered or written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_max: Option<u64>,
    /// Running time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_max: Option<Millis>,
    /// Memory at any one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<ByteSize>,
}

impl StatementLimits {
    /// With less memory than this, hardly any sort or join can run.
    pub const MEMORY_LEAST: ByteSize = ByteSize::mb(16);

    /// Checks that each limit allows anything at all.
    ///
    /// # Errors
    /// `Invalid` for a limit that is 0, or less memory than [`MEMORY_LEAST`](Self::MEMORY_LEAST).
    pub fn check(&self) -> Result<()> {
        let zeros = [
            ("scan_max", self.scan_max == Some(ByteSize(0))),
            ("rows_max", self.rows_max == Some(0)),
            ("time_max", self.time_max == Some(Millis(0))),
        ];
        if let Some((name, _)) = zeros.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(Error::invalid(format!("{name} is 0: no statement could do anything"))
                .with_hint("leave it out, or take it away with none"));
        }
        match self.memory_max.filter(|most| *most < Self::MEMORY_LEAST) {
            Some(most) => Err(Error::invalid(format!("memory_max is {most}: it is {} at least", Self::MEMORY_LEAST))),
            None => Ok(()),
        }
    }
}

/// `scan 10GB, rows 1000, time 1m, memory 256MB`; empty without limits.
impl fmt::Display for StatementLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = [
            self.scan_max.map(|most| format!("scan {most}")),
            self.rows_max.map(|most| format!("rows {most}")),
            self.time_max.map(|most| format!("time {most}")),
            self.memory_max.map(|most| format!("memory {most}")),
        ];
        f.write_str(&limits.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_and_those_that_let_nothing_be_done_are_refused() {
        let none = StatementLimits::default();
        assert_eq!((none.to_string().as_str(), none.check().is_ok()), ("", true));
        let all = StatementLimits {
            scan_max: Some(ByteSize::mb(10)),
            rows_max: Some(1000),
            time_max: Some(Millis::seconds(90)),
            memory_max: Some(ByteSize::mb(16)),
        };
        assert_eq!(all.to_string(), "scan 10MB, rows 1000, time 90s, memory 16MB");
        all.check().unwrap();
        for (wrong, expected) in [
            (StatementLimits { scan_max: Some(ByteSize(0)), ..all }, "scan_max is 0: no statement could do anything"),
            (StatementLimits { rows_max: Some(0), ..all }, "rows_max is 0: no statement could do anything"),
            (StatementLimits { time_max: Some(Millis(0)), ..all }, "time_max is 0: no statement could do anything"),
            (StatementLimits { memory_max: Some(ByteSize(1)), ..all }, "memory_max is 1B: it is 16MB at least"),
        ] {
            assert_eq!(wrong.check().unwrap_err().to_string(), expected);
        }
    }
}
