//! What SQL answers, and what the reference says of it: `tests/slt` and `docs/reference/functions.md`.
//!
//! `BLESS=1` writes the reference anew, and the answers of the SQL files: read the difference.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "functions/reference.rs"]
mod reference;
#[path = "functions/slt.rs"]
mod slt;

use std::path::{Path, PathBuf};

/// The top of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the crate is two directories below the top").to_owned()
}

fn is_blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}
