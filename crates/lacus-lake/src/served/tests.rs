//! Files that engines on other machines write and read.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use lacus_core::{SystemClock, TableName, settings};
use tempfile::TempDir;

use super::*;
use crate::foreign::{NewTable, Properties};
use crate::lake::Lake;

struct Place {
    directory: TempDir,
    lake: Lake,
}

async fn open(directory: &TempDir) -> Lake {
    let settings = settings::Lake { bucket: Some("lake".to_owned()), ..settings::Lake::default() };
    Lake::open_as(directory.path(), &settings, Arc::new(SystemClock)).await.unwrap()
}

impl Place {
    /// A lake with the table `shop.orders`.
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let lake = open(&directory).await;
        lake.create_database("shop", &Properties::new()).await.unwrap();
        let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
        let new = NewTable {
            name: TableName::new("shop.orders").unwrap(),
            location: None,
            schema: Schema::builder().with_fields([Arc::new(id)]).build().unwrap(),
            partition_spec: None,
            write_order: None,
            properties: HashMap::new(),
        };
        lake.make_table(new).await.unwrap();
        Self { directory, lake }
    }

    fn served(&self) -> &Served {
        self.lake.served().unwrap()
    }

    async fn put(&self, name: &str, text: &'static str, only_new: bool) -> Result<ServedFile> {
        let mut incoming = self.served().take_in(name, Some(text.len() as u64)).await?;
        incoming.add(Bytes::from_static(text.as_bytes())).await?;
        self.served().keep(name, incoming, only_new).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.served().delete(name).await
    }

    /// Files that gather beside the lake.
    fn gathering(&self) -> usize {
        fs::read_dir(self.directory.path().join("uploads")).map_or(0, Iterator::count)
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.path().join("lake").join(name)).ok()
    }
}

fn kind<T>(result: Result<T>) -> Option<Kind> {
    result.err().map(|error| error.kind())
}

const NAME: &str = "shop/orders/data/a.parquet";

#[tokio::test]
async fn tables_are_in_the_bucket() {
    let place = Place::new().await;
    let table = place.lake.table(&TableName::new("shop.orders").unwrap()).unwrap();
    let (location, metadata) = table.metadata();
    assert_eq!(metadata.location(), "s3://lake/shop/orders");
    let name = location.strip_prefix("s3://lake/").unwrap();
    assert!(place.served().look(name).await.is_ok(), "{name}");
    assert_eq!(place.served().folder_of(metadata.location()).unwrap(), "shop/orders");
    assert_eq!(place.lake.check().await.unwrap(), []);
}

#[tokio::test]
async fn files_are_written_once() {
    let place = Place::new().await;
    let written = place.put(NAME, "rows", false).await.unwrap();
    assert_eq!((written.bytes, place.text(NAME).as_deref()), (4, Some("rows")));
    assert_eq!(place.served().look(NAME).await.unwrap(), written);
    // The answer may have been lost.
    assert_eq!(place.put(NAME, "rows", false).await.unwrap(), written);
    assert_eq!(kind(place.put(NAME, "rows", true).await), Some(Kind::Exists));
    assert_eq!(kind(place.put(NAME, "ROWS", false).await), Some(Kind::Exists));
    assert_eq!((place.text(NAME).as_deref(), place.gathering()), (Some("rows"), 0));
    for nowhere in ["shop/others/data/a.parquet", "raw/web/a.zst", "shop/orders/../../keys.json", "shop/orders"] {
        assert_eq!(kind(place.put(nowhere, "rows", false).await), Some(Kind::Denied), "{nowhere}");
    }
}

#[tokio::test]
async fn marks_of_folders_are_nothing() {
    let place = Place::new().await;
    assert!(place.served().is_mark("shop/orders/data/").await.unwrap());
    assert!(!place.served().is_mark(NAME).await.unwrap());
    for wrong in ["shop/nothing/data/", "raw/x/y/", "shop/orders/../x/", "/"] {
        assert_eq!(kind(place.served().is_mark(wrong).await), Some(Kind::Denied), "{wrong}");
    }
    assert_eq!(kind(place.served().look("shop/orders/data/").await), Some(Kind::NotFound));
    place.put(NAME, "rows", false).await.unwrap();
    place.delete("shop/orders/data/").await.unwrap();
    assert_eq!(place.text(NAME).as_deref(), Some("rows"));
}

