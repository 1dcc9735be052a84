//! What is new in the log, in an order that keeps that of each key.
//!
//! Within a shard records come in order. A shard that came of others by a reshard is read only once those are closed and
//! read to their end, and so all that they came of: a key's records before the reshard come before those after it.

use std::ops::Range;

use lacus_core::{Context, Error, Offset, Offsets, Partition, Record, Result, StreamName};
use lacus_stream::{Log, StreamInfo};

/// Bytes of records after which a turn reads no further shard, unless the format wants fewer. Each read gives at least one
/// record. A turn has its records in memory several times: as bytes, as records, and as columns.
pub(crate) const TURN_BYTES_MAX: usize = 2 << 20;

/// Reads about `bytes_max` bytes of new records from some shards, and says how many they are. `first` is the shard to begin
/// with; if not all shards were reached, it becomes the next one.
pub(crate) fn read_new(
    log: &Log,
    stream: &StreamInfo,
    seen: &Offsets,
    is_meant: impl Fn(Partition) -> bool,
    first: &mut Partition,
    bytes_max: usize,
) -> Result<(Vec<Record>, usize)> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    let mut news = with_news(stream, seen);
    news.retain(|shard| is_meant(*shard));
    let Some(bytes_each) = bytes_max.checked_div(news.len()) else { return Ok((records, bytes)) };
    let begin = news.partition_point(|shard| shard < first) % news.len();
    news.rotate_left(begin);
    for shard in news {
        if bytes >= bytes_max {
            *first = shard;
            break;
        }
        let next = seen.next(shard);
        let read = log.read(&stream.name, shard, next, bytes_each)?;
        must_continue(&read, next)?;
        bytes += read.iter().map(|record| record.value.len()).sum::<usize>();
        // Mostly those of one shard are all.
        if records.is_empty() {
            records = read;
        } else {
            records.extend(read);
        }
    }
    Ok((records, bytes))
}

/// Shards with unread records that may be read now, by number: all of their ancestors are read, even beyond a parent that
/// never had a record.
fn with_news(stream: &StreamInfo, seen: &Offsets) -> Vec<Partition> {
    let mut drained: Vec<bool> = Vec::with_capacity(stream.shards.len());
    let mut news = Vec::new();
    // Shards are in order of their numbers, and parents have lower ones.
    for shard in &stream.shards {
        let may_begin = shard.parents.iter().all(|parent| drained.get(parent.0 as usize) == Some(&true));
        let is_read = seen.next(shard.partition) >= stream.end.next(shard.partition);
        if may_begin && !is_read {
            news.push(shard.partition);
        }
        drained.push(may_begin && is_read);
    }
    news
}

/// Reads the records in a range again, in pieces of about `bytes_max`.
pub(crate) fn read_again(
    log: &Log,
    stream: &StreamName,
    from: &Offsets,
    end: &Offsets,
    bytes_max: usize,
    mut each: impl FnMut(Vec<Record>) -> Result<()>,
) -> Result<()> {
    for (shard, end) in end.iter() {
        let mut next = from.next(shard);
        while next < end {
            let records = read_until(log, stream, shard, next..end, bytes_max)?;
            next = records.last().ok_or_else(|| gap(shard, next))?.position.offset.plus(1);
            each(records)?;
        }
    }
    Ok(())
}

/// Reads a piece of a shard's range of about `bytes_max`: at least one record, and none after the range.
pub(crate) fn read_until(
    log: &Log,
    stream: &StreamName,
    shard: Partition,
    range: Range<Offset>,
    bytes_max: usize,
) -> Result<Vec<Record>> {
    let mut records = log.read(stream, shard, range.start, bytes_max)?;
    must_continue(&records, range.start)?;
    records.retain(|record| record.position.offset < range.end);
    if records.is_empty() { Err(gap(shard, range.start)) } else { Ok(records) }
}

/// The offsets after these records, of which those of a shard are in a row and in order.
pub(crate) fn after(offsets: &Offsets, records: &[Record]) -> Offsets {
    let mut after = offsets.clone();
    for shard in records.chunk_by(|one, next| one.position.partition == next.position.partition) {
        if let Some(last) = shard.last() {
            after.advance(last.position.partition, last.position.offset.plus(1));
        }
    }
    after
}

/// The stream as it is now, deleted or not.
pub(crate) fn describe(log: &Log, name: &StreamName) -> Result<StreamInfo> {
    log.stream_or_deleted(name)
        .ok_or_else(|| Error::not_found(format!("there is no stream \"{name}\"")))
        .context("read the log")
}

/// Offsets have no gaps: a gap would be an acknowledged record that is never delivered.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lacus_core::{NewRecord, SystemClock, settings};
    use lacus_stream::NewStream;

    use super::*;

    /// Two reshards in a row: the shards between them never had a record.
    #[tokio::test]
    async fn a_shard_waits_for_the_parents_of_its_empty_parents() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path(), &settings::Stream::default(), Arc::new(SystemClock)).unwrap();
        let name = StreamName::new("clicks").unwrap();
        let record = |value: &str| NewRecord::of(value.to_owned()).with_key("k");
        log.create_stream(&name, &NewStream::of_shards(1)).unwrap();
        log.append(&name, vec![record("before")]).await.unwrap();
        log.set_shard_count(&name, 2).unwrap();
        log.set_shard_count(&name, 1).unwrap();
        log.append(&name, vec![record("after")]).await.unwrap();
        let (stream, mut seen) = (describe(&log, &name).unwrap(), Offsets::default());
        for expected in ["before", "after"] {
            let (read, bytes) = read_new(&log, &stream, &seen, |_| true, &mut Partition(0), TURN_BYTES_MAX).unwrap();
            assert_eq!(bytes, expected.len());
            assert_eq!(read.iter().map(|record| record.value.clone()).collect::<Vec<_>>(), [expected]);
            seen = after(&seen, &read);
        }
        assert!(read_new(&log, &stream, &seen, |_| true, &mut Partition(0), TURN_BYTES_MAX).unwrap().0.is_empty());
    }
}
