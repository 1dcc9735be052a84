//! Firehose's blobs of bytes as events: producers put one or several into each, one after the other.

use bytes::Bytes;
use lacus_core::{Error, NewRecord, RejectedEvent, Share, units};

use crate::refusal::Refusal;
use crate::split::split;
use crate::stats::Reason;

/// The most events of one request.
const EVENTS_MAX: usize = 500_000;

/// Adds the events in a blob to `records`. What can't be taken apart is one record as it is: it goes to quarantine, as
/// Firehose takes any bytes. Blobs must be covered by `share` already; it is made to cover the records too.
///
/// # Errors
/// For more than [`EVENTS_MAX`] records, or if there is no memory for them now.
pub(super) fn take_apart(
    blob: &Bytes,
    records: &mut Vec<NewRecord>,
    covered: usize,
    share: &mut Share,
) -> Result<(), Refusal> {
    match split(blob, false) {
        Ok(pieces) => records.extend(pieces.into_iter().map(|piece| NewRecord::of(blob.slice(piece.range)))),
        Err(_) => records.push(NewRecord::of(RejectedEvent::unjudged(blob.clone()))),
    }
    if records.len() > EVENTS_MAX {
        let most = units::human_count(EVENTS_MAX as u64);
        let error = Error::invalid(format!("the request has more than {most} events"));
        return Err(Refusal::invalid(Reason::TooLarge, error.with_hint("send fewer at once")));
    }
    Ok(share.cover(covered + records.len() * size_of::<NewRecord>())?)
}
