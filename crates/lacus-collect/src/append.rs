//! From the bytes of a request to records on disk.
//!
//! Everything that can be refused is refused before the log is asked, so that the answer is one of: these events are on
//! disk and those were refused; or nothing was accepted. A sender that goes away is not answered; what it sent may then
//! be on disk, as after any lost answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::BodyDataStream;
use axum::http::StatusCode;
use bytes::Bytes;
use lacus_core::settings::InvalidEvents;
use lacus_core::units::{ByteSize, human_count};
use lacus_core::{Error, Kind, NewRecord, Position, StreamName};
use lacus_stream::{NewStream, StreamInfo};
use sha2::{Digest, Sha256};

use crate::body;
use crate::budget::Share;
use crate::json::{self, EVENT_BYTES_MAX, Fault, Flaw};
use crate::message_id::message_id;
use crate::refusal::Refusal;
use crate::request::{Encoding, Target};
use crate::split::{EVENTS_MAX, Halt, Piece, split};
use crate::stats::{Reason, SourceCounters, SourceStats};
use crate::{FORMAT_ATTRIBUTE, Inner, SEGMENT_FORMAT};

/// So many refused events are explained one by one; the others are counted.
pub(crate) const EXPLAINED_MAX: usize = 100;

/// What a request asks for.
pub(crate) struct Order {
    pub(crate) target: Target,
    /// What makes the events the same when the request comes again.
    pub(crate) idempotency_key: Option<Bytes>,
    pub(crate) encoding: Encoding,
    pub(crate) says_lines: bool,
}

/// What became of the events of a request.
#[derive(Debug, Default)]
pub(crate) struct Receipt {
    pub(crate) tally: SourceStats,
    /// The first [`EXPLAINED_MAX`] refused events: which of the body, counted from zero, and why.
    pub(crate) refused: Vec<(usize, String)>,
}

/// The checked events of a request.
struct Batch {
    records: Vec<NewRecord>,
    receipt: Receipt,
    /// What was refused, to be counted.
    reasons: Vec<Reason>,
}

/// What a body is checked with.
struct Checker {
    order: Order,
    partition_key: Option<String>,
    /// The field that is an event's identity.
    id: Option<String>,
    keeps_invalid: bool,
    body_bytes_max: ByteSize,
}

