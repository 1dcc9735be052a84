//! The manifests of a commit: which are rewritten, and what is in them.
//!
//! A manifest holds data files, or delete files, of one partition spec. For each spec, the manifests that name a removed file are
//! rewritten as one, in the place of the first. A commit that removes none begins a new manifest, and merges the small ones once
//! there are too many.

use std::collections::HashSet;

use iceberg::spec::{ManifestContentType, ManifestEntryRef, ManifestFile};
use lacus_core::{Context, Error, Kind, Result};

use super::AddedFile;
use crate::manifests::{MetadataFiles, NewEntry};
use crate::partition_types::{Sources, add_sources};

/// The most small manifests of a table; with one more, a commit merges them.
pub(crate) const SMALL_MANIFESTS_MAX: usize = 20;
/// A manifest of this size is not small, and stays as it is.
const SMALL_MANIFEST_BYTES: i64 = 8 << 20;

/// The manifests after a change.
pub(super) struct Changed {
    /// Those that stay, in order.
    pub(super) kept: Vec<ManifestFile>,
    /// The place of the new ones among them.
    pub(super) place: usize,
    /// The new ones, each with its entries in order.
    pub(super) new: Vec<(Sort, Vec<NewEntry>)>,
    /// What the replaced ones say of the columns that files are partitioned by.
    pub(super) sources: Sources,
}

/// What a manifest's entries have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) content: ManifestContentType,
    pub(super) spec_id: i32,
}

/// Replaced manifests.
#[derive(Default)]
struct Replaced {
    /// Their entries, each with what its manifest held.
    entries: Vec<(Sort, ManifestEntryRef)>,
    sources: Sources,
}

impl Replaced {
    fn add(&mut self, manifest: &ManifestFile, (entries, sources): (Vec<ManifestEntryRef>, Sources)) {
        let sort = Sort { content: manifest.content, spec_id: manifest.partition_spec_id };
        self.entries.extend(entries.into_iter().map(|entry| (sort, entry)));
        add_sources(&mut self.sources, sources);
    }
}

/// Plans the manifests of a commit that removes files and adds others.
///
/// # Errors
/// `Conflict` if a file to remove is none of the table's.
pub(super) async fn change_manifests(
    files: &MetadataFiles,
    manifests: &[ManifestFile],
    removed: &HashSet<String>,
    added: Vec<AddedFile>,
) -> Result<Changed> {
    let mut kept = manifests.to_vec();
    if added.is_empty() && removed.is_empty() {
        return Ok(Changed { place: kept.len(), kept, new: Vec::new(), sources: Sources::new() });
    }
    let (place, Replaced { entries, sources }) = take_replaced(files, &mut kept, removed).await?;
    Ok(Changed { kept, place, new: change_entries(entries, removed, added)?, sources })
}

/// Takes out the manifests to be replaced, and returns their place and their entries in order: those that name a removed
/// file; if there is none, all small ones once there are too many.
async fn take_replaced(
    files: &MetadataFiles,
    manifests: &mut Vec<ManifestFile>,
    removed: &HashSet<String>,
) -> Result<(usize, Replaced)> {
    let mut replaced = Replaced::default();
    if removed.is_empty() {
        for manifest in take_manifests_to_merge(manifests) {
            replaced.add(&manifest, files.entries_and_sources(&manifest).await.context("merge manifests")?);
        }
        return Ok((manifests.len(), replaced));
    }
    let (mut place, mut kept) = (None, Vec::new());
    for manifest in std::mem::take(manifests) {
        let read = files.entries_and_sources(&manifest).await.context("look for files that are replaced")?;
        if read.0.iter().any(|entry| removed.contains(entry.file_path())) {
            if manifest.content == ManifestContentType::Data {
                place.get_or_insert(kept.len());
            }
            replaced.add(&manifest, read);
        } else {
            kept.push(manifest);
        }
    }
    *manifests = kept;
    Ok((place.unwrap_or(manifests.len()), replaced))
}

/// The entries of new manifests: those of the replaced ones, with `added` in the place of removed files, or last.
fn change_entries(
    replaced: Vec<(Sort, ManifestEntryRef)>,
    removed: &HashSet<String>,
    mut added: Vec<AddedFile>,
) -> Result<Vec<(Sort, Vec<NewEntry>)>> {
    let mut new = Vec::new();
    let mut gone = 0;
    for (sort, entry) in replaced {
        if removed.contains(entry.file_path()) {
            gone += 1;
            if sort.content == ManifestContentType::Data {
                add(&mut new, std::mem::take(&mut added));
            }
            entries_of(&mut new, sort).push(NewEntry::Removed(entry));
        } else {
            entries_of(&mut new, sort).push(NewEntry::Existing(entry));
        }
    }
    if gone != removed.len() {
        return Err(Error::new(Kind::Conflict, "a file that was to be replaced is no longer in the table"));
    }
    add(&mut new, added);
    Ok(new)
}

fn add(new: &mut Vec<(Sort, Vec<NewEntry>)>, added: Vec<AddedFile>) {
    for AddedFile { file, spec_id } in added {
        let sort = Sort { content: ManifestContentType::Data, spec_id };
        entries_of(new, sort).push(NewEntry::Added(Box::new(file)));
    }
}

fn entries_of(new: &mut Vec<(Sort, Vec<NewEntry>)>, sort: Sort) -> &mut Vec<NewEntry> {
    let index = new.iter().position(|(other, _)| *other == sort).unwrap_or_else(|| {
        new.push((sort, Vec::new()));
        new.len() - 1
    });
    &mut new[index].1
}

/// All small manifests, once there are too many. The others stay in `manifests`, in order.
fn take_manifests_to_merge(manifests: &mut Vec<ManifestFile>) -> Vec<ManifestFile> {
    let is_small = |manifest: &ManifestFile| {
        manifest.content == ManifestContentType::Data && manifest.manifest_length < SMALL_MANIFEST_BYTES
    };
    if manifests.iter().filter(|manifest| is_small(manifest)).count() < SMALL_MANIFESTS_MAX {
        return Vec::new();
    }
    let (small, large) = std::mem::take(manifests).into_iter().partition(is_small);
    *manifests = large;
    small
}
