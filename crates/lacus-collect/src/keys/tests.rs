//! Keys that are made, found, limited and revoked.

use lacus_core::SystemClock;
use proptest::prelude::*;
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
fn a_lake_key_opens_the_lake_and_no_other_key_does() {
    let directory = TempDir::new().unwrap();
    let keyring = open(directory.path(), None).unwrap();
    let (web, producer) = (keyring.create(write("web")).unwrap(), keyring.create(aws()).unwrap());
    assert!(!keyring.has_lake_keys());
    let new = NewKey { name: "notebooks".to_owned(), grant: Grant::Lake, events_per_second: None };
    assert!(keyring.create(NewKey { events_per_second: Some(1), ..new.clone() }).is_err());
    let lake = keyring.create(new).unwrap();
    for keyring in [keyring, open(directory.path(), None).unwrap()] {
        assert_eq!(keyring.lake_secret(&lake.info.id).as_ref(), Some(&lake.secret));
        for other in [&web.info.id, &web.secret, &producer.info.id] {
            assert_eq!(keyring.lake_secret(other), None);
        }
        // It sends nothing either.
        assert!(keyring.find_access_key(&lake.info.id).is_none() && keyring.find_write_key(&lake.secret).is_none());
        assert!(keyring.has_lake_keys() && keyring.list().contains(&lake.info));
    }
    let stored = std::fs::read_to_string(directory.path().join("keys.json")).unwrap();
    assert!(!stored.contains(&lake.secret));
    let keyring = open(directory.path(), None).unwrap();
    keyring.revoke(&lake.info.id).unwrap();
    assert!(!keyring.has_lake_keys() && keyring.lake_secret(&lake.info.id).is_none());
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
}

#[test]
fn a_master_key_is_written_in_one_of_two_ways() {
    let bytes: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 8).unwrap());
    let hex = crate::hex::hex(&bytes);
    for written in [hex.clone(), hex.to_uppercase(), format!(" {}\n", BASE64.encode(bytes))] {
        assert_eq!(MasterKey::parse(&written).unwrap().to_hex(), hex);
    }
    for wrong in ["", "zz", &"g".repeat(64), &"ü".repeat(32), &"+f".repeat(32), &BASE64.encode([0; 31])] {
        let error = MasterKey::parse(wrong).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(wrong.is_empty() || !error.chain().contains(wrong), "a mistyped key is not told");
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
    assert_eq!((refused.kind(), refused.hint()), (Kind::Limited, Some("send it again in 1 s")));
    let none = NewKey { events_per_second: Some(0), ..aws() };
    assert_eq!(keyring.create(none).err().unwrap().kind(), Kind::Invalid);
}

