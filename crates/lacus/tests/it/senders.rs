//! Senders that nobody here wrote: unmodified SDKs with nothing set but the endpoint and the key.
//!
//! The scripts are in `tests/clients`, their packages where `tests/install.sh` puts them. What is sent must be stored: over a
//! good connection, and over one that loses answers while the server is killed and started again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lacus_testkit::environment::{Random, node_folder, prove, python, seed};
use lacus_testkit::{LossyProxy, Project, Server, run_for};
use serde_json::Value;

/// The longest a script may take.
const TIME_MAX: Duration = Duration::from_secs(300);
/// How long what was sent may take to show.
const SHOW_MAX: Duration = Duration::from_secs(30);
/// Of so many answers in a hundred the client hears nothing.
const LOST_PERCENT: u64 = 20;

/// A project with its keys.
struct Lab {
    project: Project,
    write_key: String,
    aws: [(&'static str, String); 4],
}

impl Lab {
    fn new(settings: &str) -> Self {
        let project = Project::new(env!("CARGO_BIN_EXE_lacus"), settings);
        let key = |arguments: &[&str]| -> Value {
            let made = project.run(&[&["key", "create", "--json"], arguments].concat());
            serde_json::from_str(&made.stdout).unwrap_or_else(|error| panic!("{error}: {}", made.stderr))
        };
        let text = |key: &Value, name: &str| key[name].as_str().expect("a new key tells its secret").to_owned();
        let (write, aws) = (key(&["--source", "web"]), key(&["--aws"]));
        Self {
            write_key: text(&write, "write_key"),
            aws: [
                ("AWS_ACCESS_KEY_ID", text(&aws, "access_key_id")),
                ("AWS_SECRET_ACCESS_KEY", text(&aws, "secret_access_key")),
                ("AWS_DEFAULT_REGION", "eu-central-1".to_owned()),
                ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ],
            project,
        }
    }

    /// Runs a script to its end; it fails if the SDK says that something was not sent.
    #[track_caller]
    fn run(&self, script: &str, url: &str, count: u64) {
        let mut command = command(script);
        command.envs(self.aws.iter().map(|(name, value)| (name, value)));
        command.env("LACUS_URL", url).env("AWS_ENDPOINT_URL", url).env("WRITE_KEY", &self.write_key);
        command.env("PREFIX", prefix(script)).env("COUNT", count.to_string()).env("CHROMIUM", "/usr/bin/chromium");
        let finished = run_for(&mut command, TIME_MAX);
        let is_well = finished.succeeded();
        assert!(is_well, "{script}: {}\n{}", finished.stdout, finished.stderr);
    }
}

/// What the ids of a script begin with.
fn prefix(script: &str) -> String {
    script.replace(['.', '/'], "-")
}

fn command(script: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients").join(script);
    if script.ends_with(".py") {
        let mut command = Command::new(python());
        command.arg(path);
        return command;
    }
    let name = path.file_name().expect("a script has a name");
    // JavaScript finds its packages from where it is.
    let copy: PathBuf = node_folder().join(name);
    let now = std::fs::read(&path).expect("the script is there");
    if std::fs::read(&copy).ok().as_ref() != Some(&now) {
        std::fs::write(&copy, now).expect("the folder can be written");
    }
    let mut command = Command::new("node");
    command.arg(copy);
    command
}

fn url(server: &Server) -> String {
    format!("http://{}", server.http_address())
}

/// Waits until `sql`, which counts rows and distinct ids, gives these numbers.
#[track_caller]
fn must_hold(server: &Server, sql: &str, rows: u64, ids: u64) {
    let deadline = Instant::now() + SHOW_MAX;
    let expected = format!("{rows} {ids}");
    loop {
        let told = match server.postgres().query(sql) {
            Ok(rows) => rows.rows[0].iter().map(|cell| cell.clone().unwrap_or_default()).collect::<Vec<_>>().join(" "),
            Err(failure) => failure.to_string(),
        };
        if told == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{sql}: {told}, not {expected}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn segment_and_rudder_sdks_in_python() {
    let lab = Lab::new("");
    let server = lab.project.start();
    lab.run("segment_python.py", &url(&server), 500);
    lab.run("rudder_python.py", &url(&server), 200);
    must_hold(&server, "select count(*), count(distinct id) from web.product_viewed", 700, 700);
    must_hold(&server, "select count(*), count(distinct id) from web.tracks", 700, 700);
    must_hold(&server, "select count(nested_tags), count(distinct number) from web.product_viewed", 500, 500);
    for table in ["pages", "screens", "groups", "aliases"] {
        must_hold(&server, &format!("select count(*), count(distinct id) from web.{table}"), 1, 1);
    }
    must_hold(&server, "select count(*), count(distinct id) from web.identifies", 2, 2);
    must_hold(
        &server,
        "select count(*), count(*) from web.users where plan = 'pro' and email = 'one@example.com'",
        1,
        1,
    );
    assert!(server.stop().success());
}

#[test]
fn segment_and_rudder_sdks_in_node_and_in_a_browser() {
    let lab = Lab::new("");
    let server = lab.project.start();
    lab.run("node/segment.mjs", &url(&server), 300);
    lab.run("node/rudder.mjs", &url(&server), 200);
    must_hold(&server, "select count(*), count(distinct id) from web.product_viewed", 500, 500);
    lab.run("node/browser.mjs", &url(&server), 20);
    must_hold(&server, "select count(*), count(distinct id) from web.button_clicked", 20, 20);
    must_hold(&server, "select count(context_ip), count(context_user_agent) from web.pages", 1, 1);
    assert!(server.stop().success());
}

#[test]
fn aws_clients_in_python() {
    let lab = Lab::new("");
    let server = lab.project.start();
    lab.run("aws_python.py", &url(&server), 1_200);
    must_hold(&server, "select count(*), count(distinct id) from client_stream", 1_212, 1_212);
    must_hold(&server, "select count(*), count(distinct id) from client_delivery", 22, 22);
    assert!(server.stop().success());
}

#[test]
fn aws_clients_in_node() {
    let lab = Lab::new("");
    let server = lab.project.start();
    lab.run("node/aws.mjs", &url(&server), 400);
    must_hold(&server, "select count(*), count(distinct id) from node_stream", 400, 400);
    must_hold(&server, "select count(*), count(distinct id) from node_delivery", 1, 1);
    assert!(server.stop().success());
}

/// Keys come in headers, addresses and bodies.
#[test]
fn no_key_is_in_the_log_however_much_that_tells() {
    let lab = Lab::new("");
    let mut server = lab.project.spawn(|command| {
        command.env("LACUS_LOG", "trace");
    });
    server.ready().unwrap_or_else(|reason| panic!("{reason}"));
    for script in ["segment_python.py", "aws_python.py", "node/aws.mjs"] {
        lab.run(script, &url(&server), 10);
    }
    let key = &lab.write_key;
    for (path, status) in [
        (format!("/v1/projects/{key}/settings"), 200),
        (format!("/v1/pixel/track?writeKey={key}&userId=7&event=Seen"), 200),
        // The source takes Segment messages.
        (format!("/v1/pixel.gif?write_key={key}"), 400),
    ] {
        assert_eq!(server.http().get(&path).expect("an answer").status, status, "{path}");
    }
    let browser = format!("{{\"writeKey\":\"{key}\",\"userId\":\"7\",\"event\":\"Seen\"}}");
    assert_eq!(server.http().post("/v1/t", &[], browser.as_bytes()).expect("an answer").status, 200);
    let stopped = server.stop_in_time().unwrap_or_else(|reason| panic!("{reason}"));
    assert!(stopped.success());
    let log = server.log();
    assert!(log.iter().any(|line| line.contains(" TRACE ")), "it tells everything");
    let user = BASE64.encode(format!("{key}:"));
    for secret in [key, &user, &lab.aws[1].1] {
        assert!(!log.iter().any(|line| line.contains(secret)), "a key is in the log");
    }
}

/// Sends with a script over a network that loses answers, to a server that is killed again and again.
#[expect(clippy::print_stdout, reason = "the seed and what happened belong to the test's output")]
fn sent_through_trouble(lab: &Lab, scripts: &[&str], count: u64) -> Server {
    let seed = seed();
    let (proxy, over) = (LossyProxy::start(LOST_PERCENT, seed), AtomicBool::new(false));
    let url = format!("http://{}", proxy.address);
    let kills = thread::scope(|scope| {
        let keeper = scope.spawn(|| keep_killing(&lab.project, &proxy, &over, seed));
        let senders: Vec<_> = scripts.iter().map(|script| scope.spawn(|| lab.run(script, &url, count))).collect();
        let failed = senders.into_iter().filter_map(|sender| sender.join().err()).count();
        over.store(true, Ordering::Relaxed);
        let kills = keeper.join().expect("the server starts again each time");
        assert_eq!(failed, 0, "LACUS_SEED={seed}: {failed} of {scripts:?} failed");
        kills
    });
    println!("LACUS_SEED={seed}: {kills} kills, {} answers lost", proxy.lost());
    lab.project.start()
}

fn keep_killing(project: &Project, proxy: &LossyProxy, over: &AtomicBool, seed: u64) -> u64 {
    let (mut random, mut kills) = (Random::new(seed), 0);
    while !over.load(Ordering::Relaxed) {
        let server = project.start();
        proxy.lead_to(Some(server.http_address()));
        let life = Instant::now() + Duration::from_millis(500 + random.below(2_000));
        while Instant::now() < life && !over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        proxy.lead_to(None);
        server.kill9();
        kills += 1;
    }
    kills
}

#[test]
fn what_sdks_send_through_trouble_is_stored_once() {
    let lab = Lab::new("[delivery]\ncommit_bytes = \"64KB\"\ncommit_after = \"300ms\"\n");
    let count = if prove() { 20_000 } else { 1_000 };
    let scripts = ["segment_python.py", "rudder_python.py", "node/segment.mjs"];
    let server = sent_through_trouble(&lab, &scripts, count);
    let all = count * scripts.len() as u64;
    must_hold(&server, "select count(*), count(distinct id) from web.tracks", all, all);
    must_hold(&server, "select count(*), count(distinct id) from web.product_viewed", all, all);
    assert!(server.stop().success());
}

#[test]
fn what_rudder_in_node_and_a_browser_send_through_trouble_is_stored_once() {
    let (many, some) = if prove() { (20_000, 200) } else { (1_000, 20) };
    for (script, table, count) in
        [("node/rudder.mjs", "product_viewed", many), ("node/browser.mjs", "button_clicked", some)]
    {
        let lab = Lab::new("[delivery]\ncommit_bytes = \"64KB\"\ncommit_after = \"300ms\"\n");
        let server = sent_through_trouble(&lab, &[script], count);
        for table in ["tracks", table] {
            must_hold(&server, &format!("select count(*), count(distinct id) from web.{table}"), count, count);
        }
        assert!(server.stop().success());
    }
}

#[test]
fn what_aws_clients_send_through_trouble_is_stored_once() {
    let lab = Lab::new("[delivery]\ncommit_bytes = \"64KB\"\ncommit_after = \"300ms\"\n[sources.drops]\nid = \"id\"\n");
    let made = lab.project.run(&["stream", "create", "drops", "--shards", "2"]);
    assert!(made.succeeded(), "{}", made.stderr);
    let count = if prove() { 20_000 } else { 2_000 };
    let scripts = ["kinesis_through_trouble.py", "node/aws_through_trouble.mjs"];
    let server = sent_through_trouble(&lab, &scripts, count);
    let all = count * scripts.len() as u64;
    must_hold(&server, "select count(*), count(distinct id) from drops", all, all);
    assert!(server.stop().success());
}
