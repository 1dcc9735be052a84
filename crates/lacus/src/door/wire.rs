//! The JSON that `/v1` answers with, as this client reads it. Unknown fields are let be: a newer server may tell more.

use std::time::Duration;

use axum::http::StatusCode;
use lacus_core::{Error, Kind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::answer::{Answer, Cell};
use crate::door::Refused;

/// The progress of one stream and its table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StreamStatus {
    pub(crate) stream: String,
    pub(crate) acknowledged: u64,
    pub(crate) visible: u64,
    pub(crate) committed: u64,
    pub(crate) duplicates: u64,
    pub(crate) freshness_p50_ms: f64,
    pub(crate) freshness_p99_ms: f64,
    pub(crate) files: u64,
    pub(crate) file_bytes: u64,
    pub(crate) tail_bytes: u64,
    pub(crate) error: Option<String>,
}

/// What all tables together hold.
#[derive(Debug, Deserialize)]
pub(crate) struct LakeStatus {
    pub(crate) files: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) raw_bytes: u64,
}

/// The progress of the mirror in AWS Glue.
#[derive(Debug, Deserialize)]
pub(crate) struct GlueStatus {
    pub(crate) current: u64,
    pub(crate) behind: u64,
    pub(crate) error: Option<String>,
}

/// The status of a project.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) streams: Vec<StreamStatus>,
    pub(crate) lake: LakeStatus,
    pub(crate) glue: Option<GlueStatus>,
}

/// What a flush wrote.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flushed {
    pub(crate) rows: u64,
    pub(crate) parquet_bytes: u64,
    pub(crate) raw_bytes: u64,
}

#[derive(Deserialize)]
struct WireAnswer {
    columns: Vec<WireColumn>,
    rows: Vec<Vec<Box<RawValue>>>,
    /// Absent for a query that failed.
    #[serde(default)]
    stats: WireStats,
    /// Why the rows end before the last one.
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireColumn {
    name: String,
}

#[derive(Default, Deserialize)]
struct WireStats {
    affected_rows: Option<u64>,
    bytes_scanned: u64,
    #[serde(default)]
    files_skipped: u64,
    elapsed_ms: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRefusal {
    error: WireError,
}

#[derive(Deserialize)]
struct WireError {
    kind: String,
    message: String,
    hint: Option<String>,
    sqlstate: Option<String>,
    position: Option<usize>,
}

/// The answer of `/v1/sql`.
pub(super) fn answer(body: &[u8]) -> Result<Answer, Refused> {
    let answer: WireAnswer = read(body)?;
    if let Some(told) = answer.error {
        return Err(told.into());
    }
    let cells = |row: &Vec<Box<RawValue>>| row.iter().map(|value| Cell::of(value)).collect();
    Ok(Answer {
        columns: answer.columns.into_iter().map(|column| column.name).collect(),
        rows: answer.rows.iter().map(cells).collect(),
        affected: answer.stats.affected_rows,
        scanned_bytes: answer.stats.bytes_scanned,
        files_skipped: answer.stats.files_skipped,
        elapsed: Duration::try_from_secs_f64(answer.stats.elapsed_ms / 1e3).unwrap_or_default(),
    })
}

/// The answer of `/v1/status`.
pub(super) fn status(body: &[u8]) -> Result<Status> {
    read(body)
}

/// The answer of a flush.
pub(super) fn flushed(body: &[u8]) -> Result<Flushed> {
    read(body)
}

/// The error of any path.
pub(super) fn refused(body: &[u8], status: StatusCode) -> Refused {
    let Ok(WireRefusal { error: told }) = serde_json::from_slice(body) else {
        let text = String::from_utf8_lossy(body);
        return Error::internal(format!("the server answered {status}: {}", text.trim())).into();
    };
    told.into()
}

/// The error that rows as NDJSON end with, if this last line is one: a query can fail after its first rows.
pub(crate) fn late_error(last_line: &[u8]) -> Option<Refused> {
    let refusal: WireRefusal = serde_json::from_slice(last_line).ok()?;
    refusal.error.sqlstate.is_some().then(|| refusal.error.into())
}

/// The cost of a query as JSON, if this last line of rows as NDJSON has it.
pub(crate) fn stats_of(last_line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct LastLine<'a> {
        #[serde(borrow)]
        stats: &'a RawValue,
    }
    let line: LastLine<'_> = serde_json::from_slice(last_line).ok()?;
    Some(line.stats.get().to_owned())
}

impl From<WireError> for Refused {
    fn from(told: WireError) -> Self {
        let error = Error::new(kind(&told.kind), told.message);
        let error = if let Some(hint) = told.hint { error.with_hint(hint) } else { error };
        Self { error, position: told.position }
    }
}

/// An answer as JSON.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        Error::internal("the server gave an answer that this lacus does not know")
            .with_source(error)
            .with_hint("is the server of another version? lacus --version")
    })
}

fn kind(told: &str) -> Kind {
    const KINDS: [Kind; 9] = [
        Kind::Invalid,
        Kind::NotFound,
        Kind::Exists,
        Kind::Conflict,
        Kind::Denied,
        Kind::Limited,
        Kind::Unavailable,
        Kind::Corrupt,
        Kind::Internal,
    ];
    KINDS.into_iter().find(|kind| kind.as_str() == told).unwrap_or(Kind::Internal)
}
