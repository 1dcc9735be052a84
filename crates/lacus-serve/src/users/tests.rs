//! Users come, change and go, on disk and at once; and nobody can tell who is not there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lacus_core::SystemClock;
use lacus_core::units::{ByteSize, Millis};

use super::*;

fn open(directory: &Path) -> Users {
    Users::open(directory, Arc::new(SystemClock)).unwrap()
}

fn given(password: &str) -> NewPassword {
    NewPassword { password: Some(password.to_owned()), md5: Some(false) }
}

const MADE: NewPassword = NewPassword { password: None, md5: None };
const MADE_MD5: NewPassword = NewPassword { password: None, md5: Some(true) };
const NO_LIMITS: StatementLimits = StatementLimits { scan_max: None, rows_max: None, time_max: None, memory_max: None };

#[test]
fn users_are_there_until_they_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let users = open(directory.path());
    assert!(users.is_empty() && users.list().is_empty());
    let ada = users.create("ada", &MADE, NO_LIMITS).unwrap();
    assert_eq!(ada.made_password.as_ref().map(String::len), Some(24));
    let secret = NewPassword { password: Some("secret".to_owned()), md5: Some(true) };
    let bob = users.create("bob", &secret, NO_LIMITS).unwrap();
    assert!(bob.made_password.is_none() && bob.info.md5 && !ada.info.md5);
    assert_eq!(users.create("ada", &MADE, NO_LIMITS).err().unwrap().kind(), Kind::Exists);
    assert_eq!(users.list(), open(directory.path()).list());
    let again = users.set_password("bob", &given("another")).unwrap();
    assert_eq!((again.info.created_at, again.info.md5), (bob.info.created_at, false));
    assert_eq!(users.set_password("eve", &MADE).err().unwrap().kind(), Kind::NotFound);
    assert_eq!(users.remove("ada").unwrap(), ada.info);
    assert_eq!(users.remove("ada").err().unwrap().kind(), Kind::NotFound);
    assert_eq!(open(directory.path()).list(), [again.info]);
}

#[test]
fn limits_are_kept_until_they_are_changed() {
    let directory = tempfile::tempdir().unwrap();
    let users = open(directory.path());
    let limits = StatementLimits { rows_max: Some(1000), time_max: Some(Millis::seconds(60)), ..NO_LIMITS };
    assert_eq!(users.create("ada", &MADE, limits).unwrap().info.limits, limits);
    users.create("bob", &MADE, NO_LIMITS).unwrap();
    let limits_of = |name: &str| (users.limits_of(name), open(directory.path()).limits_of(name));
    assert_eq!(limits_of("ada"), (limits, limits));
    assert_eq!(limits_of("nobody"), (NO_LIMITS, NO_LIMITS));
    assert_eq!(users.set_password("ada", &MADE).unwrap().info.limits, limits);

    let changes = |json: &str| serde_json::from_str::<LimitChanges>(json).unwrap();
    let changed = users.set_limits("ada", &changes(r#"{"rows_max":null,"scan_max":"10GB"}"#)).unwrap();
    let expected = StatementLimits { rows_max: None, scan_max: Some(ByteSize(10 << 30)), ..limits };
    assert_eq!(changed.limits, expected, "what is not told stays");
    assert_eq!(limits_of("ada"), (expected, expected));
    assert_eq!(users.set_limits("ada", &changes("{}")).unwrap().limits, expected);
    for wrong in [r#"{"rows_max":0}"#, r#"{"memory_max":"1MB"}"#, r#"{"time_max":"0s"}"#] {
        assert_eq!(users.set_limits("ada", &changes(wrong)).err().unwrap().kind(), Kind::Invalid, "{wrong}");
    }
    for wrong in [r#"{"rows":1}"#, r#"{"rows_max":-1}"#, r#"{"rows_max":"1"}"#, r#"{"scan_max":1}"#] {
        assert!(serde_json::from_str::<LimitChanges>(wrong).is_err(), "{wrong}");
    }
    assert_eq!(users.set_limits("eve", &changes("{}")).err().unwrap().kind(), Kind::NotFound);
    let none = StatementLimits { scan_max: Some(ByteSize(0)), ..NO_LIMITS };
    assert_eq!(users.create("eve", &MADE, none).err().unwrap().kind(), Kind::Invalid);
    assert_eq!((limits_of("ada").1, limits_of("bob").1), (expected, NO_LIMITS));
}

#[test]
fn another_password_is_kept_as_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let users = open(directory.path());
    let secret = NewPassword { password: Some("secret".to_owned()), md5: None };
    for (name, first, is_md5) in [("ada", &MADE, false), ("old", &MADE_MD5, true)] {
        users.create(name, first, NO_LIMITS).unwrap();
        assert_eq!(users.set_password(name, &MADE).unwrap().info.md5, is_md5);
        assert_eq!(users.set_password(name, &secret).unwrap().info.md5, is_md5);
    }
    assert!(!users.set_password("old", &given("secret")).unwrap().info.md5, "SCRAM was asked for");
    assert!(users.set_password("old", &MADE_MD5).unwrap().info.md5);
    let verifier = postgres_protocol::password::scram_sha_256(b"secret");
    let verifier = NewPassword { password: Some(verifier), md5: None };
    assert!(users.set_password("ada", &verifier).is_ok());
    let error = users.set_password("old", &verifier).err().unwrap();
    assert_eq!(error.to_string(), "this is the SCRAM verifier of a password: MD5 needs the password itself");
}

#[test]
fn no_password_is_on_disk_and_nobody_else_reads_what_is() {
    let directory = tempfile::tempdir().unwrap();
    let made = open(directory.path()).create("ada", &MADE, NO_LIMITS).unwrap().made_password.unwrap();
    let file = directory.path().join("users.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("SCRAM-SHA-256$4096:") && !text.contains(&made));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_damaged_file_is_told_and_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).create("ada", &MADE, NO_LIMITS).unwrap();
    let file = directory.path().join("users.json");
    let text = fs::read_to_string(&file).unwrap();
    for damaged in [&text[..text.len() / 2], &text.replace("\"ada\"", "\"eve\""), "", "[]"] {
        fs::write(&file, damaged).unwrap();
        let error = Users::open(directory.path(), Arc::new(SystemClock)).err().unwrap();
        assert_eq!(error.kind(), Kind::Corrupt, "{damaged}");
        assert!(!error.chain().to_string().contains("SCRAM"), "{}", error.chain());
    }
    fs::write(&file, text.replace("\"format\": 2", "\"format\": 3")).unwrap();
    assert_eq!(Users::open(directory.path(), Arc::new(SystemClock)).err().unwrap().kind(), Kind::Invalid);
}

#[test]
fn what_is_no_name_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let users = open(directory.path());
    for wrong in ["", ".", "..", "a b", "a/b", "\u{e4}", "a\n", &"x".repeat(64)] {
        assert_eq!(users.create(wrong, &MADE, NO_LIMITS).err().unwrap().kind(), Kind::Invalid, "{wrong}");
    }
    for right in ["lacus", "ada.l@example.com", "A-1_b", &"x".repeat(63)] {
        users.create(right, &given("x"), NO_LIMITS).unwrap();
    }
}

#[test]
fn who_is_not_there_is_asked_as_if_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let users = open(directory.path());
    users.create("ada", &MADE, NO_LIMITS).unwrap();
    let asked = |name: &str| users.known_of(name).0.is_md5();
    let names: Vec<String> = (0..100).map(|number| format!("user{number}")).collect();
    assert!(names.iter().all(|name| !asked(name)));
    users.create("bob", &MADE_MD5, NO_LIMITS).unwrap();
    let by_md5 = names.iter().filter(|name| asked(name)).count();
    assert!((20..80).contains(&by_md5), "{by_md5}");
    assert!(names.iter().all(|name| !users.known_of(name).1) && users.known_of("bob").1);
    assert!(names.iter().all(|name| asked(name) == open(directory.path()).known_of(name).0.is_md5()));
}

