//! The tables of the catalog, and how older ones become newer ones.
//!
//! `PRAGMA user_version` counts the migrations that were applied. A migration, once released, never changes.

use std::path::Path;

use lacus_core::{Error, Timestamp};
use rusqlite::{Connection, Transaction, params};
use uuid::Uuid;

use super::Failure;
use crate::warehouse::Warehouse;

/// Each takes the catalog from one version to the next.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE lake (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        uuid TEXT NOT NULL,
        made_at INTEGER NOT NULL,       -- microseconds since 1970
        warehouse TEXT NOT NULL,        -- what the URLs in table metadata begin with
        writer_epoch INTEGER NOT NULL,  -- counts openings; the last one may write
        raw_files INTEGER NOT NULL DEFAULT 0,
        raw_bytes INTEGER NOT NULL DEFAULT 0,
        raw_records INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE tables (
        name TEXT PRIMARY KEY,
        metadata_location TEXT NOT NULL -- URL of the current Iceberg metadata
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE leftovers (            -- files that nothing references
        path TEXT PRIMARY KEY,          -- in the lake's directory
        recorded_at INTEGER NOT NULL,
        delete_after INTEGER            -- null: being written; the next opening deletes it
    ) STRICT, WITHOUT ROWID;
"];

/// Refuses a file that SQLite itself finds damaged.
pub(super) fn check_integrity(connection: &Connection, file: &Path) -> Result<(), Failure> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(Failure::Found(
        Error::corrupt(format!("the catalog {} is damaged: {verdict}", file.display()))
            .with_hint("stop lacus and restore the file from a backup; the tables' files are untouched"),
    ))
}

/// Brings the catalog to the newest version.
pub(super) fn migrate(transaction: &Transaction<'_>, file: &Path) -> Result<(), Failure> {
    let version: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let Some(missing) = MIGRATIONS.get(version as usize..) else {
        return Err(Failure::Found(
            Error::invalid(format!("the catalog {} was written by a newer lacus", file.display()))
                .with_hint("upgrade lacus"),
        ));
    };
    for (done, migration) in (version + 1..).zip(missing) {
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", done)?;
    }
    Ok(())
}

/// Fills a new catalog.
pub(super) fn fill(transaction: &Transaction<'_>, warehouse: &Warehouse, now: Timestamp) -> Result<(), Failure> {
    transaction.execute(
        "INSERT INTO lake (id, uuid, made_at, warehouse, writer_epoch) VALUES (1, ?1, ?2, ?3, 0)
         ON CONFLICT DO NOTHING",
        params![Uuid::new_v4().to_string(), now.as_micros(), warehouse.base()],
    )?;
    Ok(())
}
