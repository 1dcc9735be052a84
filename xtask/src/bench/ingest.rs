//! Acknowledged events per second, each synced to disk, beside Redis that does the same and beside handlers that store nothing.

use std::net::SocketAddr;

use lacus_testkit::{Project, Server};

use super::Bench;
use super::events::{commands, requests};
use super::load::{self, Load, Outcome, Wire};
use super::machine::Machine;
use super::noop::{Noop, Work};
use super::peers::Peer;
use super::process::{cpu_seconds, median, peak_mb};
use super::report::{Report, grouped, row};

const CONNECTIONS: usize = 64;

/// Each server is loaded so often, by turns; figures are medians.
const ROUNDS: usize = 3;

/// Seconds of load in a round.
const SECONDS: f64 = 10.0;

/// Events per second where the rate is set, and seconds of each round of it.
const RATES: [u64; 2] = [10_000, 20_000];
const SECONDS_AT_RATE: f64 = 5.0;

/// Different requests in turn, so that bodies are not all the same.
const REQUESTS: u64 = 2_000;

/// Who is loaded.
enum Target {
    Nothing(Noop),
    Redis(Peer),
    Lacus(Server, Project),
}

/// What is asked of a server.
#[derive(Clone, Copy)]
struct Demand {
    /// Events in a request.
    batch: u64,
    /// Events per second; as many as it takes when none.
    rate: Option<u64>,
}

/// What a round of load on a server came to.
struct Round {
    outcome: Outcome,
    cpu_per_million: f64,
    peak_mb: f64,
}

pub(super) fn measure(bench: &Bench, machine: &Machine, report: &mut Report) {
    report.section(
        "Single events",
        &format!(
            "64 kept connections, each sending its next event of about 350 bytes when the last one was answered; {ROUNDS} rounds of 10 s by \
             turns, medians. `lacus` (HTTP) and Redis (`XADD`, `appendfsync always`) answer after fdatasync; lacus also decodes the events, \
             shows them in SQL and commits them meanwhile. `no-op` is an axum handler that reads the body and answers. Appending 350 bytes \
             and fdatasync, alone on the disk: median {:.2} ms, p99 {:.2} ms.",
            machine.fdatasync_ms, machine.fdatasync_p99_ms
        ),
    );
    let names = ["no-op", "Redis 7", "lacus"];
    let rounds = rounds(bench, &names, Demand { batch: 1, rate: None });
    table(report, &names, &rounds, 1);
    let [nothing, redis, lacus] = &rounds;
    report.paragraph(&format!(
        "Answering alone, without any disk, takes {:.1} × what Redis takes: on these cores, which the generator shares, no HTTP server comes to \
         five times Redis. Of lacus' CPU an event, {:.0} % is what the no-op handler needs.",
        rate(nothing) / rate(redis),
        cpu(nothing) / cpu(lacus) * 100.0
    ));
    measure_at_rates(bench, report);
    report.section(
        "Batches of 100",
        "The same with 100 events, about 35 KB, in a request. `no-op` only counts the bytes. `parse` also reads each line as JSON and builds \
         nothing of it: what every server does that refuses what is no JSON.",
    );
    let names = ["no-op", "parse", "lacus"];
    let rounds = self::rounds(bench, &names, Demand { batch: 100, rate: None });
    table(report, &names, &rounds, 100);
    let [nothing, parse, _] = &rounds;
    report.paragraph(&format!(
        "Reading each line as JSON once, and building nothing of it, leaves {:.0} % of the no-op's events per second: whoever refuses what is no \
         JSON comes to no more.",
        rate(parse) / rate(nothing) * 100.0
    ));
}

/// Events per second, the median of rounds.
fn rate(rounds: &[Round]) -> f64 {
    median(rounds.iter().map(|round| round.outcome.events_per_second()))
}

/// CPU seconds of the server for a million events, the median of rounds.
fn cpu(rounds: &[Round]) -> f64 {
    median(rounds.iter().map(|round| round.cpu_per_million))
}

