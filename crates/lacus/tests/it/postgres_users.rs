//! Who may connect over the Postgres protocol: passwords and TLS, with real clients and with what is none.
//!
//! Certificates are made by openssl: one that signs, and one for 127.0.0.1.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lacus_testkit::{Finished, Project, Server, make_certificates, run_for};
use serde_json::{Value, json};

use crate::clients::run_client;

const LACUS: &str = env!("CARGO_BIN_EXE_lacus");
/// The longest psql, openssl or Java may take.
const TIME_MAX: Duration = Duration::from_secs(60);
const TLS: &str = "[postgres]\ntls_certificate = \"server.crt\"\ntls_key = \"server.key\"\n";

/// A user with a password that lacus makes.
fn create(project: &Project, name: &str, more: &[&str]) -> String {
    let made = project.run(&[&["user", "create", name, "--json"], more].concat());
    let user: Value = serde_json::from_str(&made.stdout).unwrap_or_else(|error| panic!("{error}: {}", made.stderr));
    user["password"].as_str().expect("a password that is made is told").to_owned()
}

#[track_caller]
fn succeeded(finished: &Finished) -> &str {
    let code = finished.status.and_then(|status| status.code());
    assert_eq!(code, Some(0), "stdout: {}\nstderr: {}", finished.stdout, finished.stderr);
    &finished.stdout
}

/// Runs `lacus` with text on its stdin.
fn with_stdin(project: &Project, arguments: &[&str], stdin: &str) -> String {
    let mut command = project.command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start lacus");
    child.stdin.take().expect("it is piped").write_all(stdin.as_bytes()).expect("write");
    let done = child.wait_with_output().expect("wait for lacus");
    assert!(done.status.success());
    String::from_utf8(done.stdout).expect("text")
}

/// What psql says: who we are, or why not.
fn psql(server: &Server, settings: &str, password: &str) -> Result<String, String> {
    let address = server.postgres_address();
    let mut psql = Command::new("psql");
    let place = format!("host={} port={} dbname=lake {settings}", address.ip(), address.port());
    psql.args(["-X", "-w", "-A", "-t", "-c", "SELECT current_user, session_user"])
        .arg(place)
        .env("PGPASSWORD", password);
    let told = run_for(&mut psql, TIME_MAX);
    if told.succeeded() {
        return Ok(told.stdout.trim().to_owned());
    }
    Err(told.stderr)
}

#[track_caller]
fn refused(server: &Server, settings: &str, password: &str, expected: &str) {
    match psql(server, settings, password) {
        Ok(who) => panic!("{settings} was let in as {who}"),
        Err(told) => assert!(told.contains(expected), "{settings}: {told}"),
    }
}

fn with_tls(more: &str) -> (Project, PathBuf) {
    let project = Project::new(LACUS, &format!("{TLS}{more}"));
    make_certificates(project.directory());
    let ca = project.directory().join("ca.crt");
    (project, ca)
}

