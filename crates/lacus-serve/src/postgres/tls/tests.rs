//! Certificates that openssl makes, and files that are none.

use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use super::*;

/// Makes a key and its certificate: `name.key`, `name.crt`.
fn make(directory: &TempDir, name: &str, key: &[&str]) {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(directory).args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]).args(key);
    openssl.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
    let made = openssl.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

const P256: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

fn open(directory: &TempDir, certificate: &str, key: &str) -> Result<Tls> {
    Tls::open(directory.path().join(certificate), directory.path().join(key))
}

#[test]
fn each_usual_kind_of_certificate_is_taken_and_can_be_bound_to() {
    let directory = tempfile::tempdir().unwrap();
    for (name, key, hash_bytes) in [
        ("p256", &P256[..], Some(32)),
        ("p384", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha384"], Some(48)),
        ("rsa", &["-newkey", "rsa:2048", "-sha256"], Some(32)),
        ("rsa512", &["-newkey", "rsa:2048", "-sha512"], Some(64)),
        ("ed25519", &["-newkey", "ed25519"], None),
    ] {
        make(&directory, name, key);
        let tls = open(&directory, &format!("{name}.crt"), &format!("{name}.key"))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(tls.current().endpoint.as_ref().map(Vec::len), hash_bytes, "{name}");
    }
}

#[test]
fn what_is_no_certificate_is_told() {
    let directory = tempfile::tempdir().unwrap();
    make(&directory, "one", &P256);
    make(&directory, "other", &P256);
    fs::write(directory.path().join("empty"), "").unwrap();
    fs::set_permissions(directory.path().join("empty"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(directory.path().join("one.key"), directory.path().join("open.key")).unwrap();
    fs::set_permissions(directory.path().join("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
    for (certificate, key, expected) in [
        ("one.crt", "other.key", "the private key DIR/other.key is not that of the certificate DIR/one.crt"),
        ("none.crt", "one.key", "can't read the certificate DIR/none.crt: No such file or directory (os error 2)"),
        ("one.crt", "none.key", "can't read the private key DIR/none.key: No such file or directory (os error 2)"),
        ("empty", "one.key", "there is no certificate in DIR/empty"),
        ("one.key", "one.key", "there is no certificate in DIR/one.key"),
        ("one.crt", "empty", "there is no private key in DIR/empty"),
        ("one.crt", "open.key", "everybody on this machine can read the private key DIR/open.key"),
    ] {
        let error =
            open(&directory, certificate, key).err().unwrap_or_else(|| panic!("{certificate} {key} were taken"));
        assert_eq!(error.to_string().replace(&directory.path().display().to_string(), "DIR"), expected);
    }
}

#[test]
fn a_new_certificate_is_taken_and_a_wrong_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    make(&directory, "one", &P256);
    make(&directory, "two", &P256);
    let tls = open(&directory, "one.crt", "one.key").unwrap();
    let endpoint = || tls.current().endpoint.clone().unwrap();
    let first = endpoint();
    assert!(tls.look(None).is_none() && endpoint() == first);
    // Renewed in two steps: in between they don't fit.
    let replace = |from: &str, to: &str| fs::rename(directory.path().join(from), directory.path().join(to)).unwrap();
    replace("two.crt", "one.crt");
    let refused = tls.look(None);
    assert!(refused.is_some() && endpoint() == first);
    assert_eq!(tls.look(refused), refused, "it is told once");
    replace("two.key", "one.key");
    assert!(tls.look(refused).is_none() && endpoint() != first);
    let second = endpoint();
    fs::remove_file(directory.path().join("one.crt")).unwrap();
    assert!(tls.look(None).is_some() && endpoint() == second);
}

#[test]
fn a_key_is_taken_when_only_who_may_read_it_was_mended() {
    let directory = tempfile::tempdir().unwrap();
    make(&directory, "one", &P256);
    make(&directory, "two", &P256);
    let tls = open(&directory, "one.crt", "one.key").unwrap();
    let first = tls.current().endpoint.clone();
    let key = directory.path().join("one.key");
    for kind in ["crt", "key"] {
        let path = |name: &str| directory.path().join(format!("{name}.{kind}"));
        fs::rename(path("two"), path("one")).unwrap();
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = tls.look(None);
    assert!(refused.is_some() && tls.current().endpoint == first);
    let deadline = Instant::now() + Duration::from_secs(10);
    // Files have a clock of some milliseconds: the first change may be within the same one.
    while tls.look(refused).is_some() {
        assert!(Instant::now() < deadline, "the key is not looked at again");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert!(tls.current().endpoint != first);
}

#[test]
fn what_is_no_der_has_no_endpoint() {
    for wrong in
        [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0], &[0x30, 0x80], &[0x30, 0x89, 1], &[0x30, 2, 1, 1]]
    {
        assert_eq!(endpoint(wrong), None);
    }
}
