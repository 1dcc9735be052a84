//! For tests: schemas, rows of any schema, lakes in temporary directories, and a store whose writes can be made to fail.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type};
use async_trait::async_trait;
use futures::stream::BoxStream;
use lacus_core::{Offset, Offsets, Partition, Position, Record, Result, StreamName, SystemClock, Timestamp};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

use crate::bloom_filters::BloomFilters;
use crate::catalog::{CatalogPlace, catalog_file};
use crate::data_file::FileForm;
use crate::schema::{OFFSET, PARTITION, RESCUED};
use crate::store::DurableDirectory;
use crate::warehouse::Warehouse;
use crate::{
    Column, ColumnType, Commit, CommitReport, Lake, RawFile, RawWriter, Table, TableAppend, TableSchema, TailBatch,
};

/// A committed column.
pub(crate) fn column(id: i32, name: &str, kind: ColumnType) -> Column {
    Column::new(id, name, kind)
}

/// A schema of these columns; ids are up to the caller.
pub(crate) fn schema(columns: Vec<Column>) -> TableSchema {
    fn last(columns: &[Column]) -> i32 {
        let below = |column: &Column| last(&column.kind.children().into_iter().cloned().collect::<Vec<_>>());
        columns.iter().map(|column| column.id.max(below(column))).max().unwrap_or(4)
    }
    TableSchema { last_id: last(&columns), columns, ..TableSchema::empty() }
}

/// One column `n`, a whole number.
pub(crate) fn numbers() -> TableSchema {
    schema(vec![column(5, "n", ColumnType::Long)])
}

/// Every type there is, two deep.
pub(crate) fn nested() -> TableSchema {
    let fields = vec![
        column(7, "name", ColumnType::Text),
        column(8, "tags", ColumnType::List(Box::new(column(9, "element", ColumnType::Text)))),
    ];
    let item = vec![column(12, "price", ColumnType::Double), column(13, "sold", ColumnType::Boolean)];
    let items = ColumnType::List(Box::new(column(11, "element", ColumnType::Struct(item))));
    schema(vec![
        column(5, "n", ColumnType::Long),
        column(6, "user", ColumnType::Struct(fields)),
        column(10, "items", items),
        column(14, "bytes", ColumnType::Binary),
    ])
}

/// The same with more fields, at every depth.
pub(crate) fn nested_more() -> TableSchema {
    let mut schema = nested();
    if let ColumnType::Struct(fields) = &mut schema.columns[1].kind {
        fields.push(column(15, "age", ColumnType::Long));
    }
    if let ColumnType::List(element) = &mut schema.columns[2].kind
        && let ColumnType::Struct(fields) = &mut element.kind
    {
        fields.push(column(16, "sizes", ColumnType::List(Box::new(column(17, "element", ColumnType::Long)))));
    }
    schema.columns.push(column(18, "ok", ColumnType::Boolean));
    schema.last_id = 18;
    schema
}

/// A file of these columns.
pub(crate) fn plain(schema: &TableSchema) -> FileForm {
    FileForm { schema: schema.arrow(), filters: BloomFilters::default() }
}

/// Rows with these offsets of a partition; every value is made from its row's offset, some are null.
pub(crate) fn rows(schema: &TableSchema, partition: u32, offsets: Range<u64>) -> RecordBatch {
    let arrow = schema.arrow();
    let offsets: Vec<i64> = offsets.map(u64::cast_signed).collect();
    let column = |field: &Arc<Field>| -> ArrayRef {
        match field.name().as_str() {
            PARTITION => Arc::new(Int32Array::from_value(partition.cast_signed(), offsets.len())),
            RESCUED => Arc::new(StringArray::new_null(offsets.len())),
            _ => values(field, &offsets),
        }
    };
    let columns = arrow.fields().iter().map(column).collect();
    RecordBatch::try_new(arrow, columns).unwrap()
}

