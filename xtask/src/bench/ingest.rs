//! Acknowledged events per second, each synced to disk, beside a handler that does nothing.

use std::net::SocketAddr;

use super::Bench;
use super::events::requests;
use super::load::{self, Load, Outcome};
use super::noop::Noop;
use super::process::cpu_seconds;
use super::report::{Report, grouped, row};

const CONNECTIONS: usize = 64;

/// Seconds of load for each line of the table.
const SECONDS: f64 = 15.0;

/// Different requests in turn, so that bodies are not all the same.
const REQUESTS: u64 = 2_000;

pub(super) fn measure(bench: &Bench, report: &mut Report) {
    report.section(
        "Taking events",
        "64 kept connections over HTTP/1.1, each sending its next request when the last one was answered. `lacus` answers after \
         fdatasync; while it takes events it also decodes, shows and commits them. `no-op` is an axum handler that reads the body \
         and answers: what no server on this machine can beat with this generator.",
    );
    let mut table = vec![row([
        "server",
        "events in a request",
        "events/s",
        "ack p50",
        "ack p99",
        "server CPU s per 1M events",
        "asked to slow down",
    ])];
    for batch in [1, 100] {
        let noop = Noop::start();
        table.push(line(bench, report, "no-op", batch, noop.address, noop.pid()));
        drop(noop);
        let project = bench.project("");
        let server = project.start();
        table.push(line(bench, report, "lacus", batch, server.http_address(), server.pid()));
        assert!(server.stop().success(), "a clean stop");
    }
    report.table(&table);
}

fn line(bench: &Bench, report: &mut Report, name: &str, batch: u64, address: SocketAddr, pid: u32) -> Vec<String> {
    let load = Load {
        address,
        connections: CONNECTIONS,
        requests: requests(0, REQUESTS / batch.min(10), batch).into(),
        events_per_request: batch,
        time: bench.time(SECONDS),
        once: false,
        rate: None,
    };
    let cpu_before = cpu_seconds(pid);
    let outcome = bench.runtime.block_on(load::run(&load)).unwrap_or_else(|error| panic!("load on {name}: {error}"));
    let cpu = (cpu_seconds(pid) - cpu_before) / outcome.events as f64 * 1e6;
    let Outcome { ack_p50_ms, ack_p99_ms, refused, .. } = outcome;
    let rate = outcome.events_per_second();
    let key = format!("{}_{batch}", name.replace('-', ""));
    report.figure(&format!("{key}_events_per_second"), rate);
    report.figure(&format!("{key}_ack_p50_ms"), ack_p50_ms);
    report.figure(&format!("{key}_ack_p99_ms"), ack_p99_ms);
    vec![
        name.to_owned(),
        batch.to_string(),
        grouped(rate),
        format!("{ack_p50_ms:.2} ms"),
        format!("{ack_p99_ms:.2} ms"),
        format!("{cpu:.1}"),
        refused.to_string(),
    ]
}
