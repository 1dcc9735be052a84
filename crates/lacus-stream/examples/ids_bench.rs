//! Judges ids by the million: `ids_bench DIR MILLIONS`. Prints ids per second, bytes on disk and resident memory.

use std::path::Path;
use std::time::Instant;

use lacus_core::{MessageId, Offset, Offsets, Partition, Position, Result, StreamName, Timestamp};
use lacus_stream::{MessageIds, Seen};

const BATCH: u64 = 10_000;

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = arguments.first().map_or("ids-bench", String::as_str);
    let millions: u64 = arguments.get(1).and_then(|count| count.parse().ok()).unwrap_or(1);
    let (ids, stream) = (MessageIds::open(Path::new(directory))?, StreamName::new("bench")?);
    for million in 0..millions {
        let begun = Instant::now();
        let mut duplicates = 0;
        for batch in 0..1_000_000 / BATCH {
            let first = million * 1_000_000 + batch * BATCH;
            let records: Vec<Seen> = (first..first + BATCH).map(seen).collect();
            let none = Offsets::default();
            let verdicts = ids.judge(&stream, &records, &none, &none, &none)?;
            duplicates += verdicts.into_iter().flatten().filter(|is_duplicate| *is_duplicate).count();
        }
        let seconds = begun.elapsed().as_secs_f64();
        let (disk, memory) = (ids.disk_bytes() >> 20, resident_mib());
        println!(
            "{:>3} M ids: {:>8.0} ids/s, {disk} MiB on disk, {memory} MiB resident, {duplicates} duplicates",
            million + 1,
            1e6 / seconds
        );
    }
    Ok(())
}

/// As far from order as digests are.
fn seen(number: u64) -> Seen {
    let mut mixed = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    mixed ^= mixed >> 61;
    let id = MessageId(mixed.wrapping_mul(0xd6e8_feb8_6659_fd93_a5a3_5645_1c2d_7b1b));
    let position = Position { partition: Partition(0), offset: Offset(number) };
    Seen { id, position, received_at: Timestamp::from_micros(0) }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) >> 10
}
