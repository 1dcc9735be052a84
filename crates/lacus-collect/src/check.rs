//! What a body holds, event by event: which of them are good, and what is wrong with the others.
//!
//! An event that is good becomes a record of its own bytes. One that is not is refused and explained; or, if its source
//! says so, it becomes a record too, and delivery puts it into quarantine. What is no JSON object needs no mark for that; what
//! is one, and against the schema, is kept as a [`RejectedEvent`].

use std::fmt::Display;
use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use lacus_core::settings::InvalidEvents;
use lacus_core::units::{ByteSize, human_count};
use lacus_core::{Error, MessageId, NewRecord, RejectedEvent, Share, StreamName};
use sha2::{Digest, Sha256};

use crate::json::{self, EVENT_BYTES_MAX, Fault, Flaw};
use crate::message_id::{event_id, message_id};
use crate::refusal::Refusal;
use crate::request::{Encoding, Target};
use crate::schemas::{REASON_BYTES_MAX, Schema};
use crate::split::{EVENTS_MAX, Halt, Piece, split};
use crate::stats::{Reason, SourceStats};
use crate::webhook::Signature;
use crate::{Inner, body, form};

/// The most refused events that are explained one by one; the others are only counted.
pub(crate) const EXPLAINED_MAX: usize = 100;

/// What a request asks for.
pub(crate) struct Order {
    pub(crate) target: Target,
    /// Identifies the events when the request is sent again.
    pub(crate) identity: Option<Identity>,
    pub(crate) encoding: Encoding,
    pub(crate) says_lines: bool,
    /// Whether the body may be a form, which is one event.
    pub(crate) says_form: bool,
    /// What proves who sent the body.
    pub(crate) signature: Option<Signature>,
}

/// What a sender calls a request.
pub(crate) enum Identity {
    /// Identifies a request with the same bytes. The same key with other bytes is another request: neither may be dropped.
    IdempotencyKey(Bytes),
    /// Identifies the request whatever its bytes: the sender is authenticated.
    Delivery(Bytes),
}

/// What became of the events of a request.
#[derive(Debug, Default)]
pub(crate) struct Receipt {
    pub(crate) tally: SourceStats,
    /// The first [`EXPLAINED_MAX`] refused events: their index in the body from zero, and why.
    pub(crate) refused: Vec<(usize, String)>,
}

/// The checked events of a request.
pub(crate) struct Batch {
    pub(crate) records: Vec<NewRecord>,
    pub(crate) receipt: Receipt,
    /// What was refused, to be counted.
    pub(crate) reasons: Vec<Reason>,
}

/// What a body is checked with.
pub(crate) struct Checker {
    order: Order,
    partition_key: Option<String>,
    /// The field with an event's identity.
    id: Option<String>,
    schema: Option<Arc<Schema>>,
    keeps_invalid: bool,
    body_bytes_max: ByteSize,
}

/// What is wrong with a piece of a body.
enum Wrong {
    /// It is no event.
    Fault(Fault),
    /// It is against the schema: how.
    Schema(String),
}

impl Checker {
    pub(crate) fn new(inner: &Inner, order: Order, source: &StreamName) -> Self {
        let settings = inner.settings.source(source);
        Self {
            order,
            partition_key: settings.partition_key,
            id: settings.id,
            schema: inner.schemas.of(source),
            keeps_invalid: settings.invalid == InvalidEvents::Quarantine,
            body_bytes_max: inner.settings.server.body_bytes_max,
        }
    }

    pub(crate) fn has_schema(&self) -> bool {
        self.schema.is_some()
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.order.encoding
    }

    /// Unpacks a body and checks its events. CPU-bound.
    ///
    /// # Errors
    /// If it can't be taken apart, is not who it says it is, or does not fit the budget.
    pub(crate) fn batch(&self, packed: Bytes, share: &mut Share) -> Result<Batch, Refusal> {
        if let Some(signature) = &self.order.signature {
            signature.verify(&packed)?;
        }
        let packed_bytes = packed.len();
        let text = body::unpack(packed, self.order.encoding, self.body_bytes_max, share)?;
        body::check_unpacked(&text)?;
        let text = without_mark(text);
        let text = if self.order.says_form { form::as_json(text)? } else { text };
        let pieces = self.pieces(&text)?;
        if pieces.is_empty() {
            let error = Error::invalid("the body has no event")
                .with_hint("send a JSON object, an array of them, or one on each line");
            return Err(Refusal::invalid(Reason::Empty, error));
        }
        let beside = pieces.len() * (size_of::<Piece>() + size_of::<NewRecord>()) + self.schema_bytes(&text, &pieces);
        share.cover(packed_bytes + text.len() + beside)?;
        Ok(self.sort(&text, pieces))
    }

    /// The memory that validation needs: one event at a time as a tree, and rejected ones with their reasons.
    fn schema_bytes(&self, text: &[u8], pieces: &[Piece]) -> usize {
        let Some(schema) = &self.schema else { return 0 };
        let longest = pieces.iter().map(|piece| piece.range.len()).max().unwrap_or_default();
        let beside = pieces.len() * (REASON_BYTES_MAX + RejectedEvent::MORE_BYTES);
        let kept = if self.keeps_invalid { text.len() + beside } else { 0 };
        schema.bytes_for(longest) + kept
    }

