//! A catalog in one SQLite file.
//!
//! The journal mode is DELETE, with `synchronous=EXTRA`: between transactions `catalog.db` alone is the whole catalog,
//! so copying that one file is a backup, and a commit followed by a power cut stays. It costs four syncs where WAL has
//! one, a few times per minute.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use lacus_core::{Context, Error, Kind, Result};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, ToSql, TransactionBehavior, params_from_iter};

use super::database::{Database, Row, Sql, Value};

/// How long to wait for another process, such as a `sqlite3` shell, to release the file.
const BUSY_WAIT: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 5_000 });

/// An open catalog file.
pub(super) struct Sqlite {
    connection: Mutex<Connection>,
    file: PathBuf,
}

impl Sqlite {
    /// Opens a catalog file, or makes it.
    ///
    /// # Errors
    /// `Corrupt` if SQLite finds it damaged.
    pub(super) fn open(file: &Path) -> Result<Self> {
        let connection = connect(file).map_err(|error| sqlite_error(error, file))?;
        check_integrity(&connection, file)?;
        Ok(Self { connection: Mutex::new(connection), file: file.to_owned() })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().expect("nothing panics while it holds this lock")
    }
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Copies a catalog to a new file, durably, after `meanwhile`: from the beginning of that to the end of the copy nobody else
/// writes to the catalog.
///
/// # Errors
/// What `meanwhile` fails with; `Unavailable` if somebody keeps the catalog locked, or the copy can't be written.
pub(super) fn copy(file: &Path, to: &Path, meanwhile: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
    let failed = |error| sqlite_error(error, file);
    let mut connection = connect(file).map_err(failed)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    meanwhile(&mut Open { connection: &transaction, file })?;
    let to_text = to.to_str().ok_or_else(|| Error::invalid(format!("{} is not named in UTF-8", to.display())))?;
    // It is refused within a transaction; another connection reads the same, as this one keeps writers out.
    connect(file).and_then(|reader| reader.execute("VACUUM INTO ?1", [to_text])).map_err(failed)?;
    File::open(to).and_then(|copy| copy.sync_all()).context(format_args!("sync {}", to.display()))?;
    transaction.rollback().map_err(failed)
}

/// Refuses a file that SQLite itself finds damaged.
fn check_integrity(connection: &Connection, file: &Path) -> Result<()> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| sqlite_error(error, file))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(Error::corrupt(format!("the catalog {} is damaged: {verdict}", file.display()))
        .with_hint("stop lacus and restore the file from a backup; the tables' files are untouched"))
}

impl Database for Sqlite {
    fn transact(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        let mut connection = self.connection();
        let failed = |error| sqlite_error(error, &self.file);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        work(&mut Open { connection: &transaction, file: &self.file })?;
        transaction.commit().map_err(failed)
    }

    fn read(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        work(&mut Open { connection: &self.connection(), file: &self.file })
    }

    fn name(&self) -> String {
        self.file.display().to_string()
    }
}

/// An open connection, within a transaction or not.
struct Open<'a> {
    connection: &'a Connection,
    file: &'a Path,
}

impl Open<'_> {
    fn failed(&self, error: rusqlite::Error) -> Error {
        sqlite_error(error, self.file)
    }

    fn rows(&self, sql: &str, values: &[Value]) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let values = (0..columns).map(|column| value_of(row.get_ref(column)?, column));
            values.collect::<rusqlite::Result<Vec<_>>>().map(Row)
        };
        statement.query_map(params_from_iter(values), row)?.collect()
    }
}

impl Sql for Open<'_> {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64> {
        let changed = self.connection.prepare_cached(sql).and_then(|mut it| it.execute(params_from_iter(values)));
        changed.map(|rows| rows as u64).map_err(|error| self.failed(error))
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>> {
        self.rows(sql, values).map_err(|error| self.failed(error))
    }

    fn version(&mut self) -> Result<usize> {
        let version: i64 = self
            .connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(|error| self.failed(error))?;
        Ok(usize::try_from(version).unwrap_or(usize::MAX))
    }

    fn migrate(&mut self, migration: &str, version: usize) -> Result<()> {
        let migrated = self
            .connection
            .execute_batch(migration)
            .and_then(|()| self.connection.pragma_update(None, "user_version", version as i64));
        migrated.map_err(|error| self.failed(error))
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn value_of(value: ValueRef<'_>, column: usize) -> rusqlite::Result<Value> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Integer(number)),
        ValueRef::Text(text) => std::str::from_utf8(text)
            .map(|text| Value::Text(text.to_owned()))
            .map_err(|error| rusqlite::Error::Utf8Error(column, error)),
        other => Err(rusqlite::Error::InvalidColumnType(column, String::new(), other.data_type())),
    }
}

/// Converts an error of SQLite: damage differs from what may pass.
fn sqlite_error(error: rusqlite::Error, file: &Path) -> Error {
    let corrupt = || {
        Error::corrupt(format!("the catalog {} is damaged", file.display())).with_hint(format!(
            "stop lacus, move {} away and restore it from a backup; the tables' files are untouched",
            file.display()
        ))
    };
    let error_of_kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => corrupt(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::ApiMisuse) => {
            Error::internal("the catalog refused a change")
        }
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            Error::new(Kind::Denied, format!("the catalog {} can't be opened", file.display()))
        }
        Some(_) => Error::unavailable(format!("the catalog {} can't be used now", file.display())),
        None => corrupt(),
    };
    error_of_kind.with_source(error)
}
