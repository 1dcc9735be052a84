//! What a user types and reads.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use lacus_testkit::{Finished, Http, Project, run_for};
use serde_json::{Value, json};

const LACUS: &str = env!("CARGO_BIN_EXE_lacus");
const SETTINGS: &str = "[server]\nhttp = \"127.0.0.1:0\"\npostgres = \"127.0.0.1:0\"\n";
const COMMAND_MAX: Duration = Duration::from_secs(120);

/// Runs the binary as if it were installed: it is on the search path.
fn lacus(arguments: &[&str]) -> Finished {
    let folder = std::path::Path::new(LACUS).parent().expect("a binary is in a folder");
    let mut command = Command::new(LACUS);
    command.args(arguments).env_remove("RUST_LOG").env("PATH", folder);
    for port in ["LACUS__SERVER__HTTP", "LACUS__SERVER__POSTGRES"] {
        command.env(port, "127.0.0.1:0");
    }
    run_for(&mut command, COMMAND_MAX)
}

fn code(finished: &Finished) -> Option<i32> {
    finished.status.and_then(|status| status.code())
}

#[track_caller]
fn succeeded(finished: &Finished) -> &str {
    assert_eq!(code(finished), Some(0), "stdout: {}\nstderr: {}", finished.stdout, finished.stderr);
    &finished.stdout
}

/// The error a command ends with; paths of this test are written as `DIR`.
#[track_caller]
fn refused(finished: &Finished, expected_code: i32, project: &Project) -> String {
    assert_eq!(code(finished), Some(expected_code), "stdout: {}\nstderr: {}", finished.stdout, finished.stderr);
    finished.stderr.replace(&project.directory().display().to_string(), "DIR")
}

