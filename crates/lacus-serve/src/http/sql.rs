//! `POST /v1/sql`: one statement in, its rows out as they come.
//!
//! The request is SQL text, or JSON `{"sql":…,"dialect":…,"params":[…]}`. The answer is one JSON object with columns, rows
//! and stats, or with `Accept: application/x-ndjson` one object per row. A query that fails before its first rows gets the
//! status of its error; one that fails later ends with a member (or line) `error`.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use futures::stream::{self, Stream, StreamExt};
use lacus_core::{Error, Kind};
use lacus_query::{Answer, Dialect, SqlError, json};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::{Routes, refusal_json, refused};

const NDJSON: &str = "application/x-ndjson";

/// A question as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    sql: String,
    #[serde(default)]
    dialect: Option<String>,
    #[serde(default)]
    params: Vec<Parameter>,
}

/// The value of `$1`, `$2` … in JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Parameter {
    Boolean(bool),
    Long(i64),
    Double(f64),
    Text(String),
    Null(()),
}

impl From<Parameter> for ScalarValue {
    fn from(parameter: Parameter) -> Self {
        match parameter {
            Parameter::Boolean(value) => value.into(),
            Parameter::Long(value) => value.into(),
            Parameter::Double(value) => value.into(),
            Parameter::Text(value) => Self::Utf8(Some(value)),
            Parameter::Null(()) => Self::Null,
        }
    }
}

/// A running answer whose first batch is known, and the permit that it runs with.
struct Rows {
    first: Option<RecordBatch>,
    answer: Answer,
    _permit: OwnedSemaphorePermit,
}

impl Rows {
    async fn next(&mut self) -> Option<Result<RecordBatch, SqlError>> {
        match self.first.take() {
            Some(batch) => Some(Ok(batch)),
            None => self.answer.next().await,
        }
    }
}

pub(super) async fn answer(State(routes): State<Routes>, headers: HeaderMap, body: Bytes) -> Response {
    match ask(&routes, &headers, &body).await {
        Ok(rows) if has(&headers, header::ACCEPT, NDJSON) => {
            ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(objects(rows))).into_response()
        }
        Ok(rows) => ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(document(rows))).into_response(),
        Err(error) => refused(&error),
    }
}

async fn ask(routes: &Routes, headers: &HeaderMap, body: &[u8]) -> Result<Rows, SqlError> {
    let permit = routes.queries.clone().try_acquire_owned().map_err(|_| {
        SqlError::new(Kind::Limited, "53300", "too many queries run at once").with_hint("try again in a moment")
    })?;
    let question = read(headers, body)?;
    let dialect = question.dialect.as_deref().map_or(Ok(Dialect::default()), str::parse)?;
    let parameters: Vec<ScalarValue> = question.params.into_iter().map(ScalarValue::from).collect();
    let mut answer = routes.engine.session(dialect).query(&question.sql, &parameters).await?;
    let first = answer.next().await.transpose()?;
    Ok(Rows { first, answer, _permit: permit })
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<Question, SqlError> {
    let text = std::str::from_utf8(body).map_err(|error| Error::invalid(format!("the request is no UTF-8: {error}")))?;
    if has(headers, header::CONTENT_TYPE, "application/json") || text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| {
            let error = Error::invalid(format!("the request is no question: {error}"));
            error.with_hint("send SQL as text, or {\"sql\": \"SELECT 1\"}").into()
        });
    }
    Ok(Question { sql: text.to_owned(), dialect: None, params: Vec::new() })
}

fn has(headers: &HeaderMap, name: header::HeaderName, value: &str) -> bool {
    headers.get(name).and_then(|header| header.to_str().ok()).is_some_and(|header| header.starts_with(value))
}

type Chunk = Result<Bytes, Infallible>;

/// What comes next of a JSON document.
enum Step {
    Begin,
    Rows { first: bool },
    End,
}

/// `{"columns":[…],"rows":[…],"stats":{…}}`.
fn document(rows: Rows) -> impl Stream<Item = Chunk> {
    stream::unfold((rows, Step::Begin), |(mut rows, step)| async move {
        let (chunk, step) = match step {
            Step::Begin => (beginning(&rows.answer), Step::Rows { first: true }),
            Step::Rows { first } => match rows.next().await {
                Some(Ok(batch)) => arrays(&rows.answer, &batch, first),
                Some(Err(error)) => (ending(&rows.answer, Some(&error)), Step::End),
                None => (ending(&rows.answer, None), Step::End),
            },
            Step::End => return None,
        };
        Some((Ok(Bytes::from(chunk)), (rows, step)))
    })
}

fn arrays(answer: &Answer, batch: &RecordBatch, first: bool) -> (Vec<u8>, Step) {
    let mut text = Vec::new();
    match json::write_arrays(batch, first, &mut text) {
        Ok(()) => (text, Step::Rows { first: first && batch.num_rows() == 0 }),
        Err(error) => (ending(answer, Some(&error)), Step::End),
    }
}

fn beginning(answer: &Answer) -> Vec<u8> {
    let columns: Vec<String> = json::columns(answer.schema())
        .iter()
        .map(|(name, kind)| format!("{{\"name\":{},\"type\":{}}}", json::quoted(name), json::quoted(kind)))
        .collect();
    format!("{{\"columns\":[{}],\"rows\":[", columns.join(",")).into_bytes()
}

fn ending(answer: &Answer, error: Option<&SqlError>) -> Vec<u8> {
    let stats = answer.stats();
    let mut text = format!(
        "\n],\"stats\":{{\"rows\":{},\"bytes_scanned\":{},\"files_scanned\":{},\"elapsed_ms\":{:.3}}}",
        stats.rows,
        stats.bytes_scanned,
        stats.files_scanned,
        stats.elapsed.as_secs_f64() * 1_000.0
    );
    if let Some(error) = error {
        // {"error":{…}} without its outer braces is the member.
        let refusal = refusal_json(error);
        text.push(',');
        text.push_str(&refusal[1..refusal.len() - 1]);
    }
    text.push_str("}\n");
    text.into_bytes()
}

/// One object per row.
fn objects(rows: Rows) -> impl Stream<Item = Chunk> {
    stream::unfold(Some(rows), |rows| async move {
        let mut rows = rows?;
        let mut text = Vec::new();
        let written = match rows.next().await? {
            Ok(batch) => json::write_objects(&batch, &mut text),
            Err(error) => Err(error),
        };
        let Err(error) = written else { return Some((Ok(Bytes::from(text)), Some(rows))) };
        text.extend_from_slice(refusal_json(&error).as_bytes());
        text.push(b'\n');
        Some((Ok(Bytes::from(text)), None))
    })
}
