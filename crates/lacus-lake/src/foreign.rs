//! What other engines do to the lake through a catalog: databases, tables they make, and commits they build themselves.
//!
//! An engine writes data files, manifests and a manifest list on its own, and asks for a change of table metadata. Here the
//! change is checked against the table as it is now, the engine's files are synced, new metadata is written and the pointer
//! moves, as in every other commit. Tables that lacus delivers to are open to it too, but what would lose a row, an
//! offset or a column is refused ([`rules`]); an append that was built before a delivery is put on top of it ([`rebase`]).

pub(crate) mod commit;
pub(crate) mod create;
mod databases;
mod drop;
mod rebase;
mod rules;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use iceberg::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};
use lacus_core::{Context, Error, Kind, Result, TableName};

use crate::bloom_filters;
use crate::lake::{Lake, detached};
use crate::table::Table;

pub use self::databases::RemovedProperties;
pub(crate) use self::databases::no_database;

/// The table property of tables that somebody asked for; those that deliveries make don't have it. A copy of a delivered
/// table has its system columns, too: this is what tells them apart until a delivery commits to it.
pub(crate) const MADE_BY: &str = "lacus.made-by";

/// A change of one table, as the REST specification has it.
#[derive(Debug, Clone)]
pub struct TableCommit {
    /// The table; it need not exist if a requirement says so.
    pub table: TableName,
    /// What must be true of it.
    pub requirements: Vec<TableRequirement>,
    /// What changes.
    pub updates: Vec<TableUpdate>,
}

/// A table that an engine wants.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// Its name.
    pub name: TableName,
    /// Where it wants its files; lacus decides that, so it must be the place that lacus would choose.
    pub location: Option<String>,
    /// Its columns. Field ids are given anew.
    pub schema: Schema,
    /// How its files are partitioned.
    pub partition_spec: Option<UnboundPartitionSpec>,
    /// How rows in files are sorted.
    pub write_order: Option<SortOrder>,
    /// Its properties.
    pub properties: HashMap<String, String>,
}

/// Properties of a database.
pub type Properties = BTreeMap<String, String>;

impl Lake {
    /// The metadata that a table would have, for who makes it with its first commit. Nothing is made but its directories.
    ///
    /// # Errors
    /// `Exists` if the table is there, `Invalid` if it can't be.
    pub async fn stage_table(&self, new: NewTable) -> Result<TableMetadata> {
        let doing = format!("make table \"{}\"", new.name);
        create::stage(self.shared_inner(), new).await.context(doing)
    }

    /// Makes a table as an engine wants it.
    ///
    /// # Errors
    /// `Exists` if the table is there, `Invalid` if it can't be, `NotFound` if its database is not there.
    pub async fn make_table(&self, new: NewTable) -> Result<Arc<Table>> {
        let inner = Arc::clone(self.shared_inner());
        let doing = format!("make table \"{}\"", new.name);
        detached(async move { create::create(&inner, new).await.context(doing) }).await
    }

    /// Makes a table of metadata that is in the lake already, such as that of a table that was dropped.
    ///
    /// # Errors
    /// `Exists` if the table is there, `Invalid` if the metadata can't be a table of this lake.
    pub async fn register_table(&self, name: &TableName, location: &str) -> Result<Arc<Table>> {
        let (inner, name, location) = (Arc::clone(self.shared_inner()), name.clone(), location.to_owned());
        let doing = format!("register table \"{name}\"");
        detached(async move { create::register(&inner, name, location).await.context(doing) }).await
    }

    /// Changes tables, all or none.
    ///
    /// # Errors
    /// `Conflict` if a requirement is not met: load the table again and retry. `Invalid` for what can't be, `NotFound` for a
    /// table that is not there. `Internal` if nobody knows whether it happened.
    pub async fn commit_tables(&self, commits: Vec<TableCommit>) -> Result<Vec<Arc<Table>>> {
        let inner = Arc::clone(self.shared_inner());
        detached(async move { commit::commit(&inner, commits).await }).await
    }

    /// Sets properties of a table for somebody who is told what is wrong with them. Other properties stay.
    ///
    /// # Errors
    /// `NotFound` for a table that is not there, or a column that a property names; `Invalid` for a value that means nothing;
    /// `Denied` for properties that lacus keeps itself.
    pub async fn set_properties(&self, name: &TableName, properties: HashMap<String, String>) -> Result<()> {
        let table = self.table(name).ok_or_else(|| no_table(name))?;
        // Columns of rows that are not committed count, too.
        let schema = table.state().schema.iceberg(0)?;
        bloom_filters::check(&properties, &schema).context(format_args!("alter table \"{name}\""))?;
        let updates = vec![TableUpdate::SetProperties { updates: properties }];
        let commit = TableCommit { table: name.clone(), requirements: Vec::new(), updates };
        self.commit_tables(vec![commit]).await.map(drop)
    }

    /// Drops a table that another engine made. Its files stay for a while: an hour if they are to be purged, otherwise a
    /// week, in which [`register_table`](Self::register_table) brings it back.
    ///
    /// # Errors
    /// `NotFound` if it is not there, `Denied` if lacus delivers to it.
    pub async fn drop_table(&self, name: &TableName, purge: bool) -> Result<()> {
        let (inner, name) = (Arc::clone(self.shared_inner()), name.clone());
        let doing = format!("drop table \"{name}\"");
        detached(async move { drop::drop_table(&inner, &name, purge).await.context(doing) }).await
    }

    /// Drops a table of a stream that was deleted, once whoever delivered to it has ended. Its files stay as those of other tables.
    ///
    /// # Errors
    /// `NotFound` if it is not there, `Conflict` if it has rows that are not committed.
    pub async fn drop_ended_table(&self, name: &TableName, purge: bool) -> Result<()> {
        let (inner, name) = (Arc::clone(self.shared_inner()), name.clone());
        let doing = format!("drop table \"{name}\"");
        detached(async move { drop::drop_ended_table(&inner, &name, purge).await.context(doing) }).await
    }

    /// Gives a table that another engine made another name.
    ///
    /// # Errors
    /// `NotFound` if it is not there, or the database of the new name is not; `Exists` if the name is taken, `Denied` if lacus
    /// delivers to it.
    pub async fn rename_table(&self, from: &TableName, to: &TableName) -> Result<()> {
        let (inner, from, to) = (Arc::clone(self.shared_inner()), from.clone(), to.clone());
        let doing = format!("rename table \"{from}\"");
        detached(async move { drop::rename_table(&inner, &from, &to).await.context(doing) }).await
    }
}

fn no_table(name: &TableName) -> Error {
    Error::not_found(format!("table \"{name}\" does not exist"))
}

/// What Iceberg's library says about a request.
fn refused(error: iceberg::Error) -> Error {
    let kind = match error.kind() {
        iceberg::ErrorKind::CatalogCommitConflicts => Kind::Conflict,
        _ => Kind::Invalid,
    };
    Error::new(kind, error.message().to_owned()).with_source(error)
}

#[cfg(test)]
mod tests;
