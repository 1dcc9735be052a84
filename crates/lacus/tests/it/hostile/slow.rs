//! Clients that wait, or let the server wait: each is cut off in time, and nobody else waits for them.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use lacus_testkit::Server;

use super::wire::{connect, has, is_over, is_waiting, request, told};
use super::{ROW_MAX, http2, postgres};

/// A connection waits this long for its client, at most: a minute, up to a quarter more, and the farewell.
const CUT_OFF_MAX: Duration = Duration::from_secs(85);
/// The fixed bound of a body is half a minute.
const BODY_MAX: Duration = Duration::from_secs(35);
/// How often a slow client sends a byte.
const BYTE_EVERY: Duration = Duration::from_millis(500);
/// Connections that are served at once, unless settings say otherwise.
const CONNECTIONS_MAX: usize = 256;
/// An answer of gigabytes.
const LARGE: &[u8] = b"select repeat('x', 1000) from generate_series(1, 10000000)";
/// A long answer in pieces that are somewhat larger than what a client of HTTP/2 lets come at first.
const LONG: &[u8] = b"select repeat('x', 8) from generate_series(1, 100000000)";

/// What a client does, until it is cut off.
type Behaviour = fn(&Server);

const BEHAVIOURS: [(&str, Behaviour); 14] = [
    ("says nothing", |server| is_cut_off(server.http_address(), b"", "")),
    ("says nothing after a request", |server| {
        is_cut_off(server.http_address(), &request("GET", "/livez", &[], b""), "alive");
    }),
    ("half a request", |server| is_cut_off(server.http_address(), b"GET /livez HTTP/1.1\r\nhost: ", "")),
    ("half a beginning of HTTP/2", |server| is_cut_off(server.http_address(), b"PRI * HT", "")),
    ("HTTP/2 without settings", |server| {
        is_cut_off(server.http_address(), &http2::begin(b"")[..24], "");
    }),
    ("HTTP/2 without requests", |server| is_cut_off(server.http_address(), &http2::begin(b""), "")),
    ("HTTP/2 that lets nothing come", no_window),
    ("HTTP/2 that leaves one answer and takes others", leaves_one),
    ("a head, byte by byte", |server| {
        drips(server, b"GET /livez HTTP/1.1\r\nx: ", CUT_OFF_MAX, "");
    }),
    ("an event, byte by byte", |server| {
        let head = request("POST", "/v1/events?source=strange", &[("content-length", "100000")], b"");
        drips(server, &head, BODY_MAX, "HTTP/1.1 408 ");
    }),
    ("SQL, byte by byte", |server| {
        let head = request("POST", "/v1/sql", &[("content-length", "100000")], b"");
        drips(server, &head, CUT_OFF_MAX, "HTTP/1.1 400 ");
    }),
    ("asks and never reads", asks_and_never_reads),
    ("a large answer that nobody reads", never_reads_a_large_answer),
    ("Postgres that does not begin", |server| is_cut_off(server.postgres_address(), b"\0\0\0\x29\0\x03\0\0user", "")),
];

/// All of them at the same time, while `good` events go on.
pub(super) fn check_all(server: &Server, mut good: impl FnMut()) {
    thread::scope(|scope| {
        let clients: Vec<_> = BEHAVIOURS.map(|(what, behave)| (what, scope.spawn(move || behave(server)))).into();
        while clients.iter().any(|(_, client)| !client.is_finished()) {
            good();
            thread::sleep(BYTE_EVERY);
        }
        for (what, client) in clients {
            assert!(client.join().is_ok(), "{what}: see above");
        }
    });
}

/// Sends this, and waits for the end; before it comes what `says`.
fn is_cut_off(address: SocketAddr, sends: &[u8], says: &str) {
    let mut socket = connect(address);
    socket.write_all(sends).expect("send");
    ends(&mut socket, CUT_OFF_MAX, says);
}

fn ends(socket: &mut TcpStream, within: Duration, says: &str) {
    let said = told(socket, within, |_| false);
    assert!(has(&said, says), "{says:?} is missing in: {}", said.escape_ascii());
    assert!(is_over(socket), "it goes on after {within:?}: {}", said.escape_ascii());
}

