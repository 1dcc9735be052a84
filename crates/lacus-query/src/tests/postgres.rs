//! What Postgres clients ask when they start, as far as that is publicly known, and statements around queries.

use futures::StreamExt;
use lacus_core::StatementLimits;

use super::databases::Filled;
use super::lake::ask;
use crate::{CopyKind, Session};

async fn lake() -> (Filled, Session) {
    let lake = Filled::new().await;
    lake.add("clicks", r#"{"n":1,"price":1.5,"tags":["a"],"who":{"name":"Ana"}}"#).await;
    lake.add("web.tracks", r#"{"event":"a"}"#).await;
    let session = lake.session();
    session.set_client("ana", 42, StatementLimits::default());
    (lake, session)
}

#[tokio::test]
async fn clients_find_what_they_ask_for_at_their_start() {
    let (_lake, session) = lake().await;
    for (client, sql, expected) in [
        ("any", "SELECT current_user, session_user, current_schema(), current_database(), pg_backend_pid()", "ana|ana|main|lake|42"),
        ("any", "SELECT current_setting('server_version_num')::int / 100", "1500"),
        ("any", "SELECT array_to_string(current_schemas(true), ',')", "pg_catalog,main"),
        ("any", "SELECT 'clicks'::regclass = (SELECT oid FROM pg_class WHERE relname = 'clicks')", "true"),
        ("any", r#"SELECT '"main" . "clicks"'::regclass = 'clicks'::regclass"#, "true"),
        ("any", "SELECT c.oid::regclass FROM pg_class c WHERE relname = 'clicks'", "clicks"),
        ("any", "SELECT c.oid::regclass::text FROM pg_class c WHERE relname = 'tracks'", "web.tracks"),
        ("any", "SELECT relname FROM pg_class WHERE relname LIKE 'cli/cks' ESCAPE '/'", "clicks"),
        ("pgjdbc", "SELECT setting FROM pg_catalog.pg_settings WHERE name='max_index_keys'", "32"),
        (
            "asyncpg",
            "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new",
            "off|off",
        ),
        ("asyncpg", "SELECT pg_advisory_unlock_all()", "-"),
        ("psycopg", "SELECT to_regtype('hstore'), to_regtype('bigint')", "-|20"),
        (
            "Metabase",
            "select n.nspname as \"schema\", c.relname as \"name\", case c.relkind when 'r' then 'TABLE' when 'v' then 'VIEW' else null end as
             \"type\", d.description, stat.n_live_tup as estimated_row_count from pg_catalog.pg_class as c inner join pg_catalog.pg_namespace as n
             on c.relnamespace = n.oid left join pg_catalog.pg_description as d on c.oid = d.objoid and d.objsubid = 0 and
             d.classoid = 'pg_class'::regclass left join pg_stat_user_tables as stat on n.nspname = stat.schemaname and
             c.relname = stat.relname where c.relnamespace = n.oid and n.nspname !~ '^information_schema|catalog_history|pg_'
             and c.relkind in ('r', 'p', 'v', 'f', 'm') order by \"type\", \"schema\", \"name\"",
            "main|clicks|TABLE|-|-\nweb|tracks|TABLE|-|-",
        ),
        (
            "Grafana",
            "SELECT quote_ident(table_name) AS \"table\" FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN
             ('information_schema', 'pg_catalog') ORDER BY 1",
            "clicks\ntracks",
        ),
        (
            "Grafana",
            "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" FROM information_schema.columns
             WHERE quote_ident(table_name) = 'clicks' AND column_name NOT LIKE '\\_%'",
            "n|bigint\nprice|double precision\ntags|ARRAY\nwho|json",
        ),
        ("Grafana", "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'", ""),
        ("Superset", "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%' ORDER BY nspname", "information_schema\nmain\nweb"),
        (
            "DBeaver",
            "SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate OR db.datname = 'lake'
             ORDER BY db.datname",
            "5|5|lake|10|6|c|false|true|-1|0|0|1663|C|C.UTF-8|-|-|-",
        ),
        (
            "DBeaver",
            "SELECT c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true)
             as def_value, dsc.description FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid=c.oid)
             LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid=ad.adrelid AND a.attnum = ad.adnum)
             LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid)
             WHERE NOT a.attisdropped AND c.relkind not in ('i','I','c') AND c.relname = 'clicks' AND a.attnum < 4 ORDER BY a.attnum",
            "clicks|n|bigint|-|-\nclicks|price|double precision|-|-\nclicks|tags|text[]|-|-",
        ),
        (
            "Redshift",
            "SELECT table_schema, table_name, table_type FROM svv_tables WHERE table_schema = 'web'",
            "web|tracks|BASE TABLE",
        ),
        (
            "Redshift",
            "SELECT \"column\", type FROM pg_table_def WHERE tablename = 'tracks' AND \"column\" NOT LIKE '\\_%'",
            "event|text",
        ),
    ] {
        let statement = session.query(sql, &[]).await;
        assert!(statement.is_ok(), "{client}: {sql}: {:?}", statement.err());
        assert_eq!(ask(&session, sql).await, expected, "{client}: {sql}");
    }
}

