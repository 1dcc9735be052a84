//! A lake whose catalog is in a real PostgreSQL server: refusals, TLS, two nodes, lost answers and crashes in a commit.

use std::sync::Arc;
use std::time::Duration;

use lacus_core::{StreamName, SystemClock, settings};
use lacus_testkit::environment::{Random, seed};
use lacus_testkit::{Database, LossyProxy, make_certificates};
use tempfile::TempDir;

use super::*;
use crate::fixture::{append, commit, numbers, rows_of};
use crate::{Lake, Table};

/// How often one commit is tried, as a delivery does: until it happened.
const ATTEMPTS_MAX: u32 = 200;
/// Crashes of the server while commits go on.
const CRASHES: u32 = 4;

fn settings(url: String) -> settings::Lake {
    settings::Lake { catalog: url.into(), ..settings::Lake::default() }
}

async fn open(directory: &TempDir, url: String) -> Result<Lake> {
    Lake::open_as(directory.path(), &settings(url), Arc::new(SystemClock)).await
}

async fn table_of(lake: &Lake) -> Arc<Table> {
    lake.create_table(&StreamName::new("t").unwrap().table(), numbers()).await.unwrap()
}

/// Commits the next rows, however often it takes. Says how often it failed.
async fn commit_until_it_happened(lake: &Lake, table: &Arc<Table>, next: u64) -> u32 {
    for failures in 0..ATTEMPTS_MAX {
        match commit(lake, &[(table, &numbers())], next).await {
            Ok(_) => return failures,
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{}", error.chain()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{next} could not be committed")
}

async fn must_have(lake: &Lake, table: &Arc<Table>, rows: u64) {
    assert_eq!(table.state().tail.len(), 0);
    let offsets: Vec<i64> = rows_of(lake, table).into_keys().map(|(_, offset)| offset).collect();
    assert_eq!(offsets, (0..rows.cast_signed()).collect::<Vec<_>>());
    assert_eq!(lake.check().await.unwrap(), []);
}

#[tokio::test]
async fn what_is_wrong_with_a_catalog_is_said_without_its_password() {
    let (directory, database) = (tempfile::tempdir().unwrap(), Database::start());
    let url = database.url();
    let wrong = [
        (url.replace("correct-horse", "battery-staple"), Kind::Denied),
        (database.url_at(database.address(), "nowhere"), Kind::NotFound),
        (database.url_at(LossyProxy::start(0, 1).address, "postgres"), Kind::Unavailable),
        (format!("{url}?sslmode=require"), Kind::Denied),
        ("postgres://lacus:correct-horse@/postgres".to_owned(), Kind::Invalid),
    ];
    for (url, kind) in wrong {
        let error = open(&directory, url.clone()).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{url}: {}", error.chain());
        assert!(error.hint().is_some(), "{}", error.chain());
        let told = format!("{} {error:?} {:?}", error.chain(), settings(url));
        assert!(!told.contains("horse") && !told.contains("staple"), "{told}");
    }
    database.query("CREATE ROLE reader LOGIN PASSWORD 'correct-horse'");
    let error = open(&directory, url.replace("lacus:", "reader:")).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Denied, "{}", error.chain());
}

/// Whether the connection that was made last is encrypted, as the server has it.
fn is_encrypted(database: &Database) -> String {
    database.query(
        "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'lacus'
         ORDER BY backend_start DESC LIMIT 1",
    )
}

