//! The mirror in a real server of Glue's API (moto), which is also the store: what it has, what it keeps, and what becomes of it
//! when it refuses, forgets or goes away.

use std::collections::HashMap;
use std::net::SocketAddr;

use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use lacus_core::SystemClock;
use lacus_core::units::Millis;
use lacus_testkit::{Buckets, LossyProxy};
use tempfile::TempDir;

use super::*;
use crate::fixture::{append, commit, numbers};
use crate::foreign::{NewTable, Properties};

/// The longest that Glue may be behind in a test.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open(directory: &TempDir, store: SocketAddr, glue: SocketAddr) -> Lake {
    let settings = settings::Lake {
        location: Some(format!("s3://{}/lake", Buckets::BUCKET).try_into().unwrap()),
        s3: settings::S3 {
            endpoint: Some(format!("http://{store}")),
            access_key_id: Some("tester".to_owned()),
            secret_access_key: "correct-horse".to_owned().into(),
            ..settings::S3::default()
        },
        glue: settings::Glue {
            database: Some("lake".to_owned()),
            endpoint: Some(format!("http://{glue}")),
            update_every: Millis(0),
            ..settings::Glue::default()
        },
        ..settings::Lake::default()
    };
    Lake::open_as(directory.path(), &settings, Arc::new(SystemClock)).await.unwrap()
}

fn name(text: &str) -> TableName {
    TableName::new(text).unwrap()
}

async fn create(lake: &Lake, table: &str) -> Arc<Table> {
    lake.create_table(&name(table), numbers()).await.unwrap()
}

/// A table that an engine made: it may be renamed and dropped.
async fn make(lake: &Lake, table: &str) {
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder().with_fields([Arc::new(id)]).build().unwrap();
    let (name, properties) = (name(table), HashMap::new());
    let new = NewTable { name, location: None, schema, partition_spec: None, write_order: None, properties };
    lake.make_table(new).await.unwrap();
}

/// Commits one more row.
async fn commit_row(lake: &Lake, table: &Arc<Table>, next: u64) {
    append(table, &numbers(), next - 1..next);
    commit(lake, &[(table, &numbers())], next).await.unwrap();
}

/// Glue has the tables of the lake, each where it is, and no other.
async fn must_mirror(lake: &Lake) {
    let glue = lake.glue().unwrap();
    let mut found = BTreeMap::new();
    for database in glue.client.databases().await.unwrap() {
        for table in glue.client.tables(&database).await.unwrap() {
            found.insert(format!("{database}.{}", table.name), table.parameters[METADATA_LOCATION].clone());
        }
    }
    let place = |table: &Arc<Table>| (glue.name_of(table.name()).to_string(), table.state().metadata_location.clone());
    let wanted: BTreeMap<String, String> = lake.tables().iter().map(place).collect();
    assert_eq!(found, wanted);
    let GlueStatus { current, behind, error, .. } = glue.progress();
    assert_eq!((current, behind, error), (wanted.len() as u64, 0, None));
}

/// Turns until nothing is behind, whatever fails meanwhile.
async fn catch_up(glue: &Glue) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match glue.turn().await {
            Ok(()) if glue.progress().behind == 0 => return glue.answers(),
            Ok(()) => {}
            Err(error) => glue.fails(&error),
        }
        assert!(Instant::now() < deadline, "{:?}", glue.progress());
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn glue_has_each_table_as_it_was_committed_last() {
    let (directory, moto) = (tempfile::tempdir().unwrap(), Buckets::start());
    let lake = open(&directory, moto.address(), moto.address()).await;
    let glue = Arc::clone(lake.glue().unwrap());
    assert_eq!(glue.status(), None, "nobody runs it");
    let table = create(&lake, "t").await;
    lake.create_database("shop", &Properties::new()).await.unwrap();
    make(&lake, "shop.orders").await;
    glue.turn().await.unwrap();
    must_mirror(&lake).await;
    let made = table.state().metadata_location.clone();

    for next in 1..=3 {
        commit_row(&lake, &table, next).await;
    }
    assert_eq!(glue.progress().behind, 1);
    glue.turn().await.unwrap();
    must_mirror(&lake).await;
    let found = glue.client.table("lake", "t").await.unwrap().unwrap();
    assert_eq!(found.version_id.as_deref(), Some("2"), "three commits are one change");
    assert_eq!(found.parameters[PREVIOUS_METADATA_LOCATION], made);
    assert_eq!(found.parameters["table_type"], "ICEBERG");
    let changes = glue.progress().changes;
    glue.turn().await.unwrap();
    assert_eq!(glue.progress().changes, changes, "nothing was committed");

    lake.rename_table(&name("shop.orders"), &name("shop.sales")).await.unwrap();
    glue.turn().await.unwrap();
    must_mirror(&lake).await;
    drop((glue, lake));

    let lake = open(&directory, moto.address(), moto.address()).await;
    lake.drop_table(&name("shop.sales"), false).await.unwrap();
    lake.glue().unwrap().turn().await.unwrap();
    must_mirror(&lake).await;
}

