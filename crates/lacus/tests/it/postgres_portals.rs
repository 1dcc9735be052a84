//! How long portals of the Postgres protocol live, message by message: drivers hide most of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use lacus_testkit::{Project, Server};

/// The longest a message of the server may take.
const REPLY_TIME_MAX: Duration = Duration::from_secs(60);
const ROWS: &str = "SELECT value FROM generate_series(1, 3) ORDER BY 1";

/// A session that is spoken message by message.
struct Wire(TcpStream);

impl Wire {
    fn new(server: &Server) -> Self {
        let stream = TcpStream::connect(server.postgres_address()).expect("connect");
        stream.set_read_timeout(Some(REPLY_TIME_MAX)).expect("set a timeout");
        let mut wire = Self(stream);
        let body = b"\0\x03\0\0user\0lacus\0database\0lake\0\0";
        let length = u32::try_from(body.len() + 4).expect("it is short");
        wire.0.write_all(&[length.to_be_bytes().as_slice(), body].concat()).expect("send");
        wire.until_ready();
        wire
    }

    /// What is answered to these messages until the server is ready again.
    fn say(&mut self, messages: &[(u8, Vec<u8>)]) -> String {
        let mut bytes = Vec::new();
        for (kind, body) in messages {
            bytes.push(*kind);
            bytes.extend(u32::try_from(body.len() + 4).expect("it is short").to_be_bytes());
            bytes.extend(body);
        }
        self.0.write_all(&bytes).expect("send");
        self.until_ready()
    }

    /// The kinds of the answers, each with what matters of it: the value of a row, the SQLSTATE of an error, the status of the
    /// transaction.
    fn until_ready(&mut self) -> String {
        let mut told = Vec::new();
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).expect("the server answers");
            let [kind, length @ ..] = head;
            let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("it fits") - 4];
            self.0.read_exact(&mut body).expect("the server answers");
            let body = String::from_utf8_lossy(&body).into_owned();
            match kind {
                b'Z' => {
                    told.push(format!("Z{body}"));
                    return told.join(" ");
                }
                // One value: their number and its length come before it.
                b'D' => told.push(format!("D{}", &body[6..])),
                b'E' => {
                    let code = body.split('\0').find_map(|field| field.strip_prefix('C'));
                    told.push(format!("E{}", code.expect("an error has an SQLSTATE")));
                }
                // What a session begins with.
                b'R' | b'S' | b'K' => {}
                kind => told.push(char::from(kind).to_string()),
            }
        }
    }

    fn query(&mut self, sql: &str) -> String {
        self.say(&[(b'Q', format!("{sql}\0").into_bytes())])
    }
}

fn parse(sql: &str) -> (u8, Vec<u8>) {
    (b'P', format!("\0{sql}\0\0\0").into_bytes())
}

/// Of the statement without a name.
fn bind(portal: &str) -> (u8, Vec<u8>) {
    (b'B', format!("{portal}\0\0\0\0\0\0\0\0").into_bytes())
}

/// So many rows, or all if that is 0.
fn execute(portal: &str, rows: u8) -> (u8, Vec<u8>) {
    (b'E', [format!("{portal}\0\0\0\0").as_bytes(), &[rows]].concat())
}

fn sync() -> (u8, Vec<u8>) {
    (b'S', Vec::new())
}

fn check(work: impl FnOnce(&mut Wire)) {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), "");
    let server = project.start();
    let mut wire = Wire::new(&server);
    work(&mut wire);
    drop(wire);
    assert!(server.stop().success());
}

#[test]
fn outside_a_block_portals_end_with_sync() {
    check(|wire| {
        for name in ["", "p"] {
            let told = wire.say(&[parse(ROWS), bind(name), execute(name, 1), execute(name, 1), sync()]);
            assert_eq!(told, "1 2 D1 s D2 s ZI");
            assert_eq!(wire.say(&[execute(name, 1), sync()]), "E34000 ZI");
            assert_eq!(wire.say(&[(b'D', format!("P{name}\0").into_bytes()), sync()]), "E34000 ZI");
        }
        // More than a connection may have at once.
        for number in 0..100 {
            assert_eq!(wire.say(&[bind(&format!("p{number}")), sync()]), "2 ZI", "{number}");
        }
    });
}

#[test]
fn within_a_block_portals_live_until_it_ends() {
    check(|wire| {
        for name in ["", "p"] {
            assert_eq!(wire.query("BEGIN"), "C ZT");
            assert_eq!(wire.say(&[parse(ROWS), bind(name), execute(name, 1), sync()]), "1 2 D1 s ZT");
            assert_eq!(wire.say(&[execute(name, 1), sync()]), "D2 s ZT");
            assert_eq!(wire.say(&[execute(name, 0), sync()]), "D3 C ZT");
            assert_eq!(wire.query("COMMIT"), "C ZI");
            assert_eq!(wire.say(&[execute(name, 0), sync()]), "E34000 ZI");
        }
        assert_eq!(wire.query("BEGIN"), "C ZT");
        assert_eq!(wire.say(&[parse(ROWS), bind(""), execute("", 1), sync()]), "1 2 D1 s ZT");
        assert_eq!(wire.query("SELECT 7"), "T D7 C ZT");
        assert_eq!(wire.say(&[execute("", 1), sync()]), "E34000 ZE", "a simple query ends the portal without a name");
    });
}

#[test]
fn in_a_block_that_failed_no_portal_goes_on() {
    check(|wire| {
        assert_eq!(wire.query("BEGIN"), "C ZT");
        assert_eq!(wire.say(&[parse(ROWS), bind("p"), execute("p", 1), sync()]), "1 2 D1 s ZT");
        assert_eq!(wire.query("SAVEPOINT a"), "C ZT");
        assert_eq!(wire.query("SELECT nothing"), "E42703 ZE");
        assert_eq!(wire.say(&[execute("p", 1), sync()]), "E25P02 ZE");
        assert_eq!(wire.query("ROLLBACK TO a"), "C ZT");
        assert_eq!(wire.say(&[execute("p", 1), sync()]), "D2 s ZT", "it is older than the savepoint");
        assert_eq!(wire.query("ROLLBACK"), "C ZI");
        assert_eq!(wire.say(&[execute("p", 1), sync()]), "E34000 ZI");
    });
}
