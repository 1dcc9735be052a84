//! Reads the raw zone as anybody could: zstd and JSON lines.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Every event of a stream's raw zone, in no particular order.
pub(crate) fn events(project: &Path, stream: &str) -> Vec<Value> {
    let mut events = Vec::new();
    for file in files(&project.join(".lacus/lake/raw").join(stream)) {
        let bytes = std::fs::read(&file).expect("read a raw file");
        let text = zstd::decode_all(bytes.as_slice()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            events.push(serde_json::from_slice(line).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
        }
    }
    events
}

/// The files below `directory`; each ends in `.json.zst`.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("list the raw zone") {
            let path = entry.expect("list the raw zone").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                assert!(path.to_string_lossy().ends_with(".json.zst"), "{} is no raw file", path.display());
                files.push(path);
            }
        }
    }
    files
}
