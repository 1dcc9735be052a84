//! `/v1/tables/{table}/…`: what did not fit, and what becomes of it.
//!
//! | | |
//! |---|---|
//! | `GET /v1/tables/{table}/proposals` | what stands in `_rescued`, and the columns that would hold it |
//! | `POST /v1/tables/{table}/proposals` | `{"column"}`: makes the columns, and puts the values there |
//! | `POST /v1/tables/{table}/replay` | `{"where", "fix"}`: tries what is in quarantine again |
//!
//! Both acts go on where they ended when they are asked for again.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt;
use lacus_core::{Error, Offset, Partition, Position, Record, Result, TableName, Timestamp};
use lacus_lake::{Proposal, SchemaChange};
use lacus_query::{Answer, Dialect, SqlError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::object::Object;
use super::refusal::Refusal;
use super::{Inner, Shared, tables};
use crate::CATCH_UP_MAX;

/// The most records that one commit replays.
const RECORDS_MAX: usize = 5_000;
/// The same in bytes; no further record is read beyond that.
const RECORDS_BYTES_MAX: usize = 32 << 20;
/// The most different reasons; further ones are counted as one.
const REASONS_MAX: usize = 20;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/tables/{table}/proposals", get(proposals).post(accept))
        .route("/v1/tables/{table}/replay", post(replay))
}

#[derive(Serialize)]
struct WireProposals {
    table: String,
    rows: u64,
    rows_with_misfits: u64,
    /// Values that no column is proposed for.
    others: u64,
    proposals: Vec<WireProposal>,
}