#[tokio::test]
async fn half_a_file_was_never_there() {
    let place = Place::new().await;
    let mut incoming = place.served().take_in(NAME, Some(4)).await.unwrap();
    incoming.add(Bytes::from_static(b"ro")).await.unwrap();
    assert_eq!(place.gathering(), 1);
    drop(incoming);
    assert_eq!((place.gathering(), place.text(NAME)), (0, None));
    let mut incoming = place.served().take_in(NAME, Some(4)).await.unwrap();
    assert_eq!(kind(incoming.add(Bytes::from_static(b"rows and more")).await), Some(Kind::Invalid));
}

#[tokio::test]
async fn what_a_crash_left_is_gone_after_the_next_start() {
    let Place { directory, lake } = Place::new().await;
    let served = Arc::clone(lake.served().unwrap());
    let incoming = served.take_in(NAME, Some(4)).await.unwrap();
    let upload = served.begin_parts(NAME).await.unwrap();
    let part = served.take_part_in(NAME, &upload, 1, Some(0)).await.unwrap();
    served.keep_part(&upload, 1, part).await.unwrap();
    std::mem::forget((incoming, served));
    assert_eq!(fs::read_dir(directory.path().join("uploads")).unwrap().count(), 2);
    drop(lake);
    let place = Place { lake: open(&directory).await, directory };
    assert_eq!(place.gathering(), 0);
    assert_eq!(kind(place.served().abort_parts(NAME, &upload).await), Some(Kind::NotFound));
}

#[tokio::test]
async fn parts_become_one_file() {
    let place = Place::new().await;
    let served = place.served();
    let upload = served.begin_parts(NAME).await.unwrap();
    let mut tags = Vec::new();
    for (number, text) in [(3, "c"), (1, "old"), (2, "b"), (1, "a"), (9, "unwanted")] {
        let mut part = served.take_part_in(NAME, &upload, number, Some(text.len() as u64)).await.unwrap();
        part.add(Bytes::from_static(text.as_bytes())).await.unwrap();
        tags.push((number, served.keep_part(&upload, number, part).await.unwrap()));
    }
    let (c, old, b, a) = (tags[0].clone(), tags[1].clone(), tags[2].clone(), tags[3].clone());
    assert_eq!(kind(served.take_part_in(NAME, "nothing", 1, None).await), Some(Kind::NotFound));
    assert_eq!(kind(served.take_part_in("shop/orders/data/b", &upload, 1, None).await), Some(Kind::NotFound));
    for number in [0, 10_001] {
        assert_eq!(kind(served.take_part_in(NAME, &upload, number, None).await), Some(Kind::Invalid));
    }
    for (parts, wrong) in [
        (vec![], Kind::Conflict),
        (vec![old, b.clone()], Kind::Conflict),
        (vec![a.clone(), (4, "x".to_owned())], Kind::Conflict),
        (vec![b.clone(), a.clone()], Kind::Invalid),
    ] {
        assert_eq!(kind(served.complete_parts(NAME, &upload, &parts, false).await), Some(wrong), "{parts:?}");
    }
    let written = served.complete_parts(NAME, &upload, &[a, b, c], false).await.unwrap();
    assert_eq!((written.bytes, place.text(NAME).as_deref(), place.gathering()), (3, Some("abc"), 0));
    assert_eq!(kind(served.abort_parts(NAME, &upload).await), Some(Kind::NotFound));
    let upload = served.begin_parts(NAME).await.unwrap();
    let part = served.take_part_in(NAME, &upload, 1, None).await.unwrap();
    served.keep_part(&upload, 1, part).await.unwrap();
    served.abort_parts(NAME, &upload).await.unwrap();
    assert_eq!(place.gathering(), 0);
}

