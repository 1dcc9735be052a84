//! The durable partitioned log. It knows no schema.
//!
//! [`Log::append`] answers when the bytes are on disk, and only then. A reader sees a record only after that.

use std::path::Path;
use std::sync::Arc;

use lacus_core::{Clock, NewRecord, Offset, Offsets, Partition, Position, Record, Result, StreamName, settings};
use tokio::sync::watch;

/// A log of streams in one directory. Cheap to clone.
#[derive(Clone)]
pub struct Log {}

/// A stream as it is now.
#[derive(Debug, Clone)]
pub struct StreamInfo {
    /// Its name.
    pub name: StreamName,
    /// How many partitions it has, numbered from zero.
    pub partitions: u32,
    /// The first record still there, by partition.
    pub start: Offsets,
    /// The next record to come, by partition: everything before it is on disk.
    pub end: Offsets,
}

#[expect(clippy::todo, clippy::unused_async, clippy::needless_pass_by_value, reason = "skeleton")]
impl Log {
    /// Opens the log in `directory`, makes it if it is new, repairs a torn tail.
    ///
    /// # Errors
    /// If the directory can't be used, or bytes before the tail are corrupt.
    pub fn open(directory: &Path, settings: &settings::Stream, clock: Arc<dyn Clock>) -> Result<Self> {
        let _ = (directory, settings, clock);
        todo!()
    }

    /// Makes a stream, durably; the one that exists is returned as it is.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn create_stream(&self, name: &StreamName, partitions: u32) -> Result<StreamInfo> {
        let _ = (name, partitions);
        todo!()
    }

    /// The stream of this name.
    #[must_use]
    pub fn stream(&self, name: &StreamName) -> Option<StreamInfo> {
        let _ = name;
        todo!()
    }

    /// All streams, by name.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamInfo> {
        todo!()
    }

    /// Appends records and answers, once they are on disk, where each one is.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream, `Limited` when too many bytes wait for the disk, `Unavailable` when the disk
    /// refuses: then nothing is acknowledged and the sender should retry.
    pub async fn append(&self, stream: &StreamName, records: Vec<NewRecord>) -> Result<Vec<Position>> {
        let _ = (stream, records);
        todo!()
    }

    /// Reads records of one partition in order, from `from` on: about `bytes_max` bytes, one record at least if there
    /// is one. Empty when there is none yet.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream or offsets that retention removed, `Corrupt` for bytes that fail their checksum.
    pub fn read(
        &self,
        stream: &StreamName,
        partition: Partition,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<Record>> {
        let _ = (stream, partition, from, bytes_max);
        todo!()
    }

    /// Changes whenever more records became readable or a stream was made.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        todo!()
    }

    /// Removes whole log files that are older than the retention and whose records all lie before `delivered`.
    /// Returns the bytes freed.
    ///
    /// # Errors
    /// If a file can't be removed.
    pub fn retain(&self, delivered: &dyn Fn(&StreamName) -> Offsets) -> Result<u64> {
        let _ = delivered;
        todo!()
    }

    /// Writes what is waiting, and ends the writer. Appends after it are refused.
    ///
    /// # Errors
    /// If the last write fails.
    pub async fn close(&self) -> Result<()> {
        todo!()
    }
}
