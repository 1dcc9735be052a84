//! Keeping tables in shape: small files are merged in the background.
//!
//! One merge at a time, of one table after the other, and no more than half of the time: after each comes a pause as long as it
//! took. While deliveries need memory and time themselves, only tables with many small files get their turn. When all files
//! together are so many that they take memory, too, neither is waited for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lacus_core::TableName;
use lacus_lake::{FileSizes, Table};
use tokio::time::{Instant, sleep};

use crate::Deliveries;

/// How often we look for small files.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The fewest small files that are merged.
const FILES_MIN: usize = 8;
/// The same while deliveries hold half of the memory they may.
const FILES_MIN_BUSY: usize = 64;
/// With so many live files in the lake, what is known of them takes some 30 MB, as much as the rows that wait for a commit: then
/// they do not wait, and there is no pause.
const FILES_MANY: usize = 16_384;
/// A table whose files could not be merged is left alone for so long.
const RETRY_AFTER: Duration = Duration::from_secs(600);

impl Deliveries {
    /// Merges small files of all tables, until the deliveries stop.
    pub(crate) async fn merge_small_files(self) {
        let mut failed: HashMap<TableName, Instant> = HashMap::new();
        while self.0.cancel.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            while self.merge_in_turn(&mut failed).await {}
        }
    }

    /// Does one merge of each table that needs any, with pauses, and says whether there was one. A table that gets
    /// files faster than they are merged does not keep the others waiting.
    pub(crate) async fn merge_in_turn(&self, failed: &mut HashMap<TableName, Instant>) -> bool {
        failed.retain(|_, since| since.elapsed() < RETRY_AFTER);
        let mut has_merged = false;
        for table in self.0.lake.tables() {
            if failed.contains_key(table.name()) {
                continue;
            }
            match self.merge_some_of(&table).await {
                Ok(None) => {}
                Ok(Some(took)) => {
                    has_merged = true;
                    if self.live_files() < FILES_MANY {
                        self.0.cancel.run_until_cancelled(sleep(took)).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(table = %table.name(), error = %error.chain(), "could not merge small files; queries go on with them");
                    failed.insert(table.name().clone(), Instant::now());
                }
            }
        }
        has_merged
    }

    /// Merges the small files that there are now. It is done in the background, too, with pauses.
    ///
    /// # Errors
    /// What kept the files of a table from being merged.
    pub async fn merge_now(&self) -> lacus_core::Result<()> {
        for table in self.0.lake.tables() {
            while self.merge_some_of(&table).await?.is_some() {}
        }
        Ok(())
    }

    /// Does one merge, and says how long it took; none if there is nothing to merge, or no time.
    async fn merge_some_of(&self, table: &Arc<Table>) -> lacus_core::Result<Option<Duration>> {
        if self.0.cancel.is_cancelled() {
            return Ok(None);
        }
        let files_min = files_min(self.0.budget.is_half_used(), self.live_files());
        let sizes = FileSizes { target_bytes: self.0.settings.file_bytes.0, files_min };
        let begun = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let merging = self.0.lake.compact(table, sizes, Arc::clone(&stop));
        let mut merging = std::pin::pin!(merging);
        let merged = tokio::select! {
            merged = &mut merging => merged,
            () = self.0.cancel.cancelled() => {
                stop.store(true, Ordering::Relaxed);
                merging.await
            }
        };
        let Some(report) = merged? else { return Ok(None) };
        tracing::info!(
            table = %table.name(),
            files = report.files,
            rows = report.rows,
            bytes_before = report.bytes_before,
            bytes = report.bytes_after,
            "merged small files"
        );
        Ok(Some(begun.elapsed()))
    }

    /// The live files of all tables.
    fn live_files(&self) -> usize {
        self.0.lake.tables().iter().map(|table| table.state().files.len()).sum()
    }
}

/// The fewest small files that are merged now.
fn files_min(is_busy: bool, live_files: usize) -> usize {
    if is_busy && live_files < FILES_MANY { FILES_MIN_BUSY } else { FILES_MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_wait_for_quiet_times_unless_they_are_many() {
        assert_eq!(files_min(false, 0), FILES_MIN);
        assert_eq!(files_min(true, FILES_MANY - 1), FILES_MIN_BUSY);
        assert_eq!(files_min(true, FILES_MANY), FILES_MIN);
    }
}