#[test]
fn a_damaged_keyring_is_named() {
    let directory = TempDir::new().unwrap();
    for (text, kind) in [
        ("", Kind::Corrupt),
        (r#"{"format":1,"crc32":0,"keys":[{}]}"#, Kind::Corrupt),
        (r#"{"format":1,"crc32":0,"keys":[]}"#, Kind::Corrupt),
        (r#"{"format":9,"sealed":true}"#, Kind::Invalid),
    ] {
        std::fs::write(directory.path().join("keys.json"), text).unwrap();
        assert_eq!(open(directory.path(), None).err().expect(text).kind(), kind, "{text}");
    }
    std::fs::remove_file(directory.path().join("keys.json")).unwrap();
    std::fs::write(directory.path().join("master.key"), "abc").unwrap();
    assert_eq!(open(directory.path(), None).err().unwrap().kind(), Kind::Corrupt);
}

/// `tests/formats/` has a keyring of each format, written by the release that brought it; the old ones stay.
#[test]
fn a_keyring_of_format_1_opens() {
    let directory = TempDir::new().unwrap();
    let stored = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/formats/keys-v1"));
    for file in ["keys.json", "master.key"] {
        std::fs::copy(stored.join(file), directory.path().join(file)).unwrap();
    }
    let keyring = open(directory.path(), None).unwrap();
    let shown: Vec<String> = keyring.list().iter().map(|key| format!("{key:?}")).collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    KeyInfo { id: "key_SoYZkaPaRku1r6C4", name: "site", grant: Write { source: "web" }, events_per_second: None, created_at: Timestamp(1795234304114072) }
    KeyInfo { id: "LACUAZKGWIW5R5ARPA64", name: "producer", grant: Aws, events_per_second: Some(10), created_at: Timestamp(1795234304115708) }
    "#);
    assert!(keyring.find_write_key("wk_3Gq5yzGEKMJ6WpGTuXxDpPZiqFbwqd1x").is_some());
    let producer = keyring.find_access_key("LACUAZKGWIW5R5ARPA64").unwrap();
    assert_eq!(producer.secret_access_key().unwrap(), "CLuABjWKfUl6wtgs93GhP9SNrCiK40fwWi1Pq9xt");
}

#[test]
fn a_flipped_bit_is_noticed() {
    let directory = TempDir::new().unwrap();
    let keyring = open(directory.path(), None).unwrap();
    let made = [keyring.create(write("web")).unwrap(), keyring.create(aws()).unwrap()];
    let path = directory.path().join("keys.json");
    let stored = std::fs::read(&path).unwrap();
    for at in 0..stored.len() {
        let mut damaged = stored.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        // What is between the values says nothing.
        let Ok(keyring) = open(directory.path(), None) else { continue };
        assert_eq!(keyring.list(), made.each_ref().map(|made| made.info.clone()), "byte {at}");
        assert!(keyring.find_write_key(&made[0].secret).is_some(), "byte {at}");
        assert_eq!(keyring.find_access_key(&made[1].info.id).unwrap().secret_access_key().unwrap(), made[1].secret);
    }
}

#[test]
fn keys_are_found_while_others_come_and_go() {
    let directory = TempDir::new().unwrap();
    let keyring = open(directory.path(), None).unwrap();
    let stays = keyring.create(write("web")).unwrap().secret;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let key = keyring.create(write("web")).unwrap();
                    assert!(keyring.find_write_key(&key.secret).is_some());
                    keyring.revoke(&key.info.id).unwrap();
                    assert!(keyring.find_write_key(&key.secret).is_none());
                }
            });
        }
        scope.spawn(|| (0..10_000).for_each(|_| assert!(keyring.find_write_key(&stays).is_some())));
    });
    assert_eq!(open(directory.path(), None).unwrap().list(), keyring.list());
    assert_eq!(keyring.list().len(), 1);
}

#[test]
fn requests_present_keys_in_two_ways() {
    let check = |authorization: &str, expected: Option<&str>| {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())]);
        assert_eq!(presented(&headers).as_deref(), expected, "{authorization}");
    };
    check("Bearer wk_abc", Some("wk_abc"));
    check("bearer   wk_abc ", Some("wk_abc"));
    check(&format!("Basic {}", BASE64.encode("wk_abc:")), Some("wk_abc"));
    check(&format!("basic {}", BASE64.encode("wk_abc:secret:x")), Some("wk_abc"));
    check(&format!("Basic {}", BASE64.encode("wk_abc")), Some("wk_abc"));
    // A key that can't be read is still one that was meant.
    check("Basic wk_abc:", Some("wk_abc:"));
    check(&format!("Basic {}", BASE64.encode([0xff, b':'])), Some("/zo="));
    // No key is meant.
    check(&format!("Basic {}", BASE64.encode(":")), None);
    check("Negotiate abc", None);
    check("wk_abc", None);
    assert_eq!(presented(&HeaderMap::new()), None);
}

proptest! {
    #[test]
    fn no_header_breaks_it(value in prop::collection::vec(32_u8.., 0..80), scheme in "(Basic |Bearer |)") {
        let value = [scheme.as_bytes(), &value].concat();
        if let Ok(value) = axum::http::HeaderValue::from_bytes(&value) {
            let _key = presented(&HeaderMap::from_iter([(AUTHORIZATION, value)]));
        }
    }
}
