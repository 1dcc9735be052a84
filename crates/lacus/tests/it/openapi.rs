//! The server does what docs/reference/openapi.json says: schemathesis makes requests of it, right and wrong ones.
//!
//! Its settings, and what it does not check, are in `tests/clients/openapi.toml`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lacus_testkit::environment::{prove, python, seed};
use lacus_testkit::{Project, run_for};
use serde_json::Value;

/// A source that takes webhooks; the tool can't sign them.
const SETTINGS: &str = r#"
[sources.hooks.webhook]
secret = "a secret"
header = "x-signature"
"#;
/// What requests the tool makes every day. `make prove` looks for others: what it finds is not the last change's fault.
const DAILY_SEED: u64 = 1;
/// The longest the tool may take.
const TIME_MAX: Duration = Duration::from_secs(280);

#[test]
#[expect(clippy::print_stdout, reason = "a seed repeats what failed")]
fn every_operation_answers_as_its_description_says() {
    let project = Project::new(env!("CARGO_BIN_EXE_lacus"), SETTINGS);
    let write_key = |source: &str| -> String {
        let made = project.run(&["key", "create", "--json", "--source", source]);
        let key: Value = serde_json::from_str(&made.stdout).unwrap_or_else(|error| panic!("{error}: {}", made.stderr));
        key["write_key"].as_str().expect("a new key tells its secret").to_owned()
    };
    let (segment_key, delivery_key) = (write_key("segment"), write_key("deliveries"));
    let server = project.start();
    let url = format!("http://{}", server.http_address());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let seed = if prove() { seed() % (1 << 32) } else { DAILY_SEED };
    println!("seed {seed}");
    let mut command = Command::new(python().with_file_name("schemathesis"));
    command.arg("--config-file").arg(root.join("tests/clients/openapi.toml")).args([
        "run",
        "--url",
        &url,
        "--no-color",
    ]);
    command.args(["--seed", &seed.to_string(), "--max-examples", if prove() { "100" } else { "25" }]);
    command.arg(root.join("docs/reference/openapi.json")).current_dir(project.directory());
    command.env("WRITE_KEY", segment_key).env("DELIVERY_KEY", delivery_key);
    command.env("HOOKS", root.join("tests/clients/openapi_hooks.py"));
    let finished = run_for(&mut command, TIME_MAX);
    println!("{}", finished.stdout);
    assert!(finished.succeeded(), "{}", finished.stderr);
    assert_eq!(server.http().get("/livez").expect("an answer").status, 200);
    assert!(server.stop().success());
}
