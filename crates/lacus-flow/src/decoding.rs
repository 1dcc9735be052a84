//! One turn of a delivery: read what is new in the log, decode it, make it visible.
//!
//! Blocking and CPU-bound; it runs off the async threads. Rows become visible in the order of the log within a
//! shard, and a record is in each tail at most once: a turn first does what bytes or the disk may refuse, and then shows
//! its rows and moves [`Decoding::seen`]. A turn that fails has changed nothing (but tables without rows may have been
//! made). What nobody waits for comes after it, in [`Decoding::finish_turn`]: a commit has the raw lines of its rows all
//! the same, or there is none.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use lacus_core::settings::{Contract, Shape};
use lacus_core::{
    Context, Error, Offsets, Partition, Position, Record, RejectedEvent, Result, StreamName, TableName, Timestamp,
};
use lacus_lake::decode::{Rejected, decode_under, quarantine_rows};
use lacus_lake::{Lake, RawFile, RawWriter, TableAppend, TableSchema, TailBatch};
use lacus_stream::{FORMAT_ATTRIBUTE, Log, MessageIds, StreamInfo};
use tokio::task::spawn_blocking;

use crate::halves::{Parts, decode_in_parts};
use crate::hints::Hints;
use crate::judging::Judge;
use crate::pending::tail_batch;
use crate::reading;
use crate::routing::{Format, Refused, Routed};
use crate::tables::{Tables, delivered};

/// The attribute of a stream that says how its events became tables last.
const SHAPE_ATTRIBUTE: &str = "shape";

/// What a delivery works on.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) log: Log,
    pub(crate) lake: Arc<Lake>,
    pub(crate) ids: Arc<MessageIds>,
    pub(crate) stream: StreamName,
    /// What the settings say about its tables.
    pub(crate) shape: Arc<Shape>,
}

/// What a delivery has read and not committed.
pub(crate) struct Decoding {
    log: Log,
    stream: StreamName,
    shape: Arc<Shape>,
    tables: Tables,
    judge: Judge,
    hints: Hints,
    /// Everything before it is visible.
    seen: Offsets,
    /// Where the next turn begins to read, when the last one ended before it came to all shards.
    first_shard: Partition,
    /// Everything before it is committed or frozen for a commit.
    frozen: Offsets,
    raw: RawWriter,
    /// Records that are visible rows and not in `raw` yet.
    unkept: Vec<Record>,
    /// Whether raw lines may be missing, or there twice.
    is_broken: bool,
    /// Bytes of records between `frozen` and `seen`.
    pending_bytes: u64,
    /// When the first record between `frozen` and `seen` became visible.
    pending_since: Option<Instant>,
    /// Whether nothing more is read before what is pending is committed.
    must_commit: bool,
}

/// What one turn did.
#[derive(Default)]
pub(crate) struct Turn {
    /// When the first and the last record that became visible had been received; empty when nothing was new.
    pub(crate) received_at: Vec<Timestamp>,
    /// Bytes of the records that became visible.
    pub(crate) bytes: u64,
    /// Records that were left out because the stream had them already.
    pub(crate) duplicates: u64,
    /// Whether the log holds more already.
    pub(crate) is_behind: bool,
}

/// A part of the tails that no longer changes, ready to be committed as often as it takes.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) delivered: Offsets,
    pub(crate) tables: Vec<TableAppend>,
    pub(crate) raw: Vec<RawFile>,
}

impl Frozen {
    /// Bytes of its raw files. Its rows are counted among those of the tails.
    pub(crate) fn raw_bytes(&self) -> u64 {
        self.raw.iter().map(|file| file.bytes.content_length() as u64).sum()
    }
}

/// Rows that are ready to be shown.
struct Ready {
    table: TableName,
    schema: TableSchema,
    rows: Vec<RecordBatch>,
    /// Whether the table's pending rows must be decoded again to have the same columns.
    widened: bool,
}