/// An upload of `NAME` with a part of each text.
async fn upload(served: &Served, texts: &[&'static str]) -> (String, Vec<(u32, String)>) {
    let upload = served.begin_parts(NAME).await.unwrap();
    let mut parts = Vec::new();
    for (number, &text) in (1..).zip(texts) {
        let mut part = served.take_part_in(NAME, &upload, number, Some(text.len() as u64)).await.unwrap();
        part.add(Bytes::from_static(text.as_bytes())).await.unwrap();
        parts.push((number, served.keep_part(&upload, number, part).await.unwrap()));
    }
    (upload, parts)
}

#[tokio::test]
async fn who_completes_an_upload_again_is_told_the_same() {
    let place = Place::new().await;
    let (id, parts) = upload(place.served(), &["a", "b"]).await;
    assert_eq!(place.served().completed(NAME, &id, &parts).await.unwrap(), None);
    let (one, other) = tokio::join!(
        place.served().complete_parts(NAME, &id, &parts, true),
        place.served().complete_parts(NAME, &id, &parts, true)
    );
    let written = one.unwrap();
    assert_eq!((other.unwrap(), place.text(NAME).as_deref()), (written.clone(), Some("ab")));
    // Another upload of the same bytes is the file that is there, and says so again, too.
    let (same, same_parts) = upload(place.served(), &["ab"]).await;
    assert_eq!(place.served().complete_parts(NAME, &same, &same_parts, false).await.unwrap(), written);
    let Place { directory, lake } = place;
    drop(lake);
    let place = Place { lake: open(&directory).await, directory };
    for (id, parts) in [(&id, &parts), (&same, &same_parts)] {
        assert_eq!(place.served().complete_parts(NAME, id, parts, false).await.unwrap(), written, "after a restart");
        assert_eq!(place.served().completed(NAME, id, parts).await.unwrap(), Some(written.clone()));
    }
    let b = "shop/orders/data/b.parquet";
    assert_eq!(kind(place.served().complete_parts(b, &id, &parts, false).await), Some(Kind::NotFound));
    assert_eq!(kind(place.served().complete_parts(NAME, &id, &parts[..1], false).await), Some(Kind::NotFound));
    assert_eq!(kind(place.served().complete_parts(NAME, &id, &same_parts, false).await), Some(Kind::NotFound));
    fs::remove_file(place.directory.path().join("lake").join(NAME)).unwrap();
    assert_eq!(kind(place.served().complete_parts(NAME, &id, &parts, false).await), Some(Kind::NotFound), "it is gone");
    assert_eq!(place.gathering(), 0);
}

#[tokio::test]
async fn an_upload_that_could_not_be_completed_is_not_told_to_be() {
    let place = Place::new().await;
    let (id, parts) = upload(place.served(), &["a", "b"]).await;
    place.put(NAME, "rows", false).await.unwrap();
    assert_eq!(kind(place.served().complete_parts(NAME, &id, &parts, false).await), Some(Kind::Exists));
    assert_eq!(kind(place.served().complete_parts(NAME, &id, &parts, false).await), Some(Kind::NotFound));
    assert_eq!((place.text(NAME).as_deref(), place.gathering()), (Some("rows"), 0));
}

#[tokio::test]
async fn parts_are_read_before_they_are_a_file() {
    let place = Place::new().await;
    let served = place.served();
    let (id, parts) = upload(served, &["a", "b"]).await;
    let mut read = String::new();
    for (number, tag) in &parts {
        served.open_part(NAME, &id, *number, tag).await.unwrap().read_to_string(&mut read).unwrap();
    }
    assert_eq!(read, "ab");
    let (number, tag) = &parts[0];
    assert_eq!(kind(served.open_part(NAME, &id, *number, "other").await), Some(Kind::Conflict));
    assert_eq!(kind(served.open_part(NAME, &id, 7, tag).await), Some(Kind::Conflict));
    assert_eq!(kind(served.open_part("shop/orders/data/b", &id, *number, tag).await), Some(Kind::NotFound));
    served.complete_parts(NAME, &id, &parts, false).await.unwrap();
    assert_eq!(kind(served.open_part(NAME, &id, *number, tag).await), Some(Kind::NotFound));
}

#[tokio::test]
async fn nothing_that_is_there_is_deleted() {
    let place = Place::new().await;
    let table = place.lake.table(&TableName::new("shop.orders").unwrap()).unwrap();
    let (location, _) = table.metadata();
    let metadata = location.strip_prefix("s3://lake/").unwrap();
    place.delete(NAME).await.unwrap();
    place.put(NAME, "rows", false).await.unwrap();
    for name in [metadata, NAME, "raw/web/a.zst", "shop/orders/../x"] {
        assert_eq!(kind(place.delete(name).await), Some(Kind::Denied), "{name}");
    }
    assert!(place.text(metadata).is_some());
    assert_eq!(place.text(NAME).as_deref(), Some("rows"));
}

#[tokio::test]
async fn uploads_that_nobody_goes_on_with_are_given_up() {
    let place = Place::new().await;
    let served = place.served();
    let upload = served.begin_parts(NAME).await.unwrap();
    let part = served.take_part_in(NAME, &upload, 1, None).await.unwrap();
    served.keep_part(&upload, 1, part).await.unwrap();
    served.sweep().await;
    assert_eq!(place.gathering(), 1, "it is not a day old");
    served.uploads.age(&upload, lacus_core::Timestamp::from_micros(0));
    served.sweep().await;
    assert_eq!(place.gathering(), 0);
    assert_eq!(kind(served.take_part_in(NAME, &upload, 2, None).await), Some(Kind::NotFound));
}
