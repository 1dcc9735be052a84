//! What the catalog holds after openings, commits, refusals and damage.

use tempfile::TempDir;

use rusqlite::Connection;

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

/// A catalog of its own, in SQLite or PostgreSQL.
struct Place {
    directory: TempDir,
    database: Option<lacus_testkit::Database>,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), database: None }
    }

    /// One of each: what holds for one catalog holds for the other.
    fn each() -> [Self; 2] {
        [Self::new(), Self { database: Some(lacus_testkit::Database::start()), ..Self::new() }]
    }

    fn file(&self) -> PathBuf {
        catalog_file(self.directory.path())
    }

    fn place(&self) -> CatalogPlace {
        match &self.database {
            Some(database) => CatalogPlace::Postgres(database.url().into()),
            None => CatalogPlace::File(self.file()),
        }
    }

    async fn try_open(&self) -> Result<Opened> {
        let warehouse = Warehouse::of_directory(&self.directory.path().join("lake")).unwrap();
        Catalog::open(self.place(), warehouse, NOW).await
    }

    async fn open(&self) -> Opened {
        self.try_open().await.unwrap()
    }
}

fn table(name: &str) -> TableName {
    TableName::new(name).unwrap()
}

fn moved(name: &str, from: Option<&str>, to: &str) -> PointerMove {
    PointerMove { table: table(name), from: from.map(str::to_owned), to: to.to_owned() }
}

fn moves(moves: Vec<PointerMove>) -> Publication {
    Publication { moves, ..Publication::default() }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(TableName, String)> {
    pairs.iter().map(|(name, location)| (table(name), (*location).to_owned())).collect()
}

#[tokio::test]
async fn a_new_catalog_remembers_where_it_was_made() {
    for place in Place::each() {
        let opened = place.open().await;
        let base = format!("file://{}/lake", place.directory.path().display());
        assert_eq!(opened.warehouse.base(), base);
        assert_eq!((opened.tables, opened.leftovers, opened.raw), (vec![], vec![], RawTotals::default()));
        drop(opened.catalog);
        let elsewhere =
            Catalog::open(place.place(), Warehouse::of_directory(Path::new("/elsewhere")).unwrap(), NOW).await.unwrap();
        assert_eq!(elsewhere.warehouse.base(), base);
        assert_eq!(elsewhere.catalog.epoch, 2);
    }
}

#[tokio::test]
async fn all_pointers_move_or_none() {
    for place in Place::each() {
        let catalog = place.open().await.catalog;
        catalog.publish(moves(vec![moved("a", None, "a0"), moved("b", None, "b0")]), NOW).await.unwrap();
        for wrong in [moved("b", Some("b9"), "b1"), moved("b", None, "b1"), moved("c", Some("c0"), "c1")] {
            let error = catalog.publish(moves(vec![moved("a", Some("a0"), "a1"), wrong]), NOW).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict, "{error}");
        }
        let both = vec![moved("a", Some("a0"), "a1"), moved("b", Some("b0"), "b1")];
        assert!(!catalog.happened(both.clone()).await.unwrap());
        catalog.publish(moves(both.clone()), NOW).await.unwrap();
        assert!(catalog.happened(both).await.unwrap());
        assert_eq!(place.open().await.tables, pairs(&[("a", "a1"), ("b", "b1")]));
    }
}

#[tokio::test]
async fn a_commit_begins_only_where_the_tables_are() {
    for place in Place::each() {
        let catalog = place.open().await.catalog;
        catalog.publish(moves(vec![moved("a", None, "a0")]), NOW).await.unwrap();
        let error = catalog.begin(pairs(&[("a", "a9")]), vec!["x".into()], NOW).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert_eq!(catalog.leftovers().await.unwrap(), Vec::<String>::new());
        catalog.begin(pairs(&[("a", "a0")]), vec!["x".into()], NOW).await.unwrap();
        assert_eq!(catalog.leftovers().await.unwrap(), ["x"]);
    }
}

