//! Checks that the lake is as its catalog says: for `lacus doctor`, tests and fault loops. It changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use futures::TryStreamExt;
use lacus_core::{Kind, Result, TableName};
use object_store::path::Path;
use parquet::file::metadata::ParquetMetaDataReader;

use crate::commit::begin_publishing;
use crate::deletes::FilesOfSnapshot;
use crate::kernel::{Base, directory_of, is_ours};
use crate::lake::Inner;
use crate::manifests::MetadataFiles;
use crate::store::store_error;
use crate::table::{LiveFile, Table};
use crate::views::View;
use crate::warehouse::Warehouse;

/// The most findings of one check: what is broken a thousand times is broken in one way.
const FINDINGS_MAX: usize = 100;

/// Something about the lake that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether rows may be lost or can't be read. Otherwise it only wastes space or hinders other engines.
    pub is_damage: bool,
    /// What was found, for a person.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a check knows while it runs.
struct Check<'a> {
    lake: &'a Inner,
    /// Every file in the store, with its size.
    found: BTreeMap<String, u64>,
    referenced: BTreeSet<String>,
    findings: Vec<Finding>,
}

/// Checks every table and the raw zone. No commit ends meanwhile.
pub(crate) async fn check(lake: &Inner, tables: Vec<Arc<Table>>) -> Result<Vec<Finding>> {
    let _publishing = begin_publishing(lake).await?;
    // Files first, records after: a file that a commit is writing now was recorded before it was written.
    let files = lake.files.store.list(None).map_ok(|file| (file.location.to_string(), file.size));
    let found = files.try_collect().await.map_err(|error| store_error(error, "list the lake's files"))?;
    let leftovers = lake.catalog.leftovers().await?;
    let mut check = Check { lake, found, referenced: leftovers.into_iter().collect(), findings: Vec::new() };
    check.warehouse();
    check.pointers(&tables).await?;
    let damaged = lake.damaged();
    damaged.iter().for_each(|(name, why)| check.damage(format!("\"{name}\" can't be read: {why}")));
    let views: Vec<Arc<View>> = lake.views().values().cloned().collect();
    for view in views {
        check.refer(&lake.files, &view.location)?;
    }
    for table in &tables {
        if let Err(error) = check.table(table).await {
            if error.kind() != Kind::Corrupt {
                return Err(error);
            }
            check.damage(format!("table \"{}\": {}", table.name(), error.chain()));
        }
    }
    check.raw();
    check.unknown_files(&damaged);
    check.findings.truncate(FINDINGS_MAX);
    Ok(check.findings)
}

