//! `GET /metrics`: what happened, in the text format of Prometheus.
//!
//! Labels are bounded: sources and streams are told one by one up to [`LABELS_MAX`], the others together as [`OTHERS`].

use std::fmt::{Display, Write};
use std::fs;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use lacus_collect::{Collect, SourceStats};
use lacus_flow::{Deliveries, DeliveryStatus};
use lacus_lake::{GlueStatus, Lake};
use lacus_stream::{Log, MessageIds, Stats};

const CONTENT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Streams that have numbers of their own.
const LABELS_MAX: usize = 200;
/// No stream has this name: one that had would be told twice, and a page with that is refused as a whole.
const OTHERS: &str = "(others)";

/// Where the numbers come from.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) collect: Collect,
    pub(crate) log: Log,
    pub(crate) deliveries: Deliveries,
    pub(crate) ids: Arc<MessageIds>,
    pub(crate) lake: Arc<Lake>,
}

/// The route.
pub(crate) fn router(sources: Sources) -> Router {
    Router::new().route("/metrics", get(async move || ([(CONTENT_TYPE, CONTENT)], text(&sources))))
}

fn text(sources: &Sources) -> String {
    let mut page = Page::default();
    collected(&mut page, &sources.collect);
    logged(&mut page, &sources.log.stats());
    delivered(&mut page, &sources.deliveries.status());
    let anew = sources.ids.begun_anew();
    page.counter("lacus_ids_begun_anew_total", "Times the index of message ids was damaged and made again.", anew);
    let lake = sources.lake.stats();
    page.gauge("lacus_lake_tables", "Tables, quarantines included.", lake.tables);
    page.gauge("lacus_lake_files", "Live data files.", lake.files);
    page.gauge("lacus_lake_rows", "Rows in committed files.", lake.rows);
    page.gauge("lacus_lake_bytes", "Bytes of Parquet in committed files.", lake.bytes);
    page.counter("lacus_lake_merged_files_total", "Small files that were merged into larger ones.", lake.merged_files);
    page.counter("lacus_lake_merged_bytes_total", "Bytes of Parquet that merging wrote.", lake.merged_bytes);
    page.gauge("lacus_raw_files", "Files of the raw zone.", lake.raw_files);
    page.gauge("lacus_raw_bytes", "Bytes of compressed JSON in the raw zone.", lake.raw_bytes);
    if let Some(glue) = sources.lake.glue().and_then(|glue| glue.status()) {
        mirrored(&mut page, &glue);
    }
    process(&mut page);
    page.0
}

