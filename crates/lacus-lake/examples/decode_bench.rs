//! How fast one thread turns JSON events into rows: `cargo run --release -p lacus-lake --example decode_bench`.
//!
//! Clickstream events of about 400 bytes with a nested object, 200,000 of them in batches of 10,000. Times are CPU
//! times of the thread, so that a busy machine does not change them much.
#![expect(clippy::print_stdout, reason = "it is a program for a terminal")]

use std::time::Duration;

use bytes::Bytes;
use lacus_core::{Error, Offset, Partition, Position, Record, Result, Timestamp};
use lacus_lake::TableSchema;
use lacus_lake::decode::decode;

const EVENTS: u64 = 200_000;
const BATCH: usize = 10_000;
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let records: Vec<Record> = (0..EVENTS).map(record).collect();
    let bytes: usize = records.iter().map(|record| record.value.len()).sum();
    println!("{EVENTS} events, {} bytes each", bytes / records.len());
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        best = best.min(decode_all(&records)?);
    }
    let seconds = best.as_secs_f64();
    println!(
        "{:.0} events/s, {:.0} MB/CPU-s (best of {ROUNDS})",
        EVENTS as f64 / seconds,
        bytes as f64 / 1e6 / seconds
    );
    Ok(())
}

fn decode_all(records: &[Record]) -> Result<Duration> {
    let mut schema = TableSchema::empty();
    let start = cpu_time()?;
    for batch in records.chunks(BATCH) {
        let decoded = decode(batch, &schema)?;
        assert_eq!((decoded.rows.num_rows(), decoded.rejected.len()), (batch.len(), 0));
        schema = decoded.schema;
    }
    Ok(cpu_time()?.saturating_sub(start))
}

fn record(index: u64) -> Record {
    // A number that looks random and is the same in every run.
    let random = (index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let name = ["Search", "ViewContent", "AddToCart", "Purchase"][(random >> 62) as usize];
    let second = index % 60;
    let value = format!(
        r#"{{"timestamp": "2021-07-12 12:01:{second:02}.{micros:06}", "user_id": "{user}", "pixel_id": "wjgao4w1oi", "click_id": "{random:016x}{index:016x}", "insertion_timestamp": "2021-07-12 12:01:{second:02}.{later:06}", "event_name": "{name}", "user_ip": "111.33.{user}.{ip}", "additional_data": {{"time_on_data": {time}, "percent_viewed": {viewed:.1}, "product_id": {product}, "price": {price:.2}}}}}"#,
        micros = random % 999_000,
        later = random % 999_000 + 28,
        user = random % 200,
        ip = random % 255,
        time = random % 300,
        viewed = (random % 1_000) as f64 / 10.0,
        product = random % 1_000_000,
        price = (random % 100_000) as f64 / 100.0,
    );
    Record {
        position: Position { partition: Partition(0), offset: Offset(index) },
        received_at: Timestamp::from_micros(index.cast_signed()),
        key: None,
        id: None,
        value: Bytes::from(value),
    }
}

/// CPU time of this thread so far.
fn cpu_time() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_ascii_whitespace().next().and_then(|nanos| nanos.parse().ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| Error::internal("read the CPU time of this thread"))
}
