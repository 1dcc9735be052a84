//! What the figures were measured on.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Instant;

use super::process::median_ms;

/// Bytes of an event, as the disk is tried with.
const APPENDED: usize = 350;

/// Facts for the head of the report.
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) processor: String,
    pub(super) kernel: String,
    pub(super) memory_gb: f64,
    /// Median of appending [`APPENDED`] bytes and syncing them.
    pub(super) fdatasync_ms: f64,
    /// 99 of 100 took less.
    pub(super) fdatasync_p99_ms: f64,
}

impl Machine {
    /// Looks around. The disk is tried in `directory`.
    pub(super) fn look(directory: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let (fdatasync_ms, fdatasync_p99_ms) = fdatasync_ms(directory);
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        Self {
            cores: available_parallelism().map_or(1, usize::from),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            kernel: read("/proc/sys/kernel/osrelease").split('-').next().unwrap_or_default().trim().to_owned(),
            memory_gb: memory.trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / f64::from(1 << 20),
            fdatasync_ms,
            fdatasync_p99_ms,
        }
    }
}

/// Median and p99.
fn fdatasync_ms(directory: &Path) -> (f64, f64) {
    let mut file = File::create(directory.join("fdatasync")).expect("make a file");
    let mut times = Vec::new();
    for _ in 0..2_000 {
        let started = Instant::now();
        file.write_all(&[7; APPENDED]).expect("write a file");
        file.sync_data().expect("sync a file");
        times.push(started.elapsed());
    }
    let median = median_ms(&mut times);
    (median, times[times.len() * 99 / 100].as_secs_f64() * 1000.0)
}
