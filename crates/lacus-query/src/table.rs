//! One table in one immutable state: its files, read by the native Parquet source, and its hot tail.
//!
//! What a file lacks is the value of its partition, or null, as what a batch of the tail lacks; columns are matched by field id
//! (see [`crate::adapt`]). Files that can't have a row of the answer are left out (see [`crate::pruning`]). Counts of rows and of
//! nulls are exact and given to the planner; column bounds are not given, because the planner takes exact bounds of strings for
//! values.
//!
//! Texts are read as views (Arrow's `Utf8View`): comparing, grouping and sorting them needs no copy.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::stats::Precision;
use datafusion::common::{Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, ParquetAccessPlan, RowGroupAccess,
};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use lacus_lake::{LiveFile, TableState};
use parquet::file::metadata::ParquetMetaData;

use crate::adapt::MatchByFieldId;
use crate::cost::{Scan, Scans};
use crate::pruning::{field_id, files_to_read, least_text, value_range, values_of_partition};
use crate::tail::{TailSource, used_bytes};

/// What the lake's object store is registered as.
pub(crate) const STORE_URL: &str = "lake://files/";

/// So many columns of files are described to the scan at most: it takes a third of a kilobyte for each.
const DESCRIBED_MAX: usize = 16_384;

/// A table as SQL reads it: one state for the whole statement.
#[derive(Debug, Clone)]
pub struct LakeTable {
    state: Arc<TableState>,
    /// Its columns as questions see them.
    schema: SchemaRef,
}

impl LakeTable {
    /// The table in this state.
    #[must_use]
    pub fn new(state: Arc<TableState>) -> Self {
        let schema = with_views(&state.arrow_schema);
        Self { state, schema }
    }

    /// The state it is in.
    pub(crate) fn state(&self) -> &TableState {
        &self.state
    }

