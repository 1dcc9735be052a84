//! The catalog: which metadata file is the current one of each table, in one SQLite file or in PostgreSQL.
//!
//! Moving the pointers of several tables is one transaction, and the only moment at which a commit happens. The catalog
//! also remembers files that no table references (the leftovers) and who may write (the writer epoch).
//! It repeats nothing of the tables' own metadata: no rows, no offsets, no schemas.
//!
//! Every transaction that writes begins with [`must_be_writer`], which locks the lake's one row: so transactions run one after
//! the other, and one whose answer was lost has ended before the next one reads.

mod copy;
mod database;
mod postgres;
mod schema;
mod sqlite;
mod views;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacus_core::settings::Secret;
use lacus_core::{Context, Error, Kind, Result, TableName, Timestamp, settings};
use tokio::task::spawn_blocking;

use self::database::{Database, Row, Sql, Value};
use self::postgres::Postgres;
use self::sqlite::Sqlite;
use crate::warehouse::Warehouse;

/// Paths that one statement records, or takes off the record.
const PATHS_AT_ONCE: usize = 100;

/// The open catalog, and the right to write that opening it gave.
#[derive(Clone)]
pub(crate) struct Catalog {
    database: Arc<dyn Database>,
    epoch: i64,
}

/// Where a catalog is.
#[derive(Debug, Clone)]
pub(crate) enum CatalogPlace {
    /// In an SQLite file.
    File(PathBuf),
    /// In the PostgreSQL database of this URL.
    Postgres(Secret),
}

impl CatalogPlace {
    /// That of the project whose data is in `directory` (`.lacus`).
    ///
    /// # Errors
    /// `Invalid` for a project with a catalog of its own whose settings name another: a backup of a lake with its catalog in
    /// PostgreSQL is one. With the settings of the original it would take the lake from it, and lack its files.
    pub(crate) fn of(directory: &Path, settings: &settings::Lake) -> Result<Self> {
        let file = catalog_file(directory);
        let Some(url) = settings.catalog_url() else { return Ok(Self::File(file)) };
        if !file.try_exists().context(format_args!("look for {}", file.display()))? {
            return Ok(Self::Postgres(url.clone()));
        }
        let file = file.display();
        Err(Error::invalid(format!("this project has a catalog of its own, {file}, and lake.catalog names another"))
            .with_hint("if this is a backup, take lake.catalog out of lacus.toml, and LACUS__LAKE__CATALOG out of the environment; if the file is older than lake.catalog, move it away"))
    }
}

/// What the catalog said when it was opened.
pub(crate) struct Opened {
    pub(crate) catalog: Catalog,
    pub(crate) warehouse: Warehouse,
    /// Name and metadata location of every table.
    pub(crate) tables: Vec<(TableName, String)>,
    /// The same of every view.
    pub(crate) views: Vec<(TableName, String)>,
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

impl RawTotals {
    /// The totals with `new` in the place of `old`.
    pub(crate) fn replace(self, old: Self, new: Self) -> Self {
        let replace = |all: u64, old: u64, new: u64| (all + new).saturating_sub(old);
        Self {
            files: replace(self.files, old.files, new.files),
            bytes: replace(self.bytes, old.bytes, new.bytes),
            records: replace(self.records, old.records, new.records),
        }
    }
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
    /// What it loses.
    pub(crate) raw_gone: RawTotals,
}

impl Catalog {
    /// Opens the catalog at `place`, makes it for a lake with its files at `warehouse` if it is new, and takes the right to
    /// write from whoever had it.
    pub(crate) async fn open(place: CatalogPlace, warehouse: Warehouse, now: Timestamp) -> Result<Opened> {
        blocking(move || {
            let database: Arc<dyn Database> = match place {
                CatalogPlace::File(file) => {
                    Arc::new(Sqlite::open(&file).context(format_args!("open catalog {}", file.display()))?)
                }
                CatalogPlace::Postgres(url) => Arc::new(Postgres::connect(&url)?),
            };
            let name = database.name();
            open(database, &warehouse, now).context(format_args!("open catalog {name}"))
        })
        .await
    }

