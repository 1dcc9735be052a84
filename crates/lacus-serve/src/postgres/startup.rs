//! How a connection begins: who asks, for which database, with which settings.

use std::collections::HashMap;
use std::fmt::Debug;

use async_trait::async_trait;
use futures::Sink;
use lacus_query::Session;
use pgwire::api::auth::{
    ServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::{ClientInfo, METADATA_DATABASE, METADATA_USER, PidSecretKeyGenerator};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use crate::postgres::connection::Connection;
use crate::postgres::errors::{fatal, wire};

/// The only database.
const DATABASE: &str = "lake";

/// The variables that clients are told about, when they connect and when they change, as Postgres spells them.
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

#[async_trait]
impl StartupHandler for Connection {
    async fn on_startup<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let PgWireFrontendMessage::Startup(startup) = message else {
            return Ok(());
        };
        protocol_negotiation(client, &startup).await?;
        save_startup_parameters_to_metadata(client, &startup);
        let database = client.metadata().get(METADATA_DATABASE).map_or(DATABASE, String::as_str);
        if database != DATABASE {
            let message = format!("database \"{database}\" does not exist");
            return Err(fatal("3D000", &message, "connect to database \"lake\", as in: psql … lake"));
        }
        apply(self.session(), client.metadata())?;
        self.session().begin();
        let (pid, key) = self.cancels().keys.generate(client);
        self.session().set_client(client.metadata().get(METADATA_USER).map_or("", String::as_str), pid);
        self.cancels().add((pid, key.to_bytes()), &self.running());
        client.set_pid_and_secret_key(pid, key);
        finish_authentication(client, &Told(self.newly_reported())).await
    }
}

/// Sets what the client asked for when it connected: variables by name, and `-c name=value` in `options`. Names that are
/// no variables are the client's own and are left alone.
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