/// One value per seed. Seeds divisible by 7 give null, except for integers.
fn values(field: &Field, seeds: &[i64]) -> ArrayRef {
    let some = |seed: &&i64| **seed % 7 != 0;
    match field.data_type() {
        DataType::Int64 => Arc::new(Int64Array::from(seeds.to_vec())),
        DataType::Boolean => Arc::new(
            seeds.iter().map(|seed| Some(seed).filter(some).map(|seed| seed % 2 == 0)).collect::<BooleanArray>(),
        ),
        DataType::Float64 => Arc::new(
            seeds.iter().map(|seed| Some(seed).filter(some).map(|&seed| seed as f64 / 4.0)).collect::<Float64Array>(),
        ),
        DataType::Utf8 => Arc::new(
            seeds
                .iter()
                .map(|seed| Some(seed).filter(some).map(|seed| format!("text of {seed}")))
                .collect::<StringArray>(),
        ),
        DataType::Date32 => Arc::new(seeds.iter().map(|seed| i32::try_from(*seed).ok()).collect::<Date32Array>()),
        DataType::Binary => Arc::new(
            seeds.iter().map(|seed| Some(seed).filter(some).map(|seed| seed.to_le_bytes())).collect::<BinaryArray>(),
        ),
        DataType::Timestamp(..) => {
            let times = seeds.iter().map(|seed| 1_700_000_000_000_000 + seed).collect::<Vec<_>>();
            Arc::new(TimestampMicrosecondArray::from(times).with_data_type(field.data_type().clone()))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| values(field, seeds)).collect();
            Arc::new(StructArray::new(fields.clone(), columns, None))
        }
        DataType::List(element) => {
            let lengths: Vec<usize> = seeds.iter().map(|seed| usize::try_from(seed % 3).unwrap()).collect();
            let below: Vec<i64> = seeds.iter().zip(&lengths).flat_map(|(seed, &length)| vec![*seed; length]).collect();
            Arc::new(ListArray::new(
                element.clone(),
                OffsetBuffer::from_lengths(lengths),
                values(element, &below),
                None,
            ))
        }
        other => unreachable!("type {other}"),
    }
}

/// The same events for the raw zone.
pub(crate) fn raw(partition: u32, offsets: Range<u64>) -> Vec<RawFile> {
    let mut writer = RawWriter::default();
    for offset in offsets {
        let position = Position { partition: Partition(partition), offset: Offset(offset) };
        let received_at = Timestamp::from_micros(1_700_000_000_000_000);
        writer
            .add(&Record { position, received_at, key: None, id: None, value: format!("{{\"n\":{offset}}}").into() })
            .unwrap();
    }
    writer.finish().unwrap()
}

/// Stream `t`.
pub(crate) fn stream() -> StreamName {
    StreamName::new("t").unwrap()
}

/// These next offsets of partitions 0, 1, ….
pub(crate) fn offsets(next: &[u64]) -> Offsets {
    (0..).map(Partition).zip(next.iter().copied().map(Offset)).collect()
}

/// Appends rows of partition 0 to the tail.
pub(crate) fn append(table: &Table, schema: &TableSchema, offsets: Range<u64>) {
    append_batch(table, schema, rows(schema, 0, offsets));
}

pub(crate) fn append_batch(table: &Table, schema: &TableSchema, rows: RecordBatch) {
    table.append_tail(schema, TailBatch { bytes: rows.get_array_memory_size(), rows });
}

/// Commits the whole tails of these tables of stream `t`, up to offset `next` of partition 0.
pub(crate) async fn commit(lake: &Lake, tables: &[(&Arc<Table>, &TableSchema)], next: u64) -> Result<CommitReport> {
    let tables = tables.iter().map(|(table, schema)| TableAppend {
        table: Arc::clone(table),
        schema: TableSchema::clone(schema),
        batches: table.state().tail.len(),
    });
    let delivered = offsets(&[next]);
    lake.commit(Commit { stream: stream(), delivered, tables: tables.collect(), raw: Vec::new() }).await
}

/// A lake in a directory of its own.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) async fn open(&self) -> Lake {
        open(self.directory.path()).await
    }

    /// A lake whose writes go through a store that can fail, and that store.
    pub(crate) async fn open_fragile(&self) -> (Lake, Arc<FragileStore>) {
        let directory = self.directory.path().canonicalize().unwrap();
        let files = DurableDirectory::open(&directory.join("lake")).unwrap();
        let store = Arc::new(FragileStore { files, plan: Mutex::default() });
        let catalog = CatalogPlace::File(catalog_file(&directory));
        let warehouse = Warehouse::of_directory(&directory.join("lake")).unwrap();
        let clock = Arc::new(SystemClock);
        let lake = Lake::open_with(directory, catalog, warehouse, Arc::clone(&store) as _, clock).await.unwrap();
        (lake, store)
    }
}

pub(crate) async fn open(directory: &FilePath) -> Lake {
    Lake::open(directory, Arc::new(SystemClock)).await.unwrap()
}

/// The rows of a table's files and tail, as JSON by position. Panics if one is there twice.
pub(crate) fn rows_of(lake: &Lake, table: &Table) -> BTreeMap<(i32, i64), String> {
    let state = table.state();
    let mut found = BTreeMap::new();
    for file in state.files.iter() {
        let path = lake.inner().directory.join(&file.path);
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
        let kept = file.deleted.selection(0, file.rows);
        for batch in reader.with_row_selection(kept).build().unwrap() {
            add_rows(&batch.unwrap(), &mut found);
        }
    }
    for batch in &state.tail {
        add_rows(&batch.rows, &mut found);
    }
    found
}

