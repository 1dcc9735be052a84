//! `POST /v1/sql`: one statement, and its answer as it comes.
//!
//! The body is the statement, or with `Content-Type: application/json` an object: `{"sql":"…","dialect":"athena",
//! "params":[1,"x"]}`. The answer is one JSON object, `{"columns":[{"name","type"}],"rows":[[…]],"stats":{…}}`, or with
//! `Accept: application/x-ndjson` one JSON object for each row, and with `application/x-ndjson; stats=last` a last line
//! `{"stats":{…}}`. An error before the first rows has a status of its own; one after them ends the answer: as `"error"` in
//! place of `"stats"`, or as a last line.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use datafusion::arrow::array::RecordBatch;
use datafusion::scalar::ScalarValue;
use futures::{Stream, StreamExt, stream};
use lacus_core::{Error, Kind};
use lacus_query::{Answer, Dialect, SqlError, json};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::Shared;
use super::refusal::{self, Refusal};
use crate::CATCH_UP_MAX;

/// How long a query may wait for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: String,
    #[serde(default)]
    dialect: Option<String>,
    #[serde(default)]
    params: Vec<Value>,
}

/// How the rows are written.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// One JSON object with all of it.
    Whole,
    /// One JSON object for each row, and one more with the stats on request.
    Lines { stats: bool },
}

pub(super) async fn answer(
    State(inner): State<Shared>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let body = body.map_err(|error| Error::invalid(error.body_text()))?;
    let asked = asked(&headers, &body)?;
    let dialect = asked.dialect.map_or(Ok(Dialect::default()), |name| name.parse())?;
    let params = asked.params.iter().map(parameter).collect::<Result<Vec<_>, _>>()?;
    let turn = timeout(TURN_WAIT_MAX, std::sync::Arc::clone(&inner.queries).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(SqlError::new(Kind::Limited, "53300", "too many queries are running").into());
    };
    let session = inner.served.engine.session(dialect);
    // If it can't be parsed, the query below says why.
    let statement = session.parse(&asked.sql).ok().and_then(|mut statements| statements.pop());
    let streams = statement.and_then(|statement| session.streams_of(&statement));
    inner.served.deliveries.catch_up_within(CATCH_UP_MAX, streams.as_ref()).await;
    let mut answer = session.query(&asked.sql, &params).await?;
    let form = match headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()) {
        Some(accept) if accept.contains("ndjson") || accept.contains("jsonl") => {
            Form::Lines { stats: accept.contains("stats=last") }
        }
        _ => Form::Whole,
    };
    // A query that fails at once has an error status, and so has one whose values can't be written.
    let first = match answer.next().await.transpose()? {
        Some(batch) => Some(written(batch, form, true).await?),
        None => None,
    };
    Ok(respond(answer, first, form, turn))
}

fn asked(headers: &HeaderMap, body: &Bytes) -> Result<Asked, Error> {
    let text = std::str::from_utf8(body).map_err(|_| Error::invalid("the body is not UTF-8"))?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Ok(Asked { sql: text.to_owned(), dialect: None, params: Vec::new() });
    }
    serde_json::from_str(text).map_err(|error| {
        Error::invalid(format!("the body is no question: {error}")).with_hint("send {\"sql\":\"select 1\"}")
    })
}

fn parameter(value: &Value) -> Result<ScalarValue, Error> {
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => ScalarValue::Boolean(Some(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => ScalarValue::Int64(Some(whole)),
            None => ScalarValue::Float64(number.as_f64()),
        },
        Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
        Value::Array(_) | Value::Object(_) => {
            return Err(Error::invalid("a parameter is a number, a text, a boolean or null"));
        }
    })
}

/// An answer that is being written.
struct Writing {
    answer: Answer,
    form: Form,
    step: Step,
    /// Released when the answer is written.
    _turn: OwnedSemaphorePermit,
}

enum Step {
    /// The columns, and the first rows in their written form, if there are any.
    Begin(Option<Vec<u8>>),
    Rows {
        first: bool,
    },
    Ended,
}

