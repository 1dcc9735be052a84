//! Which records are duplicates: later ones with the message id of one that the stream had already.
//!
//! The index knows the position of the first record with each id, so judging a record again gives the same verdict, and an
//! index that is ahead of the commit does no harm. One that is behind would: so what was committed and is not in it is
//! judged first, from the log, in bounded pieces.

use std::sync::Arc;

use lacus_core::{Error, Offset, Offsets, Partition, Record, Result, StreamName, Timestamp};
use lacus_stream::{Log, MessageIds, Seen, StreamInfo};

use crate::reading::{self, TURN_BYTES_MAX};

/// Records received this long before are not compared any more: the index keeps ids for a day and the one before.
const WINDOW_MS: i64 = 2 * 24 * 3_600 * 1_000;

/// Judges the records of one stream.
pub(crate) struct Judge {
    ids: Arc<MessageIds>,
    stream: StreamName,
    /// Records before it went with their tables: none is the first one with its id.
    let_go: Offsets,
    /// Everything before it was judged.
    covered: Offsets,
    /// What the index was told last.
    remembered: Offsets,
    /// Records before these offsets have to be judged before any later one.
    first: Offsets,
    /// Whether the index was asked about any record.
    has_asked: bool,
    /// Whether ids were remembered that may not be on disk.
    must_sync: bool,
}

impl Judge {
    /// Begins where the index and the commit are. Blocks on the disk.
    ///
    /// # Errors
    /// If the index or the log can't be read.
    pub(crate) fn open(ids: &Arc<MessageIds>, log: &Log, stream: &StreamInfo, committed: &Offsets) -> Result<Self> {
        let remembered = ids.covered(&stream.name)?;
        let mut covered = remembered.clone();
        if committed.iter().any(|(shard, next)| covered.next(shard) < next) {
            skip_what_is_too_old(log, stream, committed, &mut covered)?;
        }
        Ok(Self {
            ids: Arc::clone(ids),
            stream: stream.name.clone(),
            let_go: stream.let_go.clone(),
            covered,
            remembered,
            first: committed.clone(),
            has_asked: false,
            must_sync: false,
        })
    }

    /// Judges some of the records that were committed, or read, and are not in the index; whether there may be more.
    ///
    /// # Errors
    /// If the index or the log can't be used.
    pub(crate) fn catch_up(&mut self, log: &Log, stream: &StreamInfo, seen: &Offsets) -> Result<bool> {
        let is_relied_on = self.has_asked || self.remembered != Offsets::default();
        if is_relied_on && self.ids.covered(&self.stream)? != self.remembered {
            // The index was damaged and begun anew, by this delivery or another one.
            *self = Self::open(&self.ids, log, stream, seen)?;
        }
        // Retention may remove delivered records while they are being judged: then nothing is compared with them.
        stream.start.iter().for_each(|(shard, start)| self.covered.advance(shard, start));
        let behind = self.first.iter().find(|(shard, end)| self.covered.next(*shard) < *end);
        let Some((shard, end)) = behind else { return Ok(false) };
        let records = reading::read_until(log, &self.stream, shard, self.covered.next(shard)..end, TURN_BYTES_MAX)?;
        self.judge(&records).map(|_| true)
    }

    /// Removes duplicates, and returns how many there were.
    ///
    /// # Errors
    /// If the index can't be used; then nothing was taken out.
    pub(crate) fn take_out_duplicates(&mut self, records: &mut Vec<Record>) -> Result<u64> {
        let verdicts = self.judge(records)?;
        let before = records.len();
        if verdicts.contains(&true) {
            let mut verdicts = verdicts.into_iter();
            records.retain(|record| record.id.is_none() || verdicts.next() == Some(false));
        }
        Ok((before - records.len()) as u64)
    }

    /// Makes sure that verdicts so far stay the same after a crash.
    ///
    /// # Errors
    /// If the index can't be written.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if self.covered != self.remembered {
            // An index that was begun anew is filled again before the next turn. What is committed meanwhile is as what was
            // committed before an index was lost.
            let verdicts = self.ids.judge(&self.stream, &[], &self.remembered, &self.covered, &self.let_go)?;
            if verdicts.is_some() {
                self.remembered.clone_from(&self.covered);
            }
        }
        if self.must_sync {
            self.ids.sync()?;
            self.must_sync = false;
        }
        Ok(())
    }

    /// One verdict for each record that has an id.
    fn judge(&mut self, records: &[Record]) -> Result<Vec<bool>> {
        let covered = reading::after(&self.covered, records);
        let with_id = records.iter().filter_map(|record| {
            Some(Seen { id: record.id?, position: record.position, received_at: record.received_at })
        });
        let with_id: Vec<Seen> = with_id.collect();
        let mut verdicts = Vec::new();
        if !with_id.is_empty() {
            // What it remembers of a call that fails is looked up before the next turn.
            self.has_asked = true;
            let judged = self.ids.judge(&self.stream, &with_id, &self.remembered, &covered, &self.let_go)?;
            verdicts = judged.ok_or_else(begun_anew)?;
            if verdicts.len() != with_id.len() {
                return Err(Error::internal("the index of messages judged another number of messages"));
            }
            self.must_sync = true;
            self.remembered.clone_from(&covered);
        }
        self.covered = covered;
        Ok(verdicts)
    }
}

fn begun_anew() -> Error {
    Error::unavailable("the index of messages was begun anew, and does not have what was judged before")
        .with_hint("lacus fills it again from the log, and goes on by itself")
}

/// Moves `covered` over records that are gone from the log, or that no uncommitted record is compared with.
fn skip_what_is_too_old(log: &Log, stream: &StreamInfo, committed: &Offsets, covered: &mut Offsets) -> Result<()> {
    let compared_with = oldest_to_come(log, stream, committed)?;
    for shard in stream.shards.iter().map(|shard| shard.partition) {
        covered.advance(shard, stream.start.next(shard));
        if let Some(time) = compared_with {
            let time = Timestamp::from_micros(time.as_micros().saturating_sub(WINDOW_MS * 1_000));
            let first = log.find_time(&stream.name, shard, time)?;
            covered.advance(shard, first.min(committed.next(shard)));
        }
    }
    Ok(())
}

/// When the first uncommitted record was received; if all are committed, the last one. None for an empty log.
fn oldest_to_come(log: &Log, stream: &StreamInfo, committed: &Offsets) -> Result<Option<Timestamp>> {
    let (mut uncommitted, mut last) = (None, None);
    for (shard, end) in stream.end.iter().filter(|(shard, end)| stream.start.next(*shard) < *end) {
        let next = committed.next(shard);
        if next < end {
            let time = received_at(log, &stream.name, shard, next)?;
            uncommitted = Some(uncommitted.map_or(time, |oldest: Timestamp| oldest.min(time)));
        } else {
            last = last.max(Some(received_at(log, &stream.name, shard, Offset(end.0 - 1))?));
        }
    }
    Ok(uncommitted.or(last))
}

fn received_at(log: &Log, stream: &StreamName, shard: Partition, offset: Offset) -> Result<Timestamp> {
    let records = log.read(stream, shard, offset, 1)?;
    let record = records.first().ok_or_else(|| Error::corrupt(format!("the log has no record {}", offset.0)))?;
    Ok(record.received_at)
}