#[tokio::test]
async fn who_asks_for_tls_has_it_with_the_right_server_or_is_told_why_not() {
    let (directory, certificates, others) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_certificates(certificates.path());
    make_certificates(others.path());
    let path = |directory: &TempDir, file: &str| directory.path().join(file).display().to_string();
    let (ca, other_ca) = (path(&certificates, "ca.crt"), path(&others, "ca.crt"));
    let mut database = Database::start();
    let url = database.url();
    // Another name for the same place.
    let elsewhere = format!("{}?hostaddr=127.0.0.1&", url.replace("127.0.0.1", "db.internal"));

    let required = format!("{url}?sslmode=verify-full&sslrootcert={ca}");
    for url in [format!("{url}?sslmode=require"), required.clone()] {
        let error = open(&directory, url).await.err().unwrap();
        assert_eq!(error.kind(), Kind::Denied, "{}", error.chain());
        assert!(error.to_string().contains("has no TLS, and lake.catalog asks for it"), "{}", error.chain());
    }
    let lake = open(&directory, url.clone()).await.unwrap();
    assert_eq!(is_encrypted(&database), "f");
    drop(lake);

    database.speak_tls(certificates.path());
    for (url, expected) in [
        (url.clone(), "t"),
        (format!("{url}?sslmode=disable"), "f"),
        (format!("{url}?sslmode=prefer"), "t"),
        (format!("{url}?sslmode=require"), "t"),
        (format!("{url}?sslmode=require&sslrootcert={}", ca.replace('/', "%2F")), "t"),
        (format!("{url}?sslmode=verify-ca&sslrootcert={ca}"), "t"),
        (required.clone(), "t"),
        (format!("{elsewhere}sslmode=verify-ca&sslrootcert={ca}"), "t"),
    ] {
        let lake = open(&directory, url.clone()).await.unwrap_or_else(|error| panic!("{url}: {}", error.chain()));
        assert_eq!(is_encrypted(&database), expected, "{url}");
        drop(lake);
    }
    let unsigned = "nobody that lacus trusts has signed the certificate";
    let absent = path(&others, "none.crt");
    let (socket, key) = ("postgres://lacus@%2Ftmp/postgres", path(&others, "ca.key"));
    for (url, kind, expected) in [
        (format!("{url}?sslmode=require&sslrootcert={other_ca}"), Kind::Denied, unsigned),
        (format!("{url}?sslmode=verify-full&sslrootcert={other_ca}"), Kind::Denied, unsigned),
        (format!("{elsewhere}sslmode=verify-full&sslrootcert={ca}"), Kind::Denied, "is that of another host"),
        (format!("{url}?sslmode=verify-ca"), Kind::Invalid, "sslmode=verify-ca and no sslrootcert"),
        (format!("{url}?sslmode=allow"), Kind::Invalid, "sslmode=allow, which there is not"),
        (format!("{url}?sslrootcert={ca}"), Kind::Invalid, "an sslrootcert that its sslmode does not look at"),
        (format!("{url}?sslmode=require&sslrootcert=system"), Kind::Invalid, "that its sslmode does not look at"),
        (format!("{url}?sslmode=verify-full&sslrootcert=ca.crt"), Kind::Invalid, "does not begin with /"),
        (format!("{url}?sslmode=verify-full&sslrootcert={absent}"), Kind::Invalid, "can't read the certificates"),
        (format!("{url}?sslmode=verify-full&sslrootcert={key}"), Kind::Invalid, "there is no certificate in"),
        (format!("{socket}?sslmode=require"), Kind::Invalid, "asks for TLS on a Unix socket"),
    ] {
        let error = open(&directory, url.clone()).await.err().unwrap_or_else(|| panic!("{url} was opened"));
        assert_eq!(error.kind(), kind, "{url}: {}", error.chain());
        assert!(error.to_string().contains(expected), "{url}: {}", error.chain());
        assert!(error.hint().is_some(), "{url}: {}", error.chain());
    }

    // A lake goes on where it was, over the connection that comes after one that was lost.
    let lake = open(&directory, required).await.unwrap();
    let table = table_of(&lake).await;
    database.crash();
    database.start_again();
    append(&table, &numbers(), 0..3);
    commit_until_it_happened(&lake, &table, 3).await;
    assert_eq!(is_encrypted(&database), "t");
    must_have(&lake, &table, 3).await;
}

#[tokio::test]
async fn of_two_nodes_the_last_to_open_the_lake_writes() {
    let (directory, database) = (tempfile::tempdir().unwrap(), Database::start());
    let first = open(&directory, database.url()).await.unwrap();
    let table = table_of(&first).await;
    append(&table, &numbers(), 0..3);
    commit(&first, &[(&table, &numbers())], 3).await.unwrap();

    let second = open(&directory, database.url()).await.unwrap();
    append(&table, &numbers(), 3..5);
    let error = commit(&first, &[(&table, &numbers())], 5).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{}", error.chain());

    let table = table_of(&second).await;
    append(&table, &numbers(), 3..6);
    commit(&second, &[(&table, &numbers())], 6).await.unwrap();
    must_have(&second, &table, 6).await;
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the seed repeats a failure")]
async fn a_commit_whose_answer_was_lost_is_found_out_about() {
    let (directory, database) = (tempfile::tempdir().unwrap(), Database::start());
    let seed = seed();
    println!("LACUS_SEED={seed}");
    let lossy = LossyProxy::start(4, seed);
    lossy.lead_to(Some(database.address()));
    let url = database.url_at(lossy.address, "postgres");
    // Opening is tried again, too: its answers get lost as others do.
    let lake = loop {
        if let Ok(lake) = open(&directory, url.clone()).await {
            break lake;
        }
    };
    let name = StreamName::new("t").unwrap().table();
    let table = loop {
        if let Ok(table) = lake.create_table(&name, numbers()).await {
            break table;
        }
    };
    let commits = 15;
    for next in 1..=commits {
        append(&table, &numbers(), next - 1..next);
        commit_until_it_happened(&lake, &table, next).await;
    }
    assert!(lossy.lost() > 0, "no answer was lost");
    drop(lake);
    let lake = open(&directory, database.url()).await.unwrap();
    must_have(&lake, &table_of(&lake).await, commits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_in_the_middle_of_commits_loses_and_doubles_none() {
    let (directory, mut database) = (tempfile::tempdir().unwrap(), Database::start());
    let lake = open(&directory, database.url()).await.unwrap();
    let table = table_of(&lake).await;
    let url = database.url();
    let mut random = Random::new(seed());
    let crashing = std::thread::spawn(move || {
        for _ in 0..CRASHES {
            std::thread::sleep(Duration::from_millis(100 + random.below(300)));
            database.crash();
            database.start_again();
        }
        database
    });
    let mut next = 0;
    while !crashing.is_finished() || next < 10 {
        next += 1;
        append(&table, &numbers(), next - 1..next);
        commit_until_it_happened(&lake, &table, next).await;
    }
    let _database = crashing.join().unwrap();
    drop(lake);
    let lake = open(&directory, url).await.unwrap();
    must_have(&lake, &table_of(&lake).await, next).await;
}

#[tokio::test]
async fn a_lake_of_a_newer_lacus_is_refused() {
    let (directory, database) = (tempfile::tempdir().unwrap(), Database::start());
    drop(open(&directory, database.url()).await.unwrap());
    database.query("INSERT INTO lacus.migrations VALUES (99)");
    let error = open(&directory, database.url()).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid, "{}", error.chain());
}
