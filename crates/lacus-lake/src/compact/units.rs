//! Row groups of files that are merged: in memory as they are in their file, and read column by column.
//!
//! Rows take a fraction of their memory while they are compressed. So a row group of the merged file is made of row groups that
//! are in memory whole, and of one of their columns at a time.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use lacus_core::{Context, Error, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::arrow::async_reader::ParquetObjectReader;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::decoded::{ROWS_OF_UNKNOWN_SIZE_MAX, rows_at_once};
use super::paged::WHOLE_BYTES_MAX;
use super::rewrite::store_or_parquet;
use crate::conform::{conform_array, is_same_column};
use crate::data_file::{ROW_GROUP_ROWS_MAX, parquet_error};
use crate::deletes::DeletedRows;
use crate::of_partition::{OfPartition, columns_of_partition, repeated};
use crate::store::store_error;
use crate::table::LiveFile;

/// Bytes of the columns of row groups that become one, and of their files' footers.
const BYTES_MAX: u64 = 8 << 20;

/// What the row groups of a file have in common.
struct Origin {
    path: String,
    file: ArrowReaderMetadata,
    /// What that takes in memory.
    footer_bytes: u64,
    /// Where it has the columns of the table, by their places in that.
    places: Vec<Option<usize>>,
    /// The column that each leaf is of.
    of_leaves: Vec<usize>,
    of_partition: OfPartition,
}

/// A row group of a file, or some rows of one that is larger than ours may be.
pub(super) struct Unit {
    origin: Arc<Origin>,
    number: usize,
    /// Those of its rows that are not deleted, and how many they are.
    kept: RowSelection,
    rows: usize,
    /// Where the columns that are read are in the file.
    ranges: Vec<Range<u64>>,
    chunks: Chunks,
}

/// Parts of a file that are in memory, in order.
#[derive(Clone)]
struct Chunks {
    parts: Arc<[(u64, Bytes)]>,
    file_bytes: u64,
}

/// The row groups of a file that have rows, cut where they have more than ours may have; for a table with these columns. Nothing of
/// them is in memory yet.
pub(super) async fn units_of(store: &Arc<dyn ObjectStore>, file: &LiveFile, schema: &SchemaRef) -> Result<Vec<Unit>> {
    let reader = ParquetObjectReader::new(Arc::clone(store), Path::from(file.path.as_str()));
    let opened =
        ArrowReaderMetadata::load_async(&mut reader.with_file_size(file.bytes), ArrowReaderOptions::default()).await;
    let opened = opened.map_err(|error| store_or_parquet(error, format!("read {}", file.path)))?;
    let origin = Arc::new(Origin::of(file, opened, schema)?);
    let leaves = origin.places.iter().flatten().map(|&column| origin.leaves(column));
    let leaves: Vec<usize> = leaves.flatten().collect();
    let (mut units, mut first_row) = (Vec::new(), 0);
    for (number, group) in origin.file.metadata().row_groups().iter().enumerate() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        if rows > file.rows - first_row {
            return Err(Error::corrupt(format!("{} has more rows than the {} of its manifest", file.path, file.rows)));
        }
        let ranges = leaves.iter().filter_map(|&leaf| group.columns().get(leaf)).map(|chunk| {
            let (start, length) = chunk.byte_range();
            start..start.saturating_add(length)
        });
        let mut ranges: Vec<Range<u64>> = ranges.collect();
        ranges.sort_unstable_by_key(|range| range.start);
        for first in (0..rows).step_by(ROW_GROUP_ROWS_MAX) {
            let kept = rows_from(&file.deleted, first_row, first, rows);
            let chunks = Chunks { parts: Arc::default(), file_bytes: file.bytes };
            let (rows, ranges) = (kept.row_count(), ranges.clone());
            units.push(Unit { origin: Arc::clone(&origin), number, kept, rows, ranges, chunks });
        }
        first_row += rows;
    }
    units.retain(|unit| unit.rows > 0);
    Ok(units)
}

/// The remaining ones of as many rows as ours may have, from the `first` of a row group's `rows` on. The row group begins at row
/// `begin` of the file.
fn rows_from(deleted: &DeletedRows, begin: u64, first: u64, rows: u64) -> RowSelection {
    let some = (rows - first).min(ROW_GROUP_ROWS_MAX as u64);
    let before = RowSelector::skip(usize::try_from(first).unwrap_or(usize::MAX));
    std::iter::once(before).chain(deleted.selection(begin + first, some).iter().copied()).collect()
}

