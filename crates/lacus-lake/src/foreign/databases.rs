//! Databases: made, changed and dropped one after the other, and never while a table or a view comes or goes.
//!
//! Each change looks and acts while it alone may move pointers, so nothing can come between the two.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lacus_core::{Context, Error, Kind, MAIN_DATABASE, Result, TableName};

use super::Properties;
use crate::commit::begin_publishing;
use crate::lake::{Inner, Lake, detached};
use crate::other_names::{STANDS_FOR, must_mean};

/// The most bytes of a database's properties.
const PROPERTIES_BYTES_MAX: usize = 64 << 10;

/// What became of properties that were to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedProperties {
    /// They are gone.
    pub removed: Vec<String>,
    /// There were none of these names.
    pub missing: Vec<String>,
}

impl Lake {
    /// All databases with their properties: `main`, those that have tables or views, and those that were made.
    ///
    /// # Errors
    /// `Unavailable` when the catalog can't be read.
    pub async fn databases(&self) -> Result<BTreeMap<String, Properties>> {
        all(self.shared_inner()).await
    }

    /// Makes a database.
    ///
    /// # Errors
    /// `Exists` if it is there, `Invalid` if no database can be called so or have these properties.
    pub async fn create_database(&self, name: &str, properties: &Properties) -> Result<()> {
        must_mean(None, properties)?;
        self.add_database(name, properties).await
    }

    pub(crate) async fn add_database(&self, name: &str, properties: &Properties) -> Result<()> {
        // Any table's name tells whether its database may be called so.
        TableName::new(&format!("{name}.t")).context(format_args!("make database \"{name}\""))?;
        let (inner, name, properties) = (Arc::clone(self.shared_inner()), name.to_owned(), properties.clone());
        // Who asked may go meanwhile.
        detached(async move { add(&inner, &name, &properties).await }).await
    }

    /// Removes properties of a database, and sets others. All else stays.
    ///
    /// # Errors
    /// `NotFound` if there is none of this name, `Invalid` if it can't have these properties.
    pub async fn change_database_properties(
        &self,
        name: &str,
        removals: Vec<String>,
        updates: Properties,
    ) -> Result<RemovedProperties> {
        let (inner, name) = (Arc::clone(self.shared_inner()), name.to_owned());
        detached(async move { change(&inner, &name, removals, updates).await }).await
    }

    /// Drops a database without tables and views.
    ///
    /// # Errors
    /// `Conflict` if it has some, `NotFound` if there is none of this name.
    pub async fn drop_database(&self, name: &str) -> Result<()> {
        let (inner, name) = (Arc::clone(self.shared_inner()), name.to_owned());
        detached(async move { drop_empty(&inner, &name).await }).await
    }
}

async fn all(lake: &Inner) -> Result<BTreeMap<String, Properties>> {
    let mut databases: BTreeMap<String, Properties> = BTreeMap::new();
    for (name, properties) in lake.catalog.databases().await? {
        let properties = serde_json::from_str(&properties)
            .map_err(|error| Error::corrupt("properties of a database can't be read").with_source(error))?;
        databases.insert(name, properties);
    }
    let (tables, views) = (lake.tables(), lake.views());
    let used = tables.iter().map(|table| table.name()).chain(views.keys());
    for name in used.map(TableName::database).chain([MAIN_DATABASE]).collect::<BTreeSet<_>>() {
        databases.entry(name.to_owned()).or_default();
    }
    Ok(databases)
}

async fn add(lake: &Inner, name: &str, properties: &Properties) -> Result<()> {
    let _publishing = begin_publishing(lake).await?;
    if all(lake).await?.contains_key(name) {
        return Err(Error::new(Kind::Exists, format!("database \"{name}\" exists")));
    }
    // What it is another name of may have been dropped meanwhile, or have become another name itself.
    if let Some(meant) = properties.get(STANDS_FOR)
        && (!lake.is_database(meant) || lake.stands_for(meant).is_some())
    {
        return Err(no_database(meant));
    }
    put(lake, name, properties).await
}

async fn change(lake: &Inner, name: &str, removals: Vec<String>, updates: Properties) -> Result<RemovedProperties> {
    let _publishing = begin_publishing(lake).await?;
    let Some(now) = all(lake).await?.remove(name) else { return Err(no_database(name)) };
    let mut properties = now.clone();
    let (removed, missing) = removals.into_iter().partition(|key| properties.remove(key).is_some());
    properties.extend(updates);
    must_mean(Some(&now), &properties)?;
    put(lake, name, &properties).await?;
    Ok(RemovedProperties { removed, missing })
}

async fn drop_empty(lake: &Inner, name: &str) -> Result<()> {
    let _publishing = begin_publishing(lake).await?;
    let has_tables = lake.tables().iter().any(|table| table.name().database() == name);
    let has_views = lake.views().keys().any(|view| view.database() == name);
    if has_tables || has_views || name == MAIN_DATABASE {
        return Err(Error::new(Kind::Conflict, format!("database \"{name}\" is not empty"))
            .with_hint("drop its tables and views first; main always stays"));
    }
    if !all(lake).await?.contains_key(name) {
        return Err(no_database(name));
    }
    lake.catalog.drop_database(name.to_owned()).await?;
    lake.made_database(name, None);
    Ok(())
}

async fn put(lake: &Inner, name: &str, properties: &Properties) -> Result<()> {
    let properties = json(properties)?;
    lake.catalog.put_database(name.to_owned(), properties.clone()).await?;
    lake.made_database(name, Some(&properties));
    Ok(())
}

fn json(properties: &Properties) -> Result<String> {
    let text = serde_json::to_string(properties)
        .map_err(|error| Error::internal("write properties of a database").with_source(error))?;
    if text.len() > PROPERTIES_BYTES_MAX {
        return Err(Error::invalid(format!("properties of a database have {PROPERTIES_BYTES_MAX} bytes at most")));
    }
    Ok(text)
}

pub(crate) fn no_database(name: &str) -> Error {
    Error::not_found(format!("database \"{name}\" does not exist"))
}
