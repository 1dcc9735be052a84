//! An answer to a query, drawn for a person.
//!
//! Numbers to the right, text to the left, NULL shown, structs and lists as JSON text. An answer that is too wide for the
//! terminal is drawn one row after the other. What came from an event is never sent to a terminal as control codes.

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use lacus_core::units::{human_bytes, human_count_of};
use serde_json::value::RawValue;

/// Cells of the longest bar.
const BAR_CELLS: usize = 24;
/// Spaces around a cell, and one to the next.
const PADDING: usize = 3;

/// The rows of an answer, and its cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    /// The names of the columns.
    pub(crate) columns: Vec<String>,
    /// The rows; each has a cell for each column.
    pub(crate) rows: Vec<Vec<Cell>>,
    /// Rows written, changed or deleted, by a statement that writes.
    pub(crate) affected: Option<u64>,
    /// Bytes read from files.
    pub(crate) scanned_bytes: u64,
    /// Files that did not have to be read at all.
    pub(crate) files_skipped: u64,
    /// From question to answer.
    pub(crate) elapsed: Duration,
}

/// A value of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    /// No value.
    Null,
    /// A number, with the digits it came with.
    Number(String),
    /// Text.
    Text(String),
    /// Anything else, as JSON.
    Json(String),
}

impl Cell {
    /// A value of JSON, with its digits and the order of its fields kept.
    pub(crate) fn of(json: &RawValue) -> Self {
        let text = json.get();
        match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b'-' | b'0'..=b'9') => Self::Number(text.to_owned()),
            Some(b'"') => Self::Text(serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())),
            _ => Self::Json(text.to_owned()),
        }
    }

    /// An integer.
    pub(crate) fn count(count: u64) -> Self {
        Self::Number(count.to_string())
    }

    /// A time as a server tells it, to the second.
    pub(crate) fn time(told: &str) -> Self {
        Self::Text(to_the_second(told))
    }

    /// Its value, if it is a non-negative integer.
    pub(crate) fn whole(&self) -> Option<u64> {
        if let Self::Number(digits) = self { digits.parse().ok() } else { None }
    }

    fn number(&self) -> Option<f64> {
        if let Self::Number(digits) = self { digits.parse().ok() } else { None }
    }

    fn is_number_or_null(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Null)
    }

    /// The value without control codes: those of an event could rewrite what a terminal shows.
    fn shown(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Number(text) | Self::Text(text) | Self::Json(text) => printable(text),
        }
    }
}

impl Answer {
    /// As a table at most `width` wide, or one row after the other if it can't be.
    pub(crate) fn draw(&self, width: Option<usize>) -> String {
        if let Some(plans) = self.plans() {
            return plans;
        }
        match width {
            Some(width) if !self.fits(Some(width)) => self.expanded(width),
            _ => lines(&self.table()),
        }
    }

    /// The plans of an `EXPLAIN`, in their own lines: in the cell of a table nobody could read them.
    fn plans(&self) -> Option<String> {
        if self.columns != ["plan_type", "plan"] {
            return None;
        }
        let mut text = String::new();
        for row in &self.rows {
            let [Cell::Text(kind), Cell::Text(plan)] = row.as_slice() else { return None };
            text.push_str(&format!("{}\n", printable(kind)));
            plan.lines().for_each(|line| text.push_str(&format!("  {}\n", printable(line))));
        }
        Some(text)
    }

    fn fits(&self, width: Option<usize>) -> bool {
        let cells = self.table().column_max_content_widths();
        let needed: usize = cells.iter().map(|cells| usize::from(*cells) + PADDING).sum();
        width.is_none_or(|width| needed <= width)
    }

    /// As a table, with a bar for each number of the last column if there is room.
    pub(crate) fn draw_with_bars(&self, width: Option<usize>) -> String {
        let last: Option<Vec<f64>> = self.rows.iter().map(|row| row.last().and_then(Cell::number)).collect();
        let Some(last) = last else {
            return self.draw(width);
        };
        let most = last.iter().copied().fold(0.0, f64::max);
        let mut with_bars = self.clone();
        with_bars.columns.push(String::new());
        for (row, number) in with_bars.rows.iter_mut().zip(last) {
            row.push(Cell::Text(bar(number, most)));
        }
        if with_bars.fits(width) { with_bars.draw(width) } else { self.draw(width) }
    }

