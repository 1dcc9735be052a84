//! The manifests of a commit: which are rewritten, and what is in them.
//!
//! A manifest holds data files, or delete files, of one partition spec. The manifests that name a removed file are rewritten, in the
//! place of the first. A commit that removes none begins a new manifest, and merges the small ones once there are too many.
//! What is rewritten becomes one manifest for each spec, or several if it is much: an entry takes about six times as much memory as in
//! its file, so those of a few megabytes are read, written and let go before more are read.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use iceberg::spec::{ManifestContentType, ManifestEntryRef, ManifestFile, SchemaRef};
use lacus_core::{Context, Error, Kind, Result};

use super::summary::Counted;
use super::{AddedFile, Base, Names, spec_of};
use crate::layout::Layout;
use crate::manifests::{MetadataFiles, NewEntry, NewManifest, write_manifest};
use crate::partition_types::{Sources, add_sources, fits};

/// The most small manifests of a table; with one more, a commit merges them.
pub(crate) const SMALL_MANIFESTS_MAX: usize = 20;
/// A manifest takes the entries of others as long as those have no more than this together.
const GATHERED_BYTES_MAX: u64 = 4 << 20;
/// A manifest of this size is not small, and stays as it is. So is one that takes no more small ones.
const SMALL_MANIFEST_BYTES: u64 = GATHERED_BYTES_MAX / 2;

/// What new manifests are made with.
#[derive(Clone, Copy)]
pub(super) struct Making<'a> {
    pub(super) files: &'a MetadataFiles,
    pub(super) base: &'a Base,
    pub(super) names: &'a Names,
    pub(super) snapshot_id: i64,
    pub(super) schema: &'a SchemaRef,
    pub(super) layout: &'a Layout,
}

/// The manifests after a change.
#[derive(Default)]
pub(super) struct Changed {
    /// All of them, in order.
    pub(super) manifests: Vec<ManifestFile>,
    /// Path and content of the new ones.
    pub(super) written: Vec<(String, Bytes)>,
    /// What is added and removed.
    pub(super) counted: Counted,
}

/// What a manifest's entries have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) content: ManifestContentType,
    pub(super) spec_id: i32,
}

/// A new manifest that takes entries.
struct Open {
    sort: Sort,
    /// Bytes of the manifests that they are from.
    bytes: u64,
    /// In order.
    entries: Vec<NewEntry>,
}

/// A change of manifests, one after the other.
struct Changing<'a> {
    making: Making<'a>,
    /// URLs of files to remove, and how many of them were found.
    removed: &'a HashSet<String>,
    found: usize,
    /// Files to add that have no place yet.
    added: Vec<AddedFile>,
    /// New manifests, at most one of each sort.
    open: Vec<Open>,
    /// What the replaced ones say of the columns that files are partitioned by.
    sources: Sources,
    /// Its manifests are the new ones that are written.
    changed: Changed,
}

/// How many more manifests a change may write than there are sorts of them. Of a sort, two that follow each other are of more than
/// [`GATHERED_BYTES_MAX`], and each but the first begins with one that is there.
pub(super) fn more_manifests_max(manifests: &[ManifestFile]) -> usize {
    let bytes = manifests.iter().map(length_of).fold(0, u64::saturating_add);
    let more = bytes / (GATHERED_BYTES_MAX / 2);
    usize::try_from(more).unwrap_or(usize::MAX).min(manifests.len())
}

/// Plans the manifests of a commit that removes files and adds others.
///
/// # Errors
/// `Conflict` if a file to remove is none of the table's.
pub(super) async fn change_manifests(
    making: Making<'_>,
    removed: &HashSet<String>,
    added: Vec<AddedFile>,
) -> Result<Changed> {
    let mut kept = making.base.manifests.clone();
    if added.is_empty() && removed.is_empty() {
        return Ok(Changed { manifests: kept, ..Changed::default() });
    }
    let mut changing = Changing::new(making, removed, added);
    let place = if removed.is_empty() {
        changing.merge_small(&mut kept).await?;
        kept.len()
    } else {
        changing.replace(&mut kept).await?
    };
    let Changed { manifests: new, written, counted } = changing.end().await?;
    kept.splice(place..place, new);
    Ok(Changed { manifests: kept, written, counted })
}

impl<'a> Changing<'a> {
    fn new(making: Making<'a>, removed: &'a HashSet<String>, added: Vec<AddedFile>) -> Self {
        let (open, sources, changed) = (Vec::new(), Sources::new(), Changed::default());
        Self { making, removed, found: 0, added, open, sources, changed }
    }