/// Whether these become one row group, together with one more.
pub(super) fn fit(units: &[Unit], next: &Unit) -> bool {
    let all = || units.iter().chain([next]);
    let (rows, bytes) = (all().map(|unit| unit.rows).sum::<usize>(), all().map(Unit::bytes).sum::<u64>());
    // Those of one file follow each other.
    let files: Vec<&Unit> = all().collect();
    let footers = files.chunk_by(|a, b| Arc::ptr_eq(&a.origin, &b.origin)).map(|units| units[0].origin.footer_bytes);
    units.is_empty() || (rows <= ROW_GROUP_ROWS_MAX && bytes + footers.sum::<u64>() <= BYTES_MAX)
}

impl Origin {
    fn of(file: &LiveFile, opened: ArrowReaderMetadata, schema: &SchemaRef) -> Result<Self> {
        let (have, leaves) = (opened.schema().fields(), opened.parquet_schema());
        let place = |wanted: &FieldRef| have.iter().position(|have| is_same_column(have, wanted));
        Ok(Self {
            path: file.path.clone(),
            footer_bytes: opened.metadata().memory_size() as u64,
            places: schema.fields().iter().map(place).collect(),
            of_leaves: (0..leaves.num_columns()).map(|leaf| leaves.get_column_root_idx(leaf)).collect(),
            of_partition: columns_of_partition(file, opened.schema(), schema)?,
            file: opened,
        })
    }

    /// The leaves of one of its columns.
    fn leaves(&self, column: usize) -> Range<usize> {
        let from = self.of_leaves.partition_point(|of| *of < column);
        from..self.of_leaves.partition_point(|of| *of <= column)
    }

    /// The leaves that a part of one of its columns is read from.
    fn leaves_of(&self, column: usize, part: &Field) -> Range<usize> {
        let (have, all) = (self.file.schema().field(column), self.leaves(column));
        // Another engine may write a type of which it is not known here how many leaves it has.
        if leaf_count(have) == all.len() { leaves_of(part, have, all) } else { all }
    }
}

impl Unit {
    /// Whether its row group is too large to be in memory.
    pub(super) fn is_large(&self) -> bool {
        self.bytes() > WHOLE_BYTES_MAX
    }

    fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Reads it into memory.
    pub(super) async fn fetch(&mut self, store: &Arc<dyn ObjectStore>) -> Result<()> {
        let fetched = store.get_ranges(&Path::from(self.origin.path.as_str()), &self.ranges).await;
        let fetched = fetched.map_err(|error| store_error(error, format!("read {}", self.origin.path)))?;
        self.chunks.parts = self.ranges.iter().map(|range| range.start).zip(fetched).collect();
        Ok(())
    }

    /// Calls `each` with the values of the table's column in this place, or of a part of it that has nothing else around it; in
    /// order and in pieces. Where the file has no such column, its partition has the value of all rows, or they are null.
    ///
    /// # Errors
    /// If the column has fewer rows or more than the row group: rows must not come apart.
    pub(super) fn each(&self, place: usize, part: &Field, mut each: impl FnMut(&ArrayRef) -> Result<()>) -> Result<()> {
        let mut rows = 0;
        let counted = |values: &ArrayRef| {
            rows += values.len();
            each(values)
        };
        let read = match self.origin.places[place] {
            Some(column) => self.each_read(self.origin.leaves_of(column, part), part, counted),
            None => self.each_absent(part, counted),
        };
        let read = read.and_then(|()| if rows == self.rows { Ok(()) } else { Err(self.torn(part, rows)) });
        read.context(format!("read {}", self.origin.path))
    }

    fn torn(&self, part: &Field, rows: usize) -> Error {
        Error::corrupt(format!("column \"{}\" has {rows} of {} rows", part.name(), self.rows))
    }

