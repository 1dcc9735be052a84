//! Tags and rollback: names for snapshots, and the way back to one.
//!
//! A tagged snapshot does not expire. After a rollback a table has the rows of an older snapshot, and everything that is
//! delivered from then on: progress stays where it is, so nothing is delivered twice and nothing that comes is lost.
//! What was committed in between stays in the snapshots before the rollback until they expire, and can be returned to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use iceberg::spec::MAIN_BRANCH;
use lacus_core::{Context, Error, Kind, Result, TableName};
use tokio::time::timeout;

use crate::catalog::RawTotals;
use crate::change::{Shown, conclude_planned, part_of};
use crate::commit::{begin_publishing, conclude};
use crate::history::{Version, find};
use crate::kernel::refs::{RefChange, plan_refs, plan_rollback, refs_of};
use crate::kernel::{Base, Names};
use crate::lake::{Inner, Lake, detached};
use crate::leftovers::{discard, sweep};
use crate::table::{LiveFile, Table};

/// The most tags of a table: each keeps files from being deleted, and is checked when snapshots expire.
pub(crate) const TAGS_MAX: usize = 100;
/// The longest name of a tag, in bytes.
const NAME_BYTES_MAX: usize = 120;
/// A rollback waits this long for an erasure, which may take many minutes: what delivers to the table stands still meanwhile.
const ERASURE_WAIT: Duration = Duration::from_secs(5);

/// What a rollback did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackReport {
    /// The last commit before it: returning to that undoes the rollback.
    pub from: i64,
    /// The snapshot whose rows the table has now.
    pub to: i64,
    /// Committed rows before.
    pub rows_before: u64,
    /// Committed rows now.
    pub rows_after: u64,
}

impl Lake {
    /// Tags a snapshot of a table, which then does not expire, and returns its number. Tagging it again changes nothing.
    ///
    /// # Errors
    /// `NotFound` if there is no such version, `Exists` if another snapshot has the name, `Limited` if there are too many.
    pub async fn tag(&self, table: &Arc<Table>, name: &str, version: Version) -> Result<i64> {
        detached(tag(Arc::clone(self.shared_inner()), Arc::clone(table), name.to_owned(), version)).await
    }

    /// Removes a tag, and returns the snapshot that it had.
    ///
    /// # Errors
    /// `NotFound` if there is no such tag.
    pub async fn untag(&self, table: &Arc<Table>, name: &str) -> Result<i64> {
        detached(untag(Arc::clone(self.shared_inner()), Arc::clone(table), name.to_owned())).await
    }

    /// Returns a table to the rows of an earlier version. The rows of its tail stay, and so do offsets and columns. Dropping
    /// the future does not stop it.
    ///
    /// # Errors
    /// `NotFound` if there is no such version; `Unavailable` while events are erased, and when the store or the catalog refuses:
    /// nothing changed then.
    pub async fn rollback(&self, table: &Arc<Table>, version: Version) -> Result<RollbackReport> {
        detached(rollback(Arc::clone(self.shared_inner()), Arc::clone(table), version)).await
    }

    /// Expires all snapshots of a table but the last, with their tags, and returns how many: nobody can query rows that are
    /// no longer in the table. Their files are deleted after the grace period.
    ///
    /// # Errors
    /// `Unavailable` when the store or the catalog refuses: nothing changed then.
    pub async fn forget_history(&self, table: &Arc<Table>) -> Result<usize> {
        let (inner, table) = (Arc::clone(self.shared_inner()), Arc::clone(table));
        let expired = detached(async move { expire_all(&inner, &[table]).await }).await?;
        Ok(expired.into_values().sum())
    }
}

