//! Records of a stream as lines of JSON, once or as they come.
//!
//! Each line is `{"shard","offset","received_at","key","event"}`; a record that is no JSON has `"data"` (base64) in place
//! of `"event"`. Within a shard lines come in order, and a shard's records after those of its parents.
//!
//! What was read counts until its lines are sent, over all readers together, and only a few read at once; between turns a
//! reader holds nothing.

mod filter;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::stream;
use lacus_core::{Budget, Error, Kind, Offset, Partition, Record, RejectedEvent, Result, Share, Timestamp};
use lacus_stream::{Log, Shard, StreamInfo};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, watch};

use self::filter::Filter;
use super::super::Shared;
use super::super::refusal::Refusal;
use super::find;

/// Bytes of records read from a shard at once.
const READ_BYTES_MAX: usize = 256 << 10;
/// What ends a line.
const LINE_ENDS: [char; 2] = ['\n', '\r'];
/// Bytes of lines after which a turn reads no further shard: a stream may have thousands.
const LINES_BYTES_ENOUGH: usize = 256 << 10;
/// The most bytes of records and their lines in memory at once, of all readers.
const RECORDS_BYTES_MAX: usize = 64 << 20;
/// The most readers that read at the same time: a record, or a piece of the log in which a time is looked for, counts only once it
/// was read.
const READS_MAX: usize = 4;
/// About as often a record is there while its line is made: as it was read, on one line, and in lines whose room doubles.
const COPIES: usize = 4;
/// About what a line has beside its record, in lines whose room doubles.
const LINE_BYTES: usize = 160;
/// A reader for whom there is no room tries again so often …
const ROOM_TRIES: u32 = 10;
/// … after this pause.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// `start`, `now`, a time or an offset. By default `start`, or the cursor of the reader.
    from: Option<String>,
    /// A reader whose cursor says where to begin.
    reader: Option<String>,
    /// One shard only.
    shard: Option<u32>,
    /// End after so many records.
    limit: Option<u64>,
    /// Go on when the end is reached.
    #[serde(default)]
    follow: bool,
    /// `path=value`: only events whose field has this value.
    r#where: Option<String>,
    /// Only records that contain this text.
    contains: Option<String>,
}

/// Where to begin in a shard.
enum From {
    Start,
    Now,
    Time(Timestamp),
    Offset(Offset),
    /// The cursor of a reader; shards it has not begun are read from their start.
    Cursor(lacus_core::Offsets),
}

/// What all readers together may have in memory.
#[derive(Clone)]
pub(in crate::http) struct Room {
    budget: Budget,
    reads: Arc<Semaphore>,
}

/// Lines, and their room in the budget until they are sent.
struct Lines {
    text: Vec<u8>,
    share: Share,
}

/// A reader at work.
struct Tail {
    log: Log,
    room: Room,
    stream: StreamInfo,
    from: From,
    only: Option<Partition>,
    filter: Filter,
    left: u64,
    follow: bool,
    next: BTreeMap<Partition, Offset>,
    /// Where the next turn begins, when the last one had enough before it came to all shards.
    first_shard: Partition,
    changes: watch::Receiver<u64>,
}

pub(super) async fn records(
    State(inner): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let stream = find(&inner, path)?;
    let Query(asked) = asked.map_err(|error| Error::invalid(error.body_text()))?;
    let tail = Tail::new(inner.served.log.clone(), inner.records.clone(), stream, asked)?;
    // If nothing can be read at all, the status tells.
    let first = tail.advance().await?;
    let lines = stream::unfold(first, |(lines, tail)| async move {
        if let Some(lines) = lines {
            return Some((Ok::<Bytes, Infallible>(lines), (None, tail)));
        }
        let (lines, tail) = tail?.advance().await.unwrap_or_else(|error| (Some(last_words(&error)), None));
        lines.map(|lines| (Ok(lines), (None, tail)))
    });
    let content_type = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(lines)).into_response())
}

impl Room {
    pub(in crate::http) fn new() -> Self {
        Self { budget: Budget::new(RECORDS_BYTES_MAX), reads: Arc::new(Semaphore::new(READS_MAX)) }
    }
}

