//! Small files are merged while deliveries go on.

use std::collections::HashMap;

use super::*;

/// Commits one event of a stream.
async fn commit_one(running: &Running, stream: &str) {
    let name = StreamName::new(stream).unwrap();
    running.log.create_stream(&name, &NewStream::of_shards(1)).unwrap();
    running.log.append(&name, vec![NewRecord::of(r#"{"n":1}"#)]).await.unwrap();
    running.deliveries.flush(&TableName::new(stream).unwrap()).await.unwrap();
}

fn merges_of(running: &Running, table: &str) -> usize {
    running.table(table).snapshots().iter().filter(|snapshot| snapshot.operation == "replace").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_many_small_files_does_not_keep_others_waiting() {
    let mut project = Project::new();
    let running = project.start().await.unwrap();
    commit_one(&running, "a").await;
    let bytes = running.table("a").state().files[0].bytes;
    running.stop().await;
    // So that one merge takes eight files.
    project.settings.file_bytes = ByteSize(bytes * 17 / 2);
    let running = project.start().await.unwrap();
    for _ in 0..14 {
        commit_one(&running, "a").await;
        commit_one(&running, "b").await;
    }
    commit_one(&running, "a").await;
    assert!(running.deliveries.merge_in_turn(&mut HashMap::new()).await);
    assert_eq!(["a", "b"].map(|table| merges_of(&running, table)), [1, 1], "`a` needs another one");
    while running.deliveries.merge_in_turn(&mut HashMap::new()).await {}
    assert_eq!(["a", "b"].map(|table| merges_of(&running, table)), [2, 1]);
    let rows_of = |table| running.table(table).state().files.iter().map(|file| file.rows).sum::<u64>();
    assert_eq!(["a", "b"].map(rows_of), [16, 14]);
    running.stop().await;
}
