//! Rows on their way into files: their form, their names, how large they get.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{cast, partition};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use lacus_core::{Error, Kind};
use lacus_lake::{UnloadFile, Unloaded, Unloading};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Pages, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::options::Form;
use super::text::{texts, write_header, write_rows};
use super::unload::{Unload, place};
use crate::error::SqlError;
use crate::json;
use crate::writing::without_ids;

/// Rows that are encoded before the size of the file is checked.
const ROWS_AT_ONCE: usize = 1_024;
/// The size of a Parquet row group in memory.
const ROW_GROUP_BYTES: usize = 32 << 20;
/// The folder name for a partition value of null.
const NO_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// The files of an `UNLOAD`.
pub(super) struct Writer {
    unload: Unload,
    /// The upload, from its begin to its end.
    unloading: Option<Unloading>,
    /// The columns in the files.
    schema: SchemaRef,
    places: Vec<usize>,
    /// The columns that determine a row's folder.
    partition: Vec<usize>,
    names: Vec<String>,
    open: Option<Open>,
    folder: String,
    /// How many files each folder has so far, by [`same_folder`]: a statement may come back to a folder.
    parts: HashMap<String, usize>,
}

struct Open {
    file: UnloadFile,
    parquet: Option<ArrowWriter<Vec<u8>>>,
}

impl Writer {
    /// A writer for rows with these columns, under these names.
    ///
    /// # Errors
    /// If files can't have such columns.
    pub(super) fn new(unload: &Unload, rows: &SchemaRef, names: &[String]) -> Result<Self, SqlError> {
        let partition = unload.partition.iter().map(|name| place(names, name)).collect::<Result<Vec<_>, _>>()?;
        let is_in = |index: &usize| unload.include || !partition.contains(index);
        let places: Vec<usize> = (0..names.len()).filter(is_in).collect();
        if places.is_empty() {
            return Err(SqlError::invalid("22023", "all columns are of the partition: files would have none")
                .with_hint("select another column, or say INCLUDE"));
        }
        if !matches!(unload.form, Form::Text(_)) {
            must_differ(&places, names)?;
        }
        let field = |&index: &usize| {
            let field = rows.field(index);
            Field::new(&names[index], kept(field.data_type()), true).with_metadata(field.metadata().clone())
        };
        let schema = Arc::new(Schema::new(places.iter().map(field).collect::<Vec<_>>()));
        let (unload, names) = (unload.clone(), names.to_vec());
        Ok(Self {
            unload,
            unloading: None,
            schema,
            places,
            partition,
            names,
            open: None,
            folder: String::new(),
            parts: HashMap::new(),
        })
    }

    pub(super) fn begin(&mut self, unloading: Unloading) {
        self.unloading = Some(unloading);
    }

    /// Writes rows.
    ///
    /// # Errors
    /// For what has no such form, and when the store or the disk refuses.
    pub(super) async fn add(&mut self, rows: &RecordBatch) -> Result<(), SqlError> {
        if self.partition.is_empty() {
            return self.write(rows).await;
        }
        let by: Vec<ArrayRef> = self.partition.iter().map(|&index| Arc::clone(rows.column(index))).collect();
        let ranges = partition(&by).map_err(|error| internal("find the partitions", error))?.ranges();
        for range in ranges {
            let rows = rows.slice(range.start, range.len());
            let folder = self.folder_of(&rows)?;
            if self.open.is_some() && folder != self.folder {
                self.close().await?;
            }
            self.folder = folder;
            self.write(&rows).await?;
        }
        Ok(())
    }

    /// Ends the last file. A query without rows makes an empty file, unless files are partitioned.
    ///
    /// # Errors
    /// When the store or the disk refuses.
    pub(super) async fn end(&mut self) -> Result<(), SqlError> {
        if self.open.is_none() && self.parts.is_empty() && self.partition.is_empty() {
            self.open().await?;
        }
        self.close().await
    }

