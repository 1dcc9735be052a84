//! A lake made by hand: tables in memory, files in a directory that goes away.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use lacus_core::{MAIN_DATABASE, Offsets, settings};
use lacus_lake::{DeletedRows, LiveFile, TableSchema, TableState, TailBatch};
use object_store::local::LocalFileSystem;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use crate::{Dialect, Engine, LakeTable, QueryStats, Session, SqlError};

/// Tables and their files.
pub(super) struct TestLake {
    directory: TempDir,
    catalog: Arc<MemoryCatalogProvider>,
    database: Arc<MemorySchemaProvider>,
}

impl TestLake {
    pub(super) fn new() -> Self {
        let (catalog, database) = (MemoryCatalogProvider::new(), Arc::new(MemorySchemaProvider::new()));
        catalog.register_schema(MAIN_DATABASE, Arc::clone(&database) as _).unwrap();
        Self { directory: tempfile::tempdir().unwrap(), catalog: Arc::new(catalog), database }
    }

    /// Writes rows as a file of the lake.
    pub(super) fn file(&self, name: &str, rows: &RecordBatch) -> LiveFile {
        let path = self.directory.path().join(name);
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1000)).build();
        let mut writer =
            ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), rows.schema(), Some(properties)).unwrap();
        writer.write(rows).unwrap();
        writer.close().unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        LiveFile {
            path: name.to_owned(),
            bytes,
            rows: rows.num_rows() as u64,
            stats: Arc::default(),
            deleted: DeletedRows::default(),
        }
    }

    /// Makes a table in this state.
    pub(super) fn table(&self, name: &str, schema: &SchemaRef, files: Vec<LiveFile>, tail: Vec<RecordBatch>) {
        let state = TableState {
            schema: Arc::new(TableSchema::empty()),
            arrow_schema: Arc::clone(schema),
            snapshot_id: None,
            metadata_location: String::new(),
            files: files.into(),
            delete_files: Arc::default(),
            tail: tail.into_iter().map(|rows| Arc::new(TailBatch { bytes: 0, rows })).collect(),
            delivered: Offsets::default(),
        };
        self.database.register_table(name.to_owned(), Arc::new(LakeTable::new(Arc::new(state)))).unwrap();
    }

    pub(super) fn engine(&self) -> Engine {
        self.engine_with(&settings::Query::default())
    }

    pub(super) fn engine_with(&self, settings: &settings::Query) -> Engine {
        let store = Arc::new(LocalFileSystem::new_with_prefix(self.directory.path()).unwrap());
        Engine::over(Arc::clone(&self.catalog) as _, store, settings).unwrap()
    }

    pub(super) fn session(&self) -> Session {
        self.engine().session(Dialect::Lacus)
    }
}

/// A field with an Iceberg id.
pub(super) fn field(id: i32, name: &str, kind: DataType) -> Field {
    let id = HashMap::from([("PARQUET:field_id".to_owned(), id.to_string())]);
    Field::new(name, kind, true).with_metadata(id)
}

pub(super) fn record(fields: Vec<Field>) -> DataType {
    DataType::Struct(Fields::from(fields))
}

pub(super) fn list(element: Field) -> DataType {
    DataType::List(Arc::new(element.with_name("element")))
}

/// Columns, and the system columns after them.
pub(super) fn schema(columns: Vec<Field>) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let system = [
        field(1, "_rescued", DataType::Utf8),
        field(2, "_received_at", time),
        field(3, "_partition", DataType::Int32),
        field(4, "_offset", DataType::Int64),
    ];
    Arc::new(Schema::new(columns.into_iter().chain(system).collect::<Vec<_>>()))
}

/// Rows from lines of JSON.
pub(super) fn rows(schema: &SchemaRef, json: &str) -> RecordBatch {
    let mut reader = ReaderBuilder::new(Arc::clone(schema)).build(json.as_bytes()).unwrap();
    reader.next().unwrap().unwrap()
}

/// The answer as text: one line for each row, columns separated by `|`.
pub(super) async fn ask(session: &Session, sql: &str) -> String {
    ask_with_stats(session, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).0
}

pub(super) async fn ask_with_stats(session: &Session, sql: &str) -> Result<(String, QueryStats), SqlError> {
    let mut answer = session.query(sql, &[]).await?;
    let batches = answer.read_all().await?;
    Ok((text(&batches), answer.stats()))
}

pub(super) fn text(batches: &[RecordBatch]) -> String {
    let options = FormatOptions::default().with_null("-");
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    lines.join("\n")
}
