//! Other servers on this machine: each in a process of its own, on a free port of the loopback address, in a folder of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lacus_testkit::environment::python;
use tempfile::TempDir;

/// The longest a peer may take to listen.
const START_MAX: Duration = Duration::from_secs(30);

/// A server that runs until this is dropped.
pub(super) struct Peer {
    child: Child,
    pub(super) address: SocketAddr,
    _directory: TempDir,
}

impl Peer {
    /// Redis with `appendfsync always`: it answers when the event is on disk. Rewriting its file is off, which is quicker.
    pub(super) fn redis() -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        command.args(["--auto-aof-rewrite-percentage", "0", "--bind", "127.0.0.1", "--port"]);
        Self::start(command, |command, port| command.arg(port))
    }

    /// moto's server, which keeps streams in memory.
    pub(super) fn moto() -> Self {
        let mut command = Command::new(python());
        command.args(["-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p"]);
        Self::start(command, |command, port| command.arg(port))
    }

    fn start(mut command: Command, with_port: impl FnOnce(&mut Command, String) -> &mut Command) -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        drop(listener);
        with_port(&mut command, address.port().to_string());
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child =
            command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", command.get_program().display()));
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < START_MAX, "{} does not listen", command.get_program().display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, address, _directory: directory }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ended already if this fails.
        let _ended = self.child.kill();
        let _waited_for = self.child.wait();
    }
}