#[derive(Serialize)]
struct WireProposal {
    column: String,
    values: u64,
    /// `add`, `widen` or `fill`.
    act: &'static str,
    becomes: String,
    r#type: Option<String>,
    examples: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedColumn {
    column: String,
}

#[derive(Serialize)]
struct WireAccepted {
    table: String,
    /// Columns that are new or wider.
    columns: Vec<WireColumn>,
    /// Values that are in columns now.
    values: u64,
    /// Files that were rewritten for it.
    files: u64,
}

#[derive(Serialize)]
struct WireColumn {
    column: String,
    r#type: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct AskedReplay {
    r#where: Option<String>,
    fix: Option<String>,
}

#[derive(Serialize)]
struct WireReplay {
    table: String,
    quarantine: String,
    moved: u64,
    stayed: u64,
    reasons: Vec<WireReason>,
}

#[derive(Serialize)]
struct WireReason {
    reason: String,
    records: u64,
}

async fn proposals(
    State(inner): State<Shared>,
    table: Result<Path<String>, PathRejection>,
) -> Result<Json<WireProposals>, Refusal> {
    let Path(table) = table.map_err(|error| Error::invalid(error.body_text()))?;
    let table = tables::find(&inner, &table)?;
    catch_up(&inner, table.name()).await;
    let told = inner.served.lake.misfitting(&table).await?;
    Ok(Json(WireProposals {
        table: table.name().to_string(),
        rows: told.rows,
        rows_with_misfits: told.rows_with_misfits,
        others: told.others,
        proposals: told.proposals.into_iter().map(WireProposal::from).collect(),
    }))
}

impl From<Proposal> for WireProposal {
    fn from(proposal: Proposal) -> Self {
        let Proposal { column, values, becomes, kind, change, examples } = proposal;
        let act = match change {
            None => "fill",
            Some(SchemaChange::Widen { .. }) => "widen",
            Some(_) => "add",
        };
        Self { column, values, act, becomes, r#type: kind.map(|kind| kind.sql()), examples }
    }
}

async fn accept(
    State(inner): State<Shared>,
    table: Result<Path<String>, PathRejection>,
    Object(AskedColumn { column }): Object<AskedColumn>,
) -> Result<Json<WireAccepted>, Refusal> {
    let Path(table) = table.map_err(|error| Error::invalid(error.body_text()))?;
    let table = tables::find(&inner, &table)?;
    catch_up(&inner, table.name()).await;
    let (changes, report) = inner.served.deliveries.accept(table.name(), &column).await?;
    let columns = changes.into_iter().filter_map(|change| match change {
        SchemaChange::Add { path, kind }
        | SchemaChange::AddFor { path, kind, .. }
        | SchemaChange::Widen { path, kind } => Some(WireColumn { column: path.join("."), r#type: kind.sql() }),
        _ => None,
    });
    let columns = columns.collect();
    Ok(Json(WireAccepted { table: table.name().to_string(), columns, values: report.values, files: report.files }))
}

async fn replay(
    State(inner): State<Shared>,
    table: Result<Path<String>, PathRejection>,
    Object(asked): Object<Map<String, Value>>,
) -> Result<Json<WireReplay>, Refusal> {
    let Path(table) = table.map_err(|error| Error::invalid(error.body_text()))?;
    // Parsed in two steps: otherwise an array of two texts would be accepted for the struct.
    let asked: AskedReplay = serde_json::from_value(Value::Object(asked))
        .map_err(|error| Error::invalid(format!("the body is no replay: {error}")))?;
    let table = TableName::new(&table)?;
    let quarantine = inner.served.deliveries.quarantine_of(&table)?;
    catch_up(&inner, &quarantine).await;
    let (mut moved, mut stayed) = (0, BTreeMap::<String, u64>::new());
    let mut after = None;
    // Each round begins after the last record of the one before.
    loop {
        let (records, unfixed, last) = read(&inner, &quarantine, &asked, after).await?;
        let Some(last) = last else { break };
        after = Some(last);
        add(&mut stayed, "fix made nothing of it".to_owned(), unfixed);
        if !records.is_empty() {
            let report = inner.served.deliveries.replay(&quarantine, records).await?;
            moved += report.moved;
            report.stayed.into_iter().for_each(|(reason, records)| add(&mut stayed, reason, records));
        }
    }
    let reasons = stayed.into_iter().map(|(reason, records)| WireReason { reason, records });
    let mut reasons: Vec<_> = reasons.collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.records));
    let stayed = reasons.iter().map(|reason| reason.records).sum();
    Ok(Json(WireReplay { table: table.to_string(), quarantine: quarantine.to_string(), moved, stayed, reasons }))
}

fn add(reasons: &mut BTreeMap<String, u64>, reason: String, records: u64) {
    let is_known = reasons.contains_key(&reason);
    let reason = if is_known || reasons.len() < REASONS_MAX { reason } else { "other reasons".to_owned() };
    if records > 0 {
        *reasons.entry(reason).or_default() += records;
    }
}

/// The request is about everything that was acknowledged before it.
async fn catch_up(inner: &Inner, table: &TableName) {
    inner.served.deliveries.catch_up_within(CATCH_UP_MAX, Some(&BTreeSet::from([table.stream()]))).await;
}

/// The next records of a quarantine, with the bytes that the fix makes of theirs; how many it could not change; and the last
/// position that was read.
async fn read(
    inner: &Inner,
    quarantine: &TableName,
    asked: &AskedReplay,
    after: Option<Position>,
) -> Result<(Vec<Record>, u64, Option<Position>)> {
    let mut answer = ask(inner, quarantine, asked, after).await?;
    let (mut records, mut unfixed, mut last, mut bytes) = (Vec::new(), 0, None, 0);
    while let Some(batch) = answer.next().await {
        let rows = Rows::of(&batch.map_err(|error| as_asked(&error))?)?;
        for row in 0..rows.positions.len() {
            // A comment in the request may have disabled the limit.
            if bytes >= RECORDS_BYTES_MAX
                || records.len() + usize::try_from(unfixed).unwrap_or(usize::MAX) >= RECORDS_MAX
            {
                return Ok((records, unfixed, last));
            }
            last = Some(rows.positions[row]);
            match rows.value(row) {
                Some(value) => {
                    bytes += value.len();
                    let (position, received_at) = (rows.positions[row], rows.received_at[row]);
                    records.push(Record { position, received_at, key: None, id: None, value });
                }
                None => unfixed += 1,
            }
        }
    }
    Ok((records, unfixed, last))
}

async fn ask(inner: &Inner, quarantine: &TableName, asked: &AskedReplay, after: Option<Position>) -> Result<Answer> {
    let table = format!("\"{}\".\"{}\"", quarantine.database(), quarantine.table());
    let fix = asked.fix.as_deref().unwrap_or("bytes");
    let mut conditions: Vec<String> = asked.r#where.iter().map(|condition| format!("({condition}\n)")).collect();
    if let Some(Position { partition: Partition(partition), offset: Offset(offset) }) = after {
        conditions.push(format!("(_partition > {partition} OR _partition = {partition} AND _offset > {offset})"));
    }
    let conditions = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
    let sql = format!(
        "SELECT _partition, _offset, _received_at, ({fix}\n) AS fixed \
         FROM (SELECT *, from_utf8(bytes) AS text FROM {table}) AS quarantine \
         WHERE {conditions} ORDER BY _partition, _offset LIMIT {RECORDS_MAX}"
    );
    inner.served.engine.session(Dialect::Lacus).uncounted().query(&sql, &[]).await.map_err(|error| as_asked(&error))
}

/// The error without its position, which would be one in SQL that the user did not write.
fn as_asked(error: &SqlError) -> Error {
    Error::new(error.kind(), error.message().to_owned())
        .with_hint("where and fix are SQL over the columns text, bytes, reason, _received_at, _partition and _offset")
}

/// A batch of what was asked.
struct Rows {
    positions: Vec<Position>,
    received_at: Vec<Timestamp>,
    fixed: arrow::array::ArrayRef,
}

impl Rows {
    fn of(batch: &RecordBatch) -> Result<Self> {
        let number = |column: usize| -> Result<Vec<i64>> {
            let column = cast(batch.column(column), &DataType::Int64).map_err(unusable)?;
            Ok(column.as_primitive::<Int64Type>().values().to_vec())
        };
        let unsigned = |number: i64| u64::try_from(number).map_err(|_| Error::internal("a position is below zero"));
        let positions = number(0)?.into_iter().zip(number(1)?).map(|(partition, offset)| {
            let partition = u32::try_from(partition).map_err(|_| Error::internal("a partition has no such number"))?;
            Ok(Position { partition: Partition(partition), offset: Offset(unsigned(offset)?) })
        });
        let received_at = number(2)?.into_iter().map(Timestamp::from_micros).collect();
        let fixed = batch.column(3);
        let is_text = matches!(
            fixed.data_type(),
            DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
        );
        if !is_text {
            return Err(Error::invalid("fix gives neither text nor bytes")
                .with_hint("it gives the event's JSON: replace(text, 'NaN', 'null')"));
        }
        let fixed = cast(fixed, &DataType::Binary).map_err(unusable)?;
        Ok(Self { positions: positions.collect::<Result<_>>()?, received_at, fixed })
    }

    fn value(&self, row: usize) -> Option<Bytes> {
        self.fixed.is_valid(row).then(|| Bytes::copy_from_slice(self.fixed.as_binary::<i32>().value(row)))
    }
}

fn unusable(error: arrow::error::ArrowError) -> Error {
    Error::internal("read records of a quarantine").with_source(error)
}
