//! The settings of a project: `lacus.toml`, then `LACUS__SECTION__KEY` from the environment.
//!
//! The doc comment on each field is its reference text. Unknown keys are errors that name the nearest right one.
//! Settings are values a user may set; stores, clocks and catalogs are built from them and never live here.

mod contract;
mod glue;
mod lake;
mod place;
mod postgres;
mod price;
mod shape;
mod source;
mod table;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits::StatementLimits;
use crate::names::{StreamName, TableName};
use crate::units::{ByteSize, Millis};

pub use self::contract::Contract;
pub use self::glue::Glue;
pub use self::lake::{Lake, Location, S3};
pub use self::place::Place;
pub use self::postgres::{Passwords, Postgres};
pub use self::price::Price;
pub use self::shape::{Arrays, Nested, Shape, TablesOf};
pub use self::source::{InvalidEvents, Secret, SignatureEncoding, Source, Webhook};
pub use self::table::Table;

/// What an environment variable starts with to override a setting: `LACUS__SERVER__HTTP=127.0.0.1:9000`.
const ENVIRONMENT_PREFIX: &str = "LACUS__";

/// All settings, with a default for each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where lacus listens.
    pub server: Server,
    /// Who may connect over the Postgres wire protocol.
    pub postgres: Postgres,
    /// The durable log.
    pub stream: Stream,
    /// From log to tables.
    pub delivery: Delivery,
    /// Tables and raw events.
    pub lake: Lake,
    /// Answering SQL.
    pub query: Query,
    /// One section per source of events: `[sources.clicks]` is for events posted with `?source=clicks`. A source
    /// without a section has the defaults.
    pub sources: BTreeMap<String, Source>,
    /// One section per table that is laid out, or takes events, otherwise than by default: `[tables.clicks]`, `[tables."web.tracks"]`.
    pub tables: BTreeMap<String, Table>,
}

/// Where lacus listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address of the one port for every HTTP protocol (HTTP/1.1 and HTTP/2 without TLS). One that others can reach needs
    /// `lake.bucket`: they are answered at the Iceberg catalog and for files, with a key, and nowhere else.
    pub http: SocketAddr,
    /// Address of the Postgres wire protocol. One that others can reach needs users first: `lacus user create`.
    pub postgres: SocketAddr,
    /// Whether connections over the loopback come from people of this machine. Where something forwards a port over it, as rootless
    /// containers and SSH tunnels do, they don't: with `false` everybody is answered over HTTP as other machines are (about the
    /// lake's tables, with a key), and Postgres needs users first. Commands of lacus in the project's folder go on as before.
    pub trust_loopback: bool,
    /// The most bytes a request may have, before and after decompression.
    pub body_bytes_max: ByteSize,
    /// Whether events over HTTP need a write key (`lacus key create`). Segment and AWS clients always do.
    pub require_key: bool,
    /// The most connections served at once, each protocol (Postgres: those with a session); more wait for a place. One takes a
    /// file handle (HTTP) or two (Postgres): the default leaves some of the 1,024 that Linux gives a process for the log and the
    /// lake.
    pub connections_max: u32,
}

/// The durable log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stream {
    /// Partitions of a new stream. Order is kept per key, and a key stays in one partition.
    pub partitions: u32,
    /// A log file is closed and a new one begun at this size.
    pub segment_bytes_max: ByteSize,
    /// How long delivered records stay in the log. Undelivered records always stay.
    pub retention: Millis,
    /// The most bytes of log: delivered records go earlier when there is more. Without it, or with 0, only their age
    /// counts. Undelivered records stay however many they are.
    pub retention_bytes: Option<ByteSize>,
    /// Events are refused while the disk has less free than this: the tables need room to take over what the log holds.
    pub disk_reserve: ByteSize,
    /// The most bytes waiting for the disk at once; senders beyond it are asked to slow down.
    pub in_flight_bytes_max: ByteSize,
}

