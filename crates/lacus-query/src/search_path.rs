//! Tables that are named without their database: `SET search_path = web`, and then `SELECT * FROM tracks`.
//!
//! A question looks for such a table in the databases of `search_path`, one after the other, and at last in `main`. To the engine
//! they are one database, whose name none of the lake's can have. A statement that writes means the same table by such a name. It
//! looks once: from then on it says the database, too, whatever comes and goes meanwhile. What it makes comes into the first one.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::TableType;
use lacus_core::{MAIN_DATABASE, TableName};

use crate::error::SqlError;
use crate::reads::tables_named_in;
use crate::session::Session;
use crate::stated_name::StatedName;
use crate::statement::Statement;

/// How the name of a search path as one database begins.
const MARK: &str = "search_path:";

/// What databases are called as one.
pub(crate) fn together(databases: &[String]) -> String {
    format!("{MARK}{}", databases.join(","))
}

/// The databases that such a name stands for.
pub(crate) fn apart(name: &str) -> Option<impl Iterator<Item = &str>> {
    name.strip_prefix(MARK).map(|databases| databases.split(','))
}

/// Several databases as one: a table is looked for in each, in order.
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
    /// The databases in which an unqualified table is looked for, unless that is `main` alone.
    pub(crate) fn path(&self) -> Option<Vec<String>> {
        let mut path = self.variables().search_path();
        path.retain(|name| self.catalog().schema(name).is_some());
        if !path.iter().any(|name| name == MAIN_DATABASE) {
            path.push(MAIN_DATABASE.to_owned());
        }
        (path.len() > 1).then_some(path)
    }

    /// The database in which an unqualified table is found.
    pub(crate) fn database_of(&self, table: &str) -> String {
        let found = self.path().and_then(|path| path.into_iter().find(|database| self.has(database, table)));
        found.unwrap_or_else(|| MAIN_DATABASE.to_owned())
    }

    /// The table or view that a name means in a statement that writes: the one that a query would find.
    pub(crate) fn meant(&self, name: &StatedName) -> Result<TableName, SqlError> {
        Ok(self.found(name)?.meant_in(self.lake()?))
    }

    /// The name, qualified with the database in which a query would find it.
    pub(crate) fn found(&self, name: &StatedName) -> Result<StatedName, SqlError> {
        name.or_in(|table| self.database_of(table))
    }

    /// The name of a table or view that a statement makes: unqualified, it goes into the first database of `search_path`.
    pub(crate) fn meant_new(&self, name: &StatedName) -> Result<TableName, SqlError> {
        let first = || self.path().and_then(|path| path.into_iter().next()).unwrap_or_else(|| MAIN_DATABASE.to_owned());
        Ok(name.or_in(|_| first())?.meant_in(self.lake()?))
    }

    /// The one database of all unqualified tables in a view's query: whoever reads the view looks for them there alone.
    ///
    /// # Errors
    /// `0A000` if they are of more than one.
    pub(crate) fn home_of(&self, query: &Statement) -> Result<String, SqlError> {
        let (Some(path), Some(question)) = (self.path(), query.question()) else { return Ok(MAIN_DATABASE.to_owned()) };
        let mut home: Option<(String, String)> = None;
        // If names can't be resolved, planning fails too.
        for reference in tables_named_in(question).unwrap_or_default() {
            let table = reference.table();
            // A name that is nowhere is a function, or an error that planning reports.
            let found = path.iter().find(|database| self.has(database, table));
            let Some(database) = found.filter(|_| reference.schema().is_none()) else { continue };
            if let Some((other, first)) = home.as_ref().filter(|(_, first)| first != database) {
                return Err(two_homes((first, other), (database, table)));
            }
            home = Some((table.to_owned(), database.clone()));
        }
        let home = home.map_or_else(|| MAIN_DATABASE.to_owned(), |(_, database)| database);
        Ok(self.lake()?.stands_for(&home).unwrap_or(home))
    }

    fn has(&self, database: &str, table: &str) -> bool {
        self.catalog().schema(database).is_some_and(|database| database.table_exist(table))
    }
}

fn two_homes((database, table): (&str, &str), (other_database, other_table): (&str, &str)) -> SqlError {
    let message = format!(
        "by search_path \"{table}\" is in database \"{database}\" and \"{other_table}\" in \"{other_database}\", but a \
         view looks for all names without a database in one"
    );
    let hint = format!("write {database}.{table} and {other_database}.{other_table}");
    SqlError::invalid("0A000", message).with_hint(hint)
}
