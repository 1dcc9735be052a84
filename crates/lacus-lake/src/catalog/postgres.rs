//! A catalog in PostgreSQL, in the schema `lacus` of its database.
//!
//! A commit that was answered is on the server's disk, whatever the server's own default says. One connection is kept; when
//! it is lost, the next transaction makes another. A transaction whose answer was lost has ended or still holds the lock
//! on the lake's row, so that the next one, which waits for that lock, sees what became of it.

mod tls;

use std::error::Error as StdError;
use std::future::Future;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use lacus_core::settings::Secret;
use lacus_core::{Context, Error, Kind, Result};
use tokio::runtime::Handle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::TlsStream;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, Connection, NoTls, Socket};

use self::tls::Tls;
use super::database::{Database, Row, Sql, Value};

/// The longest that connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// The longest that we wait for an answer; then the connection is given up, and its transaction with it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// The session's settings: durable commits, and limits for waiting and for sessions of a process that hangs.
const SESSION: &str = "SET search_path TO lacus; SET synchronous_commit TO on; SET lock_timeout TO '10s'; \
    SET statement_timeout TO '25s'; SET idle_in_transaction_session_timeout TO '60s'";
/// The advisory lock for making the schema: `lacus` in ASCII.
const SCHEMA_LOCK: i64 = 0x6c_6163_7573;

/// A catalog in a PostgreSQL database.
pub(super) struct Postgres {
    config: Config,
    /// None: connections are not encrypted.
    tls: Option<Tls>,
    name: String,
    /// None after it was lost.
    client: Mutex<Option<Client>>,
    runtime: Handle,
}

impl Postgres {
    /// Connects. On a blocking thread of a runtime only.
    ///
    /// # Errors
    /// `Invalid` for what is no URL, `Denied` or `NotFound` for a database that can't be used, `Unavailable` when there is no
    /// server.
    pub(super) fn connect(url: &Secret) -> Result<Self> {
        let (mut config, tls) = config_of(url)?;
        config.connect_timeout(CONNECT_TIME_MAX).application_name("lacus");
        let name = name_of(&config);
        let catalog = Self { config, tls, name, client: Mutex::new(None), runtime: Handle::current() };
        *catalog.client() = Some(catalog.connect_again()?);
        Ok(catalog)
    }

    fn client(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().expect("nothing panics while it holds this lock")
    }

    fn connect_again(&self) -> Result<Client> {
        let connecting = async {
            let client = self.new_client().await?;
            client.batch_execute(SESSION).await?;
            Ok(client)
        };
        self.wait(connecting).context(format_args!("connect to {}", self.name))
    }

    async fn new_client(&self) -> Result<Client, tokio_postgres::Error> {
        if let Some(tls) = &self.tls {
            match self.config.connect(tls.clone()).await {
                Ok(connected) => return Ok(self.kept_up(connected)),
                // As PostgreSQL's own clients do: TLS was not asked for.
                Err(error) if self.config.get_ssl_mode() == SslMode::Prefer && tls::is_refused(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.config.connect(NoTls).await.map(|connected| self.kept_up(connected))
    }

    /// A client, and the task that drives its connection until the client is dropped.
    fn kept_up<T>(&self, (client, connection): (Client, Connection<Socket, T>)) -> Client
    where
        T: TlsStream + Unpin + Send + 'static,
    {
        // The client reports the connection's errors, too.
        self.runtime.spawn(async move { drop(connection.await) });
        client
    }

    /// Waits for an answer.
    fn wait<T>(&self, asked: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(ANSWER_TIME_MAX, asked).await });
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(_) => Err(Error::unavailable(format!("the catalog {} does not answer", self.name))),
        }
    }

    /// Begins a transaction, on a new connection if the idle one was lost.
    fn begin(&self, held: &mut Option<Client>) -> Result<Client> {
        if let Some(client) = held.take().filter(|client| !client.is_closed())
            && self.wait(client.batch_execute("BEGIN")).is_ok()
        {
            return Ok(client);
        }
        let client = self.connect_again()?;
        self.wait(client.batch_execute("BEGIN"))?;
        Ok(client)
    }