/// Reads a body, checks its events and brings the good ones to disk.
///
/// # Errors
/// Why nothing at all was accepted.
pub(crate) async fn receive(inner: &Inner, order: Order, body: &mut BodyDataStream) -> Result<Receipt, Refusal> {
    let most = inner.settings.server.body_bytes_max;
    let mut share = inner.budget.share();
    let packed = body::read(body, most, inner.limits.body_wait_max, &mut share).await?;
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

/// Brings records to disk, and counts them. Makes the stream if it is new.
///
/// # Errors
/// Why nothing was accepted.
pub(crate) async fn store(
    inner: &Inner,
    source: &StreamName,
    records: Vec<NewRecord>,
    tally: SourceStats,
) -> Result<Vec<Position>, Refusal> {
    store_as(inner, source, Format::Json, records, tally).await
}

/// The same for a stream of this format.
///
/// # Errors
/// Why nothing was accepted; `Invalid` if the stream has another format.
pub(crate) async fn store_as(
    inner: &Inner,
    source: &StreamName,
    format: Format,
    records: Vec<NewRecord>,
    tally: SourceStats,
) -> Result<Vec<Position>, Refusal> {
    let counters = ready_stream(inner, source, format).await?;
    let appended = inner.log.append(source, records).await;
    // It was deleted since we last looked: the sender is asked to try again, which makes it anew.
    if appended.as_ref().is_err_and(|error| error.kind() == Kind::NotFound) {
        inner.counters.forget(source);
    }
    let positions = appended?;
    counters.count(tally);
    Ok(positions)
}

/// Unpacks and checks a body. How long a packed one is shows only then.
async fn check(inner: &Inner, checker: Checker, packed: Bytes, mut share: Share) -> Result<(Batch, Share), Refusal> {
    let bytes = if checker.order.encoding == Encoding::Identity { packed.len() } else { usize::MAX };
    inner.work(bytes, move || Ok((checker.batch(packed, &mut share)?, share))).await?
}

/// Makes sure that the stream exists and takes events of this format.
async fn ready_stream(inner: &Inner, source: &StreamName, format: Format) -> Result<Arc<SourceCounters>, Refusal> {
    if let Some(counters) = inner.counters.known(source).filter(|counters| counters.format == format) {
        return Ok(counters);
    }
    if inner.log.stream(source).is_none() {
        create_stream(inner, source, format).await?;
    }
    let stream = inner.log.stream(source).ok_or_else(|| Error::unavailable("the stream was deleted just now"))?;
    if Format::of(&stream) != format {
        let error = match format {
            Format::Json => Error::invalid(format!("source \"{source}\" takes messages of the Segment API only"))
                .with_hint("post events to another source, or send them with a Segment SDK"),
            Format::Segment => Error::invalid(format!("source \"{source}\" takes plain events, no Segment messages"))
                .with_hint("make a write key for another source: lacus key create --source NAME"),
        };
        return Err(Refusal::invalid(Reason::Parameter, error));
    }
    Ok(inner.counters.know(source, format))
}

async fn create_stream(inner: &Inner, source: &StreamName, format: Format) -> Result<(), Refusal> {
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

/// What the records of a stream are: how they become rows depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// JSON objects: rows of the stream's table.
    #[default]
    Json,
    /// Messages of the Segment API: rows of several tables.
    Segment,
}

impl Format {
    fn of(stream: &StreamInfo) -> Self {
        let is_segment = stream.attributes.get(FORMAT_ATTRIBUTE).is_some_and(|format| format == SEGMENT_FORMAT);
        if is_segment { Self::Segment } else { Self::Json }
    }

    fn attributes(self) -> BTreeMap<String, String> {
        match self {
            Self::Json => BTreeMap::new(),
            Self::Segment => [(FORMAT_ATTRIBUTE.to_owned(), SEGMENT_FORMAT.to_owned())].into(),
        }
    }
}

impl Checker {
    fn new(inner: &Inner, order: Order, source: &StreamName) -> Self {
        let settings = inner.settings.source(source);
        Self {
            order,
            partition_key: settings.partition_key,
            id: settings.id,
            keeps_invalid: settings.invalid == InvalidEvents::Quarantine,
            body_bytes_max: inner.settings.server.body_bytes_max,
        }
    }

    fn batch(&self, packed: Bytes, share: &mut Share) -> Result<Batch, Refusal> {
        let packed_bytes = packed.len();
        let text = body::unpack(packed, self.order.encoding, self.body_bytes_max, share)?;
        body::check_unpacked(&text)?;
        let text = without_mark(text);
        let pieces = self.pieces(&text)?;
        if pieces.is_empty() {
            let error = Error::invalid("the body has no event")
                .with_hint("send a JSON object, an array of them, or one on each line");
            return Err(Refusal::invalid(Reason::Empty, error));
        }
        share.cover(packed_bytes + text.len() + pieces.len() * (size_of::<Piece>() + size_of::<NewRecord>()))?;
        Ok(self.sort(&text, pieces))
    }

    fn pieces(&self, text: &[u8]) -> Result<Vec<Piece>, Refusal> {
        match split(text, self.order.says_lines) {
            Ok(pieces) => Ok(pieces),
            Err(Halt::Broken(fault)) if self.keeps(fault.flaw) && text.len() <= EVENT_BYTES_MAX => {
                Ok(vec![Piece { range: 0..text.len(), fault: Some(fault) }])
            }
            Err(Halt::Broken(fault)) => {
                let place = Places::new(text).of(&fault);
                let error = Error::invalid(format!("the body is not well-formed JSON: {place}"))
                    .with_hint("nothing of it was accepted");
                Err(Refusal::invalid(fault.flaw.into(), error))
            }
            Err(Halt::TooMany) => {
                let most = human_count(EVENTS_MAX as u64);
                let error = Error::invalid(format!("the body has more than {most} events"))
                    .with_hint("send fewer events at once");
                Err(Refusal::invalid(Reason::TooLarge, error).with_status(StatusCode::PAYLOAD_TOO_LARGE))
            }
        }
    }

    /// Whether bytes with this flaw are kept for the quarantine.
    fn keeps(&self, flaw: Flaw) -> bool {
        self.keeps_invalid && flaw != Flaw::TooLong
    }

    /// The good events as records, and why the others are none.
    fn sort(&self, text: &Bytes, pieces: Vec<Piece>) -> Batch {
        let mut batch =
            Batch { records: Vec::with_capacity(pieces.len()), receipt: Receipt::default(), reasons: Vec::new() };
        let mut places = Places::new(text);
        let request_id = self.request_id(text);
        for (index, piece) in pieces.into_iter().enumerate() {
            match piece.fault {
                Some(fault) if !self.keeps(fault.flaw) => batch.refuse(index, &fault, &mut places),
                fault => {
                    let record = self.record(text, &piece, fault.is_none());
                    let id = request_id.as_ref().map(|request| message_id("request", &[request, &index.to_le_bytes()]));
                    batch.accept(NewRecord { id: id.or(record.id), ..record }, fault.is_none());
                }
            }
        }
        batch.receipt.tally.requests = 1;
        batch
    }

    /// What the events of a request that comes again share: its key and its bytes. The same key with other bytes is another
    /// request: of two that differ none may be dropped.
    fn request_id(&self, text: &[u8]) -> Option<Vec<u8>> {
        let key = self.order.idempotency_key.as_ref()?;
        Some([&Sha256::digest(text)[..], key].concat())
    }

    fn record(&self, text: &Bytes, piece: &Piece, is_event: bool) -> NewRecord {
        let value = text.slice(piece.range.clone());
        let path = |path: &'_ Option<String>| path.clone().filter(|_| is_event);
        let key = self.order.target.key.clone().or_else(|| json::key(&value, &path(&self.partition_key)?));
        let id = path(&self.id).and_then(|path| json::value(&value, &path)).map(|id| message_id("event", &[&id]));
        NewRecord { key, id, ..NewRecord::of(value) }
    }
}

impl Batch {
    fn accept(&mut self, record: NewRecord, is_event: bool) {
        let tally = &mut self.receipt.tally;
        tally.accepted += 1;
        tally.quarantined += u64::from(!is_event);
        tally.bytes += record.value.len() as u64;
        self.records.push(record);
    }

    fn refuse(&mut self, index: usize, fault: &Fault, places: &mut Places<'_>) {
        self.receipt.tally.refused += 1;
        self.reasons.push(fault.flaw.into());
        if self.receipt.refused.len() < EXPLAINED_MAX {
            self.receipt.refused.push((index, places.of(fault)));
        }
    }
}

/// A byte order mark is no part of JSON; some senders put one first.
fn without_mark(text: Bytes) -> Bytes {
    if text.starts_with(b"\xef\xbb\xbf") { text.slice(3..) } else { text }
}

/// Finds lines and columns of faults, which come in order, in one pass over the text.
struct Places<'a> {
    text: &'a [u8],
    /// Everything before this byte is counted.
    at: usize,
    line: usize,
    line_start: usize,
}

impl<'a> Places<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, line: 1, line_start: 0 }
    }

    /// `line 3 column 14: expected a value`, both counted from one, the column in bytes.
    fn of(&mut self, fault: &Fault) -> String {
        let at = fault.at.clamp(self.at, self.text.len());
        for (index, byte) in self.text.iter().enumerate().take(at).skip(self.at) {
            if *byte == b'\n' {
                self.line += 1;
                self.line_start = index + 1;
            }
        }
        self.at = at;
        format!("line {} column {}: {}", self.line, at - self.line_start + 1, fault.flaw)
    }
}