    fn pieces(&self, text: &[u8]) -> Result<Vec<Piece>, Refusal> {
        match split(text, self.order.says_lines) {
            Ok(pieces) => Ok(pieces),
            Err(Halt::Broken(fault)) if self.keeps_invalid && text.len() <= EVENT_BYTES_MAX => {
                Ok(vec![Piece { range: 0..text.len(), fault: Some(fault) }])
            }
            Err(Halt::Broken(fault)) => {
                let place = Places::new(text).of(fault.at, &fault.flaw);
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

    /// Turns the good events into records, and explains the others.
    fn sort(&self, text: &Bytes, pieces: Vec<Piece>) -> Batch {
        let mut batch =
            Batch { records: Vec::with_capacity(pieces.len()), receipt: Receipt::default(), reasons: Vec::new() };
        let mut places = Places::new(text);
        let request_id = self.request_id(text);
        for (index, piece) in pieces.into_iter().enumerate() {
            let wrong = self.wrong(text, &piece);
            let is_good = wrong.is_none();
            let value = match wrong {
                None => Ok(text.slice(piece.range.clone())),
                Some(wrong) => self.keep(text, &piece, wrong),
            };
            match value {
                Ok(value) => {
                    let (key, id) = self.key_and_id(text, &piece);
                    let id = request_id.as_ref().map(|request| request.of_event(index)).or(id);
                    let id = if is_good { id } else { id.map(|id| of_rejected(id, &value)) };
                    batch.accept(NewRecord { key, id, ..NewRecord::of(value) }, is_good);
                }
                Err(wrong) => batch.refuse(index, piece.range.start, &wrong, &mut places),
            }
        }
        batch.receipt.tally.requests = 1;
        batch
    }

    fn wrong(&self, text: &[u8], piece: &Piece) -> Option<Wrong> {
        if let Some(fault) = piece.fault {
            return Some(Wrong::Fault(fault));
        }
        self.schema.as_ref()?.violation(&text[piece.range.clone()]).map(Wrong::Schema)
    }

    /// The record of a rejected event for the quarantine, or why it is not kept.
    fn keep(&self, text: &Bytes, piece: &Piece, wrong: Wrong) -> Result<Bytes, Wrong> {
        let bytes = text.slice(piece.range.clone());
        let too_long = || Wrong::Fault(Fault { at: piece.range.start, flaw: Flaw::TooLong });
        let value = match wrong {
            wrong if !self.keeps_invalid => return Err(wrong),
            Wrong::Fault(_) => RejectedEvent::unjudged(bytes),
            Wrong::Schema(reason) => RejectedEvent::record(&reason, &bytes),
        };
        if value.len() <= EVENT_BYTES_MAX { Ok(value) } else { Err(too_long()) }
    }

    fn request_id(&self, text: &[u8]) -> Option<RequestId> {
        Some(match self.order.identity.as_ref()? {
            Identity::IdempotencyKey(key) => RequestId("request", [&Sha256::digest(text)[..], key].concat()),
            Identity::Delivery(id) => RequestId("webhook", id.to_vec()),
        })
    }

    /// The partition key and the identity of an event. What is no event has none of its own.
    fn key_and_id(&self, text: &[u8], piece: &Piece) -> (Option<Bytes>, Option<MessageId>) {
        let key = self.order.target.key.clone();
        if piece.fault.is_some() {
            return (key, None);
        }
        let event = &text[piece.range.clone()];
        let key = key.or_else(|| json::key(event, self.partition_key.as_deref()?));
        (key, self.id.as_deref().and_then(|path| event_id(event, path)))
    }
}

/// The part of message ids that all events of a request share.
struct RequestId(&'static str, Vec<u8>);

impl RequestId {
    fn of_event(&self, index: usize) -> MessageId {
        message_id(self.0, &[&self.1, &index.to_le_bytes()])
    }
}

/// The id of an event that goes to quarantine. It is the same when the event is sent again, and differs from that of the
/// event itself: once the event, or the schema, is corrected, it must not be taken for a duplicate.
fn of_rejected(id: MessageId, value: &[u8]) -> MessageId {
    message_id("rejected", &[&id.0.to_le_bytes(), value])
}

impl Wrong {
    fn reason(&self) -> Reason {
        match self {
            Self::Fault(fault) => fault.flaw.into(),
            Self::Schema(_) => Reason::Schema,
        }
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

    fn refuse(&mut self, index: usize, start: usize, wrong: &Wrong, places: &mut Places<'_>) {
        self.receipt.tally.refused += 1;
        self.reasons.push(wrong.reason());
        if self.receipt.refused.len() < EXPLAINED_MAX {
            let explained = match wrong {
                Wrong::Fault(fault) => places.of(fault.at, &fault.flaw),
                Wrong::Schema(how) => places.of(start, how),
            };
            self.receipt.refused.push((index, explained));
        }
    }
}

/// A byte order mark is not part of JSON, but some senders begin with one.
fn without_mark(text: Bytes) -> Bytes {
    if text.starts_with(b"\xef\xbb\xbf") { text.slice(3..) } else { text }
}

/// Computes lines and columns of errors, which come in order, in one pass over the text.
struct Places<'a> {
    text: &'a [u8],
    /// Everything before this byte was counted.
    at: usize,
    line: usize,
    line_start: usize,
}

impl<'a> Places<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, line: 1, line_start: 0 }
    }

    /// `line 3 column 14: expected a value`, both counted from one, the column in bytes.
    fn of(&mut self, at: usize, what: &dyn Display) -> String {
        let at = at.clamp(self.at, self.text.len());
        for (index, byte) in self.text.iter().enumerate().take(at).skip(self.at) {
            if *byte == b'\n' {
                self.line += 1;
                self.line_start = index + 1;
            }
        }
        self.at = at;
        format!("line {} column {}: {}", self.line, at - self.line_start + 1, what)
    }
}
