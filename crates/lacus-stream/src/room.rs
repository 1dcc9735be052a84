//! Room on the disk: the log leaves some to the lake.
//!
//! A log that fills the disk to its last byte could never be freed: what frees it is the commit of its records to tables,
//! which needs room for their files. So appends are refused while less than the reserve is free.

use std::io;
use std::path::PathBuf;

use lacus_core::Timestamp;
use lacus_core::units::{ByteSize, human_bytes};

/// Free space is looked up this often, and whenever the writes since then may have used it up.
const LOOK_EVERY_MS: u64 = 250;

/// The free space of the log's disk, as of a moment ago.
pub(crate) struct Room {
    directory: PathBuf,
    reserve: u64,
    looked_at: Option<Timestamp>,
    /// The free bytes then.
    free: u64,
    /// Bytes written since then.
    written: u64,
}

impl Room {
    pub(crate) fn new(directory: PathBuf, reserve: ByteSize) -> Self {
        Self { directory, reserve: reserve.0, looked_at: None, free: 0, written: 0 }
    }

    /// Refuses to write `bytes` if less than the reserve would be free after it.
    pub(crate) fn check(&mut self, now: Timestamp, bytes: u64) -> io::Result<()> {
        if self.reserve == 0 {
            return Ok(());
        }
        let is_fresh = self.looked_at.is_some_and(|at| now >= at && now.millis_since(at) < LOOK_EVERY_MS);
        if !is_fresh || (self.written > 0 && !self.has(bytes)) {
            let disk = rustix::fs::statvfs(&self.directory)?;
            self.free = disk.f_bavail.saturating_mul(disk.f_frsize);
            self.looked_at = Some(now);
            self.written = 0;
        }
        if self.has(bytes) {
            self.written += bytes;
            return Ok(());
        }
        let (free, reserve) = (human_bytes(self.free), human_bytes(self.reserve));
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("the disk has {free} free, and stream.disk_reserve leaves {reserve} to the lake"),
        ))
    }

    fn has(&self, bytes: u64) -> bool {
        self.free.saturating_sub(self.written).saturating_sub(bytes) >= self.reserve
    }
}