/// Tags a snapshot, and returns its number. Tagging it again changes nothing.
pub(crate) async fn tag(lake: Arc<Inner>, table: Arc<Table>, name: String, version: Version) -> Result<i64> {
    must_be_name(&name)?;
    let doing = format!("tag table \"{}\"", table.name());
    let change = |base: &Base| {
        let snapshot = find(table.name(), base, &version)?.snapshot_id();
        let is_new = may_be_tagged(&table, base, &name, snapshot)?;
        Ok((is_new.then(|| RefChange::Tag { name: name.clone(), snapshot }), snapshot))
    };
    change_refs(&lake, &table, change).await.context(doing)
}

/// Whether the tag is new to the snapshot.
fn may_be_tagged(table: &Table, base: &Base, name: &str, snapshot: i64) -> Result<bool> {
    let refs = refs_of(&base.metadata)?;
    match refs.get(name) {
        Some(known) if known.snapshot_id == snapshot => Ok(false),
        Some(known) => {
            let message = format!("there is a tag \"{name}\" already: snapshot {}", known.snapshot_id);
            let hint = format!("take it away first: lacus table untag {} {name}", table.name());
            Err(Error::new(Kind::Exists, message).with_hint(hint))
        }
        None if refs.len() > TAGS_MAX => Err(Error::new(Kind::Limited, format!("it has {TAGS_MAX} tags already"))
            .with_hint("take one away with lacus table untag")),
        None => Ok(true),
    }
}

/// Removes a tag, and returns the snapshot that it had.
pub(crate) async fn untag(lake: Arc<Inner>, table: Arc<Table>, name: String) -> Result<i64> {
    must_be_name(&name)?;
    let doing = format!("untag table \"{}\"", table.name());
    let change = |base: &Base| {
        let refs = refs_of(&base.metadata)?;
        let Some(known) = refs.get(&name) else {
            let tags: Vec<_> = refs.into_keys().filter(|name| name != MAIN_BRANCH).collect();
            let hint =
                if tags.is_empty() { "it has none".to_owned() } else { format!("its tags: {}", tags.join(", ")) };
            return Err(Error::not_found(format!("there is no tag \"{name}\"")).with_hint(hint));
        };
        Ok((Some(RefChange::Untag { name: name.clone() }), known.snapshot_id))
    };
    change_refs(&lake, &table, change).await.context(doing)
}

/// Returns to the rows of an older snapshot.
pub(crate) async fn rollback(lake: Arc<Inner>, table: Arc<Table>, version: Version) -> Result<RollbackReport> {
    let doing = format!("roll back table \"{}\"", table.name());
    let report = roll_back_once(&lake, &table, &version).await.context(doing)?;
    sweep(&lake, 0).await;
    Ok(report)
}

async fn roll_back_once(lake: &Inner, table: &Arc<Table>, version: &Version) -> Result<RollbackReport> {
    let _not_erasing = timeout(ERASURE_WAIT, lake.erasing.read()).await.map_err(|_| {
        Error::unavailable("events are being erased").with_hint("nothing changed; try again when that has ended")
    })?;
    let _committing = table.committing.lock().await;
    let mut publishing = begin_publishing(lake).await?;
    let (base, now) = (table.base(), lake.clock.now());
    let target = find(table.name(), &base, version)?;
    let from = base.metadata.current_snapshot_id().unwrap_or(target.snapshot_id());
    let names = Names::after(table.name(), &base.location);
    let paths = names.all_metadata(&base);
    lake.catalog.begin(vec![(table.name().clone(), base.location.clone())], paths.clone(), now).await?;
    let before = table.state();
    let planned = async {
        let manifests = lake.files.manifests(&target).await?;
        let found = lake.files.files_of(&manifests, &base.metadata).await?;
        let planned = plan_rollback(&lake.files, &base, &names, &target, manifests, now).await?;
        let removed = before.files.iter().map(|file| file.path.clone()).collect();
        Ok((planned, Shown { removed, added: found.data, delete_files: Some(found.deletes) }))
    };
    let planned = planned.await;
    let rows_after = planned.as_ref().map_or(0, |(_, shown)| rows_of(&shown.added));
    conclude_planned(lake, &mut publishing, table, &base, planned, paths).await.map_err(|failed| failed.error)?;
    Ok(RollbackReport { from, to: target.snapshot_id(), rows_before: rows_of(&before.files), rows_after })
}

