//! Databases beside `main`: streams that have tables of their own.

use std::sync::Arc;

use lacus_core::{Offset, Partition, Position, Record, SystemClock, TableName, Timestamp, settings};
use lacus_lake::decode::decode;
use lacus_lake::{Lake, TableSchema, TailBatch};
use tempfile::TempDir;

use super::lake::ask;
use crate::{Dialect, Engine, Session};

/// A real lake, whose rows are all in tails.
pub(super) struct Filled {
    pub(super) lake: Arc<Lake>,
    _directory: TempDir,
}

impl Filled {
    pub(super) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake::open(directory.path(), Arc::new(SystemClock)).await.unwrap();
        Self { lake: Arc::new(lake), _directory: directory }
    }

    /// Adds events, one on each line, to a table.
    pub(super) async fn add(&self, table: &str, events: &str) {
        let name = TableName::new(table).unwrap();
        let first = self
            .lake
            .table(&name)
            .map_or(0, |table| table.state().tail.iter().map(|batch| batch.rows.num_rows() as u64).sum());
        self.add_from(table, first, events).await;
    }

    /// Adds events with offsets from `first` on.
    pub(super) async fn add_from(&self, table: &str, first: u64, events: &str) {
        let name = TableName::new(table).unwrap();
        let table = self.lake.create_table(&name, TableSchema::empty()).await.unwrap();
        let record = |(event, offset): (&str, u64)| Record {
            position: Position { partition: Partition(0), offset: Offset(offset) },
            received_at: Timestamp::from_micros(i64::try_from(offset).unwrap()),
            key: None,
            id: None,
            value: event.trim().to_owned().into(),
        };
        let records: Vec<Record> = events.lines().zip(first..).map(record).collect();
        let decoded = decode(&records, &table.state().schema).unwrap();
        table.append_tail(&decoded.schema, TailBatch { bytes: 0, rows: decoded.rows });
    }

    pub(super) fn session(&self) -> Session {
        Engine::new(Arc::clone(&self.lake), Arc::clone(&self.lake) as _, &settings::Query::default())
            .unwrap()
            .session(Dialect::Lacus)
    }
}