impl Tail {
    fn new(log: Log, room: Room, stream: StreamInfo, asked: Asked) -> Result<Self> {
        let from = match (asked.from.as_deref(), asked.reader.as_deref()) {
            (Some(_), Some(_)) => return Err(Error::invalid("\"from\" and \"reader\" both say where to begin")),
            (None, Some(reader)) => From::Cursor(log.cursor(&stream.name, reader)?),
            (from, None) => from.unwrap_or("start").parse()?,
        };
        let only = asked.shard.map(Partition);
        if let Some(shard) = only.filter(|only| stream.current_shards().all(|shard| shard.partition != *only)) {
            return Err(Error::not_found(format!("stream \"{}\" has no shard {}", stream.name, shard.0)));
        }
        if matches!(from, From::Offset(_)) && only.is_none() {
            return Err(Error::invalid("an offset needs its shard").with_hint("add shard=0"));
        }
        let changes = log.changes();
        // Shards that later reshards make are read from their start.
        let next = match from {
            From::Now => {
                stream.shards.iter().map(|shard| (shard.partition, stream.end.next(shard.partition))).collect()
            }
            _ => BTreeMap::new(),
        };
        Ok(Self {
            filter: Filter::new(asked.r#where.as_deref(), asked.contains)?,
            left: asked.limit.unwrap_or(u64::MAX),
            follow: asked.follow,
            next,
            first_shard: Partition(0),
            only,
            from,
            log,
            room,
            stream,
            changes,
        })
    }

    /// The next lines, and the reader to go on with. Without lines, this is the end.
    async fn advance(mut self) -> Result<(Option<Bytes>, Option<Self>)> {
        let mut tries = 0;
        loop {
            self.changes.mark_unchanged();
            let permit = Arc::clone(&self.room.reads).acquire_owned().await.expect("the semaphore is never closed");
            let turn = tokio::task::spawn_blocking(move || {
                let read = self.read();
                // Who waits for room keeps nobody from reading.
                drop(permit);
                (read, self)
            });
            let (read, tail) =
                turn.await.map_err(|error| Error::internal("the read ended early").with_source(error))?;
            self = tail;
            let (lines, is_at_end) = match read {
                Err(error) if error.kind() == Kind::Limited && tries < ROOM_TRIES => {
                    tries += 1;
                    tokio::time::sleep(ROOM_PAUSE).await;
                    continue;
                }
                read => read?,
            };
            tries = 0;
            let is_over = self.left == 0 || (is_at_end && !self.follow);
            if is_over {
                return Ok(((!lines.text.is_empty()).then(|| lines.into_bytes()), None));
            }
            if !lines.text.is_empty() {
                return Ok((Some(lines.into_bytes()), Some(self)));
            }
            // Who waits holds nothing.
            drop(lines);
            if is_at_end && self.changes.changed().await.is_err() {
                return Ok((None, None));
            }
        }
    }

    /// Reads once from each shard whose parents are finished, or from as many as give enough lines. Returns whether there was
    /// nothing to read. What was refused for want of room is read again.
    fn read(&mut self) -> Result<(Lines, bool)> {
        self.stream = self.log.stream(&self.stream.name).unwrap_or_else(|| self.stream.clone());
        let mut lines = Lines { text: Vec::new(), share: self.room.budget.share() };
        let (mut is_at_end, mut is_enough) = (true, false);
        for shard in self.shards_in_turn() {
            if is_enough {
                self.first_shard = shard.partition;
                break;
            }
            if !self.parents_are_read(&shard) {
                continue;
            }
            let from = self.position(shard.partition)?;
            let records = match self.log.read(&self.stream.name, shard.partition, from, READ_BYTES_MAX) {
                Err(error) if error.kind() == Kind::NotFound => {
                    let start = self.left_by_retention(shard.partition, from).ok_or(error)?;
                    is_at_end = false;
                    self.next.insert(shard.partition, start);
                    continue;
                }
                read => read?,
            };
            match lines.make_room(&records) {
                Err(_) if !lines.text.is_empty() => {
                    self.first_shard = shard.partition;
                    break;
                }
                made => made?,
            }
            for record in &records {
                is_at_end = false;
                self.next.insert(shard.partition, record.position.offset.plus(1));
                if self.left > 0 && self.filter.wants(&record.value) {
                    self.left -= 1;
                    write_line(record, &mut lines.text);
                }
                if self.left == 0 {
                    break;
                }
            }
            // Keys of control characters are longer in a line than was thought.
            let is_room_over = lines.share.cover(lines.text.capacity()).is_err();
            is_enough = self.left == 0 || is_room_over || lines.text.len() >= LINES_BYTES_ENOUGH;
        }
        Ok((lines, is_at_end))
    }

    /// Where a shard begins by now, if retention was faster. Else what should be there is missing.
    fn left_by_retention(&self, shard: Partition, from: Offset) -> Option<Offset> {
        let stream = self.log.stream_or_deleted(&self.stream.name)?;
        Some(stream.start.next(shard)).filter(|start| *start > from)
    }

    /// The shards that are wanted, beginning with the one whose turn it is.
    fn shards_in_turn(&self) -> Vec<Shard> {
        let is_wanted = |shard: &&Shard| self.only.is_none_or(|only| only == shard.partition);
        let mut shards: Vec<Shard> = self.stream.current_shards().filter(is_wanted).cloned().collect();
        let first = shards.partition_point(|shard| shard.partition < self.first_shard);
        shards.rotate_left(first);
        shards
    }

    /// A single shard is read whatever its parents; across all shards order is kept.
    fn parents_are_read(&self, shard: &Shard) -> bool {
        let is_read =
            |parent: &Partition| self.next.get(parent).is_some_and(|next| *next >= self.stream.end.next(*parent));
        self.only.is_some() || shard.parents.iter().all(is_read)
    }

    fn position(&mut self, shard: Partition) -> Result<Offset> {
        if let Some(next) = self.next.get(&shard) {
            return Ok(*next);
        }
        let start = self.stream.start.next(shard);
        let next = match &self.from {
            From::Start | From::Now => start,
            From::Time(time) => self.log.find_time(&self.stream.name, shard, *time)?,
            From::Offset(offset) => (*offset).max(start),
            From::Cursor(cursor) => cursor.next(shard).max(start),
        };
        self.next.insert(shard, next);
        Ok(next)
    }
}

impl Lines {
    /// Makes room for records, and for the lines that they may become.
    fn make_room(&mut self, records: &[Record]) -> Result<()> {
        let bytes_of = |record: &Record| {
            let sent = record.value.len() + record.key.as_ref().map_or(0, Bytes::len);
            COPIES * sent + size_of::<Record>() + LINE_BYTES
        };
        self.share.cover(self.text.capacity() + records.iter().map(bytes_of).sum::<usize>())
    }

