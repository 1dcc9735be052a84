//! Commits that other engines planned: checked, made durable, published.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{MAIN_BRANCH, ManifestFile, Snapshot, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};
use lacus_core::{Context, Error, Kind, Result, TableName, Timestamp};
use tokio::sync::OwnedMutexGuard;

use super::rebase::{Rebased, rebase};
use super::{MADE_BY, TableCommit, create, refused, rules};
use crate::catalog::{PointerMove, RawTotals};
use crate::commit::{Failed, PlannedPart, begin_publishing, conclude};
use crate::deletes::must_be_readable;
use crate::kernel::{Base, Names};
use crate::lake::Inner;
use crate::leftovers::{discard, sweep};
use crate::manifests::MetadataFiles;
use crate::partition_types::must_fit;
use crate::table::{Committed, Table};

/// Tables that one commit may change.
const TABLES_MAX: usize = 100;

/// One table's change, ready to be written.
pub(super) struct PlannedChange {
    pub(super) part: PlannedPart,
    /// Paths of files that the engine wrote, which must be durable first.
    pub(super) theirs: Vec<String>,
}

/// Runs a commit to its end.
pub(super) async fn commit(lake: &Inner, commits: Vec<TableCommit>) -> Result<Vec<Arc<Table>>> {
    let names: Vec<TableName> = commits.iter().map(|commit| commit.table.clone()).collect();
    let _locks = lock(lake, &names).await?;
    let mut publishing = begin_publishing(lake).await?;
    let now = lake.clock.now();
    let mut parts = Vec::new();
    for commit in commits {
        let doing = format!("commit to table \"{}\"", commit.table);
        let planned = match lake.table(&commit.table) {
            Some(table) => change(lake, table, commit, now).await,
            None => create::by_commit(lake, commit).await,
        };
        let planned = planned.context(&doing)?;
        lake.make_durable(planned.theirs).await.context(doing)?;
        parts.push(planned.part);
    }
    let pointers = parts.iter().filter_map(|part| Some((part.pointer.table.clone(), part.pointer.from.clone()?)));
    let pointers = pointers.collect();
    let paths: Vec<String> = parts.iter().flat_map(|part| part.writes.iter().map(|(path, _)| path.clone())).collect();
    lake.catalog.begin(pointers, paths.clone(), now).await?;
    let tables = parts.iter().map(|part| Arc::clone(&part.table)).collect();
    let concluded = conclude(lake, &mut publishing, parts, None, RawTotals::default(), paths.clone(), now).await;
    drop(publishing);
    match concluded {
        Ok(()) => {
            sweep(lake, 0).await;
            Ok(tables)
        }
        Err(failed) => Err(failure(lake, failed, paths).await),
    }
}

/// The error of a failed commit: whether it may have happened decides what an engine does next.
pub(super) async fn failure(lake: &Inner, failed: Failed, paths: Vec<String>) -> Error {
    if failed.may_have_happened {
        return Error::internal("nobody knows whether the commit happened").with_source(failed.error);
    }
    discard(lake, paths).await;
    failed.error
}

/// Locks the existing tables, in order of their names so that two commits never wait for each other.
async fn lock(lake: &Inner, names: &[TableName]) -> Result<Vec<OwnedMutexGuard<()>>> {
    if names.len() > TABLES_MAX {
        return Err(Error::invalid(format!("a commit changes {TABLES_MAX} tables at most")));
    }
    let mut names: Vec<&TableName> = names.iter().collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid(format!("a commit has table \"{}\" twice", twice[0])));
    }
    let mut locks = Vec::new();
    for table in names.into_iter().filter_map(|name| lake.table(name)) {
        locks.push(Arc::clone(&table.committing).lock_owned().await);
    }
    Ok(locks)
}