/// Rows by position, as text. Columns that are null are left out, so that an older schema makes no difference.
pub(crate) fn add_rows(batch: &RecordBatch, found: &mut BTreeMap<(i32, i64), String>) {
    let partitions = batch.column_by_name(PARTITION).unwrap().as_primitive::<Int32Type>();
    let offsets = batch.column_by_name(OFFSET).unwrap().as_primitive::<Int64Type>();
    let schema = batch.schema();
    for row in 0..batch.num_rows() {
        let text = schema.fields().iter().zip(batch.columns()).filter_map(|(field, column)| {
            let text = text_of(column, row)?;
            Some(format!("{}={text}", field.name()))
        });
        let text = text.collect::<Vec<_>>().join(" ");
        let twice = found.insert((partitions.value(row), offsets.value(row)), text);
        assert_eq!(twice, None, "row {} is there twice", offsets.value(row));
    }
}

fn text_of(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns();
            let inside = fields
                .iter()
                .zip(columns)
                .filter_map(|(field, column)| Some(format!("{}={}", field.name(), text_of(column, row)?)));
            let inside: Vec<_> = inside.collect();
            (!inside.is_empty()).then(|| format!("{{{}}}", inside.join(" ")))
        }
        DataType::List(_) => {
            let elements = column.as_list::<i32>().value(row);
            let inside = (0..elements.len()).map(|element| text_of(&elements, element).unwrap_or_default());
            Some(format!("[{}]", inside.collect::<Vec<_>>().join(",")))
        }
        DataType::Int32 => Some(column.as_primitive::<Int32Type>().value(row).to_string()),
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::Float64 => Some(column.as_primitive::<arrow::datatypes::Float64Type>().value(row).to_string()),
        DataType::Date32 => Some(column.as_primitive::<arrow::datatypes::Date32Type>().value(row).to_string()),
        DataType::Boolean => Some(column.as_boolean().value(row).to_string()),
        DataType::Utf8 => Some(column.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => Some(format!("{:?}", column.as_binary::<i32>().value(row))),
        DataType::Timestamp(..) => {
            Some(column.as_primitive::<arrow::datatypes::TimestampMicrosecondType>().value(row).to_string())
        }
        other => unreachable!("type {other}"),
    }
}

/// What happens to writes from now on.
#[derive(Default)]
struct Plan {
    /// Writes so far.
    writes: usize,
    /// Fails this one…
    fails: Option<(usize, Failure)>,
    /// …does this before this one…
    before: Option<(usize, Box<dyn FnOnce() + Send>)>,
    /// …and copies the project's directory here before each write, under the write's number.
    copies: Option<PathBuf>,
}

/// How a write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It is not done.
    Refused,
    /// The write happens, but is answered with an error.
    AnswerLost,
}

/// The lake's real store, whose n-th write fails on demand.
pub(crate) struct FragileStore {
    files: DurableDirectory,
    plan: Mutex<Plan>,
}

impl FragileStore {
    /// Fails the `n`-th write from now on, counted from zero.
    pub(crate) fn fail(&self, n: usize, failure: Failure) {
        *self.plan.lock().unwrap() = Plan { fails: Some((n, failure)), ..Plan::default() };
    }

    /// Lets everything pass, and counts.
    pub(crate) fn pass(&self) {
        *self.plan.lock().unwrap() = Plan::default();
    }

    /// Copies the project before each write from now on.
    pub(crate) fn copy_to(&self, directory: &FilePath) {
        *self.plan.lock().unwrap() = Plan { copies: Some(directory.to_owned()), ..Plan::default() };
    }

    /// Runs `act` right before the `n`-th write from now on.
    pub(crate) fn before_write(&self, n: usize, act: impl FnOnce() + Send + 'static) {
        *self.plan.lock().unwrap() = Plan { before: Some((n, Box::new(act))), ..Plan::default() };
    }

    /// Writes since the last change of plan.
    pub(crate) fn writes(&self) -> usize {
        self.plan.lock().unwrap().writes
    }

    fn next(&self) -> Option<Failure> {
        let mut plan = self.plan.lock().unwrap();
        if let Some(copies) = &plan.copies {
            let project = self.files.root().parent().unwrap();
            copy_directory(project, &copies.join(plan.writes.to_string()));
        }
        let this = plan.writes;
        if let Some((_, act)) = plan.before.take_if(|(at, _)| *at == this) {
            act();
        }
        plan.writes += 1;
        plan.fails.filter(|(at, _)| *at == this).map(|(_, failure)| failure)
    }
}

/// Copies a directory as it is now.
pub(crate) fn copy_directory(from: &FilePath, to: &FilePath) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[async_trait]
impl ObjectStore for FragileStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let error = || object_store::Error::Generic { store: "fragile", source: "no space left on device".into() };
        match self.next() {
            None => self.files.put_opts(location, payload, options).await,
            Some(Failure::Refused) => Err(error()),
            Some(Failure::AnswerLost) => {
                self.files.put_opts(location, payload, options).await?;
                Err(error())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}

impl fmt::Debug for FragileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FragileStore({})", self.files)
    }
}

impl fmt::Display for FragileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fragile {}", self.files)
    }
}
