//! Dashboards: many clients that ask at once, beside PostgreSQL with the same rows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use lacus_testkit::environment::Random;
use lacus_testkit::{Database, Project};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use super::Bench;
use super::process::{cpu_seconds_of_all, median_ms, memory_mb_of_all, percentile_ms};
use super::report::{Report, grouped, row};
use super::storage::{BATCH, send};

/// Events: 40 a second, so that they are of fourteen hours.
const EVENTS: u64 = 2_000_000;
const EVENTS_AN_HOUR: u64 = 144_000;

/// Clients, each with a connection of its own.
const CLIENTS: u64 = 64;
const SECONDS: f64 = 30.0;
/// How often the memory of a server is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What dashboards look at, in columns that PostgreSQL has, too.
const VIEW: &str = r#"
    CREATE VIEW events AS SELECT "timestamp" AS at, user_id, event_name, additional_data.product_id AS product,
        additional_data.price AS price
    FROM clicks"#;
const TABLE: &str =
    "CREATE TABLE events (at text, user_id text, event_name text, product bigint, price double precision)";
const INDEX: &str = "CREATE INDEX ON events (at)";

/// The tiles of a dashboard: `$1` and `$2` are the hour it looks at and the next.
const TILES: [&str; 6] = [
    "SELECT event_name, count(*) FROM events WHERE at >= $1 AND at < $2 GROUP BY 1 ORDER BY 2 DESC, 1",
    "SELECT substr(at, 1, 16), count(*) FROM events WHERE at >= $1 AND at < $2 GROUP BY 1 ORDER BY 1",
    "SELECT substr(at, 1, 16), sum(price) FROM events WHERE at >= $1 AND at < $2 AND event_name = 'Purchase' GROUP BY 1 ORDER BY 1",
    "SELECT product, count(*) FROM events WHERE at >= $1 AND at < $2 AND event_name = 'Purchase' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10",
    "SELECT count(DISTINCT user_id) FROM events WHERE at >= $1 AND at < $2",
    "SELECT at, event_name, product FROM events WHERE at >= $1 AND at < $2 AND user_id = '4711' ORDER BY at DESC LIMIT 20",
];

/// A question over all rows, such as somebody else asks meanwhile.
const HEAVY: &str = "SELECT user_id, product, count(*) FROM events GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 10";

/// A server that is asked.
struct Asked {
    name: &'static str,
    url: String,
    pid: u32,
}

/// What the clients came to.
struct Outcome {
    /// How long each answer took, by client.
    clients: Vec<Vec<Duration>>,
    /// Answers to the heavy question.
    heavy: usize,
    wall: Duration,
    /// Seconds of the server.
    cpu: f64,
    memory_mb: f64,
}

pub(super) fn measure(bench: &Bench, report: &mut Report) {
    let count = bench.scaled(EVENTS).next_multiple_of(BATCH);
    let project = bench.project("");
    let server = project.start();
    send(bench, &server, count);
    server.postgres().query(VIEW).expect("make a view");
    let database = postgres(bench, &lacus_url(server.postgres_address()));
    report.section(
        "Dashboards",
        &format!(
            "{} events. {CLIENTS} clients, each with a connection and prepared statements of its own, ask the six tiles of a dashboard for an \
             hour, and then for another hour, each question as soon as the last was answered; {SECONDS:.0} s. `lacus` answers each from files; \
             `lacus, as set at first` gives an answer again while its table stays the same. PostgreSQL 15 has the columns that are asked for in a \
             table of its own with an index by time, 1 GB of shared buffers, and everything in memory. In lines with `heavy` one more client \
             groups all rows by user and product, again and again. Memory is what the server's processes have for themselves, and their parts of \
             what they share. The clients share the cores.",
            grouped(count as f64),
        ),
    );
    let mut lines = vec![row([
        "server",
        "answers/s",
        "p50",
        "p99",
        "fewest, most of a client",
        "heavy answers",
        "server CPU s per 1 000 answers",
        "most memory",
    ])];
    let hours = (count / EVENTS_AN_HOUR).max(1);
    let asked = Asked { name: "lacus", url: lacus_url(server.postgres_address()), pid: server.pid() };
    lines.extend(ask_both_ways(bench, &asked, hours, report));
    assert!(server.stop().success(), "a clean stop");
    let project = Project::at(project.directory(), &bench.binary, "");
    let server = project.start();
    let url = lacus_url(server.postgres_address());
    lines.extend(ask_both_ways(
        bench,
        &Asked { name: "lacus, as set at first", url, pid: server.pid() },
        hours,
        report,
    ));
    assert!(server.stop().success(), "a clean stop");
    let asked = Asked { name: "PostgreSQL", url: database.url(), pid: database.pid() };
    lines.extend(ask_both_ways(bench, &asked, hours, report));
    report.table(&lines);
}

