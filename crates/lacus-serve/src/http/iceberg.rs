//! The Iceberg REST catalog: other engines find, read and write the lake's tables.
//!
//! Paths, bodies and errors are those of the Iceberg REST specification
//! (<https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml>) below `/iceberg`, without a prefix.
//! A namespace is a database of the lake, so it has one level. Once there is a lake key, if the lake's files are served,
//! and from other machines, nothing is answered without a token (see [`door`]); otherwise nobody is asked who they are, as
//! on all of this port.

mod body;
mod changes;
mod door;
mod error;
mod names;
mod namespaces;
mod page;
mod tables;
mod views;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};

use self::door::Asker;
use self::error::Refused;
use super::Shared;

/// The most bytes of a request. A commit of a table with ten thousand columns takes about two megabytes.
const BODY_BYTES_MAX: usize = 16 << 20;

/// The endpoints that are served, as a client may ask for them.
const ENDPOINTS: [&str; 25] = [
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "DELETE /v1/{prefix}/namespaces/{namespace}",
    "POST /v1/{prefix}/namespaces/{namespace}/properties",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/register",
    "POST /v1/{prefix}/tables/rename",
    "POST /v1/{prefix}/transactions/commit",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    "GET /v1/{prefix}/namespaces/{namespace}/views",
    "POST /v1/{prefix}/namespaces/{namespace}/views",
    "GET /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/namespaces/{namespace}/register-view",
    "POST /v1/{prefix}/views/rename",
];

/// The routes of the catalog.
pub(super) fn routes(shared: &Shared) -> Router<Shared> {
    let catalog = Router::new()
        .route("/v1/config", get(config))
        .route("/v1/namespaces", get(namespaces::list).post(namespaces::create))
        .route("/v1/namespaces/{namespace}", get(namespaces::load).head(namespaces::exists).delete(namespaces::drop))
        .route("/v1/namespaces/{namespace}/properties", post(namespaces::change))
        .route("/v1/namespaces/{namespace}/register", post(changes::register))
        .route("/v1/namespaces/{namespace}/tables", get(tables::list).post(changes::create))
        .route(
            "/v1/namespaces/{namespace}/tables/{table}",
            get(tables::load).head(tables::exists).post(changes::commit).delete(changes::drop),
        )
        .route("/v1/tables/rename", post(changes::rename))
        .route("/v1/namespaces/{namespace}/views", get(views::list).post(views::create))
        .route(
            // The path's names are those of a table: views are looked up in the same way.
            "/v1/namespaces/{namespace}/views/{table}",
            get(views::load).head(views::exists).post(views::replace).delete(views::drop),
        )
        .route("/v1/namespaces/{namespace}/register-view", post(views::register))
        .route("/v1/views/rename", post(views::rename))
        .route("/v1/transactions/commit", post(changes::transact))
        .route("/v1/namespaces/{namespace}/tables/{table}/credentials", get(tables::credentials))
        .route("/v1/namespaces/{namespace}/tables/{table}/metrics", post(tables::metrics))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .method_not_allowed_fallback(async || Refused::unsupported())
        .fallback(async || Refused::unknown_route())
        .layer(middleware::from_fn_with_state(Arc::clone(shared), door::open));
    // These work without a token.
    let tokens = Router::new()
        .route("/v1/oauth/tokens", post(door::token))
        .layer(DefaultBodyLimit::max(door::FORM_BYTES_MAX))
        .method_not_allowed_fallback(async || Refused::unsupported());
    let bound = middleware::from_fn_with_state(Arc::clone(shared), body::within_budget);
    Router::new().nest("/iceberg", catalog.merge(tokens).layer(bound))
}

/// What a client has to know first: the URI, and credentials if files are in a bucket that is not ours. A client may reach
/// the bucket at another address, so its own settings take precedence.
async fn config(State(shared): State<Shared>, asker: Asker) -> Json<Value> {
    Json(json!({ "defaults": asker.store_properties(&shared), "overrides": {}, "endpoints": ENDPOINTS }))
}

#[cfg(test)]
mod tests;
