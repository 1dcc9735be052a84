//! One part: batches in memory, and files.

use std::sync::Arc;

use datafusion::arrow::array::types::{BinaryViewType, ByteViewType, StringViewType};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StructArray};
use datafusion::arrow::compute::BatchCoalescer;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::RefCountedTempFile;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::spill::{SpillManager, get_record_batch_memory_size};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt, TryStreamExt, stream};

/// Rows that are put together.
const BATCH_ROWS: usize = 2048;

/// A file that is being written: takes a batch, or, given none, is whole.
type Writing = Box<dyn FnMut(Option<&RecordBatch>) -> Result<Option<RefCountedTempFile>> + Send>;

/// Rows of some groups, all of them in the end.
pub(super) struct Part {
    schema: SchemaRef,
    /// Rows that are no whole batch yet.
    coming: BatchCoalescer,
    held: Vec<RecordBatch>,
    /// How many of those that are held are groups already.
    groups_held: usize,
    /// What those that are held take.
    memory: MemoryReservation,
    file: Option<Writing>,
    /// Of all its rows, in memory and on disk.
    bytes_in_all: usize,
}

impl Part {
    /// Without any rows; what it holds is taken from `memory`, which has nothing yet.
    pub(super) fn new(schema: &SchemaRef, memory: MemoryReservation) -> Self {
        let coming = BatchCoalescer::new(Arc::clone(schema), BATCH_ROWS);
        let schema = Arc::clone(schema);
        Self { schema, coming, held: Vec::new(), groups_held: 0, memory, file: None, bytes_in_all: 0 }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.memory.size()
    }

    /// What its rows take in memory when all of them are there.
    pub(super) fn bytes_in_all(&self) -> usize {
        self.bytes_in_all
    }

    /// Whether rows came that may be of the groups that are held.
    pub(super) fn has_new_rows(&self) -> bool {
        rows_of(&self.held) >= 2 * self.groups_held
    }

    /// Adds rows, which [`Self::next_batch`] gives when they are a batch.
    pub(super) fn push(&mut self, rows: RecordBatch) -> Result<()> {
        Ok(self.coming.push_batch(rows)?)
    }

    /// What came is a batch, however few rows it has.
    pub(super) fn end(&mut self) -> Result<()> {
        Ok(self.coming.finish_buffered_batch()?)
    }

    /// A batch that is not held yet.
    pub(super) fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        self.coming.next_completed_batch().map(|batch| without_waste(&batch)).transpose()
    }

    /// Counts a batch of so many bytes in.
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes_in_all += bytes;
    }

    /// Holds a batch of so many bytes in memory if there is room for it.
    pub(super) fn try_hold(&mut self, batch: &RecordBatch, bytes: usize) -> bool {
        let has_room = self.memory.try_grow(bytes).is_ok();
        if has_room {
            self.held.push(batch.clone());
        }
        has_room
    }

    /// Holds the groups of what was held `before`, which take less.
    pub(super) fn hold_groups(&mut self, groups: Vec<RecordBatch>, before: &[RecordBatch]) {
        let bytes = bytes_of(&groups);
        self.memory.grow(bytes);
        self.bytes_in_all = (self.bytes_in_all + bytes).saturating_sub(bytes_of(before));
        self.groups_held = rows_of(&groups);
        self.held.extend(groups);
    }

    /// Takes what is held from it, with the memory for that.
    pub(super) fn take(&mut self) -> (Vec<RecordBatch>, MemoryReservation) {
        self.groups_held = 0;
        (std::mem::take(&mut self.held), self.memory.take())
    }

    /// Puts batches on disk.
    pub(super) fn write(&mut self, batches: &[RecordBatch], spills: &SpillManager) -> Result<()> {
        let write = match &mut self.file {
            Some(write) => write,
            None => {
                let mut file = spills.create_in_progress_file("the rows of groups")?;
                self.file.insert(Box::new(move |batch| match batch {
                    Some(batch) => file.append_batch(batch).map(|_| None),
                    None => file.finish(),
                }))
            }
        };
        for batch in batches {
            write(Some(batch))?;
        }
        Ok(())
    }

    /// All its rows, those on disk first, as they came first; memory is given back as they go.
    pub(super) fn rows(mut self, spills: &SpillManager) -> Result<SendableRecordBatchStream> {
        let memory = self.memory;
        let held = self.held.into_iter().map(move |batch| {
            memory.shrink(get_record_batch_memory_size(&batch));
            Ok(batch)
        });
        let file = self.file.as_mut().map(|whole| whole(None)).transpose()?.flatten();
        let spills = spills.clone();
        let on_disk = file.into_iter().map(move |file| spills.read_spill_as_stream(file, None));
        Ok(rows(&self.schema, stream::iter(on_disk).try_flatten().chain(stream::iter(held))))
    }
}

fn bytes_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(get_record_batch_memory_size).sum()
}

pub(super) fn rows_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// Batches as rows of a part.
pub(super) fn rows(
    schema: &SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    Box::pin(cooperative(RecordBatchStreamAdapter::new(Arc::clone(schema), batches.boxed())))
}

/// Bytes of the rows of a batch, without those of its buffers that belong to other rows. What is nested is counted whole.
pub(crate) fn bytes_shown(batch: &RecordBatch) -> usize {
    let shown = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8View => bytes_of_views::<StringViewType>(column),
        DataType::BinaryView => bytes_of_views::<BinaryViewType>(column),
        kind if kind.is_nested() => column.get_array_memory_size(),
        _ => column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()),
    };
    batch.columns().iter().map(shown).sum()
}

fn bytes_of_views<T: ByteViewType>(column: &ArrayRef) -> usize {
    let views = column.as_byte_view::<T>();
    size_of_val::<[u128]>(views.views()) + views.total_buffer_bytes_used()
}

/// The same rows, with no more of the bytes of their texts than they show: buffers are made larger than what comes into them, and
/// are those of many rows.
pub(crate) fn without_waste(batch: &RecordBatch) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(batch.schema(), batch.columns().iter().map(compact).collect())?)
}

/// The same of columns with texts in them, where it costs to carry the buffers on.
pub(super) fn without_waste_within(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View | DataType::BinaryView => Arc::clone(column),
        _ => compact(column),
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
}

fn compact(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_byte_view::<StringViewType>().gc()),
        DataType::BinaryView => Arc::new(column.as_byte_view::<BinaryViewType>().gc()),
        DataType::List(_) => {
            let (field, offsets, values, nulls) = column.as_list::<i32>().clone().into_parts();
            Arc::new(ListArray::new(field, offsets, compact(&values), nulls))
        }
        DataType::Struct(_) if !column.is_empty() => {
            let (fields, columns, nulls) = column.as_struct().clone().into_parts();
            Arc::new(StructArray::new(fields, columns.iter().map(compact).collect(), nulls))
        }
        _ => Arc::clone(column),
    }
}
