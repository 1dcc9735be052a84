//! Files that are on disk when the store says so.

use object_store::ObjectStoreExt;

use super::*;

fn open(root: &FilePath) -> DurableDirectory {
    DurableDirectory::open(root).unwrap()
}

#[tokio::test]
async fn an_object_is_written_once() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let path = Path::from("main/t/data/a.parquet");
    store.put(&path, "first".into()).await.unwrap();
    let again = store.put(&path, "second".into()).await.unwrap_err();
    assert!(matches!(again, object_store::Error::AlreadyExists { .. }), "{again}");
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "first");
    assert_eq!(store.get_range(&path, 1..3).await.unwrap(), "ir");
    assert_eq!(fs::read_to_string(place.path().join("main/t/data/a.parquet")).unwrap(), "first");
}

#[tokio::test]
async fn deleting_what_is_not_there_says_so() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let path = Path::from("a/b");
    let missing = store.delete(&path).await.unwrap_err();
    assert!(matches!(missing, object_store::Error::NotFound { .. }), "{missing}");
    store.put(&path, "x".into()).await.unwrap();
    store.delete(&path).await.unwrap();
    assert!(store.list(None).next().await.is_none());
    let missing = store_error(store.get(&path).await.unwrap_err(), "read a/b");
    assert_eq!(missing.kind(), Kind::Corrupt);
}

#[tokio::test]
async fn a_write_that_fails_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    store.put(&Path::from("file"), "x".into()).await.unwrap();
    let error = store.put(&Path::from("file/below"), "x".into()).await.unwrap_err();
    assert_eq!(store_error(error, "write file/below").kind(), Kind::Unavailable);
    let (from, to) = (Path::from("file"), Path::from("copy"));
    assert!(store.copy(&from, &to).await.is_err());
    assert!(store.put_multipart(&Path::from("file/below")).await.is_err());
    assert!(store.put_multipart(&from).await.is_err());
    store.put_multipart(&to).await.unwrap().abort().await.unwrap();
    let names: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["file"]);
}

#[tokio::test]
async fn parts_have_their_places_whichever_is_written_first() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let path = Path::from("a/b");
    let mut upload = store.put_multipart(&path).await.unwrap();
    let parts = ["one ", "two ", "three"].map(|text| upload.put_part(text.into()));
    for part in parts.into_iter().rev() {
        part.await.unwrap();
    }
    upload.complete().await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "one two three");
    assert!(store.put(&path, "x".into()).await.is_err(), "it is never overwritten");
}

#[tokio::test]
async fn directories_are_remembered_up_to_a_bound() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let inner = Arc::clone(&store.0);
    for number in 0..SYNCED_DIRECTORIES_MAX + 10 {
        inner.directories.synced().insert(place.path().join(number.to_string()));
    }
    store.put(&Path::from("raw/t/file"), "x".into()).await.unwrap();
    assert!(inner.directories.synced().len() <= 2, "{}", inner.directories.synced().len());
}
