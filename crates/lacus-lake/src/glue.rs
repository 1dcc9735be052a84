//! The mirror in AWS Glue: for each table of the lake a table there that points to its newest metadata, so that Athena and
//! Redshift read the same rows.
//!
//! The catalog is the truth: no commit and no query ever waits for Glue. Nobody tells the mirror of a commit. Once a second it
//! looks which tables have newer metadata than Glue knows, and updates those: commits that come faster than Glue may be changed
//! become one change, a rename is a new table and a dropped one, and all it remembers is one entry for each table. Now and then,
//! and after Glue was unreachable, it reads what Glue has and compares.
//!
//! What it makes in Glue says which lake it is of. It never changes or deletes a table that does not say so.

mod client;
mod columns;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lacus_core::{Context, Error, Kind, MAIN_DATABASE, Result, TableName, settings};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use self::client::{Client, Found};
use self::columns::columns;
use crate::kernel::Base;
use crate::lake::{Inner, Lake};
use crate::table::Table;

/// How often we look for tables whose metadata Glue does not have yet. That asks Glue nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the tables in Glue are compared with ours.
const COMPARE_EVERY: Duration = Duration::from_secs(600);
/// The pause after a failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The most refused tables that are logged; the status tells of all.
const REFUSALS_TOLD_MAX: usize = 10;
/// The parameter of a table in Glue that says which lake it is of.
const LAKE: &str = "lacus.lake";
/// The parameter with the place of a table's newest metadata, which engines follow.
const METADATA_LOCATION: &str = "metadata_location";
/// That with the place before it.
const PREVIOUS_METADATA_LOCATION: &str = "previous_metadata_location";

/// The mirror of a lake in AWS Glue.
pub struct Glue {
    inner: Arc<Inner>,
    client: Client,
    /// The database in Glue for the tables of `main`.
    database: String,
    /// A table is updated at most once in this time.
    update_every: Duration,
    state: Mutex<State>,
}

/// How far the mirror in AWS Glue is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GlueStatus {
    /// Tables that Glue has in their latest state.
    pub current: u64,
    /// Tables that are outdated or missing in Glue, or gone but still there.
    pub behind: u64,
    /// Tables that were made, moved or deleted in Glue since the start.
    pub changes: u64,
    /// Attempts at that which failed.
    pub failures: u64,
    /// Why tables are behind, if something is wrong.
    pub error: Option<String>,
}

/// The name of a table in Glue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct GlueName {
    database: String,
    table: String,
}

/// What we know of Glue.
#[derive(Default)]
struct State {
    /// Whether somebody runs the mirror.
    runs: bool,
    tables: BTreeMap<GlueName, Mirrored>,
    /// When Glue was last compared. None: it has to be compared.
    compared: Option<Instant>,
    changes: u64,
    failures: u64,
    /// The current failure of Glue as a whole.
    failing: Option<(Kind, String)>,
}

/// One table in Glue.
#[derive(Default)]
struct Mirrored {
    /// Where its metadata is, if it is there.
    location: Option<String>,
    /// It is left alone until then.
    rests: Option<Instant>,
    /// How often in a row the update failed, and why.
    failures: u32,
    error: Option<String>,
}

impl Lake {
    /// The mirror in AWS Glue, if the settings ask for one.
    #[must_use]
    pub fn glue(&self) -> Option<&Arc<Glue>> {
        self.glue.as_ref()
    }
}

impl Glue {
    /// The mirror that the settings ask for, if they do. Nothing is asked of Glue yet.
    ///
    /// # Errors
    /// `Invalid` if there are no credentials, or Glue's address is none.
    pub(crate) fn open(inner: &Arc<Inner>, settings: &settings::Lake) -> Result<Option<Arc<Self>>> {
        let (Some(location), Some(database)) = (&settings.location, &settings.glue.database) else { return Ok(None) };
        let glue = Self {
            inner: Arc::clone(inner),
            client: Client::new(location, settings)?,
            database: database.clone(),
            update_every: settings.glue.update_every.duration(),
            state: Mutex::default(),
        };
        Ok(Some(Arc::new(glue)))
    }

    /// Keeps Glue up to date for as long as it is awaited. Only one may run at a time.
    pub async fn run(&self) {
        self.state().runs = true;
        let mut failures = 0;
        loop {
            let wait = match self.turn().await {
                Ok(()) => {
                    failures = 0;
                    self.answers();
                    LOOK_EVERY
                }
                Err(error) => {
                    failures += 1;
                    self.fails(&error);
                    pause(failures)
                }
            };
            sleep(wait).await;
        }
    }

    /// The state of the mirror; none while nobody [runs](Self::run) it. Cheap: nothing is asked of Glue.
    #[must_use]
    pub fn status(&self) -> Option<GlueStatus> {
        let runs = self.state().runs;
        runs.then(|| self.progress())
    }