#[tokio::test]
async fn files_are_on_record_from_before_they_are_written_until_they_are_referenced() {
    for place in Place::each() {
        let catalog = place.open().await.catalog;
        let paths = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect::<Vec<String>>();
        catalog.begin(vec![], paths(&["new", "unused"]), NOW).await.unwrap();
        assert_eq!(catalog.due(NOW, 9).await.unwrap(), paths(&[]), "a file that is being written is never due");
        let raw = RawTotals { files: 1, bytes: 2, records: 3 };
        let delete_after = NOW.plus_ms(1_000);
        let publication = Publication {
            moves: vec![moved("a", None, "a0")],
            written: paths(&["new"]),
            retired: paths(&["old", "older"]),
            delete_after,
            raw,
            raw_gone: RawTotals::default(),
        };
        catalog.publish(publication, NOW).await.unwrap();
        assert_eq!(catalog.due(NOW, 9).await.unwrap(), paths(&[]));
        assert_eq!(catalog.due(delete_after, 1).await.unwrap().len(), 1);
        assert_eq!(catalog.due(delete_after, 9).await.unwrap(), paths(&["old", "older"]));
        let opened = place.open().await;
        assert_eq!((opened.leftovers, opened.raw), (paths(&["unused"]), raw), "retired files have their time");
        opened.catalog.abandon(paths(&["unused"]), NOW, NOW).await.unwrap();
        assert_eq!(opened.catalog.due(NOW, 9).await.unwrap(), paths(&["unused"]));
        opened.catalog.forget(paths(&["unused", "old", "never"])).await.unwrap();
        assert_eq!(opened.catalog.leftovers().await.unwrap(), paths(&["older"]));
    }
}

#[tokio::test]
async fn the_last_to_open_it_is_the_only_one_to_write() {
    for place in Place::each() {
        let first = place.open().await.catalog;
        let second = place.open().await.catalog;
        let refused = [
            first.begin(vec![], vec![], NOW).await,
            first.publish(moves(vec![moved("a", None, "a0")]), NOW).await,
            first.happened(vec![]).await.map(drop),
            first.forget(vec![]).await,
            first.abandon(vec![], NOW, NOW).await,
        ];
        for refused in refused {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict);
            assert!(error.hint().is_some());
        }
        second.publish(moves(vec![moved("a", None, "a0")]), NOW).await.unwrap();
    }
}

#[tokio::test]
async fn between_transactions_one_file_is_the_whole_catalog() {
    let place = Place::new();
    let catalog = place.open().await.catalog;
    catalog.publish(moves(vec![moved("a", None, "a0")]), NOW).await.unwrap();
    let names: Vec<_> =
        std::fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["catalog.db"]);
    let synchronous = catalog.read("ask", |sql| sql.query("PRAGMA synchronous", &[])?[0].integer(0)).await.unwrap();
    assert_eq!(synchronous, 3, "EXTRA: the journal's end is synced too");
    // Any SQLite can read it meanwhile.
    let reader = Connection::open(place.file()).unwrap();
    let location: String = reader.query_row("SELECT metadata_location FROM tables", [], |row| row.get(0)).unwrap();
    assert_eq!(location, "a0");
}

