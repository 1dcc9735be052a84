//! `/v1/tables/{table}/…`: names for snapshots of a table, and the way back to one.
//!
//! | | |
//! |---|---|
//! | `GET /v1/tables/{table}/tags` | its tags, and their snapshots |
//! | `PUT /v1/tables/{table}/tags/{tag}` | `{"version"}`: gives a snapshot a name; without a version it is the last commit |
//! | `DELETE /v1/tables/{table}/tags/{tag}` | takes the name away |
//! | `POST /v1/tables/{table}/rollback` | `{"to"}`: commits, and returns to the rows of a snapshot |
//!
//! A version is the number of a snapshot, a tag, or a time as `2026-11-20T19:30:00Z`.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use lacus_core::{Error, Kind, Result, TableName};
use lacus_lake::{RollbackReport, Table, Version};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::object::Object;
use super::refusal::Refusal;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/tables/{table}/tags", get(tags))
        .route("/v1/tables/{table}/tags/{tag}", put(tag).delete(untag))
        .route("/v1/tables/{table}/rollback", post(rollback))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedTag {
    /// Default: the last commit.
    version: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedRollback {
    to: String,
}

#[derive(Serialize)]
struct WireTags {
    table: String,
    tags: Vec<WireTag>,
}

#[derive(Serialize)]
struct WireTag {
    tag: String,
    /// A decimal number as text: it has up to 19 digits.
    snapshot: String,
}

#[derive(Serialize)]
struct WireRollback {
    table: String,
    /// The snapshot to return to in order to undo it.
    from: String,
    to: String,
    rows_before: u64,
    rows_after: u64,
}

async fn tags(
    State(inner): State<Shared>,
    table: Result<Path<String>, PathRejection>,
) -> Result<Json<WireTags>, Refusal> {
    let Path(table) = table.map_err(|error| Error::invalid(error.body_text()))?;
    let table = find(&inner, &table)?;
    let tags = table.references()?.into_iter().filter(|reference| reference.is_tag);
    let tags = tags.map(|tag| WireTag { tag: tag.name, snapshot: tag.snapshot.to_string() }).collect();
    Ok(Json(WireTags { table: table.name().to_string(), tags }))
}

async fn tag(
    State(inner): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
    Object(asked): Object<AskedTag>,
) -> Result<Json<WireTag>, Refusal> {
    let Path((table, tag)) = path.map_err(|error| Error::invalid(error.body_text()))?;
    let version = asked.version.map_or_else(Version::last, |text| Version::read(&text));
    let table = find(&inner, &table)?;
    let snapshot = inner.served.lake.tag(&table, &tag, version).await?.to_string();
    Ok(Json(WireTag { tag, snapshot }))
}

async fn untag(
    State(inner): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<WireTag>, Refusal> {
    let Path((table, tag)) = path.map_err(|error| Error::invalid(error.body_text()))?;
    let table = find(&inner, &table)?;
    let snapshot = inner.served.lake.untag(&table, &tag).await?.to_string();
    Ok(Json(WireTag { tag, snapshot }))
}

async fn rollback(
    State(inner): State<Shared>,
    table: Result<Path<String>, PathRejection>,
    Object(asked): Object<AskedRollback>,
) -> Result<Json<WireRollback>, Refusal> {
    let Path(table) = table.map_err(|error| Error::invalid(error.body_text()))?;
    let table = find(&inner, &table)?;
    // A mistake is reported before anything is committed.
    inner.served.lake.table_at(&table, &Version::read(&asked.to)).await?;
    if let Err(error) = inner.served.deliveries.flush(table.name()).await
        // Nobody brings rows to it.
        && error.kind() != Kind::NotFound
    {
        return Err(error.into());
    }
    let report = inner.served.lake.rollback(&table, Version::read(&asked.to)).await?;
    let RollbackReport { from, to, rows_before, rows_after } = report;
    let (from, to) = (from.to_string(), to.to_string());
    Ok(Json(WireRollback { table: table.name().to_string(), from, to, rows_before, rows_after }))
}

/// The table of this name.
pub(super) fn find(inner: &Shared, table: &str) -> Result<Arc<Table>> {
    let name = TableName::new(table)?;
    inner.served.lake.table(&name).ok_or_else(|| {
        let damage = inner.served.lake.damage_of(&name);
        damage.unwrap_or_else(|| Error::not_found(format!("there is no table \"{name}\"")))
    })
}
