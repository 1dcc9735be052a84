//! An append on the sender's side: records become frames, their bytes are counted, the answer is awaited.
//!
//! All work that grows with the bytes (copying, checksums) is done here, on the sender's task. A sender that goes away
//! takes nothing with it: what was handed to the writer is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lacus_core::{Error, Kind, NewRecord, Offset, Partition, Position, Result, units};
use tokio::sync::oneshot;

use crate::frame::{self, Body, PartitionId, RECORD_BYTES_MAX};
use crate::partitioning;
use crate::state::Shared;
use crate::streams::Stream;

/// An append, for the writer to put on disk.
pub(crate) struct Request {
    pub(crate) frames: Vec<Body>,
    /// What [`Streams::generation`](crate::streams::Streams::generation) was when its shards were chosen.
    pub(crate) generation: u64,
    /// Receives the offset of each frame's first record, or why nothing was written.
    pub(crate) answer: oneshot::Sender<Result<Vec<Offset>, Refusal>>,
    /// Freed with the request.
    pub(crate) reserved: Reservation,
}

/// Why the writer did not write a request.
pub(crate) enum Refusal {
    /// One of its shards was closed meanwhile: choose again.
    Resharded,
    /// The disk.
    Failed(Error),
}

/// Records encoded as frames, and the place of each record in them.
pub(crate) struct Encoded {
    pub(crate) frames: Vec<Body>,
    places: Vec<Place>,
}

struct Place {
    frame: usize,
    index: u32,
}

/// Bytes that count as waiting for the disk until this is dropped.
pub(crate) struct Reservation {
    shared: Arc<Shared>,
    pub(crate) bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.in_flight_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reserves the bytes of `records` if fewer than `bytes_max` wait for the disk with them.
pub(crate) fn reserve(shared: &Arc<Shared>, records: &[NewRecord], bytes_max: u64) -> Result<Reservation> {
    let mut bytes = 0;
    for record in records {
        let length = frame::record_bytes(record);
        if length > RECORD_BYTES_MAX {
            let (length, most) = (units::human_count(length as u64), units::human_count(RECORD_BYTES_MAX as u64));
            return Err(Error::invalid(format!("a record of {length} bytes is too long: {most} are the most")));
        }
        bytes += frame::encoded_length(record) as u64;
    }
    if bytes > bytes_max {
        let (bytes, most) = (units::human_bytes(bytes), units::human_bytes(bytes_max));
        return Err(Error::invalid(format!("{bytes} in one append are too many: {most} may wait for the disk"))
            .with_hint("send fewer records at once, or raise stream.in_flight_bytes_max"));
    }
    let reserve = |waiting: u64| waiting.checked_add(bytes).filter(|waiting| *waiting <= bytes_max);
    match shared.in_flight_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve) {
        Ok(_) => Ok(Reservation { shared: Arc::clone(shared), bytes }),
        Err(waiting) => {
            let waiting = units::human_bytes(waiting);
            Err(Error::new(Kind::Limited, format!("too much waits for the disk already: {waiting}"))
                .with_hint("send it again a little later"))
        }
    }
}

/// Puts records into frames: one for each partition they go to, more where one would be long.
pub(crate) fn encode(stream: &Stream, records: &[NewRecord]) -> Encoded {
    let mut encoded = Encoded { frames: Vec::with_capacity(1), places: Vec::with_capacity(records.len()) };
    // Mostly there is one: to find it in a tree takes less time than to hash its number, for each record.
    let mut growing: BTreeMap<Partition, usize> = BTreeMap::new();
    let mut keyless = None;
    let mut bytes_left: usize = records.iter().map(frame::encoded_length).sum();
    for record in records {
        let partition = match partitioning::of_record(&stream.open, record) {
            Some(partition) => partition,
            None => *keyless.get_or_insert_with(|| partitioning::of_turn(&stream.turn, &stream.open)),
        };
        let length = frame::encoded_length(record);
        let at = match growing.get(&partition) {
            Some(at) if !encoded.frames[*at].is_full() => *at,
            _ => {
                let capacity = if stream.open.len() == 1 { bytes_left } else { length };
                let capacity = capacity.min(frame::BODY_BYTES_ENOUGH).max(length);
                encoded.frames.push(Body::new(PartitionId { stream: stream.id, partition }, capacity));
                growing.insert(partition, encoded.frames.len() - 1);
                encoded.frames.len() - 1
            }
        };
        let body = &mut encoded.frames[at];
        encoded.places.push(Place { frame: at, index: body.records });
        body.push(record);
        bytes_left -= length;
    }
    encoded.frames.iter_mut().for_each(Body::seal);
    encoded
}

impl Encoded {
    /// Splits off a function that computes the position of each record from the first offsets of the frames.
    pub(crate) fn split(self) -> (Vec<Body>, impl FnOnce(&[Offset]) -> Vec<Position>) {
        let partitions: Vec<Partition> = self.frames.iter().map(|frame| frame.id.partition).collect();
        let positions = move |bases: &[Offset]| {
            let position = |place: &Place| Position {
                partition: partitions[place.frame],
                offset: bases[place.frame].plus(u64::from(place.index)),
            };
            self.places.iter().map(position).collect()
        };
        (self.frames, positions)
    }
}
