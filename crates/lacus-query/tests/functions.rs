//! What the reference says of functions: `docs/reference/functions.md`. `BLESS=1` writes it anew.
//!
//! What they answer is in `tests/slt`, asked over the Postgres wire by the tests of the binary.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "functions/reference.rs"]
mod reference;

use std::path::{Path, PathBuf};

/// The top of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the crate is two directories below the top").to_owned()
}

fn is_blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}
