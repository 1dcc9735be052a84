//! The lake: its tables, and the commit that publishes data and offsets together.
//!
//! A project's data directory has `catalog.db` and `lake/`, with `lake/<database>/<table>/` (Iceberg tables; database `main`
//! unless a stream has one of its own) and `lake/raw/`.
//! There is one writer: opening takes the right to write from whoever had it, and every catalog transaction checks it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::stream::{self, StreamExt};
use lacus_core::settings::Contract;
use lacus_core::units::{ByteSize, human_bytes};
use lacus_core::{
    Clock, Context, Error, Kind, MAIN_DATABASE, Offsets, Position, Result, StreamName, TableName, settings,
};
use object_store::ObjectStore;
use tokio::sync::{Mutex as AsyncMutex, RwLock as AsyncRwLock};
use tokio::task::spawn_blocking;

use crate::alter::alter;
use crate::catalog::{Catalog, CatalogPlace, Opened, PointerMove, Publication, RawTotals};
use crate::check::{Finding, check};
use crate::commit::{self, Undecided};
use crate::compact::{CompactionReport, FileSizes, compact};
use crate::glue::Glue;
use crate::history::{self, Remembered, Version};
use crate::kernel::{Base, plan_table};
use crate::layout::{LayoutField, describe_layout, partition_text};
use crate::leftovers::{discard, sweep_idle};
use crate::manifests::MetadataFiles;
use crate::other_names::stands_for;
use crate::outside::Outside;
use crate::proposals::{Misfitting, misfitting};
use crate::raw::RawFile;
use crate::refill::{RefillReport, refill_files};
use crate::replay::{Replay, count_positions, replay};
use crate::s3::{Bucket, client_properties};
use crate::schema::{SchemaChange, TableSchema};
use crate::served::Served;
use crate::store::{DurableDirectory, make_directory};
use crate::table::{LiveFile, Table, TableState};
use crate::views::{self, View};
use crate::warehouse::Warehouse;

/// The most tables that are read at opening, or made, at the same time.
const TABLES_AT_ONCE: usize = 8;

/// All tables of a project, in one directory (or bucket) with one catalog.
pub struct Lake {
    inner: Arc<Inner>,
    /// What engines have to know to reach the store, under the names of Iceberg's clients.
    store_properties: BTreeMap<String, String>,
    /// Where SQL may write and read files that are not the lake's.
    outside: Arc<Outside>,
    /// The files for engines on other machines, if they are served.
    served: Option<Arc<Served>>,
    /// The mirror in AWS Glue, if there is one.
    pub(crate) glue: Option<Arc<Glue>>,
}

/// What the lake's parts share.
pub(crate) struct Inner {
    pub(crate) files: MetadataFiles,
    pub(crate) catalog: Catalog,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) directory: PathBuf,
    tables: RwLock<BTreeMap<TableName, Arc<Table>>>,
    views: RwLock<BTreeMap<TableName, Arc<View>>>,
    /// Databases that somebody made; others are there because they have tables or views.
    /// Those that somebody made; with another one, if they stand for it.
    databases: RwLock<BTreeMap<String, Option<String>>>,
    /// Tables and views of the catalog that can't be read, and why.
    damaged: RwLock<BTreeMap<TableName, String>>,
    /// Held while metadata is written and pointers move. If it is `Some`, the outcome of the last move is unknown.
    pub(crate) publishing: AsyncMutex<Option<Undecided>>,
    /// Held alone while events are erased; by all together that bring rows to where they were not: rollbacks and replays.
    pub(crate) erasing: AsyncRwLock<()>,
    /// Bytes of the disk that stay free for commits.
    disk_reserve: AtomicU64,
    /// How tables are to be laid out, as far as the settings say.
    layouts: RwLock<BTreeMap<TableName, settings::Table>>,
    raw: Mutex<RawTotals>,
    /// The number of files merged since the start, and the bytes written for that.
    merged: Mutex<(u64, u64)>,
    /// Commits that were reported as failed and turned out to have happened, by stream: a retry of one is done already.
    settled_late: Mutex<HashMap<StreamName, (Offsets, CommitReport)>>,
    /// Past states of tables that were asked for lately.
    remembered: Mutex<Remembered>,
}

