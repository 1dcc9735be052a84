//! The names of tables and views in statements that write, and what they mean.
//!
//! A schema may be another name of a database (`CREATE EXTERNAL SCHEMA`), and a database may have to be found by `search_path`. What
//! a statement says is a [`StatedName`], and the only way from it to a table of the lake is [`StatedName::meant_in`], by way of the
//! session (see [`search_path`](crate::search_path)): no statement can forget to look through such names.

use std::fmt;

use datafusion::sql::sqlparser::ast::ObjectName;
use lacus_core::{Error, TableName};
use lacus_lake::Lake;

use crate::engine::CATALOG;
use crate::error::SqlError;
use crate::identifiers::folded;

/// The name of a table or view as a statement says it.
#[derive(Debug, Clone)]
pub(crate) struct StatedName {
    name: TableName,
    has_database: bool,
}

impl StatedName {
    /// `clicks`, `web.tracks`, `lake.web.tracks`.
    ///
    /// # Errors
    /// If nothing can be called so.
    pub(crate) fn of(name: &ObjectName) -> Result<Self, SqlError> {
        let mut parts = Vec::new();
        for part in &name.0 {
            let ident = part.as_ident().ok_or_else(|| SqlError::invalid("42601", format!("\"{name}\" is no table")))?;
            parts.push(folded(ident));
        }
        if parts.len() == 3 && parts[0] == CATALOG {
            parts.remove(0);
        }
        let no_name = |error: Error| {
            let sql = SqlError::invalid("42602", error.message());
            match error.hint() {
                Some(hint) => sql.with_hint(hint),
                None => sql,
            }
        };
        let name = TableName::new(&parts.join(".")).map_err(no_name)?;
        Ok(Self { name, has_database: parts.len() > 1 })
    }

    /// What it means now.
    pub(crate) fn meant_in(&self, lake: &Lake) -> TableName {
        lake.meant(&self.name)
    }

    /// The name, qualified with this database if it is not qualified already.
    ///
    /// # Errors
    /// If no table can be there.
    pub(crate) fn or_in(&self, database: impl FnOnce(&str) -> String) -> Result<Self, SqlError> {
        if self.has_database {
            return Ok(self.clone());
        }
        let table = self.name.table();
        let name = TableName::new(&format!("{}.{table}", database(table)))?;
        Ok(Self { name, has_database: true })
    }
}

impl fmt::Display for StatedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}
