//! What no proper client does, from bombs to clients that never read: each with its answer, and a server that is well after.
//!
//! One server takes all of it. After each row of the table a good event is acknowledged on a new connection; at the end
//! every good event is a row, once, memory stayed below a bound, and no connection is left over. What has to be waited for
//! runs side by side, while good events go on.

mod bodies;
mod http1;
mod http2;
mod postgres;
mod signed;
mod slow;
mod sql;
mod wire;

use std::time::{Duration, Instant};

use lacus_testkit::{Http, Server};

use self::wire::{is_over, told};

/// The most memory the server may ever have had, in MB: unoptimised, and all of the table after each other.
const MEMORY_MB_MAX: u64 = 600;
/// How long a row may take, of those that don't wait.
const ROW_MAX: Duration = Duration::from_secs(20);

/// Bytes for one of the ports, and what is told.
struct Row {
    what: String,
    port: Port,
    send: Vec<u8>,
    answer: Answer,
}

#[derive(Clone, Copy)]
enum Port {
    Http,
    Postgres,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    /// An HTTP status, and a part of what is said with it.
    Status(u16, &'static str),
    /// These bytes are among what is told, and then the connection ends.
    HangsUp(&'static str),
    /// These bytes are among what is told; the connection may go on.
    Goes(&'static str),
}

impl Row {
    fn new(what: &str, send: impl Into<Vec<u8>>, answer: Answer) -> Self {
        Self { what: what.to_owned(), port: Port::Http, send: send.into(), answer }
    }

    /// Sends it, and compares what is told.
    fn check(&self, server: &Server) {
        let address = match self.port {
            Port::Http => server.http_address(),
            Port::Postgres => server.postgres_address(),
        };
        let text = match self.answer {
            Answer::Status(status, says) => {
                let reply = Http::new(address).exchange(&self.send);
                let reply = reply.unwrap_or_else(|error| panic!("{}: {error}", self.what));
                assert!(
                    reply.status == status && reply.text().contains(says),
                    "{}: {} {} instead of {:?}",
                    self.what,
                    reply.status,
                    reply.text(),
                    self.answer
                );
                return;
            }
            Answer::HangsUp(text) | Answer::Goes(text) => text,
        };
        let mut socket = wire::connect(address);
        wire::send(&mut socket, &self.send);
        let said = told(&mut socket, ROW_MAX, |said| matches!(self.answer, Answer::Goes(_)) && wire::has(said, text));
        assert!(wire::has(&said, text), "{}: {}", self.what, said.escape_ascii());
        assert!(matches!(self.answer, Answer::Goes(_)) || is_over(&mut socket), "{}: it goes on", self.what);
    }
}

/// The events that must all be there, once.
struct Good {
    sent: u64,
}

impl Good {
    /// Sends one more on a new connection.
    fn send(&mut self, server: &Server, after: &str) {
        let body = format!("{{\"good\":{}}}", self.sent);
        let reply = server.http().post("/v1/events?source=good_events", &[], body.as_bytes());
        let reply = reply.unwrap_or_else(|error| panic!("after {after}: {error}"));
        assert!(reply.status == 200, "after {after}: {} {}", reply.status, reply.text());
        self.sent += 1;
    }
}

#[test]
fn the_server_answers_what_is_hostile_and_is_well_after() {
    let lab = signed::Lab::new(env!("CARGO_BIN_EXE_lacus"));
    let server = lab.project.start();
    let mut good = Good { sent: 0 };
    good.send(&server, "the start");
    let quiet = sockets(&server);
    let rows = [http1::rows(), bodies::rows(), http2::rows(), postgres::rows(), lab.rows()];
    for row in rows.into_iter().flatten() {
        row.check(&server);
        good.send(&server, &row.what);
    }
    lab.check_replays(&server);
    http1::check_pipeline(&server);
    good.send(&server, "a thousand requests at once");
    slow::check_all(&server, || good.send(&server, "somebody who is slow"));
    slow::check_more_than_are_served(&server);
    good.send(&server, "more connections than are served");
    must_count(&server, "select count(*), count(distinct good) from good_events", good.sent, good.sent);
    lab.check_rows(&server);
    let peak = server.memory_mb_max();
    assert!(peak < MEMORY_MB_MAX, "{peak} MB");
    let deadline = Instant::now() + ROW_MAX;
    while sockets(&server) > quiet {
        assert!(Instant::now() < deadline, "{} sockets are left, there were {quiet}", sockets(&server));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(server.stop().success());
}

/// Waits until `sql` counts `rows` and `distinct`.
fn must_count(server: &Server, sql: &str, rows: u64, distinct: u64) {
    let deadline = Instant::now() + ROW_MAX;
    loop {
        let counted = server.postgres().query(sql);
        if let Ok(counted) = &counted
            && counted.rows[0] == [Some(rows.to_string()), Some(distinct.to_string())]
        {
            return;
        }
        assert!(Instant::now() < deadline, "{sql}: {counted:?}, not {rows} {distinct}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many sockets it has open.
fn sockets(server: &Server) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("read /proc");
    let links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}