#[test]
fn a_password_is_needed_once_there_is_a_user() {
    let project = Project::new(LACUS, "");
    let server = project.start();
    assert_eq!(psql(&server, "user=lacus", ""), Ok("lacus|lacus".to_owned()));
    let ada = create(&project, "ada", &[]);
    assert_eq!(psql(&server, "user=ada", &ada), Ok("ada|ada".to_owned()));
    refused(&server, "user=ada", "", "no password supplied");
    refused(&server, "user=ada", "wrong", "FATAL:  password authentication failed for user \"ada\"");
    refused(&server, "user=eve", &ada, "FATAL:  password authentication failed for user \"eve\"");
    refused(&server, "user=Ada", &ada, "FATAL:  password authentication failed for user \"Ada\"");
    refused(&server, "user=ada dbname=shop", "wrong", "password authentication failed");
    refused(&server, "user=ada dbname=shop", &ada, "FATAL:  database \"shop\" does not exist");
    refused(&server, "user=ada sslmode=require", &ada, "server does not support SSL");

    let set = with_stdin(&project, &["user", "password", "ada", "--password-stdin"], "pässword 1\nnot this\n");
    assert!(!set.contains("pässword"), "{set}");
    refused(&server, "user=ada", &ada, "password authentication failed");
    assert_eq!(psql(&server, "user=ada", "pässword 1"), Ok("ada|ada".to_owned()));

    let bob = create(&project, "bob", &["--md5"]);
    assert_eq!(psql(&server, "user=bob", &bob), Ok("bob|bob".to_owned()));
    refused(&server, "user=bob", "wrong", "password authentication failed for user \"bob\"");
    let listed = succeeded(&project.run(&["user", "list", "--json"])).to_owned();
    let users: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<_> = users.iter().map(|user| (user["name"].as_str(), user["method"].as_str())).collect();
    assert_eq!(told, [(Some("ada"), Some("scram-sha-256")), (Some("bob"), Some("md5"))]);
    assert!(!listed.contains("SCRAM") && users.iter().all(|user| user.get("password").is_none()), "{listed}");

    let log = server.log().join("\n");
    assert!(!log.contains(&ada) && !log.contains("pässword") && !log.contains("SCRAM-SHA-256$"), "{log}");
    assert!(server.stop().success());
    let server = project.start();
    assert_eq!(psql(&server, "user=bob", &bob), Ok("bob|bob".to_owned()), "users outlive a server");
    succeeded(&project.run(&["user", "drop", "bob"]));
    refused(&server, "user=bob", &bob, "password authentication failed for user \"bob\"");
    let last = project.run(&["user", "drop", "ada"]);
    assert!(succeeded(&last).contains("Dropped ada."), "{}", last.stdout);
    assert_eq!(psql(&server, "user=lacus", ""), Ok("lacus|lacus".to_owned()), "open again, as it said");
    assert!(server.stop().success());
}

#[test]
fn another_password_is_kept_as_the_one_before_unless_it_is_told() {
    let project = Project::new(LACUS, "");
    let server = project.start();
    create(&project, "old", &["--md5"]);
    create(&project, "ada", &[]);
    for (user, more, method, said) in [
        ("old", &[] as &[&str], "md5", "by md5, as before."),
        ("ada", &[], "scram-sha-256", "by scram-sha-256, as before."),
        ("old", &["--scram"], "scram-sha-256", "by scram-sha-256."),
        ("old", &["--md5"], "md5", "by md5."),
    ] {
        let told = project.run(&[&["user", "password", user], more].concat());
        assert!(told.stderr.contains(said), "{user} {more:?}: {}", told.stderr);
        let set = project.run(&["user", "password", user, "--json"]);
        let set: Value = serde_json::from_str(succeeded(&set)).expect("JSON");
        assert_eq!(set["method"], method, "{user} {more:?}");
        let password = set["password"].as_str().expect("it was made");
        assert_eq!(psql(&server, &format!("user={user}"), password), Ok(format!("{user}|{user}")));
    }
    let both = project.run(&["user", "password", "old", "--md5", "--scram"]);
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
    assert!(server.stop().success());
}

#[test]
fn what_the_first_and_the_last_user_change_is_told_as_it_is() {
    let nobody = "Nobody is asked for a password";
    let needed = "without one nobody can ask";
    for (postgres, passwords, first, last) in [
        ("127.0.0.1:0", "auto", "from now on the Postgres protocol asks", "everybody on this machine may ask without"),
        ("127.0.0.1:0", "always", needed, "nobody can ask over the Postgres protocol until there is another"),
        ("127.0.0.1:0", "never", nobody, nobody),
        ("0.0.0.0:0", "auto", needed, "nobody can ask over the Postgres protocol at 0.0.0.0:0 now"),
        ("0.0.0.0:0", "never", nobody, nobody),
    ] {
        let project = Project::new(LACUS, "");
        for (arguments, expected) in [(["user", "create", "ada"], first), (["user", "drop", "ada"], last)] {
            let mut command = project.command(&arguments);
            command.env("LACUS__SERVER__POSTGRES", postgres).env("LACUS__POSTGRES__PASSWORDS", passwords);
            let told = run_for(&mut command, TIME_MAX);
            succeeded(&told);
            assert!(told.stderr.contains(expected), "{postgres} {passwords}: {}", told.stderr);
        }
    }
}

