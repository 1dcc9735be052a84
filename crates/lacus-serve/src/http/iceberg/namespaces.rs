//! Namespaces: the databases of the lake.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::error::Refused;
use super::names::{Namespace, databases};
use super::page::Page;
use crate::http::Shared;

pub(super) async fn list(State(shared): State<Shared>, page: Page) -> Result<Json<Value>, Refused> {
    let all = databases(&shared);
    let all = match page.parent.as_deref() {
        None | Some("") => all,
        // There is one level: what exists has nothing below it.
        Some(parent) if all.iter().any(|name| name == parent) => Vec::new(),
        Some(parent) => return Err(Refused::no_namespace(parent)),
    };
    let (names, next) = page.of(all)?;
    let names: Vec<[String; 1]> = names.into_iter().map(|name| [name]).collect();
    Ok(Json(json!({ "namespaces": names, "next-page-token": next })))
}

pub(super) async fn load(Namespace(name): Namespace) -> Json<Value> {
    Json(json!({ "namespace": [name], "properties": {} }))
}

pub(super) async fn exists(Namespace(_): Namespace) -> StatusCode {
    StatusCode::NO_CONTENT
}
