//! From the bytes of a request to records on disk.
//!
//! Everything that can be refused is refused before the log is asked, so that the answer is one of: these events are on
//! disk and those were refused; or nothing was accepted. A sender that goes away is not answered; what it sent may then
//! be on disk, as after any lost answer.

use std::collections::BTreeMap;

use axum::body::BodyDataStream;
use bytes::Bytes;
use lacus_core::attributes::SEGMENT_FORMAT;
use lacus_core::units::human_count;
use lacus_core::{Error, Kind, NewRecord, Position, Share, StreamName};
use lacus_stream::{FORMAT_ATTRIBUTE, NewStream};

use crate::body;
use crate::check::{Batch, Checker, Order, Receipt};
use crate::refusal::Refusal;
use crate::request::Encoding;
use crate::stats::{Reason, SourceStats};
use crate::{Inner, LIGHT_BYTES_MAX};

/// The same as [`LIGHT_BYTES_MAX`] where each event is validated against a schema.
const LIGHT_CHECKED_BYTES_MAX: usize = 16 << 10;

/// Reads a body, checks its events and brings the good ones to disk.
///
/// # Errors
/// Why nothing at all was accepted.
pub(crate) async fn receive(inner: &Inner, order: Order, body: &mut BodyDataStream) -> Result<Receipt, Refusal> {
    let most = inner.settings.server.body_bytes_max;
    let mut share = inner.budget.share();
    let packed = body::read(body, most, inner.limits.body_wait_max, &mut share).await?;
    take(inner, order, packed, share).await
}

/// The same for a body that was read.
///
/// # Errors
/// Why nothing at all was accepted.
pub(crate) async fn take(inner: &Inner, order: Order, packed: Bytes, share: Share) -> Result<Receipt, Refusal> {
    let source = order.target.source.clone();
    let write_key = order.target.write_key.clone();
    let checker = Checker::new(inner, order, &source);
    let (batch, _share) = check(inner, checker, packed, share).await?;
    for reason in &batch.reasons {
        inner.counters.refuse(*reason, 1);
    }
    if let Some(key) = write_key {
        key.admit(batch.records.len() as u64)?;
    }
    if !batch.records.is_empty() {
        store(inner, &source, batch.records, batch.receipt.tally).await?;
    }
    Ok(batch.receipt)
}

/// Appends records to the log, and counts them. Makes the stream if it is new.
///
/// # Errors
/// Why nothing was accepted.
pub(crate) async fn store(
    inner: &Inner,
    source: &StreamName,
    records: Vec<NewRecord>,
    tally: SourceStats,
) -> Result<Vec<Position>, Refusal> {
    ready_stream(inner, source, Format::Json).await?;
    store_there(inner, source, records, tally).await
}

/// The same for a stream that was found: one that was deleted since is not made again.
///
/// # Errors
/// Why nothing was accepted.
pub(crate) async fn store_there(
    inner: &Inner,
    source: &StreamName,
    records: Vec<NewRecord>,
    tally: SourceStats,
) -> Result<Vec<Position>, Refusal> {
    let positions = inner.log.append(source, records).await.map_err(|error| match error.kind() {
        Kind::NotFound => deleted_just_now(),
        _ => error,
    })?;
    inner.counters.of(source).count(tally);
    Ok(positions)
}

/// If the events are sent again, the stream is made anew, or the sender is told that there is none.
fn deleted_just_now() -> Error {
    Error::unavailable("the stream was deleted just now").with_hint("send again")
}

/// Unpacks and checks a body.
async fn check(inner: &Inner, checker: Checker, packed: Bytes, mut share: Share) -> Result<(Batch, Share), Refusal> {
    let light_max = if checker.has_schema() { LIGHT_CHECKED_BYTES_MAX } else { LIGHT_BYTES_MAX };
    let is_light = checker.encoding() == Encoding::Identity && packed.len() <= light_max;
    inner.work(is_light, move || Ok((checker.batch(packed, &mut share)?, share))).await?
}

/// Makes sure that the stream exists and takes events of this format. Checked each time: it may have been deleted and made
/// again with another format.
///
/// # Errors
/// [`Reason::Parameter`] if it can't be a stream of this format, or is one of another.
pub(crate) async fn ready_stream(inner: &Inner, source: &StreamName, format: Format) -> Result<(), Refusal> {
    let mut found = inner.log.attribute(source, FORMAT_ATTRIBUTE);
    if found.as_ref().is_err_and(|error| error.kind() == Kind::NotFound) {
        create_stream(inner, source, format).await?;
        found = inner.log.attribute(source, FORMAT_ATTRIBUTE);
    }
    if Format::named(found.map_err(|_| deleted_just_now())?.as_deref()) == format {
        return Ok(());
    }
    let error = match format {
        Format::Json => Error::invalid(format!("source \"{source}\" takes messages of the Segment API only"))
            .with_hint("post events to another source, or send them with a Segment SDK"),
        Format::Segment => Error::invalid(format!("source \"{source}\" takes plain events, no Segment messages"))
            .with_hint("make a write key for another source: lacus key create --source NAME"),
    };
    Err(Refusal::invalid(Reason::Parameter, error))
}

async fn create_stream(inner: &Inner, source: &StreamName, format: Format) -> Result<(), Refusal> {
    if format == Format::Segment {
        // It will be delivered to a database of its name.
        source.table_in("tracks").map_err(|error| Refusal::invalid(Reason::Parameter, error))?;
    }
    let is_meant = inner.settings.sources.contains_key(source.as_str());
    let most = inner.limits.streams_by_request_max;
    if !is_meant && inner.log.streams().len() >= most {
        let most = human_count(most as u64);
        let error =
            Error::new(Kind::Limited, format!("there are {most} streams, so a request can't make \"{source}\""))
                .with_hint(format!("if it is meant, add [sources.{source}] to lacus.toml and start lacus again"));
        return Err(error.into());
    }
    let (log, name, shards) = (inner.log.clone(), source.clone(), inner.settings.partitions_of(source));
    let new = NewStream { shards, attributes: format.attributes() };
    let task = tokio::task::spawn_blocking(move || log.create_stream(&name, &new));
    task.await.map_err(|error| Error::internal("making a stream ended early").with_source(error))??;
    Ok(())
}

/// The format of a stream's records, which decides how they become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// JSON objects: rows of the stream's table.
    #[default]
    Json,
    /// Messages of the Segment API: rows of several tables.
    Segment,
}

impl Format {
    fn named(attribute: Option<&str>) -> Self {
        if attribute == Some(SEGMENT_FORMAT) { Self::Segment } else { Self::Json }
    }

    fn attributes(self) -> BTreeMap<String, String> {
        match self {
            Self::Json => BTreeMap::new(),
            Self::Segment => [(FORMAT_ATTRIBUTE.to_owned(), SEGMENT_FORMAT.to_owned())].into(),
        }
    }
}