#[test]
fn a_session_goes_on_when_its_user_is_dropped() {
    let project = Project::new(LACUS, "");
    let server = project.start();
    let mut session = server.postgres();
    create(&project, "ada", &[]);
    create(&project, "bob", &[]);
    assert_eq!(session.query("SELECT 1").expect("an answer").single(), "1");
    succeeded(&project.run(&["user", "drop", "ada"]));
    assert_eq!(session.query("SELECT current_user").expect("an answer").single(), "lacus");
    drop(session);
    assert!(server.stop().success());
}

/// What `lacus user list --json` has of a user's limits.
fn limits_of(project: &Project, name: &str) -> Value {
    let listed = project.run(&["user", "list", "--json"]);
    let mut users = succeeded(&listed).lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    users.find(|user| user["name"] == name).expect("the user is listed")["limits"].take()
}

#[test]
fn limits_of_users_are_made_changed_shown_and_kept() {
    let project = Project::new(LACUS, "");
    let all = ["--scan-max", "10GB", "--rows-max", "1000000", "--time-max", "60s", "--memory-max", "256MB"];
    create(&project, "ada", &all);
    create(&project, "bob", &[]);
    let expected = json!({"scan_max": "10GB", "rows_max": 1_000_000, "time_max": "1m", "memory_max": "256MB"});
    assert_eq!((limits_of(&project, "ada"), limits_of(&project, "bob")), (expected, json!({})));
    let listed = project.run(&["user", "list"]);
    assert!(succeeded(&listed).contains("scan 10GB, rows 1000000, time 1m, memory 256MB"), "{}", listed.stdout);
    let server = project.start();
    let changed = project.run(&["user", "limit", "ada", "--rows-max", "5", "--memory-max", "none"]);
    assert_eq!(succeeded(&changed), "A statement of ada may take: scan 10GB, rows 5, time 1m.\n");
    assert!(changed.stderr.contains("sessions that begin now"), "{}", changed.stderr);
    succeeded(&project.run(&["user", "password", "ada"]));
    assert!(server.stop().success());
    assert_eq!(limits_of(&project, "ada"), json!({"scan_max": "10GB", "rows_max": 5, "time_max": "1m"}));
    let none = project.run(&["user", "limit", "bob"]);
    assert_eq!(succeeded(&none), "A statement of bob may take: what [query] in lacus.toml says.\n");
}

#[test]
fn limits_of_a_user_hold_in_every_way_to_ask() {
    let project = Project::new(LACUS, "[query]\nrows_max = 60000\n");
    let user = format!("ada:{}", create(&project, "ada", &[]));
    let server = project.start();
    run_client(&project, "postgres_limits.py", &["--lacus", LACUS, "--user", &user]);
    // Over HTTP nobody has a name: what holds for all holds.
    let sql = "SELECT value FROM generate_series(1, 60001)";
    let reply = server.http().post("/v1/sql", &[], sql.as_bytes()).expect("an answer");
    let answer: Value = serde_json::from_str(&reply.text()).expect("JSON");
    assert_eq!(answer["rows"].as_array().map(Vec::len), Some(60_000));
    assert_eq!(answer["error"]["sqlstate"], "53400", "{}", answer["error"]);
    assert!(answer["error"]["message"].as_str().is_some_and(|told| told.contains("query.rows_max")));
    assert!(server.stop().success());
}

