//! The tables that one stream is delivered to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use lacus_core::settings::Contract;
use lacus_core::{Offsets, Record, Result, StreamName, TableName};
use lacus_lake::{Lake, Table, TableAppend, TableSchema};
use tokio::runtime::Handle;

use crate::pending::Pending;
use crate::routing::{Format, Refused, Routed};

/// Tables for single events, and for arrays of them, that a stream may have. What is beyond them goes to the table of other
/// events or to quarantine: a sender that puts an id into the name of an event must not fill the lake with tables.
pub(crate) const EVENT_TABLES_MAX: usize = 500;

/// All tables of a stream, with what they show of it.
pub(crate) struct Tables {
    lake: Arc<Lake>,
    stream: StreamName,
    format: Format,
    /// The one that records progress.
    primary: TableName,
    quarantine: TableName,
    /// What the stream delivered to tables that are dropped.
    let_go: Offsets,
    /// Those that had a row since the delivery began, and the two above.
    pending: BTreeMap<TableName, Pending>,
    /// How many tables there are that events made.
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
        let own = names.iter().map(|table| table.name()).filter(|name| name.stream() == *stream);
        let events = own.filter(|name| format.is_made_by_events(name, &primary)).count();
        let (lake, stream, let_go) = (Arc::clone(lake), stream.clone(), Offsets::default());
        Ok(Self { lake, stream, format, primary, quarantine, let_go, pending, events })
    }

    /// The same, behind what the stream delivered to tables that are dropped.
    pub(crate) fn behind(self, let_go: Offsets) -> Self {
        Self { let_go, ..self }
    }

    /// The tables of the same stream when its records are something else. Only for threads that may block.
    ///
    /// # Errors
    /// As for [`Tables::open`].
    pub(crate) fn of_format(&self, format: Format) -> Result<Self> {
        let opened = Handle::current().block_on(Self::open(&self.lake, &self.stream, format))?;
        Ok(opened.behind(self.let_go.clone()))
    }

    pub(crate) fn format(&self) -> &Format {
        &self.format
    }

    /// The rows of some records, each for a table that there is; those are made that are missing. Only for threads that
    /// may block.
    ///
    /// # Errors
    /// If a table can't be made.
    pub(crate) fn route<'records>(&mut self, records: &'records [Record]) -> Result<Routed<'records>> {
        let Routed { rows, refused } = self.format.route(&self.stream, records)?;
        let mut routed = Routed { rows: Vec::with_capacity(rows.len()), refused };
        let mut others = Vec::new();
        self.make_missing(rows.iter().map(|(table, _)| table))?;
        for (table, rows) in rows {
            if self.find(&table).is_some() {
                routed.rows.push((table, rows));
            } else if self.format.has_other_events(&table) {
                others.extend(rows.into_owned());
            } else {
                let reason = format!("stream \"{}\" has {EVENT_TABLES_MAX} tables of events already", self.stream);
                routed.refused.extend(refuse_all(records, &rows, &reason));
            }
        }
        if !others.is_empty() {
            self.add_other_events(&mut routed, others);
        }
        Ok(routed)
    }

    /// Adds rows to those of the primary table, in the order of the log.
    fn add_other_events(&self, routed: &mut Routed<'_>, mut others: Vec<Record>) {
        let place = routed.rows.iter().position(|(table, _)| *table == self.primary);
        others.extend(place.into_iter().flat_map(|place| routed.rows.remove(place).1.into_owned()));
        others.sort_by_key(|record| (record.position.partition, record.position.offset));
        routed.rows.push((self.primary.clone(), Cow::Owned(others)));
    }

    /// What is committed of the stream.
    pub(crate) fn committed(&self) -> Offsets {
        delivered(&self.lake, &self.stream, &self.let_go)
    }

    /// Makes those of the tables that are missing, all at once, as far as there is room for more. Only for threads that may
    /// block.
    ///
    /// # Errors
    /// If they can't be made.
    fn make_missing<'name>(&mut self, names: impl Iterator<Item = &'name TableName>) -> Result<()> {
        let mut missing = BTreeMap::new();
        let mut events = self.events;
        for name in names.filter(|name| !self.pending.contains_key(*name) && self.lake.table(name).is_none()) {
            let is_made_by_events = self.format.is_made_by_events(name, &self.primary);
            if is_made_by_events && events >= EVENT_TABLES_MAX {
                continue;
            }
            events += usize::from(is_made_by_events);
            missing.insert(name.clone(), TableSchema::empty());
        }
        if !missing.is_empty() {
            Handle::current().block_on(self.lake.create_tables(missing))?;
            self.events = events;
        }
        Ok(())
    }

    /// A table that has a row; none if it is not there, because the stream has too many already.
    fn find(&mut self, name: &TableName) -> Option<&mut Pending> {
        if !self.pending.contains_key(name) {
            let table = self.lake.table(name)?;
            self.pending.insert(name.clone(), Pending::new(table));
        }
        self.pending.get_mut(name)
    }

    /// What a table takes. Quarantines take everything.
    pub(crate) fn contract(&self, name: &TableName) -> Contract {
        self.lake.contract(name)
    }

    /// A table as the lake has it.
    pub(crate) fn lake_table(&self, name: &TableName) -> Option<Arc<Table>> {
        self.lake.table(name)
    }

    /// A table that had a row.
    pub(crate) fn get_mut(&mut self, name: &TableName) -> Option<&mut Pending> {
        self.pending.get_mut(name)
    }

    /// Takes tables as they are now, of which nothing is uncommitted: as long as a table has no events, engines may change,
    /// rename and drop it. Only for threads that may block.
    ///
    /// # Errors
    /// If one that every stream has is gone and can't be made.
    pub(crate) fn look_anew(&mut self) -> Result<()> {
        let is_changed = |(name, pending): &(&TableName, &Pending)| !pending.is_of(self.lake.table(name).as_ref());
        let changed: Vec<TableName> = self.pending.iter().filter(is_changed).map(|(name, _)| name.clone()).collect();
        for name in changed {
            let schema = match () {
                () if name == self.primary => TableSchema::empty(),
                () if name == self.quarantine => TableSchema::quarantine(),
                () => {
                    self.pending.remove(&name);
                    continue;
                }
            };
            let table = Handle::current().block_on(self.lake.create_table(&name, schema))?;
            self.pending.insert(name, Pending::new(table));
        }
        Ok(())
    }

    /// Where rows that fit nowhere go.
    pub(crate) fn quarantine(&mut self) -> &mut Pending {
        self.pending.get_mut(&self.quarantine).expect("a stream's tables always have it")
    }

    /// Merges small batches of the tails, so that a scan meets few.
    pub(crate) fn merge_small_batches(&mut self) {
        self.pending.values_mut().for_each(Pending::merge_small_batches);
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

/// The records of rows that have no table.
fn refuse_all(records: &[Record], rows: &[Record], reason: &str) -> Vec<Refused> {
    let mut rows = rows.iter().map(|row| row.position).peekable();
    let mut refused = Vec::new();
    for (index, record) in records.iter().enumerate() {
        if rows.next_if_eq(&record.position).is_some() {
            refused.push(Refused { index, reason: reason.to_owned(), has_rows: true });
        }
        // A record may have several rows in a table of elements.
        while rows.next_if_eq(&record.position).is_some() {}
    }
    refused
}

/// What is committed of a stream, or was [let go of](lacus_stream::StreamInfo::let_go): nothing beyond it may leave the log. A
/// stream that was deleted and made again, or whose settings changed, may have had another format before, with its progress
/// in another table. No record is in tables of two formats: each begins where the one before it ended.
#[must_use]
pub fn delivered(lake: &Lake, stream: &StreamName, let_go: &Offsets) -> Offsets {
    let mut delivered = let_go.clone();
    for name in Format::primaries(stream) {
        let Some(table) = lake.table(&name) else { continue };
        for (partition, next) in table.state().delivered.iter() {
            delivered.advance(partition, next);
        }
    }
    delivered
}