fn post(http: &mut Http, events: &[Value]) {
    let body = Value::from(events).to_string();
    let json = [("content-type", "application/json")];
    let reply = http.post("/v1/events?source=clicks", &json, body.as_bytes()).expect("the server answers");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn clicks() -> [Value; 3] {
    [
        json!({"event_name": "Search", "user_id": "35", "additional_data": {"price": 417.97, "product_id": 557_246}}),
        json!({"event_name": "Purchase", "user_id": "35", "additional_data": {"price": 417.97, "product_id": 557_246}}),
        json!({"event_name": "Search", "user_id": "7", "big": 9_007_199_254_740_993_i64}),
    ]
}

#[test]
fn help_texts() {
    let commands = [
        "",
        "init",
        "up",
        "sql",
        "status",
        "doctor",
        "backup",
        "key",
        "key create",
        "key list",
        "key revoke",
        "user",
        "user create",
        "user list",
        "user password",
        "user limit",
        "user drop",
        "stream",
        "stream create",
        "stream list",
        "stream describe",
        "stream reshard",
        "stream tail",
        "table",
        "table show",
        "table flush",
        "table tag",
        "table untag",
        "table rollback",
        "erase",
        "schema",
        "schema proposals",
        "schema accept",
        "replay",
        "demo",
    ];
    let help = commands.map(|command| {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        format!("$ lacus {}\n{}", arguments.join(" "), succeeded(&lacus(&arguments)))
    });
    insta::assert_snapshot!(help.join("\n"));
}

#[test]
fn every_way_to_reshard_is_a_command() {
    let project = Project::new(LACUS, SETTINGS);
    let directory = project.directory().to_str().unwrap();
    succeeded(&lacus(&["-p", directory, "stream", "create", "clicks", "--shards", "2"]));
    let ways: [(&[&str], u32); 4] = [
        (&["--shards", "3"], 3),
        (&["--split", "2"], 4),
        (&["--merge", "5", "6"], 3),
        (&["--split", "7", "--at", "10"], 4),
    ];
    for (how, open_shards) in ways {
        let arguments = [&["-p", directory, "--json", "stream", "reshard", "clicks"][..], how].concat();
        let done = lacus(&arguments);
        let shown: Value = serde_json::from_str(succeeded(&done)).unwrap();
        assert_eq!(shown["open_shards"], open_shards, "{how:?}");
    }
    let refused: [&[&str]; 3] = [&[], &["--at", "10"], &["--shards", "2", "--split", "3"]];
    for how in refused {
        let arguments = [&["-p", directory, "stream", "reshard", "clicks"][..], how].concat();
        assert_eq!(code(&lacus(&arguments)), Some(2), "{how:?}");
    }
}

#[test]
fn init_makes_a_project_and_overwrites_nothing() {
    let project = Project::new(LACUS, "# mine\n");
    let made = lacus(&["init", project.directory().join("shop").to_str().unwrap()]);
    let told = succeeded(&made).replace(&project.directory().display().to_string(), "DIR");
    insta::assert_snapshot!(told, @r"
    Made DIR/shop/lacus.toml: every setting is in it, with its default.
    Next: lacus -p DIR/shop up
    ");
    assert!(fs::read_to_string(project.directory().join("shop/.gitignore")).unwrap().contains(".lacus/"));

    let again = lacus(&["init", project.directory().to_str().unwrap()]);
    insta::assert_snapshot!(refused(&again, 2, &project), @r"
    error: DIR/lacus.toml exists already
    hint: it is a project; serve it with lacus up
    ");
    assert_eq!(fs::read_to_string(project.directory().join("lacus.toml")).unwrap(), "# mine\n");
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let project = Project::new(LACUS, "[server]\nhtpp = \"127.0.0.1:0\"\n");
    insta::assert_snapshot!(refused(&project.run(&["up"]), 2, &project), @r#"
    error: lacus.toml line 2: there is no setting "htpp" here
    hint: did you mean "http"?
    "#);
    fs::remove_file(project.directory().join("lacus.toml")).unwrap();
    insta::assert_snapshot!(refused(&project.run(&["status"]), 2, &project), @r"
    error: there is no project in DIR: no lacus.toml
    hint: make one with lacus init DIR, or name another folder with --project
    ");
    let project = Project::new(LACUS, SETTINGS);
    let told = run_for(project.command(&["up"]).env("LACUS__SERVER__HTTP", "0.0.0.0:0"), COMMAND_MAX);
    let told = refused(&told, 2, &project);
    assert!(told.starts_with("error: refusing to listen on 0.0.0.0:0"), "{told}");
    assert!(!project.directory().join(".lacus").try_exists().unwrap());
}

#[test]
fn a_taken_port_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let project = Project::new(LACUS, SETTINGS);
    let mut up = project.command(&["up"]);
    up.env("LACUS__SERVER__POSTGRES", address.to_string());
    let told = refused(&run_for(&mut up, COMMAND_MAX), 75, &project).replace(&address.to_string(), "ADDRESS");
    assert!(told.starts_with("error: could not listen on ADDRESS: Address already in use"), "{told}");
    assert!(told.contains("server.postgres in lacus.toml or LACUS__SERVER__POSTGRES"), "{told}");
}

#[test]
fn a_second_server_is_refused_with_the_address_of_the_first() {
    let project = Project::new(LACUS, SETTINGS);
    let server = project.start();
    let told = refused(&project.run(&["up"]), 2, &project);
    let expected = format!(
        "error: this project is served already (pid {}): HTTP on {}, Postgres on {}\n",
        server.pid(),
        server.http_address(),
        server.postgres_address()
    );
    assert!(told.starts_with(&expected), "{told}");
    assert!(server.stop().success());
    assert!(!project.directory().join(".lacus/server.json").try_exists().unwrap());
}

#[test]
fn server_and_folder_give_the_same_answers() {
    let project = Project::new(LACUS, SETTINGS);
    let server = project.start();
    post(&mut server.http(), &clicks());
    let all = "SELECT event_name, user_id, additional_data, big FROM clicks ORDER BY _partition, _offset";
    let commands: [&[&str]; 3] = [
        &["sql", all],
        &["sql", "--json", all],
        &["sql", "SELECT sum(additional_data.price) AS total FROM lake.main.clicks"],
    ];
    wait_for_rows(&project, 3);
    let served = commands.map(|command| succeeded(&project.run(command)).to_owned());
    assert!(server.stop().success());
    let from_folder = commands.map(|command| succeeded(&project.run(command)).to_owned());
    assert_eq!(served, from_folder);
    insta::assert_snapshot!(served.join("\n"), @r#"
     event_name   user_id   additional_data                                     big
    ────────────────────────────────────────────────────────────────────────────────
     Search       35        {"price":417.97,"product_id":557246}               NULL
     Purchase     35        {"price":417.97,"product_id":557246}               NULL
     Search       7         NULL                                   9007199254740993

    {"event_name":"Search","user_id":"35","additional_data":{"price":417.97,"product_id":557246},"big":null}
    {"event_name":"Purchase","user_id":"35","additional_data":{"price":417.97,"product_id":557246},"big":null}
    {"event_name":"Search","user_id":"7","additional_data":null,"big":9007199254740993}

      total
    ────────
     835.94
    "#);
}

#[test]
fn what_is_wrong_with_sql_is_pointed_at() {
    let project = Project::new(LACUS, SETTINGS);
    let told = |project: &Project| refused(&project.run(&["sql", "SELECT 1,\n  nonsense(2)"]), 2, project);
    let from_folder = told(&project);
    insta::assert_snapshot!(from_folder, @r"
    error: function nonsense() does not exist
    line 2:   nonsense(2)
              ^
    ");
    let _server = project.start();
    assert_eq!(told(&project), from_folder);
    insta::assert_snapshot!(refused(&project.run(&["sql", "SELECT * FROM clicks"]), 2, &project), @r#"
    error: there is no table "clicks" in database "main"
    line 1: SELECT * FROM clicks
                          ^
    hint: there are no tables yet: a source's first event makes its table
    "#);
}

#[test]
fn a_query_that_fails_after_its_first_rows_fails() {
    let project = Project::new(LACUS, SETTINGS);
    let late = "SELECT 1 / (20000 - value) AS share FROM generate_series(1, 30000)";
    for arguments in [&["sql", late][..], &["sql", "--json", late]] {
        let told = refused(&project.run(arguments), 2, &project);
        assert!(told.starts_with("error: division by zero"), "{told}");
    }
    assert!(project.run(&["sql", "--json", late]).stdout.starts_with("{\"share\":0}\n"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let project = Project::new(LACUS, SETTINGS);
    let rows = "SELECT value FROM generate_series(1, 1000000)";
    let shell = format!("{LACUS} -p {} sql --json '{rows}' | head -n 1", project.directory().display());
    let piped = run_for(Command::new("sh").args(["-c", &shell]), COMMAND_MAX);
    assert_eq!((succeeded(&piped), piped.stderr.as_str()), ("{\"value\":1}\n", ""));
}

#[test]
fn sql_is_read_from_stdin() {
    let project = Project::new(LACUS, SETTINGS);
    let file = project.directory().join("question.sql");
    fs::write(&file, "SELECT 1 AS one").unwrap();
    let shell = format!("exec {LACUS} -p {} sql - < {}", project.directory().display(), file.display());
    let answered = run_for(Command::new("sh").args(["-c", &shell]), COMMAND_MAX);
    assert!(succeeded(&answered).contains("one"), "{}", answered.stdout);
}

#[test]
fn flush_makes_files_and_status_says_so() {
    let project = Project::new(LACUS, SETTINGS);
    let server = project.start();
    post(&mut server.http(), &clicks());
    let flushed: Value =
        serde_json::from_str(succeeded(&project.run(&["table", "flush", "clicks", "--json"]))).unwrap();
    assert_eq!(flushed["rows"], 3);
    let served: Value = serde_json::from_str(succeeded(&project.run(&["status", "--json"]))).unwrap();
    for count in ["acknowledged", "visible", "committed"] {
        assert_eq!(served[count], 3, "{served}");
    }
    assert_eq!(served["stream"], "clicks");
    let unknown = refused(&project.run(&["table", "flush", "orders"]), 2, &project);
    assert!(unknown.contains("orders"), "{unknown}");
    assert!(server.stop().success());
    let from_folder: Value = serde_json::from_str(succeeded(&project.run(&["status", "--json"]))).unwrap();
    for count in ["acknowledged", "visible", "committed", "files", "file_bytes"] {
        assert_eq!(served[count], from_folder[count], "{count}");
    }
    assert!(succeeded(&project.run(&["status"])).contains("clicks"));
}

#[test]
fn a_table_shows_what_it_is_made_of() {
    let project = Project::new(LACUS, SETTINGS);
    let server = project.start();
    post(&mut server.http(), &clicks());
    let show =
        || -> Value { serde_json::from_str(succeeded(&project.run(&["table", "show", "clicks", "--json"]))).unwrap() };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !project.run(&["table", "show", "clicks"]).stdout.contains("clicks: 3 rows, 3 of them not committed yet") {
        assert!(Instant::now() < deadline, "{:?}", project.run(&["table", "show", "clicks"]));
    }
    assert_eq!((&show()["files"], &show()["commits"]), (&json!(0), &json!([])));
    succeeded(&project.run(&["table", "flush", "clicks"]));
    let shown = show();
    for (name, expected) in [("rows", 3), ("committed_rows", 3), ("files", 1), ("snapshots", 1)] {
        assert_eq!(shown[name], expected, "{shown}");
    }
    let commit = &shown["commits"][0];
    assert_eq!(
        (&commit["operation"], &commit["added_rows"], &commit["added_files"]),
        (&json!("append"), &json!(3), &json!(1))
    );
    assert_eq!(shown["bytes"], commit["added_bytes"]);
    let drawn = project.run(&["table", "show", "clicks"]);
    assert!(succeeded(&drawn).contains("append"), "{}", drawn.stdout);
    let versions =
        drawn.stdout.lines().last().and_then(|line| line.strip_prefix("versions to ask for or roll back to: "));
    let versions: Value =
        serde_json::from_str(succeeded(&project.run(&["sql", "--json", versions.unwrap_or_default()]))).unwrap();
    assert_eq!(versions["snapshot_id"].to_string(), commit["snapshot_id"].as_str().unwrap());
    let again = project.run(&["table", "flush", "clicks"]);
    assert_eq!(succeeded(&again), "Nothing of clicks waits to be committed.\n");
    let unknown = refused(&project.run(&["table", "show", "orders"]), 2, &project);
    assert!(unknown.contains("there is no table \"orders\""), "{unknown}");
    assert!(server.stop().success());
    assert_eq!(show(), shown, "the folder tells the same");
}

#[test]
fn keys_are_made_shown_and_revoked() {
    let project = Project::new(LACUS, SETTINGS);
    let made_in_folder: Value =
        serde_json::from_str(succeeded(&project.run(&["key", "create", "--source", "clicks", "--json"]))).unwrap();
    let server = project.start();
    let told = |arguments: &[&str]| {
        let finished = project.run(arguments);
        let masked = masked(succeeded(&finished)).replace(&server.http_address().to_string(), "ADDRESS");
        format!("{masked}{}", finished.stderr)
    };
    insta::assert_snapshot!(told(&["key", "create", "--source", "web", "--name", "site"]), @r#"
    write key   WRITE_KEY
    source      web

    Segment SDK  writeKey: WRITE_KEY, host: http://ADDRESS
    or HTTP      curl http://ADDRESS/v1/events -H 'authorization: Bearer WRITE_KEY' -d '{"event_name":"Search"}'
    The secret is not shown again. Revoke the key with lacus key revoke.
    The source takes Segment messages or plain events: what comes first decides.
    "#);
    insta::assert_snapshot!(told(&["key", "create", "--aws", "--events-per-second", "500"]), @"
    export AWS_ACCESS_KEY_ID=ACCESS_KEY_ID
    export AWS_SECRET_ACCESS_KEY=SECRET
    export AWS_DEFAULT_REGION=us-east-1
    export AWS_ENDPOINT_URL_KINESIS=http://ADDRESS
    export AWS_ENDPOINT_URL_FIREHOSE=http://ADDRESS
    The secret is not shown again. Revoke the key with lacus key revoke.
    ");
    insta::assert_snapshot!(told(&["key", "create", "--aws", "--json"]), @r#"{"id":"ACCESS_KEY_ID","name":"","kind":"aws","created_at":"TIME","access_key_id":"ACCESS_KEY_ID","secret_access_key":"SECRET"}"#);

    let key = made_in_folder["write_key"].as_str().unwrap();
    let send = || {
        let bearer = format!("Bearer {key}");
        server.http().post("/v1/events", &[("authorization", &bearer)], b"{}").expect("the server answers").status
    };
    assert_eq!(send(), 200, "a key that was made before the server started");
    let id = made_in_folder["id"].as_str().unwrap();
    assert!(succeeded(&project.run(&["key", "revoke", id])).contains("from now on"));
    assert_eq!(send(), 401);
    assert!(server.stop().success());
    let kept = project.run(&["key", "list", "--json"]);
    assert_eq!(succeeded(&kept).lines().count(), 3, "{}", kept.stdout);
    assert!(!kept.stdout.contains("secret") && !kept.stdout.contains("wk_"), "{}", kept.stdout);
    assert!(succeeded(&project.run(&["key", "list"])).contains("site"));
    insta::assert_snapshot!(refused(&project.run(&["key", "revoke", id]), 2, &project).replace(id, "ID"), @r#"
    error: there is no key "ID"
    hint: lacus key list shows all
    "#);
    insta::assert_snapshot!(refused(&project.run(&["key", "revoke", "../x"]), 2, &project), @r#"
    error: "../x" is no id of a key
    hint: lacus key list shows all
    "#);
}

/// The text without what is new in every run: keys, ids, times.
fn masked(text: &str) -> String {
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || "_:.-".contains(letter);
    let mut masked = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let word = &rest[..rest.find(|letter| !is_of_word(letter)).unwrap_or(rest.len())];
        let is_secret = word.len() == 40 && word.chars().all(|letter| letter.is_ascii_alphanumeric());
        masked.push_str(match word {
            _ if word.starts_with("wk_") => "WRITE_KEY",
            _ if word.starts_with("key_") => "KEY_ID",
            _ if word.starts_with("LACU") => "ACCESS_KEY_ID",
            _ if is_secret => "SECRET",
            _ if word.starts_with("20") && word.ends_with('Z') => "TIME",
            _ => word,
        });
        let after = &rest[word.len()..];
        let next = after.chars().next().map_or(0, char::len_utf8);
        masked.push_str(&after[..next]);
        rest = &after[next..];
    }
    masked
}

#[test]
fn a_damaged_log_is_found() {
    let project = Project::new(LACUS, SETTINGS);
    let server = project.start();
    for _ in 0..2 {
        post(&mut server.http(), &clicks());
    }
    assert!(server.stop().success());
    let segment = project.directory().join(".lacus/stream/segments/00000000000000000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    let place = bytes.windows(8).position(|window| window == b"Purchase").unwrap();
    bytes[place] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let looked = project.run(&["doctor"]);
    assert_eq!(code(&looked), Some(70), "{}", looked.stdout);
    assert!(looked.stdout.contains("✗ log"), "{}", looked.stdout);
}

#[test]
fn the_doctor_finds_a_healthy_project_healthy() {
    let project = Project::new(LACUS, SETTINGS);
    let server = project.start();
    post(&mut server.http(), &clicks());
    let served = project.run(&["doctor"]);
    assert!(succeeded(&served).contains("serves the project"), "{}", served.stdout);
    assert!(server.stop().success());
    let closed = project.run(&["doctor"]);
    assert!(succeeded(&closed).contains("3 records"), "{}", closed.stdout);
    assert!(!closed.stdout.contains('✗'), "{}", closed.stdout);
}

#[test]
fn the_doctor_says_when_the_disk_is_too_full_for_events() {
    let project = Project::new(LACUS, "[stream]\ndisk_reserve = \"1000000GB\"\n");
    let looked = project.run(&["doctor"]);
    assert!(looked.stdout.contains("less than stream.disk_reserve: 1000000GB"), "{}", looked.stdout);
    assert!(looked.stdout.contains("✗ disk") && looked.stdout.contains("events are refused"), "{}", looked.stdout);
    assert_ne!(code(&looked), Some(0));
}

#[test]
fn the_demo_answers_its_questions_and_continues() {
    let project = Project::new(LACUS, SETTINGS);
    let folder = project.directory().join("demo");
    let run = || lacus(&["demo", folder.to_str().unwrap(), "--exit", "--seconds", "2", "--rate", "1000"]);
    let first = run();
    for expected in ["ViewContent", "revenue", "purchases", "furthest_percent", "Stopped."] {
        assert!(succeeded(&first).contains(expected), "{}", first.stdout);
    }
    assert_eq!(first.stderr, "");
    let second = run();
    assert!(succeeded(&second).contains("events of earlier runs are still here"), "{}", second.stdout);
}

/// Waits until SQL sees what was acknowledged.
fn wait_for_rows(project: &Project, rows: u64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let counted = project.run(&["sql", "--json", "SELECT count(*) AS rows FROM clicks"]);
        if counted.stdout.trim() == format!("{{\"rows\":{rows}}}") {
            return;
        }
        assert!(Instant::now() < deadline, "{} {}", counted.stdout, counted.stderr);
    }
}