    /// Begins a commit: checks that we are still the writer and that the tables are where we think, and records the
    /// files that are about to be written. If they are never published, the next opening deletes them.
    pub(crate) async fn begin(
        &self,
        pointers: Vec<(TableName, String)>,
        paths: Vec<String>,
        now: Timestamp,
    ) -> Result<()> {
        self.transact("begin a commit in the catalog", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            for (table, location) in &pointers {
                must_be_at(sql, table, location)?;
            }
            insert_leftovers(sql, &paths, now, None)
        })
        .await
    }

    /// The commit: moves the pointers, all or none.
    pub(crate) async fn publish(&self, publication: Publication, now: Timestamp) -> Result<()> {
        self.transact("move table pointers", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            for pointer in &publication.moves {
                move_pointer(sql, pointer)?;
            }
            delete_leftovers(sql, &publication.written)?;
            insert_leftovers(sql, &publication.retired, now, Some(publication.delete_after))?;
            change_raw(sql, publication.raw_gone, publication.raw)
        })
        .await
    }

    /// Whether we are still the writer. It writes, and so waits for whoever is taking over.
    ///
    /// # Errors
    /// `Conflict` if another process took over.
    pub(crate) async fn must_write(&self) -> Result<()> {
        self.transact("ask the catalog who writes", must_be_writer).await
    }

    /// Whether these moves happened, asked after [`publish`](Self::publish) failed without a clear answer. It writes,
    /// so that what it saw is on disk when it answers.
    pub(crate) async fn happened(&self, moves: Vec<PointerMove>) -> Result<bool> {
        self.transact("ask the catalog whether a commit happened", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            for pointer in &moves {
                if location_of(sql, &pointer.table)?.as_ref() != Some(&pointer.to) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    /// Deleted files need no record.
    pub(crate) async fn forget(&self, paths: Vec<String>) -> Result<()> {
        self.transact("forget deleted files in the catalog", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            delete_leftovers(sql, &paths)
        })
        .await
    }

    /// The files of a failed commit that are not deleted for good may be deleted from `delete_after` on.
    pub(crate) async fn abandon(&self, paths: Vec<String>, now: Timestamp, delete_after: Timestamp) -> Result<()> {
        self.transact("record abandoned files in the catalog", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            insert_leftovers(sql, &paths, now, Some(delete_after))
        })
        .await
    }

    /// Some of the files whose time to be deleted has come, oldest first.
    pub(crate) async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<String>> {
        self.read("list leftovers", move |sql| {
            let due = "SELECT path FROM leftovers WHERE delete_after <= ?1 ORDER BY delete_after LIMIT ?2";
            sql.query(due, &[now.as_micros().into(), i64::from(limit).into()])?.iter().map(|row| row.text(0)).collect()
        })
        .await
    }

    /// Every file that is recorded as referenced by nothing.
    pub(crate) async fn leftovers(&self) -> Result<Vec<String>> {
        let all = "SELECT path FROM leftovers ORDER BY path";
        self.read("list leftovers", |sql| sql.query(all, &[])?.iter().map(|row| row.text(0)).collect()).await
    }

    /// Those of these paths that are recorded as referenced by nothing: they are being deleted.
    pub(crate) async fn leftovers_among(&self, paths: Vec<String>) -> Result<Vec<String>> {
        self.read("look for leftovers", move |sql| {
            let mut found = Vec::new();
            for some in distinct(&paths).chunks(PATHS_AT_ONCE) {
                let values: Vec<Value> = some.iter().map(|path| Value::from(*path)).collect();
                let query = format!("SELECT path FROM leftovers WHERE path IN ({})", placeholders(values.len()));
                for row in sql.query(&query, &values)? {
                    found.push(row.text(0)?);
                }
            }
            Ok(found)
        })
        .await
    }

    /// Every table and its metadata location.
    pub(crate) async fn pointers(&self) -> Result<Vec<(String, String)>> {
        self.read("list tables", all_pointers).await
    }

    /// Databases that somebody made, with their properties as JSON.
    pub(crate) async fn databases(&self) -> Result<Vec<(String, String)>> {
        let all = "SELECT name, properties FROM databases ORDER BY name";
        self.read("list databases", |sql| {
            sql.query(all, &[])?.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
        })
        .await
    }

    /// Makes a database, or gives it other properties.
    pub(crate) async fn put_database(&self, name: String, properties: String) -> Result<()> {
        self.transact("write a database to the catalog", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            let put = "INSERT INTO databases (name, properties) VALUES (?1, ?2)
                       ON CONFLICT (name) DO UPDATE SET properties = excluded.properties";
            sql.execute(put, &[(&name).into(), (&properties).into()]).map(drop)
        })
        .await
    }

    /// Forgets a database.
    pub(crate) async fn drop_database(&self, name: String) -> Result<()> {
        self.transact("drop a database in the catalog", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            sql.execute("DELETE FROM databases WHERE name = ?1", &[(&name).into()]).map(drop)
        })
        .await
    }

    /// Forgets a table that is at this place, and retires its files. It may be done again if the answer was lost.
    pub(crate) async fn drop_table(
        &self,
        table: TableName,
        location: String,
        paths: Vec<String>,
        delete_after: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        self.transact("drop a table in the catalog", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            if location_of(sql, &table)?.is_some() {
                must_be_at(sql, &table, &location)?;
                sql.execute("DELETE FROM tables WHERE name = ?1", &[table.as_str().into()])?;
            } else {
                must_be_of_no_table(sql, &table, &location)?;
            }
            insert_leftovers(sql, &paths, now, Some(delete_after))
        })
        .await
    }

    /// Gives a table that is at this place another name. It may be done again if the answer was lost.
    pub(crate) async fn rename_table(&self, from: TableName, to: TableName, location: String) -> Result<()> {
        self.transact("rename a table in the catalog", move |sql, epoch| {
            must_be_writer(sql, epoch)?;
            if location_of(sql, &to)?.as_ref() == Some(&location) {
                return Ok(());
            }
            must_be_at(sql, &from, &location)?;
            let rename = "UPDATE tables SET name = ?1 WHERE name = ?2";
            sql.execute(rename, &[to.as_str().into(), from.as_str().into()]).map(drop)
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut dyn Sql) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let database = Arc::clone(&self.database);
        blocking(move || once(|work| database.read(work), work).context(doing)).await
    }

    async fn transact<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&mut dyn Sql, i64) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (database, epoch) = (Arc::clone(&self.database), self.epoch);
        blocking(move || once(|work| database.transact(work), |sql| work(sql, epoch)).context(doing)).await
    }
}

