//! The tables of the catalog, and the migrations from older versions of them.
//!
//! The database counts the migrations that were applied. A migration, once released, never changes. They are written for
//! SQLite; PostgreSQL reads them with its own names of types (see `postgres.rs`).

use lacus_core::{Error, Result, Timestamp};
use uuid::Uuid;

use super::database::Sql;
use crate::warehouse::Warehouse;

/// Each takes the catalog from one version to the next.
const MIGRATIONS: [&str; 3] = [
    "
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
",
    "
    CREATE TABLE databases (            -- those that somebody made, or gave properties
        name TEXT PRIMARY KEY,
        properties TEXT NOT NULL        -- JSON object of texts
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE views (                -- their names differ from those of tables
        name TEXT PRIMARY KEY,
        metadata_location TEXT NOT NULL -- URL of the current Iceberg view metadata
    ) STRICT, WITHOUT ROWID;
",
];

/// How many migrations the newest catalog has had.
pub(super) fn newest() -> usize {
    MIGRATIONS.len()
}

/// Brings the catalog to the newest version.
pub(super) fn migrate(sql: &mut dyn Sql, name: &str) -> Result<()> {
    let version = sql.version()?;
    let Some(missing) = MIGRATIONS.get(version..) else {
        return Err(
            Error::invalid(format!("the catalog {name} was written by a newer lacus")).with_hint("upgrade lacus")
        );
    };
    (version + 1..).zip(missing).try_for_each(|(done, migration)| sql.migrate(migration, done))
}

/// Fills a new catalog.
pub(super) fn fill(sql: &mut dyn Sql, warehouse: &Warehouse, now: Timestamp) -> Result<()> {
    sql.execute(
        "INSERT INTO lake (id, uuid, made_at, warehouse, writer_epoch) VALUES (1, ?1, ?2, ?3, 0)
         ON CONFLICT DO NOTHING",
        &[Uuid::new_v4().to_string().as_str().into(), now.as_micros().into(), warehouse.base().into()],
    )?;
    Ok(())
}
