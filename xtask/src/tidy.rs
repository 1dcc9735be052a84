//! The shape of the tree, checked: what a reviewer should not have to look for.
//!
//! Layering of crates, one version of the big libraries, a header on every file, lengths of files and functions, no
//! notes to self, no path of somebody's machine. Each check returns problems as lines a person can act on. To see a
//! check fail, break its rule: none of them has exceptions but the lists below.

mod layers;
mod sources;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything that is not tidy, one line each.
pub(crate) fn problems() -> Vec<String> {
    let root = root();
    let mut problems = layers::problems(&root);
    problems.extend(sources::problems(&root));
    problems
}

/// The top of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask is a directory of the workspace").to_owned()
}

/// What a command prints.
fn output(root: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root).output();
    let output = output.unwrap_or_else(|error| panic!("run {program}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {complaint}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        let problems = super::problems();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}