/// What one commit publishes: rows of some tables that came by one stream, all or nothing.
pub struct Commit {
    /// The stream the rows came by.
    pub stream: StreamName,
    /// Everything before these offsets is in the tables once this commit succeeds.
    pub delivered: Offsets,
    /// The tables, with the part of their tail to commit. The first one records the stream's progress, even if it has no
    /// rows.
    pub tables: Vec<TableAppend>,
    /// The same events for the raw zone.
    pub raw: Vec<RawFile>,
}

/// The part of one table's tail to commit.
#[derive(Clone)]
pub struct TableAppend {
    /// The table.
    pub table: Arc<Table>,
    /// The pinned schema of the rows.
    pub schema: TableSchema,
    /// How many batches from the front of the tail. More may be appended after them while the commit runs.
    pub batches: usize,
}

/// What a commit wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitReport {
    /// Rows published.
    pub rows: u64,
    /// Bytes of Parquet.
    pub parquet_bytes: u64,
    /// Bytes of compressed raw JSON.
    pub raw_bytes: u64,
}

/// What the lake holds. Tails are not counted: they are memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LakeStats {
    /// Tables, quarantines included.
    pub tables: u64,
    /// Live data files.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of Parquet in them.
    pub bytes: u64,
    /// Files of the raw zone.
    pub raw_files: u64,
    /// Bytes of compressed JSON in them.
    pub raw_bytes: u64,
    /// Events in them.
    pub raw_records: u64,
    /// Files that were merged into larger ones since the start.
    pub merged_files: u64,
    /// Bytes of Parquet that this wrote.
    pub merged_bytes: u64,
}

impl Lake {
    /// Opens the lake of the project whose data is in `directory` (`.lacus`) as its only writer, makes it if it is new,
    /// and removes what an earlier process wrote but did not commit.
    ///
    /// # Errors
    /// If the directory can't be used or the catalog is corrupt.
    pub async fn open(directory: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_as(directory, &settings::Lake::default(), clock).await
    }

    /// The same, with files and catalog where the settings say.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if the bucket or the catalog can't be used.
    pub async fn open_as(directory: &Path, settings: &settings::Lake, clock: Arc<dyn Clock>) -> Result<Self> {
        let directory = directory.to_owned();
        let directory = blocking(move || open_directory(&directory)).await?;
        let place = CatalogPlace::of(&directory, settings)?;
        let (warehouse, store): (_, Arc<dyn ObjectStore>) = match &settings.location {
            Some(location) => (Warehouse::of_bucket(location), Arc::new(Bucket::open(location, &settings.s3).await?)),
            None => {
                let files = directory.join("lake");
                let warehouse = match &settings.bucket {
                    Some(bucket) => Warehouse::served_as(bucket),
                    None => Warehouse::of_directory(&files)?,
                };
                (warehouse, Arc::new(blocking(move || DurableDirectory::open(&files)).await?))
            }
        };
        let lake = Self::open_with(directory.clone(), place, warehouse, store, clock).await?;
        let is_bucket = settings.location.is_some() || settings.bucket.is_some();
        let store_properties = if is_bucket { client_properties(&settings.s3) } else { BTreeMap::new() };
        let served = match settings.bucket.clone() {
            Some(bucket) => Some(Served::open(Arc::clone(&lake.inner), bucket, &directory).await?),
            None => None,
        };
        let glue = Glue::open(&lake.inner, settings)?;
        Ok(Self { store_properties, served: served.map(Arc::new), glue, ..lake })
    }

