//! The figures as Markdown for people, and as a line of JSON for the next run to be compared with.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::machine::Machine;

/// A report under way.
pub(super) struct Report {
    text: String,
    figures: Map<String, Value>,
}

impl Report {
    pub(super) fn new(title: &str, machine: &Machine, scale: f64, commit: &str) -> Self {
        let mut report = Self { text: String::new(), figures: Map::new() };
        let Machine { cores, processor, kernel, memory_gb, fdatasync_ms, fdatasync_p99_ms } = machine;
        report.line(&format!("# {title}"));
        report.line("");
        report.line(
            "Measured by `make bench`, which rewrites this file. The load generator, the server and its peers share the",
        );
        report
            .line("machine, one after the other or, for generator and server, at once: compare figures within a run.");
        report.line("");
        report.line(&format!(
            "{cores} × {processor}, {memory_gb:.0} GB, Linux {kernel}, append + fdatasync of 350 bytes {fdatasync_ms:.2} ms (median), {fdatasync_p99_ms:.2} ms (p99); commit {commit}."
        ));
        if scale < 1.0 {
            report.line("");
            report.line(&format!("**A trial run with {scale} of the load: not a baseline.**"));
        }
        report.figures.insert("commit".to_owned(), json!(commit));
        report.figure("scale", scale);
        report.figure("fdatasync_ms", *fdatasync_ms);
        report.figure("fdatasync_p99_ms", *fdatasync_p99_ms);
        report
    }

    /// A heading, and what is below it.
    pub(super) fn section(&mut self, title: &str, note: &str) {
        self.line("");
        self.line(&format!("## {title}"));
        self.line("");
        self.line(note);
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.line("");
        self.line(text);
    }

    /// A table: the first row is its head.
    pub(super) fn table(&mut self, rows: &[Vec<String>]) {
        self.line("");
        for (number, row) in rows.iter().enumerate() {
            self.line(&format!("| {} |", row.join(" | ")));
            if number == 0 {
                let rule: Vec<&str> =
                    row.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "---:" }).collect();
                self.line(&format!("| {} |", rule.join(" | ")));
            }
        }
    }

    /// A figure for the line of JSON.
    pub(super) fn figure(&mut self, name: &str, value: f64) {
        let rounded = (value * 1000.0).round() / 1000.0;
        self.figures.insert(name.to_owned(), json!(rounded));
    }

    pub(super) fn markdown(&self) -> &str {
        &self.text
    }

    pub(super) fn json_line(&self) -> String {
        Value::Object(self.figures.clone()).to_string() + "\n"
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("writing to a string does not fail");
    }
}

/// A row of text.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A count with thousands apart: `1 234 567`.
pub(super) fn grouped(count: f64) -> String {
    let digits = format!("{count:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