/// What a database runs as one piece.
type Work<'a> = &'a mut dyn FnMut(&mut dyn Sql) -> Result<()>;

/// Has a database run `work`, and takes its answer out.
fn once<T>(run: impl FnOnce(Work<'_>) -> Result<()>, work: impl FnOnce(&mut dyn Sql) -> Result<T>) -> Result<T> {
    let (mut work, mut answer) = (Some(work), None);
    run(&mut |sql| {
        let work = work.take().expect("a database runs its work once");
        answer = Some(work(sql)?);
        Ok(())
    })?;
    Ok(answer.expect("a database that ran its work has its answer"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("the catalog's thread ended unexpectedly").with_source(error))?
}

fn open(database: Arc<dyn Database>, new_warehouse: &Warehouse, now: Timestamp) -> Result<Opened> {
    let name = database.name();
    let prepare = |sql: &mut dyn Sql| {
        schema::migrate(sql, &name)?;
        schema::fill(sql, new_warehouse, now)
    };
    once(|work| database.transact(work), prepare)?;
    let (epoch, warehouse, [tables, views], leftovers, raw) =
        once(|work| database.transact(work), |sql| take_over(sql, new_warehouse, now))?;
    Ok(Opened { catalog: Catalog { database, epoch }, warehouse, tables, views, leftovers, raw })
}

/// The epoch, the warehouse, all tables and views, files to delete, and the raw zone.
type TakenOver = (i64, Warehouse, [Vec<(TableName, String)>; 2], Vec<String>, RawTotals);

/// Takes the right to write, and reads what the new writer must know.
fn take_over(sql: &mut dyn Sql, here: &Warehouse, now: Timestamp) -> Result<TakenOver> {
    sql.execute("UPDATE lake SET writer_epoch = writer_epoch + 1", &[])?;
    let lake = the_lake(sql, "SELECT writer_epoch, warehouse FROM lake")?;
    let warehouse = here.with_recorded(&lake.text(1)?);
    here.must_lead_to(&warehouse)?;
    let leftovers = "SELECT path FROM leftovers WHERE delete_after IS NULL OR delete_after <= ?1";
    let leftovers = sql.query(leftovers, &[now.as_micros().into()])?;
    let leftovers = leftovers.iter().map(|row| row.text(0)).collect::<Result<_>>()?;
    let tables = all_pointers(sql)?.into_iter().map(|(name, location)| Ok((TableName::new(&name)?, location)));
    let tables = tables.collect::<Result<_>>()?;
    Ok((lake.integer(0)?, warehouse, [tables, views::all(sql)?], leftovers, raw_totals(sql)?))
}

/// What a query says about the lake itself, which has one row.
fn the_lake(sql: &mut dyn Sql, query: &str) -> Result<Row> {
    let rows = sql.query(query, &[])?;
    rows.into_iter().next().ok_or_else(|| Error::corrupt("the catalog does not say what lake it is of"))
}

/// Fails if another process became the writer. It also writes, so that the transaction is a durable one, and waits for
/// every other transaction that writes.
fn must_be_writer(sql: &mut dyn Sql, epoch: i64) -> Result<()> {
    let touch = "UPDATE lake SET writer_epoch = writer_epoch WHERE writer_epoch = ?1";
    match sql.execute(touch, &[epoch.into()])? {
        1 => Ok(()),
        _ => Err(Error::new(Kind::Conflict, "another lacus process took over this lake")
            .with_hint("stop one of them: a lake has one writer")),
    }
}

fn must_be_at(sql: &mut dyn Sql, table: &TableName, location: &str) -> Result<()> {
    match location_of(sql, table)? {
        Some(found) if found == location => Ok(()),
        found => Err(moved_meanwhile(table, found.as_deref())),
    }
}

/// Fails if a table that is gone has another name by now: the answer to its renaming was lost, and its files are in use.
fn must_be_of_no_table(sql: &mut dyn Sql, table: &TableName, location: &str) -> Result<()> {
    let rows = sql.query("SELECT name FROM tables WHERE metadata_location = ?1", &[location.into()])?;
    let Some(row) = rows.first() else { return Ok(()) };
    Err(Error::new(Kind::Conflict, format!("table \"{table}\" was renamed to \"{}\"", row.text(0)?))
        .with_hint("rename it once more, then drop it by its new name"))
}

fn location_of(sql: &mut dyn Sql, table: &TableName) -> Result<Option<String>> {
    let rows = sql.query("SELECT metadata_location FROM tables WHERE name = ?1", &[table.as_str().into()])?;
    rows.first().map(|row| row.text(0)).transpose()
}

fn moved_meanwhile(table: &TableName, found: Option<&str>) -> Error {
    let found = found.unwrap_or("nowhere");
    Error::new(Kind::Conflict, format!("table \"{table}\" was changed by somebody else: it is at {found}"))
}

fn move_pointer(sql: &mut dyn Sql, pointer: &PointerMove) -> Result<()> {
    let (name, to) = (pointer.table.as_str(), &pointer.to);
    let changed = match &pointer.from {
        Some(from) => sql.execute(
            "UPDATE tables SET metadata_location = ?1 WHERE name = ?2 AND metadata_location = ?3",
            &[to.into(), name.into(), from.into()],
        )?,
        None => sql.execute(
            "INSERT INTO tables (name, metadata_location) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            &[name.into(), to.into()],
        )?,
    };
    if changed == 1 {
        return Ok(());
    }
    let found = location_of(sql, &pointer.table)?;
    Err(moved_meanwhile(&pointer.table, found.as_deref()))
}

fn insert_leftovers(
    sql: &mut dyn Sql,
    paths: &[String],
    now: Timestamp,
    delete_after: Option<Timestamp>,
) -> Result<()> {
    for some in distinct(paths).chunks(PATHS_AT_ONCE) {
        let mut values = vec![now.as_micros().into(), delete_after.map(Timestamp::as_micros).into()];
        values.extend(some.iter().map(|path| Value::from(*path)));
        let rows: Vec<String> = (3..values.len() + 1).map(|number| format!("(?{number}, ?1, ?2)")).collect();
        let insert = format!(
            "INSERT INTO leftovers (path, recorded_at, delete_after) VALUES {}
             ON CONFLICT (path) DO UPDATE SET delete_after = excluded.delete_after",
            rows.join(", ")
        );
        sql.execute(&insert, &values)?;
    }
    Ok(())
}

fn delete_leftovers(sql: &mut dyn Sql, paths: &[String]) -> Result<()> {
    for some in distinct(paths).chunks(PATHS_AT_ONCE) {
        let values: Vec<Value> = some.iter().map(|path| Value::from(*path)).collect();
        sql.execute(&format!("DELETE FROM leftovers WHERE path IN ({})", placeholders(values.len())), &values)?;
    }
    Ok(())
}

/// `?1, ?2, …`
fn placeholders(count: usize) -> String {
    (1..=count).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ")
}

/// Each path once: PostgreSQL inserts none twice in one statement.
fn distinct(paths: &[String]) -> Vec<&String> {
    paths.iter().collect::<BTreeSet<_>>().into_iter().collect()
}

fn change_raw(sql: &mut dyn Sql, gone: RawTotals, more: RawTotals) -> Result<()> {
    if more.files + gone.files > 0 {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let change = [(more.files, gone.files), (more.bytes, gone.bytes), (more.records, gone.records)];
        let change = change.map(|(more, gone)| number(more) - number(gone));
        sql.execute(
            "UPDATE lake SET raw_files = raw_files + ?1, raw_bytes = raw_bytes + ?2, raw_records = raw_records + ?3",
            &change.map(Value::Integer),
        )?;
    }
    Ok(())
}

fn raw_totals(sql: &mut dyn Sql) -> Result<RawTotals> {
    let row = the_lake(sql, "SELECT raw_files, raw_bytes, raw_records FROM lake")?;
    let number = |column| row.integer(column).map(|number| u64::try_from(number).unwrap_or(0));
    Ok(RawTotals { files: number(0)?, bytes: number(1)?, records: number(2)? })
}

fn all_pointers(sql: &mut dyn Sql) -> Result<Vec<(String, String)>> {
    let rows = sql.query("SELECT name, metadata_location FROM tables ORDER BY name", &[])?;
    rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
}

/// Tells a catalog that whoever holds it is still at work.
pub(crate) type Tell<'a> = &'a mut dyn FnMut() -> Result<()>;
/// Is told the leftovers of a catalog, the number of its tables, and how to tell it.
pub(crate) type Meanwhile<'a> = &'a mut dyn FnMut(Vec<String>, usize, Tell<'_>) -> Result<()>;

/// Copies a catalog that may be in use to a new file, durably. While nobody else can write to it, `meanwhile` is told the
/// leftovers and the number of tables that the copy has, and how to tell that it is still at work: what has not told for a
/// minute is taken for one that hangs. It blocks, and on a thread of a runtime that may: one in PostgreSQL needs the runtime.
pub(crate) fn copy_catalog(place: &CatalogPlace, to: &Path, meanwhile: Meanwhile<'_>) -> Result<()> {
    let mut tell = |sql: &mut dyn Sql| {
        let all = sql.query("SELECT path FROM leftovers", &[])?;
        let leftovers = all.iter().map(|row| row.text(0)).collect::<Result<_>>()?;
        let tables = all_pointers(sql)?.len();
        meanwhile(leftovers, tables, &mut || sql.query("SELECT count(*) FROM lake", &[]).map(drop))
    };
    match place {
        CatalogPlace::File(file) => sqlite::copy(file, to, &mut tell),
        CatalogPlace::Postgres(url) => copy::to_file(&Postgres::connect(url)?, to, &mut tell),
    }
}

/// Where the catalog is in a project's data directory.
pub(crate) fn catalog_file(directory: &Path) -> PathBuf {
    directory.join("catalog.db")
}

#[cfg(test)]
mod tests;
