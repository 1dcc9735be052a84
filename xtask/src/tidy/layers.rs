//! Which crate may reach which: the picture in ARCHITECTURE.md, as a table.
//!
//! The edges are read from `cargo metadata`, the libraries below each crate from `cargo tree`: what is in neither can't
//! be used, however the code is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::output;

/// Each crate of ours, and those of ours that its product code may use. Tests may use `lacus-testkit` too.
const LAYERS: [(&str, &[&str]); 11] = [
    ("lacus-core", &[]),
    ("lacus-stream", &["lacus-core"]),
    ("lacus-collect", &["lacus-core", "lacus-stream"]),
    ("lacus-lake", &["lacus-core"]),
    ("trino-functions", &[]),
    ("lacus-query", &["lacus-core", "lacus-lake", "trino-functions"]),
    ("lacus-flow", &["lacus-core", "lacus-stream", "lacus-lake"]),
    ("lacus-serve", &["lacus-core", "lacus-stream", "lacus-lake", "lacus-query", "lacus-flow"]),
    (
        "lacus",
        &["lacus-core", "lacus-stream", "lacus-collect", "lacus-lake", "lacus-query", "lacus-flow", "lacus-serve"],
    ),
    ("lacus-testkit", &[]),
    // The bench fills logs.
    ("xtask", &["lacus-core", "lacus-stream", "lacus-testkit"]),
];

/// Crates that build without these libraries, at any depth: that keeps the edit loop short where data can be lost.
const ABSENT: [(&str, &[&str]); 5] = [
    ("lacus-core", &["arrow", "parquet", "datafusion", "iceberg", "object_store", "tokio", "axum", "rusqlite"]),
    ("lacus-stream", &["arrow", "parquet", "datafusion", "iceberg", "object_store", "axum", "jiter"]),
    ("lacus-collect", &["arrow", "parquet", "datafusion", "iceberg", "object_store", "rusqlite"]),
    ("lacus-lake", &["datafusion", "axum", "pgwire"]),
    ("lacus-query", &["axum"]),
];

/// Libraries of which there is one version, because their types meet.
const SINGLE: [&str; 6] = ["arrow", "parquet", "datafusion", "iceberg", "object_store", "sqlparser"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

pub(super) fn problems(root: &Path) -> Vec<String> {
    let metadata = output(root, "cargo", &["metadata", "--no-deps", "--locked", "--format-version", "1"]);
    let metadata: Metadata = serde_json::from_str(&metadata).expect("cargo writes JSON");
    let mut problems = edges(&metadata.packages);
    for (package, absent) in ABSENT {
        let tree = ["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--locked"];
        problems.extend(reached(package, absent, &output(root, "cargo", &tree)));
    }
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).expect("read Cargo.lock");
    problems.extend(versions(&lock));
    problems
}

fn edges(packages: &[Package]) -> Vec<String> {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.into_iter().collect();
    let mut problems = Vec::new();
    for package in packages {
        let Some(&allowed) = layers.get(package.name.as_str()) else {
            problems.push(format!("crate {} has no place in the layers (xtask/src/tidy/layers.rs)", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let name = dependency.name.as_str();
            let is_testkit = name == "lacus-testkit" && dependency.kind.as_deref() == Some("dev");
            if !is_testkit && !allowed.contains(&name) {
                problems.push(format!("crate {} reaches {name}: ARCHITECTURE.md has no such edge", package.name));
            }
        }
    }
    problems
}

fn reached(package: &str, absent: &[&str], tree: &str) -> Vec<String> {
    let below: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let family = |name: &str, of: &str| name == of || name.strip_prefix(of).is_some_and(|rest| rest.starts_with('-'));
    let found = below.iter().filter(|name| absent.iter().any(|library| family(name, library)));
    found.map(|name| format!("crate {package} builds {name}: it must do without")).collect()
}

fn versions(lock: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
    }
    let lock: Lock = toml::from_str(lock).expect("cargo writes TOML");
    let mut problems = Vec::new();
    for name in SINGLE {
        let versions: Vec<&str> =
            lock.package.iter().filter(|locked| locked.name == name).map(|locked| locked.version.as_str()).collect();
        if versions.len() > 1 {
            problems.push(format!("{name} is there in versions {}: there may be one", versions.join(" and ")));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependency: &str, kind: Option<&str>) -> Package {
        let kind = kind.map(str::to_owned);
        let dependency = Dependency { name: dependency.to_owned(), kind, path: Some("crates".to_owned()) };
        Package { name: name.to_owned(), dependencies: vec![dependency] }
    }

    #[test]
    fn a_crate_that_reaches_to_its_right_is_found() {
        assert_eq!(edges(&[package("lacus-flow", "lacus-lake", None)]), [""; 0]);
        assert_eq!(edges(&[package("lacus-lake", "lacus-testkit", Some("dev"))]), [""; 0]);
        assert_eq!(
            edges(&[package("lacus-stream", "lacus-lake", None)]),
            ["crate lacus-stream reaches lacus-lake: ARCHITECTURE.md has no such edge"]
        );
        assert_eq!(edges(&[package("lacus-lake", "lacus-testkit", None)]).len(), 1);
        assert_eq!(edges(&[package("lacus-more", "lacus-core", None)]).len(), 1);
    }

    #[test]
    fn a_library_that_comes_in_by_the_back_door_is_found() {
        let tree = "lacus-lake v0.1.0 (/somewhere)\narrow v58.4.0\ndatafusion-common v54.1.0\n";
        assert_eq!(
            reached("lacus-lake", &["datafusion"], tree),
            ["crate lacus-lake builds datafusion-common: it must do without"]
        );
    }

    #[test]
    fn a_second_version_is_found() {
        let locked = |version| format!("[[package]]\nname = \"arrow\"\nversion = \"{version}\"\n");
        assert_eq!(versions(&locked("58.4.0")), [""; 0]);
        assert_eq!(
            versions(&(locked("58.4.0") + &locked("59.0.0"))),
            ["arrow is there in versions 58.4.0 and 59.0.0: there may be one"]
        );
    }
}
