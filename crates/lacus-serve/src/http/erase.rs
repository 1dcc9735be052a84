//! `POST /v1/erase`: what is known of somebody leaves tables, older snapshots and the raw zone.
//!
//! Rows are found by a condition in SQL, in all snapshots, and erased by the events they are of: an event goes as a whole,
//! from each table of its stream, its quarantine among them. To begin again after a crash finds what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use lacus_core::{Error, Kind, Result, StreamName, TableName, Timestamp};
use lacus_lake::{Erased, ErasedRows, Places, Table};
use lacus_query::{Dialect, Found, SqlError};
use serde::{Deserialize, Serialize};

use super::object::Object;
use super::refusal::Refusal;
use super::{Served, Shared};

/// SQLSTATE of a column that does not exist.
const NO_SUCH_COLUMN: &str = "42703";
/// SQLSTATE of what is no SQL, for any table.
const SYNTAX_ERROR: &str = "42601";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// A condition in SQL: `user_id = 'u1'`.
    r#where: String,
    /// Search only this table; by default all tables that have the columns of the condition.
    table: Option<String>,
    /// Find, and erase nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What was erased, or would be.
#[derive(Serialize)]
pub(super) struct Told {
    dry_run: bool,
    /// Events that the condition found.
    events: u64,
    tables: Vec<WireTable>,
    streams: Vec<WireStream>,
    /// Tables that lack a column of the condition. An event that was found in another table leaves them all the same.
    without_column: Vec<String>,
    /// Tables of other engines, which were not searched.
    not_searched: Vec<String>,
    /// When the files that had the rows are deleted.
    files_deleted_at: Option<String>,
}

#[derive(Serialize)]
struct WireTable {
    table: String,
    /// Events found by the condition, in the table or in its older snapshots.
    found: u64,
    erased_rows: u64,
    rewritten_files: u64,
    bytes_before: u64,
    bytes_after: u64,
    forgotten_snapshots: u64,
    /// Rows that meet the condition but were written by another engine: they stay.
    strangers: u64,
}

#[derive(Serialize)]
struct WireStream {
    stream: String,
    raw_events: u64,
    raw_files: u64,
    raw_bytes_before: u64,
    raw_bytes_after: u64,
    /// Events that are still in the log, which can't be changed: they go when their retention is over.
    in_log: u64,
    log_until: Option<String>,
}

/// What a condition found in one stream.
#[derive(Default)]
struct InStream {
    tables: BTreeMap<TableName, Found>,
    all: Places,
    latest: Option<Timestamp>,
}

pub(super) async fn erase(State(inner): State<Shared>, Object(asked): Object<Asked>) -> Result<Json<Told>, Refusal> {
    let _one_at_a_time = inner.erasing.lock().await;
    Ok(Json(run(&inner.served, &asked).await?))
}

