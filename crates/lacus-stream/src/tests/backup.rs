//! A copy that is taken while records come and files go has all that was acknowledged before, back to what was delivered.

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;

use super::*;

/// Copies that are taken while one sender sends.
const BACKUPS: usize = 30;

/// Takes files as a backup does, and notes which.
struct Taker<'a> {
    from: &'a Path,
    to: TempDir,
    linked: RefCell<Vec<PathBuf>>,
}

impl<'a> Taker<'a> {
    fn new(from: &'a Path) -> Self {
        let to = TempDir::new().unwrap();
        fs::create_dir(to.path().join("segments")).unwrap();
        fs::create_dir(to.path().join("cursors")).unwrap();
        Self { from, to, linked: RefCell::default() }
    }

    fn take(&self, file: &Path, how: Taking) -> std::io::Result<()> {
        let (from, to) = (self.from.join(file), self.to.path().join(file));
        match how {
            Taking::Link => {
                fs::hard_link(from, to)?;
                self.linked.borrow_mut().push(file.to_owned());
            }
            Taking::Copy => fs::write(to, fs::read(from)?)?,
        }
        Ok(())
    }
}

fn one_shard_to(end: u64) -> Offsets {
    [(Partition(0), Offset(end))].into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_what_was_acknowledged_before_it() {
    let directory = TempDir::new().unwrap();
    let keep_nothing = settings::Stream { retention_bytes: Some(ByteSize(1)), ..settings(400) };
    let log = Log::open(directory.path(), &keep_nothing, Arc::new(SystemClock)).unwrap();
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    let (acknowledged, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sender = tokio::spawn(send(log.clone(), Arc::clone(&acknowledged), Arc::clone(&over)));
    let mut conflicts = 0;
    for turn in 0..BACKUPS {
        let before = acknowledged.load(Ordering::Relaxed);
        let taker = Taker::new(directory.path());
        let backup = LogBackup::begin(directory.path(), &mut |file, how| taker.take(file, how)).unwrap();
        // What the tables have: the copy must go back to there. Then they go on, and the log lets go of it.
        let delivered = acknowledged.load(Ordering::Relaxed);
        if turn % 2 == 1 {
            log.retain(&|_| one_shard_to(acknowledged.load(Ordering::Relaxed))).unwrap();
        }
        match backup.finish(&mut |file, how| taker.take(file, how)) {
            Err(error) if error.kind() == Kind::Conflict => {
                conflicts += 1;
                continue;
            }
            taken => taken.unwrap(),
        }
        must_hold(&taker, delivered, before).await;
    }
    over.store(true, Ordering::Relaxed);
    sender.await.unwrap();
    assert!(conflicts < BACKUPS / 2, "retention was in the way {conflicts} times");
}

async fn send(log: Log, acknowledged: Arc<AtomicU64>, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let next = acknowledged.load(Ordering::Relaxed);
        log.append(&clicks(), vec![record(None, format!("{next}"))]).await.unwrap();
        acknowledged.store(next + 1, Ordering::Relaxed);
    }
}

/// The copy opens, has `delivered..acknowledged` at least, and what is done with it does not touch the log it is of.
async fn must_hold(taker: &Taker<'_>, delivered: u64, acknowledged: u64) {
    let bytes = |root: &Path| -> Vec<Option<Vec<u8>>> {
        taker.linked.borrow().iter().map(|file| fs::read(root.join(file)).ok()).collect()
    };
    let before = bytes(taker.to.path());
    let copy = open(taker.to.path());
    let start = copy.stream(&clicks()).unwrap().start.next(Partition(0)).0;
    assert!(start <= delivered, "the copy begins at {start}, the tables end at {delivered}");
    let found = values(&read_all(&copy)[0]);
    let expected: Vec<String> = (start..start + found.len() as u64).map(|n| n.to_string()).collect();
    assert_eq!(found, expected);
    let end = start + found.len() as u64;
    assert!(end >= acknowledged, "{acknowledged} were acknowledged, the copy ends at {end}");
    copy.append(&clicks(), vec![record(None, "more")]).await.unwrap();
    copy.close().await.unwrap();
    assert!(before == bytes(taker.to.path()), "a file that may be linked was written to");
}

/// Tables that were copied in between may have less than what was let go of: the copy would never deliver the rest to them.
#[tokio::test]
async fn a_copy_is_begun_anew_when_a_stream_is_let_go_of_meanwhile() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    log.create_stream(&clicks(), &NewStream::of_shards(1)).unwrap();
    log.append(&clicks(), vec![record(None, "1")]).await.unwrap();
    log.delete_stream(&clicks()).unwrap();
    let taker = Taker::new(directory.path());
    let begin = || LogBackup::begin(directory.path(), &mut |file, how| taker.take(file, how)).unwrap();
    let finish = |backup: LogBackup| backup.finish(&mut |file, how| taker.take(file, how));
    let backup = begin();
    log.let_go(&clicks(), &one_shard_to(1)).unwrap();
    assert_eq!(finish(backup).unwrap_err().kind(), Kind::Conflict);
    finish(begin()).unwrap();
    let copy = open(taker.to.path());
    assert!(copy.streams()[0].is_over());
}

#[test]
fn a_log_that_was_never_opened_is_copied_as_nothing() {
    let directory = TempDir::new().unwrap();
    let taker = Taker::new(directory.path());
    let backup = LogBackup::begin(&directory.path().join("none"), &mut |file, how| taker.take(file, how)).unwrap();
    backup.finish(&mut |file, how| taker.take(file, how)).unwrap();
    assert!(taker.linked.borrow().is_empty());
}
