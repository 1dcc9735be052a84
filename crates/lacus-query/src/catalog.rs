//! The tables of the lake as SQL finds them: catalog `lake`, with one schema for each database of the lake.
//!
//! Looking up a table takes its state at that instant. The engine looks up each table once per statement, so a statement sees
//! every table in one state however often it names it. A database exists once it has a table or somebody made it; `main` always
//! exists. The table `users` of a database is computed (see [`crate::users`]), and so are the metadata tables
//! (see [`crate::metadata`]), which are not listed.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;
use lacus_core::{Error, MAIN_DATABASE, TableName};
use lacus_lake::views::View;
use lacus_lake::{Lake, Table, Version};

use crate::error::external;
use crate::files::is_external;
use crate::metadata::Metadata;
use crate::numbered::{COLUMNS_ONLY, ColumnsOnly, NUMBERED, NumberedTable};
use crate::places::ALL_SNAPSHOTS;
use crate::search_path::{SearchPath, apart};
use crate::table::LakeTable;
use crate::time_travel;
use crate::users::{IDENTIFIES, USERS, has_users, users};
use crate::views::{ViewPlanner, external_of, state_of};

/// Catalog `lake`.
pub(crate) struct LakeCatalog {
    lake: Arc<Lake>,
    views: Arc<ViewPlanner>,
    /// Schemas that are not the lake's: those about the catalog, for Postgres clients.
    others: MemoryCatalogProvider,
}

/// One database of the lake.
struct Database {
    lake: Arc<Lake>,
    views: Arc<ViewPlanner>,
    name: String,
}

impl LakeCatalog {
    pub(crate) fn new(lake: Arc<Lake>, views: Arc<ViewPlanner>) -> Self {
        Self { lake, views, others: MemoryCatalogProvider::new() }
    }

    fn database(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if !self.lake.is_database(name) {
            return self.others.schema(name);
        }
        let name = self.lake.stands_for(name).unwrap_or_else(|| name.to_owned());
        let (lake, views) = (Arc::clone(&self.lake), Arc::clone(&self.views));
        Some(Arc::new(Database { lake, views, name }))
    }
}

impl CatalogProvider for LakeCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.lake.database_names().into_iter().chain(self.others.schema_names()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match apart(name) {
            Some(names) => Some(Arc::new(SearchPath(names.filter_map(|name| self.database(name)).collect()))),
            None => self.database(name),
        }
    }

    fn register_schema(
        &self,
        name: &str,
        schema: Arc<dyn SchemaProvider>,
    ) -> Result<Option<Arc<dyn SchemaProvider>>, DataFusionError> {
        self.others.register_schema(name, schema)
    }
}

impl Database {
    fn find(&self, name: &str) -> Option<Arc<Table>> {
        let name = TableName::new(&format!("{}.{name}", self.name)).ok()?;
        self.lake.table(&name)
    }

    fn view(&self, name: &str) -> Option<Arc<View>> {
        let name = TableName::new(&format!("{}.{name}", self.name)).ok()?;
        self.lake.view(&name)
    }

    /// The table and the kind of a metadata table's name.
    fn metadata(&self, name: &str) -> Option<(Arc<Table>, Metadata)> {
        let (table, what) = Metadata::named(name)?;
        Some((self.find(table)?, what))
    }

    /// A table as a version of it was.
    async fn past(&self, name: &str, version: &Version) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some(table) = self.find(name) {
            let state = self.lake.table_at(&table, version).await.map_err(external)?;
            return Ok(Some(Arc::new(LakeTable::new(state))));
        }
        if let Some(damage) = self.damage_of(name) {
            return Err(external(damage));
        }
        if self.table_exist(name) {
            let error = Error::invalid(format!("\"{name}\" is computed when it is asked: it has no versions"));
            let error = error.with_hint("ask the table that it is computed from");
            return Err(external(error));
        }
        Ok(None)
    }

    fn damage_of(&self, name: &str) -> Option<Error> {
        let name = TableName::new(&format!("{}.{name}", self.name)).ok()?;
        self.lake.damage_of(&name)
    }

    /// The table that `users` is computed from. In `main`, a table of that name is an ordinary one.
    fn identifies(&self) -> Option<Arc<Table>> {
        if self.name == MAIN_DATABASE || self.find(USERS).is_some() || self.view(USERS).is_some() {
            return None;
        }
        self.find(IDENTIFIES).filter(|identifies| has_users(identifies))
    }
}

#[async_trait]
impl SchemaProvider for Database {
    fn table_names(&self) -> Vec<String> {
        let tables = self.lake.tables();
        let names = tables.iter().map(|table| table.name()).filter(|name| name.database() == self.name);
        let views = self.lake.views();
        let views = views.iter().map(|view| &view.name).filter(|name| name.database() == self.name);
        let computed = self.identifies().map(|_| USERS.to_owned());
        names.chain(views).map(|name| name.table().to_owned()).chain(computed).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some(table) = self.find(name) {
            return Ok(Some(Arc::new(LakeTable::new(state_of(&table)))));
        }
        if let Some(view) = self.view(name) {
            return match external_of(&self.lake, &view) {
                Some(table) => Ok(Some(table.map_err(external)?)),
                None => self.views.table(&view).await.map(Some),
            };
        }
        if let Some(table) = name.strip_suffix(ALL_SNAPSHOTS).and_then(|name| self.find(name)) {
            let state = self.lake.every_row(&table).await.map_err(external)?;
            return Ok(Some(Arc::new(LakeTable::new(Arc::new(state)))));
        }
        if let Some(table) = name.strip_suffix(NUMBERED).and_then(|name| self.find(name)) {
            return Ok(Some(Arc::new(NumberedTable::new(Arc::clone(&self.lake), state_of(&table)))));
        }
        if let Some(table) = name.strip_suffix(COLUMNS_ONLY).and_then(|name| self.find(name)) {
            return Ok(Some(Arc::new(ColumnsOnly::new(table.state()))));
        }
        if let Some((table, version)) = time_travel::split(name) {
            return self.past(table, &version).await;
        }
        if let Some((table, what)) = self.metadata(name) {
            return what.of(&self.lake, &table).map(Some);
        }
        if let Some(damage) = self.damage_of(name) {
            return Err(external(damage));
        }
        let identifies = self.identifies().filter(|_| name == USERS);
        identifies.map(|identifies| users(state_of(&identifies))).transpose()
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        let is_external =
            || TableName::new(&format!("{}.{name}", self.name)).is_ok_and(|name| is_external(&self.lake, &name));
        let is_computed = self.find(name).is_none() && !is_external();
        Ok(self.table_exist(name).then_some(if is_computed { TableType::View } else { TableType::Base }))
    }

    fn table_exist(&self, name: &str) -> bool {
        let present = time_travel::split(name).map_or(name, |(table, _)| table);
        self.find(present).is_some()
            || self.view(present).is_some()
            || self.metadata(name).is_some()
            || self.damage_of(name).is_some()
            || (name == USERS && self.identifies().is_some())
    }
}

impl fmt::Debug for LakeCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LakeCatalog")
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.name).finish()
    }
}
