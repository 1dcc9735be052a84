//! kill -9 at random instants while senders send: every acknowledged event is in the table once, and in the raw zone.
//!
//! Senders never send an id again, whatever became of it, so an id that is there twice was doubled by lacus. Commits are
//! small and flushes frequent, so that kills hit all of decoding, writing files, committing and starting up.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lacus_testkit::environment::{Random, prove, seed, setting};
use lacus_testkit::{Http, Project, Server};
use serde_json::{Value, json};

use crate::raw_zone;

const SETTINGS: &str = r#"
[stream]
partitions = 3
segment_bytes_max = "64KB"
retention = "1s"

[delivery]
commit_bytes = "128KB"
commit_after = "300ms"

[sources.events]
partition_key = "sender"
"#;

/// Senders at once: at least one of each shape of body.
const SENDERS: u64 = 6;

/// The most events in one request.
const BATCH_MAX: u64 = 20;

/// How long a server lives after it became ready, at most.
const LIFE_MS_MAX: u64 = 900;

/// How long acknowledged events may take to show after a restart.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

/// What one sender knows: which numbers it sent, and which of them were acknowledged.
#[derive(Default)]
struct Sent {
    sent: u64,
    acknowledged: BTreeSet<u64>,
}

/// Where the server is now, if it is, for all senders.
#[derive(Default)]
struct Whereabouts {
    address: Mutex<Option<SocketAddr>>,
    changed: Condvar,
    over: AtomicBool,
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was tried belongs to the test's output")]
fn kill_9_loses_and_doubles_nothing() {
    let kills: u64 = setting("LACUS_KILLS", if prove() { 250 } else { 60 });
    let seed = seed();
    println!("kill loop: LACUS_SEED={seed} LACUS_KILLS={kills}");
    let started = Instant::now();
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), SETTINGS);
    let whereabouts = Whereabouts::default();
    let ledgers: Vec<Mutex<Sent>> = (0..SENDERS).map(|_| Mutex::default()).collect();
    thread::scope(|scope| {
        // Whatever happens below, the senders end.
        let _over = EndOnDrop(&whereabouts);
        for (number, ledger) in (0..).zip(&ledgers) {
            let whereabouts = &whereabouts;
            scope.spawn(move || send_until_over(number, seed, whereabouts, ledger));
        }
        let mut random = Random::new(seed);
        for _ in 0..kills {
            live_and_die(&project, &mut random, &whereabouts, &ledgers);
        }
    });
    let ledgers: Vec<Sent> = ledgers.into_iter().map(|ledger| ledger.into_inner().expect("no sender panics")).collect();
    let rows = check_everything(&project, &ledgers);
    let acknowledged: usize = ledgers.iter().map(|ledger| ledger.acknowledged.len()).sum();
    println!(
        "kill loop: {kills} kills, {acknowledged} events acknowledged, {rows} rows, {:.1} s",
        started.elapsed().as_secs_f64()
    );
}

/// One life of the server: start, check that nothing is lost, take events, be killed.
fn live_and_die(project: &Project, random: &mut Random, whereabouts: &Whereabouts, ledgers: &[Mutex<Sent>]) {
    if random.below(8) == 0 {
        let server = project.spawn(|_| ());
        thread::sleep(Duration::from_millis(random.below(400)));
        server.kill9(); // while it starts
    }
    let server = project.start();
    check_so_far(&server, ledgers);
    whereabouts.set(Some(server.http_address()));
    let life = Duration::from_millis(random.below(LIFE_MS_MAX));
    let death = Instant::now() + life;
    if random.below(3) == 0 {
        thread::sleep(life.mul_f64(0.7));
        flush_aside(&server);
    }
    thread::sleep(death.saturating_duration_since(Instant::now()));
    server.kill9(); // while senders send and, at times, a flush commits
    whereabouts.set(None);
}

/// Asks for a commit and does not wait for it. The request ends with the server.
fn flush_aside(server: &Server) {
    let mut http = server.http();
    // There may be no table yet, or no server any more.
    thread::spawn(move || http.post("/v1/tables/events/flush", &[], b"").map(drop));
}

/// After a restart: as many rows of each sender as it has acknowledgements, at least, and none twice.
fn check_so_far(server: &Server, ledgers: &[Mutex<Sent>]) {
    let expected: u64 = ledgers.iter().map(|ledger| lock(ledger).acknowledged.len() as u64).sum();
    if expected == 0 {
        return;
    }
    let mut postgres = server.postgres();
    let deadline = Instant::now() + CATCH_UP_MAX;
    loop {
        let counts = postgres.query("SELECT count(*), count(DISTINCT id) FROM events");
        let counts = counts.unwrap_or_else(|failure| panic!("count events: {failure}"));
        let [Some(rows), Some(ids)] = counts.rows[0].as_slice() else { panic!("two counts are not null") };
        assert_eq!(rows, ids, "rows, and ids among them: some event is there twice");
        if rows.parse::<u64>().expect("a count") >= expected {
            return;
        }
        assert!(Instant::now() < deadline, "{expected} events were acknowledged, {rows} are there after a restart");
        thread::sleep(Duration::from_millis(20));
    }
}