    fn into_bytes(mut self) -> Bytes {
        // The end of a long line may have doubled their room.
        self.text.shrink_to_fit();
        self.share.keep(self.text.capacity());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Lines {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl FromStr for From {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "start" => Ok(Self::Start),
            "now" => Ok(Self::Now),
            text => match text.parse() {
                Ok(offset) => Ok(Self::Offset(Offset(offset))),
                Err(_) => Ok(Self::Time(text.parse().map_err(|error: Error| {
                    error.with_hint("begin at start, now, a time such as 2026-11-20T19:30:00Z, or an offset")
                })?)),
            },
        }
    }
}

#[derive(Serialize)]
struct WireRecord<'a> {
    shard: u32,
    offset: u64,
    received_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

fn write_line(record: &Record, lines: &mut Vec<u8>) {
    let value = RejectedEvent::sent(record.value.clone());
    let event = serde_json::from_slice::<&RawValue>(&value).ok();
    // An event that was sent on several lines is one line here, with blanks in place of their ends: no text has any.
    let several = event.filter(|raw| raw.get().contains(LINE_ENDS));
    let in_one = several.and_then(|raw| RawValue::from_string(raw.get().replace(LINE_ENDS, " ")).ok());
    let event = in_one.as_deref().or(event);
    let line = WireRecord {
        shard: record.position.partition.0,
        offset: record.position.offset.0,
        received_at: record.received_at.to_string(),
        key: record.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned()),
        data: event.is_none().then(|| BASE64.encode(&value)),
        event,
    };
    // Writing to memory can't fail, and its fields are text and numbers.
    serde_json::to_writer(&mut *lines, &line).ok();
    lines.push(b'\n');
}

/// The last line of an answer that breaks off.
fn last_words(error: &Error) -> Bytes {
    format!("{}\n", serde_json::json!({"error": {"kind": error.kind().as_str(), "message": error.chain()}})).into()
}

#[cfg(test)]
mod tests;
