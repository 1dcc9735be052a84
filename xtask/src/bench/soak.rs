//! Five minutes of steady load: what grows, and what must not.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::Bench;
use super::events::requests;
use super::load::{self, Load, Wire};
use super::process::{cpu_seconds, open_files, peak_mb, program_mb, resident_mb};
use super::report::{Report, grouped, row};
use super::storage::files;

/// Events per second, in single requests and in batches at once.
const SINGLE_RATE: u64 = 5_000;
const BATCH_RATE: u64 = 45_000;
const BATCH: u64 = 100;

const SECONDS: f64 = 300.0;

/// Looks at the server, evenly spread.
const LOOKS: u32 = 10;

/// Small segments and short retention, so that within minutes the log is cleaned many times.
const SETTINGS: &str = r#"
[stream]
segment_bytes_max = "16MB"
retention = "60s"

[delivery]
commit_after = "10s"

[sources.clicks]
id = "click_id"
"#;

pub(super) fn measure(bench: &Bench, report: &mut Report) {
    report.section(
        "Steady load",
        "50 000 events/s for five minutes: 45 000 in batches of 100, 5 000 alone; each has an id of its own, by which duplicates would be left out. One server with \
         16 MB segments, a minute of retention and a commit every 10 s. Each line is half a minute. `program`: resident pages of the program's own file, \
         which the system takes back when it needs room. Open files: the index of ids keeps up to 64 of its own open, and has one more for each 200 000 \
         ids or so until they are a day old. Files: of the log, which retention holds \
         down, and of the lake, which grows with what is stored.",
    );
    let project = bench.project(SETTINGS);
    let server = project.start();
    let mut table = vec![row([
        "until",
        "events/s",
        "ack p50",
        "ack p99",
        "memory",
        "most so far",
        "of it program",
        "cores busy",
        "open files",
        "log files",
        "lake files",
    ])];
    let step = Duration::from_secs_f64(bench.time(SECONDS).as_secs_f64() / f64::from(LOOKS));
    let ids = Arc::new(AtomicU64::new(0));
    let (mut memory, mut p99s) = (Vec::new(), Vec::new());
    for look in 1..=LOOKS {
        let load = |batch: u64, rate: u64, connections: usize| Load {
            address: server.http_address(),
            wire: Wire::Http,
            connections,
            requests: requests(u64::from(look) * 1_000_000, 500, batch).into(),
            events_per_request: batch,
            time: step,
            once: false,
            rate: Some(rate),
            ids: Some(Arc::clone(&ids)),
        };
        let (batches, singles) = (load(BATCH, BATCH_RATE, 16), load(1, SINGLE_RATE, 48));
        let cpu_before = cpu_seconds(server.pid());
        let (batches, singles) =
            bench.runtime.block_on(async { tokio::join!(load::run(&batches), load::run(&singles)) });
        let (batches, singles) = (batches.expect("steady load"), singles.expect("steady load"));
        let count = |folder: &str| files(&project.directory().join(".lacus").join(folder)).len();
        memory.push(resident_mb(server.pid()));
        p99s.push(singles.ack_p99_ms);
        table.push(vec![
            format!("{:.0} s", step.as_secs_f64() * f64::from(look)),
            grouped(batches.events_per_second() + singles.events_per_second()),
            format!("{:.2} ms", singles.ack_p50_ms),
            format!("{:.2} ms", singles.ack_p99_ms),
            format!("{:.0} MB", resident_mb(server.pid())),
            format!("{:.0} MB", peak_mb(server.pid())),
            format!("{:.0} MB", program_mb(server.pid())),
            format!("{:.2}", (cpu_seconds(server.pid()) - cpu_before) / step.as_secs_f64()),
            open_files(server.pid()).to_string(),
            count("stream/segments").to_string(),
            count("lake").to_string(),
        ]);
    }
    report.table(&table);
    report.figure("soak_memory_first_mb", memory[1]);
    report.figure("soak_memory_last_mb", memory[memory.len() - 1]);
    report.figure("soak_memory_peak_mb", peak_mb(server.pid()));
    report.figure("soak_program_mb", program_mb(server.pid()));
    report.figure("soak_p99_first_ms", p99s[1]);
    report.figure("soak_p99_last_ms", p99s[p99s.len() - 1]);
    assert!(server.stop().success(), "a clean stop");
}
