//! `/v1/users`: who may ask over the Postgres protocol.
//!
//! | | |
//! |---|---|
//! | `POST /v1/users` | `{"name":"ada"}`, and `password`, `md5`, `limits`: makes a user; a password that we make is told this once |
//! | `GET /v1/users` | all users, without their passwords |
//! | `POST /v1/users/{name}/password` | `{}`, `password`, `md5`: another password, kept as the one before where `md5` does not say |
//! | `POST /v1/users/{name}/limits` | `{"rows_max":1000}`: changes limits; `null` takes one away, and what is not there stays |
//! | `DELETE /v1/users/{name}` | drops one |

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::{delete, post};
use axum::{Json, Router};
use lacus_core::{Error, Result, StatementLimits};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use super::Shared;
use super::object::Object;
use super::refusal::Refusal;
use crate::users::{Changed, LimitChanges, NewPassword, UserInfo, Users};

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/users", post(create).get(list))
        .route("/v1/users/{name}", delete(remove))
        .route("/v1/users/{name}/password", post(set_password))
        .route("/v1/users/{name}/limits", post(set_limits))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedUser {
    name: String,
    password: Option<String>,
    #[serde(default)]
    md5: bool,
    #[serde(default, deserialize_with = "object")]
    limits: StatementLimits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedPassword {
    password: Option<String>,
    md5: Option<bool>,
}

#[derive(Serialize)]
struct WireUser {
    name: String,
    method: &'static str,
    created_at: String,
    limits: StatementLimits,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

#[derive(Serialize)]
struct WireUsers {
    users: Vec<WireUser>,
}

/// A field that must be an object: otherwise an array of its fields' values would be accepted as well.
fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let fields = Map::<String, Value>::deserialize(deserializer)?;
    serde_json::from_value(Value::Object(fields)).map_err(D::Error::custom)
}

async fn create(
    State(inner): State<Shared>,
    Object(AskedUser { name, password, md5, limits }): Object<AskedUser>,
) -> Result<Json<WireUser>, Refusal> {
    let new = NewPassword { password, md5: Some(md5) };
    let made = change(&inner, move |users| users.create(&name, &new, limits)).await?;
    Ok(Json(changed(made)))
}

async fn set_password(
    State(inner): State<Shared>,
    name: Result<Path<String>, PathRejection>,
    Object(AskedPassword { password, md5 }): Object<AskedPassword>,
) -> Result<Json<WireUser>, Refusal> {
    let Path(name) = name.map_err(|error| Error::invalid(error.body_text()))?;
    let set = change(&inner, move |users| users.set_password(&name, &NewPassword { password, md5 })).await?;
    Ok(Json(changed(set)))
}

async fn set_limits(
    State(inner): State<Shared>,
    name: Result<Path<String>, PathRejection>,
    Object(changes): Object<LimitChanges>,
) -> Result<Json<WireUser>, Refusal> {
    let Path(name) = name.map_err(|error| Error::invalid(error.body_text()))?;
    Ok(Json(wire(change(&inner, move |users| users.set_limits(&name, &changes)).await?)))
}

async fn list(State(inner): State<Shared>) -> Json<WireUsers> {
    Json(WireUsers { users: inner.served.users.list().into_iter().map(wire).collect() })
}

async fn remove(
    State(inner): State<Shared>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<WireUser>, Refusal> {
    let Path(name) = name.map_err(|error| Error::invalid(error.body_text()))?;
    Ok(Json(wire(change(&inner, move |users| users.remove(&name)).await?)))
}

/// Changes the users off the async threads: it waits for the disk, and computing a verifier takes time.
async fn change<T: Send + 'static>(
    inner: &Shared,
    change: impl FnOnce(&Users) -> Result<T> + Send + 'static,
) -> Result<T> {
    let users = Arc::clone(&inner.served.users);
    let changed = spawn_blocking(move || change(&users)).await;
    changed.unwrap_or_else(|error| Err(Error::internal("the change ended early").with_source(error)))
}

fn changed(changed: Changed) -> WireUser {
    WireUser { password: changed.made_password, ..wire(changed.info) }
}

fn wire(user: UserInfo) -> WireUser {
    let method = if user.md5 { "md5" } else { "scram-sha-256" };
    let created_at = user.created_at.to_string();
    WireUser { name: user.name, method, created_at, limits: user.limits, password: None }
}
