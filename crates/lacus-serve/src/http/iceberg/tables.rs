//! Tables: list, load, and what clients tell about their scans.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use iceberg::spec::TableMetadata;
use lacus_core::Error;
use lacus_lake::Table;
use serde::Deserialize;
use serde_json::{Value, json};

use super::door::Asker;
use super::error::{About, Refused};
use super::names::{Named, Namespace};
use super::page::Page;
use crate::http::Shared;

pub(super) async fn list(
    State(shared): State<Shared>,
    Namespace(namespace): Namespace,
    page: Page,
) -> Result<Json<Value>, Refused> {
    let tables = shared.served.lake.tables();
    let names = tables.iter().map(|table| table.name()).filter(|name| name.database() == namespace);
    let (names, next) = page.of(names.map(|name| name.table().to_owned()).collect())?;
    let identifiers: Vec<Value> =
        names.into_iter().map(|name| json!({ "namespace": [namespace], "name": name })).collect();
    Ok(Json(json!({ "identifiers": identifiers, "next-page-token": next })))
}

/// How much of the history a client wants.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    snapshots: Snapshots,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Snapshots {
    #[default]
    All,
    /// Only those that a branch or tag names.
    Refs,
}

pub(super) async fn load(
    State(shared): State<Shared>,
    named: Named,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
    asker: Asker,
) -> Result<Response, Refused> {
    let table = find(&shared, &named)?;
    let (location, metadata) = table.metadata();
    let tag = etag(&location, wanted.snapshots);
    // Credentials expire: clients that may get some always get new ones.
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter(|_| !asker.may_be_lent(&shared));
    if known.filter_map(|known| known.to_str().ok()).flat_map(|known| known.split(',')).any(|known| known.trim() == tag)
    {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let mut answer = loaded(&shared, &asker, Some(&location), &metadata)?;
    if wanted.snapshots == Snapshots::Refs {
        keep_referenced(&mut answer["metadata"], &metadata);
    }
    let tag = HeaderValue::from_str(&tag).map_err(|_| Refused::bad_request("the table's location can't be a tag"))?;
    Ok(([(header::ETAG, tag)], Json(answer)).into_response())
}

pub(super) async fn exists(State(shared): State<Shared>, named: Named) -> Result<StatusCode, Refused> {
    find(&shared, &named).map(|_| StatusCode::NO_CONTENT)
}

/// Clients that open the files themselves need none.
pub(super) async fn credentials(
    State(shared): State<Shared>,
    named: Named,
    asker: Asker,
) -> Result<Json<Value>, Refused> {
    let table = find(&shared, &named)?;
    let lent = asker.lent(&shared, table.metadata().1.location());
    Ok(Json(json!({ "storage-credentials": lent.into_iter().collect::<Vec<_>>() })))
}

/// Metrics of clients are not kept.
pub(super) async fn metrics(State(shared): State<Shared>, named: Named) -> Result<StatusCode, Refused> {
    find(&shared, &named).map(|_| StatusCode::NO_CONTENT)
}

/// The answer to loading or changing a table. A staged table has no location yet.
pub(super) fn loaded(
    shared: &Shared,
    asker: &Asker,
    location: Option<&str>,
    metadata: &TableMetadata,
) -> Result<Value, Refused> {
    let place = metadata.location().to_owned();
    let metadata = serde_json::to_value(metadata)
        .map_err(|error| Refused::of(&Error::internal("write table metadata").with_source(error), About::Table))?;
    let (properties, lent) = asker.said_of(shared, &place);
    let mut answer = json!({ "metadata": metadata, "config": properties });
    if let Some(location) = location {
        answer["metadata-location"] = location.into();
    }
    if let Some(lent) = lent {
        answer["storage-credentials"] = json!([lent]);
    }
    Ok(answer)
}

pub(super) fn find(shared: &Shared, named: &Named) -> Result<Arc<Table>, Refused> {
    let name = named.known()?;
    match shared.served.lake.table(name) {
        Some(table) => Ok(table),
        None => match shared.served.lake.damage_of(name) {
            Some(damage) => Err(Refused::of(&damage, About::Table)),
            None => Err(named.missing()),
        },
    }
}

/// Metadata files never change, so the location identifies a version.
fn etag(location: &str, snapshots: Snapshots) -> String {
    let name = location.rsplit('/').next().unwrap_or(location).trim_end_matches(".metadata.json");
    match snapshots {
        Snapshots::All => format!("\"{name}\""),
        Snapshots::Refs => format!("\"{name}-refs\""),
    }
}

/// Removes snapshots that neither a branch nor a tag names.
fn keep_referenced(answer: &mut Value, metadata: &TableMetadata) {
    let Some(refs) = answer["refs"].as_object() else { return };
    let named: Vec<i64> = refs.values().filter_map(|named| named["snapshot-id"].as_i64()).collect();
    let named: Vec<i64> = named.into_iter().chain(metadata.current_snapshot_id()).collect();
    if let Some(snapshots) = answer["snapshots"].as_array_mut() {
        snapshots.retain(|snapshot| snapshot["snapshot-id"].as_i64().is_some_and(|id| named.contains(&id)));
    }
}
