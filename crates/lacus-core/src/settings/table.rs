//! The settings of one table.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layout::{LAYOUT_FIELDS_MAX, PartitionField, SortField};
use crate::settings::Contract;

/// One table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Table {
    /// What its files are partitioned by: `["day(_received_at)", "country"]`. A column, or `year(c)`, `month(c)`,
    /// `day(c)`, `hour(c)`, `bucket[N](c)`, `truncate[W](c)` of one. It holds for what is committed from then on; files
    /// that are there stay as they are. Without it a table keeps the partitioning it has; `[]` ends it.
    pub partition: Option<Vec<PartitionField>>,
    /// What rows are sorted by within a file: `["user_id", "_received_at desc"]`.
    pub sort: Option<Vec<SortField>>,
    /// What becomes of fields that the table has no column for, and of values that do not fit theirs: `evolve` makes
    /// columns, and what does not fit is in `_rescued`; with `freeze` new fields are there, too; with `strict` an event of
    /// which anything does not fit goes to `<table>__quarantine` as a whole.
    pub contract: Contract,
}

impl Table {
    pub(super) fn check(&self, name: &str) -> Result<()> {
        let counts = [self.partition.as_ref().map_or(0, Vec::len), self.sort.as_ref().map_or(0, Vec::len)];
        if counts.iter().any(|count| *count > LAYOUT_FIELDS_MAX) {
            return Err(Error::invalid(format!(
                "[tables.{name}]: a table is partitioned or sorted by {LAYOUT_FIELDS_MAX} fields at most"
            )));
        }
        for (index, field) in self.partition.iter().flatten().enumerate() {
            let is_same = |other: &&PartitionField| {
                let both_times = field.transform.is_of_time() && other.transform.is_of_time();
                other.column == field.column && (other.transform == field.transform || both_times)
            };
            if let Some(other) = self.partition.iter().flatten().take(index).find(is_same) {
                return Err(Error::invalid(format!("[tables.{name}] partition has both {other} and {field}"))
                    .with_hint("use the finer one alone: hours are in days, days in months, months in years"));
            }
        }
        for (index, field) in self.sort.iter().flatten().enumerate() {
            if self.sort.iter().flatten().take(index).any(|other| other.column == field.column) {
                return Err(Error::invalid(format!("[tables.{name}] sort has {} twice", field.column)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;

    #[track_caller]
    fn check(section: &str, expected: &str) {
        let error = Settings::load(&format!("[tables.clicks]\n{section}"), []).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_can_be_no_layout_is_refused() {
        check("partition = [\"a\", \"b\", \"a\"]", "has both a and a");
        check("partition = [\"day(t)\", \"hour(t)\"]", "has both day(t) and hour(t)");
        check("partition = [\"week(t)\"]", "is no partition field");
        check("sort = [\"a\", \"a desc\"]", "sort has a twice");
        check("sort = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\"]", "8 fields at most");
        let error = Settings::load("[tables.clicks__quarantine]\nsort = []", []).unwrap_err().to_string();
        assert!(error.contains("quarantine"), "{error}");
        Settings::load("[tables.\"web.tracks\"]\npartition = [\"day(t)\", \"bucket[4](a)\", \"a\"]", []).unwrap();
    }
}
