//! What the demo shows while it runs: a few lines that update in place, or one plain line at a time when nobody watches.

use std::time::Duration;

use lacus_core::Result;
use lacus_core::units::{human_bytes, human_count};

use crate::terminal::Terminal;

/// Seconds of history in the small chart.
const TREND_SECONDS: usize = 16;
/// Cells of the progress bar.
const PROGRESS_CELLS: u64 = 30;

/// Everything shown, at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Frame {
    /// How long the demo runs, and until when it runs at full rate.
    pub(crate) elapsed: Duration,
    /// Until when it runs at full rate.
    pub(crate) until: Duration,
    /// Events of this run whose sender has its 200.
    pub(crate) acknowledged: u64,
    /// Acknowledged in each of the last seconds, the latest last.
    pub(crate) per_second: Vec<u64>,
    /// What `SELECT count(*)` said last.
    pub(crate) queryable: u64,
    /// Acknowledged → in the answer: median and 99th percentile, once something is measured.
    pub(crate) freshness: Option<(Duration, Duration)>,
    /// Rows in committed files.
    pub(crate) committed: u64,
    /// Committed data files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) file_bytes: u64,
    /// Bytes of the raw zone.
    pub(crate) raw_bytes: u64,
    /// What went wrong last, if anything did.
    pub(crate) trouble: Option<String>,
}

/// Draws frames one over the other.
pub(crate) struct View {
    terminal: Terminal,
    lines_drawn: usize,
}

impl View {
    /// A view on `terminal`.
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self { terminal, lines_drawn: 0 }
    }

    /// Shows `frame` in place of the one before.
    ///
    /// # Errors
    /// If stdout is closed.
    pub(crate) fn draw(&mut self, frame: &Frame) -> Result<()> {
        let Some(width) = self.terminal.width() else {
            return self.terminal.say(&frame.line());
        };
        let lines = frame.lines();
        let mut text = String::new();
        if self.lines_drawn > 0 {
            text.push_str(&format!("\x1b[{}F", self.lines_drawn));
        }
        for line in &lines {
            // A line that wraps would be two lines, and the next frame would be drawn a line too low.
            text.extend(line.chars().take(width - 1));
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        self.lines_drawn = lines.len();
        self.terminal.write(&text)
    }

    /// Leaves what is drawn where it is: what follows is printed below.
    pub(crate) fn keep(&mut self) {
        self.lines_drawn = 0;
    }
}

impl Frame {
    fn rate(&self) -> u64 {
        self.per_second.last().copied().unwrap_or_default()
    }

    fn lines(&self) -> Vec<String> {
        let count = |count| format!("{:>11}", human_count(count));
        let mut lines = vec![
            format!(
                "  acknowledged {} events   {:>6}/s  {}",
                count(self.acknowledged),
                human_count(self.rate()),
                trend(&self.per_second)
            ),
            format!("  queryable    {} rows", count(self.queryable)),
            format!("  freshness    {}", self.freshness_line()),
            format!("  in files     {} rows     {}", count(self.committed), self.files_line()),
        ];
        lines.extend(self.progress_line());
        if let Some(trouble) = &self.trouble {
            lines.push(format!("  trouble      {trouble}"));
        }
        lines
    }

    fn freshness_line(&self) -> String {
        match self.freshness {
            None => "    measuring".to_owned(),
            Some((median, most)) => {
                format!("{:>11} ms median, {} ms p99: acknowledged to in the answer", millis(median), millis(most))
            }
        }
    }

    fn files_line(&self) -> String {
        if self.files == 0 {
            return "the rest answers from memory".to_owned();
        }
        let files = if self.files == 1 { "file" } else { "files" };
        format!(
            "{} {files}, {} Parquet, {} raw",
            human_count(self.files),
            human_bytes(self.file_bytes),
            human_bytes(self.raw_bytes)
        )
    }

    /// How long until the questions; none after them.
    fn progress_line(&self) -> Option<String> {
        let (elapsed, until) = (self.elapsed.as_secs(), self.until.as_secs().max(1));
        if elapsed >= until {
            return None;
        }
        let done = (PROGRESS_CELLS * elapsed / until) as usize;
        let rest = PROGRESS_CELLS as usize - done;
        Some(format!("  {}{}  the questions come in {} s", "━".repeat(done), "─".repeat(rest), until - elapsed))
    }

    /// All of it on one line, for a log.
    fn line(&self) -> String {
        let freshness = self.freshness.map_or_else(String::new, |(median, most)| {
            format!(" · freshness {} ms median, {} ms p99", millis(median), millis(most))
        });
        let trouble = self.trouble.as_ref().map_or_else(String::new, |trouble| format!(" · {trouble}"));
        format!(
            "{:>3} s · {} events acknowledged ({}/s) · {} rows queryable{freshness} · {} in {} files, {}{trouble}",
            self.elapsed.as_secs(),
            human_count(self.acknowledged),
            human_count(self.rate()),
            human_count(self.queryable),
            human_count(self.committed),
            human_count(self.files),
            human_bytes(self.file_bytes),
        )
    }
}

/// Milliseconds, with a decimal while they are few.
fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    if millis < 10.0 { format!("{millis:.1}") } else { format!("{millis:.0}") }
}

/// A chart of the last seconds, one cell each: `▂▅▇▇`.
fn trend(per_second: &[u64]) -> String {
    const CELLS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &per_second[per_second.len().saturating_sub(TREND_SECONDS)..];
    let most = shown.iter().copied().max().unwrap_or(0).max(1);
    shown.iter().map(|count| CELLS[(count * 7 / most) as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            elapsed: Duration::from_secs(7),
            until: Duration::from_secs(12),
            acknowledged: 21_240,
            per_second: vec![1_200, 3_000, 3_012],
            queryable: 21_198,
            freshness: Some((Duration::from_millis(14), Duration::from_millis(41))),
            committed: 12_000,
            files: 4,
            file_bytes: 1_300_000,
            raw_bytes: 2_600_000,
            trouble: None,
        }
    }

    #[test]
    fn a_frame_fits_into_80_columns() {
        insta::assert_snapshot!(frame().lines().join("\n"), @"
          acknowledged      21,240 events    3,012/s  ▃▇█
          queryable         21,198 rows
          freshness             14 ms median, 41 ms p99: acknowledged to in the answer
          in files          12,000 rows     4 files, 1.2 MB Parquet, 2.5 MB raw
          ━━━━━━━━━━━━━━━━━─────────────  the questions come in 5 s
        ");
        let huge = Frame { acknowledged: 9_999_999_999, queryable: 9_999_999_999, ..frame() };
        assert!(huge.lines().iter().all(|line| line.chars().count() < 80), "{:#?}", huge.lines());
    }

    #[test]
    fn a_log_gets_one_line() {
        let expected = "  7 s · 21,240 events acknowledged (3,012/s) · 21,198 rows queryable · \
                        freshness 14 ms median, 41 ms p99 · 12,000 in 4 files, 1.2 MB";
        assert_eq!(frame().line(), expected);
    }
}