#[test]
fn mistakes_with_users_are_told() {
    let project = Project::new(LACUS, "");
    create(&project, "ada", &[]);
    for (arguments, expected) in [
        (&["user", "create", "ada"][..], "user \"ada\" exists already"),
        (&["user", "create", "a b"], "\"a b\" is no name of a user"),
        (&["user", "password", "eve"], "there is no user \"eve\""),
        (&["user", "drop", "eve"], "there is no user \"eve\""),
        (&["user", "drop", "../keys"], "\"../keys\" is no name of a user"),
        (&["user", "create", "eve", "--password-stdin"], "there is no password on stdin"),
        (&["user", "create", "eve", "--rows-max", "0"], "rows_max is 0: no statement could do anything"),
        (&["user", "create", "eve", "--scan-max", "10"], "\"10\" is not a size such as 64KB, 10MB or 1GB"),
        (&["user", "limit", "ada", "--memory-max", "1MB"], "memory_max is 1MB: it is 16MB at least"),
        (&["user", "limit", "ada", "--rows-max", "few"], "invalid value 'few' for '--rows-max <COUNT>'"),
        (&["user", "limit", "eve", "--rows-max", "1"], "there is no user \"eve\""),
    ] {
        let told = project.run(arguments);
        assert_eq!(told.status.and_then(|status| status.code()), Some(2), "{arguments:?}: {}", told.stderr);
        assert!(told.stderr.contains(expected), "{arguments:?}: {}", told.stderr);
    }
}

#[test]
fn drivers_log_in_plain_and_over_tls() {
    let (project, ca) = with_tls("");
    let (scram, md5) = (create(&project, "ada", &[]), create(&project, "old", &["--md5"]));
    let server = project.start();
    let (ca, scram, md5) = (ca.to_str().expect("text"), format!("ada:{scram}"), format!("old:{md5}"));
    run_client(&project, "postgres_login.py", &["--ca", ca, "--scram", &scram, "--md5", &md5]);
    assert!(server.stop().success());
}

#[test]
fn pgjdbc_logs_in_plain_and_over_tls() {
    let (project, ca) = with_tls("");
    let users = [("ada", create(&project, "ada", &[])), ("old", create(&project, "old", &["--md5"]))];
    let server = project.start();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/java/Login.java");
    for (user, password) in users {
        let mut java = Command::new("java");
        java.args(["-cp", "/usr/share/java/postgresql.jar"]).arg(&program).arg(server.postgres_address().to_string());
        succeeded(&run_for(java.arg(&ca).args([user, &password]), TIME_MAX));
    }
    assert!(server.stop().success());
}

#[test]
fn psql_sees_our_certificate_and_insists_where_it_can() {
    let (project, ca) = with_tls("tls_required = true\n");
    let password = create(&project, "ada", &[]);
    let server = project.start();
    let ca = ca.display();
    let ada = Ok("ada|ada".to_owned());
    for settings in [
        "sslmode=prefer".to_owned(),
        "sslmode=require channel_binding=require".to_owned(),
        format!("sslmode=verify-full sslrootcert={ca}"),
        format!(
            "host=localhost hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={ca} ssl_max_protocol_version=TLSv1.2"
        ),
    ] {
        assert_eq!(psql(&server, &format!("user=ada {settings}"), &password), ada, "{settings}");
    }
    refused(&server, "user=ada sslmode=disable", &password, "FATAL:  this server takes connections over TLS only");
    refused(&server, "user=eve sslmode=disable", "", "FATAL:  this server takes connections over TLS only");
    let other = format!("user=ada host=example.com hostaddr=127.0.0.1 sslmode=verify-full sslrootcert={ca}");
    refused(&server, &other, &password, "does not match host name \"example.com\"");
    refused(&server, "user=ada sslmode=require", "wrong", "password authentication failed for user \"ada\"");
    assert!(server.stop().success());
}

#[test]
fn a_renewed_certificate_is_taken_while_serving() {
    let (project, ca) = with_tls("");
    let server = project.start();
    let renewed = tempfile::tempdir().expect("make a directory");
    make_certificates(renewed.path());
    let settings = |ca: &Path| format!("user=lacus sslmode=verify-full sslrootcert={}", ca.display());
    let new = settings(&renewed.path().join("ca.crt"));
    assert!(psql(&server, &settings(&ca), "").is_ok());
    refused(&server, &new, "", "certificate verify failed");
    for file in ["server.key", "server.crt"] {
        std::fs::copy(renewed.path().join(file), project.directory().join(file)).expect("copy");
    }
    let deadline = Instant::now() + TIME_MAX;
    while psql(&server, &new, "").is_err() {
        assert!(Instant::now() < deadline, "the new certificate is not taken");
        std::thread::sleep(Duration::from_millis(100));
    }
    refused(&server, &settings(&ca), "", "certificate verify failed");
    assert!(server.stop().success());
}

