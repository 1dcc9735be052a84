//! `/metrics` tells what came, what was refused and how far it is, in the text format of Prometheus.

use std::collections::{BTreeMap, BTreeSet};

use lacus_testkit::Project;

const SETTINGS: &str = "[sources.clicks]\nid = \"id\"\n";

#[test]
fn the_numbers_are_those_of_what_happened() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), SETTINGS);
    let server = project.start();
    let post = |path: &str, body: &str| server.http().post(path, &[], body.as_bytes()).expect("an answer").status;
    assert_eq!(post("/v1/events?source=clicks", "{\"id\":1}\n{\"id\":2}\n{\"id\":2}\n"), 200);
    assert_eq!(post("/v1/events?source=clicks", "nonsense"), 400);
    assert_eq!(post("/v1/events", "{}"), 400);
    project.must_run(&["table", "flush", "clicks"]);

    let page = server.http().get("/metrics").expect("an answer");
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let samples = samples(&page.text());
    let told = |name: &str| samples.get(name).unwrap_or_else(|| panic!("{name} is missing: {}", page.text())).as_str();
    for (name, expected) in [
        ("lacus_requests_total{source=\"clicks\"}", "1"),
        ("lacus_events_accepted_total{source=\"clicks\"}", "3"),
        ("lacus_events_accepted_bytes_total{source=\"clicks\"}", "24"),
        ("lacus_events_quarantined_total{source=\"clicks\"}", "0"),
        ("lacus_refused_total{reason=\"malformed\"}", "1"),
        ("lacus_refused_total{reason=\"parameter\"}", "1"),
        ("lacus_log_records_total", "3"),
        ("lacus_log_refused_groups_total", "0"),
        ("lacus_log_sync_seconds_count", "1"),
        ("lacus_stream_records_total{stream=\"clicks\"}", "3"),
        ("lacus_stream_visible_total{stream=\"clicks\"}", "3"),
        ("lacus_stream_committed_total{stream=\"clicks\"}", "3"),
        ("lacus_stream_duplicates_total{stream=\"clicks\"}", "1"),
        ("lacus_stream_lag_records{stream=\"clicks\"}", "0"),
        ("lacus_stream_failing{stream=\"clicks\"}", "0"),
        ("lacus_lake_rows", "2"),
    ] {
        assert_eq!(told(name), expected, "{name}");
    }
    let took: f64 = told("lacus_log_sync_seconds{quantile=\"0.99\"}").parse().expect("a number");
    assert!(took > 0.0, "a sync takes time");
    assert!(server.stop().success());
}

/// The samples of a page by name and labels. Each is a number, and of a family that was described before it.
fn samples(page: &str) -> BTreeMap<String, String> {
    let (mut samples, mut described, mut typed) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for line in page.lines() {
        let word = |at: usize| line.split(' ').nth(at).unwrap_or_default().to_owned();
        if line.starts_with("# HELP ") {
            assert!(described.insert(word(2)), "described twice: {line}");
        } else if line.starts_with("# TYPE ") {
            assert!(["counter", "gauge", "summary"].contains(&word(3).as_str()), "{line}");
            typed.insert(word(2));
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let bare = name.split('{').next().unwrap_or_default();
            let family = bare.strip_suffix("_count").unwrap_or(bare);
            assert!(described.contains(family) && typed.contains(family), "{family} is of no family");
            assert!(samples.insert(name.to_owned(), value.to_owned()).is_none(), "told twice: {line}");
        }
    }
    samples
}
