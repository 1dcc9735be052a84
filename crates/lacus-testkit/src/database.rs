//! A real PostgreSQL server in a directory of the test, that can be stopped hard and started again.
//!
//! It listens on a free port of the loopback and asks for a password. PostgreSQL refuses to run as root; there it runs as the
//! user `postgres`, which its package makes.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::timed::run_for;

/// The longest that making a database, a start or a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The password of its user `lacus`.
pub const PASSWORD: &str = "correct-horse";

/// A PostgreSQL server; it ends when this is dropped.
#[derive(Debug)]
pub struct Database {
    directory: tempfile::TempDir,
    programs: PathBuf,
    /// Who runs it, if not the user of the test.
    user: Option<(u32, u32)>,
    port: u16,
    /// Whether it speaks TLS.
    has_tls: bool,
    server: Option<Child>,
}

impl Database {
    /// Makes a database cluster and starts its server.
    ///
    /// # Panics
    /// If PostgreSQL is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        let user = (fs::metadata(directory.path()).expect("it is there").uid() == 0).then(postgres_user);
        let mut database =
            Self { directory, programs: programs(), user, port: free_port(), has_tls: false, server: None };
        database.make();
        database.start_again();
        database
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The process that starts one for each session.
    ///
    /// # Panics
    /// If it was stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("PostgreSQL runs").id()
    }

    /// The URL of one of its databases for `address`, which may be that of a proxy.
    #[must_use]
    pub fn url_at(&self, address: SocketAddr, name: &str) -> String {
        format!("postgres://lacus:{PASSWORD}@{address}/{name}")
    }

    /// The URL of its database `postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.address(), "postgres")
    }

    /// Makes a database, and says its URL.
    ///
    /// # Panics
    /// If the server refuses.
    #[must_use]
    pub fn create(&self, name: &str) -> String {
        self.query(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        self.url_at(self.address(), name)
    }

    /// Runs SQL in its database `postgres` with its own client, and says what it answers.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn query(&self, sql: &str) -> String {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--dbname", &self.url()]);
        let finished = run_for(psql.args(["--command", sql]), PATIENCE);
        assert!(finished.succeeded(), "{sql}: {}", finished.stderr);
        finished.stdout.trim().to_owned()
    }

    /// Has it speak TLS from now on, with `server.crt` and `server.key` in this directory; it starts anew.
    ///
    /// # Panics
    /// If they are not there, or it does not start.
    pub fn speak_tls(&mut self, certificates: &Path) {
        for file in ["server.crt", "server.key"] {
            let own = self.directory.path().join(file);
            fs::copy(certificates.join(file), &own).expect("copy a certificate");
            if let Some((user, group)) = self.user {
                chown(&own, Some(user), Some(group)).expect("give a certificate to postgres");
            }
        }
        self.has_tls = true;
        self.crash();
        self.start_again();
    }

    /// Stops it as a crash would: every session ends, and the next start recovers.
    ///
    /// # Panics
    /// If it does not end.
    pub fn crash(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        signal(&server, "-QUIT");
        let deadline = Instant::now() + PATIENCE;
        while server.try_wait().expect("wait for a child").is_none() {
            assert!(Instant::now() < deadline, "PostgreSQL does not stop");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts it after a crash, on the same port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&mut self) {
        let place = self.directory.path().display().to_string();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-k", &place]);
        // The machine of a test does not lose power: what a process wrote is there.
        command.args(["-c", "fsync=off", "-c", "log_min_messages=panic"]);
        if self.has_tls {
            command.args(["-c", "ssl=on", "-c", &format!("ssl_cert_file={place}/server.crt")]);
            command.args(["-c", &format!("ssl_key_file={place}/server.key")]);
        }
        self.server =
            Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start"));
        let deadline = Instant::now() + PATIENCE;
        let port = self.port.to_string();
        let is_ready = || {
            let mut asked = self.command("pg_isready");
            run_for(asked.args(["-h", "127.0.0.1", "-p", &port]), PATIENCE)
                .status
                .is_some_and(|status| status.success())
        };
        while !is_ready() {
            assert!(Instant::now() < deadline, "PostgreSQL is not ready after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn make(&self) {
        let password = self.directory.path().join("password");
        fs::write(&password, PASSWORD).expect("write the password");
        if let Some((user, group)) = self.user {
            for path in [self.directory.path(), &password] {
                chown(path, Some(user), Some(group)).expect("give the directory to postgres");
            }
        }
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(self.data()).args(["-U", "lacus", "--auth=scram-sha-256", "--no-sync"]);
        initdb.args(["--encoding=UTF8", "--locale=C"]).arg(format!("--pwfile={}", password.display()));
        let finished = run_for(&mut initdb, PATIENCE);
        assert!(finished.succeeded(), "initdb: {}", finished.stderr);
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.directory.path());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            signal(&server, "-QUIT");
            // It ends by itself; a child that was waited for leaves nothing behind.
            let _ended = server.wait();
        }
    }
}

fn signal(process: &Child, signal: &str) {
    // It is lost on a process that ended already, which is what it asks for.
    let _signalled = Command::new("kill").args([signal, &process.id().to_string()]).output();
}

/// Where the newest PostgreSQL of the machine has its programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.map(|entry| entry.path()).max_by_key(|path| number(path));
    let found = newest.map(|path| path.join("bin")).filter(|path| path.join("initdb").is_file());
    found.expect("PostgreSQL is not installed: run tests/install.sh")
}

/// The user and group ids of `postgres`.
fn postgres_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("the list of users");
    let line = users.lines().find_map(|line| line.strip_prefix("postgres:"));
    let mut fields = line.expect("PostgreSQL is not installed: run tests/install.sh").split(':').skip(1);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).expect("a number of /etc/passwd");
    (number(), number())
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
