//! The databases that a catalog can be in, and the SQL that both understand.
//!
//! What the catalog does is written once, in SQL with parameters `?1`, `?2`, …; a [`Database`] runs it as a durable
//! transaction. There are two: SQLite in one file, and PostgreSQL. Only they know their drivers.

use lacus_core::{Error, Result};

/// A database with a catalog in it.
pub(crate) trait Database: Send + Sync {
    /// Runs `work` once, as one transaction that is durable when this returns. It blocks.
    ///
    /// # Errors
    /// What `work` fails with: nothing happened then. `Unavailable` if the database can't be used now; a failed end of
    /// the transaction may have happened all the same.
    fn transact(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()>;

    /// Runs `work`, which only reads. It blocks.
    ///
    /// # Errors
    /// As [`transact`](Self::transact).
    fn read(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()>;

    /// Its name for people, without secrets.
    fn name(&self) -> String;
}

/// SQL within a transaction.
pub(crate) trait Sql {
    /// Runs a statement, and says how many rows it changed.
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64>;

    /// Runs a query.
    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>>;

    /// How many migrations were applied.
    fn version(&mut self) -> Result<usize>;

    /// Applies a migration, written for SQLite, and counts it as number `version`.
    fn migrate(&mut self, migration: &str, version: usize) -> Result<()>;
}

/// A value of a row, or for a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Row(pub(crate) Vec<Value>);

impl Row {
    /// The text in a column.
    pub(crate) fn text(&self, column: usize) -> Result<String> {
        match self.0.get(column) {
            Some(Value::Text(text)) => Ok(text.clone()),
            other => Err(wrong_type(column, other, "text")),
        }
    }

    /// The number in a column.
    pub(crate) fn integer(&self, column: usize) -> Result<i64> {
        match self.0.get(column) {
            Some(Value::Integer(number)) => Ok(*number),
            other => Err(wrong_type(column, other, "a number")),
        }
    }
}

fn wrong_type(column: usize, found: Option<&Value>, wanted: &str) -> Error {
    Error::corrupt(format!("the catalog has {found:?} in column {column}, which should be {wanted}"))
        .with_hint("restore the catalog from a backup; the tables' files are untouched")
}
