//! What was in quarantine, tried again: records that are rows by now leave it for their tables.
//!
//! It happens while the stream delivers nothing, in one commit, so that a record's rows are in their tables or its bytes are in
//! quarantine. A record goes as a whole or stays: one of whose rows any is refused again stays. Rows that a record has already,
//! since only a part of it was refused, do not come again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lacus_core::{Context, Error, Position, Record, Result, TableName};
use lacus_lake::decode::{Decoded, decode_under};
use lacus_lake::{Lake, RawWriter, Replay, ReplayedRows, Table};
use tokio::task::spawn_blocking;

use crate::decoding::Source;
use crate::routing::{Format, Routed};
use crate::tables::Tables;
use crate::{Deliveries, no_table};

/// What a replay did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayReport {
    /// Records that left quarantine.
    pub moved: u64,
    /// Why the others stay, and how many.
    pub stayed: BTreeMap<String, u64>,
}

impl Deliveries {
    /// The quarantine of a table: that of its stream, which all tables of a stream share.
    ///
    /// # Errors
    /// `NotFound` if there is no such table, or it has none.
    pub fn quarantine_of(&self, table: &TableName) -> Result<TableName> {
        let lake = &self.0.lake;
        if lake.table(table).is_none() {
            return Err(no_table(lake, table));
        }
        let stream = table.stream();
        let primaries = Format::primaries(&stream);
        let known =
            [table.clone(), table.quarantine()].into_iter().chain(primaries.map(|primary| primary.quarantine()));
        let found = known.filter(TableName::is_quarantine).find(|name| lake.table(name).is_some());
        found.ok_or_else(|| Error::not_found(format!("table \"{table}\" has no quarantine")))
    }

    /// Tries records of a quarantine again, with the bytes that they are given here. Those that are rows now leave it. Records
    /// that it does not have are none of its business: the same again changes nothing.
    ///
    /// # Errors
    /// `NotFound` if nothing feeds the table; `Unavailable` when the stream or the catalog can't commit: nothing changed then.
    pub async fn replay(&self, quarantine: &TableName, records: Vec<Record>) -> Result<ReplayReport> {
        let stream = quarantine.stream();
        let described = self.feeding(quarantine);
        let described = described.ok_or_else(|| Error::not_found(format!("no stream feeds table \"{quarantine}\"")))?;
        let source = self.source(&stream);
        let table = self.0.lake.table(quarantine).ok_or_else(|| no_table(&self.0.lake, quarantine))?;
        // All records of one quarantine are of one format: another one has another table, thus another quarantine.
        let Some(first) = records.first() else { return Ok(ReplayReport::default()) };
        let format = Format::of(&described, first.position.partition, &source.shape)?;
        self.alone(quarantine, Box::pin(run(source, format, table, records))).await
    }
}

async fn run(source: Source, format: Format, quarantine: Arc<Table>, mut records: Vec<Record>) -> Result<ReplayReport> {
    let lake = Arc::clone(&source.lake);
    let positions = records.iter().map(|record| record.position).collect();
    let there = lake.count_positions(&quarantine, &positions).await?;
    records.retain(|record| there.contains_key(&record.position));
    let mut tables = Tables::open(&lake, &source.stream, format).await?;
    let mut report = ReplayReport::default();
    // A record that stays takes none of its rows with it. Each round has fewer records, and what is refused does not depend
    // on the others: two rounds are enough.
    while !records.is_empty() {
        let counted = count_rows(tables, records).await?;
        (tables, records) = (counted.tables, counted.records);
        let mut refused = counted.refused;
        let has = rows_there(&lake, &counted.rows).await?;
        refused.extend(half_there(&counted.rows, &has));
        let arrived = arrive(tables, records, refused, has).await?;
        (tables, records) = (arrived.tables, arrived.records);
        if !arrived.refused.is_empty() {
            for reason in arrived.refused.into_values() {
                *report.stayed.entry(reason).or_default() += 1;
            }
            continue;
        }
        report.moved = records.len() as u64;
        let stream = source.stream.clone();
        let positions = records.iter().map(|record| record.position).collect();
        lake.replay(Replay { stream, quarantine, positions, tables: arrived.rows, raw: arrived.raw }).await?;
        break;
    }
    Ok(report)
}