fn rows_of(files: &[LiveFile]) -> u64 {
    files.iter().map(LiveFile::live_rows).sum()
}

/// Expires all snapshots but the current ones, with their tags, of all these tables in one commit. Returns how many.
pub(crate) async fn expire_all(lake: &Inner, tables: &[Arc<Table>]) -> Result<BTreeMap<TableName, usize>> {
    // In order of their names, so that no two of us wait for each other.
    let tables: BTreeMap<&TableName, &Arc<Table>> = tables.iter().map(|table| (table.name(), table)).collect();
    let mut locks = Vec::with_capacity(tables.len());
    for table in tables.values() {
        locks.push(table.committing.lock().await);
    }
    let mut publishing = begin_publishing(lake).await?;
    let now = lake.clock.now();
    let (mut expired, mut pointers, mut bases, mut paths) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
    for table in tables.into_values() {
        let base = table.base();
        let others = base.metadata.snapshots().len().saturating_sub(1);
        if others > 0 {
            let names = Names::after(table.name(), &base.location);
            paths.extend(names.all_metadata(&base));
            pointers.push((table.name().clone(), base.location.clone()));
            expired.insert(table.name().clone(), others);
            bases.push((Arc::clone(table), base, names));
        }
    }
    if bases.is_empty() {
        return Ok(expired);
    }
    lake.catalog.begin(pointers, paths.clone(), now).await?;
    let concluded = async {
        let mut parts = Vec::with_capacity(bases.len());
        for (table, base, names) in bases {
            let planned = plan_refs(&lake.files, &base, &names, RefChange::ExpireAll).await?;
            parts.push(part_of(&table, &base, planned, Shown::default()));
        }
        conclude(lake, &mut publishing, parts, None, RawTotals::default(), paths.clone(), now).await
    };
    let concluded = concluded.await;
    if concluded.as_ref().is_err_and(|failed| !failed.may_have_happened) {
        discard(lake, paths).await;
    }
    concluded.map(|()| expired).map_err(|failed| failed.error)
}

/// Makes the change that `decide` returns, if any. Nobody else commits meanwhile.
async fn change_refs<T>(
    lake: &Inner,
    table: &Arc<Table>,
    decide: impl FnOnce(&Base) -> Result<(Option<RefChange>, T)>,
) -> Result<T> {
    let _committing = table.committing.lock().await;
    let mut publishing = begin_publishing(lake).await?;
    let (base, now) = (table.base(), lake.clock.now());
    let (change, told) = decide(&base)?;
    let Some(change) = change else { return Ok(told) };
    let names = Names::after(table.name(), &base.location);
    let paths = names.all_metadata(&base);
    lake.catalog.begin(vec![(table.name().clone(), base.location.clone())], paths.clone(), now).await?;
    let planned = plan_refs(&lake.files, &base, &names, change).await;
    let planned = planned.map(|planned| (planned, Shown::default()));
    conclude_planned(lake, &mut publishing, table, &base, planned, paths).await.map_err(|failed| failed.error)?;
    Ok(told)
}

/// A tag begins with a letter, so that it can't be a snapshot's number or a time.
fn must_be_name(name: &str) -> Result<()> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if name.len() > NAME_BYTES_MAX
        || !name.starts_with(|first: char| first.is_ascii_alphabetic())
        || !name.chars().all(fits)
    {
        let shown: String = name.chars().take(60).collect();
        return Err(Error::invalid(format!("\"{shown}\" can't be the name of a tag"))
            .with_hint("a name is a letter, and then letters, digits, - _ or ."));
    }
    if name == MAIN_BRANCH {
        return Err(Error::invalid("\"main\" is the last commit of each table: no tag can be called so"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
