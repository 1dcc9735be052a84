//! What a scan reads, cut into contiguous runs: one for each partition of its plan.

use std::sync::Arc;

/// Cuts what is to be read into runs of the same length, and no more of them than the plan may have partitions.
pub(crate) fn runs_of<T: Clone>(items: &[T], partitions: usize) -> Arc<[Vec<T>]> {
    let per_run = items.len().div_ceil(partitions.max(1)).max(1);
    items.chunks(per_run).map(<[T]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::runs_of;

    #[test]
    fn there_are_no_more_runs_than_partitions() {
        assert_eq!(*runs_of(&[1, 2, 3, 4, 5], 2), [vec![1, 2, 3], vec![4, 5]]);
        assert_eq!(*runs_of(&[1, 2], 8), [vec![1], vec![2]]);
        assert_eq!(*runs_of(&[1, 2], 0), [vec![1, 2]]);
        assert!(runs_of::<u8>(&[], 4).is_empty());
    }
}
