//! Certificates that a test makes for itself, with openssl.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::timed::run_for;

/// The longest that one may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes `ca.crt` with `ca.key`, and `server.crt` with `server.key` signed by it: for `localhost` and 127.0.0.1.
///
/// # Panics
/// If the directory can't be written, or there is no openssl.
pub fn make_certificates(directory: &Path) {
    std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1").expect("write");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for arguments in [
        format!("req -x509 {key} -days 2 -subj /CN=ca -keyout ca.key -out ca.crt"),
        format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"),
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt"
            .to_owned(),
    ] {
        let mut openssl = Command::new("openssl");
        let made = run_for(openssl.current_dir(directory).args(arguments.split(' ')), PATIENCE);
        assert!(made.succeeded(), "openssl {arguments}: {}", made.stderr);
    }
}