#[tokio::test]
async fn a_transaction_holds_variables_and_cursors() {
    let (_lake, session) = lake().await;
    let name = "show application_name";
    ask(&session, "set application_name = 'first'").await;
    for (statements, expected) in [
        (["begin", "set application_name = 'second'", "rollback"], "first"),
        (["begin", "set local application_name = 'second'", "commit"], "first"),
        (["begin", "set application_name = 'second'", "commit"], "second"),
        (["set local application_name = 'nothing'", "rollback", "begin"], "second"),
        (["savepoint a", "set application_name = 'third'", "rollback to a"], "second"),
        (["set application_name = 'third'", "release a", "commit"], "third"),
    ] {
        for sql in statements {
            ask(&session, sql).await;
        }
        assert_eq!(ask(&session, name).await, expected, "{statements:?}");
    }
    let refused = session.query("declare c cursor for select 1", &[]).await.err().unwrap();
    assert_eq!(refused.sqlstate(), "25P01");
    ask(&session, "begin").await;
    ask(&session, "declare c cursor for select value from generate_series(1, 20000)").await;
    ask(&session, "declare kept cursor with hold for select 7").await;
    assert_eq!(ask(&session, "fetch 2 from c").await, "1\n2");
    assert_eq!(ask(&session, "fetch next from c").await, "3");
    ask(&session, "move 10000 in c").await;
    assert_eq!(ask(&session, "fetch c").await, "10004");
    let mut rest = session.query("fetch all from c", &[]).await.unwrap();
    let mut rows = 0;
    while let Some(batch) = rest.next().await {
        rows += batch.unwrap().num_rows();
    }
    assert_eq!(rows, 20_000 - 10_004);
    assert_eq!(session.query("fetch backward 1 from c", &[]).await.err().unwrap().sqlstate(), "0A000");
    ask(&session, "commit").await;
    assert_eq!(session.query("fetch 1 from c", &[]).await.err().unwrap().sqlstate(), "34000");
    assert_eq!(ask(&session, "fetch 1 from kept").await, "7");
    ask(&session, "close all").await;
    assert_eq!(session.query("fetch 1 from kept", &[]).await.err().unwrap().sqlstate(), "34000");
}

#[tokio::test]
async fn a_copy_is_a_query_with_a_format() {
    let (_lake, session) = lake().await;
    let format = |sql: &str| session.parse(sql).unwrap().remove(0).copy_format().cloned().unwrap();
    let text = format("COPY (SELECT 1) TO STDOUT");
    assert_eq!((text.kind, text.delimiter, text.null.as_str(), text.header), (CopyKind::Text, '\t', "\\N", false));
    let csv = format("copy clicks (n, price) to stdout with (format csv, header, delimiter ';', null 'none')");
    assert_eq!((csv.kind, csv.delimiter, csv.null.as_str(), csv.header), (CopyKind::Csv, ';', "none", true));
    assert_eq!(format("COPY clicks TO STDOUT CSV HEADER QUOTE AS ''''").quote, '\'');
    assert_eq!(format("COPY clicks TO STDOUT BINARY").kind, CopyKind::Binary);
    assert_eq!(ask(&session, "copy clicks (n, price) to stdout").await, "1|1.5");
    let error = session.query("COPY (\nSELECT nothing FROM clicks) TO STDOUT", &[]).await.err().unwrap();
    assert_eq!((error.sqlstate(), error.position()), ("42703", Some(15)));
    for (sql, sqlstate) in [
        ("copy (select 1) to stdout (format parquet)", "22023"),
        ("copy (select 1) to stdout (frozen)", "0A000"),
        ("copy (delete from clicks) to stdout", "0A000"),
        ("copy (select 1) to stdout delimiter 'ab'", "22023"),
        ("declare c scroll cursor for select 1", "0A000"),
        ("fetch 1 from", "42601"),
        ("close", "42601"),
        ("listen x", "0A000"),
    ] {
        let error = session.query(sql, &[]).await.err().unwrap_or_else(|| panic!("{sql} was answered"));
        assert_eq!(error.sqlstate(), sqlstate, "{sql}: {error:?}");
    }
    let together = session.parse("select 1; close all; unlisten *; reset all; select 'fetch; x'").unwrap();
    let commands: Vec<&str> = together.iter().map(crate::Statement::command).collect();
    assert_eq!(commands, ["SELECT", "CLOSE CURSOR ALL", "UNLISTEN", "RESET", "SELECT"]);
}
