//! Senders that send again until they are answered, and sometimes once more, while the server is killed and shards split
//! and merge: each event is a row once, and the events of a key are in order.
//!
//! Unlike in [`crate::kill`], an id comes many times here. Of 10 million events in `make prove` a tenth is sent twice on purpose.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lacus_testkit::environment::{Random, prove, seed, setting};
use lacus_testkit::{Http, Project, Server};

const SETTINGS: &str = r#"
[stream]
segment_bytes_max = "4MB"

[delivery]
commit_bytes = "2MB"
commit_after = "500ms"

[sources.events]
id = "id"
partition_key = "sender"
partitions = 2
"#;

const SENDERS: u64 = 4;
/// Events of one request.
const BATCH: u64 = 500;
/// Of so many requests in a hundred, an earlier one is sent once more.
const REPLAYED_PERCENT: u64 = 10;
/// Shards of the stream, at most.
const SHARDS_MAX: u64 = 6;
/// How long all that was sent may take to show.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

/// What all threads of a run share.
struct Run {
    events_each: u64,
    seed: u64,
    server: Mutex<Option<SocketAddr>>,
    changed: Condvar,
    acknowledged: AtomicU64,
    replayed: AtomicU64,
    failed: AtomicBool,
}

#[test]
#[expect(clippy::print_stdout, reason = "how much was tried belongs to the test's output")]
fn what_is_sent_again_and_again_is_a_row_once_and_in_order() {
    let kills: u64 = setting("LACUS_KILLS", if prove() { 200 } else { 15 });
    let events: u64 = setting("LACUS_EVENTS", if prove() { 10_000_000 } else { 120_000 });
    let run = Run {
        events_each: events / SENDERS / BATCH * BATCH,
        seed: seed(),
        server: Mutex::new(None),
        changed: Condvar::new(),
        acknowledged: AtomicU64::new(0),
        replayed: AtomicU64::new(0),
        failed: AtomicBool::new(false),
    };
    println!("LACUS_SEED={} LACUS_KILLS={kills} LACUS_EVENTS={events}", run.seed);
    let begun = Instant::now();
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), SETTINGS);
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                scope.spawn({
                    let run = &run;
                    move || run.send(sender)
                })
            })
            .collect();
        let mut random = Random::new(run.seed);
        let all = run.events_each * SENDERS;
        for life in 1..=kills {
            run.live_and_die(&project, &mut random, all * life / (kills + 1));
        }
        let server = project.start();
        run.lead_to(Some(server.http_address()));
        for sender in senders {
            sender.join().expect("a sender sends all");
        }
        run.check(&server);
        assert!(server.stop().success());
    });
    let (all, replayed) = (run.events_each * SENDERS, run.replayed.load(Ordering::Relaxed));
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{kills} kills, {all} events sent until answered, {replayed} of them once more: all there once, {seconds:.0} s"
    );
}

impl Run {
    /// A life of the server, which ends when so many events are acknowledged. Now and then shards split or merge.
    fn live_and_die(&self, project: &Project, random: &mut Random, until: u64) {
        let server = project.start();
        self.lead_to(Some(server.http_address()));
        if random.below(3) == 0 {
            let body = format!("{{\"shards\":{}}}", 1 + random.below(SHARDS_MAX));
            let json = [("content-type", "application/json")];
            let reply = server.http().post("/v1/streams/events/reshard", &json, body.as_bytes());
            // There may be no stream yet.
            let status = reply.expect("the server answers").status;
            assert!([200, 404].contains(&status), "reshard: {status}");
        }
        let deadline = Instant::now() + CATCH_UP_MAX;
        while self.acknowledged.load(Ordering::Relaxed) < until && !self.failed.load(Ordering::Relaxed) {
            assert!(Instant::now() < deadline, "LACUS_SEED={}: senders don't get on", self.seed);
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(random.below(30)));
        server.kill9();
        self.lead_to(None);
    }