    fn progress(&self) -> GlueStatus {
        let wanted = self.wanted();
        let state = self.state();
        let current = wanted.iter().filter(|(name, table)| state.is_current(name, table)).count();
        let is_left =
            |(name, mirrored): &(&GlueName, &Mirrored)| mirrored.location.is_some() && !wanted.contains_key(*name);
        let left = state.tables.iter().filter(is_left).count();
        let refusal = || state.tables.values().find_map(|mirrored| mirrored.error.clone());
        GlueStatus {
            current: current as u64,
            behind: (wanted.len() - current + left) as u64,
            changes: state.changes,
            failures: state.failures,
            error: state.failing.as_ref().map(|(_, why)| why.clone()).or_else(refusal),
        }
    }

    /// Updates all outdated tables, except for those that pause after a failure.
    ///
    /// # Errors
    /// What is wrong with Glue as a whole, or that another process writes to the lake. What is wrong with one table is
    /// remembered with it.
    async fn turn(&self) -> Result<()> {
        let must_compare = self.state().compared.is_none_or(|at| at.elapsed() >= COMPARE_EVERY);
        if !must_compare && self.outdated().is_empty() && self.gone().is_empty() {
            return Ok(());
        }
        // Whoever took over may have made commits that we don't know of.
        self.inner.catalog.must_write().await?;
        if must_compare {
            self.compare().await?;
        }
        for (name, table) in self.outdated() {
            let brought = self.bring(&name, &table).await;
            self.note(&name, brought.context(format_args!("bring table \"{name}\" of AWS Glue up to date")))?;
        }
        for name in self.gone() {
            let removed = self.remove(&name).await;
            self.note(&name, removed.context(format_args!("delete table \"{name}\" of AWS Glue")))?;
        }
        Ok(())
    }

    /// Reads which tables of this lake Glue has.
    async fn compare(&self) -> Result<()> {
        let wanted: BTreeSet<String> = self.wanted().into_keys().map(|name| name.database).collect();
        let mut found = BTreeMap::new();
        for database in self.client.databases().await? {
            if !self.is_for_us(&database) {
                continue;
            }
            let tables = match self.client.tables(&database).await {
                // It is somebody else's database, and only has a name like ours.
                Err(error) if !is_of_all(&error) && !wanted.contains(&database) => continue,
                listed => listed?,
            };
            for table in tables {
                if self.is_ours(&table) {
                    let location = table.parameters.get(METADATA_LOCATION).cloned().unwrap_or_default();
                    found.insert(GlueName { database: database.clone(), table: table.name }, location);
                }
            }
        }
        let mut state = self.state();
        state.tables.values_mut().for_each(|mirrored| mirrored.location = None);
        for (name, location) in found {
            state.tables.entry(name).or_default().location = Some(location);
        }
        state.compared = Some(Instant::now());
        Ok(())
    }

    /// Makes a table in Glue, or points it to the newest metadata; returns the location of that.
    async fn bring(&self, name: &GlueName, table: &Table) -> Result<Option<String>> {
        let base = table.base();
        let known = self.state().tables.get(name).and_then(|mirrored| mirrored.location.clone());
        match self.client.table(&name.database, &name.table).await? {
            None => {
                if known.is_some() {
                    // Glue may have lost more than this one.
                    self.state().compared = None;
                }
                self.create(name, &base).await?;
            }
            Some(found) if self.is_ours(&found) => self.update(name, &base, found, known.as_deref()).await?,
            Some(_) => {
                let message = format!("table \"{name}\" of AWS Glue is not one that this lake made: it stays as it is");
                return Err(Error::new(Kind::Exists, message)
                    .with_hint("drop it there or give it another name, or mirror into another lake.glue.database"));
            }
        }
        Ok(Some(base.location.clone()))
    }

    async fn create(&self, name: &GlueName, base: &Base) -> Result<()> {
        let table = self.described(name, base, BTreeMap::new());
        match self.client.create_table(&name.database, &table).await {
            Err(error) if error.kind() == Kind::NotFound => {
                let database = json!({"Name": name.database, "Description": "Tables that lacus keeps up to date."});
                match self.client.create_database(&database).await {
                    // Somebody else was faster.
                    Err(error) if error.kind() == Kind::Exists => {}
                    made => made?,
                }
                self.client.create_table(&name.database, &table).await
            }
            created => created,
        }
    }

    async fn update(&self, name: &GlueName, base: &Base, found: Found, known: Option<&str>) -> Result<()> {
        let before = found.parameters.get(METADATA_LOCATION).cloned().unwrap_or_default();
        if before == base.location {
            return Ok(());
        }
        if known.is_some_and(|known| known != before) {
            tracing::warn!(table = %name, found = %before, "somebody else moved a table in AWS Glue: it is as in the lake again");
        }
        let mut parameters = found.parameters;
        parameters.insert(PREVIOUS_METADATA_LOCATION.to_owned(), before);
        let table = self.described(name, base, parameters);
        self.client.update_table(&name.database, &table, found.version_id.as_deref()).await
    }

    /// Deletes a table in Glue, if it is ours. Its files don't belong to Glue.
    async fn remove(&self, name: &GlueName) -> Result<Option<String>> {
        let found = self.client.table(&name.database, &name.table).await?;
        if found.is_some_and(|found| self.is_ours(&found)) {
            match self.client.delete_table(&name.database, &name.table).await {
                Err(error) if error.kind() == Kind::NotFound => {}
                deleted => deleted?,
            }
        }
        Ok(None)
    }

