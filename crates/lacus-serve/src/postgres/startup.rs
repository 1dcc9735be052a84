//! How a connection begins: who asks, for which database, with which settings.

use std::collections::HashMap;
use std::io;

use async_trait::async_trait;
use bytes::BytesMut;
use futures::{Sink, SinkExt};
use lacus_query::Session;
use pgwire::api::auth::{
    ServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::{
    ClientInfo, DefaultClient, METADATA_DATABASE, METADATA_USER, PgWireConnectionState, PidSecretKeyGenerator,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::Startup;
use pgwire::messages::{DecodeContext, Message, PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::PgWireMessageServerCodec;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::postgres::connection::{Connection, Kept};
use crate::postgres::door::Door;
use crate::postgres::errors::{fatal, wire};
use crate::postgres::login::log_in;
use crate::postgres::negotiation::negotiate;
use crate::postgres::socket::{Taken, Wire};
use crate::postgres::tls::Loaded;
use crate::users::Users;

/// The only database.
const DATABASE: &str = "lake";

/// The variables that are reported to clients when they connect and when they change, in Postgres' spelling.
pub(crate) const REPORTED: [&str; 12] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "search_path",
    "server_encoding",
    "server_version",
    "standard_conforming_strings",
    "TimeZone",
];

/// Admits a client that may have a session. None: it wanted no session, or was refused and told why.
///
/// # Errors
/// If the client goes, or sends what is no startup.
pub(crate) async fn admit(socket: TcpStream, connection: &Connection, door: &Door) -> io::Result<Option<Wire<Kept>>> {
    let from = socket.peer_addr()?;
    socket.set_nodelay(true)?;
    let mut arrival = negotiate(socket, door.tls.as_ref().map(|tls| tls.current())).await?;
    if CancelRequest::is_cancel_request_packet(&arrival.packet) {
        // Allowed without TLS even where that is required: older clients can't do otherwise, and only the key is revealed.
        connection.cancel(arrival.packet);
        // A client takes a TLS connection that just ends for a failure.
        return arrival.socket.shutdown().await.map(|()| None);
    }
    let client = DefaultClient::new(from, arrival.tls.is_some());
    let mut socket = Wire::new(BufReader::new(Taken::new(arrival.socket)), PgWireMessageServerCodec::new(client));
    socket.set_state(PgWireConnectionState::AuthenticationInProgress);
    let admitted = ask_who(&mut socket, door, arrival.packet, arrival.tls.as_deref()).await;
    Ok(or_refused(&mut socket, admitted).await?.map(|()| socket))
}

/// Begins the session of a client that may have one, and gives it a place. None: there is no place, or the session can't
/// begin, and the client was told.
///
/// # Errors
/// If the client goes.
pub(crate) async fn begin(
    mut socket: Wire<Kept>,
    connection: &Connection,
    door: &Door,
) -> io::Result<Option<(Wire<Kept>, OwnedSemaphorePermit)>> {
    let begun = connection.begin_session(&mut socket, &door.users).await;
    Ok(or_refused(&mut socket, begun).await?.map(|place| (socket, place)))
}

/// The result; none if the client was told of an error.
async fn or_refused<T>(socket: &mut Wire<Kept>, result: PgWireResult<T>) -> io::Result<Option<T>> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(PgWireError::IoError(error)) => Err(error),
        Err(error) => refuse(socket, error).await.map(|()| None),
    }
}

/// Tells a client why it has no session. Every such error ends the connection.
async fn refuse(socket: &mut Wire<Kept>, error: PgWireError) -> io::Result<()> {
    let mut info: ErrorInfo = error.into();
    "FATAL".clone_into(&mut info.severity);
    info.severity_nonlocalized = Some(info.severity.clone());
    socket.send(PgWireBackendMessage::ErrorResponse(info.into())).await?;
    socket.close().await
}

