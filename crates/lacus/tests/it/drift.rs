//! Schema drift, as it comes: a field changes from number to text to object, fields appear, one sender sends garbage.
//!
//! Columns stay as they are, nothing is lost, every value is found by SQL. What is proposed is accepted and filled, what is in
//! quarantine is mended and replayed, both while the server is killed; pyiceberg and DuckDB agree with what is there then.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use lacus_testkit::environment::{Random, prove, seed, setting};
use lacus_testkit::{Http, Project, Server};
use serde_json::{Value, json};

use crate::clients::run_client;

const SETTINGS: &str = r#"
[delivery]
commit_after = "150ms"

[sources.shop]
invalid = "quarantine"
"#;
/// Events of each of the days.
const DAY: u64 = 40;
/// What is no event, as one sender sends it: the number that is missing is `NaN`.
const GARBAGE: u64 = 10;
/// How long a server lives while it fills or replays, at most.
const LIFE_MS_MAX: u64 = 400;

/// The event of this number: what it looks like changes from day to day.
fn event(n: u64) -> Value {
    match n / DAY {
        0 => json!({"n": n, "amount": n, "user": {"id": n}, "items": [{"sku": n}]}),
        1 => json!({"n": n, "amount": format!("{n} EUR"), "user": {"id": n, "address": {"city": "Ulm"}}}),
        2 => json!({"n": n, "amount": {"value": n, "currency": "EUR"}, "user": {"id": format!("u{n}")}}),
        _ => json!({"n": n, "amount": n, "items": [{"sku": n}, {"sku": format!("s{n}"), "size": {"w": n}}]}),
    }
}

fn post(http: &mut Http, lines: &[String]) {
    let header = [("content-type", "application/x-ndjson")];
    let reply = http.post("/v1/events?source=shop", &header, lines.join("\n").as_bytes()).expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn send_day(http: &mut Http, day: u64) {
    let lines: Vec<String> = (day * DAY..(day + 1) * DAY).map(|n| event(n).to_string()).collect();
    // Several requests, so that there are several files.
    lines.chunks(15).for_each(|some| post(http, some));
}

fn ask(server: &Server, sql: &str) -> Vec<Vec<Option<String>>> {
    server.postgres().query(sql).unwrap_or_else(|failure| panic!("{sql}: {failure}")).rows
}

/// The numbers that an answer has, none twice.
fn numbers(server: &Server, sql: &str) -> BTreeSet<u64> {
    let rows = ask(server, sql);
    let numbers: Vec<u64> =
        rows.iter().map(|row| row[0].as_deref().expect("no null").parse().expect("a number")).collect();
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len(), "{sql}: rows are there twice");
    distinct
}

fn days(days: std::ops::Range<u64>) -> BTreeSet<u64> {
    (days.start * DAY..days.end * DAY).collect()
}

/// Begins something over HTTP and kills the server while it is at it. Returns whether an answer came before.
fn begin_and_kill(project: &Project, path: &'static str, body: &'static str, random: &mut Random) -> bool {
    let server = project.start();
    let mut http = server.http();
    let asked = thread::spawn(move || {
        let header = [("content-type", "application/json")];
        http.post(path, &header, body.as_bytes()).is_ok_and(|reply| reply.status == 200)
    });
    thread::sleep(Duration::from_millis(random.below(LIFE_MS_MAX)));
    server.kill9();
    asked.join().expect("the thread ends")
}

