//! The raw zone: every event as it came, NDJSON, zstd, by hour. (skeleton)

use bytes::Bytes;
use lacus_core::clock::Hour;
use lacus_core::{Record, Result};

/// Compresses records into one file per hour of arrival, as they come.
#[derive(Default)]
pub struct RawWriter {}

/// One finished file of the raw zone.
#[derive(Debug, Clone)]
pub struct RawFile {
    /// The UTC hour its records arrived in.
    pub hour: Hour,
    /// Compressed NDJSON.
    pub bytes: Bytes,
    /// How many records it has.
    pub records: u64,
}

#[expect(clippy::todo, clippy::needless_pass_by_ref_mut, reason = "skeleton")]
impl RawWriter {
    /// Adds a record: its JSON object on one line, with `_received_at`, `_partition` and `_offset` appended to it.
    ///
    /// # Errors
    /// If the compressor fails.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        let _ = record;
        todo!()
    }

    /// Ends the files and starts anew.
    ///
    /// # Errors
    /// If the compressor fails.
    pub fn finish(&mut self) -> Result<Vec<RawFile>> {
        todo!()
    }
}