impl Decoding {
    /// Begins after the last commit. The tails of the stream's tables must be empty.
    ///
    /// # Errors
    /// If a table can't be made, or the index of messages or the log can't be read.
    pub(crate) async fn open(source: &Source) -> Result<Self> {
        let Source { log, lake, ids, stream, shape } = source.clone();
        let info = reading::describe(&log, &stream)?;
        let format = Format::next(&info, &delivered(&lake, &stream, &info.let_go), &shape)?;
        let tables = Tables::open(&lake, &stream, format).await?.behind(info.let_go.clone());
        let committed = tables.committed();
        spawn_blocking(move || {
            remember_shape(&log, &info, &shape, &committed)?;
            let judge = Judge::open(&ids, &log, &info, &committed)?;
            Ok(Self::new(log, stream, shape, tables, judge))
        })
        .await
        .map_err(|error| Error::internal("beginning a delivery ended unexpectedly").with_source(error))?
    }

    fn new(log: Log, stream: StreamName, shape: Arc<Shape>, tables: Tables, judge: Judge) -> Self {
        let committed = tables.committed();
        Self {
            log,
            stream,
            shape,
            tables,
            judge,
            hints: Hints::default(),
            seen: committed.clone(),
            first_shard: Partition(0),
            frozen: committed,
            raw: RawWriter::default(),
            unkept: Vec::new(),
            is_broken: false,
            pending_bytes: 0,
            pending_since: None,
            must_commit: false,
        }
    }

    pub(crate) fn seen(&self) -> &Offsets {
        &self.seen
    }

    pub(crate) fn hints(&self) -> &Hints {
        &self.hints
    }

    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    pub(crate) fn pending_since(&self) -> Option<Instant> {
        self.pending_since
    }

    pub(crate) fn must_commit(&self) -> bool {
        self.must_commit
    }

    pub(crate) fn committed(&self) -> Offsets {
        self.tables.committed()
    }

    pub(crate) fn tail_bytes(&self) -> u64 {
        self.tables.tail_bytes()
    }

    /// Bytes of raw files that no commit has taken yet.
    pub(crate) fn raw_bytes(&self) -> u64 {
        self.raw.bytes()
    }

    /// Whether it must be dropped, and what is not committed read again.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Reads, decodes and publishes once, faster if somebody waits for it. [`finish_turn`](Self::finish_turn) does the rest.
    pub(crate) fn turn(&mut self, is_awaited: bool) -> Result<Turn> {
        let stream = reading::describe(&self.log, &self.stream)?;
        self.hints = Hints::of(&stream.attributes);
        if self.judge.catch_up(&self.log, &stream, &self.seen)? {
            return Ok(Turn { is_behind: true, ..Turn::default() });
        }
        let format = self.tables.format();
        let is_meant = |shard| Format::of(&stream, shard, &self.shape).is_ok_and(|other| other == *format);
        let (mut first_shard, bytes_max) = (self.first_shard, format.turn_bytes());
        let (mut records, bytes) =
            reading::read_new(&self.log, &stream, &self.seen, is_meant, &mut first_shard, bytes_max)?;
        if records.is_empty() {
            let next = Format::next(&stream, &self.seen, &self.shape)?;
            if next != *format {
                return self.change_format(next);
            }
        }
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(Turn::default()) };
        let received_at = vec![first.received_at, last.received_at];
        let bytes = bytes as u64;
        let seen = reading::after(&self.seen, &records);
        let duplicates = self.judge.take_out_duplicates(&mut records)?;
        self.look_anew()?;
        let (ready, refused) = self.decode(&records, is_awaited)?;
        let mut decoded_again = self.decode_pending_again(&ready)?;
        let refused_rows = refused_rows(&records, &refused)?;