    /// Gives the files their names.
    ///
    /// # Errors
    /// When the store or the disk refuses.
    pub(super) async fn publish(mut self, manifest: bool) -> Result<Vec<Unloaded>, SqlError> {
        match self.unloading.take() {
            Some(unloading) => unloading.publish(manifest).await.map_err(of_lake),
            None => Ok(Vec::new()),
        }
    }

    /// Deletes what is written.
    pub(super) async fn abandon(mut self) {
        let Some(mut unloading) = self.unloading.take() else { return };
        if let Some(open) = self.open.take() {
            unloading.abandon_file(open.file).await;
        }
        unloading.abandon().await;
    }

    async fn write(&mut self, rows: &RecordBatch) -> Result<(), SqlError> {
        let mut first = 0;
        while first < rows.num_rows() {
            if self.open.is_none() {
                self.open().await?;
            }
            let count = ROWS_AT_ONCE.min(rows.num_rows() - first);
            let rows = self.of_the_files(&rows.slice(first, count))?;
            let open = self.open.as_mut().expect("it was opened above");
            let bytes = open.encode(&rows, &self.unload.form)?;
            open.file.write(&bytes).await.map_err(of_lake)?;
            open.file.rows += count as u64;
            first += count;
            if open.file.bytes >= self.unload.file_bytes_max {
                self.close().await?;
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<(), SqlError> {
        let name = self.next_name();
        let unloading = self.unloading.as_mut().expect("it has begun");
        let file = unloading.file(&name, self.unload.compression).await.map_err(of_lake)?;
        *self.parts.entry(same_folder(&self.folder)).or_default() += 1;
        let mut open = Open { file, parquet: None };
        match &self.unload.form {
            Form::Parquet => {
                let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&self.schema), Some(self.properties()));
                open.parquet = Some(writer.map_err(no_parquet)?);
            }
            Form::Text(form) if self.unload.header => {
                let names: Vec<String> = self.places.iter().map(|&index| self.names[index].clone()).collect();
                let mut line = Vec::new();
                write_header(&names, form, &mut line);
                open.file.write(&line).await.map_err(of_lake)?;
            }
            Form::Text(_) | Form::Json | Form::Binary => {}
        }
        self.open = Some(open);
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SqlError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if let Some(parquet) = open.parquet {
            let rest = parquet.into_inner().map_err(no_parquet)?;
            open.file.write(&rest).await.map_err(of_lake)?;
        }
        self.unloading.as_mut().expect("it has begun").end(open.file).await.map_err(of_lake)
    }

    fn properties(&self) -> WriterProperties {
        let pages = if self.unload.snappy { Pages::SNAPPY } else { Pages::ZSTD(ZstdLevel::default()) };
        WriterProperties::builder().set_compression(pages).build()
    }

    /// The next file's name: `0000_part_00`, or `000`, in the partition's folder, with the suffix of the form.
    fn next_name(&self) -> String {
        let part = self.parts.get(&same_folder(&self.folder)).copied().unwrap_or_default();
        let number = if self.unload.one_by_one { format!("{part:03}") } else { format!("0000_part_{part:02}") };
        let suffix = match (&self.unload.extension, &self.unload.form) {
            (Some(extension), _) => format!(".{extension}"),
            (None, Form::Parquet) => ".parquet".to_owned(),
            (None, Form::Json) => format!(".json{}", self.unload.compression.suffix()),
            (None, Form::Text(_) | Form::Binary) => self.unload.compression.suffix().to_owned(),
        };
        format!("{}{number}{suffix}", self.folder)
    }

    /// `country=DE/day=2026-11-21/`
    fn folder_of(&self, rows: &RecordBatch) -> Result<String, SqlError> {
        let mut folder = String::new();
        for &index in &self.partition {
            let value = texts(rows.column(index), &rows.schema().fields()[index], true)?;
            let value = value.is_valid(0).then(|| value.value(0)).filter(|value| !value.is_empty());
            folder.push_str(&folder_name(&self.names[index]));
            folder.push('=');
            folder.push_str(&value.map_or_else(|| NO_PARTITION.to_owned(), escaped));
            folder.push('/');
        }
        Ok(folder)
    }

    /// The columns that files have, with the names and types that they have there.
    fn of_the_files(&self, rows: &RecordBatch) -> Result<RecordBatch, SqlError> {
        let column = |(&index, field): (&usize, &FieldRef)| {
            let column = rows.column(index);
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        };
        let columns = self.places.iter().zip(self.schema.fields()).map(column).collect::<Result<Vec<_>, _>>();
        let columns = columns.map_err(|error| internal("bring rows to their form", error))?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| internal("bring rows to their form", error))
    }
}