    /// Takes all small manifests, once there are too many, but for those with a file that no other manifest could have. The others
    /// stay in `manifests`, in order.
    async fn merge_small(&mut self, manifests: &mut Vec<ManifestFile>) -> Result<()> {
        let is_small = |manifest: &ManifestFile| {
            manifest.content == ManifestContentType::Data && length_of(manifest) < SMALL_MANIFEST_BYTES
        };
        if manifests.iter().filter(|manifest| is_small(manifest)).count() < SMALL_MANIFESTS_MAX {
            return Ok(());
        }
        let (small, large) = std::mem::take(manifests).into_iter().partition::<Vec<_>, _>(is_small);
        *manifests = large;
        for manifest in small {
            let read = self.making.files.entries_and_sources(&manifest).await.context("merge manifests")?;
            let metadata = &self.making.base.metadata;
            let may_move =
                |entry: &ManifestEntryRef| fits(entry.data_file().partition(), manifest.partition_spec_id, metadata);
            if read.0.iter().all(may_move) {
                self.take(&manifest, read).await?;
            } else {
                manifests.push(manifest);
            }
        }
        Ok(())
    }

    /// Takes the manifests that name a removed file, and returns their place among the others, which stay in `manifests`.
    async fn replace(&mut self, manifests: &mut Vec<ManifestFile>) -> Result<usize> {
        let (mut place, mut kept) = (None, Vec::new());
        for manifest in std::mem::take(manifests) {
            let read = self.making.files.entries_and_sources(&manifest).await;
            let read = read.context("look for files that are replaced")?;
            if read.0.iter().any(|entry| self.removed.contains(entry.file_path())) {
                if manifest.content == ManifestContentType::Data {
                    place.get_or_insert(kept.len());
                }
                self.take(&manifest, read).await?;
            } else {
                kept.push(manifest);
            }
        }
        *manifests = kept;
        Ok(place.unwrap_or(manifests.len()))
    }

    /// Takes the entries of a manifest, after writing what was gathered if both would be too much.
    async fn take(
        &mut self,
        manifest: &ManifestFile,
        (entries, sources): (Vec<ManifestEntryRef>, Sources),
    ) -> Result<()> {
        let sort = Sort { content: manifest.content, spec_id: manifest.partition_spec_id };
        let bytes = length_of(manifest);
        let is_full = |open: &Open| open.sort == sort && open.bytes.saturating_add(bytes) > GATHERED_BYTES_MAX;
        if let Some(full) = self.open.iter().position(is_full) {
            let full = self.open.remove(full);
            self.write(full).await?;
        }
        add_sources(&mut self.sources, sources);
        let open = self.open_of(sort);
        open.bytes = open.bytes.saturating_add(bytes);
        entries.into_iter().for_each(|entry| self.take_entry(sort, entry));
        Ok(())
    }

    fn take_entry(&mut self, sort: Sort, entry: ManifestEntryRef) {
        if !self.removed.contains(entry.file_path()) {
            self.open_of(sort).entries.push(NewEntry::Existing(entry));
            return;
        }
        self.found += 1;
        if sort.content == ManifestContentType::Data {
            self.place_added();
        }
        self.changed.counted.remove(sort, entry.data_file());
        self.open_of(sort).entries.push(NewEntry::Removed(entry));
    }

    /// Puts the added files where the entries of their sort have come to.
    fn place_added(&mut self) {
        for AddedFile { file, spec_id } in std::mem::take(&mut self.added) {
            self.changed.counted.add(spec_id, &file);
            let sort = Sort { content: ManifestContentType::Data, spec_id };
            self.open_of(sort).entries.push(NewEntry::Added(Box::new(file)));
        }
    }

    fn open_of(&mut self, sort: Sort) -> &mut Open {
        let index = self.open.iter().position(|open| open.sort == sort).unwrap_or_else(|| {
            self.open.push(Open { sort, bytes: 0, entries: Vec::new() });
            self.open.len() - 1
        });
        &mut self.open[index]
    }

    async fn write(&mut self, Open { sort, entries, .. }: Open) -> Result<()> {
        let Making { files, base, names, snapshot_id, schema, layout } = self.making;
        let path = names.manifest(self.changed.written.len());
        let (url, spec) = (&files.warehouse.url(&path), spec_of(&base.metadata, layout, sort.spec_id)?);
        let (schema, sources, content) = (Arc::clone(schema), &self.sources, sort.content);
        let new = NewManifest { url, snapshot_id, schema, spec, sources, content, entries };
        let (bytes, manifest) = write_manifest(new).await?;
        self.changed.manifests.push(manifest);
        self.changed.written.push((path, bytes));
        Ok(())
    }

    /// Writes what is gathered, if everything was found that is to go.
    async fn end(mut self) -> Result<Changed> {
        if self.found != self.removed.len() {
            return Err(Error::new(Kind::Conflict, "a file that was to be replaced is no longer in the table"));
        }
        self.place_added();
        for open in std::mem::take(&mut self.open) {
            self.write(open).await?;
        }
        Ok(self.changed)
    }
}

/// The bytes of a manifest.
fn length_of(manifest: &ManifestFile) -> u64 {
    u64::try_from(manifest.manifest_length).unwrap_or(0)
}
