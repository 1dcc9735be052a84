//! Removed rows: found by their places in files, which are rewritten without them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use futures::stream::{self, StreamExt};
use lacus_core::{Error, Kind, Result};

use super::rows::NewRows;
use super::{RowPlace, stopped};
use crate::commit::FILES_AT_ONCE;
use crate::compact::rewrite::{Input, rewrite_unless};
use crate::compact::{UNSORTED, order_of};
use crate::data_file::FileForm;
use crate::kernel::{AddedFile, Names};
use crate::lake::{Inner, Lake};
use crate::schema::TableSchema;
use crate::table::{LiveFile, Table, TableState};

/// The rows of one file in order, without those that are deleted: the first one that is read is row 0 of a [`RowPlace`].
pub struct FileRows(Input);

impl FileRows {
    /// The next rows; none at the end.
    ///
    /// # Errors
    /// `Unavailable` when the store refuses; `Corrupt` when the file can't be read.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.0.next().await
    }

    /// What its columns have in the file, compressed: as much is read by the end.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }
}

impl Lake {
    /// Opens a file to read these columns of it, which are matched by field id.
    ///
    /// # Errors
    /// `Unavailable` when the store refuses; `Corrupt` when the file can't be read.
    pub async fn file_rows(&self, file: &LiveFile, schema: &SchemaRef) -> Result<FileRows> {
        Input::open(&self.shared_inner().files.store, file, schema).await.map(FileRows)
    }
}

/// Rows that go from a table in one state.
pub(super) struct Gone {
    state: Arc<TableState>,
    may_repeat: bool,
    /// By the number of the file: a bit for each of its rows.
    marks: BTreeMap<u32, Marks>,
    /// Rows that go.
    pub(super) count: u64,
}

/// A bit for each row of a file: an eighth of a byte, so that a statement may delete whatever a table has.
struct Marks {
    words: Vec<u64>,
    count: u64,
}

impl Gone {
    pub(super) fn new(state: Arc<TableState>, may_repeat: bool) -> Self {
        Self { state, may_repeat, marks: BTreeMap::new(), count: 0 }
    }

    /// Marks rows.
    pub(super) fn mark(&mut self, places: &[RowPlace]) -> Result<()> {
        for place in places {
            let file = self.state.files.get(place.file as usize);
            let rows = file.map(LiveFile::live_rows).filter(|rows| place.row < *rows);
            let rows = rows.ok_or_else(|| Error::internal("a row that goes is in no file"))?;
            let words = usize::try_from(rows.div_ceil(64)).unwrap_or(usize::MAX);
            let marks = self.marks.entry(place.file).or_insert_with(|| Marks { words: vec![0; words], count: 0 });
            if marks.set(place.row) {
                self.count += 1;
            } else if !self.may_repeat {
                return Err(Error::new(Kind::Invalid, "a row would be changed twice: more than one row matches it")
                    .with_hint("make the source have one row for each row that it matches"));
            }
        }
        Ok(())
    }

    /// The files that have rows that go.
    pub(super) fn files(&self) -> Vec<LiveFile> {
        self.marks.keys().map(|&number| self.state.files[number as usize].clone()).collect()
    }

    /// Writes each file that keeps some of its rows again with those.
    pub(super) async fn rewrite(
        &mut self,
        lake: &Arc<Inner>,
        rows: &mut NewRows,
        table: &Table,
        stop: &Arc<AtomicBool>,
    ) -> Result<()> {
        let names = Names::after(table.name(), &table.base().location);
        let (mut paths, mut rewriting) = (Vec::new(), Vec::new());
        for (number, marks) in &mut self.marks {
            let file = &self.state.files[*number as usize];
            if marks.count < file.live_rows() {
                let path = names.data(paths.len());
                let marks = Marks { words: std::mem::take(&mut marks.words), count: marks.count };
                rewriting.push(kept(lake, table, file, marks, path.clone(), stop));
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Ok(());
        }
        rows.record(lake, paths).await?;
        // Every write is awaited even when another one failed: a file must not appear after it was deleted.
        let written: Vec<_> = stream::iter(rewriting).buffered(FILES_AT_ONCE).collect().await;
        rows.added.extend(written.into_iter().collect::<Result<Vec<_>>>()?);
        Ok(())
    }
}

/// Writes the rows of a file that are not marked.
async fn kept(
    lake: &Arc<Inner>,
    table: &Table,
    file: &LiveFile,
    marks: Marks,
    path: String,
    stop: &Arc<AtomicBool>,
) -> Result<AddedFile> {
    let base = table.base();
    let schema = TableSchema::from_iceberg(base.metadata.current_schema(), base.metadata.last_column_id())?.arrow();
    let form = FileForm::of(&base.metadata, schema);
    let (left, mut first) = (file.live_rows() - marks.count, 0);
    let stays = move |batch: &RecordBatch| {
        let rows = first..first + batch.num_rows() as u64;
        first = rows.end;
        rows.map(|row| Some(!marks.get(row))).collect::<BooleanArray>()
    };
    let written = rewrite_unless(lake, file.clone(), form, &path, stays, Arc::clone(stop)).await?;
    let (footer, bytes) = written.ok_or_else(stopped)?;
    if footer.rows() != left {
        return Err(Error::corrupt(format!("{} has {} rows to keep instead of {left}", file.path, footer.rows())));
    }
    let (url, mut placement) = (lake.files.warehouse.url(&path), file.stats.placement.clone());
    // A column of the order may have been dropped.
    placement.sort_order = order_of(&base.metadata, &placement).map_or(UNSORTED, |_| placement.sort_order);
    footer.describe(bytes, url, base.metadata.current_schema(), placement)
}

impl Marks {
    /// Marks a row; whether it was not marked yet.
    fn set(&mut self, row: u64) -> bool {
        let (word, bit) = Self::place(row);
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    fn get(&self, row: u64) -> bool {
        let (word, bit) = Self::place(row);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    fn place(row: u64) -> (usize, u64) {
        (usize::try_from(row / 64).unwrap_or(usize::MAX), 1 << (row % 64))
    }
}