/// A PostgreSQL server with the rows that lacus has.
fn postgres(bench: &Bench, lacus: &str) -> Database {
    let mut database = Database::start();
    for setting in ["shared_buffers = '1GB'", "max_connections = 100"] {
        database.query(&format!("ALTER SYSTEM SET {setting}"));
    }
    database.crash();
    database.start_again();
    database.query(TABLE);
    bench.runtime.block_on(async {
        let (from, to) = (connect(lacus).await, connect(&database.url()).await);
        let rows = from.copy_out("COPY (SELECT * FROM events) TO STDOUT").await.expect("copy rows out");
        let sink = to.copy_in("COPY events FROM STDIN").await.expect("copy rows in");
        let (mut rows, mut sink) = (std::pin::pin!(rows), std::pin::pin!(sink));
        while let Some(bytes) = rows.next().await {
            sink.send(bytes.expect("rows")).await.expect("copy rows in");
        }
        sink.finish().await.expect("copy rows in");
    });
    for statement in [INDEX, "VACUUM ANALYZE events"] {
        database.query(statement);
    }
    database
}

/// Dashboards alone, and beside a heavy question: a line each.
fn ask_both_ways(bench: &Bench, asked: &Asked, hours: u64, report: &mut Report) -> [Vec<String>; 2] {
    [false, true].map(|with_heavy| {
        let outcome = bench.runtime.block_on(ask(asked, hours, bench.time(SECONDS), with_heavy));
        let mut times: Vec<Duration> = outcome.clients.iter().flatten().copied().collect();
        let (p50, p99) = (median_ms(&mut times), percentile_ms(&mut times, 99));
        let counts = || outcome.clients.iter().map(Vec::len);
        let rate = times.len() as f64 / outcome.wall.as_secs_f64();
        let key = asked.name.to_lowercase().replace([' ', ','], "_");
        report.figure(&format!("dashboards_{key}_{}per_s", if with_heavy { "heavy_" } else { "" }), rate);
        vec![
            format!("{}{}", asked.name, if with_heavy { ", heavy" } else { "" }),
            grouped(rate),
            format!("{p50:.1} ms"),
            format!("{p99:.1} ms"),
            format!("{}, {}", counts().min().unwrap_or(0), counts().max().unwrap_or(0)),
            if with_heavy { outcome.heavy.to_string() } else { "–".to_owned() },
            format!("{:.2}", outcome.cpu / times.len() as f64 * 1000.0),
            format!("{:.0} MB", outcome.memory_mb),
        ]
    })
}

async fn ask(asked: &Asked, hours: u64, time: Duration, with_heavy: bool) -> Outcome {
    let cpu_before = cpu_seconds_of_all(asked.pid);
    let started = Instant::now();
    let until = started + time;
    let heavy = with_heavy.then(|| tokio::spawn(ask_heavy(asked.url.clone(), until)));
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        tasks.spawn(ask_tiles(asked.url.clone(), Random::new(number), hours, until));
    }
    let mut memory_mb: f64 = 0.0;
    while Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
        memory_mb = memory_mb.max(memory_mb_of_all(asked.pid));
    }
    let clients = tasks.join_all().await;
    let wall = started.elapsed();
    let heavy = match heavy {
        Some(heavy) => heavy.await.expect("the heavy client"),
        None => 0,
    };
    Outcome { clients, heavy, wall, cpu: cpu_seconds_of_all(asked.pid) - cpu_before, memory_mb }
}

/// One dashboard: how long each answer took.
async fn ask_tiles(url: String, mut random: Random, hours: u64, until: Instant) -> Vec<Duration> {
    let client = connect(&url).await;
    let mut tiles = Vec::new();
    for sql in TILES {
        tiles.push(client.prepare(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")));
    }
    let mut times = Vec::new();
    while Instant::now() < until {
        let hour = random.below(hours);
        let [from, to] = [hour, hour + 1].map(|hour| format!("2026-01-01 {hour:02}"));
        for tile in &tiles {
            let begun = Instant::now();
            let rows = client.query(tile, &[&from, &to]).await.expect("an answer");
            assert!(!rows.is_empty() || tile.columns().len() == 3, "a tile without rows");
            times.push(begun.elapsed());
        }
    }
    times
}

/// How often the heavy question was answered.
async fn ask_heavy(url: String, until: Instant) -> usize {
    let client = connect(&url).await;
    let mut answers = 0;
    while Instant::now() < until {
        client.query(HEAVY, &[]).await.expect("an answer to the heavy question");
        answers += 1;
    }
    answers
}

/// A client; its connection ends with it.
async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect");
    tokio::spawn(connection);
    client
}

fn lacus_url(address: SocketAddr) -> String {
    format!("postgres://lacus@{address}/lake")
}
