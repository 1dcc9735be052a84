//! `lacus table …`: acts on one table.

use lacus_core::units::{human_bytes, human_count};
use lacus_core::{Error, Result, TableName};

use crate::door::Door;
use crate::run::Invocation;

/// Commits a table now.
pub(crate) async fn flush(table: &str, invocation: &Invocation) -> Result<()> {
    let table = TableName::new(table)?;
    let door = Door::open(invocation).await?;
    let flushed = door.flush(&table).await;
    door.close().await?;
    let flushed = flushed?;
    if invocation.json {
        let line = serde_json::to_string(&flushed).map_err(|error| Error::internal(error.to_string()))?;
        return invocation.terminal.say(&line);
    }
    invocation.terminal.say(&format!(
        "Committed {} rows of {table}: {} of Parquet, {} of raw JSON.",
        human_count(flushed.rows),
        human_bytes(flushed.parquet_bytes),
        human_bytes(flushed.raw_bytes),
    ))
}