    fn each_read(
        &self,
        leaves: Range<usize>,
        wanted: &Field,
        mut each: impl FnMut(&ArrayRef) -> Result<()>,
    ) -> Result<()> {
        let doing = || format!("decode column \"{}\"", wanted.name());
        let file = &self.origin.file;
        let group = file.metadata().row_group(self.number);
        let read = group.columns().get(leaves.clone()).unwrap_or_default();
        let rows = rows_at_once(group.num_rows(), read);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(self.chunks.clone(), file.clone())
            .with_projection(ProjectionMask::leaves(file.parquet_schema(), leaves))
            .with_row_groups(vec![self.number])
            .with_row_selection(self.kept.clone())
            .with_batch_size(rows)
            .build()
            .map_err(|error| parquet_error(error, &doing()))?;
        for values in reader {
            let values = values.map_err(|error| Error::internal(doing()).with_source(error))?;
            let read = values.columns().first().zip(values.schema_ref().fields().first());
            let (column, have) = read.ok_or_else(|| Error::internal(doing()))?;
            each(&conform_array(column, have, wanted)?)?;
        }
        Ok(())
    }

    fn each_absent(&self, wanted: &Field, mut each: impl FnMut(&ArrayRef) -> Result<()>) -> Result<()> {
        let of_partition = self.origin.of_partition.iter().find(|(column, _)| is_same_column(column, wanted));
        for first in (0..self.rows).step_by(ROWS_OF_UNKNOWN_SIZE_MAX) {
            let rows = ROWS_OF_UNKNOWN_SIZE_MAX.min(self.rows - first);
            match of_partition {
                Some((_, value)) => each(&repeated(value, rows)?)?,
                None => each(&new_null_array(wanted.data_type(), rows))?,
            }
        }
        Ok(())
    }

    /// Lets go of the bytes of the table's column in this place.
    pub(super) fn forget(&mut self, place: usize) {
        let Some(column) = self.origin.places[place] else { return };
        // Nobody reads any more.
        let Some(parts) = Arc::get_mut(&mut self.chunks.parts) else { return };
        let group = self.origin.file.metadata().row_group(self.number);
        for chunk in group.columns().get(self.origin.leaves(column)).unwrap_or_default() {
            let (start, _) = chunk.byte_range();
            if let Ok(part) = parts.binary_search_by_key(&start, |(first, _)| *first) {
                parts[part].1 = Bytes::new();
            }
        }
    }
}

/// The leaves that a part of a column is read from; `all` are those of the column.
fn leaves_of(part: &Field, have: &Field, all: Range<usize>) -> Range<usize> {
    let (DataType::Struct(fields), DataType::Struct(around)) = (have.data_type(), part.data_type()) else { return all };
    let [part] = &around[..] else { return all };
    let mut next = all.start;
    for field in fields {
        let leaves = next..next + leaf_count(field);
        if is_same_column(field, part) {
            return leaves_of(part, field, leaves);
        }
        next = leaves.end;
    }
    // Any leaf tells where the object is null.
    first_leaf(fields, all.start)
}

/// The first leaf within objects; all that a list or a map has.
fn first_leaf(fields: &Fields, next: usize) -> Range<usize> {
    match fields.first().map(|field| (field, field.data_type())) {
        Some((_, DataType::Struct(fields))) => first_leaf(fields, next),
        Some((field, _)) => next..next + leaf_count(field),
        None => next..next,
    }
}

fn leaf_count(field: &Field) -> usize {
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().map(|field| leaf_count(field)).sum(),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _)
        | DataType::Map(element, _) => leaf_count(element),
        _ => 1,
    }
}

