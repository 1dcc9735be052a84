//! Keys that are made, found, limited and revoked.

use lacus_core::SystemClock;
use tempfile::TempDir;

use super::*;

fn open(directory: &Path, master: Option<&str>) -> Result<Keyring> {
    Keyring::open(directory, master.map(|master| MasterKey::parse(master).unwrap()), Arc::new(SystemClock))
}

fn write(source: &str) -> NewKey {
    let source = StreamName::new(source).unwrap();
    NewKey { name: "site".to_owned(), grant: Grant::Write { source }, events_per_second: None }
}

fn aws() -> NewKey {
    NewKey { name: "producer".to_owned(), grant: Grant::Aws, events_per_second: Some(10) }
}

#[test]
fn keys_are_found_by_their_secret_and_after_reopening() {
    let directory = TempDir::new().unwrap();
    let keyring = open(directory.path(), None).unwrap();
    let (web, producer) = (keyring.create(write("web")).unwrap(), keyring.create(aws()).unwrap());
    assert!(web.secret.starts_with("wk_") && web.secret.len() == 35);
    assert!(producer.info.id.starts_with("LACU") && producer.info.id.len() == 20 && producer.secret.len() == 40);
    for keyring in [keyring, open(directory.path(), None).unwrap()] {
        let found = keyring.find_write_key(&web.secret).unwrap();
        assert_eq!(found.source().unwrap().as_str(), "web");
        assert!(keyring.find_write_key("wk_other").is_none() && keyring.find_write_key(&producer.info.id).is_none());
        let found = keyring.find_access_key(&producer.info.id).unwrap();
        assert_eq!(found.secret_access_key().unwrap(), producer.secret);
        assert_eq!(keyring.list(), [web.info.clone(), producer.info.clone()]);
    }
}

#[test]
fn secrets_are_not_on_disk_as_they_are_and_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().unwrap();
    let keyring = open(directory.path(), None).unwrap();
    let secrets = [keyring.create(write("web")).unwrap().secret, keyring.create(aws()).unwrap().secret];
    for entry in directory.path().read_dir().unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{}", path.display());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn another_master_key_opens_no_secret_and_hurts_no_other_key() {
    let directory = TempDir::new().unwrap();
    let (right, wrong) = ("11".repeat(32), "22".repeat(32));
    let keyring = open(directory.path(), Some(&right)).unwrap();
    let (web, producer) = (keyring.create(write("web")).unwrap(), keyring.create(aws()).unwrap());
    let keyring = open(directory.path(), Some(&wrong)).unwrap();
    let found = keyring.find_access_key(&producer.info.id).unwrap();
    assert_eq!(found.secret_access_key().unwrap_err().kind(), Kind::Unavailable);
    assert!(keyring.find_write_key(&web.secret).is_some());
    let keyring = open(directory.path(), Some(&right)).unwrap();
    assert!(keyring.find_access_key(&producer.info.id).unwrap().secret_access_key().is_ok());
    for wrong in ["", "zz", &"g".repeat(64), &"ü".repeat(32)] {
        assert_eq!(MasterKey::parse(wrong).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn a_revoked_key_is_gone_and_its_sisters_stay() {
    let directory = TempDir::new().unwrap();
    let keyring = open(directory.path(), None).unwrap();
    let (old, new) = (keyring.create(write("web")).unwrap(), keyring.create(write("web")).unwrap());
    assert_eq!(keyring.revoke(&old.info.id).unwrap(), old.info);
    assert_eq!(keyring.revoke(&old.info.id).unwrap_err().kind(), Kind::NotFound);
    for keyring in [keyring, open(directory.path(), None).unwrap()] {
        assert!(keyring.find_write_key(&old.secret).is_none());
        assert!(keyring.find_write_key(&new.secret).is_some());
    }
}

#[test]
fn a_key_has_its_rate() {
    let directory = TempDir::new().unwrap();
    let keyring = open(directory.path(), None).unwrap();
    let id = keyring.create(aws()).unwrap().info.id;
    let key = keyring.find_access_key(&id).unwrap();
    let refused = (0..200).find_map(|_| key.admit(1).err()).unwrap();
    assert_eq!(refused.kind(), Kind::Limited);
}

#[test]
fn a_damaged_keyring_is_named() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("keys.json"), "{\"format\":1,\"keys\":[{}]}").unwrap();
    let Err(error) = open(directory.path(), None) else { panic!("it opened") };
    assert_eq!(error.kind(), Kind::Corrupt);
    std::fs::write(directory.path().join("keys.json"), "{\"format\":9,\"keys\":[]}").unwrap();
    let Err(error) = open(directory.path(), None) else { panic!("it opened") };
    assert_eq!(error.kind(), Kind::Invalid);
}