/// Starts a server, with Postgres at this address, that must not start.
#[track_caller]
fn does_not_start(project: &Project, postgres: &str, settings: &str, expected: &str) {
    std::fs::write(project.directory().join("lacus.toml"), settings).expect("write lacus.toml");
    let mut up = project.command(&["up"]);
    up.env("LACUS__SERVER__HTTP", "127.0.0.1:0").env("LACUS__SERVER__POSTGRES", postgres);
    let told = run_for(&mut up, TIME_MAX);
    assert_eq!(told.status.and_then(|status| status.code()), Some(2), "{settings}: {}", told.stderr);
    assert!(told.stderr.contains(expected), "{settings}: {}", told.stderr);
    assert!(!project.directory().join(".lacus/server.json").try_exists().expect("look"));
}

#[test]
fn a_server_that_would_not_be_safe_does_not_start() {
    let (project, _) = with_tls("");
    let directory = project.directory();
    std::fs::copy(directory.join("ca.key"), directory.join("other.key")).expect("copy");
    let tls = |certificate: &str, key: &str| {
        format!("[postgres]\ntls_certificate = \"{certificate}\"\ntls_key = \"{key}\"\n")
    };
    for (settings, expected) in [
        (tls("server.crt", "other.key"), "other.key is not that of the certificate"),
        (tls("none.crt", "server.key"), "none.crt: No such file or directory"),
        (tls("names", "server.key"), "there is no certificate in"),
        ("[postgres]\ntls_required = true\n".to_owned(), "there is no certificate"),
    ] {
        does_not_start(&project, "127.0.0.1:0", &settings, expected);
    }
    does_not_start(&project, "0.0.0.0:0", "", "refusing to listen on 0.0.0.0:");
}

#[test]
fn where_others_reach_it_nobody_comes_in_without_a_password() {
    let (project, _) = with_tls("");
    let password = create(&project, "ada", &[]);
    let start = |passwords: &str| {
        let mut server = project.spawn(|command| {
            command.env("LACUS__SERVER__POSTGRES", "0.0.0.0:0").env("LACUS__POSTGRES__PASSWORDS", passwords);
        });
        server.ready().unwrap_or_else(|reason| panic!("{reason}"));
        server
    };
    let server = start("auto");
    assert_eq!(psql(&server, "user=ada", &password), Ok("ada|ada".to_owned()));
    refused(&server, "user=lacus", "", "no password supplied");
    succeeded(&project.run(&["user", "drop", "ada"]));
    refused(&server, "user=ada", &password, "password authentication failed");
    assert!(server.stop().success());
    let server = start("always");
    refused(&server, "user=lacus", "", "no password supplied");
    assert!(server.stop().success());
    let server = start("never");
    assert_eq!(psql(&server, "user=lacus", ""), Ok("lacus|lacus".to_owned()), "as it was asked to");
    assert!(server.stop().success());
}

/// A startup message of this user.
fn startup(user: &str) -> Vec<u8> {
    let body = format!("\0\u{3}\0\0user\0{user}\0database\0lake\0\0");
    let length = u32::try_from(body.len() + 4).expect("it is short").to_be_bytes();
    [&length, body.as_bytes()].concat()
}