#[test]
fn who_is_not_there_has_the_shape_of_one_who_is() {
    let directory = tempfile::tempdir().unwrap();
    let users = open(directory.path());
    let names: Vec<String> = (0..200).map(|number| format!("user{number}")).collect();
    let shapes = || names.iter().map(|name| users.known_of(name).0.shape()).collect::<Vec<Shape>>();
    let ours = Shape::Scram { iterations: 4096, salt_bytes: 16 };
    assert!(shapes().iter().all(|shape| *shape == ours), "without users");
    users.create("old", &MADE_MD5, NO_LIMITS).unwrap();
    assert!(shapes().iter().all(|shape| *shape == Shape::Md5), "all have MD5");
    // As a PostgreSQL with scram_iterations = 10000 stores it, and another server a longer salt.
    let key = "A".repeat(43) + "=";
    let moved = given(&format!("SCRAM-SHA-256$10000:{}=${key}:{key}", "A".repeat(43)));
    users.create("moved", &moved, NO_LIMITS).unwrap();
    let moved = Shape::Scram { iterations: 10_000, salt_bytes: 32 };
    let two = shapes();
    assert!(two.iter().all(|shape| [Shape::Md5, moved].contains(shape)));
    assert!(two.contains(&Shape::Md5) && two.contains(&moved));
    users.create("ada", &MADE, NO_LIMITS).unwrap();
    let three = shapes();
    assert!(three.contains(&ours) && three.contains(&Shape::Md5) && three.contains(&moved));
    assert!(three.iter().zip(&two).all(|(after, before)| after == before || *after == ours), "no name changes in vain");
    users.create("bob", &MADE, NO_LIMITS).unwrap();
    assert_eq!(shapes(), three);
}

/// `tests/formats/` has the users of each format, written by the release that brought it; the old ones stay. The password of
/// both is "secret".
#[test]
fn users_of_each_format_are_known() {
    let directory = tempfile::tempdir().unwrap();
    let stored = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/formats/users-v1"));
    fs::copy(stored.join("users.json"), directory.path().join("users.json")).unwrap();
    let users = open(directory.path());
    let told: Vec<(String, bool)> = users.list().into_iter().map(|user| (user.name, user.md5)).collect();
    assert_eq!(told, [("ada".to_owned(), false), ("old".to_owned(), true)]);
    let (Known::Md5(hash), true) = users.known_of("old") else { panic!("MD5 was asked for") };
    let answer = postgres_protocol::authentication::md5_hash(b"old", b"secret", [1, 2, 3, 4]);
    assert!(hash.is_answered_by(answer.as_bytes(), [1, 2, 3, 4]));
    assert!(users.list().iter().all(|user| user.limits == NO_LIMITS), "there were none then");
    users.create("new", &MADE, NO_LIMITS).unwrap();
    assert_eq!(open(directory.path()).list().len(), 3);

    let directory = tempfile::tempdir().unwrap();
    let stored = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/formats/users-v2"));
    fs::copy(stored.join("users.json"), directory.path().join("users.json")).unwrap();
    let users = open(directory.path());
    let listed = users.list().into_iter();
    let told: Vec<(String, String)> = listed.map(|user| (user.name, user.limits.to_string())).collect();
    let ada = "scan 10GB, rows 1000000, time 1m, memory 256MB";
    assert_eq!(told, [("ada".to_owned(), ada.to_owned()), ("old".to_owned(), String::new())]);
}
