//! How a command reaches a project: over HTTP when a server runs, else through the same routes in this process.
//!
//! Both ways give the same answers because they are the same code; only the socket is missing in the second.

pub(crate) mod wire;

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use futures::TryStreamExt;
use lacus_core::units::human_bytes;
use lacus_core::{Context, Error, Kind, Result, TableName};
use lacus_serve::http::Pass;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use tower::ServiceExt;

use crate::answer::{Answer, Cell};
use crate::door::wire::{Flushed, Status};
use crate::lock::{Attempt, Lock, ServerAddress};
use crate::run::Invocation;
use crate::server::Parts;

/// How long another command, or a server that starts, may keep the project before we give up.
const HELD_MAX: Duration = Duration::from_secs(10);
/// How often a held project is tried again.
const HELD_PAUSE: Duration = Duration::from_millis(25);
/// A server accepts a connection within this time or is taken for hung.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The most bytes of an answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A way into a project.
pub(crate) enum Door {
    /// Over HTTP to the server that has it open.
    Server { client: reqwest::Client, base: String },
    /// This process has it open.
    Folder { parts: Box<Parts> },
}

/// A request that was refused: why, and for SQL where.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) error: Error,
    /// The character of the SQL it is about, counted from one.
    pub(crate) position: Option<usize>,
}

impl Door {
    /// Finds the server of this project, or opens the folder; waits while another command has it.
    ///
    /// # Errors
    /// If there is no project here, or somebody keeps it too long.
    pub(crate) async fn open(invocation: &Invocation) -> Result<Self> {
        let project = invocation.project()?;
        let deadline = Instant::now() + HELD_MAX;
        loop {
            let holder = match Lock::attempt(&project)? {
                Attempt::Taken(lock) => {
                    let parts = Parts::open(&project, lock, &invocation.clock).await?;
                    match parts.deliveries.caught_up().await {
                        // All other tables can be queried.
                        Err(error) if error.kind() == Kind::Corrupt => {
                            invocation.terminal.note(&format!("not all is visible: {}", error.chain()))?;
                        }
                        caught_up => caught_up.context("catch up with the log")?,
                    }
                    return Ok(Self::Folder { parts: Box::new(parts) });
                }
                Attempt::Held(holder) => holder,
            };
            match holder.server {
                Some(server) => return Self::to_server(&server),
                None if Instant::now() > deadline => return Err(holder.refusal()),
                None => tokio::time::sleep(HELD_PAUSE).await,
            }
        }
    }

