//! One part: batches in memory, and files.

use std::sync::Arc;

use datafusion::arrow::array::types::{BinaryViewType, ByteViewType, StringViewType};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
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

/// Rows of some groups, all of them in the end.
pub(super) struct Part {
    schema: SchemaRef,
    /// Rows that are no whole batch yet.
    coming: BatchCoalescer,
    held: Vec<RecordBatch>,
    /// What those that are held take.
    memory: MemoryReservation,
    files: Vec<RefCountedTempFile>,
    /// Of all its rows, in memory and on disk.
    bytes_in_all: usize,
}

impl Part {
    /// Without any rows; what it holds is taken from `memory`, which has nothing yet.
    pub(super) fn new(schema: &SchemaRef, memory: MemoryReservation) -> Self {
        let coming = BatchCoalescer::new(Arc::clone(schema), BATCH_ROWS);
        Self { schema: Arc::clone(schema), coming, held: Vec::new(), memory, files: Vec::new(), bytes_in_all: 0 }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.memory.size()
    }

    /// What its rows take in memory when all of them are there.
    pub(super) fn bytes_in_all(&self) -> usize {
        self.bytes_in_all
    }

    /// Adds rows, which [`Self::next_batch`] gives when they are a batch.
    pub(super) fn push(&mut self, rows: RecordBatch) -> Result<()> {
        Ok(self.coming.push_batch(rows)?)
    }

    /// There are no more rows: what came is a batch.
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
    pub(super) fn hold_again(&mut self, groups: Vec<RecordBatch>, before: &[RecordBatch]) {
        let (bytes, bytes_before) = (bytes_of(&groups), bytes_of(before));
        self.memory.grow(bytes);
        self.bytes_in_all = (self.bytes_in_all + bytes).saturating_sub(bytes_before);
        self.held.extend(groups);
    }

    /// Takes what is held from it, with the memory for that.
    pub(super) fn take(&mut self) -> (Vec<RecordBatch>, MemoryReservation) {
        (std::mem::take(&mut self.held), self.memory.take())
    }

    /// Puts batches on disk.
    pub(super) fn write(&mut self, batches: &[RecordBatch], spills: &SpillManager) -> Result<()> {
        self.files.extend(spills.spill_record_batch_and_finish(batches, "the rows of groups")?);
        Ok(())
    }

    /// All its rows; memory is given back as they go.
    pub(super) fn rows(self, spills: &SpillManager) -> SendableRecordBatchStream {
        let memory = self.memory;
        let held = self.held.into_iter().map(move |batch| {
            memory.shrink(get_record_batch_memory_size(&batch));
            Ok(batch)
        });
        let spills = spills.clone();
        let files = self.files.into_iter().map(move |file| spills.read_spill_as_stream(file, None));
        rows(&self.schema, stream::iter(held).chain(stream::iter(files).try_flatten()))
    }
}

fn bytes_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(get_record_batch_memory_size).sum()
}

/// Batches as rows of a part.
pub(super) fn rows(
    schema: &SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    Box::pin(cooperative(RecordBatchStreamAdapter::new(Arc::clone(schema), batches.boxed())))
}

/// The same rows, with no more of the bytes of their texts than they show: buffers are made larger than what comes into them.
fn without_waste(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => compact::<StringViewType>(column),
        DataType::BinaryView => compact::<BinaryViewType>(column),
        _ => Arc::clone(column),
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
}

fn compact<T: ByteViewType>(column: &ArrayRef) -> ArrayRef {
    Arc::new(column.as_byte_view::<T>().gc())
}
