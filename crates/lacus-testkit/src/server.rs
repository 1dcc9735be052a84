//! The real `lacus` binary, serving a project in a directory of the test.
//!
//! A server that is dropped is killed. A test fails if its server logged a WARN or ERROR that nobody allowed; the whole
//! log is printed when a test fails.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::Http;
use crate::postgres::Postgres;
use crate::timed::{Finished, run_for};

/// The longest a start or a clean stop may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a command of the binary may take.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(120);

/// A project: a directory with a `lacus.toml`.
#[derive(Debug)]
pub struct Project {
    binary: PathBuf,
    directory: PathBuf,
    /// Removed when dropped, if it is ours.
    _own: Option<tempfile::TempDir>,
}

impl Project {
    /// A project with these settings, for this binary: `Project::new(env!("CARGO_BIN_EXE_lacus"), "")`. Its directory
    /// is removed when it is dropped.
    ///
    /// # Panics
    /// If the directory can't be made.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, settings: &str) -> Self {
        let own = tempfile::tempdir().expect("make a directory");
        let project = Self::at(own.path(), binary, settings);
        Self { _own: Some(own), ..project }
    }

    /// A project in a directory of the caller.
    ///
    /// # Panics
    /// If its settings can't be written.
    #[must_use]
    pub fn at(directory: &Path, binary: impl Into<PathBuf>, settings: &str) -> Self {
        std::fs::write(directory.join("lacus.toml"), settings).expect("write lacus.toml");
        Self { binary: binary.into(), directory: directory.to_owned(), _own: None }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts a server and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start(&self) -> Server {
        let mut server = self.spawn(|_| ());
        server.ready().unwrap_or_else(|reason| panic!("{reason}"));
        server
    }

    /// Starts a server, after a last change to its command, and does not wait.
    ///
    /// # Panics
    /// If the binary can't be started.
    pub fn spawn(&self, change: impl FnOnce(&mut Command)) -> Server {
        let mut command = self.command(&["up"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", self.binary.display()));
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().expect("nobody panics while holding the log").push(line);
            }
        });
        Server {
            child,
            address_file: self.directory().join(".lacus/server.json"),
            addresses: None,
            log,
            reader: Some(reader),
            allowed: Vec::new(),
        }
    }

    /// Runs a command of the binary on this project: `lacus table flush clicks`.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        run_for(&mut self.command(arguments), COMMAND_TIME_MAX)
    }

    /// Runs a command of the binary on this project, and gives what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn must_run(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments);
        assert!(finished.succeeded(), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
        finished.stdout
    }

    /// Has `lacus doctor` look at this project.
    ///
    /// # Panics
    /// If it finds something wrong.
    #[track_caller]
    pub fn must_be_well(&self) {
        self.must_run(&["doctor"]);
    }

    /// A command of the binary on this project, to be changed and run. Whatever listens, listens on free ports.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--project").arg(self.directory()).env_remove("RUST_LOG");
        command.env("LACUS__SERVER__HTTP", "127.0.0.1:0").env("LACUS__SERVER__POSTGRES", "127.0.0.1:0");
        command
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address_file: PathBuf,
    addresses: Option<(SocketAddr, SocketAddr)>,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    allowed: Vec<String>,
}

impl Server {
    /// Waits until it is ready to take events and queries.
    ///
    /// # Errors
    /// If it ends before, or takes too long.
    ///
    /// # Panics
    /// If the system does not say whether it runs.
    pub fn ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready() {
            if let Some(status) = self.child.try_wait().expect("ask for a child") {
                self.finish_log();
                return Err(format!("lacus up ended with {status}: {}", self.log().join("\n")));
            }
            if Instant::now() > deadline {
                return Err(format!("lacus up is not ready after {PATIENCE:?}: {}", self.log().join("\n")));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn is_ready(&mut self) -> bool {
        if self.addresses.is_none() {
            self.addresses = self.read_addresses();
        }
        let Some((http, _)) = self.addresses else { return false };
        matches!(Http::new(http).get("/readyz"), Ok(reply) if reply.status == 200)
    }

    fn read_addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let text = std::fs::read_to_string(&self.address_file).ok()?;
        let json: serde_json::Value = serde_json::from_str(&text).ok()?;
        let address = |name: &str| json[name].as_str()?.parse().ok();
        if json["pid"] != self.child.id() {
            return None; // written by an earlier server that was killed
        }
        Some((address("http")?, address("postgres")?))
    }

    /// Where it takes HTTP.
    ///
    /// # Panics
    /// If it was not ready yet.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.addresses.expect("the server was ready").0
    }

    /// Where it takes the Postgres wire protocol.
    ///
    /// # Panics
    /// If it was not ready yet.
    #[must_use]
    pub fn postgres_address(&self) -> SocketAddr {
        self.addresses.expect("the server was ready").1
    }

    /// A new HTTP client of it.
    #[must_use]
    pub fn http(&self) -> Http {
        Http::new(self.http_address())
    }

    /// A new Postgres session with it.
    ///
    /// # Panics
    /// If it refuses.
    #[must_use]
    pub fn postgres(&self) -> Postgres {
        Postgres::connect(self.postgres_address()).unwrap_or_else(|failure| panic!("connect: {failure}"))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it ever had in RAM, in MB.
    ///
    /// # Panics
    /// If the system does not say.
    #[must_use]
    pub fn memory_mb_max(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("read /proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a resident size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }

    /// Lets it log a WARN or ERROR that has this text. A panic is never allowed.
    pub fn allow(&mut self, text: &str) {
        self.allowed.push(text.to_owned());
    }

    /// What it logged so far.
    ///
    /// # Panics
    /// Never: nobody panics while holding the log.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("nobody panics while holding the log").clone()
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If the system does not say.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("ask for a child").is_none()
    }

    /// Kills it without warning.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn kill9(mut self) {
        self.child.kill().expect("kill a child");
        self.child.wait().expect("wait for a killed child");
    }

    /// Asks it to stop, and waits until it did.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn stop(mut self) -> ExitStatus {
        self.stop_in_time().unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Asks it to stop, and waits until it did, or had ended before.
    ///
    /// # Errors
    /// If it takes too long.
    ///
    /// # Panics
    /// If the system does not say whether it runs.
    pub fn stop_in_time(&mut self) -> Result<ExitStatus, String> {
        // The signal is lost on a process that ended already: its status is there.
        let _signalled = Command::new("kill").args(["-TERM", &self.pid().to_string()]).output();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!("lacus up did not stop within {PATIENCE:?}"));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn finish_log(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading a log does not panic");
        }
    }

    fn complaints(&self) -> Vec<String> {
        let is_complaint = |line: &String| {
            let is_allowed = self.allowed.iter().any(|text| line.contains(text));
            let is_bad = [" WARN ", "ERROR "].iter().any(|word| line.contains(word));
            is_bad && !is_allowed || line.contains("panicked at")
        };
        self.log().into_iter().filter(is_complaint).collect()
    }
}

impl Drop for Server {
    #[expect(clippy::print_stderr, reason = "a failed test shows the log of its server")]
    fn drop(&mut self) {
        // It may have ended already; then both do nothing.
        let _already_ended = self.child.kill();
        let _already_waited_for = self.child.wait();
        self.finish_log();
        if thread::panicking() {
            eprintln!("the log of the server:\n{}", self.log().join("\n"));
            return;
        }
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "the server complained:\n{}", complaints.join("\n"));
    }
}