    /// A table in the form in which Iceberg's own catalog for Glue describes it.
    fn described(&self, name: &GlueName, base: &Base, mut parameters: BTreeMap<String, String>) -> Value {
        let ours = [
            ("table_type", "ICEBERG"),
            (METADATA_LOCATION, base.location.as_str()),
            (LAKE, self.inner.files.warehouse.base()),
        ];
        parameters.extend(ours.map(|(key, value)| (key.to_owned(), value.to_owned())));
        json!({
            "Name": name.table,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": parameters,
            "StorageDescriptor": {"Location": base.metadata.location(), "Columns": columns(&base.metadata)},
        })
    }

    fn is_ours(&self, found: &Found) -> bool {
        found.parameters.get(LAKE).is_some_and(|lake| lake == self.inner.files.warehouse.base())
    }

    /// Whether this database of Glue may have tables of ours.
    fn is_for_us(&self, database: &str) -> bool {
        database.strip_prefix(&self.database).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    }

    fn name_of(&self, table: &TableName) -> GlueName {
        let database = match table.database() {
            MAIN_DATABASE => self.database.clone(),
            other => format!("{}_{other}", self.database),
        };
        GlueName { database, table: table.table().to_owned() }
    }

    /// The tables that Glue should have.
    fn wanted(&self) -> BTreeMap<GlueName, Arc<Table>> {
        self.inner.tables().into_iter().map(|table| (self.name_of(table.name()), table)).collect()
    }

    /// Tables with commits that Glue does not know of.
    fn outdated(&self) -> Vec<(GlueName, Arc<Table>)> {
        let wanted = self.wanted();
        let state = self.state();
        wanted.into_iter().filter(|(name, table)| !state.is_current(name, table) && !state.rests(name)).collect()
    }

    /// Tables in Glue that the lake no longer has. A damaged table still counts.
    fn gone(&self) -> Vec<GlueName> {
        let (wanted, damaged) = (self.wanted(), self.inner.damaged());
        let damaged: BTreeSet<GlueName> = damaged.keys().map(|name| self.name_of(name)).collect();
        let mut state = self.state();
        state.tables.retain(|name, mirrored| mirrored.location.is_some() || wanted.contains_key(name));
        let is_there = |name: &GlueName| wanted.contains_key(name) || damaged.contains(name);
        state.tables.keys().filter(|name| !is_there(name) && !state.rests(name)).cloned().collect()
    }

    /// Records the outcome of a table's update.
    ///
    /// # Errors
    /// What is wrong with Glue as a whole.
    fn note(&self, name: &GlueName, changed: Result<Option<String>>) -> Result<()> {
        let mut state = self.state();
        match changed {
            Ok(location) => {
                let rests = Some(Instant::now() + self.update_every);
                state.tables.insert(name.clone(), Mirrored { location, rests, ..Mirrored::default() });
                state.changes += 1;
                Ok(())
            }
            Err(error) if is_of_all(&error) => Err(error),
            Err(error) => {
                let told = state.tables.values().filter(|mirrored| mirrored.error.is_some()).count();
                let mirrored = state.tables.entry(name.clone()).or_default();
                mirrored.failures += 1;
                mirrored.rests = Some(Instant::now() + pause(mirrored.failures));
                if mirrored.error.replace(error.chain()).is_none() && told < REFUSALS_TOLD_MAX {
                    tracing::warn!(error = %error.chain(), hint = error.hint(), "a table is not mirrored; it is tried again until it is");
                }
                state.failures += 1;
                Ok(())
            }
        }
    }

    /// Logs once that Glue works again.
    fn answers(&self) {
        if self.state().failing.take().is_some() {
            tracing::info!("tables in AWS Glue are brought up to date again");
        }
    }

    /// Logs once that Glue fails, and again if the reason changes.
    fn fails(&self, error: &Error) {
        let mut state = self.state();
        state.failures += 1;
        if error.kind() == Kind::Unavailable {
            state.compared = None;
        }
        let told = state.failing.replace((error.kind(), error.chain()));
        if told.is_none_or(|(kind, _)| kind != error.kind()) {
            tracing::warn!(error = %error.chain(), hint = error.hint(), "tables in AWS Glue are not brought up to date; it is tried again until they are");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete in itself: a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_current(&self, name: &GlueName, table: &Table) -> bool {
        let location = self.tables.get(name).and_then(|mirrored| mirrored.location.as_deref());
        location == Some(table.state().metadata_location.as_str())
    }

    fn rests(&self, name: &GlueName) -> bool {
        let rests = self.tables.get(name).and_then(|mirrored| mirrored.rests);
        rests.is_some_and(|until| Instant::now() < until)
    }
}

impl fmt::Display for GlueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// Whether the error is about Glue as a whole, not one table or database.
fn is_of_all(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Limited)
}

/// How long to wait after so many failures in a row.
fn pause(failures: u32) -> Duration {
    PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests;
