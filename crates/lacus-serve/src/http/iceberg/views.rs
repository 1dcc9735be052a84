//! Views: list, make, load, replace, rename, drop.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use iceberg::ViewUpdate;
use iceberg::spec::{Schema, ViewVersion};
use lacus_core::Error;
use lacus_lake::views::{NewView, View, ViewCommit};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Body;
use super::error::{About, Refused};
use super::names::{Named, Namespace, Renaming, table_name};
use super::page::Page;
use crate::http::Shared;

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err calls")]
fn refused(error: Error) -> Refused {
    Refused::of(&error, About::View)
}

pub(super) async fn list(
    State(shared): State<Shared>,
    Namespace(namespace): Namespace,
    page: Page,
) -> Result<Json<Value>, Refused> {
    let views = shared.served.lake.views();
    let names = views.iter().map(|view| &view.name).filter(|name| name.database() == namespace);
    let (names, next) = page.of(names.map(|name| name.table().to_owned()).collect())?;
    let identifiers: Vec<Value> =
        names.into_iter().map(|name| json!({ "namespace": [namespace], "name": name })).collect();
    Ok(Json(json!({ "identifiers": identifiers, "next-page-token": next })))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Wanted {
    name: String,
    location: Option<String>,
    schema: Schema,
    view_version: ViewVersion,
    #[serde(default)]
    properties: Option<HashMap<String, String>>,
}

pub(super) async fn create(
    State(shared): State<Shared>,
    Namespace(namespace): Namespace,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Value>, Refused> {
    let Wanted { name, location, schema, view_version, properties } = wanted;
    let name = table_name(&namespace, &name)?;
    let properties = properties.unwrap_or_default();
    let new = NewView { name, location, schema, version: view_version, properties };
    let view = shared.served.lake.create_view(new).await.map_err(refused)?;
    loaded(&view).map(Json)
}

pub(super) async fn load(State(shared): State<Shared>, named: Named) -> Result<Json<Value>, Refused> {
    loaded(&*find(&shared, &named)?).map(Json)
}

pub(super) async fn exists(State(shared): State<Shared>, named: Named) -> Result<StatusCode, Refused> {
    find(&shared, &named).map(|_| StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Requirement {
    AssertViewUuid { uuid: String },
}

#[derive(Deserialize)]
pub(super) struct Changes {
    #[serde(default)]
    requirements: Vec<Requirement>,
    updates: Vec<ViewUpdate>,
}

pub(super) async fn replace(
    State(shared): State<Shared>,
    named: Named,
    Body(changes): Body<Changes>,
) -> Result<Json<Value>, Refused> {
    let Changes { requirements, updates } = changes;
    let name = find(&shared, &named)?.name.clone();
    let uuids = requirements.into_iter().map(|Requirement::AssertViewUuid { uuid }| uuid).collect();
    let commit = ViewCommit { view: name, uuids, updates };
    let view = shared.served.lake.change_view(commit).await;
    let view = view.map_err(|error| Refused::of(&error, About::ViewCommit))?;
    loaded(&view).map(Json)
}

pub(super) async fn drop(State(shared): State<Shared>, named: Named) -> Result<StatusCode, Refused> {
    let name = find(&shared, &named)?.name.clone();
    shared.served.lake.drop_view(&name).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Registering {
    name: String,
    metadata_location: String,
}

pub(super) async fn register(
    State(shared): State<Shared>,
    Namespace(namespace): Namespace,
    Body(registering): Body<Registering>,
) -> Result<Json<Value>, Refused> {
    let name = table_name(&namespace, &registering.name)?;
    let view = shared.served.lake.register_view(&name, &registering.metadata_location).await.map_err(refused)?;
    loaded(&view).map(Json)
}

pub(super) async fn rename(
    State(shared): State<Shared>,
    Body(renaming): Body<Renaming>,
) -> Result<StatusCode, Refused> {
    let (from, to) = (renaming.source.table(&shared).await?, renaming.destination.table(&shared).await?);
    shared.served.lake.rename_view(&from, &to).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The answer to loading or changing a view.
fn loaded(view: &View) -> Result<Value, Refused> {
    let metadata = serde_json::to_value(&view.metadata)
        .map_err(|error| refused(Error::internal("write view metadata").with_source(error)))?;
    Ok(json!({ "metadata-location": view.location, "metadata": metadata, "config": {} }))
}

fn find(shared: &Shared, named: &Named) -> Result<Arc<View>, Refused> {
    let missing = || Refused::no_view(&named.namespace, &named.table);
    let name = named.name.as_ref().ok_or_else(missing)?;
    shared.served.lake.view(name).ok_or_else(missing)
}
