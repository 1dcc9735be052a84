//! Compiles the shim that stands between a program and the disk, once per version of its source.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: [(&str, &str); 3] = [
    ("faults.c", include_str!("../shim/faults.c")),
    ("power.c", include_str!("../shim/power.c")),
    ("power.h", include_str!("../shim/power.h")),
];

/// The compiled shim, beside the test programs in the target directory.
pub(crate) fn shim() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    SOURCES.hash(&mut hasher);
    let program = std::env::current_exe().expect("a test knows its own path");
    let directory = program.parent().expect("a file has a parent");
    let library = directory.join(format!("lacus-faults-{:016x}.so", hasher.finish()));
    if !library.try_exists().expect("the target directory can be read") {
        compile(&library);
    }
    library
}

fn compile(library: &Path) {
    let workshop = tempfile::tempdir_in(library.parent().expect("it has a directory")).expect("make a directory");
    for (name, source) in SOURCES {
        std::fs::write(workshop.path().join(name), source).expect("write the shim's source");
    }
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", "shim.so", "faults.c", "power.c"])
        .args(["-lpthread", "-ldl"])
        .current_dir(workshop.path())
        .output()
        .expect("run cc: the fault loop needs a C compiler");
    assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    // Other tests may compile it too at this moment: whoever renames last wins, and all are the same.
    std::fs::rename(workshop.path().join("shim.so"), library).expect("put the shim in its place");
}