impl Check<'_> {
    fn damage(&mut self, message: String) {
        self.findings.push(Finding { is_damage: true, message });
    }

    fn note(&mut self, message: String) {
        self.findings.push(Finding { is_damage: false, message });
    }

    fn warehouse(&mut self) {
        if !self.lake.files.warehouse.has_file_urls() {
            return;
        }
        let base = self.lake.files.warehouse.base();
        if Warehouse::of_directory(&self.lake.directory).is_ok_and(|here| here.base() != base) {
            self.note(format!(
                "the lake was made at {base} and is now at {}: lacus reads it, other engines look at the old place",
                self.lake.directory.display()
            ));
        }
    }

    async fn pointers(&mut self, tables: &[Arc<Table>]) -> Result<()> {
        let pointers: HashMap<String, String> = self.lake.catalog.pointers().await?.into_iter().collect();
        for table in tables {
            let location = &table.base().location;
            if pointers.get(table.name().as_str()) != Some(location) {
                self.damage(format!("table \"{}\" is at {location}, but not in the catalog", table.name()));
            }
        }
        Ok(())
    }

    async fn table(&mut self, table: &Table) -> Result<()> {
        let files = &self.lake.files;
        let base = Base::read(files, table.base().location.clone()).await?;
        self.refer(files, &base.location)?;
        for log in base.metadata.metadata_log() {
            self.refer(files, &log.metadata_file)?;
        }
        for statistics in base.metadata.statistics_iter() {
            self.refer(files, &statistics.statistics_path)?;
        }
        for statistics in base.metadata.partition_statistics_iter() {
            self.refer(files, &statistics.statistics_path)?;
        }
        let FilesOfSnapshot { data: live, deletes } = files.files_of(&base.manifests, &base.metadata).await?;
        for file in live.iter().chain(deletes.iter().map(|delete| &delete.file)) {
            self.data_file(file).await?;
        }
        for snapshot in base.metadata.snapshots() {
            self.refer(files, snapshot.manifest_list())?;
            for manifest in files.manifests(snapshot).await? {
                if !self.refer(files, &manifest.manifest_path)? {
                    continue;
                }
                // Files that were replaced stay as long as a snapshot has them.
                for entry in files.entries(&manifest).await? {
                    self.refer(files, entry.file_path())?;
                }
            }
        }
        self.totals(table, &base, &live)
    }

    /// Records that metadata names a file, which must exist; whether it is the first time.
    fn refer(&mut self, files: &MetadataFiles, url: &str) -> Result<bool> {
        let path = files.warehouse.path(url)?.to_string();
        if self.referenced.contains(&path) {
            return Ok(false);
        }
        if !self.found.contains_key(&path) {
            self.damage(format!("{path} is missing"));
        }
        self.referenced.insert(path);
        Ok(true)
    }

    async fn data_file(&mut self, file: &LiveFile) -> Result<()> {
        self.referenced.insert(file.path.clone());
        match self.found.get(&file.path) {
            None => self.damage(format!("{} is missing: {} rows are lost", file.path, file.rows)),
            Some(&bytes) if bytes != file.bytes => {
                self.damage(format!("{} has {bytes} bytes instead of {}", file.path, file.bytes));
            }
            Some(_) => match self.rows_of(file).await? {
                Some(rows) if rows == file.rows => {}
                Some(rows) => self.damage(format!("{} has {rows} rows instead of {}", file.path, file.rows)),
                None => self.damage(format!("{} is no Parquet file", file.path)),
            },
        }
        Ok(())
    }

    /// The number of rows in the footer of a Parquet file.
    async fn rows_of(&self, file: &LiveFile) -> Result<Option<u64>> {
        let store = Arc::clone(&self.lake.files.store);
        let mut reader = parquet::arrow::async_reader::ParquetObjectReader::new(store, Path::from(file.path.as_str()))
            .with_file_size(file.bytes);
        let metadata = ParquetMetaDataReader::new().load_and_finish(&mut reader, file.bytes).await;
        Ok(metadata.ok().and_then(|metadata| u64::try_from(metadata.file_metadata().num_rows()).ok()))
    }

    /// Checks that manifests, the snapshot's summary and the state that queries use agree.
    fn totals(&mut self, table: &Table, base: &Base, live: &[LiveFile]) -> Result<()> {
        let name = table.name();
        let rows: u64 = live.iter().map(|file| file.rows).sum();
        // Other engines' counts are up to them; what is in the files was checked above.
        if let Some(snapshot) =
            base.metadata.current_snapshot().filter(|_| base.metadata.snapshots().all(|s| is_ours(s)))
        {
            let total = snapshot.summary().additional_properties.get("total-records");
            // Engines need not tell it, and then it is not known for later snapshots either.
            if total.is_some_and(|total| total.parse() != Ok(rows)) {
                self.damage(format!("table \"{name}\" has {rows} rows in its files, its snapshot says {total:?}"));
            }
        }
        let state = table.state();
        let known: BTreeSet<&str> = state.files.iter().map(|file| file.path.as_str()).collect();
        if known != live.iter().map(|file| file.path.as_str()).collect() || known.len() != live.len() {
            self.damage(format!("queries of table \"{name}\" see other files than its manifests name"));
        }
        if state.delivered != base.offsets(name)? {
            self.damage(format!("queries of table \"{name}\" see other offsets than its metadata has"));
        }
        Ok(())
    }

    fn raw(&mut self) {
        let totals = self.lake.raw_totals();
        let raw = self.found.iter().filter(|(path, _)| path.starts_with("raw/") && !self.referenced.contains(*path));
        let (files, bytes) = raw.fold((0, 0), |(files, bytes), (_, size)| (files + 1, bytes + size));
        if (files, bytes) != (totals.files, totals.bytes) {
            let is_damage = files < totals.files || bytes < totals.bytes;
            let message = format!(
                "the raw zone has {files} files with {bytes} bytes, the catalog says {} with {}",
                totals.files, totals.bytes
            );
            self.findings.push(Finding { is_damage, message });
        }
    }

    /// Files that nothing names. Which files a damaged table names is not known.
    fn unknown_files(&mut self, damaged: &BTreeMap<TableName, String>) {
        let places: Vec<String> = damaged.keys().map(|name| format!("{}/", directory_of(name))).collect();
        let is_known = |path: &String| {
            path.starts_with("raw/")
                || self.referenced.contains(path)
                || places.iter().any(|place| path.starts_with(place))
        };
        let unknown = self.found.iter().filter(|(path, _)| !is_known(path));
        let unknown: Vec<_> =
            unknown.map(|(path, bytes)| format!("{path} ({bytes} bytes) belongs to no table")).collect();
        for message in unknown {
            self.note(message);
        }
    }
}
