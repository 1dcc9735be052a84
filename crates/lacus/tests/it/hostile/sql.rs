//! SQL that would take everything: each with its SQLSTATE, and a server that answers the next question.

use lacus_testkit::{Postgres, Project};

/// Little memory, so that it is soon used up.
const SETTINGS: &str = "[query]\nmemory_max = \"128MB\"\n";
/// The most memory the server may ever have had, in MB: unoptimised.
const MEMORY_MB_MAX: u64 = 1000;
/// What a session is told before each: the debug build on a busy machine has to plan in this time, too.
const TIMEOUT: &str = "SET statement_timeout = '4s'";

/// Works, or is refused for its size or its time: which one, the machine decides.
const ANY: &str = "any";

/// Statements, and the SQLSTATE of the answer; nothing if there are rows.
fn statements() -> Vec<(&'static str, String, &'static str)> {
    let many = |one: &str, count: usize, between: &str| vec![one; count].join(between);
    let numbers = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let series = |rows: u64| format!("generate_series(1, {rows}) AS t(v)");
    let recursive =
        |more: &str| format!("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT {more}) SELECT count(*) FROM r");
    let within = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("SELECT {}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    vec![
        ("more than 1 MB", format!("SELECT 1{}", " ".repeat(1 << 20)), "54000"),
        ("a text of 1 MB", format!("SELECT length('{}')", "x".repeat(1_000_000)), ""),
        ("10,000-way IN", format!("SELECT count(*) FROM {} WHERE v IN ({})", series(9), numbers(10_000)), ANY),
        ("90,000-way IN", format!("SELECT 1 WHERE 7 IN ({})", numbers(90_000)), ANY),
        ("10,000 brackets", within("(", "1", ")", 10_000), "54001"),
        ("brackets that stay open", "SELECT ".to_owned() + &"(".repeat(100_000), "54001"),
        ("10,000 CASE", within("CASE WHEN TRUE THEN ", "1", " END", 10_000), "54001"),
        ("1,000 questions in each other", within("* FROM (SELECT ", "1", ") AS t", 1_000), "54001"),
        ("100,000 additions", format!("SELECT {}", many("1", 100_000, "+")), "54001"),
        ("300 additions", format!("SELECT {}", many("1", 300, "+")), ANY),
        ("20,000 OR", format!("SELECT count(*) FROM {} WHERE {}", series(9), many("v = 1", 20_000, " OR ")), "54001"),
        ("1,900 OR", format!("SELECT count(*) FROM {} WHERE {}", series(9), many("v = 1", 1_900, " OR ")), ANY),
        ("100,000 minuses", format!("SELECT {}1", "- ".repeat(100_000)), "54001"),
        ("100,000 NOT", format!("SELECT {}TRUE", "NOT ".repeat(100_000)), "54001"),
        ("20,000 casts", format!("SELECT 1{}", "::bigint".repeat(20_000)), "54001"),
        ("10,000 subscripts", format!("SELECT a{} FROM (SELECT ARRAY[1] AS a) AS t", "[1]".repeat(10_000)), "54001"),
        ("5,000 UNION ALL", many("SELECT 1", 5_000, " UNION ALL "), "54001"),
        (
            "a cross join without end",
            // The sides become one table, that fits in memory or does not.
            format!("SELECT count(*) FROM {} WHERE a0.x + a4.x = 7", sides(5)),
            ANY,
        ),
        (
            "a cross join that is summed up",
            "SELECT sum(sin(a.x * b.x)) FROM generate_series(1, 100000) a(x), generate_series(1, 100000) b(x)"
                .to_owned(),
            "57014",
        ),
        ("a series without end", format!("SELECT count(*) FROM {}", series(i64::MAX as u64)), "57014"),
        ("a recursion without end", recursive("n + 1 FROM r"), ANY),
        ("a recursion that doubles until it overflows", recursive("n * 2 FROM r"), "22003"),
        ("a recursion that grows tenfold", recursive("n + 1 FROM r, generate_series(1, 10) AS g(x)"), ANY),
        ("division by zero", "SELECT 1 / 0".to_owned(), "22012"),
        ("rest of a division by zero", "SELECT 1 % 0".to_owned(), "22012"),
        (
            "division by zero of decimals",
            "SELECT CAST(1 AS numeric(9,2)) / CAST(0 AS numeric(9,2))".to_owned(),
            "22012",
        ),
        ("the least number divided by -1", "SELECT (-9223372036854775807 - 1) / (-1)".to_owned(), "22003"),
        ("a sum that is too large", "SELECT 9223372036854775807 + 1".to_owned(), "22003"),
        ("a product that is too large", "SELECT v * v FROM (VALUES (4611686018427387904)) AS t(v)".to_owned(), "22003"),
        ("a negation that is too large", "SELECT -(-9223372036854775807 - 1)".to_owned(), "22003"),
        ("a cast that is too large", "SELECT CAST(3000000000 AS integer)".to_owned(), "22003"),
        ("an expression that takes ages", "SELECT regexp_like(repeat('a', 100000), '(a+)+$')".to_owned(), ""),
    ]
}

/// Tables of a thousand rows beside one another.
fn sides(count: usize) -> String {
    (0..count).map(|at| format!("generate_series(1, 1000) a{at}(x)")).collect::<Vec<_>>().join(", ")
}

#[test]
fn sql_that_would_take_everything_is_stopped_and_the_next_question_answered() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), SETTINGS);
    let server = project.start();
    let mut wrong = Vec::new();
    for (what, sql, code) in statements() {
        let mut session = server.postgres();
        session.query(TIMEOUT).expect("a setting");
        let told = session.query(&sql);
        let found = told.as_ref().map_or_else(|failure| failure.code.as_str(), |_| "");
        session.query("SET statement_timeout = '2min'").expect("a setting");
        let is_told = code == found || code == ANY && !found.starts_with("XX");
        if !is_told {
            wrong.push(format!("{what}: {:.1000} instead of {code:?}", format!("{told:?}")));
        }
        // The session goes on, and so does the server.
        assert_eq!(session.query("SELECT 1").expect("an answer").single(), "1", "after {what}");
        let reply = server.http().post("/v1/events?source=good_events", &[], b"{}").expect("an answer");
        assert_eq!(reply.status, 200, "after {what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    check_bytes(&mut server.postgres());
    let peak = server.memory_mb_max();
    assert!(peak < MEMORY_MB_MAX, "{peak} MB");
    assert!(server.stop().success());
}

/// What is no UTF-8 is replaced, as docs/reference/postgres.md says, and the session goes on.
fn check_bytes(session: &mut Postgres) {
    let told = session.query_bytes(b"SELECT '\xff\xfe'").expect("an answer");
    assert_eq!(told.single(), "\u{fffd}\u{fffd}");
    assert_eq!(session.query("SELECT 1").expect("an answer").single(), "1");
}
