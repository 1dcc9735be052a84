//! One turn of a delivery: read what is new in the log, decode it, make it visible.
//!
//! Blocking and CPU-bound; it runs off the async threads. Rows become visible in the order of the log within a
//! partition, and a record is in the tail exactly once: [`Decoding::seen`] moves in the same step.

use std::sync::Arc;

use arrow::compute::concat_batches;
use lacus_core::{Context, Error, Offset, Offsets, Partition, Record, Result, StreamName, Timestamp};
use lacus_lake::conform::conform;
use lacus_lake::decode::{Decoded, Rejected, decode, quarantine_rows};
use lacus_lake::{RawFile, RawWriter, Table, TableAppend, TableSchema, TailBatch};
use lacus_stream::{Log, StreamInfo};

/// Bytes of records that one turn reads, over all partitions of the stream.
const TURN_BYTES_MAX: usize = 4 << 20;
/// Small tail batches are merged up to this many rows, so that a scan meets few batches.
const MERGED_ROWS_MAX: usize = 65_536;

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
    /// Everything before it is committed or frozen for a commit.
    frozen: Offsets,
    /// Batches at the end of the table's tail that are not frozen. The frozen ones before them go whenever their commit
    /// ends, so batches are counted from the end.
    pending_batches: usize,
    raw: RawWriter,
    /// Bytes of records between `frozen` and `seen`.
    pending_bytes: u64,
    /// When the first record between `frozen` and `seen` was received.
    pending_since: Option<Timestamp>,
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
            partitions: stream.partitions,
            schema: TableSchema::clone(&state.schema),
            seen: state.delivered.clone(),
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

    pub(crate) fn pending_since(&self) -> Option<Timestamp> {
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
        let decoded = decode(&records, &self.schema).context(format_args!("decode stream \"{}\"", self.stream))?;
        self.keep_raw(&records, &decoded.rejected)?;
        self.publish_rejected(&records, &decoded.rejected)?;
        self.publish(decoded)?;
        for record in &records {
            self.seen.advance(record.position.partition, record.position.offset.plus(1));
        }
        let bytes = records.iter().map(|record| record.value.len() as u64).sum();
        self.pending_bytes += bytes;
        self.pending_since = self.pending_since.or_else(|| records.iter().map(|record| record.received_at).min());
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

    fn read_new(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let bytes_each = TURN_BYTES_MAX / self.partitions as usize;
        for partition in (0..self.partitions).map(Partition) {
            let read = self.log.read(&self.stream, partition, self.seen.next(partition), bytes_each);
            let read = read.context(format_args!("read stream \"{}\"", self.stream))?;
            must_continue(&read, self.seen.next(partition))?;
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

    fn publish_rejected(&mut self, records: &[Record], rejected: &[Rejected]) -> Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        let pairs: Vec<_> = rejected.iter().map(|reject| (&records[reject.index], reject.reason.as_str())).collect();
        let rows = quarantine_rows(&pairs)?;
        let bytes = rows.get_array_memory_size();
        self.quarantine.append_tail(&TableSchema::quarantine(), TailBatch { rows, bytes });
        Ok(())
    }

    fn publish(&mut self, decoded: Decoded) -> Result<()> {
        let Decoded { rows, schema, widened, .. } = decoded;
        self.schema = schema;
        if widened {
            let mut batches = self.decode_pending_again()?;
            batches.push(tail_batch(rows));
            self.replace_last(self.pending_batches, batches);
        } else if rows.num_rows() > 0 {
            self.table.append_tail(&self.schema, tail_batch(rows));
            self.pending_batches += 1;
            self.merge_small_batches()?;
        }
        Ok(())
    }

    /// A column became wider: what was decoded before and is not frozen is read and decoded again.
    fn decode_pending_again(&self) -> Result<Vec<TailBatch>> {
        let mut batches = Vec::new();
        for (partition, end) in self.seen.iter() {
            let mut next = self.frozen.next(partition);
            while next < end {
                let mut records = self.log.read(&self.stream, partition, next, TURN_BYTES_MAX)?;
                must_continue(&records, next)?;
                records.retain(|record| record.position.offset < end);
                let last = records.last().ok_or_else(|| gap(partition, next))?;
                next = last.position.offset.plus(1);
                let decoded = decode(&records, &self.schema)?;
                if decoded.schema != self.schema {
                    return Err(Error::internal("decoding the same records again found other columns"));
                }
                batches.push(tail_batch(decoded.rows));
            }
        }
        Ok(batches)
    }

    /// Keeps the tail's batches of growing size, as in a log-structured merge: a row is copied O(log n) times.
    fn merge_small_batches(&mut self) -> Result<()> {
        let state = self.table.state();
        let (mut count, mut rows) = (0, 0);
        for batch in state.tail.iter().rev().take(self.pending_batches) {
            let more = batch.rows.num_rows();
            if rows + more > MERGED_ROWS_MAX || (rows > 0 && more > 2 * rows) {
                break;
            }
            rows += more;
            count += 1;
        }
        if count < 2 {
            return Ok(());
        }
        let batches = &state.tail[state.tail.len() - count..];
        let batches = batches.iter().map(|batch| conform(&batch.rows, &state.arrow_schema));
        let batches = batches.collect::<Result<Vec<_>>>()?;
        let merged = concat_batches(&state.arrow_schema, &batches)
            .map_err(|error| Error::internal("merge batches of the tail").with_source(error))?;
        self.replace_last(count, vec![tail_batch(merged)]);
        Ok(())
    }

    fn replace_last(&mut self, count: usize, batches: Vec<TailBatch>) {
        self.pending_batches = self.pending_batches - count + batches.len();
        self.table.replace_end_of_tail(&self.schema, count, batches);
    }
}

fn tail_batch(rows: arrow::array::RecordBatch) -> TailBatch {
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