impl Open {
    /// The encoded rows; with Parquet, what is complete so far.
    fn encode(&mut self, rows: &RecordBatch, form: &Form) -> Result<Vec<u8>, SqlError> {
        let mut bytes = Vec::new();
        match (form, &mut self.parquet) {
            (Form::Text(form), _) => write_rows(rows, form, &mut bytes)?,
            (_, Some(parquet)) => {
                parquet.write(rows).map_err(no_parquet)?;
                if parquet.in_progress_size() >= ROW_GROUP_BYTES {
                    parquet.flush().map_err(no_parquet)?;
                }
                bytes = std::mem::take(parquet.inner_mut());
            }
            (_, None) => json::write_objects(rows, &mut bytes)?,
        }
        Ok(bytes)
    }
}

fn must_differ(places: &[usize], names: &[String]) -> Result<(), SqlError> {
    let mut called: Vec<&String> = places.iter().map(|&index| &names[index]).collect();
    called.sort();
    match called.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(SqlError::invalid("42701", format!("files would have two columns \"{}\"", pair[0]))
            .with_hint("rename one with AS")),
    }
}

/// The type of a column in files, such that readers of Parquet know it.
fn kept(kind: &DataType) -> DataType {
    match kind {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Null | DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => without_ids(other),
    }
}

/// Equal for folders that are the same where case does not count.
fn same_folder(folder: &str) -> String {
    folder.to_lowercase()
}

/// The column's name in folder names: without a leading dot, which would hide them.
fn folder_name(column: &str) -> String {
    let name = escaped(column);
    match name.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => name,
    }
}

/// A value as Hive writes it in folder names.
fn escaped(value: &str) -> String {
    let mut name = String::with_capacity(value.len());
    for letter in value.chars() {
        if letter.is_control() || "\"#%'*/:=?\\{}[]^".contains(letter) {
            let mut bytes = [0; 4];
            letter.encode_utf8(&mut bytes).bytes().for_each(|byte| name.push_str(&format!("%{byte:02X}")));
        } else {
            name.push(letter);
        }
    }
    // Neither `.` nor `..` may be the name of a folder.
    if matches!(name.as_str(), "." | "..") { name.replace('.', "%2E") } else { name }
}

/// The lake's error about files, with the SQLSTATE that clients know.
pub(super) fn of_lake(error: Error) -> SqlError {
    let code = match error.kind() {
        Kind::Exists => "58P02",
        Kind::NotFound => "58P01",
        Kind::Unavailable => "58030",
        kind => kind.sqlstate(),
    };
    let sql = SqlError::new(error.kind(), code, error.chain());
    match error.hint() {
        Some(hint) => sql.with_hint(hint),
        None => sql,
    }
    .with_source(error)
}

fn no_parquet(error: ParquetError) -> SqlError {
    SqlError::new(Kind::Invalid, "0A000", "Parquet can't have a column of the query")
        .with_hint("cast it to text")
        .with_source(error)
}

fn internal(doing: &str, error: ArrowError) -> SqlError {
    SqlError::new(Kind::Internal, "XX000", doing).with_source(error)
}