        if let Some(rows) = refused_rows {
            self.tables.quarantine().show(TableSchema::quarantine(), vec![rows], None);
        }
        for Ready { table, schema, rows, .. } in ready {
            let again = decoded_again.remove(&table);
            if let Some(pending) = self.tables.get_mut(&table) {
                pending.show(schema, rows, again);
            }
        }
        self.seen = seen;
        self.keep_later(with_rows(records, &refused));
        self.first_shard = first_shard;
        self.pending_bytes += bytes;
        self.pending_since = self.pending_since.or_else(|| Some(Instant::now()));
        let end = reading::describe(&self.log, &self.stream)?.end;
        Ok(Turn { received_at, bytes, duplicates, is_behind: end.total() > self.seen.total() })
    }

    /// Does what those who wait for rows need not wait for: the raw zone gets each record that became a row, and small batches
    /// of the tails become larger ones.
    ///
    /// # Errors
    /// If the raw zone does not take a record; then this is [broken](Self::is_broken).
    pub(crate) fn finish_turn(&mut self) -> Result<()> {
        let kept = std::mem::take(&mut self.unkept).iter().try_for_each(|record| self.keep_raw(record));
        self.is_broken |= kept.is_err();
        kept?;
        self.tables.merge_small_batches();
        Ok(())
    }

    /// The stream was deleted, and another one made of its name: what it had is delivered. What is pending of it must be
    /// committed first, as the next commit records progress in another table.
    fn change_format(&mut self, format: Format) -> Result<Turn> {
        self.must_commit = self.pending_since.is_some();
        if !self.must_commit {
            self.tables = self.tables.of_format(format)?;
        }
        Ok(Turn { is_behind: true, ..Turn::default() })
    }

    /// Others may have changed the tables: forgets what those were that have nothing pending.
    ///
    /// # Errors
    /// If a table is gone and can't be made again.
    pub(crate) fn look_anew(&mut self) -> Result<()> {
        self.tables.look_anew()
    }

    /// Ends the part of the tails that the next commit takes.
    ///
    /// # Errors
    /// If the index of messages can't be written; or the raw files not be ended, and then this is
    /// [broken](Self::is_broken).
    pub(crate) fn freeze(&mut self) -> Result<Frozen> {
        // The one that records progress is committed without rows, too.
        self.look_anew()?;
        self.judge.sync()?;
        self.finish_turn()?;
        let raw = self.raw.finish().context("end raw files");
        self.is_broken |= raw.is_err();
        let raw = raw?;
        let tables = self.tables.freeze();
        self.frozen = self.seen.clone();
        (self.pending_bytes, self.pending_since, self.must_commit) = (0, None, false);
        Ok(Frozen { delivered: self.seen.clone(), tables, raw })
    }

    /// The rows of records by table, and what goes to quarantine, by its place among the records.
    fn decode(&mut self, records: &[Record], is_awaited: bool) -> Result<(Vec<Ready>, Vec<Refused>)> {
        #[cfg(test)]
        records.iter().for_each(crate::tests::panic_if_asked_to);
        let Routed { rows, mut refused } = self.tables.route(records)?;
        let mut ready = Vec::with_capacity(rows.len());
        // The raw zone has a record that may have a row in another table.
        let has_rows = rows.len() > 1;
        for (table, rows) in rows {
            let contract = self.tables.contract(&table);
            let pending = self.tables.get_mut(&table).ok_or_else(|| Error::internal("rows were routed to no table"))?;
            let decoded = decode_in_parts(&rows, pending.schema(), contract, is_awaited);
            let Parts { rows: decoded, schema, rejected, widened } =
                decoded.context(format_args!("decode rows of table \"{table}\""))?;
            refused.extend(refuse(records, &rows, rejected, has_rows));
            ready.push(Ready { table, schema, rows: decoded, widened });
        }
        refused.sort_by_key(|refused| refused.index);
        refused.dedup_by_key(|refused| refused.index);
        Ok((ready, refused))
    }

    /// A column became wider: what its table shows and is not frozen is read and decoded again.
    fn decode_pending_again(&mut self, ready: &[Ready]) -> Result<BTreeMap<TableName, Vec<TailBatch>>> {
        let widened: BTreeMap<&TableName, &TableSchema> =
            ready.iter().filter(|ready| ready.widened).map(|ready| (&ready.table, &ready.schema)).collect();
        let mut decoded_again: BTreeMap<TableName, Vec<TailBatch>> = BTreeMap::new();
        if widened.is_empty() {
            return Ok(decoded_again);
        }
        for table in widened.keys() {
            decoded_again.insert((*table).clone(), Vec::new());
        }
        let (judge, tables) = (&mut self.judge, &mut self.tables);
        let bytes_max = tables.format().turn_bytes();
        reading::read_again(&self.log, &self.stream, &self.frozen, &self.seen, bytes_max, |mut records| {
            judge.take_out_duplicates(&mut records)?;
            for (table, rows) in tables.route(&records)?.rows {
                let (Some(schema), Some(batches)) = (widened.get(&table), decoded_again.get_mut(&table)) else {
                    continue;
                };
                // Only a table that grows has columns that become wider by themselves.
                let decoded = decode_under(&rows, schema, Contract::Evolve)?;
                if decoded.schema != **schema {
                    return Err(Error::internal("decoding the same records again found other columns"));
                }
                batches.push(tail_batch(decoded.rows));
            }
            Ok(())
        })?;
        Ok(decoded_again)
    }

    /// Leaves records to [`finish_turn`](Self::finish_turn).
    fn keep_later(&mut self, records: Vec<Record>) {
        // Mostly the last turn was finished, and there is nothing to add them to.
        if self.unkept.is_empty() {
            self.unkept = records;
        } else {
            self.unkept.extend(records);
        }
    }

    fn keep_raw(&mut self, record: &Record) -> Result<()> {
        #[cfg(test)]
        crate::tests::fail_if_asked_to(record)?;
        self.raw.add(record).context("write raw events")
    }
}

