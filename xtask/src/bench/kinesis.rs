//! Records through boto3's `PutRecords`, beside moto's server.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use lacus_testkit::environment::python;
use serde::Deserialize;
use serde_json::Value;

use super::Bench;
use super::events::event;
use super::peers::Peer;
use super::process::{cpu_seconds, median};
use super::report::{Report, grouped, row};

/// Records of a call.
const BATCH: u64 = 500;

/// Clients at once, each a process.
const CLIENTS: [usize; 2] = [1, 4];

const ROUNDS: usize = 3;

/// Seconds of a round.
const SECONDS: f64 = 10.0;

/// What a client did.
#[derive(Debug, Deserialize)]
struct Put {
    records: u64,
    wall: f64,
    cpu: f64,
    p50_ms: f64,
}

/// What a round came to: records per second, CPU seconds of server and clients per million records, the median call.
struct Round {
    rate: f64,
    server_cpu: f64,
    client_cpu: f64,
    p50_ms: f64,
}

pub(super) fn measure(bench: &Bench, report: &mut Report) {
    report.section(
        "Kinesis",
        &format!(
            "boto3 1.44.5, `PutRecords` with 500 records of about 350 bytes, one call at a time in each client process; {ROUNDS} rounds of 10 s by \
             turns, medians. moto 5.2.5 keeps records in memory; `lacus` checks the signature and answers after fdatasync. Clients and server \
             share the cores: what a client costs bounds what it can put."
        ),
    );
    let mut table = vec![row([
        "server",
        "clients",
        "records/s",
        "lacus beside it",
        "call p50",
        "server CPU s per 1M records",
        "client CPU s per 1M records",
    ])];
    for clients in CLIENTS {
        let (mut moto, mut lacus) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let peer = Peer::moto();
            moto.push(round(bench, &format!("http://{}", peer.address), peer.pid(), clients, ("moto", "moto")));
            drop(peer);
            lacus.push(round_with_lacus(bench, clients));
        }
        let of = |rounds: &[Round], figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
        let ours = of(&lacus, |round| round.rate);
        for (name, rounds) in [("moto", &moto), ("lacus", &lacus)] {
            let rate = of(rounds, |round| round.rate);
            report.figure(&format!("put_records_{name}_{clients}_per_second"), rate);
            table.push(vec![
                name.to_owned(),
                clients.to_string(),
                grouped(rate),
                format!("{:.1} ×", ours / rate),
                format!("{:.1} ms", of(rounds, |round| round.p50_ms)),
                format!("{:.1}", of(rounds, |round| round.server_cpu)),
                format!("{:.1}", of(rounds, |round| round.client_cpu)),
            ]);
        }
    }
    report.table(&table);
}

fn round_with_lacus(bench: &Bench, clients: usize) -> Round {
    let project = bench.project("");
    let made = project.run(&["key", "create", "--aws", "--json"]);
    let key: Value = serde_json::from_str(&made.stdout).expect("a key");
    let text = |name: &str| key[name].as_str().expect("a key has text").to_owned();
    let server = project.start();
    let endpoint = format!("http://{}", server.http_address());
    let (id, secret) = (text("access_key_id"), text("secret_access_key"));
    let round = round(bench, &endpoint, server.pid(), clients, (&id, &secret));
    assert!(server.stop().success(), "a clean stop");
    round
}

fn round(bench: &Bench, endpoint: &str, pid: u32, clients: usize, (id, secret): (&str, &str)) -> Round {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/put_records.py");
    let seconds = bench.time(SECONDS).as_secs_f64().to_string();
    let lines: String = (0..BATCH).map(|number| event(number) + "\n").collect();
    let cpu_before = cpu_seconds(pid);
    let running: Vec<_> = (0..clients)
        .map(|_| {
            let mut command = Command::new(python());
            command.arg(&script).args([endpoint, &seconds]).stdin(Stdio::piped()).stdout(Stdio::piped());
            command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
            let mut child = command.spawn().expect("start a client");
            let mut stdin = child.stdin.take().expect("it is piped");
            stdin.write_all(lines.as_bytes()).expect("give a client its events");
            child
        })
        .collect();
    let put: Vec<Put> = running
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().expect("a client ends");
            assert!(output.status.success(), "a client fails against {endpoint}");
            serde_json::from_slice(&output.stdout).expect("a client prints JSON")
        })
        .collect();
    let millions = put.iter().map(|put| put.records).sum::<u64>() as f64 / 1e6;
    Round {
        rate: put.iter().map(|put| put.records as f64 / put.wall).sum(),
        server_cpu: (cpu_seconds(pid) - cpu_before) / millions,
        client_cpu: put.iter().map(|put| put.cpu).sum::<f64>() / millions,
        p50_ms: median(put.iter().map(|put| put.p50_ms)),
    }
}
