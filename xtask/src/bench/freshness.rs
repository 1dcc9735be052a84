//! Acknowledged → visible in SQL, seen by a client, while events come at a steady rate.

use std::time::{Duration, Instant};

use lacus_testkit::Server;

use super::Bench;
use super::events::requests;
use super::load::{self, Load, Wire};
use super::process::cpu_seconds;
use super::report::{Report, grouped, row};

/// Events per second beside the probes.
const RATE: u64 = 20_000;

const SECONDS: f64 = 30.0;
const BATCH: u64 = 100;

/// Rest between two probes, and between two looks for the same one, so that looking is not the load.
const PROBE_PAUSE: Duration = Duration::from_millis(40);
const LOOK_PAUSE: Duration = Duration::from_millis(1);

pub(super) fn measure(bench: &Bench, report: &mut Report) {
    let project = bench.project("");
    let server = project.start();
    let load = Load {
        address: server.http_address(),
        wire: Wire::Http,
        connections: 8,
        requests: requests(0, 500, BATCH).into(),
        events_per_request: BATCH,
        time: bench.time(SECONDS),
        once: false,
        rate: Some(RATE),
        ids: None,
    };
    let cpu_before = cpu_seconds(server.pid());
    let sending = bench.runtime.spawn(async move { load::run(&load).await });
    let mut times = Vec::new();
    while !sending.is_finished() {
        times.push(probe(&server, times.len()));
        std::thread::sleep(PROBE_PAUSE);
    }
    let outcome = bench.runtime.block_on(sending).expect("the load does not panic").expect("steady load");
    let busy = (cpu_seconds(server.pid()) - cpu_before) / outcome.seconds;
    times.sort_unstable();
    let percentile = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    let (p50, p99) = (percentile(50), percentile(99));
    report.section(
        "Freshness",
        "From the acknowledgement of an event to the first query over the Postgres protocol that counts it, while other events come in \
         batches of 100 at a steady rate. The time of the query is part of it.",
    );
    report.table(&[
        row(["steady events/s", "probes", "p50", "p99", "ack p50", "ack p99", "server cores busy"]),
        vec![
            grouped(outcome.events_per_second()),
            times.len().to_string(),
            format!("{p50:.1} ms"),
            format!("{p99:.1} ms"),
            format!("{:.2} ms", outcome.ack_p50_ms),
            format!("{:.2} ms", outcome.ack_p99_ms),
            format!("{busy:.2}"),
        ],
    ]);
    report.figure("freshness_p50_ms", p50);
    report.figure("freshness_p99_ms", p99);
    assert!(server.stop().success(), "a clean stop");
}

fn probe(server: &Server, number: usize) -> Duration {
    let (mut http, mut postgres) = (server.http(), server.postgres());
    let body = format!(r#"{{"click_id":"probe {number}","event_name":"Probe"}}"#);
    let reply = http.post("/v1/events?source=clicks", &[("content-type", "application/json")], body.as_bytes());
    let reply = reply.expect("post a probe");
    assert!((200..300).contains(&reply.status), "{} {}", reply.status, reply.text());
    let acknowledged = Instant::now();
    let sql = format!("SELECT count(*) FROM clicks WHERE click_id = 'probe {number}'");
    while !postgres.query(&sql).is_ok_and(|rows| rows.single() == "1") {
        assert!(acknowledged.elapsed() < Duration::from_secs(30), "probe {number} is not visible");
        std::thread::sleep(LOOK_PAUSE);
    }
    acknowledged.elapsed()
}