    /// Opens the lake with its files in `store`, which other engines know as `warehouse`.
    pub(crate) async fn open_with(
        directory: PathBuf,
        place: CatalogPlace,
        warehouse: Warehouse,
        store: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let files_directory = directory.join("lake");
        let Opened { catalog, warehouse, tables, views, leftovers, raw } =
            Catalog::open(place, warehouse, clock.now()).await?;
        let inner = Inner {
            files: MetadataFiles { store, warehouse: Arc::new(warehouse) },
            catalog,
            clock,
            directory: files_directory,
            tables: RwLock::default(),
            databases: RwLock::default(),
            views: RwLock::default(),
            damaged: RwLock::default(),
            publishing: AsyncMutex::default(),
            erasing: AsyncRwLock::default(),
            disk_reserve: AtomicU64::new(0),
            layouts: RwLock::default(),
            raw: Mutex::new(raw),
            merged: Mutex::default(),
            settled_late: Mutex::default(),
            remembered: Mutex::default(),
        };
        if !leftovers.is_empty() {
            tracing::info!(files = leftovers.len(), "deleting what was written but not committed, or is not needed");
            discard(&inner, leftovers).await;
        }
        inner.load_all(tables).await?;
        let databases = inner.catalog.databases().await?;
        *write(&inner.databases) =
            databases.into_iter().map(|(name, properties)| (name, stands_for(&properties))).collect();
        let views = views::load_all(&inner, views).await?;
        *write(&inner.views) = views;
        let (inner, store_properties) = (Arc::new(inner), BTreeMap::new());
        Ok(Self { inner, store_properties, outside: Arc::default(), served: None, glue: None })
    }

    /// Lets SQL write and read files at these places, instead of nowhere.
    pub fn set_outside(&mut self, outside: Outside) {
        self.outside = Arc::new(outside);
    }

    /// Where SQL may write and read files that are not the lake's.
    #[must_use]
    pub fn outside(&self) -> &Arc<Outside> {
        &self.outside
    }

    /// The table of this name.
    #[must_use]
    pub fn table(&self, name: &TableName) -> Option<Arc<Table>> {
        read(&self.inner.tables).get(name).cloned()
    }

    /// Why a table of the catalog can't be read, if it can't: a file of its metadata is missing or damaged. All other tables
    /// are served; to make it, as [`create_table`](Self::create_table) does, is to try again to read it.
    #[must_use]
    pub fn damage_of(&self, name: &TableName) -> Option<Error> {
        let why = read(&self.inner.damaged).get(name).cloned()?;
        Some(Error::corrupt(why).with_hint("restore its files from a backup; `lacus doctor` names them"))
    }

    /// All tables, by name.
    #[must_use]
    pub fn tables(&self) -> Vec<Arc<Table>> {
        read(&self.inner.tables).values().cloned().collect()
    }

    /// The names of all databases: `main`, those that have tables or views, and those that were made.
    #[must_use]
    pub fn database_names(&self) -> BTreeSet<String> {
        let (tables, views) = (self.tables(), self.views());
        let used = tables.iter().map(|table| table.name()).chain(views.iter().map(|view| &view.name));
        let used = used.map(TableName::database).chain([MAIN_DATABASE]).map(str::to_owned);
        used.chain(read(&self.inner.databases).keys().cloned()).collect()
    }

    /// Whether there is such a database.
    #[must_use]
    pub fn is_database(&self, name: &str) -> bool {
        self.inner.is_database(name)
    }

    /// A table as a version of it was: the files of that snapshot, with the columns it had, and no tail.
    ///
    /// # Errors
    /// `NotFound` if there is no such version, or no longer; `Corrupt` if its metadata can't be read.
    pub async fn table_at(&self, table: &Table, version: &Version) -> Result<Arc<TableState>> {
        history::state_at(&self.inner, table, version).await
    }