/// From log to tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// A table is committed when this many bytes of events wait for it …
    pub commit_bytes: ByteSize,
    /// … or when the oldest of them has waited this long.
    pub commit_after: Millis,
    /// The most memory for rows that are visible but not committed yet, over all tables. Commits come early under
    /// pressure.
    pub tail_bytes_max: ByteSize,
    /// Small files of a table are merged into files of this size, in the background.
    pub file_bytes: ByteSize,
}

/// Answering SQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// The most memory for all running queries together.
    pub memory_max: ByteSize,
    /// The most memory for one statement, of that. Without it, or with 0, what the others leave. A user's own limit stands in its
    /// place, and so for `timeout`, `bytes_scanned_max` and `rows_max`.
    pub statement_memory_max: Option<ByteSize>,
    /// A query that runs longer is cancelled.
    pub timeout: Millis,
    /// Whether SQL only reads: statements that write are refused, in every session.
    pub read_only: bool,
    /// A query that reads more bytes, of files (compressed) and hot tails, is stopped. Without it, or with 0, none is.
    pub bytes_scanned_max: Option<ByteSize>,
    /// A statement that answers with more rows, or writes more, is stopped. Without it, or with 0, none is.
    pub rows_max: Option<u64>,
    /// The most memory for answers that are given again while their tables stay the same. 0: none is.
    pub reuse_bytes_max: ByteSize,
    /// Dollars that `EXPLAIN COST` counts for reading 1,024 GB. Athena's price is 5.
    pub price_per_tb: Price,
    /// Where `UNLOAD` may write files: folders, and parts of buckets (`s3://bucket/prefix`). None: nowhere.
    pub unload_to: Vec<Place>,
    /// Where `COPY … FROM` and external tables may read files.
    pub copy_from: Vec<Place>,
}

impl Server {
    /// Whether only people of this machine reach an address.
    #[must_use]
    pub fn is_only_here(&self, address: SocketAddr) -> bool {
        self.trust_loopback && address.ip().is_loopback()
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 8484)),
            postgres: SocketAddr::from((Ipv4Addr::LOCALHOST, 5484)),
            trust_loopback: true,
            body_bytes_max: ByteSize::mb(10),
            require_key: false,
            connections_max: 256,
        }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            partitions: 1,
            segment_bytes_max: ByteSize::mb(64),
            retention: Millis::seconds(7 * 24 * 3600),
            retention_bytes: None,
            disk_reserve: ByteSize::mb(512),
            in_flight_bytes_max: ByteSize::mb(64),
        }
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            commit_bytes: ByteSize::mb(32),
            commit_after: Millis::seconds(300),
            tail_bytes_max: ByteSize::mb(32),
            file_bytes: ByteSize::mb(256),
        }
    }
}

impl Default for Query {
    fn default() -> Self {
        let folder = |name: &str| Place::Folder(name.to_owned());
        Self {
            memory_max: ByteSize::mb(1024),
            statement_memory_max: None,
            timeout: Millis::seconds(600),
            read_only: false,
            bytes_scanned_max: None,
            rows_max: None,
            reuse_bytes_max: ByteSize::mb(16),
            price_per_tb: Price::ATHENA,
            unload_to: vec![folder("unload")],
            copy_from: vec![folder("unload"), folder("import")],
        }
    }
}

impl Settings {
    /// Reads the text of a `lacus.toml` and lays `LACUS__…` variables over it.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) for what is no TOML, an unknown key, or a value that can't be.
    pub fn load(toml_text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        let mut settings = Self::merged(toml_text, &environment)?;
        let mut places = settings.query.unload_to.iter().chain(&settings.query.copy_from);
        if settings.lake.location.is_some() || places.any(Place::is_bucket) {
            settings.lake.s3.fill_from(&environment);
        }
        settings.lake.glue.fill_from(&environment);
        settings.checked()
    }