/// Sends a beginning, and then a byte now and then.
fn drips(server: &Server, begin: &[u8], within: Duration, says: &str) {
    let mut socket = connect(server.http_address());
    socket.write_all(begin).expect("send");
    let deadline = Instant::now() + within;
    let mut said = Vec::new();
    while Instant::now() < deadline {
        said.extend(told(&mut socket, BYTE_EVERY, |_| false));
        if !said.is_empty() || socket.write_all(b"x").is_err() {
            // What it said between the two is still to be read.
            said.extend(told(&mut socket, BYTE_EVERY, |_| false));
            assert!(has(&said, says), "{says:?} is missing in: {}", said.escape_ascii());
            return;
        }
    }
    panic!("it goes on after {within:?}");
}

/// Asks for what is larger than the window that it never opens.
fn no_window(server: &Server) {
    let initial_window = b"\0\x04\0\0\0\0";
    let mut socket = connect(server.http_address());
    socket.write_all(&[http2::begin(initial_window), http2::get(1, "/openapi.json")].concat()).expect("send");
    ends(&mut socket, CUT_OFF_MAX, "");
}

/// Leaves an answer and goes on asking: that answer ends, and the connection goes on.
fn leaves_one(server: &Server) {
    let mut socket = connect(server.http_address());
    let asks = [http2::begin(b""), http2::room(0, 16 << 20), http2::post(1, "/v1/sql", LONG)].concat();
    socket.write_all(&asks).expect("send");
    let (deadline, mut stream) = (Instant::now() + CUT_OFF_MAX, 3);
    while Instant::now() < deadline {
        socket.write_all(&http2::get(stream, "/livez")).expect("the connection goes on");
        let said = told(&mut socket, ROW_MAX, |said| has(said, "alive"));
        assert!(has(&said, "alive"), "{}", said.escape_ascii());
        thread::sleep(BYTE_EVERY);
        stream += 2;
    }
    socket.write_all(&http2::room(1, 900 << 10)).expect("send");
    let said = told(&mut socket, ROW_MAX, |said| has(said, http2::FIRST_BROKEN_OFF));
    assert!(has(&said, http2::FIRST_BROKEN_OFF), "{} bytes more came", said.len());
}

fn asks_and_never_reads(server: &Server) {
    let mut socket = connect(server.http_address());
    socket.set_write_timeout(Some(BYTE_EVERY)).expect("set an option");
    let requests = request("GET", "/openapi.json", &[], b"").repeat(100);
    let deadline = Instant::now() + CUT_OFF_MAX;
    while Instant::now() < deadline {
        match socket.write(&requests) {
            Err(error) if !is_waiting(&error) => return,
            _ => {}
        }
    }
    panic!("it goes on after {CUT_OFF_MAX:?}");
}

fn never_reads_a_large_answer(server: &Server) {
    let mut socket = connect(server.http_address());
    socket.write_all(&request("POST", "/v1/sql", &[], LARGE)).expect("send");
    thread::sleep(CUT_OFF_MAX);
    // What the two systems keep between us is still there; then comes the end, long before that of the answer.
    ends(&mut socket, ROW_MAX, "HTTP/1.1 200 OK");
}

/// More connections than are served at once: those too many wait, and are served when others go.
pub(super) fn check_more_than_are_served(server: &Server) {
    let mut idle: Vec<_> = (0..CONNECTIONS_MAX).map(|_| connect(server.http_address())).collect();
    let mut waiting: Vec<_> = (0..20).map(|_| connect(server.http_address())).collect();
    for socket in &mut waiting {
        socket.write_all(&request("GET", "/livez", &[], b"")).expect("send");
    }
    let early = told(&mut waiting[0], Duration::from_secs(1), |said| !said.is_empty());
    assert!(early.is_empty(), "more than {CONNECTIONS_MAX} are served: {}", early.escape_ascii());
    idle.truncate(CONNECTIONS_MAX - waiting.len());
    for socket in &mut waiting {
        let said = told(socket, ROW_MAX, |said| has(said, "alive"));
        assert!(has(&said, "alive"), "{}", said.escape_ascii());
        socket.shutdown(Shutdown::Both).expect("close");
    }
    let mut session = connect(server.postgres_address());
    session.write_all(&postgres::startup()).expect("send");
    let said = told(&mut session, ROW_MAX, |said| has(said, "server_version"));
    assert!(has(&said, "server_version"), "Postgres has connections of its own");
}
