//! Dropping and renaming tables.

use std::sync::Arc;

use lacus_core::{Error, Kind, Result, TableName};

use super::commit::is_delivered;
use super::create::must_have_database;
use super::no_table;
use crate::commit::begin_publishing;
use crate::deletes::FilesOfSnapshot;
use crate::lake::Inner;
use crate::leftovers::{RETIRED_GRACE_MS, sweep};
use crate::table::Table;

/// Files of a table that was dropped and not purged stay this long: it may be registered again.
const DROPPED_GRACE_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

pub(super) async fn drop_table(lake: &Inner, name: &TableName, purge: bool) -> Result<()> {
    let table = theirs(lake, name)?;
    drop_found(lake, &table, purge, must_be_theirs).await
}

/// Drops a table that nothing is delivered to any more.
pub(super) async fn drop_ended_table(lake: &Inner, name: &TableName, purge: bool) -> Result<()> {
    let table = lake.table(name).ok_or_else(|| no_table(name))?;
    drop_found(lake, &table, purge, must_be_committed).await
}

/// Drops a table if it may go once nobody else commits to it: a delivery may have done so before.
async fn drop_found(lake: &Inner, table: &Table, purge: bool, may_go: fn(&Table) -> Result<()>) -> Result<()> {
    let name = table.name();
    let _committing = table.committing.lock().await;
    let publishing = begin_publishing(lake).await?;
    may_go(table)?;
    let base = table.base();
    let mut paths: Vec<String> = match lake.files.reachable(&base.metadata).await {
        Ok(paths) => paths.into_iter().collect(),
        Err(error) if error.kind() == Kind::Corrupt => {
            tracing::warn!(table = %name, error = %error.chain(), "a dropped table can't be read; its files stay");
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    paths.push(lake.files.warehouse.path(&base.location)?.to_string());
    let now = lake.clock.now();
    let delete_after = now.plus_ms(if purge { RETIRED_GRACE_MS } else { DROPPED_GRACE_MS });
    lake.catalog.drop_table(name.clone(), base.location.clone(), paths, delete_after, now).await?;
    lake.remove(name);
    drop(publishing);
    sweep(lake, 0).await;
    Ok(())
}

pub(super) async fn rename_table(lake: &Inner, from: &TableName, to: &TableName) -> Result<()> {
    let table = theirs(lake, from)?;
    let _committing = table.committing.lock().await;
    let _publishing = begin_publishing(lake).await?;
    must_be_theirs(&table)?;
    must_have_database(lake, to)?;
    lake.must_be_free(to)?;
    let base = table.base();
    lake.catalog.rename_table(from.clone(), to.clone(), base.location.clone()).await?;
    let state = table.state();
    let files = FilesOfSnapshot { data: state.files.to_vec(), deletes: state.delete_files.to_vec() };
    let renamed =
        Table::new(to.clone(), base.as_ref().clone(), state.schema.as_ref().clone(), files, state.delivered.clone());
    lake.remove(from);
    lake.adopt(&Arc::new(renamed));
    Ok(())
}

/// The table, if it is one that an engine made.
fn theirs(lake: &Inner, name: &TableName) -> Result<Arc<Table>> {
    let table = lake.table(name).ok_or_else(|| no_table(name))?;
    must_be_theirs(&table)?;
    Ok(table)
}

fn must_be_theirs(table: &Table) -> Result<()> {
    if !is_delivered(table) {
        return Ok(());
    }
    Err(Error::new(Kind::Denied, format!("lacus delivers events to table \"{}\"", table.name())).with_hint(
        "events would be lost: DELETE FROM takes rows out of it, and DROP TABLE drops it once its stream is deleted",
    ))
}

fn must_be_committed(table: &Table) -> Result<()> {
    if table.state().tail.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Conflict, format!("table \"{}\" has rows that are not committed", table.name())))
}
