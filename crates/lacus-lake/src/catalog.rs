//! The catalog: which metadata file is the current one of each table, in one SQLite file.
//!
//! Moving the pointers of several tables is one transaction, and the only moment at which a commit happens. The catalog
//! also remembers files that no table references ([leftovers](Leftovers)) and who may write (the writer epoch).
//! It holds nothing that the tables' own metadata says: no rows, no offsets, no schemas.
//!
//! The journal mode is DELETE, with `synchronous=EXTRA`: between transactions `catalog.db` alone is the whole catalog,
//! so copying that one file is a backup, and a commit followed by a power cut stays. It costs four syncs where WAL has
//! one, a few times per minute.

mod schema;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lacus_core::{Context, Error, Kind, Result, TableName, Timestamp};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::task::spawn_blocking;

use crate::warehouse::Warehouse;

/// How long we wait for another process, such as a `sqlite3` shell, to let go of the file.
const BUSY_WAIT: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 5_000 });

/// The open catalog, and the right to write that opening it gave.
#[derive(Clone)]
pub(crate) struct Catalog {
    connection: Arc<Mutex<Connection>>,
    file: Arc<Path>,
    epoch: i64,
}

/// What the catalog said when it was opened.
pub(crate) struct Opened {
    pub(crate) catalog: Catalog,
    pub(crate) warehouse: Warehouse,
    /// Name and metadata location of every table.
    pub(crate) tables: Vec<(TableName, String)>,
    /// Files to delete now.
    pub(crate) leftovers: Vec<String>,
    pub(crate) raw: RawTotals,
}

/// What the raw zone holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RawTotals {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

/// One table's pointer, and where it moves.
#[derive(Debug, Clone)]
pub(crate) struct PointerMove {
    pub(crate) table: TableName,
    /// The metadata location it must have now; none makes the table.
    pub(crate) from: Option<String>,
    pub(crate) to: String,
}

/// What one transaction publishes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Publication {
    pub(crate) moves: Vec<PointerMove>,
    /// Paths that were recorded before they were written and are referenced from now on.
    pub(crate) written: Vec<String>,
    /// Paths that nothing references from now on.
    pub(crate) retired: Vec<String>,
    /// When the retired paths may be deleted.
    pub(crate) delete_after: Timestamp,
    /// What the raw zone gains.
    pub(crate) raw: RawTotals,
}

impl Catalog {
    /// Opens the catalog in `file`, makes it for `directory` if it is new, and takes the right to write from whoever
    /// had it.
    pub(crate) async fn open(file: &Path, directory: &Path, now: Timestamp) -> Result<Opened> {
        let (file, directory) = (file.to_owned(), directory.to_owned());
        blocking(move || open(&file, &directory, now)).await
    }

    /// Begins a commit: checks that we are still the writer and that the tables are where we think, and records the
    /// files that are about to be written. If they are never published, the next opening deletes them.
    pub(crate) async fn begin(
        &self,
        pointers: Vec<(TableName, String)>,
        paths: Vec<String>,
        now: Timestamp,
    ) -> Result<()> {
        self.transact("begin a commit in the catalog", move |transaction, epoch| {
            must_be_writer(transaction, epoch)?;
            for (table, location) in &pointers {
                must_be_at(transaction, table, location)?;
            }
            insert_leftovers(transaction, &paths, now, None)
        })
        .await
    }

    /// The commit: moves the pointers, all or none.
    pub(crate) async fn publish(&self, publication: Publication, now: Timestamp) -> Result<()> {
        self.transact("move table pointers", move |transaction, epoch| {
            must_be_writer(transaction, epoch)?;
            for pointer in &publication.moves {
                move_pointer(transaction, pointer)?;
            }
            delete_leftovers(transaction, &publication.written)?;
            insert_leftovers(transaction, &publication.retired, now, Some(publication.delete_after))?;
            add_raw(transaction, publication.raw)
        })
        .await
    }

