//! `UNLOAD` and `COPY … FROM`, on a real lake with folders that they may use.

mod external;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::util::pretty::pretty_format_batches;
use lacus_core::{SystemClock, settings};
use lacus_lake::{Lake, Outside};
use tempfile::TempDir;

use super::lake::ask;
use crate::{Dialect, Engine, Session, SqlError};

/// A project with a lake, and tables of it.
struct Project {
    directory: TempDir,
    lake: Arc<Lake>,
}

impl Project {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut lake = Lake::open(&directory.path().join(".lacus"), Arc::new(SystemClock)).await.unwrap();
        let outside = Outside::open(directory.path(), &settings::Lake::default(), &settings::Query::default()).unwrap();
        lake.set_outside(outside);
        let project = Self { directory, lake: Arc::new(lake) };
        let session = project.session();
        for sql in [
            "CREATE TABLE sales (id bigint, country text, price numeric(8,2), paid boolean, day date, at timestamp)",
            "INSERT INTO sales VALUES (1, 'DE', 1.5, true, '2026-11-20', '2026-11-20 10:00:00'),
             (2, 'FR', NULL, false, '2026-11-21', '2026-11-21 11:30:00.25'), (3, 'DE', 3, NULL, NULL, NULL),
             (4, NULL, 4.25, true, '2026-11-21', '2026-11-21 12:00:00'), (5, 'A|B \"x\"', 5, true, '2026-11-21', NULL)",
        ] {
            session.query(sql, &[]).await.unwrap();
        }
        project
    }

    fn session(&self) -> Session {
        self.session_with(&settings::Query::default())
    }

    fn session_with(&self, settings: &settings::Query) -> Session {
        Engine::new(Arc::clone(&self.lake), Arc::clone(&self.lake) as _, settings).unwrap().session(Dialect::Lacus)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The files in a folder, at any depth.
    fn files(&self, folder: &str) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.path(folder), &self.path(folder), &mut found);
        found.sort();
        found
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// Runs a statement; what it answers, without the project's folder.
    async fn run(&self, sql: &str) -> String {
        match self.try_run(sql).await {
            Ok(answer) => answer,
            Err(error) => {
                let text = format!("{} {} ({})", error.sqlstate(), error.message(), error.hint().unwrap_or("-"));
                text.replace(self.directory.path().to_str().unwrap(), "…")
            }
        }
    }

    async fn try_run(&self, sql: &str) -> Result<String, SqlError> {
        let mut answer = self.session().query(sql, &[]).await?;
        let batches = answer.read_all().await?;
        let rows =
            if batches.is_empty() { String::new() } else { pretty_format_batches(&batches).unwrap().to_string() };
        let text = format!("{} {:?}\n{rows}", answer.command(), answer.affected());
        Ok(text.replace(self.directory.path().to_str().unwrap(), "…"))
    }
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            walk(root, &entry.path(), found);
        } else {
            found.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[tokio::test]
async fn unload_writes_what_redshift_writes() {
    let project = Project::new().await;
    // As people write it: aggregated, quoted, with a semicolon of its own.
    project
        .try_run(
            "unload ('SELECT \"country\", count(*) FROM lake.\"main\".sales WHERE country <> ''FR'' GROUP BY \"country\" ORDER BY \"country\";')
             to 'unload/by_country/' iam_role 'arn:aws:iam::1:role/R' CSV DELIMITER AS '|' header parallel off;",
        )
        .await
        .unwrap();
    assert_eq!(project.files("unload/by_country"), ["000"]);
    assert_eq!(project.read("unload/by_country/000"), "country|count(*)\n\"A|B \"\"x\"\"\"|1\nDE|2\n");
    for (options, name, expected) in [
        (
            "",
            "0000_part_00",
            "1|DE|1.50|t|2026-11-20|2026-11-20 10:00:00\n2|FR||f|2026-11-21|2026-11-21 11:30:00.250\n",
        ),
        (
            "csv",
            "0000_part_00",
            "1,DE,1.50,t,2026-11-20,2026-11-20 10:00:00\n2,FR,,f,2026-11-21,2026-11-21 11:30:00.250\n",
        ),
        (
            "addquotes delimiter '\\t' null as 'NULL' parallel off extension 'tsv'",
            "000.tsv",
            "\"1\"\t\"DE\"\t\"1.50\"\t\"t\"\t\"2026-11-20\"\t\"2026-11-20 10:00:00\"\n\
             \"2\"\t\"FR\"\t\"NULL\"\t\"f\"\t\"2026-11-21\"\t\"2026-11-21 11:30:00.250\"\n",
        ),
        (
            "format as json",
            "0000_part_00.json",
            "{\"id\":1,\"country\":\"DE\",\"price\":1.50,\"paid\":true,\"day\":\"2026-11-20\",\"at\":\"2026-11-20T10:00:00\"}\n\
             {\"id\":2,\"country\":\"FR\",\"price\":null,\"paid\":false,\"day\":\"2026-11-21\",\"at\":\"2026-11-21T11:30:00.250\"}\n",
        ),
    ] {
        let sql = format!("UNLOAD ('SELECT * FROM sales WHERE id < 3 ORDER BY id') TO 'unload/x/' {options} CLEANPATH");
        project.try_run(&sql).await.unwrap_or_else(|error| panic!("{options}: {error:?}"));
        assert_eq!(project.files("unload/x"), [name], "{options}");
        assert_eq!(project.read(&format!("unload/x/{name}")), expected, "{options}");
    }
    let unload = "UNLOAD (SELECT id FROM sales) TO 'unload/m_' FORMAT CSV HEADER MANIFEST PARALLEL OFF";
    let files = ask(&project.session(), unload).await.replace(project.directory.path().to_str().unwrap(), "…");
    assert!(files.starts_with("…/unload/m_000|5|13\n…/unload/m_manifest|0|"), "{files}");
    assert!(
        project.read("unload/m_manifest").starts_with("{\"entries\":[{\"meta\":{\"content_length\":13},\"url\":\"")
    );
    // Without rows there is a file all the same: whoever reads it finds the columns.
    project.try_run("UNLOAD ('SELECT id FROM sales WHERE false') TO 'unload/none_' CSV HEADER").await.unwrap();
    assert_eq!(project.read("unload/none_0000_part_00"), "id\n");
}

#[tokio::test]
async fn unload_makes_a_folder_for_each_partition() {
    let project = Project::new().await;
    project
        .try_run(
            "UNLOAD ('SELECT id, country, day FROM sales') TO 'unload/p' FORMAT PARQUET PARTITION BY (country, day)",
        )
        .await
        .unwrap();
    let none = "__HIVE_DEFAULT_PARTITION__";
    let day = "day=2026-11-21/0000_part_00.parquet";
    assert_eq!(
        project.files("unload/p"),
        [
            format!("country=A|B %22x%22/{day}"),
            "country=DE/day=2026-11-20/0000_part_00.parquet".to_owned(),
            format!("country=DE/day={none}/0000_part_00.parquet"),
            format!("country=FR/{day}"),
            format!("country={none}/{day}"),
        ]
    );
    project
        .try_run("UNLOAD (SELECT id, country FROM sales WHERE id < 3) TO 'unload/athena' WITH (format = 'JSON', compression = 'NONE', partitioned_by = ARRAY['country'])")
        .await
        .unwrap();
    assert_eq!(project.files("unload/athena"), ["country=DE/0000_part_00.json", "country=FR/0000_part_00.json"]);
    assert_eq!(project.read("unload/athena/country=DE/0000_part_00.json"), "{\"id\":1}\n");
    // Only the folders that get new files are emptied.
    project.write("unload/athena/country=DE/old", "");
    project.write("unload/athena/country=IT/old", "");
    let again = "UNLOAD ('SELECT id, country FROM sales WHERE id = 1') TO 'unload/athena' JSON PARTITION BY (country) INCLUDE CLEANPATH";
    project.try_run(again).await.unwrap();
    assert_eq!(
        project.files("unload/athena"),
        ["country=DE/0000_part_00.json", "country=FR/0000_part_00.json", "country=IT/old",]
    );
    assert_eq!(project.read("unload/athena/country=DE/0000_part_00.json"), "{\"id\":1,\"country\":\"DE\"}\n");
}

#[tokio::test]
async fn what_is_there_stays_unless_it_is_told_to_go() {
    let project = Project::new().await;
    let unload = |options: &str| format!("UNLOAD ('SELECT id FROM sales WHERE id = 1') TO 'unload/a_' CSV {options}");
    project.write("unload/a_other", "mine");
    insta::assert_snapshot!(
        project.run(&unload("")).await,
        @"58P02 there are files at …/unload/a_ already: …/unload/a_other (unload to another path, or say ALLOWOVERWRITE or CLEANPATH)"
    );
    assert_eq!(project.files("unload"), ["a_other"]);
    project.try_run(&unload("ALLOWOVERWRITE")).await.unwrap();
    project.try_run(&unload("ALLOWOVERWRITE")).await.unwrap();
    assert_eq!(project.files("unload"), ["a_0000_part_00", "a_other"]);
    project.try_run(&unload("CLEANPATH PARALLEL OFF")).await.unwrap();
    assert_eq!(project.files("unload"), ["a_000"]);
    // Two at once: one of them comes second.
    let (one, other) = tokio::join!(
        project.try_run("UNLOAD ('SELECT * FROM sales') TO 'unload/b' CSV"),
        project.try_run("UNLOAD ('SELECT * FROM sales') TO 'unload/b' CSV PARALLEL OFF"),
    );
    assert_eq!([one.is_ok(), other.is_ok()].iter().filter(|ok| **ok).count(), 1, "{one:?} {other:?}");
    // What fails leaves what was there, and nothing else.
    let fails = "UNLOAD ('SELECT id / (id - 5) FROM sales') TO 'unload/a_' CSV CLEANPATH";
    assert!(project.run(fails).await.starts_with("22012 "), "{}", project.run(fails).await);
    assert_eq!(project.files("unload").len(), 2, "{:?}", project.files("unload"));
    assert!(fs::read_dir(project.path("unload")).unwrap().flatten().all(|entry| entry.path().is_file()));
}

#[tokio::test]
async fn what_is_replaced_comes_back_if_not_all_of_it_can_be() {
    let project = Project::new().await;
    let unload = "UNLOAD ('SELECT id, country FROM sales WHERE id < 4') TO 'unload/p/' CSV PARTITION BY (country) ALLOWOVERWRITE";
    let (replaced, in_the_way) = ("unload/p/country=DE/0000_part_00", project.path("unload/p/country=FR"));
    project.write(replaced, "old");
    std::os::unix::fs::symlink("/nowhere/at/all", &in_the_way).unwrap();
    let error = project.try_run(unload).await.unwrap_err();
    assert_eq!((error.sqlstate(), error.hint()), ("58P01", None), "{error:?}");
    assert_eq!(project.read(replaced), "old");
    assert_eq!(project.files("unload"), ["p/country=DE/0000_part_00", "p/country=FR"]);
    fs::remove_file(in_the_way).unwrap();
    project.try_run(unload).await.unwrap();
    assert_eq!(project.read(replaced), "1\n3\n");
    assert_eq!(project.files("unload"), ["p/country=DE/0000_part_00", "p/country=FR/0000_part_00"]);
}

#[tokio::test]
async fn an_unload_that_is_stopped_leaves_nothing() {
    let project = Project::new().await;
    let numbers = "SELECT a.id FROM sales a, sales b, sales c, sales d, sales e, sales f, sales g, sales h, sales i, sales j, sales k";
    let endless = format!("UNLOAD ('{numbers}') TO 'unload/x_' CSV");
    let timeout = settings::Query { timeout: lacus_core::units::Millis(300), ..settings::Query::default() };
    let error = project.session_with(&timeout).query(&endless, &[]).await.err().expect("it is endless");
    assert_eq!(error.sqlstate(), "57014");
    // Whoever asked goes.
    let session = project.session();
    drop(tokio::time::timeout(Duration::from_millis(300), session.query(&endless, &[])).await);
    while project.path("unload").try_exists().unwrap() && fs::read_dir(project.path("unload")).unwrap().next().is_some()
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn files_are_only_where_the_settings_allow() {
    let project = Project::new().await;
    let mut said = String::new();
    for to in [
        "/etc/lacus_",
        "../x",
        "unload/../../x",
        "unload/../.lacus/x",
        "unloaded/x",
        ".lacus/lake/x",
        "s3://b/x",
        "file:///etc/x",
        "gs://b/x",
        "unload//x",
        "unload/.unfinished-x/y",
        "",
    ] {
        said.push_str(&format!("{to}: {}\n", project.run(&format!("UNLOAD ('SELECT 1 AS a') TO '{to}' CSV")).await));
        let loaded = project.run(&format!("COPY sales FROM '{to}' CSV")).await;
        said.push_str(&format!("    {loaded}\n"));
    }
    insta::assert_snapshot!(said);
    assert!(!project.path("../x000").try_exists().unwrap());
    let absolute = project.path("unload/here_");
    project.try_run(&format!("UNLOAD ('SELECT 1 AS a') TO '{}' CSV", absolute.display())).await.unwrap();
    project
        .try_run(&format!("UNLOAD ('SELECT 1 AS a') TO 'file://{}' JSON ALLOWOVERWRITE", absolute.display()))
        .await
        .unwrap();
    assert_eq!(project.files("unload"), ["here_0000_part_00", "here_0000_part_00.json"]);
    // The project's own files are in no such place.
    let open = |place: &str| {
        let place = settings::Place::try_from(place.to_owned()).unwrap();
        let query = settings::Query { unload_to: vec![place], ..settings::Query::default() };
        Outside::open(project.directory.path(), &settings::Lake::default(), &query).err().map(|error| error.to_string())
    };
    for wrong in
        [".", "/", ".lacus", ".lacus/lake", "./.lacus/../.lacus"].into_iter().filter(|place| !place.contains(".."))
    {
        assert!(open(wrong).is_some_and(|error| error.contains("own files")), "{wrong}");
    }
    std::os::unix::fs::symlink(project.path(".lacus"), project.path("link")).unwrap();
    assert!(open("link").is_some_and(|error| error.contains("own files")), "a link");
    assert_eq!(open("elsewhere"), None);
    let reader = project.session_with(&settings::Query { read_only: true, ..settings::Query::default() });
    let refused = reader.query("UNLOAD ('SELECT 1 AS a') TO 'unload/r'", &[]).await.err().unwrap();
    assert_eq!(refused.sqlstate(), "25006");
}

#[tokio::test]
async fn what_is_wrong_with_an_unload_is_said() {
    let project = Project::new().await;
    let mut said = String::new();
    for sql in [
        "UNLOAD ('SELECT nothing FROM sales') TO 'unload/x'",
        "UNLOAD ('SELECT ''a'', nothing FROM sales') TO 'unload/x'",
        "UNLOAD (SELECT nothing FROM sales) TO 'unload/x'",
        "UNLOAD ('SELEC 1') TO 'unload/x'",
        "UNLOAD ('DELETE FROM sales') TO 'unload/x'",
        "UNLOAD ('SELECT 1; SELECT 2') TO 'unload/x'",
        "UNLOAD ('SELECT 1')",
        "UNLOAD (UNLOAD (SELECT 1) TO 'unload/x') TO 'unload/x'",
        "UNLOAD (EXPLAIN COST SELECT 1) TO 'unload/x'",
        "UNLOAD ('SELECT 1') TO 'unload/x' CSV ESCAPE",
        "UNLOAD ('SELECT 1') TO 'unload/x' PARQUET GZIP",
        "UNLOAD ('SELECT 1') TO 'unload/x' JSON DELIMITER ','",
        "UNLOAD ('SELECT 1') TO 'unload/x' GZIP ZSTD",
        "UNLOAD ('SELECT 1') TO 'unload/x' ALLOWOVERWRITE CLEANPATH",
        "UNLOAD ('SELECT 1') TO 'unload/x' DELIMITER 'ab'",
        "UNLOAD ('SELECT 1') TO 'unload/x' FIXEDWIDTH AS '1:2'",
        "UNLOAD ('SELECT 1') TO 'unload/x' ENCRYPTED AUTO",
        "UNLOAD ('SELECT 1') TO 'unload/x' MAXFILESIZE 1 MB",
        "UNLOAD ('SELECT 1') TO 'unload/x' EXTENSION '../x'",
        "UNLOAD ('SELECT 1') TO 'unload/x' COMPRESSED",
        "UNLOAD ('SELECT 1') TO 'unload/x'; SELECT 1",
        "UNLOAD ('SELECT 1 AS a') TO 'unload/x' PARTITION BY (a)",
        "UNLOAD ('SELECT 1 AS a') TO 'unload/x' PARTITION BY (b)",
        "UNLOAD (SELECT 1 AS a) TO 'unload/x' WITH (format = 'ORC')",
        "UNLOAD (SELECT 1 AS a) TO 'unload/x' WITH (compression = 'GZIP')",
        "UNLOAD (SELECT 1 AS a) TO 'unload/x' WITH (bucketed_by = 'a')",
    ] {
        let error = project.session().query(sql, &[]).await.err().unwrap_or_else(|| panic!("{sql} was done"));
        let position = error.position().map_or(String::new(), |position| format!("@{position} "));
        said.push_str(&format!(
            "{sql}\n    {} {position}{} ({})\n",
            error.sqlstate(),
            error.message(),
            error.hint().unwrap_or("-")
        ));
    }
    insta::assert_snapshot!(said);
    assert_eq!(project.files("unload"), [""; 0]);
    let deep = "UNLOAD (".repeat(100_000);
    assert_eq!(project.session().query(&deep, &[]).await.err().unwrap().sqlstate(), "42601");
    let deep = "EXPLAIN COST ".repeat(70_000);
    assert!(project.session().query(&deep, &[]).await.is_err());
}

#[tokio::test]
async fn copy_reads_what_unload_wrote() {
    let project = Project::new().await;
    let before = ask(&project.session(), "SELECT * FROM sales ORDER BY id").await;
    for (number, (written, read)) in [
        ("CSV NULL AS '\\N'", "CSV"),
        ("CSV HEADER GZIP NULL AS '\\N'", "CSV GZIP IGNOREHEADER 1"),
        ("ADDQUOTES ESCAPE ZSTD NULL AS '\\N'", "REMOVEQUOTES ESCAPE ZSTD"),
        ("ESCAPE NULL AS '@'", "ESCAPE NULL AS '@'"),
        ("JSON", "JSON 'auto'"),
        ("JSON ZSTD", "FORMAT JSON"),
        ("PARQUET", "FORMAT AS PARQUET"),
        ("CSV MANIFEST NULL AS '\\N'", "CSV MANIFEST"),
    ]
    .into_iter()
    .enumerate()
    {
        project.try_run(&format!("UNLOAD ('SELECT * FROM sales') TO 'unload/{number}/' {written}")).await.unwrap();
        project.try_run(&format!("CREATE TABLE copy{number} AS SELECT * FROM sales WHERE false")).await.unwrap();
        let from = if read.contains("MANIFEST") { "manifest" } else { "" };
        let loaded =
            project.run(&format!("COPY copy{number} FROM 'unload/{number}/{from}' IAM_ROLE DEFAULT {read}")).await;
        assert_eq!(loaded, "COPY Some(5)\n", "{written} {read}");
        let after = ask(&project.session(), &format!("SELECT * FROM copy{number} ORDER BY id")).await;
        assert_eq!(after, before, "{written} {read}");
    }
    // Named columns, in another order; files that end with .gz are known by that.
    project.write("import/some.csv", "x,9\r\n\"\",\r\n");
    project.try_run("COPY sales (country, id) FROM 'import/some.csv' CSV").await.unwrap();
    assert_eq!(
        ask(&project.session(), "SELECT country, id FROM sales WHERE id = 9 OR country = '' ORDER BY id NULLS LAST")
            .await,
        "x|9\n|-"
    );
}

#[tokio::test]
async fn one_wrong_line_loads_nothing_and_is_named() {
    let project = Project::new().await;
    project.session().query("CREATE TABLE t (a bigint NOT NULL, b text, c date)", &[]).await.unwrap();
    let mut said = String::new();
    for (text, options) in [
        ("1,x,2026-11-21\n2,y,2026-11-22\nthree,z,2026-11-23\n", "CSV"),
        ("1,x,2026-11-21\n2,y\n", "CSV"),
        ("1,x,2026-11-21,more\n", "CSV"),
        ("a,b,c\n1,x,2026-13-41\n", "CSV IGNOREHEADER 1"),
        ("1,\"x,2026-11-21\n", "CSV"),
        ("1,x,2026-11-21\n\n", "CSV"),
        (",x,2026-11-21\n", "CSV"),
        ("9223372036854775808,x,2026-11-21\n", "CSV"),
        ("1.5,x,2026-11-21\n", "CSV"),
        ("{\"a\":1}\n{\"a\":\"x\"}\n", "JSON"),
        ("{\"a\":1}\n\n{\"a\":1.5}\n", "JSON"),
        ("{\"a\":1,\"d\":2}\n", "JSON"),
        ("{\"a\":1\n", "JSON"),
        ("no parquet at all", "PARQUET"),
        ("plain", "GZIP"),
        ("plain", "CSV MAXERROR 5"),
        ("plain", "CSV DATEFORMAT 'DD.MM.YYYY'"),
        ("plain", "CSV QUICKLY"),
    ] {
        project.write("import/x", text);
        let sql = format!("COPY t FROM 'import/x' {options}");
        said.push_str(&format!("{text:?} {options}\n    {}\n", project.run(&sql).await));
    }
    project.write("import/x", b"1,\xff\xfe,2026-11-21\n");
    said.push_str(&format!("not UTF-8\n    {}\n", project.run("COPY t FROM 'import/x' CSV").await));
    for sql in [
        "COPY nothing FROM 'import/x' CSV",
        "COPY t FROM 'import/nothing' CSV",
        "COPY t (a, d) FROM 'import/x' CSV",
        "COPY t (a, a) FROM 'import/x' CSV",
        "COPY t FROM '/etc/passwd' DELIMITER ':'",
    ] {
        said.push_str(&format!("{sql}\n    {}\n", project.run(sql).await));
    }
    insta::assert_snapshot!(said);
    assert_eq!(ask(&project.session(), "SELECT count(*) FROM t").await, "0");
    assert_eq!(ask(&project.session(), "SELECT count(*) FROM \"t$files\"").await, "0");
    project.write("import/x", "1,x,\n\n2,,2026-11-22\n");
    let loaded = project.run("COPY t FROM 'import/x' CSV IGNOREBLANKLINES EMPTYASNULL").await;
    assert_eq!(loaded, "COPY Some(2)\n");
    assert_eq!(ask(&project.session(), "SELECT count(b), count(c) FROM t").await, "1|1");
}