/// Reads who the client is and what it wants, and has it prove who it is if required.
async fn ask_who(socket: &mut Wire<Kept>, door: &Door, mut packet: BytesMut, tls: Option<&Loaded>) -> PgWireResult<()> {
    let startup = Startup::decode(&mut packet, &DecodeContext::default())?;
    let startup = startup.ok_or(PgWireError::InvalidStartupMessage)?;
    protocol_negotiation(socket, &startup).await?;
    if door.tls_required && tls.is_none() {
        let hint = "connect with TLS, as in: sslmode=require";
        return Err(fatal("28000", "this server takes connections over TLS only", Some(hint)));
    }
    save_startup_parameters_to_metadata(socket, &startup);
    if door.asks() {
        let user = startup.parameters.get(METADATA_USER).map_or("", String::as_str);
        let endpoint = tls.and_then(|tls| tls.endpoint.as_deref());
        let from = socket.socket_addr().ip();
        log_in(socket, &door.users, user, from, endpoint).await?;
    }
    Ok(())
}

impl Connection {
    /// Gives a client a place, and begins its session.
    async fn begin_session(&self, client: &mut Wire<Kept>, users: &Users) -> PgWireResult<OwnedSemaphorePermit> {
        let Some(place) = self.places().take().await else {
            let hint = "server.connections_max in lacus.toml says how many there are";
            return Err(fatal("53300", "sorry, too many clients already", Some(hint)));
        };
        self.welcome(client, users).await?;
        Ok(place)
    }

    /// Begins the session of a client that has a place.
    async fn welcome(&self, client: &mut Wire<Kept>, users: &Users) -> PgWireResult<()> {
        let database = client.metadata().get(METADATA_DATABASE).map_or(DATABASE, String::as_str);
        if database != DATABASE {
            let message = format!("database \"{database}\" does not exist");
            return Err(fatal("3D000", &message, Some("connect to database \"lake\", as in: psql … lake")));
        }
        let (pid, key) = self.cancels().keys.generate(client);
        let user = client.metadata().get(METADATA_USER).map_or("", String::as_str);
        self.session().set_client(user, pid, users.limits_of(user));
        apply(self.session(), client.metadata())?;
        self.session().begin();
        let running = self.running();
        self.cancels().add((pid, key.to_bytes()), &running);
        self.session().announce(client.socket_addr(), users.clock(), move |signal| running.obey(signal));
        client.set_pid_and_secret_key(pid, key);
        finish_authentication(client, &Told(self.newly_reported())).await
    }

    /// Stops the query that a cancel request names. There is no answer.
    fn cancel(&self, mut packet: BytesMut) {
        if let Ok(Some(request)) = CancelRequest::decode(&mut packet, &DecodeContext::default()) {
            self.cancels().cancel(&(request.pid, request.secret_key.to_bytes()));
        }
    }
}

/// Sessions begin before the library sees a message: nothing is left to do here.
#[async_trait]
impl StartupHandler for Connection {
    async fn on_startup<C>(&self, _client: &mut C, _message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Err(fatal("08P01", "the session has begun already", None))
    }
}

/// Sets the variables that the client requested when it connected: by name, and by `-c name=value` in `options`. Unknown
/// names are the client's own, and ignored.
fn apply(session: &Session, asked: &HashMap<String, String>) -> PgWireResult<()> {
    let options = asked.get("options").map(String::as_str).unwrap_or_default();
    let from_options = options.split("-c").filter_map(|option| option.trim().split_once('='));
    let all = asked.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(from_options);
    for (name, value) in all {
        if session.variable(name).is_ok() {
            session.set_variable(name, value).map_err(|error| wire(&error))?;
        }
    }
    Ok(())
}

struct Told(HashMap<String, String>);

impl ServerParameterProvider for Told {
    fn server_parameters<C>(&self, _client: &C) -> Option<HashMap<String, String>> {
        Some(self.0.clone())
    }
}
