//! Tables as they were.

use lacus_core::{Kind, Timestamp};

use crate::Version;
use crate::fixture::{Place, append, commit, nested, nested_more, rows_of, stream};

#[tokio::test]
async fn a_version_has_the_files_and_the_columns_it_had() {
    let place = Place::new();
    let lake = place.open().await;
    let table = lake.create_table(&stream().table(), nested()).await.unwrap();
    let error = lake.table_at(&table, &Version::Snapshot(1)).await.unwrap_err();
    assert_eq!(error.message(), "table \"t\" has no snapshot yet");
    append(&table, &nested(), 0..3);
    commit(&lake, &[(&table, &nested())], 3).await.unwrap();
    append(&table, &nested_more(), 3..5);
    commit(&lake, &[(&table, &nested_more())], 5).await.unwrap();
    append(&table, &nested_more(), 5..6);

    let snapshots = table.snapshots();
    let first = lake.table_at(&table, &Version::Snapshot(snapshots[0].id)).await.unwrap();
    assert_eq!((first.files.len(), first.files[0].rows, first.tail.len()), (1, 3, 0));
    assert_eq!(first.schema.columns, nested().columns);
    let second = lake.table_at(&table, &Version::Tag("main".to_owned())).await.unwrap();
    assert_eq!(second.files.iter().map(|file| file.rows).sum::<u64>(), 5);
    assert_eq!(second.schema.columns, nested_more().columns);
    assert_eq!(rows_of(&lake, &table).len(), 6);

    let late = Version::At(Timestamp::from_micros(i64::MAX));
    assert_eq!(lake.table_at(&table, &late).await.unwrap().snapshot_id, second.snapshot_id);
    let (oldest, since) = (snapshots[0].id, snapshots[0].committed_at);
    let named = Version::Tag(oldest.to_string());
    assert_eq!(lake.table_at(&table, &named).await.unwrap().snapshot_id, Some(oldest));
    let error = lake.table_at(&table, &Version::At(Timestamp::from_micros(0))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(error.message(), "table \"t\" has no snapshot from 1970-01-01T00:00:00.000000Z or before");
    assert_eq!(error.hint(), Some(format!("the oldest snapshot there is is {oldest} of {since}").as_str()));
    let error = lake.table_at(&table, &Version::Tag("q3".to_owned())).await.unwrap_err();
    assert_eq!(error.message(), "table \"t\" has no tag \"q3\"");
}
