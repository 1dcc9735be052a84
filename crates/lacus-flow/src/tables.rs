//! The tables that one stream is delivered to.

use std::collections::BTreeMap;
use std::sync::Arc;

use lacus_core::{Offsets, Result, StreamName, TableName};
use lacus_lake::{Lake, TableAppend, TableSchema};
use tokio::runtime::Handle;

use crate::pending::Pending;
use crate::routing::Format;
use crate::segment::TRACKS;

/// Tables for single events that a stream may have. Events beyond them go to quarantine: a sender that puts an id into
/// the name of an event must not fill the lake with tables.
pub(crate) const EVENT_TABLES_MAX: usize = 500;

/// All tables of a stream, with what they show of it.
pub(crate) struct Tables {
    lake: Arc<Lake>,
    stream: StreamName,
    format: Format,
    /// The one that records progress.
    primary: TableName,
    quarantine: TableName,
    /// Those that had a row since the delivery began, and the two above.
    pending: BTreeMap<TableName, Pending>,
    /// How many tables for single events there are.
    events: usize,
}

impl Tables {
    /// The tables of a stream. Those that every stream has are made if they are missing.
    ///
    /// # Errors
    /// If they can't be made.
    pub(crate) async fn open(lake: &Arc<Lake>, stream: &StreamName, format: Format) -> Result<Self> {
        let primary = format.primary(stream)?;
        let quarantine = primary.quarantine();
        let mut pending = BTreeMap::new();
        for (name, schema) in [(&primary, TableSchema::empty()), (&quarantine, TableSchema::quarantine())] {
            pending.insert(name.clone(), Pending::new(lake.create_table(name, schema).await?));
        }
        let names = lake.tables();
        let own = names.iter().map(|table| table.name()).filter(|name| name.database() == primary.database());
        let events = own.filter(|name| format.is_event_table(name)).count();
        Ok(Self { lake: Arc::clone(lake), stream: stream.clone(), format, primary, quarantine, pending, events })
    }

    /// The tables of the same stream when its records are something else. Only for threads that may block.
    ///
    /// # Errors
    /// As for [`Tables::open`].
    pub(crate) fn of_format(&self, format: Format) -> Result<Self> {
        Handle::current().block_on(Self::open(&self.lake, &self.stream, format))
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// What is committed of the stream.
    pub(crate) fn committed(&self) -> Offsets {
        delivered(&self.lake, &self.stream)
    }

    /// A table that has a row. It is made if it is missing; none if the stream has too many already. Only for threads that may
    /// block.
    ///
    /// # Errors
    /// If it can't be made.
    pub(crate) fn find_or_make(&mut self, name: &TableName) -> Result<Option<&mut Pending>> {
        if !self.pending.contains_key(name) {
            let table = match self.lake.table(name) {
                Some(table) => table,
                None => {
                    let is_event_table = self.format.is_event_table(name);
                    if is_event_table && self.events >= EVENT_TABLES_MAX {
                        return Ok(None);
                    }
                    let table = Handle::current().block_on(self.lake.create_table(name, TableSchema::empty()))?;
                    self.events += usize::from(is_event_table);
                    table
                }
            };
            self.pending.insert(name.clone(), Pending::new(table));
        }
        Ok(self.pending.get_mut(name))
    }

    /// A table that had a row.
    pub(crate) fn get_mut(&mut self, name: &TableName) -> Option<&mut Pending> {
        self.pending.get_mut(name)
    }

    /// Where rows that fit nowhere go.
    pub(crate) fn quarantine(&mut self) -> &mut Pending {
        self.pending.get_mut(&self.quarantine).expect("a stream's tables always have it")
    }

    /// Memory of all uncommitted rows, frozen ones too.
    pub(crate) fn tail_bytes(&self) -> u64 {
        self.pending.values().map(Pending::bytes).sum()
    }

    /// Ends the part of the tails that the next commit takes: the table that records progress first.
    pub(crate) fn freeze(&mut self) -> Vec<TableAppend> {
        let primary = &self.primary;
        let (first, others): (Vec<_>, Vec<_>) = self.pending.iter_mut().partition(|(name, _)| *name == primary);
        let others = others.into_iter().filter(|(_, pending)| pending.has_rows());
        first.into_iter().chain(others).map(|(_, pending)| pending.freeze()).collect()
    }
}

/// What is committed of a stream: nothing beyond it may leave the log. A stream that was deleted and made again may have
/// had another format before; its shards have other numbers since, so both tables that may have recorded progress are
/// right.
#[must_use]
pub fn delivered(lake: &Lake, stream: &StreamName) -> Offsets {
    let mut delivered = Offsets::default();
    for name in [Ok(stream.table()), stream.table_in(TRACKS)].into_iter().flatten() {
        let Some(table) = lake.table(&name) else { continue };
        for (partition, next) in table.state().delivered.iter() {
            delivered.advance(partition, next);
        }
    }
    delivered
}
