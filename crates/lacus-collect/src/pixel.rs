//! `GET /v1/pixel.gif`: an event from where nothing but an image can be asked for, such as a mail.
//!
//! The parameters of the address are the fields of the event. Who asks gets the image when the event is on disk, else why
//! not: then no browser keeps an answer, and one that asks again tries again.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value};

use crate::append::take;
use crate::check::{Order, Receipt};
use crate::refusal::Refusal;
use crate::request::{Encoding, Target, header_text, parameters};
use crate::{Collect, Inner, form, http};

/// One transparent point.
const GIF: [u8; 43] = [
    b'G', b'I', b'F', b'8', b'9', b'a', // with a colour that may be transparent
    1, 0, 1, 0, 0x80, 0, 0, // one by one, two colours:
    0, 0, 0, 0xff, 0xff, 0xff, // black, white
    0x21, 0xf9, 4, 1, 0, 0, 0, 0, // the first one is transparent
    0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, // an image that fills all
    2, 2, 0x44, 1, 0, // of one point of the first colour
    0x3b,
];

pub(crate) fn router(collect: Collect) -> Router {
    // A look at the headers is no event.
    Router::new().route("/v1/pixel.gif", get(answer).head(gif)).with_state(collect)
}

/// The image.
pub(crate) async fn gif() -> Response {
    let headers = [(header::CONTENT_TYPE, "image/gif"), (header::CACHE_CONTROL, "no-store")];
    (headers, &GIF[..]).into_response()
}

/// Why there is no image.
pub(crate) fn no_gif(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The address of a browser, as its proxy or its connection says.
pub(crate) fn address(head: &Parts) -> Option<String> {
    let forwarded = header_text(&head.headers, "x-forwarded-for").and_then(|list| list.split(',').next());
    let peer = || head.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_string());
    forwarded.map(|ip| ip.trim().to_owned()).or_else(peer)
}

/// What a browser is.
pub(crate) fn user_agent(head: &Parts) -> Option<String> {
    header_text(&head.headers, "user-agent").map(str::to_owned)
}

async fn answer(State(collect): State<Collect>, request: Request) -> Response {
    let inner = &*collect.inner;
    let (head, _) = request.into_parts();
    match store(inner, &head).await {
        Ok(receipt) if receipt.tally.accepted > 0 => gif().await,
        // It was counted when it was checked.
        Ok(receipt) => no_gif(http::reply(receipt)),
        Err(refusal) => {
            inner.counters.refuse(refusal.reason, 1);
            refusal.report();
            no_gif(refusal.into_response())
        }
    }
}

async fn store(inner: &Inner, head: &Parts) -> Result<Receipt, Refusal> {
    let mut fields = parameters(&head.uri)?;
    let target = Target::take(&mut fields, &head.headers, &inner.keyring, inner.settings.server.require_key)?;
    let mut event = form::object(fields)?;
    let received_at = inner.clock.now().to_string();
    let seen = [("receivedAt", Some(received_at)), ("ip", address(head)), ("userAgent", user_agent(head))];
    add_missing(&mut event, seen);
    let order = Order {
        target,
        identity: None,
        encoding: Encoding::Identity,
        says_lines: false,
        says_form: false,
        signature: None,
    };
    take(inner, order, Value::Object(event).to_string().into(), inner.budget.share()).await
}

/// Fields that the sender sets itself take precedence.
fn add_missing<const N: usize>(event: &mut Map<String, Value>, fields: [(&str, Option<String>); N]) {
    for (name, value) in fields {
        if let Some(value) = value {
            event.entry(name).or_insert_with(|| value.into());
        }
    }
}
