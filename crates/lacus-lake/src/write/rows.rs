//! New rows: brought to the table's columns, gathered, and written as files.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;
use iceberg::spec::{Schema, TableMetadata};
use lacus_core::{Context, Error, Kind, Result, TableName};
use tokio::task::spawn_blocking;

use super::ROWS_BYTES_MAX;
use crate::arrange::{Arranged, arrange};
use crate::commit::{FILES_AT_ONCE, FileShape, write_arranged};
use crate::kernel::{AddedFile, Names};
use crate::lake::Inner;
use crate::layout::Layout;
use crate::schema::{Column, ColumnType, TableSchema};
use crate::table::{Table, TableState};

/// Rows on their way into files.
pub(super) struct NewRows {
    table: TableName,
    /// Where the metadata is that the names of files come after.
    location: String,
    columns: Arc<TableSchema>,
    schema: SchemaRef,
    iceberg: Schema,
    pub(super) layout: Layout,
    /// Which column of the rows that come each column of the table is.
    places: Vec<usize>,
    gathered: Vec<RecordBatch>,
    bytes: usize,
    /// Rows that came.
    pub(super) count: u64,
    /// Files that are written.
    pub(super) added: Vec<AddedFile>,
    /// All paths that are on record, written or not.
    pub(super) paths: Vec<String>,
}

impl NewRows {
    /// Rows of a table in this state.
    pub(super) fn of(table: &Table, state: &TableState) -> Result<Self> {
        let base = table.base();
        let columns = Arc::clone(&state.schema);
        let committed = base.metadata.current_schema();
        let iceberg = columns.iceberg(committed.schema_id())?;
        // What only rows of the hot tail have may still become something else.
        if TableSchema::from_iceberg(committed, base.metadata.last_column_id())?.arrow() != columns.arrow() {
            let message = format!("table \"{}\" has columns that are not committed yet", table.name());
            return Err(Error::new(Kind::Conflict, message).with_hint("try again"));
        }
        let places = (0..state.arrow_schema.fields().len()).collect();
        let layout = Layout::current(&base.metadata);
        Ok(Self::with(table.name().clone(), base.location.clone(), columns, iceberg, layout, places))
    }

    /// Rows of a table that will have this metadata, with columns in the order in which they were `wanted`.
    pub(super) fn of_new(table: TableName, metadata: &TableMetadata, wanted: &Schema) -> Result<Self> {
        let iceberg = metadata.current_schema().as_ref().clone();
        let columns = TableSchema::from_iceberg(&iceberg, metadata.last_column_id())?;
        let place = |name: &String| wanted.as_struct().fields().iter().position(|field| field.name == *name);
        let arrow = columns.arrow();
        let places = arrow.fields().iter().map(|field| place(field.name()));
        let places = places.collect::<Option<Vec<_>>>();
        let places = places.ok_or_else(|| Error::internal("the new table has other columns than those wanted"))?;
        Ok(Self::with(table, String::new(), Arc::new(columns), iceberg, Layout::current(metadata), places))
    }

    fn with(
        table: TableName,
        location: String,
        columns: Arc<TableSchema>,
        iceberg: Schema,
        layout: Layout,
        places: Vec<usize>,
    ) -> Self {
        let (gathered, added, paths, schema) = (Vec::new(), Vec::new(), Vec::new(), columns.arrow());
        Self { table, location, columns, schema, iceberg, layout, places, gathered, bytes: 0, count: 0, added, paths }
    }

    /// Takes rows, and writes what has gathered if it is much.
    pub(super) async fn add(&mut self, lake: &Inner, rows: &RecordBatch) -> Result<()> {
        let rows = self.of_the_table(rows)?;
        self.count += rows.num_rows() as u64;
        self.bytes += rows.columns().iter().map(|column| used_bytes(column)).sum::<usize>();
        self.gathered.push(rows);
        if self.bytes >= ROWS_BYTES_MAX { self.flush(lake).await } else { Ok(()) }
    }

