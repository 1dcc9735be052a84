//! `/v1/keys`: the keyring over HTTP.
//!
//! | | |
//! |---|---|
//! | `POST /v1/keys` | `{"source":"web"}`, `{"aws":true}` or `{"lake":true}`, and `name`, `events_per_second`: makes a key, and tells its secret this once |
//! | `GET /v1/keys` | all keys, without their secrets |
//! | `DELETE /v1/keys/{id}` | revokes one |

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::routing::{delete, post};
use axum::{Json, Router};
use lacus_core::units::ByteSize;
use lacus_core::{Error, Kind, Result, StreamName};
use serde::{Deserialize, Serialize};

use crate::body;
use crate::keys::{CreatedKey, Grant, KeyInfo, Keyring, NewKey};
use crate::refusal::Refusal;
use crate::stats::Reason;
use crate::{Collect, Inner};

/// The longest request for a key: the names in it have some hundred bytes.
const BODY_BYTES_MAX: ByteSize = ByteSize(16 << 10);

pub(crate) fn router(collect: Collect) -> Router {
    Router::new().route("/v1/keys", post(create).get(list)).route("/v1/keys/{id}", delete(revoke)).with_state(collect)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    name: String,
    source: Option<String>,
    #[serde(default)]
    aws: bool,
    #[serde(default)]
    lake: bool,
    events_per_second: Option<u32>,
}

#[derive(Serialize)]
struct WireKey {
    id: String,
    name: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events_per_second: Option<u32>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_access_key: Option<String>,
}

#[derive(Serialize)]
struct WireKeys {
    keys: Vec<WireKey>,
}

async fn create(State(collect): State<Collect>, request: Request) -> Result<Json<WireKey>, Refusal> {
    let asked = read(&collect.inner, request).await?;
    let grant = match (asked.source, asked.aws, asked.lake) {
        (Some(source), false, false) => Grant::Write { source: StreamName::new(&source).map_err(refused)? },
        (None, true, false) => Grant::Aws,
        (None, false, true) => Grant::Lake,
        _ => {
            return Err(refused(
                Error::invalid("a key is for a source, for AWS clients or for the lake")
                    .with_hint("send {\"source\":\"web\"}, {\"aws\":true} or {\"lake\":true}"),
            ));
        }
    };
    let new = NewKey { name: asked.name, grant, events_per_second: asked.events_per_second };
    let made = change(&collect, move |keyring| keyring.create(new)).await?;
    let CreatedKey { info, secret } = made;
    let key = wire(info);
    Ok(Json(match key.kind {
        "write" => WireKey { write_key: Some(secret), ..key },
        _ => WireKey { access_key_id: Some(key.id.clone()), secret_access_key: Some(secret), ..key },
    }))
}

/// What a request asks for, if there is memory for its body beside those that bring events.
async fn read(inner: &Inner, request: Request) -> Result<Asked, Refusal> {
    let (head, body) = request.into_parts();
    let (mut body, mut share) = (body.into_data_stream(), inner.budget.share());
    let bytes = match body::read(&mut body, BODY_BYTES_MAX, inner.limits.body_wait_max, &mut share).await {
        Ok(bytes) => bytes,
        Err(refusal) => {
            body::dismiss(&head, body, &refusal);
            return Err(match refusal.reason {
                Reason::TooLarge => {
                    refused(Error::invalid(format!("what asks for a key has {BODY_BYTES_MAX} at most")))
                }
                _ => refusal,
            });
        }
    };
    let asked = Json::<Asked>::from_request(Request::from_parts(head, Body::from(bytes)), &()).await;
    let Json(asked) = asked.map_err(|error| {
        let hint = "send a JSON object such as {\"source\":\"web\"} with content-type: application/json";
        refused(Error::invalid(error.body_text()).with_hint(hint))
    })?;
    Ok(asked)
}

async fn list(State(collect): State<Collect>) -> Json<WireKeys> {
    Json(WireKeys { keys: collect.inner.keyring.list().into_iter().map(wire).collect() })
}

async fn revoke(
    State(collect): State<Collect>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<WireKey>, Refusal> {
    let Path(id) = id.map_err(|error| refused(Error::invalid(error.body_text())))?;
    let revoked = change(&collect, move |keyring| keyring.revoke(&id)).await?;
    Ok(Json(wire(revoked)))
}

/// Changes the keyring off the async threads: it waits for the disk.
async fn change<T: Send + 'static>(
    collect: &Collect,
    change: impl FnOnce(&Keyring) -> Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let keyring = std::sync::Arc::clone(&collect.inner.keyring);
    let changed = tokio::task::spawn_blocking(move || change(&keyring)).await;
    let changed = changed.unwrap_or_else(|error| Err(Error::internal("the change ended early").with_source(error)));
    changed.map_err(refused)
}

/// A refusal for a person: unlike events, such a request need not be sent again.
fn refused(error: Error) -> Refusal {
    match error.kind() {
        Kind::NotFound => Refusal::invalid(Reason::Parameter, error).with_status(StatusCode::NOT_FOUND),
        Kind::Invalid => Refusal::invalid(Reason::Parameter, error),
        _ => error.into(),
    }
}

fn wire(info: KeyInfo) -> WireKey {
    let (kind, source) = match info.grant {
        Grant::Write { source } => ("write", Some(source.to_string())),
        Grant::Aws => ("aws", None),
        Grant::Lake => ("lake", None),
    };
    WireKey {
        id: info.id,
        name: info.name,
        kind,
        source,
        events_per_second: info.events_per_second,
        created_at: info.created_at.to_string(),
        write_key: None,
        access_key_id: None,
        secret_access_key: None,
    }
}