    fn merged(toml_text: &str, environment: &[(String, String)]) -> Result<Self> {
        let from_file: Self = toml::from_str(toml_text).map_err(|error| readable(&error, "lacus.toml", toml_text))?;
        let mut overrides: Vec<&(String, String)> =
            environment.iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
        if overrides.is_empty() {
            return Ok(from_file);
        }
        overrides.sort();
        let file: toml::Table = toml::from_str(toml_text).map_err(|error| readable(&error, "lacus.toml", ""))?;
        let laid_over = |overrides: &[&(String, String)]| -> Result<std::result::Result<Self, toml::de::Error>> {
            let mut merged = file.clone();
            for (name, value) in overrides.iter().copied() {
                lay_over(&mut merged, name, value)?;
            }
            Ok(merged.try_into())
        };
        laid_over(&overrides)?.map_err(|error| {
            // Those that are wrong by themselves, if there are such.
            let is_wrong = |variable: &&(String, String)| matches!(laid_over(&[*variable]), Ok(Err(_)));
            let wrong: Vec<&(String, String)> = overrides.iter().copied().filter(is_wrong).collect();
            let named = if wrong.is_empty() { &overrides } else { &wrong };
            let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
            readable(&error, &names.join(", "), "")
        })
    }

    /// The files that settings name, by their paths from the folder of `lacus.toml`.
    #[must_use]
    pub fn files(&self) -> Vec<&str> {
        self.sources.values().filter_map(|source| source.schema.as_deref()).collect()
    }

    /// The settings of one source.
    #[must_use]
    pub fn source(&self, stream: &StreamName) -> Source {
        self.sources.get(stream.as_str()).cloned().unwrap_or_default()
    }

    /// The settings of tables, by their checked names.
    ///
    /// # Errors
    /// If one of them is no name of a table.
    pub fn tables(&self) -> Result<BTreeMap<TableName, Table>> {
        self.tables.iter().map(|(name, table)| Ok((TableName::new(name)?, table.clone()))).collect()
    }

    /// How many partitions `stream` gets when its first event creates it.
    #[must_use]
    pub fn partitions_of(&self, stream: &StreamName) -> u32 {
        self.sources.get(stream.as_str()).and_then(|source| source.partitions).unwrap_or(self.stream.partitions)
    }

    /// Whether every secret is there that a server needs. Commands beside it do without: the environment of the server
    /// need not be theirs.
    ///
    /// # Errors
    /// `Invalid` for a webhook without a secret.
    pub fn check_secrets(&self) -> Result<()> {
        self.sources.iter().try_for_each(|(name, source)| match &source.webhook {
            Some(webhook) => webhook.check_secret(name),
            None => Ok(()),
        })
    }

    fn checked(self) -> Result<Self> {
        self.lake.check()?;
        for (name, source) in &self.sources {
            StreamName::new(name)?;
            source.check(name)?;
        }
        for (name, table) in &self.tables {
            if TableName::new(name)?.is_quarantine() {
                return Err(Error::invalid(format!("[tables.{name}]: a quarantine is neither partitioned nor sorted")));
            }
            table.check(name)?;
        }
        let of_sources =
            self.sources.iter().filter_map(|(name, source)| Some((format!("sources.{name}"), source.partitions?)));
        let mut partitions = of_sources.chain([("stream".to_owned(), self.stream.partitions)]);
        if let Some((section, wrong)) = partitions.find(|(_, count)| !(1..=PARTITIONS_MAX).contains(count)) {
            return Err(Error::invalid(format!(
                "[{section}] partitions = {wrong}: a stream has 1 to {PARTITIONS_MAX} partitions"
            )));
        }
        // The Postgres port knows its users only when the project is open: it is looked at there.
        let http = self.server.http;
        if !http.ip().is_loopback() && self.lake.bucket.is_none() {
            return Err(Error::invalid(format!(
                "refusing to listen on {http}: but for a lake that is served with lake.bucket, lacus asks nobody who they are over HTTP yet, so anybody who reaches this address could read and write everything"
            ))
            .with_hint("listen on 127.0.0.1 and put an authenticating proxy in front, or use an SSH tunnel"));
        }
        self.postgres.check()?;
        self.check_amounts()?;
        Ok(self)
    }