/// How long an acknowledgement takes while the machine is not full: above, senders wait for each other and for the
/// generator, and the more a server takes, the longer they do.
fn measure_at_rates(bench: &Bench, report: &mut Report) {
    report.section(
        "Single events at a set rate",
        &format!(
            "The same 64 connections, but each sends when its turn comes, so that all servers have the same to do; {ROUNDS} rounds of \
             {SECONDS_AT_RATE:.0} s by turns, medians. Turns come by the millisecond, some requests at once."
        ),
    );
    let names = ["no-op", "Redis 7", "lacus"];
    let mut table = vec![row(["events/s", "server", "ack p50", "ack p99", "server CPU s per 1M events"])];
    for rate in RATES {
        let rounds = rounds(bench, &names, Demand { batch: 1, rate: Some(rate) });
        for (name, rounds) in names.iter().zip(&rounds) {
            let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
            let (p50, p99) = (of(|round| round.outcome.ack_p50_ms), of(|round| round.outcome.ack_p99_ms));
            report.figure(&format!("{}_at_{rate}_ack_p99_ms", name.replace(['-', ' '], "")), p99);
            table.push(vec![
                grouped(of(|round| round.outcome.events_per_second())),
                (*name).to_owned(),
                format!("{p50:.2} ms"),
                format!("{p99:.2} ms"),
                format!("{:.1}", of(|round| round.cpu_per_million)),
            ]);
        }
    }
    report.table(&table);
}

/// The rounds of each server.
fn rounds<const N: usize>(bench: &Bench, names: &[&str; N], demand: Demand) -> [Vec<Round>; N] {
    let mut rounds = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for (name, rounds) in names.iter().zip(&mut rounds) {
            rounds.push(round(bench, name, demand));
        }
    }
    rounds
}

fn round(bench: &Bench, name: &str, demand: Demand) -> Round {
    let Demand { batch, rate } = demand;
    let target = match name {
        "no-op" => Target::Nothing(Noop::start(Work::Nothing)),
        "parse" => Target::Nothing(Noop::start(Work::Parse)),
        "Redis 7" => Target::Redis(Peer::redis()),
        _ => {
            let project = bench.project("");
            Target::Lacus(project.start(), project)
        }
    };
    let (address, pid) = target.place();
    let count = REQUESTS / batch.min(10);
    let (wire, requests) = match &target {
        Target::Redis(_) => (Wire::Redis, commands(0, count)),
        _ => (Wire::Http, requests(0, count, batch)),
    };
    let load = Load {
        address,
        wire,
        connections: CONNECTIONS,
        requests: requests.into(),
        events_per_request: batch,
        time: bench.time(if rate.is_some() { SECONDS_AT_RATE } else { SECONDS }),
        once: false,
        rate,
        ids: None,
    };
    let cpu_before = cpu_seconds(pid);
    let outcome = bench.runtime.block_on(load::run(&load)).unwrap_or_else(|error| panic!("load on {name}: {error}"));
    let cpu_per_million = (cpu_seconds(pid) - cpu_before) / outcome.events as f64 * 1e6;
    let peak_mb = peak_mb(pid);
    target.stop();
    Round { outcome, cpu_per_million, peak_mb }
}

impl Target {
    fn place(&self) -> (SocketAddr, u32) {
        match self {
            Self::Nothing(server) => (server.address, server.pid()),
            Self::Redis(server) => (server.address, server.pid()),
            Self::Lacus(server, _) => (server.http_address(), server.pid()),
        }
    }

    fn stop(self) {
        if let Self::Lacus(server, _project) = self {
            assert!(server.stop().success(), "a clean stop");
        }
    }
}

fn table<const N: usize>(report: &mut Report, names: &[&str; N], rounds: &[Vec<Round>; N], batch: u64) {
    let of = |rounds: &[Round], figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    let ours = rounds.last().map_or(0.0, |rounds| rate(rounds));
    let mut table = vec![row([
        "server",
        "events/s",
        "lacus beside it",
        "ack p50",
        "ack p99",
        "server CPU s per 1M events",
        "peak memory",
        "asked to slow down",
    ])];
    for (name, rounds) in names.iter().zip(rounds) {
        let key = format!("{}_{batch}", name.replace(['-', ' '], ""));
        let (p50, p99) = (of(rounds, |round| round.outcome.ack_p50_ms), of(rounds, |round| round.outcome.ack_p99_ms));
        let (cpu, peak) = (cpu(rounds), of(rounds, |round| round.peak_mb));
        report.figure(&format!("{key}_events_per_second"), rate(rounds));
        report.figure(&format!("{key}_ack_p50_ms"), p50);
        report.figure(&format!("{key}_ack_p99_ms"), p99);
        report.figure(&format!("{key}_peak_mb"), peak);
        table.push(vec![
            (*name).to_owned(),
            grouped(rate(rounds)),
            format!("{:.2} ×", ours / rate(rounds)),
            format!("{p50:.2} ms"),
            format!("{p99:.2} ms"),
            format!("{cpu:.1}"),
            format!("{peak:.0} MB"),
            rounds.iter().map(|round| round.outcome.refused).sum::<u64>().to_string(),
        ]);
    }
    report.table(&table);
}
