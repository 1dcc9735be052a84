//! What a snapshot says about itself: its operation, and the files, rows and bytes that came, went and are there.

use std::collections::HashSet;

use iceberg::spec::{Operation, Struct, Summary, TableMetadata};
use lacus_core::{Error, Result};

use crate::manifests::NewEntry;

/// Files, rows and bytes that come and go.
#[derive(Default)]
struct Counted<'a> {
    added: [u64; 3],
    removed: [u64; 3],
    partitions: HashSet<(i32, &'a Struct)>,
}

impl<'a> Counted<'a> {
    fn of(new: &'a [(i32, Vec<NewEntry>)]) -> Self {
        let mut counted = Self::default();
        for (spec_id, entry) in new.iter().flat_map(|(spec, entries)| entries.iter().map(move |entry| (*spec, entry))) {
            let (sums, file) = match entry {
                NewEntry::Existing(_) => continue,
                NewEntry::Added(file) => (&mut counted.added, file.as_ref()),
                NewEntry::Removed(entry) => (&mut counted.removed, entry.data_file()),
            };
            let numbers = [1, file.record_count(), file.file_size_in_bytes()];
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
            counted.partitions.insert((spec_id, file.partition()));
        }
        counted
    }

    /// An operation tells readers what they need not look at, so it must be true.
    fn must_be(&self, operation: &Operation) -> Result<()> {
        let ([added, rows, _], [removed, rows_before, _]) = (self.added, self.removed);
        let is_true = match operation {
            Operation::Append => removed == 0,
            Operation::Replace => rows == rows_before,
            Operation::Overwrite => true,
            Operation::Delete => added == 0,
        };
        if is_true {
            return Ok(());
        }
        Err(Error::internal(format!(
            "{} is no true name for {added} files with {rows} rows in place of {removed} with {rows_before}",
            operation.as_str()
        )))
    }
}

/// The summary of a snapshot, with the names that Iceberg's specification gives the numbers (appendix F).
///
/// # Errors
/// If the change is not what `operation` says.
pub(super) fn summary(metadata: &TableMetadata, operation: Operation, new: &[(i32, Vec<NewEntry>)]) -> Result<Summary> {
    let counted = Counted::of(new);
    counted.must_be(&operation)?;
    let before = metadata.current_snapshot().map(|snapshot| &snapshot.summary().additional_properties);
    let before = |key: &str| before.and_then(|summary| summary.get(key)?.parse::<u64>().ok()).unwrap_or(0);
    let mut numbers = vec![
        ("changed-partition-count", counted.partitions.len() as u64),
        ("total-delete-files", 0),
        ("total-position-deletes", 0),
        ("total-equality-deletes", 0),
    ];
    let names = [
        ("added-data-files", "deleted-data-files", "total-data-files"),
        ("added-records", "deleted-records", "total-records"),
        ("added-files-size", "removed-files-size", "total-files-size"),
    ];
    for (index, (added, removed, total)) in names.into_iter().enumerate() {
        let (more, less) = (counted.added[index], counted.removed[index]);
        numbers.extend([(added, more), (total, (before(total) + more).saturating_sub(less))]);
        if counted.removed[0] > 0 {
            numbers.push((removed, less));
        }
    }
    let additional_properties = numbers.into_iter().map(|(key, number)| (key.to_owned(), number.to_string())).collect();
    Ok(Summary { operation, additional_properties })
}
