//! External tables: rows of files below a folder, as Athena and Redshift Spectrum have them.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use lacus_core::units::ByteSize;
use lacus_core::{Kind, SystemClock, TableName, settings};
use lacus_lake::{Lake, Outside, OutsideFile};

use super::Project;
use crate::tests::lake::{ask, ask_with_stats};
use crate::{Dialect, Engine};

/// As people have published it, but for the place.
const EVENT_LOGS: &str = "CREATE EXTERNAL TABLE IF NOT EXISTS eventlogs (
anonymousid string , # pick columns you care about!
context map<string,string> , # using a map for nested JSON
messageid string ,
timestamp Timestamp ,
type string ,
userid string ,
traits map<string,string> ,
event string
)
PARTITIONED BY (sourceid string) # partition by the axes you expect to query often, sourceid here is associated with each source of data
ROW FORMAT SERDE 'org.apache.hive.hcatalog.data.JsonSerDe'
LOCATION 'import/segment-logs' # location of your data in S3";

const CLICKS: &str = r#"CREATE EXTERNAL TABLE `clicks` (`id` bigint, `name` string COMMENT 'who', `price` decimal(8,2))
COMMENT 'what was clicked'
PARTITIONED BY (`dt` date, `hour` int)
ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.OpenCSVSerde'
WITH SERDEPROPERTIES ('separatorChar' = ',', 'quoteChar' = '"', 'escapeChar' = '\\')
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'
OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 'import/clicks/'
TBLPROPERTIES ('skip.header.line.count'='1', 'classification'='csv')"#;

async fn clicks() -> Project {
    let project = Project::new().await;
    project.write("import/clicks/dt=2026-11-21/hour=7/a.csv", "id,name,price\n1,x,1.50\n2,\"y, z\",\n");
    project.write("import/clicks/dt=2026-11-21/hour=8/a.csv", "id,name,price\r\n3,,2\r\n");
    project.write("import/clicks/dt=2026-11-22/hour=7/deeper/b.csv", "id,name,price\n4,\\N,-1\n\r\n");
    project.write("import/clicks/_SUCCESS", "");
    project.write("import/clicks/dt=2026-11-22/.b.csv.crc", "no rows");
    assert_eq!(project.run(CLICKS).await, "CREATE TABLE None\n");
    project
}

#[tokio::test]
async fn rows_of_files_are_found_by_each_question() {
    let project = clicks().await;
    let session = project.session();
    let all = "1|x|1.50|2026-11-21|7\n2|y, z|-|2026-11-21|7\n3||2.00|2026-11-21|8\n4|-|-1.00|2026-11-22|7";
    assert_eq!(ask(&session, "SELECT * FROM clicks ORDER BY id").await, all);
    project.write("import/clicks/dt=2026-11-23/hour=0/c.csv", "id,name,price\n5,new,0\n");
    let by_day = "SELECT dt, count(*), sum(price) FROM clicks GROUP BY dt ORDER BY dt";
    assert_eq!(ask(&session, by_day).await, "2026-11-21|3|3.50\n2026-11-22|1|-1.00\n2026-11-23|1|0.00");
    assert_eq!(ask(&session, "SELECT hour, dt FROM clicks WHERE id = 5").await, "0|2026-11-23");
    let joined = "SELECT count(*) FROM clicks a JOIN clicks b USING (id) JOIN sales USING (id)";
    assert_eq!(ask(&session, joined).await, "5");
    ask(&session, "CREATE VIEW cheap AS SELECT id FROM clicks WHERE price < 1").await;
    assert_eq!(ask(&session, "SELECT id FROM cheap ORDER BY id").await, "4\n5");
    ask(&session, "CREATE TABLE kept AS SELECT * FROM clicks WHERE dt = '2026-11-22'").await;
    assert_eq!(ask(&session, "SELECT * FROM kept").await, "4|-|-1.00|2026-11-22|7");
    // A question is never answered again: files change without telling.
    fs::remove_file(project.path("import/clicks/dt=2026-11-23/hour=0/c.csv")).unwrap();
    assert_eq!(ask(&session, "SELECT count(*) FROM clicks").await, "4");
}

