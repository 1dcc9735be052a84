//! The past of a table: which snapshot a version names, and the table as it was then.
//!
//! A version is a snapshot's number, a tag, or a time. Whatever it names must be in the table's current metadata: a
//! snapshot that has expired is gone, even if its files are not deleted yet.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use iceberg::spec::{MAIN_BRANCH, SnapshotRef};
use lacus_core::{Context, Error, Kind, Offsets, Result, TableName, Timestamp};

use crate::kernel::Base;
use crate::lake::Inner;
use crate::schema::TableSchema;
use crate::table::{Table, TableState};

/// The most past states that are remembered: a statement looks a table up more than once.
const REMEMBERED_MAX: usize = 8;

/// What names a past state of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// The snapshot of this number.
    Snapshot(i64),
    /// The snapshot that has this tag. `main` is the last commit.
    Tag(String),
    /// The snapshot that was the last commit at this time.
    At(Timestamp),
}

impl Version {
    /// The last commit.
    #[must_use]
    pub fn last() -> Self {
        Self::Tag(MAIN_BRANCH.to_owned())
    }

    /// Parses what a person writes: the number of a snapshot, a time as `2026-11-20T19:30:00Z`, or else a tag.
    #[must_use]
    pub fn read(text: &str) -> Self {
        match (text.parse(), text.parse()) {
            (Ok(id), _) => Self::Snapshot(id),
            (_, Ok(time)) => Self::At(time),
            _ => Self::Tag(text.to_owned()),
        }
    }
}

/// Past states of tables, the most recently used last. Snapshots don't change, so neither do these.
#[derive(Default)]
pub(crate) struct Remembered(VecDeque<(TableName, i64, Arc<TableState>)>);

impl Remembered {
    fn find(&mut self, table: &TableName, snapshot: i64) -> Option<Arc<TableState>> {
        let place = self.0.iter().position(|(name, id, _)| *id == snapshot && name == table)?;
        let found = self.0.remove(place)?;
        let state = Arc::clone(&found.2);
        self.0.push_back(found);
        Some(state)
    }

    fn add(&mut self, table: TableName, snapshot: i64, state: Arc<TableState>) {
        if self.0.len() == REMEMBERED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((table, snapshot, state));
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(id) => write!(f, "{id}"),
            Self::Tag(name) => f.write_str(name),
            Self::At(time) => write!(f, "{time}"),
        }
    }
}

/// A table as it was in a version: that snapshot's files, read with the columns of then. No tail.
pub(crate) async fn state_at(lake: &Inner, table: &Table, version: &Version) -> Result<Arc<TableState>> {
    let base = table.base();
    let snapshot = find(table.name(), &base, version)?;
    if let Some(state) = lake.remembered().find(table.name(), snapshot.snapshot_id()) {
        return Ok(state);
    }
    let doing = format!("read snapshot {} of table \"{}\"", snapshot.snapshot_id(), table.name());
    let schema = snapshot.schema(&base.metadata).map_err(|error| {
        Error::corrupt(format!("the columns of snapshot {} are not known", snapshot.snapshot_id())).with_source(error)
    })?;
    let schema = TableSchema::from_iceberg(&schema, base.metadata.last_column_id()).context(&doing)?;
    let manifests = lake.files.manifests(&snapshot).await.context(&doing)?;
    let files = lake.files.files_of(&manifests, &base.metadata).await.context(&doing)?;
    let state = Arc::new(TableState {
        arrow_schema: schema.arrow(),
        schema: Arc::new(schema),
        snapshot_id: Some(snapshot.snapshot_id()),
        metadata_location: base.location.clone(),
        files: files.data.into(),
        delete_files: files.deletes.into(),
        tail: Vec::new(),
        delivered: Offsets::default(),
    });
    lake.remembered().add(table.name().clone(), snapshot.snapshot_id(), Arc::clone(&state));
    Ok(state)
}

/// The snapshot that a version of a table names.
pub(crate) fn find(table: &TableName, base: &Base, version: &Version) -> Result<SnapshotRef> {
    let metadata = &base.metadata;
    let found = match version {
        Version::Snapshot(id) => metadata.snapshot_by_id(*id),
        Version::Tag(name) => match metadata.snapshot_for_ref(name) {
            None => name.parse().ok().and_then(|id| metadata.snapshot_by_id(id)),
            found => found,
        },
        Version::At(time) => {
            let current = metadata.history().iter().rev().find(|entry| entry.timestamp_ms <= time.as_millis());
            current.and_then(|entry| metadata.snapshot_by_id(entry.snapshot_id))
        }
    };
    found.cloned().ok_or_else(|| not_there(table, base, version))
}

fn not_there(table: &TableName, base: &Base, version: &Version) -> Error {
    let Some(oldest) = base.metadata.history().first() else {
        return Error::new(Kind::NotFound, format!("table \"{table}\" has no snapshot yet"))
            .with_hint(format!("its first commit makes one: lacus table flush {table}"));
    };
    let (oldest, since) = (oldest.snapshot_id, time_of(oldest.timestamp_ms));
    let message = match version {
        Version::Snapshot(id) => format!("table \"{table}\" has no snapshot {id}: it has expired or never was"),
        Version::Tag(name) => format!("table \"{table}\" has no tag \"{name}\""),
        Version::At(time) => format!("table \"{table}\" has no snapshot from {time} or before"),
    };
    let hint = match version {
        Version::Tag(_) if base.metadata.snapshot_for_ref(MAIN_BRANCH).is_some() => {
            format!("see its tags: SELECT name FROM \"{}$refs\"", table.table())
        }
        _ => format!("the oldest snapshot there is is {oldest} of {since}"),
    };
    Error::new(Kind::NotFound, message).with_hint(hint)
}

/// A time of Iceberg's metadata.
pub(crate) fn time_of(millis: i64) -> Timestamp {
    Timestamp::from_micros(millis.saturating_mul(1_000))
}

#[cfg(test)]
mod tests;