    /// Makes a table with `schema`, durably; the one that exists is returned as it is.
    ///
    /// # Errors
    /// If it can't be written; `Corrupt` if it is there and can't be read.
    pub async fn create_table(&self, name: &TableName, schema: TableSchema) -> Result<Arc<Table>> {
        if let Some(table) = self.table(name) {
            return Ok(table);
        }
        self.create_tables(BTreeMap::from([(name.clone(), schema)])).await?;
        self.table(name).ok_or_else(|| Error::internal(format!("table \"{name}\" was made and is not there")))
    }

    /// Makes tables, durably, all or none; those that exist stay as they are.
    ///
    /// # Errors
    /// As for [`create_table`](Self::create_table).
    pub async fn create_tables(&self, mut tables: BTreeMap<TableName, TableSchema>) -> Result<()> {
        tables.retain(|name, _| self.table(name).is_none());
        let doing = match tables.first_key_value() {
            Some((name, _)) if tables.len() == 1 => format!("create table \"{name}\""),
            Some((name, _)) => format!("create {} tables, \"{name}\" first", tables.len()),
            None => return Ok(()),
        };
        let inner = Arc::clone(&self.inner);
        detached(async move { create_tables(&inner, tables).await.context(doing) }).await
    }

    /// Sets the layouts of tables from their next commits on, and their contracts. Tables that are not named keep their
    /// layout, and accept everything.
    pub fn set_layouts(&self, layouts: BTreeMap<TableName, settings::Table>) {
        *write(&self.inner.layouts) = layouts;
    }

    /// How a table is laid out, and what of its settings does not apply yet.
    #[must_use]
    pub fn layout(&self, table: &Table) -> Vec<LayoutField> {
        describe_layout(&table.base().metadata, self.inner.layout_of(table.name()).as_ref())
    }

    /// The partition of a live file of a table: field as in the settings, and value. None for null.
    #[must_use]
    pub fn partition_of(&self, table: &Table, file: &LiveFile) -> Vec<(String, Option<String>)> {
        partition_text(&table.base().metadata, &file.stats.placement)
    }

    /// Publishes rows, raw events and offsets. After an error nothing of it is visible and it may be tried again, with
    /// the same batches and offsets. Dropping the future does not stop the commit.
    ///
    /// # Errors
    /// `Unavailable` when the store or the catalog refuses, `Conflict` when another process took over, or a table is another one
    /// than the rows were decoded for: see [`is_outdated`](Self::is_outdated).
    pub async fn commit(&self, commit: Commit) -> Result<CommitReport> {
        let inner = Arc::clone(&self.inner);
        detached(commit::commit(inner, commit)).await
    }

    /// Merges the oldest run of small files of a table into one, if there is one, and such runs of other partitions; the
    /// answer to every query stays the same. It ends soon after `stop` is set, with nothing done. Dropping the future does not stop it.
    ///
    /// # Errors
    /// `Unavailable` when the store or the catalog refuses, `Corrupt` when a file can't be read; nothing changed then.
    pub async fn compact(
        &self,
        table: &Arc<Table>,
        sizes: FileSizes,
        stop: Arc<AtomicBool>,
    ) -> Result<Option<CompactionReport>> {
        detached(compact(Arc::clone(&self.inner), Arc::clone(table), sizes, stop)).await
    }

    /// What of a table's rows stands in `_rescued`, and the columns that would hold it.
    ///
    /// # Errors
    /// `Unavailable` when the store refuses; `Corrupt` when a file can't be read.
    pub async fn misfitting(&self, table: &Arc<Table>) -> Result<Misfitting> {
        detached(misfitting(Arc::clone(&self.inner), Arc::clone(table))).await
    }

    /// Puts what stands in `_rescued` into the columns that hold it by now, one file after the other: each is a commit of its
    /// own. Rows that are not committed were decoded with the columns of today. Dropping the future does not stop it;
    /// beginning it again goes on.
    ///
    /// # Errors
    /// `Unavailable` when the store or the catalog refuses, `Corrupt` when a file can't be read: some files may be done then.
    pub async fn refill(&self, table: &Arc<Table>) -> Result<RefillReport> {
        detached(refill_files(Arc::clone(&self.inner), Arc::clone(table))).await
    }

