//! A copy of a catalog that may be in use, as a file: what a backup has, wherever the catalog is.
//!
//! While `meanwhile` runs and rows are read, nobody else writes: the copy is of that instant. It is a whole catalog of its
//! own, which knows nothing of the one it is from.

use std::fs::File;
use std::path::Path;

use lacus_core::{Context, Error, Kind, Result};

use super::database::{Database, Row, Sql};
use super::sqlite::Sqlite;
use super::{placeholders, schema};

/// The tables of the newest catalog, with their columns.
const TABLES: [(&str, &str); 5] = [
    ("lake", "id, uuid, made_at, warehouse, writer_epoch, raw_files, raw_bytes, raw_records"),
    ("tables", "name, metadata_location"),
    ("leftovers", "path, recorded_at, delete_after"),
    ("databases", "name, properties"),
    ("views", "name, metadata_location"),
];

/// Copies a catalog to a file that is not there yet, durably. It blocks.
///
/// # Errors
/// What `meanwhile` fails with; `NotFound` if there is no catalog, `Invalid` if it is of another lacus, `Unavailable` if
/// somebody keeps it locked, or the copy can't be written.
pub(super) fn to_file(
    from: &dyn Database,
    to: &Path,
    meanwhile: &mut dyn FnMut(&mut dyn Sql) -> Result<()>,
) -> Result<()> {
    let mut rows = Vec::new();
    from.transact(&mut |sql| {
        must_be_newest(sql.version()?, &from.name())?;
        // This changes nothing, and keeps out all writers.
        sql.execute("UPDATE lake SET writer_epoch = writer_epoch", &[])?;
        meanwhile(sql)?;
        rows = TABLES.iter().map(|table| rows_of(sql, table)).collect::<Result<_>>()?;
        Ok(())
    })?;
    if to.try_exists().context(format_args!("look for {}", to.display()))? {
        return Err(Error::new(Kind::Exists, format!("{} is there already", to.display())));
    }
    write(to, &rows).context(format_args!("write {}", to.display()))
}

fn must_be_newest(version: usize, name: &str) -> Result<()> {
    match version {
        0 => Err(Error::new(Kind::NotFound, format!("there is no lake in {name}")).with_hint("lacus up makes it")),
        version if version == schema::newest() => Ok(()),
        _ => Err(Error::invalid(format!("the catalog {name} was written by another version of lacus"))
            .with_hint("back it up with the lacus that serves it")),
    }
}

fn rows_of(sql: &mut dyn Sql, (table, columns): &(&str, &str)) -> Result<Vec<Row>> {
    sql.query(&format!("SELECT {columns} FROM {table}"), &[])
}

fn write(to: &Path, rows: &[Vec<Row>]) -> Result<()> {
    let copy = Sqlite::open(to)?;
    copy.transact(&mut |sql| {
        schema::migrate(sql, &copy.name())?;
        for ((table, columns), rows) in TABLES.iter().zip(rows) {
            let values = placeholders(columns.split(", ").count());
            let insert = format!("INSERT INTO {table} ({columns}) VALUES ({values})");
            for row in rows {
                sql.execute(&insert, &row.0)?;
            }
        }
        Ok(())
    })?;
    File::open(to)?.sync_all()?;
    Ok(())
}
