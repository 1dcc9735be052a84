//! Aliases of databases, which `CREATE EXTERNAL SCHEMA` makes.
//!
//! An alias is a database with a property and no tables of its own: SQL finds in it the tables of the database that the property
//! names. A table or view made in it could not be found, so none can be made.

use lacus_core::{Error, Result, TableName};

use crate::foreign::{Properties, no_database};
use crate::lake::{Inner, Lake};

/// The property with the database that is meant.
pub(crate) const STANDS_FOR: &str = "lacus.stands-for";

impl Lake {
    /// Makes another name of a database: SQL finds the tables of that in it, and it has none of its own.
    ///
    /// # Errors
    /// `Exists` if a database is called so, `NotFound` if there is none that it could be a name of, `Invalid` if no database can
    /// be called so.
    pub async fn create_other_name(&self, name: &str, database: &str) -> Result<()> {
        if !self.is_database(database) {
            return Err(no_database(database));
        }
        let meant = self.stands_for(database).unwrap_or_else(|| database.to_owned());
        self.add_database(name, &Properties::from([(STANDS_FOR.to_owned(), meant)])).await
    }

    /// The database that a name is an alias of: see [`create_other_name`](Self::create_other_name).
    #[must_use]
    pub fn stands_for(&self, name: &str) -> Option<String> {
        self.shared_inner().stands_for(name)
    }

    /// The table or view that a name means: in an alias of a database, that of the database.
    #[must_use]
    pub fn meant(&self, name: &TableName) -> TableName {
        let meant = self.stands_for(name.database()).map(|other| TableName::new(&format!("{other}.{}", name.table())));
        meant.and_then(Result::ok).unwrap_or_else(|| name.clone())
    }
}

impl Inner {
    /// Refuses to make a table or view that would not be found under its name.
    ///
    /// # Errors
    /// `Exists` if there is one of this name, `Invalid` if its database is another name of one.
    pub(crate) fn must_be_free(&self, name: &TableName) -> Result<()> {
        if let Some(other) = self.stands_for(name.database()) {
            let message = format!("\"{}\" is another name of database \"{other}\"", name.database());
            return Err(Error::invalid(message).with_hint(format!("make {other}.{}", name.table())));
        }
        self.must_not_be_taken(name)
    }
}

/// The database that one with these properties stands for.
pub(crate) fn stands_for(properties: &str) -> Option<String> {
    serde_json::from_str::<Properties>(properties).ok()?.remove(STANDS_FOR)
}

/// Refuses properties that would change which tables a database shows.
pub(crate) fn must_mean(now: Option<&Properties>, properties: &Properties) -> Result<()> {
    if properties.get(STANDS_FOR) == now.and_then(|now| now.get(STANDS_FOR)) {
        return Ok(());
    }
    let message = format!("property \"{STANDS_FOR}\" of a database can't be changed");
    Err(Error::invalid(message)
        .with_hint("CREATE EXTERNAL SCHEMA makes another name of a database, DROP SCHEMA drops it"))
}