    /// Scans some of its files: either such as have true bounds, or others.
    async fn scan_files(
        &self,
        files: &[&LiveFile],
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let url = ObjectStoreUrl::parse(STORE_URL)?;
        let runtime = session.runtime_env();
        let reader = CachedParquetFileReaderFactory::new(
            runtime.object_store(&url)?,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let mut options = TableParquetOptions {
            global: session.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        // If the session said so, it would be said of all scans.
        options.global.pushdown_filters = true;
        let columns = projected(&self.schema, projection)?;
        let mut scanned = Vec::with_capacity(files.len());
        let is_described = files.len() * self.schema.fields().len() <= DESCRIBED_MAX;
        let mut partitions: HashMap<String, Arc<Statistics>> = HashMap::new();
        for file in files {
            let mut whole = PartitionedFile::new(file.path.clone(), file.bytes);
            let of_partition = values_of_partition(file, &self.schema, projection)?;
            if is_described {
                whole = whole.with_statistics(Arc::new(with_values(self.one_file_statistics(file), &of_partition)));
            } else if !of_partition.is_empty() {
                // Files of one partition share them: without a description there are many files.
                let known = partitions
                    .entry(format!("{of_partition:?}"))
                    .or_insert_with(|| Arc::new(with_values(Statistics::new_unknown(&self.schema), &of_partition)));
                whole = whole.with_statistics(Arc::clone(known));
            }
            let is_whole = file.deleted.is_empty();
            scanned.push(if is_whole { whole } else { without_deleted(session, &url, file, whole).await? });
            options.global.pruning &= has_true_bounds(file);
            options.global.enable_page_index &= !file.stats.may_have_nan();
            options.global.bloom_filter_on_read &= has_true_filters(file, &columns);
        }
        let source = ParquetSource::new(Arc::clone(&self.schema))
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(reader));
        let groups = FileGroup::new(scanned).split_files(session.config().target_partitions());
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(self.file_statistics(files))
            .with_expr_adapter(Some(Arc::new(MatchByFieldId)))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// What is to be read of these files, and of the hot tail.
    async fn scan_of(
        &self,
        files: &[&LiveFile],
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        by_column: bool,
    ) -> Result<Scan> {
        let mut scan = Scan { files: files.len() as u64, ..Scan::default() };
        scan.files_skipped = (self.state.files.len() - files.len()) as u64;
        for file in files {
            scan.rows += file.live_rows();
            scan.bytes += if by_column { self.bytes_of(file, session, projection).await? } else { file.bytes };
        }
        for batch in self.state.tail.iter().filter(|_| by_column) {
            scan.rows += batch.rows.num_rows() as u64;
            let columns = batch.rows.columns().iter().enumerate();
            let columns = columns.filter(|(index, _)| projection.is_none_or(|projection| projection.contains(index)));
            scan.bytes += columns.map(|(_, column)| used_bytes(column) as u64).sum::<u64>();
        }
        Ok(scan)
    }

    /// The bytes that some columns have in a file.
    async fn bytes_of(&self, file: &LiveFile, session: &dyn Session, projection: Option<&Vec<usize>>) -> Result<u64> {
        let Some(projection) = projection else { return Ok(file.bytes) };
        let wanted: Vec<i32> =
            projection.iter().filter_map(|&index| field_id(self.state.arrow_schema.field(index))).collect();
        let footer =
            footer(session, &ObjectStoreUrl::parse(STORE_URL)?, &PartitionedFile::new(file.path.clone(), file.bytes))
                .await?;
        let roots = footer.file_metadata().schema_descr().root_schema().get_fields();
        let mut bytes = 0;
        for group in footer.row_groups() {
            for column in group.columns() {
                let name = column.column_path().parts().first();
                let root = roots.iter().find(|root| name.is_some_and(|name| root.name() == name));
                let is_wanted = root.is_some_and(|root| {
                    let info = root.get_basic_info();
                    info.has_id() && wanted.contains(&info.id())
                });
                bytes += if is_wanted { u64::try_from(column.compressed_size()).unwrap_or(0) } else { 0 };
            }
        }
        Ok(bytes)
    }

    /// What is known of one file: by it a scan leaves out files that what it has found meanwhile excludes, and reads those
    /// first that an order begins with.
    fn one_file_statistics(&self, file: &LiveFile) -> Statistics {
        let mut statistics = self.file_statistics(&[file]);
        for (field, column) in self.schema.fields().iter().zip(&mut statistics.column_statistics) {
            // Not exact: it may be cut.
            if let Some(least) = least_text(file, field) {
                column.min_value = Precision::Inexact(least);
            }
        }
        statistics
    }

    fn file_statistics(&self, files: &[&LiveFile]) -> Statistics {
        let (rows, bytes) =
            files.iter().fold((0_u64, 0_u64), |(rows, bytes), file| (rows + file.live_rows(), bytes + file.bytes));
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
        statistics.total_byte_size = Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX));
        // Whether a deleted row was null there nobody counted.
        if files.iter().any(|file| !file.deleted.is_empty()) {
            return statistics;
        }
        for (field, column) in self.schema.fields().iter().zip(&mut statistics.column_statistics) {
            let nulls = |id| files.iter().map(|file| file.stats.column(id)?.nulls).sum::<Option<u64>>();
            if let Some(nulls) = field_id(field).and_then(nulls).and_then(|nulls| usize::try_from(nulls).ok()) {
                column.null_count = Precision::Exact(nulls);
            }
            if let Some((least, greatest)) = value_range(files, field) {
                column.min_value = Precision::Exact(least);
                column.max_value = Precision::Exact(greatest);
            }
        }
        statistics
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters say which files to read; their rows are filtered above, or in the Parquet source.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut parts = Vec::with_capacity(3);
        let files = files_to_read(&self.state.files, &self.state.arrow_schema, filters, session)?;
        if let Some(scans) = session.config().get_extension::<Scans>() {
            scans.add(self.scan_of(&files, session, projection, scans.by_column).await?);
        }
        let (bounded, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| has_true_bounds(file));
        for files in [bounded, others].iter().filter(|files| !files.is_empty()) {
            parts.push(self.scan_files(files, session, projection, limit).await?);
        }
        if !self.state.tail.is_empty() {
            let tail =
                TailSource::new(&self.state, &self.schema, projection, session.config().target_partitions(), limit)?;
            parts.push(DataSourceExec::from_data_source(tail) as Arc<dyn ExecutionPlan>);
        }
        match parts.len() {
            0 => Ok(Arc::new(EmptyExec::new(projected(&self.schema, projection)?))),
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }
}

/// What is known of a file whose rows all have these values: a scan does not read such columns, which the file may lack.
fn with_values(mut known: Statistics, values: &[(usize, ScalarValue)]) -> Statistics {
    for (place, value) in values {
        if let Some(column) = known.column_statistics.get_mut(*place) {
            column.null_count = Precision::Exact(0);
            column.min_value = Precision::Exact(value.clone());
            column.max_value = Precision::Exact(value.clone());
        }
    }
    known
}

/// Whether Parquet's statistics of the file tell of all its rows and of no others. They leave out what is no number; and
/// where a filter is true of all rows of a row group, a limit takes the row group whole: with its deleted rows.
fn has_true_bounds(file: &LiveFile) -> bool {
    file.deleted.is_empty() && !file.stats.may_have_nan()
}

/// Whether bloom filters of the file can be asked about these columns. Of decimals that Parquet has as bytes, DataFusion (54.1) asks
/// for 16 bytes where fewer were written, and is told that no value is there. Such are ours of more than 18 digits; other writers
/// may have any so.
fn has_true_filters(file: &LiveFile, columns: &Schema) -> bool {
    let digits_max = if file.stats.is_own() { 18 } else { 0 };
    let may_be_bytes = |kind: &DataType| matches!(kind, DataType::Decimal128(digits, _) if *digits > digits_max);
    !columns.fields().iter().any(|field| may_be_bytes(field.data_type()))
}

/// The file, to be read without the rows that are deleted.
async fn without_deleted(
    session: &dyn Session,
    url: &ObjectStoreUrl,
    file: &LiveFile,
    scanned: PartitionedFile,
) -> Result<PartitionedFile> {
    let footer = footer(session, url, &scanned).await?;
    let (mut first, mut groups) = (0, Vec::with_capacity(footer.num_row_groups()));
    for group in footer.row_groups() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        groups.push(RowGroupAccess::Selection(file.deleted.selection(first, rows)));
        first += rows;
    }
    Ok(scanned.with_extension(ParquetAccessPlan::new(groups)))
}

/// The columns with texts as views.
fn with_views(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => Arc::clone(field),
    };
    Arc::new(Schema::new_with_metadata(
        schema.fields().iter().map(field).collect::<Fields>(),
        schema.metadata().clone(),
    ))
}

/// The footer of a file, from the cache if it is there.
async fn footer(session: &dyn Session, url: &ObjectStoreUrl, file: &PartitionedFile) -> Result<Arc<ParquetMetaData>> {
    let runtime = session.runtime_env();
    let store = runtime.object_store(url)?;
    DFParquetMetadata::new(store.as_ref(), &file.object_meta)
        .with_file_metadata_cache(Some(runtime.cache_manager.get_file_metadata_cache()))
        .fetch_metadata()
        .await
}

/// The columns at these places.
pub(crate) fn projected(schema: &SchemaRef, projection: Option<&Vec<usize>>) -> Result<SchemaRef> {
    Ok(match projection {
        Some(columns) => Arc::new(schema.project(columns)?),
        None => Arc::clone(schema),
    })
}