/// Plans the change of an existing table.
async fn change(lake: &Inner, table: Arc<Table>, commit: TableCommit, now: Timestamp) -> Result<PlannedChange> {
    let (files, base) = (&lake.files, table.base());
    let TableCommit { requirements, mut updates, .. } = commit;
    rules::check(&base.metadata, &updates, is_delivered(&table))?;
    let names = Names::after(table.name(), &base.location);
    let rebased = rebase(files, &base, (&requirements, &updates), &names, now).await?;
    must_hold(&requirements, &base.metadata, rebased.is_some())?;
    let mut writes = Vec::new();
    let mut theirs = files_of_new_snapshots(files, &updates).await?;
    must_be_own(lake, base.metadata.location(), &theirs).await?;
    let mut retired = Vec::new();
    if rebased.is_some() {
        retired.extend(lists_of_new_snapshots(files, &updates)?);
    }
    let manifests = rebased.map(|rebased| put_on_top(rebased, &mut updates, &mut writes));
    let removes_snapshots = updates.iter().any(|update| matches!(update, TableUpdate::RemoveSnapshots { .. }));
    let builder = base.metadata.clone().into_builder(Some(base.location.clone()));
    let built = apply(builder, updates)?;
    rules::check_result(&base.metadata, &built.metadata, is_delivered(&table))?;
    for log in &built.expired_metadata_logs {
        retired.push(files.warehouse.path(&log.metadata_file)?.to_string());
    }
    if removes_snapshots {
        let (before, after) = (files.reachable(&base.metadata).await?, files.reachable(&built.metadata).await?);
        retired.extend(before.difference(&after).cloned());
    }
    let path = names.metadata();
    let location = files.warehouse.url(&path);
    writes.push((path, metadata_json(&built.metadata)?));
    let new = Base::with_manifests(files, location, built.metadata, manifests).await?;
    theirs.sort_unstable();
    theirs.dedup();
    let part = plan_part(files, table, base.location.clone(), new, writes, retired).await?;
    Ok(PlannedChange { part, theirs })
}

/// Whether lacus delivers to a table: it has offsets, or rows that are not committed, or system columns although nobody asked
/// for the table.
pub(crate) fn is_delivered(table: &Table) -> bool {
    let state = table.state();
    state.delivered.iter().next().is_some()
        || !state.tail.is_empty()
        || (state.schema.system.is_some() && !table.base().metadata.properties().contains_key(MADE_BY))
}

/// Replaces the engine's snapshot by the rebased one.
fn put_on_top(rebased: Rebased, updates: &mut [TableUpdate], writes: &mut Vec<(String, Bytes)>) -> Vec<ManifestFile> {
    for update in updates {
        if let TableUpdate::AddSnapshot { snapshot } = update {
            *snapshot = rebased.snapshot.clone();
        }
    }
    writes.push(rebased.list);
    rebased.manifests
}

