//! The summary of a snapshot: its operation, and how many files, rows and bytes were added, removed and are there in total.

use std::collections::HashSet;

use iceberg::spec::{DataFile, ManifestContentType, Operation, Struct, Summary, TableMetadata};
use lacus_core::{Error, Result};

use super::entries::Sort;
use super::{ENGINE_NAME, OUR_ENGINE};

/// Files, rows and bytes that are added and removed.
#[derive(Default)]
pub(super) struct Counted {
    added: [u64; 3],
    removed: [u64; 3],
    /// Delete files, and the rows in them.
    removed_deletes: [u64; 2],
    partitions: HashSet<(i32, Struct)>,
}

impl Counted {
    /// A data file that is added.
    pub(super) fn add(&mut self, spec_id: i32, file: &DataFile) {
        count(&mut self.added, file);
        self.partitions.insert((spec_id, file.partition().clone()));
    }

    /// A file that is removed.
    pub(super) fn remove(&mut self, sort: Sort, file: &DataFile) {
        match sort.content {
            ManifestContentType::Data => count(&mut self.removed, file),
            ManifestContentType::Deletes => count(&mut self.removed_deletes, file),
        }
        self.partitions.insert((sort.spec_id, file.partition().clone()));
    }

    /// An operation tells readers what they need not read, so it must be right.
    fn must_be(&self, operation: &Operation) -> Result<()> {
        let ([added, rows, _], [removed, rows_before, _]) = (self.added, self.removed);
        let is_true = match operation {
            Operation::Append => removed == 0,
            // Rows that were deleted by position are left out.
            Operation::Replace => rows <= rows_before,
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

fn count(sums: &mut [u64], file: &DataFile) {
    let numbers = [1, file.record_count(), file.file_size_in_bytes()];
    sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
}

/// The summary of a snapshot, under the names of Iceberg's specification (appendix F).
///
/// # Errors
/// If the change is not what `operation` says.
pub(super) fn summary(metadata: &TableMetadata, operation: Operation, counted: &Counted) -> Result<Summary> {
    counted.must_be(&operation)?;
    let mut numbers = vec![("changed-partition-count", counted.partitions.len() as u64)];
    let [files, rows] = counted.removed_deletes;
    if files > 0 {
        numbers.extend([("removed-delete-files", files), ("removed-position-deletes", rows)]);
    }
    let less = [("total-delete-files", files), ("total-position-deletes", rows), ("total-equality-deletes", 0)];
    for (total, less) in less {
        numbers.extend(total_before(metadata, total).map(|before| (total, before.saturating_sub(less))));
    }
    let names = [
        ("added-data-files", "deleted-data-files", "total-data-files"),
        ("added-records", "deleted-records", "total-records"),
        ("added-files-size", "removed-files-size", "total-files-size"),
    ];
    for (index, (added, removed, total)) in names.into_iter().enumerate() {
        let (more, less) = (counted.added[index], counted.removed[index]);
        numbers.push((added, more));
        numbers.extend(total_before(metadata, total).map(|before| (total, (before + more).saturating_sub(less))));
        if counted.removed[0] > 0 {
            numbers.push((removed, less));
        }
    }
    let numbers = numbers.into_iter().map(|(key, number)| (key.to_owned(), number.to_string()));
    let additional_properties = numbers.chain([(ENGINE_NAME.to_owned(), OUR_ENGINE.to_owned())]).collect();
    Ok(Summary { operation, additional_properties })
}

/// A total of the current snapshot. None if it is not stated: engines need not.
pub(crate) fn total_before(metadata: &TableMetadata, total: &str) -> Option<u64> {
    let Some(snapshot) = metadata.current_snapshot() else { return Some(0) };
    snapshot.summary().additional_properties.get(total)?.parse().ok()
}
