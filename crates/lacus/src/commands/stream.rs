//! `lacus stream …`: looks at streams, and changes their shards.

use axum::http::Method;
use chrono::{DateTime, Local};
use lacus_core::units::{human_count, human_count_of};
use lacus_core::{Error, Result, StreamName};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::answer::{Answer, Cell, printable};
use crate::cli::{Reshard, Stream, Tail};
use crate::door::{Door, next};
use crate::run::Invocation;

/// A stream, as `/v1/streams` answers it.
#[derive(Debug, Serialize, Deserialize)]
struct Summary {
    name: String,
    open_shards: u64,
    closed_shards: u64,
    records: u64,
    retained: u64,
    created_at: String,
    retention: Option<String>,
}

#[derive(Deserialize)]
struct Summaries {
    streams: Vec<Summary>,
}

/// The same with its shards.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    #[serde(flatten)]
    summary: Summary,
    shards: Vec<Shard>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Shard {
    shard: u64,
    state: String,
    hash_start: String,
    hash_end: String,
    parents: Vec<u64>,
    start: u64,
    end: u64,
}

#[derive(Deserialize)]
struct Event<'a> {
    shard: u64,
    offset: u64,
    received_at: DateTime<Local>,
    key: Option<String>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    data: Option<String>,
}

/// Runs one of the commands.
pub(crate) async fn run(command: Stream, invocation: &Invocation) -> Result<()> {
    let door = Door::open(invocation).await?;
    let done = match command {
        Stream::Create { stream, shards } => create(&door, &stream, shards, invocation).await,
        Stream::List => list(&door, invocation).await,
        Stream::Describe { stream } => describe(&door, &stream, invocation).await,
        Stream::Reshard(reshard) => self::reshard(&door, reshard, invocation).await,
        Stream::Tail(tail) => self::tail(&door, &tail, invocation).await,
    };
    door.close().await?;
    done
}

async fn create(door: &Door, stream: &str, shards: u32, invocation: &Invocation) -> Result<()> {
    let asked = json!({"name": stream, "shards": shards});
    let made: Description = door.call(Method::POST, "/v1/streams", Some(asked)).await?;
    show(&made, invocation)
}

async fn describe(door: &Door, stream: &str, invocation: &Invocation) -> Result<()> {
    let found: Description = door.call(Method::GET, &path(stream)?, None).await?;
    show(&found, invocation)
}

async fn reshard(door: &Door, reshard: Reshard, invocation: &Invocation) -> Result<()> {
    let Reshard { stream, shards, split, merge, at } = reshard;
    let asked = match (shards, split, merge) {
        (Some(count), ..) => json!({"shards": count}),
        (None, Some(shard), _) => json!({"split": shard, "at": at}),
        (None, None, merge) => json!({"merge": merge}),
    };
    let path = format!("{}/reshard", path(&stream)?);
    let changed: Description = door.call(Method::POST, &path, Some(asked)).await?;
    show(&changed, invocation)
}

async fn list(door: &Door, invocation: &Invocation) -> Result<()> {
    let Summaries { streams } = door.call(Method::GET, "/v1/streams", None).await?;
    if invocation.json {
        return streams.iter().try_for_each(|stream| invocation.terminal.say_json(stream));
    }
    if streams.is_empty() {
        return invocation
            .terminal
            .say("No streams yet. The first event posted to /v1/events?source=NAME makes stream NAME.");
    }
    let columns = ["stream", "shards", "records", "in the log", "made"];
    let row = |stream: &Summary| {
        vec![
            Cell::Text(stream.name.clone()),
            Cell::count(stream.open_shards),
            Cell::count(stream.records),
            Cell::count(stream.retained),
            Cell::time(&stream.created_at),
        ]
    };
    write_table(&columns, streams.iter().map(row).collect(), invocation)
}