async fn run(served: &Served, asked: &Asked) -> Result<Told, SqlError> {
    // The first events of a stream, or of a kind, may be on their way to a table that is yet to be made.
    served.deliveries.caught_up().await?;
    let (tables, not_searched) = tables(served, asked)?;
    let (streams, without_column) = search(served, &tables, &asked.r#where).await?;
    let mut told = Told {
        dry_run: asked.dry_run,
        events: streams.values().map(|found| found.all.len() as u64).sum(),
        tables: Vec::new(),
        streams: Vec::new(),
        without_column,
        not_searched,
        files_deleted_at: None,
    };
    for (stream, found) in streams {
        let erased = if asked.dry_run || found.all.is_empty() {
            Erased::default()
        } else {
            served.lake.erase(&stream, found.all.clone()).await?
        };
        told.add(served, &stream, &found, &erased);
    }
    if told.events > 0 && !asked.dry_run {
        told.files_deleted_at = Some(served.lake.deleted_at().to_string());
    }
    Ok(told)
}

/// The tables to search, and those that can't be searched.
fn tables(served: &Served, asked: &Asked) -> Result<(Vec<Arc<Table>>, Vec<String>)> {
    let streams: BTreeSet<StreamName> = served.log.streams().into_iter().map(|stream| stream.name).collect();
    let is_fed = |table: &Arc<Table>| table.state().schema.system.is_some() && streams.contains(&table.name().stream());
    let Some(name) = &asked.table else {
        let (fed, others): (Vec<_>, Vec<_>) = served.lake.tables().into_iter().partition(is_fed);
        return Ok((fed, others.iter().map(|table| table.name().to_string()).collect()));
    };
    let name = TableName::new(name)?;
    let missing = || Error::not_found(format!("there is no table \"{name}\""));
    let table = served.lake.table(&name).ok_or_else(missing)?;
    if !is_fed(&table) {
        return Err(Error::new(Kind::Denied, format!("no stream feeds table \"{name}\"")).with_hint(format!(
            "DELETE FROM {name} takes rows out of it; its older snapshots have them until they expire"
        )));
    }
    Ok((vec![table], Vec::new()))
}

/// The events that meet the condition, by stream, and the tables that lack a column of it.
async fn search(
    served: &Served,
    tables: &[Arc<Table>],
    condition: &str,
) -> Result<(BTreeMap<StreamName, InStream>, Vec<String>), SqlError> {
    let mut streams: BTreeMap<StreamName, InStream> = BTreeMap::new();
    let (mut without_column, mut refused) = (Vec::new(), None);
    for table in tables {
        let stream = table.name().stream();
        if !streams.contains_key(&stream) {
            // Only files are searched: this brings everything acknowledged so far into files.
            flush(served, &stream.table()).await?;
        }
        let in_stream = streams.entry(stream).or_default();
        match served.engine.session(Dialect::Lacus).uncounted().places(table.name(), condition).await {
            Err(error) if error.sqlstate() == NO_SUCH_COLUMN => {
                without_column.push(table.name().to_string());
                // The first one's hint lists columns of events; the last table is a quarantine.
                refused.get_or_insert(error);
            }
            Err(error) if tables.len() > 1 && error.kind() == Kind::Invalid && error.sqlstate() != SYNTAX_ERROR => {
                return Err(of_table(&error, table.name()));
            }
            found => in_stream.add(table.name(), found?)?,
        }
    }
    match refused {
        Some(error) if without_column.len() == tables.len() => Err(error),
        _ => Ok((streams, without_column)),
    }
}

/// A condition that one table can't be asked, because a column has another type there: which one, and what to do.
fn of_table(error: &SqlError, table: &TableName) -> SqlError {
    SqlError::new(error.kind(), error.sqlstate(), format!("table \"{table}\": {error}")).with_hint(
        "nothing was erased; CAST(user_id AS text) = '7' fits columns of every type, --table NAME asks one table",
    )
}

async fn flush(served: &Served, table: &TableName) -> Result<()> {
    match served.deliveries.flush(table).await {
        // Nobody brings rows to it any more.
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        flushed => flushed.map(drop),
    }
}

impl InStream {
    fn add(&mut self, table: &TableName, found: Found) -> Result<()> {
        self.all.add_all(&found.places)?;
        self.latest = self.latest.max(found.latest);
        self.tables.insert(table.clone(), found);
        Ok(())
    }
}

impl Told {
    fn add(&mut self, served: &Served, stream: &StreamName, found: &InStream, erased: &Erased) {
        let names: BTreeSet<&TableName> = found.tables.keys().chain(erased.tables.keys()).collect();
        for name in names {
            let (found, rows) = (found.tables.get(name), erased.tables.get(name).copied().unwrap_or_default());
            let (places, strangers) = found.map_or((0, 0), |found| (found.places.len() as u64, found.strangers));
            if places + strangers > 0 || rows != ErasedRows::default() {
                self.tables.push(wire_table(name, places, strangers, rows));
            }
        }
        if !found.all.is_empty() {
            self.streams.push(wire_stream(served, stream, found, erased));
        }
    }
}

fn wire_table(name: &TableName, found: u64, strangers: u64, rows: ErasedRows) -> WireTable {
    WireTable {
        table: name.to_string(),
        found,
        erased_rows: rows.rows,
        rewritten_files: rows.files,
        bytes_before: rows.bytes_before,
        bytes_after: rows.bytes_after,
        forgotten_snapshots: rows.snapshots,
        strangers,
    }
}

fn wire_stream(served: &Served, stream: &StreamName, found: &InStream, erased: &Erased) -> WireStream {
    let info = served.log.streams().into_iter().find(|info| info.name == *stream);
    let in_log =
        info.as_ref().map_or(0, |info| found.all.iter().filter(|place| !info.start.include(*place)).count() as u64);
    let retention = info.and_then(|info| info.retention).unwrap_or(served.log.retention());
    let until = found.latest.filter(|_| in_log > 0).map(|latest| latest.plus_ms(retention.0).to_string());
    WireStream {
        stream: stream.to_string(),
        raw_events: erased.raw.events,
        raw_files: erased.raw.files,
        raw_bytes_before: erased.raw.bytes_before,
        raw_bytes_after: erased.raw.bytes_after,
        in_log,
        log_until: until,
    }
}