    /// An error of the server or the connection as one of ours.
    fn failed(&self, error: tokio_postgres::Error) -> Error {
        let name = &self.name;
        if let Some(failed) = tls::failed(&error, name) {
            return failed.with_source(error);
        }
        let code = error.code().map(|code| code.code().to_owned());
        let failed = match code.as_deref() {
            None => Error::unavailable(format!("the catalog {name} can't be reached"))
                .with_hint("look whether the PostgreSQL of lake.catalog runs; a server that runs keeps trying, and nothing acknowledged is lost"),
            Some("42501") => Error::new(Kind::Denied, format!("the catalog {name} can't be written"))
                .with_hint("GRANT CREATE ON DATABASE … TO …, or make the schema \"lacus\" for this user"),
            Some("3D000") => Error::new(Kind::NotFound, format!("there is no database for the catalog {name}"))
                .with_hint("make it: CREATE DATABASE …"),
            Some(code) if code.starts_with("28") => {
                Error::new(Kind::Denied, format!("the catalog {name} refuses the user or the password"))
                    .with_hint("look at lake.catalog, or LACUS__LAKE__CATALOG in the environment")
            }
            Some("25006") => Error::unavailable(format!("the catalog {name} is a standby that only reads"))
                .with_hint("name the primary server in lake.catalog"),
            Some("XX001" | "XX002") => Error::corrupt(format!("the catalog {name} is damaged"))
                .with_hint("restore the database from a backup; the tables' files are untouched"),
            Some(code) if ["08", "40", "53", "55", "57", "58", "25"].contains(&&code[..2]) => {
                Error::unavailable(format!("the catalog {name} can't be used now"))
            }
            Some(_) => Error::internal(format!("the catalog {name} refused a change")),
        };
        failed.with_source(error)
    }
}

fn config_of(url: &Secret) -> Result<(Config, Option<Tls>)> {
    let example =
        "lake.catalog = \"postgres://user@host:5432/database\"; the password may stand in LACUS__LAKE__CATALOG";
    let (url, asked) = tls::split(url.reveal())?;
    let mut config = Config::from_str(&url)
        .map_err(|_| Error::invalid("lake.catalog is no URL of a PostgreSQL database").with_hint(example))?;
    if config.get_hosts().is_empty() {
        return Err(Error::invalid("lake.catalog names no host").with_hint(example));
    }
    let tls = asked.tls(&mut config)?;
    Ok((config, tls))
}

/// The URL without user and password.
fn name_of(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => String::new(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("postgres://{host}:{port}/{}", config.get_dbname().unwrap_or_default())
}

impl Database for Postgres {
    fn transact(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        let mut held = self.client();
        // Whatever goes wrong, a connection that is not put back is closed, and its transaction with it.
        let client = self.begin(&mut held)?;
        match work(&mut Open { catalog: self, client: &client }) {
            Ok(()) => self.wait(client.batch_execute("COMMIT"))?,
            Err(error) => {
                if self.wait(client.batch_execute("ROLLBACK")).is_ok() {
                    *held = Some(client);
                }
                return Err(error);
            }
        }
        *held = Some(client);
        Ok(())
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.transact(work)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// A connection within a transaction.
struct Open<'a> {
    catalog: &'a Postgres,
    client: &'a Client,
}

impl Sql for Open<'_> {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64> {
        let sql = in_postgres(sql);
        self.catalog.wait(self.client.execute(&sql, &parameters(values)))
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>> {
        let sql = in_postgres(sql);
        let rows = self.catalog.wait(self.client.query(&sql, &parameters(values)))?;
        rows.iter().map(|row| self.row(row)).collect()
    }

    fn version(&mut self) -> Result<usize> {
        self.execute("SELECT pg_advisory_xact_lock(?1)", &[SCHEMA_LOCK.into()])?;
        let schema = self.query("SELECT nspname::text FROM pg_namespace WHERE nspname = 'lacus'", &[])?;
        if schema.is_empty() {
            self.catalog.wait(self.client.batch_execute("CREATE SCHEMA lacus"))?;
        }
        let make = "CREATE TABLE IF NOT EXISTS migrations (version BIGINT PRIMARY KEY)";
        self.catalog.wait(self.client.batch_execute(make))?;
        let newest = self.query("SELECT coalesce(max(version), 0) FROM migrations", &[])?;
        let newest = newest.first().map(|row| row.integer(0)).transpose()?.unwrap_or(0);
        Ok(usize::try_from(newest).unwrap_or(usize::MAX))
    }

    fn migrate(&mut self, migration: &str, version: usize) -> Result<()> {
        let migration =
            migration.replace(" STRICT, WITHOUT ROWID", "").replace(" STRICT", "").replace(" INTEGER", " BIGINT");
        self.catalog.wait(self.client.batch_execute(&migration))?;
        self.execute("INSERT INTO migrations VALUES (?1)", &[Value::Integer(version as i64)])?;
        Ok(())
    }
}

impl Open<'_> {
    fn row(&self, row: &tokio_postgres::Row) -> Result<Row> {
        let failed = |error| self.catalog.failed(error);
        let value = |column: usize| match *row.columns()[column].type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(column).map(Value::from).map_err(failed),
            _ => row.try_get::<_, Option<&str>>(column).map(Value::from).map_err(failed),
        };
        Ok(Row((0..row.len()).map(value).collect::<Result<_>>()?))
    }
}

/// The parameters `?1`, … as PostgreSQL writes them. Our SQL has no other question marks.
fn in_postgres(sql: &str) -> String {
    sql.replace('?', "$")
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl ToSql for Value {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => number.to_sql_checked(of, out),
            Self::Text(text) => text.to_sql_checked(of, out),
        }
    }

    fn accepts(of: &Type) -> bool {
        matches!(*of, Type::INT8 | Type::TEXT | Type::VARCHAR)
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests;