    /// How many committed rows of a table have each of these positions; those that none has are left out.
    ///
    /// # Errors
    /// `Unavailable` when the store refuses; `Corrupt` when a file can't be read.
    pub async fn count_positions(
        &self,
        table: &Arc<Table>,
        positions: &BTreeSet<Position>,
    ) -> Result<BTreeMap<Position, u64>> {
        count_positions(&self.inner, table, positions).await
    }

    /// Moves rows of a quarantine to their tables, all or none. The tables must have no rows that are not committed.
    /// Dropping the future does not stop it.
    ///
    /// # Errors
    /// `Conflict` if the quarantine does not have all of the rows, or a table has rows that are not committed; `Unavailable`
    /// when the store or the catalog refuses: nothing changed then.
    pub async fn replay(&self, rows: Replay) -> Result<()> {
        detached(replay(Arc::clone(&self.inner), rows)).await
    }

    /// Changes the columns of a table, one change after the other, all or none: a commit of metadata alone. The table must
    /// have no rows that are not committed. Dropping the future does not stop it.
    ///
    /// # Errors
    /// `Invalid` if a change can't be, `NotFound` for a column that is not there, `Conflict` if rows are not committed or
    /// a column is there already, `Unavailable` when the store or the catalog refuses.
    pub async fn alter(&self, table: &Arc<Table>, changes: Vec<SchemaChange>) -> Result<()> {
        detached(alter(Arc::clone(&self.inner), Arc::clone(table), changes)).await
    }

    /// Deletes some of the files that nothing references any more and whose grace period is over, and says how many. Commits
    /// do the same for what earlier ones left: this is for a lake that has none.
    ///
    /// # Errors
    /// `Unavailable` when the store or the catalog refuses: what is left is deleted by the next commit or the next call.
    pub async fn sweep(&self) -> Result<usize> {
        if let Some(served) = &self.served {
            served.sweep().await;
        }
        sweep_idle(&self.inner).await
    }

    /// Finds out what became of a commit whose answer was lost, if there is one: after it, what tables show is what is
    /// committed.
    ///
    /// # Errors
    /// `Unavailable` while the catalog can't tell.
    pub async fn settle(&self) -> Result<()> {
        commit::begin_publishing(&self.inner).await.map(drop)
    }

    /// What a table takes.
    #[must_use]
    pub fn contract(&self, name: &TableName) -> Contract {
        self.inner.contract_of(name)
    }

    /// Where the files are. Paths in it are those of [`crate::LiveFile`].
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner.files.store)
    }

    /// What engines have to know to reach the store, under the names of Iceberg's clients: `s3.endpoint`, unless lacus is the
    /// store. Empty for files that engines open on this machine, and without credentials.
    #[must_use]
    pub fn store_properties(&self) -> &BTreeMap<String, String> {
        &self.store_properties
    }

    /// The files for engines on other machines; none if they are not served.
    #[must_use]
    pub fn served(&self) -> Option<&Arc<Served>> {
        self.served.as_ref()
    }

    /// Merging and taking files of clients stop when less than this is free on the disk: commits need room for what the log
    /// holds.
    pub fn keep_free(&self, reserve: ByteSize) {
        self.inner.disk_reserve.store(reserve.0, Ordering::Relaxed);
    }

    /// Refuses to write this many bytes to a folder of this machine if less would be free then than commits need.
    ///
    /// # Errors
    /// `Unavailable` if there is no room.
    pub fn must_leave_room(&self, folder: &Path, bytes: u64) -> Result<()> {
        self.inner.must_leave_room(folder, bytes)
    }

    /// The URL of a file, as other engines know it.
    #[must_use]
    pub fn url(&self, file: &LiveFile) -> String {
        self.inner.files.warehouse.url(&file.path)
    }

    /// How much the lake holds. Cheap: nothing is read.
    #[must_use]
    pub fn stats(&self) -> LakeStats {
        let raw = self.inner.raw_totals();
        let (merged_files, merged_bytes) = *lock(&self.inner.merged);
        let mut stats = LakeStats {
            raw_files: raw.files,
            raw_bytes: raw.bytes,
            raw_records: raw.records,
            merged_files,
            merged_bytes,
            ..LakeStats::default()
        };
        for table in self.tables() {
            let state = table.state();
            stats.tables += 1;
            stats.files += state.files.len() as u64;
            stats.rows += state.files.iter().map(LiveFile::live_rows).sum::<u64>();
            stats.bytes += state.files.iter().map(|file| file.bytes).sum::<u64>();
        }
        stats
    }

    /// Reads all metadata and every Parquet footer, and reports what is wrong. Commits wait meanwhile.
    ///
    /// # Errors
    /// If the catalog or the store can't be read. Damage is no error, it is a finding.
    pub async fn check(&self) -> Result<Vec<Finding>> {
        check(&self.inner, self.tables()).await
    }
}