fn must_hold(requirements: &[TableRequirement], metadata: &TableMetadata, is_rebased: bool) -> Result<()> {
    for requirement in requirements {
        let is_main = matches!(requirement, TableRequirement::RefSnapshotIdMatch { r#ref, .. } if r#ref == MAIN_BRANCH);
        if !(is_main && is_rebased) {
            let conflict =
                |error: iceberg::Error| Error::new(Kind::Conflict, error.message().to_owned()).with_source(error);
            requirement.check(Some(metadata)).map_err(conflict)?;
        }
    }
    Ok(())
}

pub(super) fn apply(
    builder: iceberg::spec::TableMetadataBuilder,
    updates: Vec<TableUpdate>,
) -> Result<iceberg::spec::TableMetadataBuildResult> {
    updates
        .into_iter()
        .try_fold(builder, |builder, update| update.apply(builder))
        .and_then(iceberg::spec::TableMetadataBuilder::build)
        .map_err(refused)
}

pub(super) fn metadata_json(metadata: &TableMetadata) -> Result<Bytes> {
    let json = serde_json::to_vec(metadata).map_err(|error| Error::internal("write metadata").with_source(error))?;
    Ok(json.into())
}

async fn plan_part(
    files: &MetadataFiles,
    table: Arc<Table>,
    from: String,
    base: Base,
    writes: Vec<(String, Bytes)>,
    retired: Vec<String>,
) -> Result<PlannedPart> {
    // Types that lacus can't read are refused before there is such a column.
    base.schema()?;
    let found = files.files_of(&base.manifests, &base.metadata).await?;
    let mut paths = HashSet::with_capacity(found.data.len());
    if let Some(twice) = found.data.iter().find(|file| !paths.insert(file.path.as_str())) {
        return Err(Error::invalid(format!("{} would be in the table twice", twice.path)));
    }
    let state = table.state();
    let deletes = state.delete_files.iter().map(|delete| &delete.file);
    let known: HashSet<&str> = state.files.iter().chain(deletes).map(|file| file.path.as_str()).collect();
    must_fit(&found, &base.metadata, |file| known.contains(file.path.as_str()))?;
    let pointer = PointerMove { table: table.name().clone(), from: Some(from), to: base.location.clone() };
    let committed = Committed {
        base: Arc::new(base),
        removed: table.state().files.iter().map(|file| file.path.clone()).collect(),
        added: found.data,
        tail: None,
        delete_files: Some(found.deletes),
    };
    Ok(PlannedPart { table, writes, retired, pointer, committed })
}

/// Paths of the files that new snapshots add, after checking that lacus can read them.
pub(super) async fn files_of_new_snapshots(files: &MetadataFiles, updates: &[TableUpdate]) -> Result<Vec<String>> {
    let mut urls = HashSet::new();
    for update in updates {
        if let TableUpdate::AddSnapshot { snapshot } = update {
            add_files_of(files, snapshot, &mut urls).await?;
        }
    }
    urls.iter().map(|url| in_lake(files, url)).collect()
}

/// Paths of the manifest lists that an engine wrote.
fn lists_of_new_snapshots(files: &MetadataFiles, updates: &[TableUpdate]) -> Result<Vec<String>> {
    let lists = updates.iter().filter_map(|update| match update {
        TableUpdate::AddSnapshot { snapshot } => Some(in_lake(files, snapshot.manifest_list())),
        _ => None,
    });
    lists.collect()
}

/// Refuses files that would be deleted under the table at `location`: as leftovers, or with another table that owns them.
pub(super) async fn must_be_own(lake: &Inner, location: &str, theirs: &[String]) -> Result<()> {
    if let Some(path) = lake.catalog.leftovers_among(theirs.to_vec()).await?.first() {
        return Err(Error::invalid(format!("{path} is being deleted")).with_hint("write the rows to a new file"));
    }
    must_be_of_no_other(lake, location, theirs)
}

/// Refuses files of another table: they are deleted with that table.
pub(super) fn must_be_of_no_other(lake: &Inner, location: &str, theirs: &[String]) -> Result<()> {
    let own = in_lake(&lake.files, location)?;
    for table in lake.tables() {
        let place = in_lake(&lake.files, table.base().metadata.location())?;
        let is_its = |path: &&String| path.strip_prefix(&place).is_some_and(|rest| rest.starts_with('/'));
        if place != own
            && let Some(path) = theirs.iter().find(is_its)
        {
            return Err(Error::invalid(format!("{path} is of table \"{}\", and goes with it", table.name()))
                .with_hint("copy its rows into files of this table"));
        }
    }
    Ok(())
}

async fn add_files_of(files: &MetadataFiles, snapshot: &Snapshot, urls: &mut HashSet<String>) -> Result<()> {
    in_lake(files, snapshot.manifest_list())?;
    urls.insert(snapshot.manifest_list().to_owned());
    for manifest in files.manifests(snapshot).await? {
        if manifest.added_snapshot_id != snapshot.snapshot_id() {
            continue;
        }
        for entry in files.entries(&manifest).await? {
            must_be_readable(&entry)?;
            if entry.snapshot_id() == Some(snapshot.snapshot_id()) {
                urls.insert(entry.file_path().to_owned());
            }
        }
        urls.insert(manifest.manifest_path);
    }
    Ok(())
}

/// The path of a file that must be in the lake.
pub(super) fn in_lake(files: &MetadataFiles, url: &str) -> Result<String> {
    let path = files.warehouse.path(url);
    path.map(|path| path.to_string()).map_err(|_| Error::invalid(format!("{url} is outside of the lake")))
}