#[tokio::test]
async fn a_damaged_catalog_is_refused_with_its_name() {
    let place = Place::new();
    let catalog = place.open().await.catalog;
    let many = (0..200).map(|number| moved(&format!("a{number}"), None, &"x".repeat(100))).collect();
    catalog.publish(moves(many), NOW).await.unwrap();
    drop(catalog);
    let good = std::fs::read(place.file()).unwrap();
    let garbage = |range: std::ops::Range<usize>| {
        let mut bytes = good.clone();
        bytes[range].fill(0xAA);
        bytes
    };
    let end = good.len();
    for damaged in [
        b"not a database, but long enough to be one".to_vec(),
        garbage(0..100),
        garbage(5_000..end),
        good[..end / 2].to_vec(),
    ] {
        std::fs::write(place.file(), damaged).unwrap();
        let error = place.try_open().await.err().unwrap();
        assert_eq!(error.kind(), Kind::Corrupt, "{error:?}");
        assert!(error.to_string().contains("catalog.db"), "{error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn a_catalog_of_a_newer_lacus_is_refused() {
    let place = Place::new();
    drop(place.open().await);
    Connection::open(place.file()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = place.try_open().await.err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
}

#[tokio::test]
async fn a_view_moves_from_where_it_is_and_no_other_file_stays() {
    for place in Place::each() {
        let catalog = place.open().await.catalog;
        let after = NOW.plus_ms(1_000);
        let to = |location: &str| (location.to_owned(), format!("file of {location}"));
        let begin = |location: &str| catalog.begin(vec![], vec![format!("file of {location}")], NOW);
        begin("v0").await.unwrap();
        catalog.move_view(table("v"), None, to("v0"), None, NOW).await.unwrap();
        begin("v1").await.unwrap();
        for from in [None, Some("elsewhere".to_owned())] {
            let error = catalog.move_view(table("v"), from, to("v1"), None, NOW).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict, "{error}");
        }
        // The second time the first answer was lost.
        for _ in 0..2 {
            let retired = Some(("file of v0".to_owned(), after));
            catalog.move_view(table("v"), Some("v0".to_owned()), to("v1"), retired, NOW).await.unwrap();
            assert_eq!(catalog.leftovers().await.unwrap(), ["file of v0"]);
            assert_eq!(catalog.view_location(table("v")).await.unwrap().as_deref(), Some("v1"));
        }
        for _ in 0..2 {
            catalog.rename_view(table("v"), table("w"), "v1".to_owned()).await.unwrap();
        }
        assert_eq!(place.open().await.views, pairs(&[("w", "v1")]));
        let catalog = place.open().await.catalog;
        let file = || "file of v1".to_owned();
        for _ in 0..2 {
            catalog.drop_view(table("w"), "v1".to_owned(), file(), after, NOW).await.unwrap();
            assert_eq!(catalog.leftovers().await.unwrap(), ["file of v0", "file of v1"]);
        }
        assert_eq!(catalog.view_location(table("w")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_table_whose_renaming_nobody_heard_of_keeps_its_files() {
    for place in Place::each() {
        let catalog = place.open().await.catalog;
        catalog.publish(moves(vec![moved("a", None, "1")]), NOW).await.unwrap();
        catalog.rename_table(table("a"), table("b"), "1".to_owned()).await.unwrap();
        let dropped = |name| catalog.drop_table(table(name), "1".to_owned(), vec!["file".to_owned()], NOW, NOW);
        assert_eq!(dropped("a").await.unwrap_err().kind(), Kind::Conflict);
        assert_eq!(catalog.leftovers().await.unwrap(), Vec::<String>::new());
        // The answer to a drop may be lost, too.
        for _ in 0..2 {
            dropped("b").await.unwrap();
        }
        assert_eq!(catalog.leftovers().await.unwrap(), ["file"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_says_that_it_is_at_work_and_ends_if_nobody_hears_it() {
    for place in Place::each() {
        drop(place.open().await);
        let (from, to) = (place.place(), place.directory.path().join("copy.db"));
        let copied = spawn_blocking(move || {
            let ended = copy_catalog(&from, &to, &mut |_, _, tell| {
                tell()?;
                tell()
            });
            ended.unwrap();
            assert!(to.try_exists().unwrap());
        });
        copied.await.unwrap();
    }
    // A session that is ended meanwhile makes no copy.
    let place = Place { database: Some(lacus_testkit::Database::start()), ..Place::new() };
    drop(place.open().await);
    let (from, to, url) =
        (place.place(), place.directory.path().join("copy.db"), place.database.as_ref().unwrap().url());
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let refused = spawn_blocking(move || {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'";
        let runtime = tokio::runtime::Handle::current();
        let ended = copy_catalog(&from, &to, &mut |_, _, tell| {
            runtime.block_on(client.batch_execute(end)).unwrap();
            tell()
        });
        assert!(!to.try_exists().unwrap());
        ended.unwrap_err().kind()
    });
    assert_eq!(refused.await.unwrap(), Kind::Unavailable);
}