#[tokio::test]
async fn a_table_that_the_lake_did_not_make_stays_as_it_is() {
    let (directory, moto) = (tempfile::tempdir().unwrap(), Buckets::start());
    let lake = open(&directory, moto.address(), moto.address()).await;
    let glue = lake.glue().unwrap();
    let theirs = [json!({}), json!({"table_type": "ICEBERG", LAKE: "s3://events/another"})];
    for database in ["lake", "lake_shop", "lakes"] {
        glue.client.create_database(&json!({"Name": database})).await.unwrap();
        for (number, parameters) in theirs.iter().enumerate() {
            let table = json!({"Name": format!("t{number}"), "Parameters": parameters});
            glue.client.create_table(database, &table).await.unwrap();
        }
    }
    for table in ["t0", "t1", "shop.t0", "mine"] {
        create(&lake, table).await;
    }
    glue.turn().await.unwrap();
    let GlueStatus { current, behind, failures, error, .. } = glue.progress();
    assert_eq!((current, behind, failures), (1, 3, 3), "others are not kept from it");
    assert!(error.is_some_and(|error| error.contains("\"lake.t0\"") && error.contains("not one that this lake made")));
    for database in ["lake", "lake_shop", "lakes"] {
        for number in 0..theirs.len() {
            let found = glue.client.table(database, &format!("t{number}")).await.unwrap().unwrap();
            assert_eq!(found.version_id.as_deref(), Some("1"), "{database}.t{number} was changed");
        }
    }

    for (database, table) in [("lake", "t0"), ("lake", "t1"), ("lake_shop", "t0")] {
        glue.client.delete_table(database, table).await.unwrap();
    }
    catch_up(glue).await;
    let GlueStatus { current, behind, error, .. } = glue.progress();
    assert_eq!((current, behind, error), (4, 0, None), "the name is free now");
}

#[tokio::test]
async fn commits_go_on_while_glue_refuses() {
    let (directory, moto, refusing) = (tempfile::tempdir().unwrap(), Buckets::start(), Buckets::start_refusing());
    let lake = open(&directory, moto.address(), refusing.address()).await;
    let (glue, table) = (lake.glue().unwrap(), create(&lake, "t").await);
    let error = glue.turn().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{}", error.chain());
    assert!(error.hint().is_some_and(|hint| hint.contains("glue:UpdateTable")));
    assert!(!error.chain().contains("horse"));
    glue.fails(&error);
    commit_row(&lake, &table, 1).await;
    let GlueStatus { current, behind, failures, error, .. } = glue.progress();
    assert_eq!((current, behind, failures), (0, 1, 1));
    assert!(error.is_some_and(|error| error.contains("AWS Glue refuses GetDatabases")));
}

#[tokio::test]
async fn what_glue_forgot_is_there_again() {
    let (directory, moto) = (tempfile::tempdir().unwrap(), Buckets::start());
    let proxy = LossyProxy::start(0, 1);
    let first = Buckets::start();
    proxy.lead_to(Some(first.address()));
    let lake = open(&directory, moto.address(), proxy.address).await;
    let (glue, table) = (lake.glue().unwrap(), create(&lake, "t").await);
    create(&lake, "idle").await;
    catch_up(glue).await;
    must_mirror(&lake).await;

    proxy.lead_to(None);
    drop(first);
    commit_row(&lake, &table, 1).await;
    let error = glue.turn().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{}", error.chain());
    glue.fails(&error);
    assert!(glue.progress().error.is_some_and(|error| error.contains("does not answer")));
    let second = Buckets::start();
    proxy.lead_to(Some(second.address()));
    catch_up(glue).await;
    must_mirror(&lake).await;

    // Nobody noticed that it was away: it comes out with the next commit.
    let third = Buckets::start();
    proxy.lead_to(Some(third.address()));
    drop(second);
    commit_row(&lake, &table, 2).await;
    catch_up(glue).await;
    catch_up(glue).await;
    must_mirror(&lake).await;
}

#[tokio::test]
async fn who_was_taken_over_changes_nothing() {
    let (directory, moto) = (tempfile::tempdir().unwrap(), Buckets::start());
    let older = open(&directory, moto.address(), moto.address()).await;
    create(&older, "t").await;
    let newer = open(&directory, moto.address(), moto.address()).await;
    let error = older.glue().unwrap().turn().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{}", error.chain());
    assert!(newer.glue().unwrap().client.databases().await.unwrap().is_empty());
    newer.glue().unwrap().turn().await.unwrap();
    must_mirror(&newer).await;
}

#[test]
fn failures_are_tried_again_at_longer_and_longer_times() {
    let pauses: Vec<u64> = [1, 2, 3, 6, 7, 1_000].map(|failures| pause(failures).as_secs()).into();
    assert_eq!(pauses, [1, 2, 4, 32, 60, 60]);
}