#[test]
#[expect(clippy::print_stdout, reason = "a seed repeats what failed")]
fn schemas_drift_and_every_value_is_found_again() {
    let (seed, kills) = (seed(), setting("LACUS_KILLS", if prove() { 40 } else { 3 }));
    println!("LACUS_SEED={seed}");
    let mut random = Random::new(seed);
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), SETTINGS);
    let server = project.start();
    let mut http = server.http();
    send_day(&mut http, 0);
    project.must_run(&["table", "flush", "shop"]);
    let typed = "SELECT column_name, data_type FROM \"shop$columns\" WHERE data_type NOT LIKE '%struct<%'";
    let before = ask(&server, typed);
    for day in 1..4 {
        send_day(&mut http, day);
    }
    let garbage: Vec<String> = (0..GARBAGE).map(|n| format!("{{\"n\": {}, \"amount\": NaN}}", 4 * DAY + n)).collect();
    post(&mut http, &garbage);

    // Columns are as they were, and some are new. Each value is there, in a column or beside it.
    let after = ask(&server, typed);
    assert!(before.iter().all(|column| after.contains(column)), "{before:?} became {after:?}");
    assert!(after.iter().any(|column| column[0].as_deref() == Some("user.address.city")));
    assert_eq!(numbers(&server, "SELECT n FROM shop"), days(0..4));
    let texts = "SELECT n FROM shop WHERE json_extract_scalar(_rescued, '$.amount') = concat(CAST(n AS text), ' EUR')";
    assert_eq!(numbers(&server, texts), days(1..2));
    let objects = "SELECT n FROM shop WHERE CAST(json_extract_scalar(_rescued, '$.amount.value') AS bigint) = n";
    assert_eq!(numbers(&server, objects), days(2..3));
    assert_eq!(ask(&server, "SELECT count(*) FROM shop__quarantine")[0][0].as_deref(), Some("10"));

    // What is proposed: a column for each shape.
    let told = project.must_run(&["schema", "proposals", "shop", "--json"]);
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut shown: Vec<String> = told
        .iter()
        .map(|told| format!("{} {} {} {}", told["column"], told["values"], told["becomes"], told["type"]))
        .collect();
    shown.sort();
    let expected = [
        r#""amount" 40 "amount_object" "struct<currency text, value bigint>""#,
        r#""amount" 40 "amount_text" "text""#,
        r#""items.element.sku" 40 "items.element.sku_text" "text""#,
        r#""user.id" 40 "user.id_text" "text""#,
    ];
    assert_eq!(shown, expected);
    let shown = project.must_run(&["schema", "proposals", "shop"]);
    assert!(shown.starts_with("120 of 160 rows of shop have values in _rescued.\n"), "{shown}");

    // Accepted, with kills in between: rows stay, whatever of it is done.
    server.kill9();
    for _ in 0..kills {
        begin_and_kill(&project, "/v1/tables/shop/proposals", r#"{"column":"amount"}"#, &mut random);
    }
    let server = project.start();
    assert_eq!(numbers(&server, "SELECT n FROM shop"), days(0..4));
    drop(project.run(&["schema", "accept", "shop", "amount"]));
    for column in ["user.id", "items.element.sku"] {
        project.must_run(&["schema", "accept", "shop", column]);
    }
    let told = project.must_run(&["schema", "proposals", "shop"]);
    assert_eq!(told, "0 of 160 rows of shop have values in _rescued.\n");
    assert_eq!(numbers(&server, "SELECT n FROM shop"), days(0..4));
    assert_eq!(numbers(&server, "SELECT amount FROM shop WHERE amount IS NOT NULL"), &days(0..1) | &days(3..4));
    assert_eq!(numbers(&server, "SELECT n FROM shop WHERE amount_text = concat(CAST(n AS text), ' EUR')"), days(1..2));
    assert_eq!(numbers(&server, "SELECT n FROM shop WHERE amount_object['value'] = n"), days(2..3));
    assert_eq!(
        numbers(&server, "SELECT n FROM shop WHERE \"user\"['id_text'] = concat('u', CAST(n AS text))"),
        days(2..3)
    );
    let skus =
        "SELECT n FROM shop WHERE items[2]['sku_text'] = concat('s', CAST(n AS text)) AND items[2]['size']['w'] = n";
    assert_eq!(numbers(&server, skus), days(3..4));

    // What comes now goes there by itself.
    post(&mut server.http(), &[r#"{"n":1000,"amount":"7 EUR"}"#.to_owned()]);
    let found = ask(&server, "SELECT amount_text, _rescued FROM shop WHERE n = 1000");
    assert_eq!(found, [[Some("7 EUR".to_owned()), None]]);

    // The garbage is mended, with kills in between, and a second replay has nothing to do.
    server.kill9();
    for _ in 0..kills {
        let fix = r#"{"where":"text LIKE '%NaN%'","fix":"replace(text, 'NaN', 'null')"}"#;
        begin_and_kill(&project, "/v1/tables/shop/replay", fix, &mut random);
    }
    let server = project.start();
    let there = "SELECT n FROM shop WHERE n >= 160 AND n < 1000";
    let in_quarantine = "SELECT CAST(substr(from_utf8(bytes), 7, 3) AS bigint) FROM shop__quarantine";
    let (rows, waiting) = (numbers(&server, there), numbers(&server, in_quarantine));
    assert!(rows.is_disjoint(&waiting) && rows.len() + waiting.len() == 10, "{rows:?} and {waiting:?}");
    let fix = ["replay", "shop", "--fix", "replace(text, 'NaN', 'null')"];
    project.must_run(&fix);
    assert_eq!(numbers(&server, there), (160..170).collect());
    assert_eq!(project.must_run(&fix), "0 events left shop__quarantine; 0 of those asked for stay.\n");
    let refused = project.run(&["replay", "shop", "--where", "no_column = 1"]);
    assert!(refused.stderr.starts_with("error: "), "{}", refused.stderr);

    project.must_run(&["table", "flush", "shop"]);
    run_client(&project, "shapes.py", &["shop"]);
    assert!(server.stop().success());
    project.must_be_well();
}