#[tokio::test]
async fn folders_that_a_filter_leaves_out_are_not_read() {
    let project = clicks().await;
    project.write("import/clicks/dt=2026-11-20/hour=1/damaged.csv", "id,name,price\nnone\n");
    for (filter, expected, skipped) in [
        ("dt = '2026-11-22'", "1", 3),
        ("dt > DATE '2026-11-20' AND hour = 7", "3", 2),
        ("dt IN ('2026-11-21', '2026-11-22') AND id > 1", "3", 1),
        ("dt = '2001-01-01'", "0", 0),
    ] {
        let sql = format!("SELECT count(*) FROM clicks WHERE {filter}");
        let (answer, stats) =
            ask_with_stats(&project.session(), &sql).await.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(answer, expected, "{filter}");
        if skipped > 0 {
            assert_eq!((stats.files_skipped, stats.files_scanned), (skipped, 4 - skipped), "{filter}");
            assert!(stats.bytes_scanned > 0, "{filter}");
        }
    }
    let said = project.run("SELECT count(*) FROM clicks WHERE id > 0 OR hour = 7").await;
    assert!(
        said.starts_with("22P04 line 2 of …/import/clicks/dt=2026-11-20/hour=1/damaged.csv: it has 1 fields"),
        "{said}"
    );
    assert!(said.contains("skip.header.line.count"), "{said}");
    let limited = settings::Query { bytes_scanned_max: Some(ByteSize(10)), ..settings::Query::default() };
    let session = project.session_with(&limited);
    let error =
        ask_with_stats(&session, "SELECT * FROM clicks WHERE hour = 7 AND dt > '2026-11-20'").await.unwrap_err();
    assert_eq!(error.sqlstate(), "53400", "{error:?}");
}

#[tokio::test]
async fn an_external_table_is_shown_kept_and_forgotten() {
    let project = clicks().await;
    let session = project.session();
    assert!(ask(&session, "SHOW TABLES").await.contains("clicks"));
    let listed = "SELECT table_type, is_insertable_into FROM information_schema.tables WHERE table_name = 'clicks'";
    assert_eq!(ask(&session, listed).await, "BASE TABLE|NO");
    let columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'clicks' ORDER BY ordinal_position";
    assert_eq!(ask(&session, columns).await, "id|bigint\nname|text\nprice|numeric\ndt|date\nhour|integer");
    assert!(ask(&session, "DESCRIBE clicks").await.contains("dt|"));
    assert_eq!(ask(&session, "SHOW CREATE TABLE clicks").await, CLICKS);
    let folders = "dt=2026-11-21/hour=7\ndt=2026-11-21/hour=8\ndt=2026-11-22/hour=7";
    assert_eq!(ask(&session, "SHOW PARTITIONS clicks").await, folders);
    assert_eq!(project.run("MSCK REPAIR TABLE `clicks`;").await, "MSCK REPAIR TABLE None\n");
    for partition in [
        "PARTITION (dt='2026-11-23', hour=9)",
        "IF NOT EXISTS PARTITION (dt='2026-11-23', hour='9') LOCATION 'import/clicks/dt=2026-11-23/hour=9/' PARTITION (hour=1, dt='2026-11-24')",
    ] {
        let added = project.run(&format!("ALTER TABLE clicks ADD {partition}")).await;
        assert_eq!(added, "ALTER TABLE None\n", "{partition}");
    }
    let elsewhere = "ALTER TABLE clicks ADD PARTITION (dt='2026-11-23', hour=9) LOCATION 'import/other/'";
    assert_eq!(
        project.run(elsewhere).await,
        "0A000 a partition of \"clicks\" in another folder than import/clicks/dt=2026-11-23/hour=9/ is not supported (move its files there, or make an external table for that folder and put both together with UNION ALL in a view)"
    );
    let said = project.run("ALTER TABLE clicks ADD PARTITION (dt='2026-11-23')").await;
    assert!(said.starts_with("42601 a partition of \"clicks\" has values of these columns: dt, hour"), "{said}");

    // It is in the catalog: whoever opens the lake next has it.
    let mut lake = Lake::open(&project.path(".lacus"), Arc::new(SystemClock)).await.unwrap();
    let settings = (settings::Lake::default(), settings::Query::default());
    lake.set_outside(Outside::open(project.directory.path(), &settings.0, &settings.1).unwrap());
    let lake = Arc::new(lake);
    let next = Engine::new(Arc::clone(&lake), Arc::clone(&lake) as _, &settings.1).unwrap().session(Dialect::Athena);
    assert_eq!(ask(&next, "SELECT count(*) FROM clicks WHERE name <> ''").await, "2");
    assert_eq!(ask(&next, "DROP TABLE clicks").await, "");
    assert!(lake.view(&TableName::new("clicks").unwrap()).is_none());
    assert_eq!(ask_with_stats(&next, "SELECT * FROM clicks").await.unwrap_err().sqlstate(), "42P01");
    assert_eq!(ask(&next, "DROP TABLE IF EXISTS clicks").await, "");
    assert_eq!(project.files("import/clicks").len(), 5, "files stay");
}

