//! The files of an external table on their way to be rows: one after the other in each partition of the plan.
//!
//! Each file is read as `COPY` reads it, piece by piece, by a task that ends with its reader; and once it was read to its end, it
//! must still be the file that was found. What is read and not taken yet is memory of the statement.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result, ScalarValue, Statistics};
use datafusion::datasource::source::DataSource;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, Partitioning};
use futures::stream;
use lacus_core::{Kind, TableName};
use lacus_lake::{OutsideFile, Piece, READERS_MAX, Readers, TableSchema};
use tokio::sync::{mpsc, oneshot};

use super::definition::Definition;
use super::listing::Listing;
use crate::answer::StopOnDrop;
use crate::cost::BYTES_SCANNED;
use crate::error::{SqlError, external};
use crate::files::columns::Columns;
use crate::files::options::{Form, How};
use crate::files::source::{Input, Outlet, bytes_of, read_input};
use crate::files::writer::of_lake;
use crate::runs::runs_of;

/// Pieces of a file that wait to be read.
const PIECES_AHEAD: usize = 2;

/// Where a column of an answer is.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// A column read from files, by its place among those.
    File(usize),
    /// A column of folders, by its place among those.
    Folder(usize),
}

/// Some files of an external table, with some of its columns.
#[derive(Clone)]
pub(super) struct FilesSource {
    how: How,
    inputs: Arc<Vec<Input>>,
    folders: Arc<[ArrayRef]>,
    /// The files of each partition of the plan, by index: read one after the other.
    runs: Arc<[Vec<usize>]>,
    /// What is read of each file.
    columns: Arc<Columns>,
    decoded: Arc<TableSchema>,
    places: Arc<[Place]>,
    schema: SchemaRef,
    readers: Readers,
    metrics: ExecutionPlanMetricsSet,
}