    fn lead_to(&self, server: Option<SocketAddr>) {
        *self.server.lock().expect("nobody panics while holding it") = server;
        self.changed.notify_all();
    }

    /// Where the server is, as soon as it is somewhere else than where it does not answer.
    fn server(&self, dead: Option<SocketAddr>) -> SocketAddr {
        let server = self.server.lock().expect("nobody panics while holding it");
        let is_down = |server: &mut Option<SocketAddr>| server.is_none() || *server == dead;
        let server = self.changed.wait_while(server, is_down).expect("nobody panics while holding it");
        server.expect("it was waited for")
    }

    /// Sends all events of a sender, in order, each request until it is answered.
    fn send(&self, sender: u64) {
        let _end = FailOnPanic(&self.failed);
        let mut random = Random::new(self.seed ^ (sender + 1) << 40);
        let mut connection = Http::new(self.server(None));
        let mut address = self.server(None);
        for first in (0..self.events_each).step_by(usize::try_from(BATCH).expect("it is small")) {
            self.post(&mut connection, &mut address, sender, first..first + BATCH);
            self.acknowledged.fetch_add(BATCH, Ordering::Relaxed);
            if random.below(100) < REPLAYED_PERCENT {
                let earlier = random.below(first / BATCH + 1) * BATCH;
                self.post(&mut connection, &mut address, sender, earlier..earlier + BATCH);
                self.replayed.fetch_add(BATCH, Ordering::Relaxed);
            }
        }
    }

    fn post(&self, connection: &mut Http, address: &mut SocketAddr, sender: u64, numbers: Range<u64>) {
        let body: String = numbers
            .map(|n| format!("{{\"id\":\"{sender}-{n}\",\"sender\":\"sender {sender}\",\"n\":{n}}}\n"))
            .collect();
        loop {
            match connection.post("/v1/events?source=events", &[], body.as_bytes()).map(|reply| reply.status) {
                Ok(200) => return,
                Ok(429 | 503) => thread::sleep(Duration::from_millis(5)),
                Ok(status) => panic!("LACUS_SEED={}: the server answers {status} to good events", self.seed),
                // Killed before, during or after: nobody knows, so it is sent again.
                Err(_) => {
                    *address = self.server(Some(*address));
                    *connection = Http::new(*address);
                }
            }
        }
    }

    fn check(&self, server: &Server) {
        let all = self.events_each * SENDERS;
        let expected = format!("{all} {all}");
        let deadline = Instant::now() + CATCH_UP_MAX;
        loop {
            let told = ask(server, "SELECT count(*), count(DISTINCT id) FROM events");
            if told == expected {
                break;
            }
            let rows: u64 = told.split(' ').next().and_then(|rows| rows.parse().ok()).unwrap_or(0);
            let seed = self.seed;
            assert!(
                rows <= all && Instant::now() < deadline,
                "LACUS_SEED={seed}: rows and ids are {told}, not {expected}"
            );
            thread::sleep(Duration::from_millis(100));
        }
        for sender in 0..SENDERS {
            // Shards are numbered so that children come after their parents.
            let sql = format!(
                "SELECT count(*), max(n) FROM (SELECT n, lag(n) OVER (ORDER BY _partition, _offset) AS before FROM events WHERE sender = 'sender {sender}') WHERE before IS NULL OR before < n"
            );
            let expected = format!("{} {}", self.events_each, self.events_each - 1);
            assert_eq!(ask(server, &sql), expected, "LACUS_SEED={}: events of sender {sender} in order", self.seed);
        }
    }
}

fn ask(server: &Server, sql: &str) -> String {
    let rows = server.postgres().query(sql).unwrap_or_else(|failure| panic!("{sql}: {failure}"));
    rows.rows[0].iter().map(|cell| cell.clone().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

struct FailOnPanic<'a>(&'a AtomicBool);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(thread::panicking(), Ordering::Relaxed);
    }
}