fn collected(page: &mut Page, collect: &Collect) {
    let stats = collect.stats();
    let sources: Vec<(&str, SourceStats)> = stats.sources.iter().map(|(name, stats)| (name.as_str(), *stats)).collect();
    let mut by_source = |name, help, of: &dyn Fn(&SourceStats) -> u64| {
        page.family(name, "counter", help);
        let (told, others) = sources.split_at(sources.len().min(LABELS_MAX));
        told.iter().for_each(|(source, stats)| page.sample(name, &[("source", source)], of(stats)));
        if !others.is_empty() {
            page.sample(name, &[("source", OTHERS)], others.iter().map(|(_, stats)| of(stats)).sum::<u64>());
        }
    };
    by_source("lacus_requests_total", "Requests of which something was accepted.", &|stats| stats.requests);
    by_source("lacus_events_accepted_total", "Events on disk.", &|stats| stats.accepted);
    by_source("lacus_events_accepted_bytes_total", "Bytes of events on disk.", &|stats| stats.bytes);
    by_source("lacus_events_quarantined_total", "Accepted events that go to the quarantine.", &|stats| {
        stats.quarantined
    });
    page.family("lacus_refused_total", "counter", "Events and requests that were refused, by reason.");
    for (reason, count) in &stats.refused {
        page.sample("lacus_refused_total", &[("reason", reason)], count);
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a sync")]
fn logged(page: &mut Page, stats: &Stats) {
    page.counter("lacus_log_records_total", "Records acknowledged.", stats.records);
    page.counter("lacus_log_bytes_total", "Bytes of log written.", stats.bytes);
    page.counter("lacus_log_groups_total", "Groups written, each with one sync.", stats.groups);
    page.counter("lacus_log_refused_groups_total", "Groups that the disk refused.", stats.refused_groups);
    page.gauge("lacus_log_in_flight_bytes", "Bytes waiting for the disk.", stats.in_flight_bytes);
    page.gauge("lacus_log_segments", "Log files.", stats.segments);
    page.gauge("lacus_log_disk_bytes", "Bytes of log files.", stats.disk_bytes);
    page.family("lacus_log_sync_seconds", "summary", "Time of a recent sync of the log.");
    for (quantile, micros) in [("0.5", stats.sync_micros_p50), ("0.99", stats.sync_micros_p99)] {
        page.sample("lacus_log_sync_seconds", &[("quantile", quantile)], micros as f64 / 1e6);
    }
    page.sample("lacus_log_sync_seconds_count", &[], stats.groups);
}

fn delivered(page: &mut Page, deliveries: &[DeliveryStatus]) {
    let told = &deliveries[..deliveries.len().min(LABELS_MAX)];
    let mut by_stream = |name, kind, help, of: &dyn Fn(&DeliveryStatus) -> f64| {
        page.family(name, kind, help);
        for delivery in told {
            page.sample(name, &[("stream", delivery.stream.as_str())], of(delivery));
        }
        let others = &deliveries[told.len()..];
        if !others.is_empty() {
            page.sample(name, &[("stream", OTHERS)], others.iter().map(of).sum::<f64>());
        }
    };
    let counter = "counter";
    by_stream("lacus_stream_records_total", counter, "Records of a stream.", &|of| count(of.acknowledged));
    by_stream("lacus_stream_visible_total", counter, "Records that SQL sees.", &|of| count(of.visible));
    by_stream("lacus_stream_committed_total", counter, "Records in committed files.", &|of| count(of.committed));
    by_stream("lacus_stream_duplicates_total", counter, "Records left out as duplicates.", &|of| count(of.duplicates));
    by_stream("lacus_stream_lag_records", "gauge", "Records that SQL does not see yet.", &|of| {
        count(of.acknowledged.saturating_sub(of.visible))
    });
    by_stream("lacus_stream_tail_bytes", "gauge", "Memory of uncommitted rows.", &|of| count(of.tail_bytes));
    by_stream("lacus_stream_failing", "gauge", "1 while the delivery is being retried.", &|of| {
        f64::from(u8::from(of.error.is_some()))
    });
    page.family("lacus_stream_freshness_seconds", "summary", "From acknowledgement to visibility of recent records.");
    for delivery in told {
        for (quantile, ms) in [("0.5", delivery.freshness_p50_ms), ("0.99", delivery.freshness_p99_ms)] {
            let labels = [("stream", delivery.stream.as_str()), ("quantile", quantile)];
            page.sample("lacus_stream_freshness_seconds", &labels, ms / 1e3);
        }
    }
}

fn mirrored(page: &mut Page, glue: &GlueStatus) {
    page.gauge("lacus_glue_tables", "Tables that AWS Glue has as they were committed last.", glue.current);
    page.gauge("lacus_glue_behind_tables", "Tables that AWS Glue has otherwise, or not, or still has.", glue.behind);
    page.counter("lacus_glue_changes_total", "Tables made, moved or deleted in AWS Glue.", glue.changes);
    page.counter("lacus_glue_failures_total", "Attempts at that which failed.", glue.failures);
    page.gauge("lacus_glue_failing", "1 while something is wrong with it.", u64::from(glue.error.is_some()));
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus counts in doubles")]
fn count(count: u64) -> f64 {
    count as f64
}

/// The process itself, where Linux tells.
fn process(page: &mut Page) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    page.gauge("process_resident_memory_bytes", "Resident memory.", kib.unwrap_or(0) << 10);
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    page.gauge("process_open_fds", "Open file handles.", open as u64);
}

/// The page that is being written.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// Values of labels are names of ours, that need no escapes.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to memory can't fail.
        writeln!(self.0, "{line}").ok();
    }
}

#[cfg(test)]
mod tests {
    use lacus_core::StreamName;

    use super::*;

    #[test]
    fn streams_beyond_the_limit_are_told_together() {
        let status = |number: usize| DeliveryStatus {
            stream: StreamName::new(&format!("stream_{number}")).unwrap(),
            acknowledged: 3,
            visible: 2,
            committed: 1,
            duplicates: 0,
            tail_bytes: 0,
            freshness_p50_ms: 1.0,
            freshness_p99_ms: 1.0,
            shards: Vec::new(),
            error: None,
        };
        let mut page = Page::default();
        delivered(&mut page, &(0..LABELS_MAX + 5).map(status).collect::<Vec<_>>());
        let lags = page.0.lines().filter(|line| line.starts_with("lacus_stream_lag_records{"));
        let lags: Vec<&str> = lags.collect();
        assert_eq!(lags.len(), LABELS_MAX + 1);
        assert_eq!(lags.last(), Some(&"lacus_stream_lag_records{stream=\"(others)\"} 5"));
        assert!(StreamName::new(OTHERS).is_err());
    }
}