#[tokio::test]
async fn what_unload_writes_is_a_table_again() {
    let project = Project::new().await;
    let session = project.session();
    let rows = ask(&session, "SELECT id, price, paid, day, at, country FROM sales ORDER BY id").await;
    for (number, (unloaded, made)) in [
        ("FORMAT PARQUET", "STORED AS PARQUET"),
        ("FORMAT PARQUET", "ROW FORMAT SERDE 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe'"),
        ("FORMAT JSON", "ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' WITH SERDEPROPERTIES ('serialization.format' = '1')"),
        ("FORMAT JSON GZIP", "STORED AS JSON"),
        ("FORMAT CSV ZSTD", "STORED AS CSV"),
        ("DELIMITER '\\t' NULL '\\N'", "ROW FORMAT DELIMITED FIELDS TERMINATED BY '\\t' LINES TERMINATED BY '\\n'"),
        ("DELIMITER '\\001' NULL 'NULL' ESCAPE", "ROW FORMAT DELIMITED ESCAPED BY '\\\\' NULL DEFINED AS 'NULL' STORED AS TEXTFILE"),
        (
            "DELIMITER ';' NULL '\\N'",
            "ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe' WITH SERDEPROPERTIES ('field.delim'=';', 'serialization.format'=';')",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let query = "SELECT id, country, price, paid, day, at FROM sales";
        let unload = format!("UNLOAD ('{query}') TO 'unload/{number}/' {unloaded} PARTITION BY (country)");
        project.try_run(&unload).await.unwrap_or_else(|error| panic!("{unload}: {error:?}"));
        let create = format!(
            "CREATE EXTERNAL TABLE t{number} (id bigint, price decimal(8,2), paid boolean, day date, at timestamp)
             PARTITIONED BY (country string) {made} LOCATION 'unload/{number}/'"
        );
        project.try_run(&create).await.unwrap_or_else(|error| panic!("{create}: {error:?}"));
        let found = ask(&session, &format!("SELECT * FROM t{number} ORDER BY id")).await;
        assert_eq!(found, rows, "{unloaded} {made}");
        let counted = format!("SELECT count(*), count(country), max(day) FROM t{number}");
        assert_eq!(ask(&session, &counted).await, "5|4|2026-11-21", "{unloaded} {made}");
    }
}

#[tokio::test]
async fn parquet_has_the_columns_of_their_names() {
    let project = Project::new().await;
    let session = project.session();
    let unload = "UNLOAD ('SELECT id, price, at FROM sales WHERE id < 3') TO 'unload/few/' FORMAT PARQUET";
    project.try_run(unload).await.unwrap();
    let make =
        "CREATE EXTERNAL TABLE few (at timestamp, more string, id bigint) STORED AS PARQUET LOCATION 'unload/few/'";
    assert_eq!(project.run(make).await, "CREATE TABLE None\n");
    assert_eq!(
        ask(&session, "SELECT * FROM few ORDER BY id").await,
        "2026-11-20T10:00:00|-|1\n2026-11-21T11:30:00.250|-|2"
    );
    assert_eq!(ask(&session, "SELECT count(*), count(more) FROM few").await, "2|0");
    project
        .run("CREATE EXTERNAL TABLE wrong (id date, price decimal(8,2)) STORED AS PARQUET LOCATION 'unload/few/'")
        .await;
    let said = project.run("SELECT id FROM wrong").await;
    assert!(said.starts_with("42804 …/unload/few/"), "{said}");
    assert!(said.contains("column \"id\" of table \"wrong\" is of type date, but files have bigint"), "{said}");
    assert_eq!(
        ask(&session, "SELECT sum(price) FROM wrong").await,
        "1.50",
        "of columns that nobody asks for nothing is read"
    );
}

#[tokio::test]
async fn json_is_read_as_people_have_it() {
    let project = Project::new().await;
    project.write(
        "import/segment-logs/sourceid=source1/1.json",
        "{\"anonymousId\":\"a\",\"messageId\":\"m1\",\"timestamp\":\"2026-11-22T10:00:00\",\"type\":\"track\",\"event\":\"Click\",\
         \"context\":{\"ip\":\"1.2.3.4\"},\"properties\":{\"x\":[1,{}]}}\n\n\
         {\"messageId\":\"m2\",\"type\":\"page\",\"userId\":null,\"traits\":{}}\n",
    );
    project.write(
        "import/segment-logs/sourceid=source2/2.json",
        "{\"messageid\":\"m3\",\"type\":\"page\",\"USERID\":\"u\"}",
    );
    let session = project.session();
    session.set_variable("dialect", "athena").unwrap();
    ask(&session, EVENT_LOGS).await;
    ask(&session, EVENT_LOGS).await;
    let added = "ALTER TABLE eventlogs ADD
        PARTITION (sourceid='source1') LOCATION 'import/segment-logs/sourceid=source1/' # sourceid here is associated with each source of data
        PARTITION (sourceid='source2') LOCATION 'import/segment-logs/sourceid=source2/'";
    assert_eq!(ask(&session, added).await, "");
    let counted = "select type, count(messageid) from eventlogs where sourceid='source1' group by 1 order by 1";
    assert_eq!(ask(&session, counted).await, "page|1\ntrack|1");
    assert_eq!(
        ask(&session, "select element_at(context, 'ip') from eventlogs where messageid = 'm1'").await,
        "1.2.3.4"
    );
    assert_eq!(
        ask(&session, "select messageid, userid, anonymousid from eventlogs order by 1").await,
        "m1|-|a\nm2|-|-\nm3|u|-"
    );
    project.write(
        "import/nested/x.json",
        "{\"id\":1,\"user\":{\"name\":\"Ada\",\"age\":36},\"tags\":[\"a\",\"b\"],\"more\":{\"id\":\"x\"}}\n",
    );
    let nested = "CREATE EXTERNAL TABLE nested (id bigint, `user` struct<name:string,age:int>, tags array<string>)
                  ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' LOCATION 'import/nested/'";
    ask(&session, nested).await;
    assert_eq!(ask(&session, "select id, tags[2], cardinality(tags) from nested").await, "1|b|2");
    for (line, expected) in [
        ("{\"id\":1.5}", "line 2 of …/import/nested/y.json: id: not of the type or the name of its column"),
        ("{\"id\":1,\"ID\":2}", "line 2 of …/import/nested/y.json: "),
        ("{\"user\":{\"age\":\"old\"}}", "line 2 of …/import/nested/y.json: user: not of the type"),
        ("{\"id\":1", "line 2 of …/import/nested/y.json: EOF while parsing"),
        ("[{\"id\":1}]", "line 2 of …/import/nested/y.json: "),
        ("\u{0}", "line 2 of …/import/nested/y.json: "),
    ] {
        project.write("import/nested/y.json", format!("{{\"id\":7}}\n{line}\n"));
        let said = project.run("SELECT count(*) FROM nested").await;
        assert!(said.starts_with(&format!("22P02 {expected}")), "{line}: {said}");
    }
}

#[tokio::test]
async fn what_is_damaged_or_missing_is_an_error_with_its_name() {
    let project = Project::new().await;
    let made =
        |name: &str, rest: &str| format!("CREATE EXTERNAL TABLE t_{name} (id bigint) {rest} LOCATION 'import/{name}/'");
    project.write("import/junk/a.parquet", "no parquet at all");
    project.write("import/short/a.parquet", "PAR1");
    project.write("import/text/a.csv", "1\ntwo\n");
    project.write("import/bytes/a.csv", b"1\n\xff\n");
    project.write("import/gzip/a.csv.gz", "no gzip");
    project.write("import/other/a.csv.bz2", "BZh9");
    project.write("import/odd/a.csv", "1\n");
    project.write("import/day/dt=yesterday/a.csv", "1\n");
    project.write("import/empty/_a", "1\n");
    project.write("import/link/a.csv", "1\n");
    std::os::unix::fs::symlink("/etc/passwd", project.path("import/link/b.csv")).unwrap();
    fs::create_dir_all(project.path("import/name")).unwrap();
    fs::write(project.path("import/name").join(std::ffi::OsStr::from_bytes(b"\xff.csv")), "1\n").unwrap();
    for (name, rest, expected) in [
        ("junk", "STORED AS PARQUET", "22P04 …/import/junk/a.parquet can't be read as Parquet"),
        ("short", "STORED AS PARQUET", "22P04 …/import/short/a.parquet can't be read as Parquet"),
        ("text", "STORED AS CSV", "22P02 line 2 of …/import/text/a.csv: column \"id\": \"two\" is no bigint"),
        ("bytes", "STORED AS CSV", "22021 line 2 of …/import/bytes/a.csv: it is not UTF-8"),
        ("gzip", "STORED AS CSV", "22P04 line 1 of …/import/gzip/a.csv.gz: "),
        ("other", "STORED AS CSV", "0A000 …/import/other/a.csv.bz2 is compressed as lacus does not read it"),
        ("odd", "PARTITIONED BY (dt date) STORED AS CSV", "22023 …/import/odd/a.csv is in no folder dt=…/"),
        (
            "day",
            "PARTITIONED BY (dt date) STORED AS CSV",
            "22P02 …/import/day/dt=yesterday/a.csv is in folder dt=yesterday: \"yesterday\" is no date",
        ),
        ("empty", "STORED AS CSV", "58P01 there is no file whose path begins with …/import/empty/"),
        ("nothing", "STORED AS CSV", "58P01 there is no file whose path begins with …/import/nothing/"),
        ("link", "STORED AS CSV", "22023 …/import/link/b.csv is a symbolic link"),
        ("name", "STORED AS CSV", "22023 the name of …/import/name/\u{fffd}.csv is no UTF-8"),
    ] {
        assert_eq!(project.run(&made(name, rest)).await, "CREATE TABLE None\n", "{name}");
        let said = project.run(&format!("SELECT count(*) FROM t_{name}")).await;
        assert!(said.starts_with(expected), "{name}: {said}");
    }
    // What lists all tables is not troubled.
    let count = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'dt'";
    assert_eq!(ask(&project.session(), count).await, "2");
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_told() {
    let project = Project::new().await;
    project.write("import/a.csv", "1\n");
    let file = listed(&project).await;
    file.must_be_unchanged().await.unwrap();
    project.write("import/a.csv", "1\n2\n");
    let changed = file.must_be_unchanged().await.unwrap_err();
    assert_eq!(changed.kind(), Kind::Conflict);
    assert!(changed.message().ends_with("/import/a.csv changed while it was read"), "{changed}");
    let file = listed(&project).await;
    fs::remove_file(project.path("import/a.csv")).unwrap();
    assert_eq!(file.must_be_unchanged().await.unwrap_err().kind(), Kind::Conflict);
}

async fn listed(project: &Project) -> OutsideFile {
    project.lake.outside().to_read("import/a.csv").unwrap().files().await.unwrap().remove(0)
}

#[tokio::test]
async fn as_many_files_are_read_as_may_be_and_no_more() {
    let project = Project::new().await;
    for number in 0..=10_000 {
        project.write(&format!("import/many/part={}/{number}", number % 100), "1\n");
    }
    project
        .run("CREATE EXTERNAL TABLE many (n bigint) PARTITIONED BY (part int) STORED AS CSV LOCATION 'import/many'")
        .await;
    let said = project.run("SELECT count(*) FROM many").await;
    assert!(said.starts_with("53400 there are more than 10000 files at "), "{said}");
    fs::remove_file(project.path("import/many/part=0/10000")).unwrap();
    let counted = "SELECT count(*), sum(n), count(DISTINCT part) FROM many WHERE part < 50";
    assert_eq!(ask(&project.session(), counted).await, "5000|5000|50");
    assert_eq!(ask(&project.session(), "SELECT count(*) FROM many").await, "10000");
    assert_eq!(ask(&project.session(), "SELECT n FROM many LIMIT 1").await, "1");
}

#[tokio::test]
async fn files_are_only_read_where_the_settings_say() {
    let project = Project::new().await;
    for (location, expected) in [
        ("/etc/", "42501 SQL may not read \"/etc/\""),
        ("s3://elsewhere/x/", "42501 SQL may not read \"s3://elsewhere/x/\""),
        (".lacus/", "42501 SQL may not read"),
        ("import/../.lacus/", "22023 \"import/../.lacus/\" is no path of files"),
        ("import//x/", "22023 "),
        ("import/./x/", "22023 "),
    ] {
        let said = project.run(&format!("CREATE EXTERNAL TABLE t (a string) LOCATION '{location}'")).await;
        assert!(said.starts_with(expected), "{location}: {said}");
    }
    // What was allowed when the table was made may not be any more.
    project.write("import/x/a", "1\n");
    project.run("CREATE EXTERNAL TABLE t (a string) LOCATION 'import/x/'").await;
    assert_eq!(ask(&project.session(), "SELECT a FROM t").await, "1");
    let mut lake = Lake::open(&project.path(".lacus"), Arc::new(SystemClock)).await.unwrap();
    let settings = settings::Query { copy_from: Vec::new(), ..settings::Query::default() };
    lake.set_outside(Outside::open(project.directory.path(), &settings::Lake::default(), &settings).unwrap());
    let lake = Arc::new(lake);
    let session = Engine::new(Arc::clone(&lake), lake as _, &settings).unwrap().session(Dialect::Lacus);
    assert_eq!(ask_with_stats(&session, "SELECT a FROM t").await.unwrap_err().sqlstate(), "42501");
}

#[tokio::test]
async fn an_external_table_is_only_read() {
    let project = clicks().await;
    project.write("import/x", "1\n");
    for sql in [
        "INSERT INTO clicks (id) VALUES (1)",
        "INSERT OVERWRITE clicks SELECT * FROM clicks",
        "DELETE FROM clicks",
        "TRUNCATE clicks",
        "UPDATE clicks SET id = 1",
        "MERGE INTO clicks USING sales ON clicks.id = sales.id WHEN MATCHED THEN DELETE",
        "COPY clicks FROM 'import/x' CSV",
        "ALTER TABLE clicks ADD COLUMN a bigint",
        "ALTER TABLE clicks SET TBLPROPERTIES ('a' = 'b')",
    ] {
        let said = project.run(sql).await;
        assert!(said.starts_with("42809 \"clicks\" is an external table: its files are only read"), "{sql}: {said}");
    }
    for (sql, expected) in [
        ("DROP VIEW clicks", "42809 \"clicks\" is no view (it is an external table: DROP TABLE)"),
        ("CREATE OR REPLACE VIEW clicks AS SELECT 1 AS a", "42P07 \"clicks\" is an external table"),
        (CLICKS, "42P07 \"clicks\" exists"),
        ("CREATE TABLE clicks (a bigint)", "42P07 "),
        ("SHOW PARTITIONS sales", "42809 \"sales\" is no external table"),
        ("SHOW CREATE TABLE sales", "42809 \"sales\" is no external table"),
        ("MSCK REPAIR TABLE nothing", "42P01 there is no table \"nothing\""),
    ] {
        let said = project.run(sql).await;
        assert!(said.starts_with(expected), "{sql}: {said}");
    }
    let session = project.session();
    session.set_variable("default_transaction_read_only", "on").unwrap();
    let create = "CREATE EXTERNAL TABLE t (a string) LOCATION 'import/x/'";
    for sql in [create, "DROP TABLE clicks", "ALTER TABLE clicks ADD PARTITION (dt='2026-11-23', hour=1)"] {
        assert_eq!(ask_with_stats(&session, sql).await.unwrap_err().sqlstate(), "25006", "{sql}");
    }
    assert_eq!(ask(&session, "SELECT count(*) FROM clicks").await, "4");
}

#[tokio::test]
async fn what_would_read_other_rows_is_refused() {
    let project = Project::new().await;
    let at = "LOCATION 'import/x/'";
    for (sql, expected) in [
        ("(a string) STORED AS ORC LOCATION 'import/x/'", "0A000 an external table of orc is not supported"),
        ("(a string) STORED AS AVRO LOCATION 'import/x/'", "0A000 an external table of avro"),
        (
            "(a string) ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.RegexSerDe' LOCATION 'import/x/'",
            "0A000 an external table of org",
        ),
        (
            "(a string) ROW FORMAT SERDE 'x.JsonSerDe' STORED AS PARQUET LOCATION 'import/x/'",
            "42601 ROW FORMAT and STORED AS",
        ),
        ("(a string)", "42601 an external table needs a LOCATION"),
        ("() LOCATION 'import/x/'", "42601 an external table needs columns"),
        ("LOCATION 'import/x/'", "42601 syntax error: expected \"(\""),
        ("(a string, A bigint) LOCATION 'import/x/'", "42701 two columns are called \"a\""),
        ("(a string) PARTITIONED BY (a string) LOCATION 'import/x/'", "42701 two columns are called \"a\""),
        ("(a string) PARTITIONED BY (b double) LOCATION 'import/x/'", "0A000 column \"b\" of PARTITIONED BY"),
        ("(a string) PARTITIONED BY (_b string) LOCATION 'import/x/'", "0A000 column \"_b\" of PARTITIONED BY"),
        ("(a array<string>) LOCATION 'import/x/'", "0A000 column \"a\" has lists or objects"),
        ("(a string NOT NULL) LOCATION 'import/x/'", "0A000 NOT NULL of column \"a\""),
        ("(a nothing) LOCATION 'import/x/'", "42704 there is no type"),
        ("(a string) CLUSTERED BY (a) INTO 4 BUCKETS LOCATION 'import/x/'", "0A000 CLUSTERED BY"),
        ("(a string) LOCATION 'import/x/' AS SELECT 1", "0A000 CREATE EXTERNAL TABLE … AS"),
        (
            "(a string) LOCATION 'import/x/' QUICKLY",
            "42601 syntax error: expected the end of the statement, found QUICKLY",
        ),
        (
            "(a string) LOCATION 'import/x/' TBLPROPERTIES ('projection.enabled'='true')",
            "0A000 'projection.enabled' = 'true'",
        ),
        (
            "(a string) LOCATION 'import/x/' TBLPROPERTIES ('skip.footer.line.count'='1')",
            "0A000 'skip.footer.line.count' = '1'",
        ),
        (
            "(a string) LOCATION 'import/x/' TBLPROPERTIES ('skip.header.line.count'='one')",
            "0A000 'skip.header.line.count' = 'one'",
        ),
        (
            "(a string) ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' WITH SERDEPROPERTIES ('ignore.malformed.json'='true') LOCATION 'import/x/'",
            "0A000 'ignore.malformed.json' = 'true'",
        ),
        (
            "(a string) ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe' WITH SERDEPROPERTIES ('mapping.a'='b') LOCATION 'import/x/'",
            "0A000 'mapping.a' = 'b'",
        ),
        ("(a string) ROW FORMAT DELIMITED LINES TERMINATED BY ';' LOCATION 'import/x/'", "0A000 'line.delim' = ';'"),
    ] {
        let said = project.run(&format!("CREATE EXTERNAL TABLE t {sql}")).await;
        assert!(said.starts_with(expected), "{sql}: {said}");
    }
    let deep = format!("CREATE EXTERNAL TABLE t (a {}string{}) {at}", "array<".repeat(5_000), ">".repeat(5_000));
    assert!(project.run(&deep).await.starts_with("54001 "));
    let nowhere = project.run("CREATE EXTERNAL TABLE nowhere.t (a string) LOCATION 'import/x/'").await;
    assert!(nowhere.starts_with("3F000 there is no database \"nowhere\""), "{nowhere}");
    assert_eq!(
        ask(&project.session(), "SELECT count(*) FROM information_schema.tables WHERE table_name = 't'").await,
        "0"
    );
}

#[tokio::test]
async fn what_is_read_of_files_is_memory_of_the_statement() {
    let project = Project::new().await;
    let line = format!("{}\n", "x".repeat(12 << 20));
    project.write("import/wide/a.csv", line.repeat(3));
    project.run("CREATE EXTERNAL TABLE wide (x string) ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' LOCATION 'import/wide/'").await;
    let sql = "SELECT count(*), max(length(x)) FROM wide";
    // One piece after the other has room.
    assert_eq!(ask(&project.session(), sql).await, "3|12582912");
    let small = settings::Query { statement_memory_max: Some(ByteSize::mb(16)), ..settings::Query::default() };
    let error = ask_with_stats(&project.session_with(&small), sql).await.unwrap_err();
    assert_eq!(error.sqlstate(), "53200", "{error:?}");
    assert!(error.message().ends_with("more memory than query.statement_memory_max allows: 16MB"), "{error:?}");
}
