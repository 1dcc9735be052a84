//! Tables that are named without their database: `SET search_path = web`, and then `SELECT * FROM tracks`.
//!
//! A question looks for such a table in the databases of `search_path`, one after the other, and at last in `main`. To the engine
//! they are one database, whose name none of the lake's can have. A statement that writes takes such a name for that of a table in
//! `main`, and is refused where a question would find another one by it: nothing is written or dropped by chance.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::TableType;
use datafusion::sql::parser::Statement as Parsed;
use lacus_core::MAIN_DATABASE;

use crate::error::SqlError;
use crate::session::Session;
use crate::stated_name::StatedName;

/// What the name of several databases as one begins with.
const MARK: &str = "search_path:";

/// What databases are called as one.
pub(crate) fn together(databases: &[String]) -> String {
    format!("{MARK}{}", databases.join(","))
}

/// The databases that are called so as one.
pub(crate) fn apart(name: &str) -> Option<impl Iterator<Item = &str>> {
    name.strip_prefix(MARK).map(|databases| databases.split(','))
}

/// Databases as one: a table is that of the first which has it.
#[derive(Debug)]
pub(crate) struct SearchPath(pub(crate) Vec<Arc<dyn SchemaProvider>>);

#[async_trait]
impl SchemaProvider for SearchPath {
    fn table_names(&self) -> Vec<String> {
        self.0.iter().flat_map(|database| database.table_names()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        for database in &self.0 {
            if let Some(table) = database.table(name).await? {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        for database in &self.0 {
            if let Some(kind) = database.table_type(name).await? {
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.iter().any(|database| database.table_exist(name))
    }
}

impl Session {
    /// The databases that questions look for a table in which they name without its database, if that is not `main` alone.
    pub(crate) fn path(&self) -> Option<Vec<String>> {
        let mut path = self.variables().search_path();
        path.retain(|name| self.catalog().schema(name).is_some());
        if !path.iter().any(|name| name == MAIN_DATABASE) {
            path.push(MAIN_DATABASE.to_owned());
        }
        (path.len() > 1).then_some(path)
    }

    /// The database in which a question finds a table that it names without one.
    pub(crate) fn database_of(&self, table: &str) -> String {
        let has_it = |name: &String| self.catalog().schema(name).is_some_and(|database| database.table_exist(table));
        let found = self.path().and_then(|path| path.into_iter().find(has_it));
        found.unwrap_or_else(|| MAIN_DATABASE.to_owned())
    }

    /// Refuses a name in a statement that writes, if a question would find another table by it.
    pub(crate) fn must_mean_main(&self, name: &StatedName) -> Result<(), SqlError> {
        name.without_database().map_or(Ok(()), |table| self.must_be_in_main(table))
    }

    /// The same for all names in a statement that writes, or in the part of it that reads.
    pub(crate) fn must_all_mean_main(&self, parsed: &Parsed) -> Result<(), SqlError> {
        if self.path().is_none() {
            return Ok(());
        }
        // What has no names that can be told has no plan either.
        let references = self.state_now().resolve_table_references(parsed).unwrap_or_default();
        let mut alone = references.iter().filter(|reference| reference.schema().is_none());
        alone.try_for_each(|reference| self.must_be_in_main(reference.table()))
    }

    fn must_be_in_main(&self, table: &str) -> Result<(), SqlError> {
        let database = self.database_of(table);
        if database == MAIN_DATABASE {
            return Ok(());
        }
        let message = format!(
            "\"{table}\" is that of database \"{database}\" by search_path, but a statement that writes takes it for that \
             of \"{MAIN_DATABASE}\""
        );
        let hint = format!("write {database}.{table} or {MAIN_DATABASE}.{table}");
        Err(SqlError::invalid("0A000", message).with_hint(hint))
    }
}
