//! Views: read in the dialect they were written in, made by statements, and one state of each table for all of them.

use lacus_core::{Kind, TableName};
use lacus_lake::views::SqlView;

use super::databases::Filled;
use super::lake::{ask, ask_with_stats};
use crate::{Session, SqlError};

const PEOPLE: &str = r#"{"id":1,"name":"Ada","age":36}
{"id":2,"name":"Bob","age":17}
{"id":3,"name":null,"age":40}"#;

async fn people() -> (Filled, Session) {
    let lake = Filled::new().await;
    lake.add("people", PEOPLE).await;
    let session = lake.session();
    (lake, session)
}

async fn refusal(session: &Session, sql: &str) -> SqlError {
    ask_with_stats(session, sql).await.expect_err(sql)
}

impl Filled {
    /// A view as another engine makes it.
    async fn foreign(&self, name: &str, dialect: &'static str, sql: &str, columns: &[&str]) {
        let fields =
            columns.iter().map(|name| arrow::datatypes::Field::new(*name, arrow::datatypes::DataType::Utf8, true));
        let columns = std::sync::Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        let name = TableName::new(name).unwrap();
        let view = SqlView { name, sql: sql.to_owned(), dialect, database: "main".to_owned(), columns };
        self.lake.create_view(self.lake.view_of(view).unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_view_is_not_written_to() {
    let (_lake, session) = people().await;
    ask(&session, "create view adults as select id, name from people where age >= 18").await;
    for sql in ["insert into adults values (9, 'Eve')", "drop table adults", "delete from adults"] {
        let error = refusal(&session, sql).await;
        assert_eq!((error.sqlstate(), error.message()), ("42809", "\"adults\" is a view, not a table"), "{sql}");
    }
}

#[tokio::test]
async fn a_view_is_made_read_replaced_and_dropped() {
    let (lake, session) = people().await;
    assert_eq!(ask(&session, "create view adults as select id, name from people where age >= 18; ").await, "");
    assert_eq!(ask(&session, "select * from adults order by id").await, "1|Ada\n3|-");
    assert_eq!(ask(&session, "select a.name from adults a join people p using (id) where p.age = 36").await, "Ada");
    assert_eq!(ask(&session, "select count(*) from adults where id in (1, 2)").await, "1");
    lake.add("people", r#"{"id":4,"name":"Cy","age":50,"new":1}"#).await;
    assert_eq!(ask(&session, "select name from adults where id = 4").await, "Cy", "always fresh");
    assert_eq!(refusal(&session, "create view adults as select 1").await.kind(), Kind::Exists);
    assert_eq!(ask(&session, "create view if not exists adults as select 1").await, "");
    let text = "create or replace view adults (who, \"How many\") -- AS nothing\n as /* AS */ select name, 2 from people -- end";
    assert_eq!(ask(&session, text).await, "");
    let view = lake.lake.view(&TableName::new("adults").unwrap()).unwrap();
    assert_eq!(view.statements(), [("lacus", "select name, 2 from people")]);
    assert_eq!(ask(&session, "select \"How many\" from adults where who = 'Bob'").await, "2");
    let listed = "select table_name, table_type from information_schema.tables where table_schema = 'main' order by 1";
    assert_eq!(ask(&session, listed).await, "adults|VIEW\npeople|BASE TABLE");
    let names = "select relname, relkind from pg_catalog.pg_class c join pg_catalog.pg_namespace n
                 on n.oid = c.relnamespace where n.nspname = 'main' and c.relkind = 'v'";
    assert_eq!(ask(&session, names).await, "adults|v");
    assert_eq!(ask(&session, "drop view if exists nothing, adults").await, "");
    assert_eq!(refusal(&session, "select * from adults").await.sqlstate(), "42P01");
    assert_eq!(refusal(&session, "drop view people").await.hint(), Some("it is a table"));
}

#[tokio::test]
async fn a_view_means_what_its_dialect_means() {
    let (lake, session) = people().await;
    lake.foreign("theirs", "trino", "SELECT concat(name, '!'), 7 / 2.0 FROM people ORDER BY age DESC", &["a", "b"])
        .await;
    lake.foreign("ours", "lacus", "SELECT concat(name, '!'), 7 / 2.0 FROM people ORDER BY age DESC", &["a", "b"]).await;
    lake.foreign("unknown", "spark", "SELECT 1", &["a"]).await;
    for dialect in ["lacus", "athena"] {
        session.set_variable("dialect", dialect).unwrap();
        assert_eq!(ask(&session, "select a from theirs where a is null or a like 'A%' order by a").await, "Ada!\n-");
        assert_eq!(ask(&session, "select count(*) from ours where a is null").await, "0");
        assert_eq!(ask(&session, "select count(*) from ours where a = '!'").await, "1");
    }
    session.set_variable("dialect", "athena").unwrap();
    ask(&session, "create view mine as select concat(name, '?') as a from people").await;
    assert_eq!(lake.lake.view(&TableName::new("mine").unwrap()).unwrap().statements()[0].0, "trino");
    session.set_variable("dialect", "lacus").unwrap();
    assert_eq!(ask(&session, "select count(*) from mine where a is null").await, "1");
    let error = refusal(&session, "select * from unknown").await;
    assert!(error.message().contains("view \"unknown\": its SQL is in dialect spark"), "{error:?}");
}

#[tokio::test]
async fn columns_stay_when_tables_grow() {
    let (lake, session) = people().await;
    ask(&session, "create view everything as select * from people").await;
    let before = ask(&session, "select * from everything where id = 1").await;
    lake.add("people", r#"{"id":5,"name":"Eve","age":1,"more":2}"#).await;
    assert_eq!(ask(&session, "select * from everything where id = 1").await, before);
    assert_eq!(ask(&session, "select more from people where id = 5").await, "2");
}

#[tokio::test]
async fn what_no_view_can_be_is_refused() {
    let (lake, session) = people().await;
    for (sql, sqlstate) in [
        ("create view v as select nothing from people", "42703"),
        ("create view v as select * from nothing", "42P01"),
        ("create view v as select id from people where age > $1", "42P02"),
        ("create view v as select id, name as id from people", "42701"),
        ("create view v (a, a) as select id, name from people", "42701"),
        ("create view v (a, b) as select id from people", "42601"),
        ("create view nowhere.v as select 1 as a", "3F000"),
        ("create materialized view v as select 1 as a", "0A000"),
        ("create temporary view v as select 1 as a", "0A000"),
        ("drop view v", "42P01"),
    ] {
        let error = refusal(&session, sql).await;
        assert_eq!(error.sqlstate(), sqlstate, "{sql}: {error:?}");
    }
    assert_eq!(refusal(&session, "create view people as select 1 as a").await.kind(), Kind::Exists);
    session.set_variable("default_transaction_read_only", "on").unwrap();
    for sql in ["create view v as select 1 as a", "drop view if exists v"] {
        assert_eq!(refusal(&session, sql).await.sqlstate(), "25006");
    }
    session.set_variable("default_transaction_read_only", "off").unwrap();
    assert_eq!(refusal(&session, "create view v as /* ö */ select nothing from people").await.position(), Some(33));
    lake.foreign("loop_a", "lacus", "select a from loop_b", &["a"]).await;
    lake.foreign("loop_b", "lacus", "select a from loop_a", &["a"]).await;
    let error = refusal(&session, "select * from loop_a").await;
    assert!(error.message().contains("more than 16 views read from each other"), "{error:?}");
    lake.foreign("writes", "lacus", "drop view loop_a", &["a"]).await;
    assert!(refusal(&session, "select * from writes").await.message().contains("a view is a query"));
    lake.foreign("wrong", "lacus", "select nothing from people", &["a"]).await;
    let error = refusal(&session, "select * from wrong").await;
    assert!(error.message().starts_with("view \"wrong\": ") && error.position().is_none(), "{error:?}");
    // Others go on, and what lists all tables leaves none out.
    assert_eq!(
        ask(
            &session,
            "select count(*) from information_schema.tables where table_schema = 'main' and table_type = 'VIEW'"
        )
        .await,
        "4"
    );
    let columns = "select table_name, column_name from information_schema.columns where table_name = 'wrong'";
    assert_eq!(ask(&session, columns).await, "wrong|a");
}

#[tokio::test]
async fn views_read_views_and_a_question_waits_for_all_they_may_read() {
    let (_lake, session) = people().await;
    ask(&session, "create view a as select id, age from people").await;
    ask(&session, "create view b as select age + 1 as older from a where id < 3").await;
    assert_eq!(ask(&session, "select sum(older), max(age) from b, a where a.id = 3").await, "55|40");
    let statement = session.parse("select * from b").unwrap().remove(0);
    assert_eq!(session.streams_of(&statement), None);
    let top = "create view top as select age, count(*) as n from people group by age order by age desc limit 2";
    ask(&session, top).await;
    assert_eq!(ask(&session, "select * from top order by age").await, "36|1\n40|1", "a limit inside stays a limit");
    ask(&session, "create view c as select x.older from b x").await;
    assert_eq!(ask(&session, "select older from c order by 1 limit 1").await, "18");
}