impl Inner {
    /// Reads all tables. A damaged one does not keep others from being served.
    async fn load_all(&self, tables: Vec<(TableName, String)>) -> Result<()> {
        let loading = tables.into_iter().map(|(name, location)| async move {
            let loaded = load(&self.files, name.clone(), location).await;
            (name, loaded)
        });
        let loaded: Vec<_> = stream::iter(loading).buffered(TABLES_AT_ONCE).collect().await;
        for (name, loaded) in loaded {
            match loaded {
                Ok(table) => drop(write(&self.tables).insert(name, Arc::new(table))),
                // `Invalid` means that an engine wrote something that lacus does not read, before lacus checked commits.
                Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Invalid) => {
                    tracing::error!(table = %name, error = %error.chain(), "a table can't be read; the others are served");
                    self.add_damaged(name, &error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The table of this name.
    pub(crate) fn table(&self, name: &TableName) -> Option<Arc<Table>> {
        read(&self.tables).get(name).cloned()
    }

    /// All tables, by name.
    pub(crate) fn tables(&self) -> Vec<Arc<Table>> {
        read(&self.tables).values().cloned().collect()
    }

    pub(crate) fn is_database(&self, name: &str) -> bool {
        let has_tables = || read(&self.tables).keys().any(|table| table.database() == name);
        let has_views = || self.views().keys().any(|view| view.database() == name);
        name == MAIN_DATABASE || read(&self.databases).contains_key(name) || has_tables() || has_views()
    }

    /// Makes a database with these properties visible; without properties, invisible.
    pub(crate) fn made_database(&self, name: &str, properties: Option<&str>) {
        let mut databases = write(&self.databases);
        match properties {
            Some(properties) => databases.insert(name.to_owned(), stands_for(properties)),
            None => databases.remove(name),
        };
    }

    /// Makes a committed table visible.
    pub(crate) fn adopt(&self, table: &Arc<Table>) {
        write(&self.tables).entry(table.name().clone()).or_insert_with(|| Arc::clone(table));
    }

    /// Makes a dropped table invisible.
    pub(crate) fn remove(&self, name: &TableName) {
        write(&self.tables).remove(name);
    }

    /// All views, by name.
    pub(crate) fn views(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<TableName, Arc<View>>> {
        read(&self.views)
    }

    /// Makes a view visible in its current state, or a dropped one invisible.
    pub(crate) fn show_view(&self, name: &TableName, view: Option<View>) {
        write(&self.damaged).remove(name);
        match view {
            Some(view) => write(&self.views).insert(name.clone(), Arc::new(view)),
            None => write(&self.views).remove(name),
        };
    }

    /// The database that a name is an alias of.
    pub(crate) fn stands_for(&self, name: &str) -> Option<String> {
        read(&self.databases).get(name).cloned().flatten()
    }

    /// Refuses a name that a table or view has already.
    ///
    /// # Errors
    /// `Exists` if one of them has it.
    pub(crate) fn must_not_be_taken(&self, name: &TableName) -> Result<()> {
        let kind = match () {
            () if self.table(name).is_some() => "table",
            () if self.views().contains_key(name) => "view",
            () => return Ok(()),
        };
        Err(Error::new(Kind::Exists, format!("{kind} \"{name}\" exists")).with_hint("drop it, or take another name"))
    }

    /// Remembers why a table or view of the catalog can't be read.
    pub(crate) fn add_damaged(&self, name: TableName, why: &Error) {
        write(&self.damaged).insert(name, why.chain());
    }

    /// Refuses to write this many bytes in the background if less would be free then than commits need.
    ///
    /// # Errors
    /// `Unavailable` if there is no room.
    pub(crate) fn must_have_room(&self, bytes: u64) -> Result<()> {
        if self.files.warehouse.is_local() { self.must_leave_room(&self.directory, bytes) } else { Ok(()) }
    }

    fn must_leave_room(&self, folder: &Path, bytes: u64) -> Result<()> {
        let disk =
            rustix::fs::statvfs(folder).map_err(std::io::Error::from).context("ask how much of the disk is free")?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let reserve = self.disk_reserve.load(Ordering::Relaxed);
        if free.saturating_sub(bytes) >= reserve {
            return Ok(());
        }
        let (free, reserve, bytes) = (human_bytes(free), human_bytes(reserve), human_bytes(bytes));
        Err(Error::unavailable(format!("the disk has {free} free, and {bytes} more would leave less than {reserve}"))
            .with_hint("make room; stream.disk_reserve is what stays free for commits"))
    }

    /// Tables that can't be read, and why.
    pub(crate) fn damaged(&self) -> BTreeMap<TableName, String> {
        read(&self.damaged).clone()
    }

    pub(crate) fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        lock(&self.remembered)
    }

    pub(crate) fn raw_totals(&self) -> RawTotals {
        *lock(&self.raw)
    }

    fn contract_of(&self, name: &TableName) -> Contract {
        read(&self.layouts).get(name).map(|table| table.contract).unwrap_or_default()
    }

    /// How a table is to be laid out, if the settings say.
    pub(crate) fn layout_of(&self, name: &TableName) -> Option<settings::Table> {
        read(&self.layouts).get(name).cloned()
    }

    /// The report of a commit that was thought to have failed, if this is the same again.
    pub(crate) fn settled_late(&self, stream: &StreamName, delivered: &Offsets) -> Option<CommitReport> {
        let (settled, report) = lock(&self.settled_late).remove(stream)?;
        (settled == *delivered).then_some(report)
    }

    pub(crate) fn remember_settled(&self, stream: StreamName, delivered: Offsets, report: CommitReport) {
        lock(&self.settled_late).insert(stream, (delivered, report));
    }

    pub(crate) fn add_merged(&self, report: &CompactionReport) {
        let mut merged = lock(&self.merged);
        merged.0 += report.files as u64;
        merged.1 += report.bytes_after;
    }

    /// Counts a file of the raw zone in the place of another one.
    pub(crate) fn replace_raw(&self, old: RawTotals, new: RawTotals) {
        let mut raw = lock(&self.raw);
        *raw = raw.replace(old, new);
    }

    pub(crate) fn add_raw(&self, more: RawTotals) {
        let mut raw = lock(&self.raw);
        raw.files += more.files;
        raw.bytes += more.bytes;
        raw.records += more.records;
    }
}

/// Runs work to its end even if nobody waits for it any more: half a commit is no use.
pub(crate) async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.map_err(|error| Error::internal("a commit ended unexpectedly").with_source(error))?
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let ended = spawn_blocking(work).await;
    ended.map_err(|error| Error::internal("opening the lake ended unexpectedly").with_source(error))?
}

fn open_directory(directory: &Path) -> Result<PathBuf> {
    make_directory(directory).context(format_args!("create {}", directory.display()))?;
    directory.canonicalize().context(format_args!("find {}", directory.display()))
}

/// Reads a table as it was committed last.
async fn load(files: &MetadataFiles, name: TableName, location: String) -> Result<Table> {
    let doing = format!("open table \"{name}\"");
    let base = Base::read(files, location).await.context(&doing)?;
    let schema = base.schema().context(&doing)?;
    let live = files.files_of(&base.manifests, &base.metadata).await.context(&doing)?;
    let delivered = base.offsets(&name).context(&doing)?;
    Ok(Table::new(name, base, schema, live, delivered))
}

async fn create_tables(inner: &Inner, mut tables: BTreeMap<TableName, TableSchema>) -> Result<()> {
    // Held to the end: nobody else may make the same tables meanwhile.
    let _publishing = commit::begin_publishing(inner).await?;
    tables.retain(|name, _| !read(&inner.tables).contains_key(name));
    tables.keys().try_for_each(|name| inner.must_not_be_taken(name))?;
    // The answer to an earlier attempt may have been lost.
    let pointers: HashMap<String, String> = inner.catalog.pointers().await?.into_iter().collect();
    let mut locations = Vec::with_capacity(tables.len());
    let mut missing = Vec::new();
    for (name, schema) in &tables {
        match pointers.get(name.as_str()) {
            Some(location) => locations.push((name.clone(), location.clone())),
            None => missing.push((name, schema)),
        }
    }
    if !missing.is_empty() {
        locations.extend(write_tables(inner, missing).await?);
    }
    let load = |(name, location): (TableName, String)| async {
        Ok::<_, Error>(Arc::new(load(&inner.files, name, location).await?))
    };
    let loaded: Vec<_> = stream::iter(locations.into_iter().map(load)).buffered(TABLES_AT_ONCE).collect().await;
    for table in loaded {
        let table = table?;
        write(&inner.damaged).remove(table.name());
        write(&inner.tables).insert(table.name().clone(), table);
    }
    Ok(())
}

/// Writes the metadata of new tables, and says where it is.
async fn write_tables(inner: &Inner, tables: Vec<(&TableName, &TableSchema)>) -> Result<Vec<(TableName, String)>> {
    let (mut files, mut locations) = (Vec::with_capacity(tables.len()), Vec::with_capacity(tables.len()));
    for (name, schema) in tables {
        let (path, metadata) = plan_table(&inner.files.warehouse, name, schema)?;
        let json =
            serde_json::to_vec(&metadata).map_err(|error| Error::internal("write metadata").with_source(error))?;
        locations.push((name.clone(), inner.files.warehouse.url(&path)));
        files.push((path, json));
    }
    let now = inner.clock.now();
    let written: Vec<String> = files.iter().map(|(path, _)| path.clone()).collect();
    let moved = |(name, to): &(TableName, String)| PointerMove { table: name.clone(), from: None, to: to.clone() };
    let publication = Publication {
        moves: locations.iter().map(moved).collect(),
        written: written.clone(),
        ..Publication::default()
    };
    let made = async {
        inner.catalog.begin(Vec::new(), written.clone(), now).await?;
        // Every write is awaited even when another one failed: a file must not appear after its name was taken off record.
        let writes = files.into_iter().map(|(path, json)| commit::put(inner, path, json));
        let writes: Vec<_> = stream::iter(writes).buffer_unordered(TABLES_AT_ONCE).collect().await;
        writes.into_iter().collect::<Result<Vec<()>>>()?;
        commit::move_pointers(inner, publication, now).await
    };
    match made.await {
        Ok(()) => Ok(locations),
        Err(failed) => {
            if !failed.may_have_happened {
                discard(inner, written).await;
            }
            Err(failed.error)
        }
    }
}

// Every change under these locks is one assignment: a panic leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
impl Lake {
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn shared(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl Lake {
    /// The state that operations in other files work on.
    pub(crate) fn shared_inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

#[cfg(test)]
mod tests;
