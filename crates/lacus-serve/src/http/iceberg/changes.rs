//! Tables that engines make, change, rename and drop.

use std::collections::HashMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use iceberg::spec::{Schema, SortOrder, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};
use lacus_core::Error;
use lacus_lake::AlterTables;
use lacus_lake::foreign::{NewTable, TableCommit};
use serde::Deserialize;
use serde_json::Value;

use super::body::Body;
use super::door::Asker;
use super::error::{About, Refused};
use super::names::{Identifier, Named, Namespace, Renaming, databases, table_name};
use super::tables::loaded;
use crate::http::Shared;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Wanted {
    name: String,
    location: Option<String>,
    schema: Schema,
    partition_spec: Option<UnboundPartitionSpec>,
    write_order: Option<SortOrder>,
    #[serde(default)]
    stage_create: bool,
    #[serde(default)]
    properties: Option<HashMap<String, String>>,
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err calls")]
fn refused(error: Error) -> Refused {
    Refused::of(&error, About::Table)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err calls")]
fn not_committed(error: Error) -> Refused {
    Refused::of(&error, About::Commit)
}

pub(super) async fn create(
    State(shared): State<Shared>,
    Namespace(namespace): Namespace,
    asker: Asker,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Value>, Refused> {
    let Wanted { name, location, schema, partition_spec, write_order, stage_create, properties } = wanted;
    let name = table_name(&namespace, &name)?;
    let properties = properties.unwrap_or_default();
    let new = NewTable { name, location, schema, partition_spec, write_order, properties };
    let lake = &shared.served.lake;
    if stage_create {
        let metadata = lake.stage_table(new).await.map_err(refused)?;
        return loaded(&shared, &asker, None, &metadata).map(Json);
    }
    let table = lake.make_table(new).await.map_err(refused)?;
    let (location, metadata) = table.metadata();
    loaded(&shared, &asker, Some(&location), &metadata).map(Json)
}

#[derive(Deserialize)]
pub(super) struct Changes {
    requirements: Vec<TableRequirement>,
    updates: Vec<TableUpdate>,
}

pub(super) async fn commit(
    State(shared): State<Shared>,
    named: Named,
    asker: Asker,
    Body(changes): Body<Changes>,
) -> Result<Json<Value>, Refused> {
    let table = named.known()?.clone();
    let Changes { requirements, updates } = changes;
    let commit = TableCommit { table, requirements, updates };
    let tables = shared.served.lake.commit_tables(vec![commit]).await.map_err(not_committed)?;
    let table = tables.first().ok_or_else(|| named.missing())?;
    let (location, metadata) = table.metadata();
    loaded(&shared, &asker, Some(&location), &metadata).map(Json)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Transaction {
    table_changes: Vec<TableChange>,
}

#[derive(Deserialize)]
struct TableChange {
    identifier: Identifier,
    requirements: Vec<TableRequirement>,
    updates: Vec<TableUpdate>,
}

/// Several tables, all or none.
pub(super) async fn transact(
    State(shared): State<Shared>,
    Body(transaction): Body<Transaction>,
) -> Result<StatusCode, Refused> {
    let namespaces = databases(&shared).await?;
    let commit = |TableChange { identifier, requirements, updates }| {
        Ok(TableCommit { table: identifier.table_of(&namespaces)?, requirements, updates })
    };
    let commits = transaction.table_changes.into_iter().map(commit).collect::<Result<_, Refused>>()?;
    shared.served.lake.commit_tables(commits).await.map_err(not_committed)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dropping {
    #[serde(default)]
    purge_requested: String,
}

pub(super) async fn drop(
    State(shared): State<Shared>,
    named: Named,
    dropping: Result<Query<Dropping>, QueryRejection>,
) -> Result<StatusCode, Refused> {
    let Query(dropping) = dropping.map_err(|error| Refused::bad_request(error.body_text()))?;
    // pyiceberg says "True".
    let purge = match dropping.purge_requested.to_ascii_lowercase().as_str() {
        "true" => true,
        "" | "false" => false,
        _ => return Err(Refused::bad_request("purgeRequested is true or false")),
    };
    shared.served.deliveries.drop_table(named.known()?, purge).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn rename(
    State(shared): State<Shared>,
    Body(renaming): Body<Renaming>,
) -> Result<StatusCode, Refused> {
    let (from, to) = (renaming.source.table(&shared).await?, renaming.destination.table(&shared).await?);
    shared.served.lake.rename_table(&from, &to).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Registering {
    name: String,
    metadata_location: String,
    #[serde(default)]
    overwrite: bool,
}

pub(super) async fn register(
    State(shared): State<Shared>,
    Namespace(namespace): Namespace,
    asker: Asker,
    Body(registering): Body<Registering>,
) -> Result<Json<Value>, Refused> {
    if registering.overwrite {
        return Err(Refused::bad_request("a table that is there is not overwritten; drop it first"));
    }
    let name = table_name(&namespace, &registering.name)?;
    let table = shared.served.lake.register_table(&name, &registering.metadata_location).await.map_err(refused)?;
    let (location, metadata) = table.metadata();
    loaded(&shared, &asker, Some(&location), &metadata).map(Json)
}
