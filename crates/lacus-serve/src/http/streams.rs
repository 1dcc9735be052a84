//! `/v1/streams`: what the log holds, as streams and shards.
//!
//! | | |
//! |---|---|
//! | `GET /v1/streams` | all streams |
//! | `POST /v1/streams` | `{"name","shards"}`: makes one |
//! | `GET /v1/streams/{stream}` | its shards |
//! | `DELETE /v1/streams/{stream}` | ends it: what it has stays in its table |
//! | `POST /v1/streams/{stream}/reshard` | `{"shards":4}`, `{"split":0,"at":"…"}` or `{"merge":[1,2]}` |
//! | `GET /v1/streams/{stream}/records` | records, once or as they come (see [`reading`]) |
//! | `GET`, `PUT`, `DELETE /v1/streams/{stream}/readers/{reader}` | a reader's durable cursor |

mod reading;

use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use lacus_core::units::Millis;
use lacus_core::{Error, Offset, Offsets, Partition, Result, StreamName};
use lacus_stream::{Log, NewStream, Shard, StreamInfo};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::object::Object;
use super::refusal::Refusal;

pub(super) use self::reading::Room;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/streams", get(list).post(create))
        .route("/v1/streams/{stream}", get(describe).delete(delete))
        .route("/v1/streams/{stream}/reshard", post(reshard))
        .route("/v1/streams/{stream}/records", get(reading::records))
        .route("/v1/streams/{stream}/readers/{reader}", get(cursor).put(set_cursor).delete(forget_cursor))
}

#[derive(Serialize)]
struct WireStreams {
    streams: Vec<WireSummary>,
}

#[derive(Serialize)]
struct WireSummary {
    name: String,
    open_shards: usize,
    closed_shards: usize,
    /// Records since it was made.
    records: u64,
    /// Records that are still in the log.
    retained: u64,
    created_at: String,
    /// None: as the settings say.
    retention: Option<String>,
}

#[derive(Serialize)]
struct WireStream {
    #[serde(flatten)]
    summary: WireSummary,
    attributes: BTreeMap<String, String>,
    shards: Vec<WireShard>,
}