fn respond(answer: Answer, first: Option<Vec<u8>>, form: Form, turn: OwnedSemaphorePermit) -> Response {
    let kind = match form {
        Form::Whole => HeaderValue::from_static("application/json"),
        Form::Lines { .. } => HeaderValue::from_static("application/x-ndjson"),
    };
    let headers: [(HeaderName, HeaderValue); 1] = [(header::CONTENT_TYPE, kind)];
    let writing = Writing { answer, form, step: Step::Begin(first), _turn: turn };
    (headers, Body::from_stream(pieces(writing))).into_response()
}

/// The body, batch by batch.
fn pieces(writing: Writing) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    stream::unfold(writing, |mut writing| async move {
        let piece = match std::mem::replace(&mut writing.step, Step::Ended) {
            Step::Ended => return None,
            Step::Begin(rows) => {
                let mut piece = writing.head();
                writing.step = Step::Rows { first: rows.is_none() };
                piece.extend(rows.unwrap_or_default());
                piece
            }
            Step::Rows { first } => {
                let mut piece = Vec::new();
                match writing.answer.next().await {
                    Some(Ok(batch)) => {
                        writing.step = Step::Rows { first: false };
                        match written(batch, writing.form, first).await {
                            Ok(rows) => piece = rows,
                            Err(error) => writing.fail(&error, &mut piece),
                        }
                    }
                    Some(Err(error)) => writing.fail(&error, &mut piece),
                    None => writing.end(&mut piece),
                }
                piece
            }
        };
        Some((Ok(Bytes::from(piece)), writing))
    })
}

/// The rows of a batch in their written form, made on a thread that may be busy for a while.
async fn written(batch: RecordBatch, form: Form, first: bool) -> Result<Vec<u8>, SqlError> {
    let written = tokio::task::spawn_blocking(move || {
        let mut rows = Vec::new();
        let written = match form {
            Form::Whole => json::write_arrays(&batch, first, &mut rows),
            Form::Lines { .. } => json::write_objects(&batch, &mut rows),
        };
        written.map(|()| rows)
    });
    written.await.unwrap_or_else(|error| {
        Err(SqlError::new(Kind::Internal, "XX000", "writing the rows failed").with_source(error))
    })
}

impl Writing {
    fn head(&self) -> Vec<u8> {
        if self.form != Form::Whole {
            return Vec::new();
        }
        let columns: Vec<Value> = json::columns(self.answer.schema())
            .into_iter()
            .map(|(name, kind)| Map::from_iter([("name".to_owned(), name.into()), ("type".to_owned(), kind.into())]))
            .map(Value::Object)
            .collect();
        format!("{{\"columns\":{},\"rows\":[", Value::Array(columns)).into_bytes()
    }

    fn fail(&mut self, error: &SqlError, piece: &mut Vec<u8>) {
        self.step = Step::Ended;
        let error = refusal::json(error);
        match self.form {
            // `{"error":…}` without its opening brace.
            Form::Whole => piece.extend(format!("\n],{}\n", &error[1..]).into_bytes()),
            Form::Lines { .. } => piece.extend(format!("{error}\n").into_bytes()),
        }
    }

    fn end(&mut self, piece: &mut Vec<u8>) {
        self.step = Step::Ended;
        if self.form != Form::Whole
            && let Some(rows) = self.answer.affected()
        {
            piece.extend(format!("{{\"affected_rows\":{rows}}}\n").into_bytes());
        }
        match self.form {
            Form::Whole => piece.extend(format!("\n],\"stats\":{}}}\n", self.stats()).into_bytes()),
            Form::Lines { stats: true } => piece.extend(format!("{{\"stats\":{}}}\n", self.stats()).into_bytes()),
            Form::Lines { stats: false } => {}
        }
    }

    /// What the answer cost, as JSON.
    fn stats(&self) -> String {
        let stats = self.answer.stats();
        let affected = self.answer.affected().map_or_else(String::new, |rows| format!(r#""affected_rows":{rows},"#));
        format!(
            r#"{{"rows":{},{affected}"bytes_scanned":{},"files_scanned":{},"files_skipped":{},"row_groups_skipped":{},"planning_ms":{:.3},"elapsed_ms":{:.3}}}"#,
            stats.rows,
            stats.bytes_scanned,
            stats.files_scanned,
            stats.files_skipped,
            stats.row_groups_skipped,
            stats.planning.as_secs_f64() * 1e3,
            stats.elapsed.as_secs_f64() * 1e3,
        )
    }
}