    /// Rows, bytes and time, for the line below the answer.
    pub(crate) fn footer(&self) -> String {
        if let Some(affected) = self.affected {
            return format!("{} · {} ms", human_count_of(affected, "row"), self.elapsed.as_millis());
        }
        if self.columns.is_empty() {
            return format!("done · {} ms", self.elapsed.as_millis());
        }
        let skipped = match self.files_skipped {
            0 => String::new(),
            files => format!(", {} skipped", human_count_of(files, "file")),
        };
        format!(
            "{} · {} scanned{skipped} · {} ms",
            human_count_of(self.rows.len() as u64, "row"),
            human_bytes(self.scanned_bytes),
            self.elapsed.as_millis()
        )
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_style(TableComponent::HeaderLines, '─').set_style(TableComponent::MiddleHeaderIntersections, '─');
        table.set_header(&self.columns);
        for row in &self.rows {
            table.add_row(row.iter().map(Cell::shown));
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            let numbers = |row: &Vec<Cell>| row.get(index).is_none_or(Cell::is_number_or_null);
            if !self.rows.is_empty() && self.rows.iter().all(numbers) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// One column after the other, one row after the other.
    fn expanded(&self, width: usize) -> String {
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let title = format!("─ row {} ", number + 1);
            text.push_str(&format!("{title}{}\n", "─".repeat(width.saturating_sub(title.chars().count() + 1))));
            let mut table = Table::new();
            table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(width - 1).unwrap_or(u16::MAX));
            for (column, value) in self.columns.iter().zip(row) {
                table.add_row([column.clone(), value.shown()]);
            }
            text.push_str(&lines(&table));
        }
        text
    }
}

fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A time as a server tells it, in UTC and to the second.
pub(crate) fn to_the_second(told: &str) -> String {
    told.get(..19).unwrap_or(told).replace('T', " ")
}

/// Without control codes: what came from a sender is never sent to a terminal as them.
pub(crate) fn printable(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let escaped = text
        .chars()
        .map(|letter| if letter.is_control() { letter.escape_default().to_string() } else { letter.into() });
    escaped.collect()
}

fn bar(number: f64, most: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if most <= 0.0 || number <= 0.0 {
        return String::new();
    }
    let eighths = (number / most * (BAR_CELLS * 8) as f64).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        let row = |json: &str| {
            let values: Vec<&RawValue> = serde_json::from_str(json).unwrap();
            values.into_iter().map(Cell::of).collect()
        };
        Answer {
            columns: vec!["event_name".to_owned(), "data".to_owned(), "events".to_owned()],
            rows: vec![
                row(r#"["Search", {"price":417.970,"tags":["a"]}, 12345678901234567890]"#),
                row(r#"[null, "日本\u001b[31m", 7]"#),
            ],
            affected: None,
            scanned_bytes: 1_500_000,
            files_skipped: 0,
            elapsed: Duration::from_millis(14),
        }
    }

    #[test]
    fn numbers_are_right_aligned_null_is_shown_and_control_codes_are_escaped() {
        insta::assert_snapshot!(answer().draw(None), @r#"
         event_name   data                                           events
        ────────────────────────────────────────────────────────────────────
         Search       {"price":417.970,"tags":["a"]}   12345678901234567890
         NULL         日本\u{1b}[31m                                      7
        "#);
        assert_eq!(answer().footer(), "2 rows · 1.4 MB scanned · 14 ms");
        let made = Answer { elapsed: Duration::from_millis(3), ..Answer::default() };
        assert_eq!(made.footer(), "done · 3 ms", "CREATE SCHEMA has no rows to count");
        let skipping = Answer { files_skipped: 38, ..answer() };
        assert_eq!(skipping.footer(), "2 rows · 1.4 MB scanned, 38 files skipped · 14 ms");
    }

    #[test]
    fn what_is_too_wide_comes_one_row_after_the_other() {
        insta::assert_snapshot!(answer().draw(Some(40)), @r#"
        ─ row 1 ───────────────────────────────
         event_name  Search
         data        {"price":417.970,"tags":[
                     "a"]}
         events      12345678901234567890
        ─ row 2 ───────────────────────────────
         event_name  NULL
         data        日本\u{1b}[31m
         events      7
        "#);
    }

    #[test]
    fn a_plan_keeps_its_lines() {
        let row = |kind: &str, plan: &str| vec![Cell::Text(kind.to_owned()), Cell::Text(plan.to_owned())];
        let answer = Answer {
            columns: vec!["plan_type".to_owned(), "plan".to_owned()],
            rows: vec![row("logical_plan", "Filter: a\n  Scan: \u{1b}t\n"), row("physical_plan", "ScanExec")],
            ..Answer::default()
        };
        let drawn = "logical_plan\n  Filter: a\n    Scan: \\u{1b}t\nphysical_plan\n  ScanExec\n";
        assert_eq!(answer.draw(Some(40)), drawn);
        assert_eq!(answer.draw(None), drawn);
    }

    #[test]
    fn bars_show_the_numbers_of_the_last_column() {
        let mut answer = answer();
        answer.rows[0][2] = Cell::count(20);
        insta::assert_snapshot!(answer.draw_with_bars(None), @r#"
         event_name   data                             events
        ─────────────────────────────────────────────────────────────────────────────────
         Search       {"price":417.970,"tags":["a"]}       20   ████████████████████████
         NULL         日本\u{1b}[31m                        7   ████████▍
        "#);
        assert_eq!(answer.draw_with_bars(Some(70)), answer.draw(Some(70)));
    }
}