fn show(stream: &Description, invocation: &Invocation) -> Result<()> {
    if invocation.json {
        return invocation.terminal.say_json(stream);
    }
    let columns = ["shard", "state", "hash from", "hash to", "parents", "in the log", "records"];
    let row = |shard: &Shard| {
        let parents: Vec<String> = shard.parents.iter().map(u64::to_string).collect();
        vec![
            Cell::count(shard.shard),
            Cell::Text(shard.state.clone()),
            Cell::Text(hexadecimal(&shard.hash_start)),
            Cell::Text(hexadecimal(&shard.hash_end)),
            Cell::Text(parents.join(", ")),
            Cell::count(shard.end - shard.start.min(shard.end)),
            Cell::count(shard.end),
        ]
    };
    write_table(&columns, stream.shards.iter().map(row).collect(), invocation)?;
    let Summary { name, records, retained, retention, .. } = &stream.summary;
    let retention = retention.as_deref().map(|time| format!(", kept {time}")).unwrap_or_default();
    invocation.terminal.say(&invocation.terminal.dim(&format!(
        "stream {name}: {}, {} of them in the log{retention}",
        human_count_of(*records, "record"),
        human_count(*retained),
    )))
}

/// The eight highest digits: hash keys are 32 digits long, and shards differ in the first ones.
fn hexadecimal(hash_key: &str) -> String {
    hash_key.parse::<u128>().map_or_else(|_| hash_key.to_owned(), |key| format!("{:08x}…", key >> 96))
}

async fn tail(door: &Door, tail: &Tail, invocation: &Invocation) -> Result<()> {
    // Nobody else can add to a folder that this process has open.
    let follow = !tail.no_follow && matches!(door, Door::Server { .. });
    let mut query = vec![("from", tail.from.clone()), ("follow", follow.to_string())];
    query.extend(tail.shard.map(|shard| ("shard", shard.to_string())));
    query.extend(tail.r#where.clone().map(|filter| ("where", filter)));
    query.extend(tail.contains.clone().map(|text| ("contains", text)));
    query.extend(tail.limit.map(|limit| ("limit", limit.to_string())));
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let response = door.lines(&format!("{}/records?{}", path(&tail.stream)?, query.join("&"))).await?;
    let mut body = response.into_body().into_data_stream();
    let mut held = Vec::new();
    loop {
        // Ctrl-C is how a person ends it.
        let bytes = tokio::select! {
            bytes = next(&mut body) => bytes?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let Some(bytes) = bytes else { return Ok(()) };
        held.extend_from_slice(&bytes);
        let end = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in held[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            say_event(line, invocation)?;
        }
        held.drain(..end);
    }
}

fn say_event(line: &[u8], invocation: &Invocation) -> Result<()> {
    let terminal = invocation.terminal;
    let Ok(event) = serde_json::from_slice::<Event<'_>>(line) else {
        return Err(Error::unavailable(format!("the server ended the answer: {}", String::from_utf8_lossy(line))));
    };
    if invocation.json {
        return terminal.say(&String::from_utf8_lossy(line));
    }
    let text = event.event.map(|raw| raw.get().to_owned()).or(event.data.map(|data| format!("base64 {data}")));
    let place = format!("{} {}/{}", event.received_at.format("%H:%M:%S%.3f"), event.shard, event.offset);
    let key = event.key.map(|key| format!(" {}", terminal.bold(&printable(&key)))).unwrap_or_default();
    terminal.say(&format!("{}{key} {}", terminal.dim(&place), printable(&text.unwrap_or_default())))
}

fn path(stream: &str) -> Result<String> {
    Ok(format!("/v1/streams/{}", StreamName::new(stream)?))
}

/// Percent-encoded for a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn write_table(columns: &[&str], rows: Vec<Vec<Cell>>, invocation: &Invocation) -> Result<()> {
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    let table = Answer { columns, rows, ..Answer::default() };
    invocation.terminal.write(&table.draw(invocation.terminal.width()))
}
