//! Who asks the catalog, and what they are handed out.
//!
//! The catalog is closed once there is a lake key, when the lake's files are served, and to other machines: then an engine
//! shows a lake key at `/v1/oauth/tokens`, as client id and secret, and its token with every request. Where it is open,
//! anybody gets a token and nobody looks at it. Tokens and secrets are in no log.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::error::Refused;
use crate::engines::LENT_SECONDS;
use crate::http::{Elsewhere, Shared};

/// The most bytes of a form with a key.
pub(super) const FORM_BYTES_MAX: usize = 16 << 10;
/// The header by which a client asks for credentials for the files of a table.
const DELEGATION: &str = "x-iceberg-access-delegation";
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The lake key that a request's token proves.
#[derive(Debug, Clone)]
struct Holder(String);

/// Who asks, and how.
pub(super) struct Asker {
    holder: Option<String>,
    /// Where they reach us: `host:port`.
    host: Option<String>,
    wants_credentials: bool,
}

fn is_closed(shared: &Shared, extensions: &Extensions) -> bool {
    let is_elsewhere = extensions.get::<Elsewhere>().is_some();
    is_elsewhere || shared.served.lake.served().is_some() || shared.served.engines.are_there()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Lets a request in, or refuses it.
pub(super) async fn open(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let holder = bearer(request.headers()).and_then(|token| shared.served.engines.holder(token));
    match holder {
        Some(holder) => drop(request.extensions_mut().insert(Holder(holder))),
        None if is_closed(&shared, request.extensions()) => return Refused::unauthorized().into_response(),
        None => {}
    }
    next.run(request).await
}

/// A token for whoever has a lake key; for anybody where the catalog is open.
pub(super) async fn token(
    State(shared): State<Shared>,
    headers: HeaderMap,
    extensions: Extensions,
    form: Bytes,
) -> Response {
    let token = if is_closed(&shared, &extensions) {
        match sign_in(&shared, &headers, &form) {
            Ok(token) => token,
            Err(refused) => return refused.into_response(),
        }
    } else {
        "anybody".to_owned()
    };
    let answer = json!({
        "access_token": token,
        "token_type": "bearer",
        "expires_in": LENT_SECONDS,
        "issued_token_type": TOKEN_TYPE,
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

fn sign_in(shared: &Shared, headers: &HeaderMap, form: &[u8]) -> Result<String, NotSignedIn> {
    let form: BTreeMap<String, String> = form_urlencoded::parse(form).into_owned().collect();
    let engines = &shared.served.engines;
    let holder = match form.get("grant_type").map(String::as_str) {
        Some("client_credentials") => {
            let in_form = form.get("client_id").cloned().zip(form.get("client_secret").cloned());
            let why = "client_id and client_secret are a lake key";
            let missing = NotSignedIn(StatusCode::BAD_REQUEST, "invalid_request", why);
            let (id, secret) = in_form.or_else(|| basic(headers)).ok_or(missing)?;
            engines.is_key(&id, &secret).then_some(id)
        }
        Some(EXCHANGE) => form.get("subject_token").and_then(|token| engines.holder(token)),
        _ => {
            let why = "grant_type is client_credentials, or that of a token exchange";
            return Err(NotSignedIn(StatusCode::BAD_REQUEST, "unsupported_grant_type", why));
        }
    };
    let token = holder.and_then(|id| engines.token(&id));
    let why = "this is no lake key; lacus key create --lake makes one";
    token.ok_or(NotSignedIn(StatusCode::UNAUTHORIZED, "invalid_client", why))
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, value) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64.decode(value.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// Why no token is given, as in OAuth2: status, error, description.
struct NotSignedIn(StatusCode, &'static str, &'static str);

impl IntoResponse for NotSignedIn {
    fn into_response(self) -> Response {
        let Self(status, error, description) = self;
        (status, Json(json!({ "error": error, "error_description": description }))).into_response()
    }
}

impl Asker {
    /// What a client has to know of the store, whatever the table.
    pub(super) fn store_properties(&self, shared: &Shared) -> BTreeMap<String, String> {
        let lake = &shared.served.lake;
        let mut properties = lake.store_properties().clone();
        if lake.served().is_none() {
            return properties;
        }
        let reached = || self.host.as_ref().map(|host| format!("http://{host}"));
        if let Some(address) = shared.served.address.clone().or_else(reached) {
            properties.insert("s3.endpoint".to_owned(), address);
        }
        properties.insert("s3.path-style-access".to_owned(), "true".to_owned());
        properties
    }

    /// The properties of a table's files; and the same as storage credentials with a prefix, if credentials were requested.
    pub(super) fn said_of(&self, shared: &Shared, location: &str) -> (BTreeMap<String, String>, Option<Value>) {
        if shared.served.lake.served().is_none() {
            return (BTreeMap::new(), None);
        }
        let mut properties = self.store_properties(shared);
        let lent = self.lent_properties(shared, location).filter(|_| self.wants_credentials);
        let holds_credentials = lent.is_some();
        properties.extend(lent.unwrap_or_default());
        let lent = holds_credentials.then(|| json!({ "prefix": location, "config": properties }));
        (properties, lent)
    }

    /// Credentials for the files of a table.
    pub(super) fn lent(&self, shared: &Shared, location: &str) -> Option<Value> {
        let mut properties = self.store_properties(shared);
        properties.extend(self.lent_properties(shared, location)?);
        Some(json!({ "prefix": location, "config": properties }))
    }

    /// Whether something handed out with a table expires.
    pub(super) fn may_be_lent(&self, shared: &Shared) -> bool {
        self.wants_credentials && self.holder.is_some() && shared.served.lake.served().is_some()
    }

    fn lent_properties(&self, shared: &Shared, location: &str) -> Option<BTreeMap<String, String>> {
        let folder = shared.served.lake.served()?.folder_of(location).ok()?;
        let lent = shared.served.engines.lend(self.holder.as_ref()?, &folder)?;
        let ends_at = lent.ends_at.as_millis().to_string();
        let properties = [
            ("s3.access-key-id", lent.access_key_id),
            ("s3.secret-access-key", lent.secret_access_key),
            ("s3.session-token-expires-at-ms", ends_at.clone()),
            ("expiration-time", ends_at),
        ];
        Some(properties.map(|(name, value)| (name.to_owned(), value)).into())
    }
}

/// The name by which the client addressed us, if it is a valid one.
fn host_of(head: &Parts) -> Option<String> {
    let named = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let named = named.or_else(|| head.uri.authority().map(Authority::as_str))?;
    let host: Authority = named.parse().ok()?;
    (!host.as_str().contains('@')).then(|| host.to_string())
}

impl FromRequestParts<Shared> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &Shared) -> Result<Self, Infallible> {
        let delegation = head.headers.get_all(DELEGATION).iter().filter_map(|value| value.to_str().ok());
        let wants_credentials = delegation
            .flat_map(|value| value.split(','))
            .any(|way| way.trim().eq_ignore_ascii_case("vended-credentials"));
        let holder = head.extensions.get::<Holder>().map(|Holder(id)| id.clone());
        Ok(Self { holder, host: host_of(head), wants_credentials })
    }
}
