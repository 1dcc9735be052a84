//! The file that merged or rewritten rows are written to.
//!
//! A row group that is encoded goes to the store in pieces, which go one by one as they are written: the library's own writer for
//! stores keeps it in one growing buffer until all of the next one is encoded, too.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use lacus_core::{Error, Result};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use tokio::io::AsyncWriteExt;

use super::units::Unit;
use crate::data_file::encoding::{ColumnEncoder, parts_of};
use crate::data_file::{FileForm, Footer, NotNumbers, ROW_GROUP_ROWS_MAX, parquet_error, properties};
use crate::lake::Inner;
use crate::pieces::Pieces;
use crate::store::store_error;

/// Memory of a row group that is encoded as its rows come, without its bloom filters.
const ROW_GROUP_BYTES_MAX: usize = 8 << 20;
/// Bytes of a part of the file: one is written while the next is filled.
const PART_BYTES: usize = 1 << 20;
/// The same in a bucket: S3 requires at least 5 MiB.
const BUCKET_PART_BYTES: usize = 5 << 20;
/// These files are written once and read often.
const ZSTD_LEVEL: i32 = 3;
/// The context of errors while writing.
const WRITING: &str = "write the merged file";

/// Where a file is written, in parts.
pub(super) fn target(lake: &Inner, path: &str) -> BufWriter {
    let part_bytes = if lake.files.warehouse.is_local() { PART_BYTES } else { BUCKET_PART_BYTES };
    BufWriter::with_capacity(Arc::clone(&lake.files.store), Path::from(path), part_bytes).with_max_concurrency(1)
}

/// The file.
pub(super) struct Output {
    pub(super) schema: SchemaRef,
    file: SerializedFileWriter<Pieces>,
    factory: ArrowRowGroupWriterFactory,
    /// Of the row group that rows are written to, and how many it has.
    encoders: Vec<ArrowColumnWriter>,
    rows: usize,
    row_group_bytes_max: usize,
    not_numbers: NotNumbers,
    target: BufWriter,
    stop: Arc<AtomicBool>,
}

impl Output {
    pub(super) fn begin(target: BufWriter, form: &FileForm, stop: Arc<AtomicBool>) -> Result<Self> {
        let schema = Arc::clone(&form.schema);
        let properties = properties(ZSTD_LEVEL, form, ROW_GROUP_ROWS_MAX, Vec::new())?;
        let writer =
            ArrowWriter::try_new(Pieces::default(), Arc::clone(&schema), Some(properties)).map_err(unwritable)?;
        let (file, factory) = writer.into_serialized_writer().map_err(unwritable)?;
        Ok(Self {
            schema,
            file,
            factory,
            encoders: Vec::new(),
            rows: 0,
            row_group_bytes_max: ROW_GROUP_BYTES_MAX + form.filters.memory(),
            not_numbers: NotNumbers::default(),
            target,
            stop,
        })
    }

    /// Writes rows, all columns at once; false if it was stopped.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<bool> {
        if self.is_stopped() {
            return Ok(false);
        }
        if batch.num_rows() == 0 {
            return Ok(true);
        }
        if self.rows + batch.num_rows() > ROW_GROUP_ROWS_MAX {
            self.end_row_group()?;
        }
        if self.encoders.is_empty() {
            self.encoders = self.next_encoders()?;
        }
        self.not_numbers.count(batch);
        self.rows += batch.num_rows();
        let mut encoders = self.encoders.iter_mut();
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            let leaves = compute_leaves(field, column).map_err(unwritable)?;
            for (leaf, encoder) in leaves.iter().zip(encoders.by_ref()) {
                encoder.write(leaf).map_err(unwritable)?;
            }
        }
        if self.encoders.iter().map(ArrowColumnWriter::memory_size).sum::<usize>() > self.row_group_bytes_max {
            self.end_row_group()?;
        }
        self.hand_on().await?;
        Ok(true)
    }

    /// Writes row groups of files as one, column after column; false if it was stopped.
    pub(super) async fn write_units(&mut self, units: &mut [Unit]) -> Result<bool> {
        self.end_row_group()?;
        if !self.encode(units)? {
            return Ok(false);
        }
        self.hand_on().await?;
        Ok(true)
    }

    fn encode(&mut self, units: &mut [Unit]) -> Result<bool> {
        let mut encoders = self.next_encoders()?.into_iter();
        let mut group = self.file.next_row_group().map_err(unwritable)?;
        for (place, column) in self.schema.fields().iter().enumerate() {
            for part in parts_of(column) {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                let mut encoder = ColumnEncoder::of(&part);
                for unit in &*units {
                    unit.each(place, &part, |values| encoder.write(values, &mut encoders, &mut self.not_numbers))?;
                }
                encoder.end(&mut group)?;
            }
            units.iter_mut().for_each(|unit| unit.forget(place));
        }
        group.close().map_err(unwritable)?;
        Ok(true)
    }

    fn next_encoders(&self) -> Result<Vec<ArrowColumnWriter>> {
        self.factory.create_column_writers(self.file.flushed_row_groups().len()).map_err(unwritable)
    }

    /// Ends the row group that rows were written to.
    fn end_row_group(&mut self) -> Result<()> {
        if self.encoders.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group().map_err(unwritable)?;
        for encoder in std::mem::take(&mut self.encoders) {
            let chunk = encoder.close().map_err(unwritable)?;
            chunk.append_to_row_group(&mut group).map_err(unwritable)?;
        }
        group.close().map_err(unwritable)?;
        self.rows = 0;
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Passes encoded pieces on to the store.
    async fn hand_on(&mut self) -> Result<()> {
        let encoded = std::mem::take(self.file.inner_mut());
        if encoded.len() == 0 {
            return Ok(());
        }
        for piece in encoded.freeze() {
            self.target.put(piece).await.map_err(|error| store_error(error, WRITING))?;
        }
        Ok(())
    }

    pub(super) async fn end(mut self) -> Result<(Footer, u64)> {
        self.end_row_group()?;
        let metadata = self.file.finish().map_err(unwritable)?;
        self.hand_on().await?;
        self.target.shutdown().await.map_err(unwritten)?;
        Ok((Footer::new(metadata, self.not_numbers), self.file.bytes_written() as u64))
    }
}

fn unwritable(error: ParquetError) -> Error {
    parquet_error(error, WRITING)
}

/// An error of the store, which came wrapped in one of the standard library.
fn unwritten(error: io::Error) -> Error {
    match error.downcast::<object_store::Error>() {
        Ok(error) => store_error(error, WRITING),
        Err(error) => Error::unavailable(WRITING).with_source(error),
    }
}
