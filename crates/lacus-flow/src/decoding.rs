//! One turn of a delivery: read what is new in the log, decode it, make it visible.
//!
//! Blocking and CPU-bound; it runs off the async threads. Rows become visible in the order of the log within a
//! partition, and a record is in the tail exactly once: a turn first does all that can fail, and then shows its rows and
//! moves [`Decoding::seen`]. A turn that fails has changed nothing.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use lacus_core::{Context, Error, Offset, Offsets, Partition, Record, Result, StreamName, Timestamp};
use lacus_lake::conform::conform;
use lacus_lake::decode::{Decoded, Rejected, decode, quarantine_rows};
use lacus_lake::{RawFile, RawWriter, Table, TableAppend, TableSchema, TailBatch};
use lacus_stream::{Log, StreamInfo};

/// Bytes of records after which a turn reads no further partition. Each of a partition's reads gives one record at least.
const TURN_BYTES_MAX: usize = 4 << 20;
/// Small tail batches are merged up to this many rows, so that a scan meets few batches.
const MERGED_ROWS_MAX: usize = 65_536;
/// And up to this much memory: copying more than that would delay what comes next.
const MERGED_BYTES_MAX: usize = 64 << 20;

/// What a delivery has read and not committed.
pub(crate) struct Decoding {
    log: Log,
    stream: StreamName,
    partitions: u32,
    table: Arc<Table>,
    quarantine: Arc<Table>,
    schema: TableSchema,
    /// Everything before it is visible.
    seen: Offsets,
    /// Where the next turn begins to read, when the last one ended before it came to all partitions.
    first_partition: u32,
    /// Everything before it is committed or frozen for a commit.
    frozen: Offsets,
    /// Batches at the end of the table's tail that are not frozen. The frozen ones before them go whenever their commit
    /// ends, so batches are counted from the end.
    pending_batches: usize,
    raw: RawWriter,
    /// Bytes of records between `frozen` and `seen`.
    pending_bytes: u64,
    /// When the first record between `frozen` and `seen` became visible.
    pending_since: Option<Instant>,
}

/// What one turn did.
#[derive(Default)]
pub(crate) struct Turn {
    /// When the first and the last record that became visible had been received; empty when nothing was new.
    pub(crate) received_at: Vec<Timestamp>,
    /// Bytes of the records that became visible.
    pub(crate) bytes: u64,
    /// Whether the log holds more already.
    pub(crate) is_behind: bool,
}

/// A part of the tail that no longer changes, ready to be committed as often as it takes.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) delivered: Offsets,
    pub(crate) tables: Vec<TableAppend>,
    pub(crate) raw: Vec<RawFile>,
}

impl Decoding {
    pub(crate) fn new(log: Log, stream: &StreamInfo, table: Arc<Table>, quarantine: Arc<Table>) -> Self {
        let state = table.state();
        Self {
            log,
            stream: stream.name.clone(),
            partitions: u32::try_from(stream.shards.len()).unwrap_or(u32::MAX),
            schema: TableSchema::clone(&state.schema),
            seen: state.delivered.clone(),
            first_partition: 0,
            frozen: state.delivered.clone(),
            pending_batches: 0,
            raw: RawWriter::default(),
            pending_bytes: 0,
            pending_since: None,
            table,
            quarantine,
        }
    }

    pub(crate) fn stream(&self) -> &StreamName {
        &self.stream
    }

    pub(crate) fn seen(&self) -> &Offsets {
        &self.seen
    }

    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    pub(crate) fn pending_since(&self) -> Option<Instant> {
        self.pending_since
    }

    pub(crate) fn committed(&self) -> Offsets {
        self.table.state().delivered.clone()
    }

    /// Memory of all uncommitted rows, frozen ones too.
    pub(crate) fn tail_bytes(&self) -> u64 {
        let bytes = |table: &Table| table.state().tail.iter().map(|batch| batch.bytes as u64).sum::<u64>();
        bytes(&self.table) + bytes(&self.quarantine)
    }

