//! Messages that come twice, and crashes at any point between reading them, committing them and remembering them.

use std::fs;

use lacus_core::{MessageId, Offset, Offsets, Partition};

use super::*;
use crate::judging::Judge;
use crate::reading::describe;

impl Running {
    /// Sends events with message ids: the id of an event is its number.
    async fn send_messages_of(&self, ids: impl IntoIterator<Item = u32>) {
        let clicks = StreamName::new("clicks").unwrap();
        self.log.create_stream(&clicks, &NewStream::of_shards(2)).unwrap();
        let record = |id: u32| NewRecord {
            id: Some(MessageId(u128::from(id) << 100)),
            ..NewRecord::of(format!(r#"{{"id":{id}}}"#))
        };
        for id in ids {
            self.log.append(&clicks, vec![record(id)]).await.unwrap();
        }
        self.deliveries.caught_up().await.unwrap();
    }

    fn ids(&self, project: &Project) -> Vec<i64> {
        let mut ids = Vec::new();
        for batch in self.batches("clicks", project) {
            ids.extend(batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().values());
        }
        ids.sort_unstable();
        ids
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_again_is_a_row_once() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send_messages_of([1, 2, 1, 3, 2]).await;
    assert_eq!(running.ids(&project), [1, 2, 3]);
    running.flush().await;
    running.send_messages_of([3, 4, 4]).await;
    assert_eq!(running.ids(&project), [1, 2, 3, 4]);
    let status = &running.deliveries.status()[0];
    assert_eq!((status.acknowledged, status.visible, status.duplicates), (8, 8, 4));
    assert_eq!(running.flush().await.rows, 1);
    assert_eq!(raw_lines(&project.directory.path().join("lake/raw")), 4);
    // Only duplicates: the progress is committed all the same.
    running.send_messages_of([1, 2]).await;
    assert_eq!(running.flush().await.rows, 0);
    assert_eq!(running.table("clicks").state().delivered.total(), 10);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_decoded_again_lack_the_same_duplicates() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send_messages_of([1, 2, 1]).await;
    running.send(&[r#"{"id":2.5}"#.to_owned()]).await;
    running.deliveries.caught_up().await.unwrap();
    let rows: usize = running.batches("clicks", &project).iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 3);
    assert_eq!(running.positions("clicks", &project).len(), 3);
    running.stop().await;
}

/// What is on disk at one moment, by part.
const PARTS: [&str; 2] = ["lake", "ids"];

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

fn keep(project: &Project, moments: &Path, moment: usize) {
    for part in PARTS.iter().copied().chain(["catalog.db"]) {
        copy(&project.directory.path().join(part), &moments.join(format!("{moment}/{part}")));
    }
}

/// A process may die between any two of: a turn, its commit, and what the index has on disk. So whatever moment the lake is
/// from and whatever moment the index is from, with the log as it is every message is a row once.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_crash_leaves_every_message_is_a_row_once() {
    let project = Project::new();
    let kept = tempfile::tempdir().unwrap();
    let moments = kept.path();
    let steps: [(&[u32], bool); 5] = [
        (&[1, 2, 3, 1], false),       // seen, not committed
        (&[], true),                  // committed
        (&[2, 4, 5, 4], false),       // seen, not committed, partly duplicates
        (&[6, 3, 5], true),           // committed with what came before
        (&[1, 2, 3, 4, 5, 6], false), // only duplicates
    ];
    for (moment, (ids, is_committed)) in steps.into_iter().enumerate() {
        let running = project.start().await.unwrap();
        running.send_messages_of(ids.iter().copied()).await;
        if is_committed {
            running.flush().await;
        }
        running.stop().await;
        keep(&project, moments, moment);
    }
    for lake in 0..steps.len() {
        for ids in 0..=steps.len() {
            let restored = Project::new();
            let root = restored.directory.path();
            copy(&project.directory.path().join("stream"), &root.join("stream"));
            copy(&moments.join(format!("{lake}/lake")), &root.join("lake"));
            copy(&moments.join(format!("{lake}/catalog.db")), &root.join("catalog.db"));
            if ids < steps.len() {
                copy(&moments.join(format!("{ids}/ids")), &root.join("ids"));
            }
            let running = restored.start().await.unwrap();
            running.send_messages_of([7, 1, 5, 7]).await;
            assert_eq!(running.ids(&restored), [1, 2, 3, 4, 5, 6, 7], "lake of moment {lake}, index of moment {ids}");
            running.flush().await;
            assert_eq!(running.ids(&restored), [1, 2, 3, 4, 5, 6, 7], "lake of moment {lake}, index of moment {ids}");
            assert_eq!(raw_lines(&root.join("lake/raw")), 7, "lake of moment {lake}, index of moment {ids}");
            running.stop().await;
        }
    }
}

/// A restore from a backup that leaves the index as it was.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_in_a_restore_is_no_duplicate_when_it_comes_again() {
    let (project, backup) = (Project::new(), tempfile::tempdir().unwrap());
    let root = project.directory.path();
    let running = project.start().await.unwrap();
    running.send_messages_of([1, 2]).await;
    running.flush().await;
    running.stop().await;
    let parts = ["stream", "lake", "catalog.db"];
    parts.iter().for_each(|part| copy(&root.join(part), &backup.path().join(part)));
    let running = project.start().await.unwrap();
    running.send_messages_of([3, 4]).await;
    running.flush().await;
    running.stop().await;

    let restored = Project::new();
    parts.iter().for_each(|part| copy(&backup.path().join(part), &restored.directory.path().join(part)));
    copy(&root.join("ids"), &restored.directory.path().join("ids"));
    let running = restored.start().await.unwrap();
    running.send_messages_of([1, 3, 4]).await;
    assert_eq!(running.ids(&restored), [1, 2, 3, 4]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_damaged_is_made_again() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send_messages_of(1..50).await;
    running.flush().await;
    running.stop().await;
    for entry in fs::read_dir(project.directory.path().join("ids")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::write(path, "not an index").unwrap();
        }
    }
    let running = project.start().await.unwrap();
    running.send_messages_of(40..60).await;
    assert_eq!(running.ids(&project), (1..60).collect::<Vec<i64>>());
    running.stop().await;
}

/// One delivery comes upon damage while another one is between its turn and its commit, or within its turn.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_says_of_a_new_index_that_it_has_what_the_old_one_had() {
    let project = Project::new();
    let log = Log::open(&project.directory.path().join("stream"), &project.stream, Arc::new(SystemClock)).unwrap();
    let ids = Arc::new(MessageIds::open(&project.directory.path().join("ids")).unwrap());
    let clicks = StreamName::new("clicks").unwrap();
    log.create_stream(&clicks, &NewStream::of_shards(1)).unwrap();
    let with_id = NewRecord { id: Some(MessageId(7)), ..NewRecord::of("{}".to_owned()) };
    log.append(&clicks, vec![with_id, NewRecord::of("{}".to_owned())]).await.unwrap();
    let stream = describe(&log, &clicks).unwrap();
    let mut records = log.read(&clicks, Partition(0), Offset(0), 1 << 20).unwrap();
    let mut without_id = records.split_off(1);
    let mut judge = Judge::open(&ids, &log, &stream, &Offsets::default()).unwrap();
    assert_eq!(judge.take_out_duplicates(&mut records).unwrap(), 0);
    assert_eq!(judge.take_out_duplicates(&mut without_id).unwrap(), 0);

    ids.fit(|_| Offsets::default()).unwrap();
    judge.sync().unwrap();
    assert_eq!(ids.covered(&clicks).unwrap(), Offsets::default(), "the commit says nothing of it");
    records[0].position.offset = Offset(2);
    judge.take_out_duplicates(&mut records.clone()).unwrap_err();
    while judge.catch_up(&log, &stream, &stream.end).unwrap() {}
    assert_eq!(judge.take_out_duplicates(&mut records).unwrap(), 1);
    log.close().await.unwrap();
}