    /// Whether there is enough of everything to work at all.
    fn check_amounts(&self) -> Result<()> {
        at_least("stream.segment_bytes_max", self.stream.segment_bytes_max, ByteSize(64 << 10))?;
        at_least("stream.in_flight_bytes_max", self.stream.in_flight_bytes_max, ByteSize::mb(16))?;
        at_least("delivery.tail_bytes_max", self.delivery.tail_bytes_max, ByteSize::mb(16))?;
        at_least("delivery.file_bytes", self.delivery.file_bytes, ByteSize::mb(1))?;
        at_least("query.memory_max", self.query.memory_max, ByteSize::mb(64))?;
        if let Some(most) = self.query.statement_memory_max.filter(|most| most.0 > 0) {
            at_least("query.statement_memory_max", most, StatementLimits::MEMORY_LEAST)?;
        }
        if self.server.body_bytes_max > ByteSize::mb(64) {
            return Err(Error::invalid("server.body_bytes_max is 64MB at most"));
        }
        if self.server.connections_max == 0 {
            return Err(Error::invalid("server.connections_max is 0: nobody could connect"));
        }
        if self.query.timeout == Millis(0) {
            return Err(Error::invalid("query.timeout is 0: no query could do anything"));
        }
        Ok(())
    }
}

/// The most partitions a stream may have.
pub const PARTITIONS_MAX: u32 = 1024;

fn at_least(key: &str, value: ByteSize, least: ByteSize) -> Result<()> {
    if value >= least { Ok(()) } else { Err(Error::invalid(format!("{key} is {value}: it is {least} at least"))) }
}

fn lay_over(table: &mut toml::Table, name: &str, value: &str) -> Result<()> {
    let path = name[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase();
    let keys: Vec<&str> = path.split("__").collect();
    let (last, sections) = keys.split_last().expect("split gives at least one part");
    let mut table = table;
    for section in sections {
        let entry = table.entry(*section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry
            .as_table_mut()
            .ok_or_else(|| Error::invalid(format!("{name} overrides nothing: \"{section}\" is no section")))?;
    }
    table.insert((*last).to_owned(), read_variable(value));
    Ok(())
}

/// A variable has no type: what reads like a number, or like true and false, is one.
fn read_variable(value: &str) -> toml::Value {
    let number = value.parse::<i64>().ok().filter(|number| number.to_string() == value);
    let text = || toml::Value::String(value.to_owned());
    number.map(toml::Value::Integer).or_else(|| value.parse().ok().map(toml::Value::Boolean)).unwrap_or_else(text)
}

fn readable(error: &toml::de::Error, place: &str, text: &str) -> Error {
    let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    let place = line.map_or_else(|| place.to_owned(), |line| format!("{place} line {line}"));
    let message = error.message();
    let Some(known) = message.strip_prefix("unknown field ") else {
        let error = Error::invalid(format!("{place}: {message}"));
        if message.contains("socket address") {
            return error.with_hint("write an address and a port in digits, as in 127.0.0.1:8484");
        }
        return error;
    };
    // serde writes: unknown field `htp`, expected one of `http`, `postgres`
    let names: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let Some((unknown, expected)) = names.split_first() else {
        return Error::invalid(format!("{place}: {message}"));
    };
    let error = Error::invalid(format!("{place}: there is no setting \"{unknown}\" here"));
    match expected.iter().max_by(|a, b| strsim::jaro(a, unknown).total_cmp(&strsim::jaro(b, unknown))) {
        Some(nearest) if strsim::jaro(nearest, unknown) > 0.7 => {
            error.with_hint(format!("did you mean \"{nearest}\"?"))
        }
        _ => error.with_hint(format!("settings here: {}", expected.join(", "))),
    }
}

#[cfg(test)]
mod tests;