    /// The rows with the table's columns.
    fn of_the_table(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.places.len());
        for (field, &place) in self.schema.fields().iter().zip(&self.places) {
            let column = rows.columns().get(place).ok_or_else(|| Error::internal("rows lack a column"))?;
            // A value that does not fit is an error, never null.
            let strictly = CastOptions { safe: false, ..CastOptions::default() };
            let column = cast_with_options(column, field.data_type(), &strictly).map_err(|error| {
                Error::invalid(format!("a value does not fit column \"{}\": {error}", field.name())).with_source(error)
            })?;
            columns.push(column);
        }
        for (column, values) in self.columns.columns.iter().zip(&columns) {
            if let Some(missing) = missing(column, values, None) {
                return Err(Error::invalid(format!(
                    "column \"{missing}\" of table \"{}\" can't be null, and a row has no value for it",
                    self.table
                )));
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| Error::internal("put the columns of new rows together").with_source(error))
    }

    /// Writes what has gathered, as one file for each partition.
    pub(super) async fn flush(&mut self, lake: &Inner) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.gathered);
        self.bytes = 0;
        let (rows, files) = self.arranged(rows).await?;
        let names = Names::after(&self.table, &self.location);
        let paths: Vec<String> = (0..files.len()).map(|number| names.data(number)).collect();
        self.record(lake, paths.clone()).await?;
        let files: Vec<(Arranged, String)> = files.into_iter().zip(paths).collect();
        for some in files.chunks(FILES_AT_ONCE) {
            let written = some.iter().map(|(file, path)| {
                let shape =
                    FileShape { schema: Arc::clone(&self.schema), iceberg: &self.iceberg, layout: &self.layout };
                write_arranged(lake, &rows, file, shape, path.clone())
            });
            // Every write is awaited even when another one failed: a file must not appear after it was deleted.
            let written = futures::future::join_all(written).await;
            let written = written.into_iter().collect::<Result<Vec<_>>>();
            self.added.extend(written.context(format_args!("write rows of table \"{}\"", self.table))?);
        }
        Ok(())
    }

    async fn arranged(&self, rows: Vec<RecordBatch>) -> Result<(Vec<RecordBatch>, Vec<Arranged>)> {
        let (layout, iceberg) = (self.layout.clone(), self.iceberg.clone());
        spawn_blocking(move || arrange(&rows, &layout, &iceberg).map(|files| (rows, files)))
            .await
            .map_err(|error| Error::internal("arranging rows ended unexpectedly").with_source(error))?
    }

    /// Puts paths on record, to be deleted if nothing comes of this.
    pub(super) async fn record(&mut self, lake: &Inner, paths: Vec<String>) -> Result<()> {
        self.paths.extend(paths.iter().cloned());
        lake.catalog.begin(Vec::new(), paths, lake.clock.now()).await
    }
}

/// The column, or the one inside it, that has no value where it must have one. `around`: where there is anything at all.
fn missing<'a>(column: &'a Column, values: &ArrayRef, around: Option<&NullBuffer>) -> Option<&'a str> {
    let is_null = |row: usize| values.is_null(row) && around.is_none_or(|around| around.is_valid(row));
    if column.required && values.null_count() > 0 && (0..values.len()).any(is_null) {
        return Some(&column.name);
    }
    match &column.kind {
        ColumnType::Struct(fields) => {
            let nulls = NullBuffer::union(around, values.nulls());
            let inner = values.as_struct().columns();
            fields.iter().zip(inner).find_map(|(field, inner)| missing(field, inner, nulls.as_ref()))
        }
        ColumnType::List(element) => {
            let lists = values.as_list::<i32>();
            let (first, last) = (*lists.offsets().first()?, *lists.offsets().last()?);
            let inner = lists.values().slice(first.try_into().ok()?, (last - first).try_into().ok()?);
            missing(element, &inner, None)
        }
        _ => None,
    }
}

/// The bytes that the rows of a column take, not counting what it shares with others.
fn used_bytes(column: &dyn Array) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or(0)
}
