//! A proxy that loses answers: requests reach the server whole, and some of the answers never reach the client.
//!
//! That is what a broken network looks like to a sender: it can't know whether what it sent is stored, and sends it again.
//! It works on bytes, so that any protocol goes through it, and outlives a server that is killed and started again.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::environment::Random;

/// A connection on which nothing moves for this long is over.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A running proxy; it ends with the process.
#[derive(Debug)]
pub struct LossyProxy {
    /// Where clients connect to.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: Mutex<Option<SocketAddr>>,
    percent: u64,
    random: Mutex<Random>,
    lost: AtomicU64,
}

impl LossyProxy {
    /// Starts a proxy that loses `percent` of the answers.
    ///
    /// # Panics
    /// If there is no free port.
    #[must_use]
    pub fn start(percent: u64, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let random = Mutex::new(Random::new(seed));
        let shared = Arc::new(Shared { server: Mutex::new(None), percent, random, lost: AtomicU64::new(0) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.serve(&client));
            }
        });
        Self { address, shared }
    }

    /// Says where the server is now; `None` while it is down.
    pub fn lead_to(&self, server: Option<SocketAddr>) {
        *self.shared.server.lock().expect("nobody panics while holding it") = server;
    }

    /// How many answers were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Whatever goes wrong with a connection ends it, as it would on a real network.
    fn serve(&self, client: &TcpStream) {
        let server = *self.server.lock().expect("nobody panics while holding it");
        let Some(server) = server.and_then(|server| TcpStream::connect(server).ok()) else { return };
        for side in [client, &server] {
            side.set_read_timeout(Some(SILENCE_MAX)).ok();
            side.set_nodelay(true).ok();
        }
        // Set when the client has sent since the last answer: the next bytes of the server begin an answer.
        let asked = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                pump(client, &server, || {
                    asked.store(true, Ordering::Relaxed);
                    true
                });
                server.shutdown(Shutdown::Write).ok();
            });
            pump(&server, client, || !(asked.swap(false, Ordering::Relaxed) && self.loses()));
            client.shutdown(Shutdown::Both).ok();
            server.shutdown(Shutdown::Both).ok();
        });
    }

    fn loses(&self) -> bool {
        let loses = self.random.lock().expect("nobody panics while holding it").below(100) < self.percent;
        self.lost.fetch_add(u64::from(loses), Ordering::Relaxed);
        loses
    }
}

/// Passes bytes on until one side ends or `may_pass` says no.
fn pump(mut from: &TcpStream, mut to: &TcpStream, may_pass: impl Fn() -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !may_pass() || to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