async fn two_databases() -> Filled {
    let lake = Filled::new().await;
    lake.add("clicks", r#"{"n":1}"#).await;
    lake.add("web.tracks", "{\"event\":\"a\"}\n{\"event\":\"b\"}").await;
    lake.add("web.tracks__quarantine", r#"{"reason":"none"}"#).await;
    lake
}

#[tokio::test]
async fn what_is_in_the_lake_is_listed_without_the_tables_of_the_engine() {
    let lake = two_databases().await;
    let session = lake.session();
    let of_web = "web|tracks|BASE TABLE\nweb|tracks__quarantine|BASE TABLE";
    let all = format!("main|clicks|BASE TABLE\n{of_web}");
    for (sql, expected) in [
        ("SHOW TABLES", all.as_str()),
        ("SHOW TABLES IN web", of_web),
        ("SHOW TABLES FROM SCHEMA lake.web LIKE '%s'", "web|tracks|BASE TABLE"),
        ("show tables in main 'c*|x'", "main|clicks|BASE TABLE"),
        ("SHOW TABLES IN nowhere", ""),
        ("SHOW DATABASES", "main\nweb"),
        ("SHOW SCHEMAS LIKE 'w%'", "web"),
    ] {
        assert_eq!(ask(&session, sql).await, expected, "{sql}");
    }
    let error = session.query("USE web", &[]).await.err().unwrap();
    assert!(error.hint().is_some_and(|hint| hint.contains("search_path = web")), "{error:?}");
    let error = session.query("SELECT * FROM web", &[]).await.err().unwrap();
    assert!(
        error.hint().is_some_and(|hint| hint.starts_with("\"web\" is a database, with tables such as web.")),
        "{error:?}"
    );
    lake.add("nested", r#"{"a":{"b":1.5,"c":["x"]}}"#).await;
    let described = ask(&session, "DESCRIBE nested").await;
    assert!(described.starts_with("a|struct<b double precision, c text[]>|YES\n_rescued|text|YES\n"), "{described}");
}

#[tokio::test]
async fn a_statement_tells_which_streams_it_is_about() {
    let lake = two_databases().await;
    let session = lake.session();
    let streams = |sql: &str| {
        let statement = session.parse(sql).unwrap().remove(0);
        session
            .streams_of(&statement)
            .map(|streams| streams.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    for (sql, expected) in [
        ("select 1", Some("")),
        ("set search_path = main", Some("")),
        ("select * from clicks", Some("clicks")),
        ("select * from \"clicks$files\" join main.clicks using (path)", Some("clicks")),
        ("with x as (select * from web.tracks) select * from x, lake.main.clicks", Some("clicks web")),
        ("select (select max(event) from web.tracks__quarantine), 1", Some("web")),
        ("explain select * from clicks", Some("clicks")),
        ("select * from clicks, nothing", None),
        ("select * from information_schema.tables", None),
        ("create view v as select * from clicks", Some("clicks")),
        ("create or replace view v (a) as select 1", Some("")),
        ("create view v as select * from nothing", None),
    ] {
        assert_eq!(streams(sql).as_deref(), expected, "{sql}");
    }
}

#[tokio::test]
async fn of_those_who_make_or_drop_a_database_at_once_all_are_content_if_they_say_so() {
    let lake = Filled::new().await;
    let altering = Arc::clone(&lake.lake);
    let engine = Engine::new(Arc::clone(&lake.lake), altering as _, &settings::Query::default()).unwrap();
    let sessions: Vec<Session> = (0..8).map(|_| engine.session(Dialect::Lacus)).collect();
    for (sql, fail) in [
        ("create schema if not exists shop", 0),
        ("create schema web", 7),
        ("drop schema if exists shop", 0),
        ("drop schema web", 7),
    ] {
        let all = futures::future::join_all(sessions.iter().map(|session| session.query(sql, &[]))).await;
        assert_eq!(all.iter().filter(|answer| answer.is_err()).count(), fail, "{sql}");
    }
}

#[tokio::test]
async fn tables_are_found_in_their_database() {
    let lake = two_databases().await;
    let session = lake.session();
    for (sql, expected) in [
        ("select count(*) from web.tracks", "2"),
        ("select count(*) from Web.TRACKS", "2"),
        ("select count(*) from lake.web.tracks", "2"),
        ("select tracks.event from web.tracks where event = 'a'", "a"),
        ("select web.tracks.event from web.tracks where event = 'a'", "a"),
        ("select count(*) from clicks c join web.tracks t on t.event = 'b' where c.n = 1", "1"),
        ("select count(*) from main.clicks", "1"),
        ("select reason from web.tracks__quarantine", "none"),
    ] {
        assert_eq!(ask(&session, sql).await, expected, "{sql}");
    }
    let error = session.query("select 1 from web.track", &[]).await.err().unwrap();
    assert_eq!(error.hint(), Some("did you mean \"web.tracks\"?"));
    let error = session.query("select 1 from tracks", &[]).await.err().unwrap();
    assert_eq!(error.message(), "there is no table \"tracks\" in database \"main\"");
    assert_eq!(error.hint(), Some("did you mean \"web.tracks\"?"));
}

#[tokio::test]
async fn a_search_path_says_where_questions_find_tables() {
    let lake = two_databases().await;
    lake.add("web.clicks", "{\"n\":1}\n{\"n\":2}").await;
    lake.add("orders", r#"{"n":1}"#).await;
    let session = lake.session();
    for (path, expected) in [
        ("main", "1"),
        ("web", "2"),
        ("\"web\"", "2"),
        ("web, main", "2"),
        ("main, web", "1"),
        ("nothing, public", "1"),
        ("nothing, web", "2"),
    ] {
        session.set_variable("search_path", path).unwrap();
        assert_eq!(ask(&session, "select count(*) from clicks").await, expected, "{path}");
        assert_eq!(ask(&session, "select count(*) from main.clicks").await, "1", "{path}");
    }
    session.set_variable("search_path", "web").unwrap();
    for (sql, expected) in [
        ("select tracks.event from tracks where event = 'a'", "a"),
        ("with clicks as (select * from clicks) select count(*) from clicks", "2"),
        ("select count(*) from tracks t join main.clicks c on c.n = 1", "2"),
        ("select reason from tracks__quarantine", "none"),
        ("select count(*) from orders", "1"),
        ("select count(*) from pg_class where relname = 'tracks'", "1"),
    ] {
        assert_eq!(ask(&session, sql).await, expected, "{sql}");
    }
    let statement = session.parse("select * from clicks, main.orders").unwrap().remove(0);
    let streams = session.streams_of(&statement).unwrap();
    assert_eq!(streams.iter().map(ToString::to_string).collect::<Vec<_>>(), ["orders", "web"]);
    let error = session.query("select 1 from nothing", &[]).await.err().unwrap();
    assert_eq!(error.message(), "there is no table \"nothing\" in database \"web\" or \"main\"");
}

#[tokio::test]
async fn a_statement_that_writes_means_the_table_that_a_question_finds() {
    let lake = two_databases().await;
    let session = lake.session();
    for sql in ["create schema shop", "create table both (n bigint)", "insert into both values (1000)"] {
        ask(&session, sql).await;
    }
    session.set_variable("search_path", "shop").unwrap();
    for sql in [
        "create table both (n bigint)",
        "insert into both values (1), (2), (3)",
        "insert into both select n + 10 from both",
        "update both set n = both.n + 100 where both.n in (select n from both where n < 10)",
        "delete from both where n = 11",
        "merge into both using (select 12 as n) as s on both.n = s.n when matched then update set n = 0",
        "alter table both add column x int",
        "create table copied as select n from both",
        "insert into copied with both as (select 7 as n) select n from both",
        "create view seen as select n from both where n > 100",
        "create view mixed as select count(*) as c from both, main.clicks, generate_series(1, 2)",
    ] {
        ask(&session, sql).await;
    }
    let prepared = session.parse("insert into copied values ($1)").unwrap().remove(0);
    assert_eq!(session.prepare(prepared).await.unwrap().parameters().len(), 1);
    let error = session.query("create view wrong as select 1 as a from both, clicks", &[]).await.err().unwrap();
    assert_eq!((error.sqlstate(), error.hint()), ("0A000", Some("write shop.both and main.clicks")));
    session.set_variable("search_path", "main").unwrap();
    for (sql, expected) in [
        ("select n from shop.both order by n", "0\n13\n101\n102\n103"),
        ("select n from both", "1000"),
        ("select count(*), min(n) from shop.copied", "6|0"),
        ("select count(*) from shop.seen", "3"),
        ("select c from shop.mixed", "10"),
        ("select count(*) from both where n in (select n from shop.seen)", "0"),
    ] {
        assert_eq!(ask(&session, sql).await, expected, "{sql}");
    }
    session.set_variable("search_path", "shop").unwrap();
    for sql in ["insert overwrite copied select 9", "drop view seen", "drop view mixed", "drop table both"] {
        ask(&session, sql).await;
    }
    ask(&session, "insert into both values (1001)").await;
    assert_eq!(ask(&session, "select sum(n) from main.both").await, "2001", "no other table is called so any more");
    assert_eq!(ask(&session, "select n from shop.copied").await, "9");
    for sql in ["alter table nothing add column x int", "drop table nothing", "delete from nothing"] {
        let error = session.query(sql, &[]).await.err().unwrap_or_else(|| panic!("{sql}: it was done"));
        assert_eq!(error.sqlstate(), "42P01", "{sql}");
    }
}

#[tokio::test]
async fn clients_are_told_of_all_databases() {
    let lake = two_databases().await;
    let session = lake.session();
    let listed = "select table_schema || '.' || table_name from information_schema.tables
                  where table_schema in ('main', 'web') order by 1";
    assert_eq!(ask(&session, listed).await, "main.clicks\nweb.tracks\nweb.tracks__quarantine");
    let columns =
        "select column_name from information_schema.columns where table_schema = 'web' and table_name = 'tracks'
                   and column_name not like '\\_%'";
    assert_eq!(ask(&session, columns).await, "event");
    // What psql asks for \dn and \dt.
    let namespaces = "SELECT n.nspname FROM pg_catalog.pg_namespace n
                      WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1";
    assert_eq!(ask(&session, namespaces).await, "main\nweb");
    let relations = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
                     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     WHERE c.relkind IN ('r','p','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast'
                     AND n.nspname <> 'information_schema' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2";
    assert_eq!(ask(&session, relations).await, "main|clicks", "what is found without naming its database");
    session.set_variable("search_path", "web, main").unwrap();
    assert_eq!(ask(&session, relations).await, "main|clicks\nweb|tracks\nweb|tracks__quarantine");
    assert_eq!(ask(&session, "show tables").await.matches("web|tracks|BASE TABLE").count(), 1);
    lake.add("app.tracks", r#"{"event":"c"}"#).await;
    assert_eq!(ask(&session, "select count(*) from app.tracks").await, "1", "a database that came meanwhile");
}

#[tokio::test]
async fn users_have_the_latest_of_what_is_known_of_them() {
    let lake = two_databases().await;
    let session = lake.session();
    assert!(session.query("select 1 from web.users", &[]).await.is_err(), "nobody was identified");
    lake.add("web.identifies", r#"{"id":"m0","anonymous_id":"x"}"#).await;
    assert!(session.query("select 1 from web.users", &[]).await.is_err(), "nobody was identified by an id");
    lake.add(
        "web.identifies",
        r#"{"id":"m1","received_at":"t1","user_id":"a","email":"old","plan":"free","Größe":1}
           {"id":"m2","received_at":"t2","user_id":"b","email":"b@b"}
           {"id":"m3","received_at":"t3","user_id":"a","email":"new","logins":2.5}
           {"id":"m4","received_at":"t4","user_id":"a","plan":null}"#,
    )
    .await;
    let users = "select id, received_at, email, plan, logins, \"größe\" from web.users order by id";
    let users = users.replace("größe", "Größe");
    assert_eq!(ask(&session, &users).await, "a|t4|new|free|2.5|1\nb|t2|b@b|-|-|-");
    assert_eq!(ask(&session, "select count(*), count(distinct user_id) from web.users").await, "2|2");
    lake.add("web.identifies", r#"{"id":"m5","received_at":"t5","user_id":"b","email":"c@c"}"#).await;
    assert_eq!(ask(&session, "select email from Web.Users where user_id = 'b'").await, "c@c", "always fresh");
    let of_users = "select t.event, u.email from web.tracks t join web.users u on u.id = 'a' where t.event = 'a'";
    assert_eq!(ask(&session, of_users).await, "a|new");
    let columns =
        "select column_name from information_schema.columns where table_schema = 'web' and table_name = 'users'";
    assert_eq!(ask(&session, columns).await, "id\nuser_id\nanonymous_id\nreceived_at\nemail\nplan\nGröße\nlogins");
    let views = "SELECT c.relname, c.relkind FROM pg_catalog.pg_class c
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'web' AND c.relkind = 'v'";
    assert_eq!(ask(&session, views).await, "users|v");
    assert_eq!(lake.add("shop.users", r#"{"n":1}"#).await, ());
    assert_eq!(ask(&session, "select n from shop.users").await, "1");
}