impl FilesSource {
    /// These files of a listing, with the columns of `schema`.
    pub(super) fn new(
        name: &TableName,
        definition: &Definition,
        listing: &Listing,
        files: &[usize],
        schema: SchemaRef,
        projection: Option<&Vec<usize>>,
        partitions: usize,
    ) -> Result<Self> {
        let of_files = definition.columns.columns.len();
        let wanted = projection.cloned().unwrap_or_else(|| (0..definition.schema.fields().len()).collect());
        // Of Parquet only the requested columns are read, of lines all.
        let read: Vec<usize> = match definition.how.form {
            Form::Parquet => wanted.iter().copied().filter(|&column| column < of_files).collect(),
            _ => (0..of_files).collect(),
        };
        let place = |column: usize| match read.iter().position(|&read| read == column) {
            Some(place) => Place::File(place),
            None => Place::Folder(column - of_files),
        };
        Ok(Self {
            how: definition.how.clone(),
            inputs: Arc::clone(&listing.inputs),
            folders: Arc::clone(&listing.values),
            runs: runs_of(files, partitions),
            columns: Arc::new(Columns::all(name, Arc::new(definition.schema.project(&read)?))),
            decoded: Arc::clone(&definition.columns),
            places: wanted.into_iter().map(place).collect(),
            schema,
            readers: listing.readers.clone(),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// Begins to read a file.
    fn begin(&self, index: usize, partition: usize, memory: &Arc<MemoryReservation>) -> Open {
        let (send, pieces) = mpsc::channel(PIECES_AHEAD);
        let out = Outlet::counted(send, Arc::clone(memory));
        let (tell, ended) = oneshot::channel();
        if let Input::File(file) = &self.inputs[index] {
            // Whole files are counted: how much of one will be read is not known.
            let metric = MetricBuilder::new(&self.metrics).with_new_label("filename", file.name.clone());
            metric.counter(BYTES_SCANNED, partition).add(usize::try_from(file.bytes).unwrap_or(usize::MAX));
        }
        let source = self.clone();
        let task = StopOnDrop(tokio::spawn(async move {
            let read = source.read(index, &out).await;
            // Nobody listens once the answer is dropped.
            let _gone = tell.send(read);
        }));
        Open { file: index, pieces, ended, _task: task }
    }

    async fn read(&self, index: usize, out: &Outlet) -> Result<(), SqlError> {
        let Some(_turn) = self.readers.turn() else { return Err(too_many()) };
        let read = read_input(&self.how, &self.inputs, index, &self.columns, &self.decoded, out).await;
        let Input::File(file) = &self.inputs[index] else { return read };
        read.map_err(|error| naming(error, file))?;
        file.must_be_unchanged().await.map_err(of_lake)
    }

    /// The rows of a file, with the columns of the answer.
    fn answer(&self, rows: &RecordBatch, file: usize) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let mut columns = Vec::with_capacity(self.places.len());
        for place in self.places.iter() {
            columns.push(match *place {
                Place::File(column) => Arc::clone(rows.column(column)),
                Place::Folder(column) => {
                    ScalarValue::try_from_array(&self.folders[column], file)?.to_array_of_size(count)?
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// An error about a file, with its name.
fn naming(error: SqlError, file: &OutsideFile) -> SqlError {
    if error.message().contains(&file.name) {
        return error;
    }
    let named = SqlError::new(error.kind(), error.sqlstate(), format!("{}: {}", file.name, error.message()));
    match (error.sqlstate(), error.hint()) {
        ("42804", _) => named.with_hint("make the table with the type that the files have"),
        (_, Some(hint)) => named.with_hint(hint),
        _ => named,
    }
    .with_source(error)
}

/// A file that is being read.
struct Open {
    file: usize,
    pieces: mpsc::Receiver<Piece>,
    ended: oneshot::Receiver<Result<(), SqlError>>,
    _task: StopOnDrop,
}

/// A run of files that is being read.
struct Reading {
    source: FilesSource,
    partition: usize,
    left: std::vec::IntoIter<usize>,
    open: Option<Open>,
    memory: Arc<MemoryReservation>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(open) = &mut self.open else {
                let Some(file) = self.left.next() else { return Ok(None) };
                self.open = Some(self.source.begin(file, self.partition, &self.memory));
                continue;
            };
            match open.pieces.recv().await {
                Some(Piece::Added(rows)) => {
                    self.memory.shrink(bytes_of(&rows));
                    return self.source.answer(&rows, open.file).map(Some);
                }
                Some(_) => {}
                None => {
                    let ended = (&mut open.ended).await;
                    let ended = ended.unwrap_or_else(|_| Err(unexpected()));
                    ended.map_err(external)?;
                    self.open = None;
                }
            }
        }
    }
}

fn too_many() -> SqlError {
    let message = format!("{READERS_MAX} files of external tables are being read, and no more are at once");
    SqlError::new(Kind::Limited, "53300", message).with_hint("try again when other questions have ended; CLOSE cursors")
}

fn unexpected() -> SqlError {
    SqlError::new(Kind::Internal, "XX000", "reading a file ended unexpectedly")
}

impl DataSource for FilesSource {
    fn open(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let left = self.runs.get(partition).cloned().unwrap_or_default().into_iter();
        let memory = Arc::new(MemoryConsumer::new("files of an external table").register(context.memory_pool()));
        let reading = Reading { source: self.clone(), partition, left, open: None, memory };
        let batches = stream::try_unfold(reading, |mut reading| async move {
            Ok::<_, DataFusionError>(reading.next().await?.map(|batch| (batch, reading)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "external table: {} files", self.runs.iter().map(Vec::len).sum::<usize>())
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.runs.len())
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(Arc::clone(&self.schema))
    }

    fn partition_statistics(&self, _partition: Option<usize>) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(&self.schema)))
    }

    fn with_fetch(&self, _limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        None
    }

    fn fetch(&self) -> Option<usize> {
        None
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(&self, _projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        Ok(None)
    }
}

impl fmt::Debug for FilesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilesSource")
    }
}
