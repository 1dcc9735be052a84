//! Namespaces: the databases of the lake.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use lacus_core::Error;
use lacus_lake::foreign::Properties;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Body;
use super::error::{About, Refused};
use super::names::{Namespace, databases, one_level};
use super::page::Page;
use crate::http::Shared;

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err calls")]
fn refused(error: Error) -> Refused {
    Refused::of(&error, About::Namespace)
}

pub(super) async fn list(State(shared): State<Shared>, page: Page) -> Result<Json<Value>, Refused> {
    let all: Vec<String> = databases(&shared).await?.into_keys().collect();
    let all = match page.parent.as_deref() {
        None | Some("") => all,
        // There is one level: an existing namespace has nothing below it.
        Some(parent) if all.iter().any(|name| name == parent) => Vec::new(),
        Some(parent) => return Err(Refused::no_namespace(parent)),
    };
    let (names, next) = page.of(all)?;
    let names: Vec<[String; 1]> = names.into_iter().map(|name| [name]).collect();
    Ok(Json(json!({ "namespaces": names, "next-page-token": next })))
}

#[derive(Deserialize)]
pub(super) struct NewNamespace {
    namespace: Vec<String>,
    #[serde(default)]
    properties: Properties,
}

pub(super) async fn create(
    State(shared): State<Shared>,
    Body(new): Body<NewNamespace>,
) -> Result<Json<Value>, Refused> {
    let name = one_level(&new.namespace)?;
    shared.served.lake.create_database(name, &new.properties).await.map_err(refused)?;
    Ok(Json(json!({ "namespace": [name], "properties": new.properties })))
}

pub(super) async fn load(State(shared): State<Shared>, Namespace(name): Namespace) -> Result<Json<Value>, Refused> {
    let properties = databases(&shared).await?.remove(&name).unwrap_or_default();
    Ok(Json(json!({ "namespace": [name], "properties": properties })))
}

pub(super) async fn exists(Namespace(_): Namespace) -> StatusCode {
    StatusCode::NO_CONTENT
}

pub(super) async fn drop(State(shared): State<Shared>, Namespace(name): Namespace) -> Result<StatusCode, Refused> {
    shared.served.lake.drop_database(&name).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct Changes {
    #[serde(default)]
    removals: Vec<String>,
    #[serde(default)]
    updates: Properties,
}

pub(super) async fn change(
    State(shared): State<Shared>,
    Namespace(name): Namespace,
    Body(changes): Body<Changes>,
) -> Result<Json<Value>, Refused> {
    let Changes { removals, updates } = changes;
    if let Some(both) = removals.iter().find(|key| updates.contains_key(*key)) {
        return Err(Refused::both(both));
    }
    let updated: Vec<String> = updates.keys().cloned().collect();
    let changed = shared.served.lake.change_database_properties(&name, removals, updates).await.map_err(refused)?;
    Ok(Json(json!({ "updated": updated, "removed": changed.removed, "missing": changed.missing })))
}