    /// The door of a server.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub(crate) fn to_server(server: &ServerAddress) -> Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(pass) = &server.pass {
            let pass = HeaderValue::from_str(pass);
            let mut pass = pass.map_err(|error| Error::corrupt("server.json is no longer whole").with_source(error))?;
            pass.set_sensitive(true);
            headers.insert(Pass::HEADER, pass);
        }
        let client = reqwest::Client::builder().connect_timeout(CONNECT_MAX).no_proxy().default_headers(headers);
        let client = client.build().map_err(|error| Error::internal("make an HTTP client").with_source(error))?;
        Ok(Self::Server { client, base: format!("http://{}", server.http) })
    }

    /// Asks a question.
    ///
    /// # Errors
    /// Why it was refused, and where.
    pub(crate) async fn ask(&self, sql: &str) -> Result<Answer, Refused> {
        let response = self.send(Method::POST, "/v1/sql", "application/json", sql.to_owned()).await?;
        wire::answer(&whole(response).await?)
    }

    /// Asks for a single number.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) async fn count(&self, sql: &str) -> Result<u64> {
        let answer = self.ask(sql).await?;
        let count = answer.rows.first().and_then(|row| row.first()).and_then(Cell::whole);
        count.ok_or_else(|| Error::internal("the answer is no count"))
    }

    /// Asks a question and leaves the rows, one JSON object on each line, to the caller; what it cost on one more, if that is
    /// asked for.
    ///
    /// # Errors
    /// Why it was refused, and where.
    pub(crate) async fn rows(&self, sql: &str, cost: bool) -> Result<Response<Body>, Refused> {
        let accept = if cost { "application/x-ndjson; stats=last" } else { "application/x-ndjson" };
        self.send(Method::POST, "/v1/sql", accept, sql.to_owned()).await
    }

    /// How far each stream is, and what the lake holds.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) async fn status(&self) -> Result<Status> {
        let response = self.send(Method::GET, "/v1/status", "application/json", String::new()).await?;
        wire::status(&whole(response).await?)
    }

    /// Commits a table, and says what was written.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) async fn flush(&self, table: &TableName) -> Result<Flushed> {
        let path = format!("/v1/tables/{table}/flush");
        let response = self.send(Method::POST, &path, "application/json", String::new()).await?;
        wire::flushed(&whole(response).await?)
    }

    /// Sends `body` as JSON, if there is one, and reads JSON.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Value>) -> Result<T> {
        let body = body.map_or_else(String::new, |body| body.to_string());
        let response = self.send(method, path, "application/json", body).await?;
        wire::read(&whole(response).await?)
    }

    /// Asks for lines of JSON, and leaves them to the caller as they come.
    ///
    /// # Errors
    /// Why it was refused.
    pub(crate) async fn lines(&self, path: &str) -> Result<Response<Body>> {
        Ok(self.send(Method::GET, path, "application/x-ndjson", String::new()).await?)
    }

    /// Whether it takes events and answers queries.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) async fn ready(&self) -> Result<()> {
        self.send(Method::GET, "/readyz", "application/json", String::new()).await?;
        Ok(())
    }

    /// Closes the folder if this process has it open.
    ///
    /// # Errors
    /// If the log can't be closed.
    pub(crate) async fn close(self) -> Result<()> {
        match self {
            Self::Server { .. } => Ok(()),
            Self::Folder { parts } => parts.close().await,
        }
    }

    async fn send(&self, method: Method, path: &str, accept: &str, body: String) -> Result<Response<Body>, Refused> {
        // SQL goes as it is, everything else as JSON.
        let content_type = if path == "/v1/sql" { "application/sql" } else { "application/json" };
        let response = match self {
            Self::Server { client, base } => {
                let url = format!("{base}{path}");
                let request = client.request(method, &url).header(header::ACCEPT, accept);
                let request = request.header(header::CONTENT_TYPE, content_type).body(body);
                let response = request.send().await.map_err(|error| unreachable(&url, error))?;
                Response::<reqwest::Body>::from(response).map(Body::new)
            }
            Self::Folder { parts } => {
                let request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
                let request = request.header(header::CONTENT_TYPE, content_type);
                let request = request.body(Body::from(body)).expect("our paths are valid");
                let Ok(response) = parts.router.clone().oneshot(request).await;
                response
            }
        };
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, position: None }
    }
}

/// The whole body of an answer.
async fn whole(response: Response<Body>) -> Result<Vec<u8>> {
    let mut body = response.into_body().into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = next(&mut body).await? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Error::invalid(format!("the answer has more than {}", human_bytes(ANSWER_BYTES_MAX as u64)))
                .with_hint("ask for less with LIMIT, or take the rows as they come with --json"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What comes next of a body.
///
/// # Errors
/// If the connection ends before the body does.
pub(crate) async fn next(body: &mut BodyDataStream) -> Result<Option<Bytes>> {
    body.try_next().await.map_err(|error| Error::unavailable("the answer broke off").with_source(error))
}

fn unreachable(url: &str, error: reqwest::Error) -> Error {
    Error::unavailable(format!("could not reach the server at {url}"))
        .with_source(error)
        .with_hint("see whether it still runs: lacus doctor")
}

async fn refusal(response: Response<Body>) -> Refused {
    let status = response.status();
    let body = match whole(response).await {
        Ok(body) => body,
        Err(error) => return error.into(),
    };
    wire::refused(&body, status)
}