/// How many rows of a table records have, by position.
type RowCounts = BTreeMap<TableName, BTreeMap<Position, u64>>;
/// Why records stay in quarantine.
type Refusals = BTreeMap<Position, String>;

struct Counted {
    tables: Tables,
    records: Vec<Record>,
    rows: RowCounts,
    refused: Refusals,
}

/// The rows that records would have in each table.
async fn count_rows(mut tables: Tables, records: Vec<Record>) -> Result<Counted> {
    let work = move || {
        let Routed { rows: routed, refused } = tables.route(&records)?;
        let mut rows = RowCounts::new();
        for (table, own) in &routed {
            let counts = rows.entry(table.clone()).or_default();
            own.iter().for_each(|row| *counts.entry(row.position).or_default() += 1);
        }
        let refused = refused.into_iter().map(|refused| (records[refused.index].position, refused.reason)).collect();
        drop(routed);
        Ok(Counted { tables, records, rows, refused })
    };
    spawn_blocking(work).await.map_err(|error| Error::internal("replaying ended unexpectedly").with_source(error))?
}

/// The rows that there are of them already.
async fn rows_there(lake: &Lake, rows: &RowCounts) -> Result<RowCounts> {
    let mut there = RowCounts::new();
    for (name, counts) in rows {
        let Some(table) = lake.table(name) else { continue };
        let positions: BTreeSet<Position> = counts.keys().copied().collect();
        there.insert(name.clone(), lake.count_positions(&table, &positions).await?);
    }
    Ok(there)
}

/// Records of which a table has some rows and not all: which ones can't be told.
fn half_there(wanted: &RowCounts, there: &RowCounts) -> Refusals {
    let mut refused = Refusals::new();
    for (table, counts) in there {
        for (position, count) in counts {
            if wanted.get(table).and_then(|wanted| wanted.get(position)) != Some(count) {
                refused.insert(*position, format!("table \"{table}\" has some of its rows already"));
            }
        }
    }
    refused
}

struct Arrived {
    tables: Tables,
    /// Those that were not refused.
    records: Vec<Record>,
    refused: Refusals,
    /// Nothing if any was refused.
    rows: Vec<ReplayedRows>,
    raw: Vec<lacus_lake::RawFile>,
}

/// Decodes the rows that tables do not have, under the contracts of today.
async fn arrive(tables: Tables, records: Vec<Record>, refused: Refusals, has: RowCounts) -> Result<Arrived> {
    let work = move || decode_all(tables, records, refused, &has);
    spawn_blocking(work).await.map_err(|error| Error::internal("replaying ended unexpectedly").with_source(error))?
}

fn decode_all(mut tables: Tables, mut records: Vec<Record>, mut refused: Refusals, has: &RowCounts) -> Result<Arrived> {
    records.retain(|record| !refused.contains_key(&record.position));
    let Routed { rows: routed, .. } = tables.route(&records)?;
    let mut rows = Vec::new();
    for (name, own) in routed {
        let there = has.get(&name);
        let is_new = |record: &&Record| there.is_none_or(|there| !there.contains_key(&record.position));
        let own: Vec<Record> = own.iter().filter(is_new).cloned().collect();
        let contract = tables.contract(&name);
        let table = tables.lake_table(&name).ok_or_else(|| Error::internal("rows were routed to no table"))?;
        let decoded = decode_under(&own, &table.state().schema, contract);
        let decoded = decoded.context(format_args!("decode rows of table \"{name}\""))?;
        let Decoded { rows: batch, mut schema, rejected, .. } = decoded;
        refused.extend(rejected.into_iter().map(|rejected| (own[rejected.index].position, rejected.reason)));
        if batch.num_rows() > 0 {
            schema.pin();
            rows.push(ReplayedRows { table, schema, rows: batch });
        }
    }
    records.retain(|record| !refused.contains_key(&record.position));
    if !refused.is_empty() {
        return Ok(Arrived { tables, records, refused, rows: Vec::new(), raw: Vec::new() });
    }
    let known: BTreeSet<Position> = has.values().flat_map(|counts| counts.keys().copied()).collect();
    let mut raw = RawWriter::default();
    for record in records.iter().filter(|record| !known.contains(&record.position)) {
        raw.add(record).context("write raw events")?;
    }
    let raw = raw.finish().context("end raw files")?;
    Ok(Arrived { tables, records, refused, rows, raw })
}