impl Chunks {
    /// The bytes from `start` to the end of the part that has it.
    fn rest_from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let after = self.parts.partition_point(|(first, _)| *first <= start);
        let part = after.checked_sub(1).map(|at| &self.parts[at]);
        let rest = part.and_then(|(first, bytes)| {
            let skipped = usize::try_from(start - first).ok().filter(|skipped| *skipped <= bytes.len())?;
            Some(bytes.slice(skipped..))
        });
        rest.ok_or_else(|| ParquetError::EOF(format!("byte {start} belongs to no column that is read")))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

impl ChunkReader for Chunks {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.rest_from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let rest = self.rest_from(start)?;
        if length > rest.len() {
            return Err(ParquetError::EOF(format!("byte {start} is followed by fewer than {length} of its column")));
        }
        Ok(rest.slice(..length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Place, append, commit, nested, stream};

    /// The one row group of a file of a few rows, where its columns are.
    async fn unit(place: &Place) -> (Arc<dyn ObjectStore>, Unit) {
        let (lake, schema) = (place.open().await, nested());
        let table = lake.create_table(&stream().table(), schema.clone()).await.unwrap();
        append(&table, &schema, 0..50);
        commit(&lake, &[(&table, &schema)], 50).await.unwrap();
        let store = Arc::clone(&lake.inner().files.store);
        let file = table.state().files[0].clone();
        let unit = units_of(&store, &file, &schema.arrow()).await.unwrap().remove(0);
        (store, unit)
    }

    /// A file of one row group, of so many bytes.
    fn of_bytes(unit: &Unit, footer_bytes: u64, bytes: u64) -> Unit {
        let Origin { path, file, places, of_leaves, of_partition, .. } = unit.origin.as_ref();
        let (path, file, of_partition) = (path.clone(), file.clone(), of_partition.clone());
        let (places, of_leaves) = (places.clone(), of_leaves.clone());
        let origin = Arc::new(Origin { path, file, footer_bytes, places, of_leaves, of_partition });
        more_of(&Unit { origin, ..more_of(unit, 0) }, bytes)
    }

    /// One more row group of the same file.
    fn more_of(unit: &Unit, bytes: u64) -> Unit {
        let (origin, ranges) = (Arc::clone(&unit.origin), std::iter::once(0..bytes).collect());
        let (kept, chunks) = (unit.kept.clone(), unit.chunks.clone());
        Unit { origin, number: unit.number, kept, rows: unit.rows, ranges, chunks }
    }

    #[tokio::test]
    async fn row_groups_become_one_as_long_as_they_fit_in_memory() {
        let place = Place::new();
        let (_, unit) = unit(&place).await;
        assert!(unit.origin.footer_bytes > 1_000, "{} bytes for ten columns", unit.origin.footer_bytes);
        let of_bytes = |footer, bytes| of_bytes(&unit, footer, bytes);
        assert!(fit(&[of_bytes(0, BYTES_MAX / 2)], &of_bytes(0, BYTES_MAX / 2)));
        assert!(!fit(&[of_bytes(0, BYTES_MAX / 2)], &of_bytes(0, BYTES_MAX / 2 + 1)));
        assert!(fit(&[], &of_bytes(0, 10 * BYTES_MAX)), "one alone may be larger");
        // Footers take memory, too; that of one file once.
        assert!(fit(&[of_bytes(BYTES_MAX / 2, 0)], &of_bytes(BYTES_MAX / 2, 0)));
        assert!(!fit(&[of_bytes(BYTES_MAX / 2, 0)], &of_bytes(BYTES_MAX / 2, 1)));
        let first = of_bytes(BYTES_MAX / 2, 0);
        let (second, third) = (more_of(&first, BYTES_MAX / 4), more_of(&first, BYTES_MAX / 4));
        assert!(fit(&[first, second], &third));
    }

    #[tokio::test]
    async fn a_column_of_fewer_rows_than_its_row_group_is_refused() {
        let place = Place::new();
        let (store, mut unit) = unit(&place).await;
        unit.fetch(&store).await.unwrap();
        let (schema, read) = (nested().arrow(), |unit: &Unit, field| unit.each(0, field, |_| Ok(())));
        read(&unit, schema.field(0)).unwrap();
        unit.rows += 1;
        let error = read(&unit, schema.field(0)).unwrap_err();
        assert!(error.chain().contains("column \"n\" has 50 of 51 rows"), "{}", error.chain());
    }

    #[tokio::test]
    async fn a_column_that_was_forgotten_leaves_memory() {
        let place = Place::new();
        let (store, mut unit) = unit(&place).await;
        let in_memory = |unit: &Unit| unit.chunks.parts.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        assert_eq!(in_memory(&unit), 0);
        unit.fetch(&store).await.unwrap();
        assert_eq!(in_memory(&unit), unit.bytes());
        for (place, field) in nested().arrow().fields().iter().enumerate() {
            let (before, mut rows) = (in_memory(&unit), 0);
            unit.each(place, field, |values| {
                rows += values.len();
                Ok(())
            })
            .unwrap();
            unit.forget(place);
            assert!(rows == 50 && in_memory(&unit) < before, "column {}", field.name());
        }
        assert_eq!(in_memory(&unit), 0);
        assert!(unit.each(0, nested().arrow().field(0), |_| Ok(())).is_err(), "it is gone");
    }
}
