//! What was replaced is never lost.

use std::fs;
use std::os::unix::fs::MetadataExt;

use lacus_core::settings;
use tempfile::TempDir;

use super::*;

#[tokio::test]
async fn the_only_copy_of_what_was_replaced_stays_if_it_can_not_come_back() {
    let project = TempDir::new().unwrap();
    let open = || Outside::open(project.path(), &settings::Lake::default(), &settings::Query::default()).unwrap();
    let outside = Arc::new(open());
    let folder = project.path().join("unload");
    let file = folder.join("a.csv");
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "old").unwrap();
    let prefix = outside.to_write("unload/a").unwrap();
    let mut unloading = outside.begin_unload(prefix, Existing::Replaced).await.unwrap();
    let mut new = unloading.file(".csv", Compression::None).await.unwrap();
    new.write(b"new").await.unwrap();
    unloading.end(new).await.unwrap();
    let mut named = Vec::new();
    unloading.try_publish(false, &mut named).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"new");
    // No file takes the place of a folder.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let error = unloading.undo(named, Error::unavailable("the disk refuses")).await;

    // The next start clears away what is unfinished.
    open();
    let found = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<PathBuf> = found.filter(|path| *path != file).collect();
    let [kept] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(fs::read(kept.join("replaced-0")).unwrap(), b"old");
    let (file, kept) = (file.display(), kept.display());
    let expected =
        format!("these files are new, and no others: {file}; what they replaced is in {kept}: replaced-0 was {file}");
    assert_eq!(error.hint(), Some(expected.as_str()));
    // No statement finds it.
    assert_eq!(outside.to_write("unload").unwrap().as_folder().list().await.unwrap().len(), 0);
}

#[test]
fn what_can_not_be_linked_is_copied() {
    let folder = TempDir::new().unwrap();
    let (file, second) = (folder.path().join("a"), folder.path().join("b"));
    let linked = |what: &str| {
        fs::write(&file, what).unwrap();
        link_or_copy(&file, &second).unwrap();
        assert_eq!(fs::read_to_string(&second).unwrap(), what);
        fs::metadata(&file).unwrap().nlink()
    };
    assert_eq!(linked("first"), 2);
    fs::remove_file(&file).unwrap();
    assert_eq!(linked("second"), 1, "the second name is taken");
    fs::remove_file(&file).unwrap();
    assert_eq!(link_or_copy(&file, &second).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