    /// Whether these moves happened, asked after [`publish`](Self::publish) failed without a clear answer. It writes,
    /// so that what it saw is on disk when it answers.
    pub(crate) async fn happened(&self, moves: Vec<PointerMove>) -> Result<bool> {
        self.transact("ask the catalog whether a commit happened", move |transaction, epoch| {
            must_be_writer(transaction, epoch)?;
            for pointer in &moves {
                if location_of(transaction, &pointer.table)?.as_ref() != Some(&pointer.to) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    /// Deleted files need no record.
    pub(crate) async fn forget(&self, paths: Vec<String>) -> Result<()> {
        self.transact("forget deleted files in the catalog", move |transaction, epoch| {
            must_be_writer(transaction, epoch)?;
            delete_leftovers(transaction, &paths)
        })
        .await
    }

    /// The files of a failed commit that could not be deleted at once may be deleted from now on.
    pub(crate) async fn abandon(&self, paths: Vec<String>, now: Timestamp) -> Result<()> {
        self.transact("record abandoned files in the catalog", move |transaction, epoch| {
            must_be_writer(transaction, epoch)?;
            insert_leftovers(transaction, &paths, now, Some(now))
        })
        .await
    }

    /// Some of the files whose time to be deleted has come, oldest first.
    pub(crate) async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<String>> {
        self.read("list leftovers", move |connection| {
            let sql = "SELECT path FROM leftovers WHERE delete_after <= ?1 ORDER BY delete_after LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map(params![now.as_micros(), limit], |row| row.get(0))?.collect()
        })
        .await
    }

    /// Every file that is recorded as referenced by nothing.
    pub(crate) async fn leftovers(&self) -> Result<Vec<String>> {
        self.read("list leftovers", all_leftovers).await
    }

    /// Every table and its metadata location.
    pub(crate) async fn pointers(&self) -> Result<Vec<(String, String)>> {
        self.read("list tables", all_pointers).await
    }

    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let catalog = self.clone();
        blocking(move || {
            let connection = catalog.connection.lock().expect("nothing panics while it holds this lock");
            work(&connection).map_err(|error| sqlite_error(error, &catalog.file)).context(doing)
        })
        .await
    }

    async fn transact<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>, i64) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let catalog = self.clone();
        blocking(move || {
            let mut connection = catalog.connection.lock().expect("nothing panics while it holds this lock");
            transact(&mut connection, |transaction| work(transaction, catalog.epoch))
                .map_err(|failure| failure.into_error(&catalog.file))
                .context(doing)
        })
        .await
    }
}

/// Why a transaction failed: SQLite, or what it found.
enum Failure {
    Sqlite(rusqlite::Error),
    Found(Error),
}

impl Failure {
    fn into_error(self, file: &Path) -> Error {
        match self {
            Self::Sqlite(error) => sqlite_error(error, file),
            Self::Found(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("the catalog's thread ended unexpectedly").with_source(error))?
}

fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let result = work(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

fn open(file: &Path, directory: &Path, now: Timestamp) -> Result<Opened> {
    let new_warehouse = Warehouse::of_directory(directory)?;
    open_sqlite(file, &new_warehouse, now)
        .map_err(|failure| failure.into_error(file))
        .context(format_args!("open catalog {}", file.display()))
}

fn open_sqlite(file: &Path, new_warehouse: &Warehouse, now: Timestamp) -> Result<Opened, Failure> {
    let mut connection = Connection::open(file)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    schema::check_integrity(&connection, file)?;
    transact(&mut connection, |transaction| {
        schema::migrate(transaction, file)?;
        schema::fill(transaction, new_warehouse, now)
    })?;
    let (epoch, warehouse, tables, leftovers, raw) = transact(&mut connection, |transaction| {
        transaction.execute("UPDATE lake SET writer_epoch = writer_epoch + 1", [])?;
        let (epoch, base): (i64, String) =
            transaction
                .query_row("SELECT writer_epoch, warehouse FROM lake", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let leftovers = "SELECT path FROM leftovers WHERE delete_after IS NULL OR delete_after <= ?1";
        let leftovers = transaction
            .prepare(leftovers)?
            .query_map([now.as_micros()], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        Ok((epoch, Warehouse::recorded(&base), all_pointers(transaction)?, leftovers, raw_totals(transaction)?))
    })?;
    let tables = tables.into_iter().map(|(name, location)| Ok((TableName::new(&name)?, location)));
    let tables = tables.collect::<Result<_>>().map_err(Failure::Found)?;
    let catalog = Catalog { connection: Arc::new(Mutex::new(connection)), file: file.into(), epoch };
    Ok(Opened { catalog, warehouse, tables, leftovers, raw })
}

/// Fails if another process became the writer. It also writes, so that the transaction is a durable one.
fn must_be_writer(transaction: &Transaction<'_>, epoch: i64) -> Result<(), Failure> {
    match transaction.execute("UPDATE lake SET writer_epoch = writer_epoch WHERE writer_epoch = ?1", [epoch])? {
        1 => Ok(()),
        _ => Err(Failure::Found(
            Error::new(Kind::Conflict, "another lacus process took over this lake")
                .with_hint("stop one of them: a lake has one writer"),
        )),
    }
}

fn must_be_at(transaction: &Transaction<'_>, table: &TableName, location: &str) -> Result<(), Failure> {
    match location_of(transaction, table)? {
        Some(found) if found == location => Ok(()),
        found => Err(moved_meanwhile(table, found.as_deref())),
    }
}

fn location_of(transaction: &Transaction<'_>, table: &TableName) -> rusqlite::Result<Option<String>> {
    transaction
        .prepare_cached("SELECT metadata_location FROM tables WHERE name = ?1")?
        .query_row([table.as_str()], |row| row.get(0))
        .optional()
}

fn moved_meanwhile(table: &TableName, found: Option<&str>) -> Failure {
    let found = found.unwrap_or("nowhere");
    Failure::Found(Error::new(
        Kind::Conflict,
        format!("table \"{table}\" was changed by somebody else: it is at {found}"),
    ))
}

fn move_pointer(transaction: &Transaction<'_>, pointer: &PointerMove) -> Result<(), Failure> {
    let changed = match &pointer.from {
        Some(from) => transaction.execute(
            "UPDATE tables SET metadata_location = ?1 WHERE name = ?2 AND metadata_location = ?3",
            params![pointer.to, pointer.table.as_str(), from],
        )?,
        None => transaction.execute(
            "INSERT INTO tables (name, metadata_location) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![pointer.table.as_str(), pointer.to],
        )?,
    };
    if changed == 1 {
        return Ok(());
    }
    let found = location_of(transaction, &pointer.table)?;
    Err(moved_meanwhile(&pointer.table, found.as_deref()))
}

fn insert_leftovers(
    transaction: &Transaction<'_>,
    paths: &[String],
    now: Timestamp,
    delete_after: Option<Timestamp>,
) -> Result<(), Failure> {
    let sql = "INSERT INTO leftovers (path, recorded_at, delete_after) VALUES (?1, ?2, ?3)
               ON CONFLICT (path) DO UPDATE SET delete_after = excluded.delete_after";
    let mut statement = transaction.prepare_cached(sql)?;
    for path in paths {
        statement.execute(params![path, now.as_micros(), delete_after.map(Timestamp::as_micros)])?;
    }
    Ok(())
}

fn delete_leftovers(transaction: &Transaction<'_>, paths: &[String]) -> Result<(), Failure> {
    let mut statement = transaction.prepare_cached("DELETE FROM leftovers WHERE path = ?1")?;
    for path in paths {
        statement.execute([path])?;
    }
    Ok(())
}

fn add_raw(transaction: &Transaction<'_>, more: RawTotals) -> Result<(), Failure> {
    if more.files > 0 {
        transaction.execute(
            "UPDATE lake SET raw_files = raw_files + ?1, raw_bytes = raw_bytes + ?2, raw_records = raw_records + ?3",
            [more.files, more.bytes, more.records].map(|number| i64::try_from(number).unwrap_or(i64::MAX)),
        )?;
    }
    Ok(())
}

fn raw_totals(connection: &Connection) -> rusqlite::Result<RawTotals> {
    connection.query_row("SELECT raw_files, raw_bytes, raw_records FROM lake", [], |row| {
        let number = |column: usize| row.get(column).map(|number: i64| u64::try_from(number).unwrap_or(0));
        Ok(RawTotals { files: number(0)?, bytes: number(1)?, records: number(2)? })
    })
}

fn all_leftovers(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection.prepare("SELECT path FROM leftovers ORDER BY path")?.query_map([], |row| row.get(0))?.collect()
}

fn all_pointers(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = connection.prepare("SELECT name, metadata_location FROM tables ORDER BY name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// An error of SQLite as one of ours: damage is told from what may pass.
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

/// Where the catalog is in a project's data directory.
pub(crate) fn catalog_file(directory: &Path) -> PathBuf {
    directory.join("catalog.db")
}

#[cfg(test)]
mod tests;
