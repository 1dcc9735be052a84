//! Merging sorted files: of all their next rows, the first in order comes first.
//!
//! In memory are one batch of each file, and the batches that the rows of the next batch are taken from: a few megabytes for each,
//! however large their rows are. Of rows that are equal in order, those of the earlier file come first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::row::{OwnedRow, RowConverter, Rows};
use iceberg::spec::SortOrderRef;
use lacus_core::{Error, Result};

use super::rewrite::Input;
use crate::arrange::sort_keys;

/// A merge that goes on.
pub(super) struct Merging {
    inputs: Vec<Cursor>,
    order: SortOrderRef,
    converter: Option<RowConverter>,
    /// The next row of each file that has one.
    next: BinaryHeap<Reverse<(OwnedRow, usize)>>,
}

/// A place in a file.
struct Cursor {
    input: Input,
    rows: RecordBatch,
    keys: Rows,
    row: usize,
    /// What a row takes in memory, on average.
    row_bytes: usize,
}

impl Merging {
    pub(super) async fn begin(inputs: Vec<Input>, order: SortOrderRef) -> Result<Self> {
        let mut merging = Self { inputs: Vec::new(), order, converter: None, next: BinaryHeap::new() };
        for mut input in inputs {
            let Some(rows) = next_rows(&mut input).await? else { continue };
            let keys = sort_keys(&mut merging.converter, &rows, &merging.order)?;
            merging.next.push(Reverse((keys.row(0).owned(), merging.inputs.len())));
            let row_bytes = row_bytes(&rows);
            merging.inputs.push(Cursor { input, rows, keys, row: 0, row_bytes });
        }
        Ok(merging)
    }

    /// The next rows, at most this many and few more than these bytes; none at the end.
    pub(super) async fn next(&mut self, rows_max: usize, bytes_max: usize) -> Result<Option<RecordBatch>> {
        // The batches that this one takes rows from, and the current one of each file.
        let mut batches: Vec<RecordBatch> = self.inputs.iter().map(|cursor| cursor.rows.clone()).collect();
        let mut current: Vec<usize> = (0..batches.len()).collect();
        let (mut taken, mut bytes) = (Vec::with_capacity(rows_max), 0);
        while taken.len() < rows_max && bytes < bytes_max {
            let Some(Reverse((_, file))) = self.next.pop() else { break };
            let cursor = &mut self.inputs[file];
            taken.push((current[file], cursor.row));
            bytes += cursor.row_bytes;
            cursor.row += 1;
            if cursor.row == cursor.rows.num_rows() {
                let Some(rows) = next_rows(&mut cursor.input).await? else { continue };
                cursor.keys = sort_keys(&mut self.converter, &rows, &self.order)?;
                current[file] = batches.len();
                batches.push(rows.clone());
                (cursor.row_bytes, cursor.rows, cursor.row) = (row_bytes(&rows), rows, 0);
            }
            self.next.push(Reverse((cursor.keys.row(cursor.row).owned(), file)));
        }
        if taken.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        let merged = interleave_record_batch(&batches, &taken);
        merged.map(Some).map_err(|error| Error::internal("merge sorted rows").with_source(error))
    }
}

fn row_bytes(rows: &RecordBatch) -> usize {
    rows.get_array_memory_size() / rows.num_rows().max(1)
}

async fn next_rows(input: &mut Input) -> Result<Option<RecordBatch>> {
    while let Some(rows) = input.next().await? {
        if rows.num_rows() > 0 {
            return Ok(Some(rows));
        }
    }
    Ok(None)
}