/// At the end, of table and raw zone alike: acknowledged events are there once, in the order they were sent.
fn check_everything(project: &Project, ledgers: &[Sent]) -> usize {
    let server = project.start();
    let flushed = project.run(&["table", "flush", "events"]);
    assert!(flushed.succeeded(), "flush: {}", flushed.stderr);
    let sql = "SELECT id, sender, n, _partition, _offset FROM events ORDER BY _partition, _offset";
    let table = server.postgres().query(sql).unwrap_or_else(|failure| panic!("{sql}: {failure}"));
    let mut rows: HashMap<String, (u64, u64)> = HashMap::new();
    let mut last: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for row in &table.rows {
        let [id, sender, n, partition, offset] = row.as_slice() else { panic!("five columns") };
        let text = |value: &Option<String>| value.clone().expect("no column of these is null");
        let number = |value: &Option<String>| text(value).parse::<u64>().expect("a number");
        let position = (number(partition), number(offset));
        let twice = rows.insert(text(id), position);
        assert!(twice.is_none(), "{} is at {twice:?} and {position:?}", text(id));
        if let Some((partition, before)) = last.insert(text(sender), (position.0, number(n))) {
            assert_eq!(partition, position.0, "sender {} is in two partitions", text(sender));
            assert!(before < number(n), "{} comes after number {before}", text(id));
        }
    }
    let missing = |ids: &dyn Fn(&str) -> bool| -> Vec<String> {
        let all =
            (0..).zip(ledgers).flat_map(|(sender, ledger)| ledger.acknowledged.iter().map(move |n| id(sender, *n)));
        all.filter(|id| !ids(id)).take(10).collect()
    };
    assert_eq!(missing(&|id| rows.contains_key(id)), [""; 0], "acknowledged, but not in the table");

    let mut raw: HashMap<String, (u64, u64)> = HashMap::new();
    for event in raw_zone::events(project.directory(), "events") {
        let number = |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("{name} of {event}"));
        let position = (number("_partition"), number("_offset"));
        let twice = raw.insert(event["id"].as_str().expect("an id").to_owned(), position);
        assert!(twice.is_none(), "{} is in the raw zone at {twice:?} and {position:?}", event["id"]);
    }
    assert_eq!(missing(&|id| raw.contains_key(id)), [""; 0], "acknowledged, but not in the raw zone");
    assert!(raw == rows, "the raw zone has {} events, the table {}, or at other positions", raw.len(), rows.len());
    assert!(server.stop().success(), "a clean stop");
    rows.len()
}

/// Sends numbered events, in requests of one shape and random size, wherever the server is.
fn send_until_over(sender: u64, seed: u64, whereabouts: &Whereabouts, ledger: &Mutex<Sent>) {
    let mut random = Random::new(seed ^ (sender + 1) << 48);
    let mut connection: Option<(SocketAddr, Http)> = None;
    while let Some(address) = whereabouts.wait() {
        let (_, http) = match &mut connection {
            Some(known) if known.0 == address => known,
            other => other.insert((address, Http::new(address))),
        };
        let first = lock(ledger).sent;
        let count = if sender.is_multiple_of(3) { 1 } else { 1 + random.below(BATCH_MAX) };
        let numbers = first..first + count;
        lock(ledger).sent = numbers.end;
        let events: Vec<Value> = numbers.clone().map(|n| event(sender, n)).collect();
        let reply = match sender % 3 {
            0 => post(http, "application/json", &events[0].to_string()),
            1 => post(http, "application/json", &Value::Array(events).to_string()),
            _ => {
                post(http, "application/x-ndjson", &events.iter().map(|event| format!("{event}\n")).collect::<String>())
            }
        };
        match reply {
            Ok(200) => lock(ledger).acknowledged.extend(numbers),
            Ok(429 | 503) => {} // refused for now: the next events are others
            Ok(status) => panic!("the server answers {status} to good events"),
            // Killed before, during or after: nobody knows what became of it.
            Err(_) => whereabouts.wait_for_another(address),
        }
    }
}

fn post(http: &mut Http, kind: &str, body: &str) -> std::io::Result<u16> {
    let reply = http.post("/v1/events?source=events", &[("content-type", kind)], body.as_bytes())?;
    Ok(reply.status)
}

/// An event whose shape changes as numbers grow: new columns, whole numbers that get fractions, misfits.
fn event(sender: u64, n: u64) -> Value {
    let amount = if n % 50 == 49 { json!(n as f64 + 0.5) } else { json!(n) };
    let mood = if n % 97 == 96 { json!({"not": "text"}) } else { json!("calm") };
    let mut event = json!({
        "id": id(sender, n),
        "sender": format!("sender {sender}"),
        "n": n,
        "mood": mood,
        "data": {"amount": amount, "tags": ["a", format!("t{}", n % 5)]},
    });
    event[format!("since_{}", n / 400 % 25)] = json!(n);
    event
}

fn id(sender: u64, n: u64) -> String {
    format!("s{sender}-{n}")
}

fn lock(ledger: &Mutex<Sent>) -> std::sync::MutexGuard<'_, Sent> {
    ledger.lock().expect("no sender panics while it holds this")
}

impl Whereabouts {
    fn set(&self, address: Option<SocketAddr>) {
        *self.address.lock().expect("nobody panics while holding it") = address;
        self.changed.notify_all();
    }

    /// Where the server is, as soon as it is; none when all is over.
    fn wait(&self) -> Option<SocketAddr> {
        let address = self.address.lock().expect("nobody panics while holding it");
        let waiting = |address: &mut Option<SocketAddr>| address.is_none() && !self.over.load(Ordering::SeqCst);
        let address = *self.changed.wait_while(address, waiting).expect("nobody panics while holding it");
        address.filter(|_| !self.over.load(Ordering::SeqCst))
    }

    /// Waits until the server is no longer at `address`.
    fn wait_for_another(&self, address: SocketAddr) {
        let known = self.address.lock().expect("nobody panics while holding it");
        let waiting = |known: &mut Option<SocketAddr>| *known == Some(address) && !self.over.load(Ordering::SeqCst);
        drop(self.changed.wait_while(known, waiting).expect("nobody panics while holding it"));
    }
}

struct EndOnDrop<'a>(&'a Whereabouts);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.0.set(None);
    }
}
