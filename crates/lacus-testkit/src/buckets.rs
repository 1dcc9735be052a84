//! A real server of the S3 protocol (moto) on the loopback, with one bucket.
//!
//! It holds its objects in memory: it can be stalled, but not started again. To have it go away, put a proxy in between.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::database::free_port;
use crate::environment::python;
use crate::http::Http;

/// The longest that a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// An S3 server; it ends when this is dropped.
#[derive(Debug)]
pub struct Buckets {
    server: Child,
    address: SocketAddr,
}

impl Buckets {
    /// The bucket that it has.
    pub const BUCKET: &str = "events";

    /// Starts a server that asks for no credentials in particular.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        let mut buckets = Self::launch(|_| ());
        buckets.must(|http| http.send("PUT", "/events", &[], b""));
        buckets
    }

    /// Starts a server that knows nobody, and refuses everybody.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_refusing() -> Self {
        Self::launch(|command| {
            command.env("INITIAL_NO_AUTH_ACTION_COUNT", "0");
        })
    }

    fn launch(change: impl FnOnce(&mut Command)) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(python().with_file_name("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        change(&mut command);
        let mut buckets = Self { server: command.spawn().expect("start moto_server"), address };
        buckets.must(|http| http.get("/moto-api/data.json"));
        buckets
    }

    /// Asks until it is answered well.
    fn must(&mut self, ask: impl Fn(&mut Http) -> std::io::Result<crate::http::Reply>) {
        let deadline = Instant::now() + PATIENCE;
        while !ask(&mut Http::new(self.address)).is_ok_and(|reply| reply.status == 200) {
            assert!(Instant::now() < deadline, "moto_server is not ready after {PATIENCE:?}");
            assert!(self.server.try_wait().expect("ask for a child").is_none(), "moto_server ended");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it stall, or go on: its connections stay.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn stall(&self, stalls: bool) {
        let signal = if stalls { "-STOP" } else { "-CONT" };
        let signalled = Command::new("kill").args([signal, &self.server.id().to_string()]).status();
        assert!(signalled.is_ok_and(|status| status.success()), "kill {signal}");
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        // It may have ended already; then both do nothing.
        let _already_ended = self.server.kill();
        let _already_waited_for = self.server.wait();
    }
}