#[derive(Serialize)]
struct WireShard {
    shard: u32,
    state: &'static str,
    /// A decimal number as text: it has up to 39 digits.
    hash_start: String,
    hash_end: String,
    parents: Vec<u32>,
    /// The offset of the first record that is still there.
    start: u64,
    /// The offset of the next record to come.
    end: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedStream {
    name: String,
    #[serde(default = "one")]
    shards: u32,
}

/// How to change the shards of a stream: one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedReshard {
    shards: Option<u32>,
    split: Option<u32>,
    at: Option<String>,
    merge: Option<[u32; 2]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCursor {
    /// The next offset to read, by shard.
    offsets: BTreeMap<u32, u64>,
}

fn one() -> u32 {
    1
}

async fn list(State(inner): State<Shared>) -> Json<WireStreams> {
    let streams = inner.served.log.streams();
    Json(WireStreams { streams: streams.iter().filter(|stream| !stream.is_deleted).map(summary).collect() })
}

async fn create(State(inner): State<Shared>, Object(asked): Object<AskedStream>) -> Result<Json<WireStream>, Refusal> {
    let name = StreamName::new(&asked.name)?;
    if inner.served.log.stream(&name).is_some() {
        return Err(Error::new(lacus_core::Kind::Exists, format!("there is a stream \"{name}\" already")).into());
    }
    let made = change(&inner, move |log| log.create_stream(&name, &NewStream::of_shards(asked.shards))).await?;
    Ok(Json(wire(made)))
}

async fn describe(
    State(inner): State<Shared>,
    stream: Result<Path<String>, PathRejection>,
) -> Result<Json<WireStream>, Refusal> {
    Ok(Json(wire(find(&inner, stream)?)))
}

async fn delete(
    State(inner): State<Shared>,
    stream: Result<Path<String>, PathRejection>,
) -> Result<Json<WireStream>, Refusal> {
    let stream = find(&inner, stream)?;
    let name = stream.name.clone();
    change(&inner, move |log| log.delete_stream(&name)).await?;
    Ok(Json(wire(stream)))
}

async fn reshard(
    State(inner): State<Shared>,
    stream: Result<Path<String>, PathRejection>,
    Object(asked): Object<AskedReshard>,
) -> Result<Json<WireStream>, Refusal> {
    let stream = find(&inner, stream)?;
    let name = stream.name.clone();
    let resharded = match asked {
        AskedReshard { shards: Some(count), split: None, at: None, merge: None } => {
            change(&inner, move |log| log.set_shard_count(&name, count)).await?
        }
        AskedReshard { shards: None, split: Some(shard), at, merge: None } => {
            let shard = Partition(shard);
            let at = split_point(&stream, shard, at.as_deref())?;
            change(&inner, move |log| log.split_shard(&name, shard, at)).await?
        }
        AskedReshard { shards: None, split: None, at: None, merge: Some([one, other]) } => {
            change(&inner, move |log| log.merge_shards(&name, Partition(one), Partition(other))).await?
        }
        _ => {
            return Err(Error::invalid("the body does not say one thing to do")
                .with_hint(
                    "send {\"shards\":4}, {\"split\":0}, {\"split\":0,\"at\":\"<hash key>\"} or {\"merge\":[1,2]}",
                )
                .into());
        }
    };
    Ok(Json(wire(resharded)))
}

/// The hash key at which to split a shard: the requested one, or the middle.
fn split_point(stream: &StreamInfo, shard: Partition, at: Option<&str>) -> Result<u128> {
    if let Some(at) = at {
        return at.parse().map_err(|_| {
            Error::invalid("\"at\" is no hash key").with_hint("write a decimal number from 0 to 2^128 - 1 as text")
        });
    }
    let found = stream.shards.iter().find(|candidate| candidate.partition == shard);
    let Shard { hash_start, hash_end, .. } =
        found.ok_or_else(|| Error::not_found(format!("stream \"{}\" has no shard {}", stream.name, shard.0)))?;
    // A shard of one hash key has no middle, and the last one nothing behind it: the log refuses to split them.
    Ok((hash_start + (hash_end - hash_start) / 2).saturating_add(1))
}

async fn cursor(
    State(inner): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<WireCursor>, Refusal> {
    let (stream, reader) = reader(&inner, path)?;
    let offsets = inner.served.log.cursor(&stream, &reader)?;
    Ok(Json(WireCursor { offsets: offsets.iter().map(|(shard, offset)| (shard.0, offset.0)).collect() }))
}

async fn set_cursor(
    State(inner): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
    Object(cursor): Object<WireCursor>,
) -> Result<Json<WireCursor>, Refusal> {
    let (stream, reader) = reader(&inner, path)?;
    let offsets: Offsets = cursor.offsets.iter().map(|(shard, offset)| (Partition(*shard), Offset(*offset))).collect();
    change(&inner, move |log| log.set_cursor(&stream, &reader, Some(&offsets))).await?;
    Ok(Json(cursor))
}

async fn forget_cursor(
    State(inner): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<WireCursor>, Refusal> {
    let (stream, reader) = reader(&inner, path)?;
    change(&inner, move |log| log.set_cursor(&stream, &reader, None)).await?;
    Ok(Json(WireCursor { offsets: BTreeMap::new() }))
}

/// Changes the log off the async threads.
async fn change<T: Send + 'static>(
    inner: &Shared,
    change: impl FnOnce(&Log) -> Result<T> + Send + 'static,
) -> Result<T> {
    let log = inner.served.log.clone();
    let changed = tokio::task::spawn_blocking(move || change(&log)).await;
    changed.unwrap_or_else(|error| Err(Error::internal("the change ended early").with_source(error)))
}

fn find(inner: &Shared, stream: Result<Path<String>, PathRejection>) -> Result<StreamInfo> {
    let Path(name) = stream.map_err(|error| Error::invalid(error.body_text()))?;
    let name = StreamName::new(&name)?;
    let missing =
        || Error::not_found(format!("there is no stream \"{name}\"")).with_hint("lacus stream list shows all");
    inner.served.log.stream(&name).ok_or_else(missing)
}

fn reader(inner: &Shared, path: Result<Path<(String, String)>, PathRejection>) -> Result<(StreamName, String)> {
    let Path((stream, reader)) = path.map_err(|error| Error::invalid(error.body_text()))?;
    Ok((find(inner, Ok(Path(stream)))?.name, reader))
}

fn summary(stream: &StreamInfo) -> WireSummary {
    let open_shards = stream.shards.iter().filter(|shard| shard.is_open()).count();
    WireSummary {
        name: stream.name.to_string(),
        open_shards,
        closed_shards: stream.shards.len() - open_shards,
        records: stream.end.total(),
        retained: stream.end.total().saturating_sub(stream.start.total()),
        created_at: stream.created_at.to_string(),
        retention: stream.retention.as_ref().map(Millis::to_string),
    }
}

fn wire(stream: StreamInfo) -> WireStream {
    let shard = |shard: &Shard| WireShard {
        shard: shard.partition.0,
        state: if shard.is_open() { "open" } else { "closed" },
        hash_start: shard.hash_start.to_string(),
        hash_end: shard.hash_end.to_string(),
        parents: shard.parents.iter().map(|parent| parent.0).collect(),
        start: stream.start.next(shard.partition).0,
        end: stream.end.next(shard.partition).0,
    };
    WireStream {
        summary: summary(&stream),
        shards: stream.shards.iter().map(shard).collect(),
        attributes: stream.attributes,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lacus_core::{Kind, SystemClock, settings};

    use super::*;

    #[test]
    fn a_shard_of_one_hash_key_has_no_middle() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path(), &settings::Stream::default(), Arc::new(SystemClock)).unwrap();
        let name = StreamName::new("clicks").unwrap();
        let stream = log.create_stream(&name, &NewStream::of_shards(1)).unwrap();
        assert_eq!(split_point(&stream, Partition(0), None).unwrap(), 1 << 127);
        let stream = log.split_shard(&name, Partition(0), u128::MAX).unwrap();
        let last = Partition(2);
        let at = split_point(&stream, last, None).unwrap();
        assert_eq!(log.split_shard(&name, last, at).unwrap_err().kind(), Kind::Invalid);
    }
}