#[test]
fn who_is_refused_is_in_the_log() {
    let project = Project::new(LACUS, "");
    let password = create(&project, "ada", &[]);
    let server = project.start();
    refused(&server, "user=ada", "wrong", "password authentication failed");
    refused(&server, "user=eve", &password, "password authentication failed");
    let answer = |body: &[u8]| {
        let length = u32::try_from(body.len() + 4).expect("it is short").to_be_bytes();
        [b"p".as_slice(), &length, body].concat()
    };
    let first = answer(b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc");
    let last = answer(b"c=AAAA,r=abc,p=AAAA");
    let said = until_it_hangs_up(&server, &[startup("ada"), first, last].concat());
    assert!(said.contains("SCRAM channel binding check failed"), "{said}");
    for expected in [
        r#"refused to log in user="ada" from=127.0.0.1 reason="a wrong password""#,
        r#"refused to log in user="eve" from=127.0.0.1 reason="there is no such user""#,
        r#"refused to log in user="ada" from=127.0.0.1 reason="the channel binding does not fit""#,
    ] {
        let deadline = Instant::now() + TIME_MAX;
        while !server.log().iter().any(|line| line.contains(expected)) {
            assert!(Instant::now() < deadline, "{expected}\n{}", server.log().join("\n"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert!(!server.log().join("\n").contains(&password));
    assert!(server.stop().success());
}

#[test]
fn clients_that_say_nothing_keep_nobody_out() {
    let project = Project::new(LACUS, "[server]\nconnections_max = 4\n");
    let password = create(&project, "ada", &[]);
    let server = project.start();
    let address = server.postgres_address();
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).expect("connect")).collect();
    let began = Instant::now();
    assert_eq!(psql(&server, "user=ada", &password), Ok("ada|ada".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    drop(silent);
    assert!(server.stop().success());
}

#[test]
fn who_finds_no_place_for_a_session_is_told() {
    let project = Project::new(LACUS, "[server]\nconnections_max = 2\n");
    let server = project.start();
    let (one, two) = (server.postgres(), server.postgres());
    refused(&server, "user=lacus", "", "FATAL:  sorry, too many clients already");
    drop(one);
    assert_eq!(psql(&server, "user=lacus", ""), Ok("lacus|lacus".to_owned()));
    drop(two);
    assert!(server.stop().success());
}

/// What the server says to all of this, sent at once, until it hangs up.
fn until_it_hangs_up(server: &Server, send: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.postgres_address()).expect("connect");
    stream.set_read_timeout(Some(TIME_MAX)).expect("set a timeout");
    stream.write_all(send).expect("send");
    let mut said = Vec::new();
    // What was not read of a client makes the end a reset.
    let mut piece = [0; 4096];
    while let Ok(bytes @ 1..) = stream.read(&mut piece) {
        said.extend_from_slice(&piece[..bytes]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn nothing_is_answered_before_the_password() {
    let (project, _) = with_tls("");
    create(&project, "ada", &[]);
    let server = project.start();
    let ada = startup("ada");
    let answer = |body: &[u8]| {
        let length = u32::try_from(body.len() + 4).expect("it is short").to_be_bytes();
        [ada.as_slice(), b"p", &length, body].concat()
    };
    let after = |more: &[u8]| [ada.as_slice(), more].concat();
    let tls_request = b"\0\0\0\x08\x04\xd2\x16\x2f";
    let (unexpected, malformed) = ("expected an answer to the authentication request", "malformed SCRAM message");
    for (what, send, expected) in [
        ("a query", after(b"Q\0\0\0\x0dselect 1\0"), unexpected),
        ("a statement", after(b"P\0\0\0\x10\0select 1\0\0\0"), unexpected),
        ("an answer of nothing", after(b"p\0\0\0\0"), unexpected),
        ("an answer of 2 GB", after(b"p\x7f\xff\xff\xff"), unexpected),
        ("an answer below zero", after(b"p\xff\xff\xff\xff"), unexpected),
        ("an empty answer", answer(b""), malformed),
        ("an answer without text", answer(b"\0\0\0\0\0"), malformed),
        ("an answer that is shorter than it says", answer(b"SCRAM-SHA-256\0\0\0\x10\0n,,"), malformed),
        ("a mechanism that is none", answer(b"PLAIN\0\0\0\0\x0bn,,n=,r=abc"), malformed),
        ("a binding without TLS", answer(b"SCRAM-SHA-256-PLUS\0\0\0\0\x0bn,,n=,r=abc"), malformed),
        ("no user", startup(""), "no PostgreSQL user name specified"),
        ("a startup twice", after(&ada), unexpected),
        ("a startup behind a request for TLS", [tls_request.as_slice(), &ada].concat(), "S\u{15}"),
    ] {
        let said = until_it_hangs_up(&server, &send);
        assert!(said.contains(expected), "{what}: {said}");
        assert!(!said.contains("server_version"), "{what}: {said}");
    }
    assert!(server.stop().success());
}