    /// Reads, decodes and publishes once.
    pub(crate) fn turn(&mut self) -> Result<Turn> {
        let records = self.read_new()?;
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(Turn::default()) };
        let received_at = vec![first.received_at, last.received_at];
        let Decoded { rows, schema, rejected, widened } =
            decode(&records, &self.schema).context(format_args!("decode stream \"{}\"", self.stream))?;
        let rejected_rows = rejected_rows(&records, &rejected)?;
        let decoded_again = if widened { Some(self.decode_pending_again(&schema)?) } else { None };
        self.keep_raw(&records, &rejected)?;
        if let Some(rows) = rejected_rows {
            self.quarantine.append_tail(&TableSchema::quarantine(), tail_batch(rows));
        }
        self.publish(schema, rows, decoded_again);
        for record in &records {
            self.seen.advance(record.position.partition, record.position.offset.plus(1));
        }
        let bytes = records.iter().map(|record| record.value.len() as u64).sum();
        self.pending_bytes += bytes;
        self.pending_since = self.pending_since.or_else(|| Some(Instant::now()));
        let end = self.log.stream(&self.stream).map(|stream| stream.end.total());
        Ok(Turn { received_at, bytes, is_behind: end > Some(self.seen.total()) })
    }

    /// Ends the part of the tail that the next commit takes. From here on its column types stay.
    pub(crate) fn freeze(&mut self) -> Result<Frozen> {
        self.schema.pin();
        let tables = [(&self.table, self.schema.clone()), (&self.quarantine, TableSchema::quarantine())];
        let tables: Vec<TableAppend> = tables
            .into_iter()
            .map(|(table, schema)| TableAppend { table: Arc::clone(table), schema, batches: table.state().tail.len() })
            .collect();
        let raw = self.raw.finish().context("end raw files")?;
        self.frozen = self.seen.clone();
        self.pending_batches = 0;
        (self.pending_bytes, self.pending_since) = (0, None);
        Ok(Frozen { delivered: self.seen.clone(), tables, raw })
    }

    fn read_new(&mut self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let bytes_each = TURN_BYTES_MAX / self.partitions as usize;
        let mut bytes = 0;
        for partition in (0..self.partitions).map(|step| Partition((self.first_partition + step) % self.partitions)) {
            if bytes >= TURN_BYTES_MAX {
                self.first_partition = partition.0;
                break;
            }
            let read = self.log.read(&self.stream, partition, self.seen.next(partition), bytes_each);
            let read = read.context(format_args!("read stream \"{}\"", self.stream))?;
            must_continue(&read, self.seen.next(partition))?;
            bytes += read.iter().map(|record| record.value.len()).sum::<usize>();
            records.extend(read);
        }
        Ok(records)
    }

    fn keep_raw(&mut self, records: &[Record], rejected: &[Rejected]) -> Result<()> {
        let mut rejected = rejected.iter().map(|rejected| rejected.index).peekable();
        for (index, record) in records.iter().enumerate() {
            if rejected.next_if_eq(&index).is_none() {
                self.raw.add(record).context("write raw events")?;
            }
        }
        Ok(())
    }

    /// Shows rows; with all pending rows decoded again if a column became wider.
    fn publish(&mut self, schema: TableSchema, rows: RecordBatch, decoded_again: Option<Vec<TailBatch>>) {
        self.schema = schema;
        if let Some(mut batches) = decoded_again {
            batches.push(tail_batch(rows));
            self.replace_last(self.pending_batches, batches);
        } else if rows.num_rows() > 0 {
            self.table.append_tail(&self.schema, tail_batch(rows));
            self.pending_batches += 1;
            self.merge_small_batches();
        }
    }

    /// A column became wider: what was decoded before and is not frozen is read and decoded again.
    fn decode_pending_again(&self, schema: &TableSchema) -> Result<Vec<TailBatch>> {
        let mut batches = Vec::new();
        for (partition, end) in self.seen.iter() {
            let mut next = self.frozen.next(partition);
            while next < end {
                let mut records = self.log.read(&self.stream, partition, next, TURN_BYTES_MAX)?;
                must_continue(&records, next)?;
                records.retain(|record| record.position.offset < end);
                let last = records.last().ok_or_else(|| gap(partition, next))?;
                next = last.position.offset.plus(1);
                let decoded = decode(&records, schema)?;
                if decoded.schema != *schema {
                    return Err(Error::internal("decoding the same records again found other columns"));
                }
                batches.push(tail_batch(decoded.rows));
            }
        }
        Ok(batches)
    }

    /// Keeps the tail's batches of growing size, as in a log-structured merge: a row is copied O(log n) times.
    fn merge_small_batches(&mut self) {
        let state = self.table.state();
        let (mut count, mut rows, mut bytes) = (0, 0, 0);
        for batch in state.tail.iter().rev().take(self.pending_batches) {
            let more = batch.rows.num_rows();
            let is_full = rows + more > MERGED_ROWS_MAX || bytes + batch.bytes > MERGED_BYTES_MAX;
            if is_full || (rows > 0 && more > 2 * rows) {
                break;
            }
            rows += more;
            bytes += batch.bytes;
            count += 1;
        }
        if count < 2 {
            return;
        }
        match merged(&state.tail[state.tail.len() - count..], &state.arrow_schema) {
            Ok(merged) => self.replace_last(count, vec![tail_batch(merged)]),
            Err(error) => tracing::warn!(error = %error.chain(), "batches of the tail stay as they are"),
        }
    }

    fn replace_last(&mut self, count: usize, batches: Vec<TailBatch>) {
        self.pending_batches = self.pending_batches - count + batches.len();
        self.table.replace_end_of_tail(&self.schema, count, batches);
    }
}

fn rejected_rows(records: &[Record], rejected: &[Rejected]) -> Result<Option<RecordBatch>> {
    if rejected.is_empty() {
        return Ok(None);
    }
    let pairs: Vec<_> = rejected.iter().map(|reject| (&records[reject.index], reject.reason.as_str())).collect();
    quarantine_rows(&pairs).map(Some)
}

fn merged(batches: &[Arc<TailBatch>], schema: &SchemaRef) -> Result<RecordBatch> {
    let batches = batches.iter().map(|batch| conform(&batch.rows, schema)).collect::<Result<Vec<_>>>()?;
    concat_batches(schema, &batches).map_err(|error| Error::internal("merge batches of the tail").with_source(error))
}

fn tail_batch(rows: RecordBatch) -> TailBatch {
    TailBatch { bytes: rows.get_array_memory_size(), rows }
}

/// Offsets have no gaps: one would be an acknowledged record that is never delivered.
fn must_continue(records: &[Record], mut next: Offset) -> Result<()> {
    for record in records {
        if record.position.offset != next {
            return Err(gap(record.position.partition, next));
        }
        next = next.plus(1);
    }
    Ok(())
}

fn gap(partition: Partition, missing: Offset) -> Error {
    Error::corrupt(format!("the log has no record {} of partition {}", missing.0, partition.0))
        .with_hint("run `lacus doctor`; restore .lacus/stream from a backup")
}
