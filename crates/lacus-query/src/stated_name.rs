//! The names of tables and views in statements that write, and what they mean.
//!
//! A schema may be another name of a database (`CREATE EXTERNAL SCHEMA`). What a statement says is a [`StatedName`], and the only
//! way from it to a table of the lake is [`StatedName::meant_in`], which looks through such names: no statement can forget to.

use std::fmt;

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use lacus_core::{Error, TableName};
use lacus_lake::Lake;

use crate::engine::CATALOG;
use crate::error::SqlError;

/// The name of a table or view as a statement has it.
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
            parts.push(new_name(ident));
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

    /// The name, if it stands there without its database.
    pub(crate) fn without_database(&self) -> Option<&str> {
        (!self.has_database).then(|| self.name.table())
    }
}

impl fmt::Display for StatedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// A name as Postgres reads it: in lowercase unless it is quoted.
pub(crate) fn new_name(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}