/// Those of the records that became rows; `refused` is in their order.
fn with_rows(mut records: Vec<Record>, refused: &[Refused]) -> Vec<Record> {
    if refused.is_empty() {
        return records;
    }
    let mut without_rows = refused.iter().filter(|refused| !refused.has_rows).map(|refused| refused.index).peekable();
    let mut index = 0;
    records.retain(|_| {
        let has_rows = without_rows.next_if_eq(&index).is_none();
        index += 1;
        has_rows
    });
    records
}

/// The records of rows that are no JSON objects, or against the contract of their table.
fn refuse(records: &[Record], rows: &[Record], rejected: Vec<Rejected>, has_rows: bool) -> Vec<Refused> {
    if rejected.is_empty() {
        return Vec::new();
    }
    let places = records.iter().enumerate().map(|(index, record)| (record.position, index));
    let places: HashMap<Position, usize> = places.collect();
    let refused = |Rejected { index, reason }: Rejected| {
        let index = *places.get(&rows.get(index)?.position)?;
        Some(Refused { index, reason, has_rows })
    };
    rejected.into_iter().filter_map(refused).collect()
}

/// Has the stream remember its shape, so that a change of the settings is told. Events that are in committed files stay
/// as they are, all later ones have the new shape: where one ends and the other begins is the progress of the commits.
fn remember_shape(log: &Log, stream: &StreamInfo, shape: &Shape, committed: &Offsets) -> Result<()> {
    let known = stream.attributes.get(SHAPE_ATTRIBUTE);
    let is_same = known.map_or(shape.is_as_sent(), |known| *known == shape.to_string());
    if is_same || stream.is_deleted || stream.attributes.contains_key(FORMAT_ATTRIBUTE) {
        return Ok(());
    }
    let mut remember = |attributes: &mut BTreeMap<String, String>| {
        attributes.insert(SHAPE_ATTRIBUTE.to_owned(), shape.to_string());
        Ok(())
    };
    log.change_attributes(&stream.name, &mut remember).context("remember the shape of its tables")?;
    if committed.total() > 0 {
        let before = known.cloned().unwrap_or_else(|| Shape::default().to_string());
        tracing::warn!(stream = %stream.name, committed = committed.total(), before, now = %shape, "the settings give this stream another shape; events that are in files keep the one they have");
    }
    Ok(())
}

fn refused_rows(records: &[Record], refused: &[Refused]) -> Result<Option<RecordBatch>> {
    if refused.is_empty() {
        return Ok(None);
    }
    let original = |refused: &Refused| {
        let record = &records[refused.index];
        match RejectedEvent::of(&record.value) {
            Some(RejectedEvent { reason, event }) => {
                let reason = if reason.is_empty() { refused.reason.clone() } else { reason };
                (Record { value: event, ..record.clone() }, reason)
            }
            None => (record.clone(), refused.reason.clone()),
        }
    };
    let originals: Vec<_> = refused.iter().map(original).collect();
    let rows: Vec<_> = originals.iter().map(|(record, reason)| (record, reason.as_str())).collect();
    quarantine_rows(&rows).map(Some)
}
