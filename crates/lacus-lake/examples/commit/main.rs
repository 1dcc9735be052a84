//! What a lake does, for the fault loops: every disk operation of it is made to fail in turn.
//!
//! `commit DIR COUNT` makes COUNT commits of [`ROWS`] rows each to table `t` and prints `committed N` or
//! `refused N: error`; a refused commit is tried again with the same rows. The table is partitioned, so that a commit
//! writes three files, and files of a partition are merged once there are two. `commit DIR verify` prints every row as
//! `row N`, and `offset K`, and after how many changes there are the views that there are.
//! `commit DIR erase` erases every third row and prints `erased N` or `refused: error`.
//! `commit DIR views` changes views (see `views.rs`), and `commit DIR bucket` puts files as engines on other machines do
//! (`bucket.rs`), which `commit DIR bucket-verify` looks at.
//! With a URL behind it, the catalog is in that PostgreSQL database.
//! Whatever fails: rows `0..K` are there, each once, and K covers every commit that was printed as committed.

mod bucket;
mod views;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Int64Type};
use lacus_core::clock::Clock;
use lacus_core::{
    Error, Offset, Offsets, Partition, Position, Record, Result, StreamName, SystemClock, Timestamp, settings,
};
use lacus_lake::schema::{OFFSET, PARTITION, RECEIVED_AT, RESCUED};
use lacus_lake::{
    Column, ColumnType, Commit, FileSizes, Lake, Places, RawWriter, Table, TableAppend, TableSchema, TailBatch,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Rows per commit.
const ROWS: u64 = 5;
/// Each row whose number this divides is erased.
const ERASED_OF: u64 = 3;
/// How often one commit is tried.
const ATTEMPTS_MAX: u32 = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [directory, work, catalog @ ..] if catalog.len() < 2 => {
            run(Path::new(directory), work, catalog.first().cloned().unwrap_or_default()).await
        }
        _ => Err(Error::invalid("usage: commit DIR COUNT|verify|erase|views|bucket|bucket-verify [URL]")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("failed: {}", error.chain()));
            ExitCode::from(error.kind().exit_code())
        }
    }
}

async fn run(directory: &Path, work: &str, catalog: String) -> Result<()> {
    let bucket = work.starts_with("bucket").then(|| bucket::BUCKET.to_owned());
    let settings = settings::Lake { catalog: catalog.into(), bucket, ..settings::Lake::default() };
    let lake = Lake::open_as(directory, &settings, Arc::new(SystemClock)).await?;
    match work {
        "verify" => verify_rows(&lake, directory).await,
        "erase" => erase_rows(&lake).await,
        "views" => views::change_all(&lake).await,
        "bucket" => bucket::put_all(&lake).await,
        "bucket-verify" => bucket::verify(&lake, directory).await,
        _ => match work.parse() {
            Ok(count) => commit_rows(&lake, count).await,
            Err(_) => Err(Error::invalid(format!("\"{work}\" is no number of commits"))),
        },
    }
}

async fn commit_rows(lake: &Lake, count: u64) -> Result<()> {
    let stream = StreamName::new("t")?;
    let schema = schema();
    let (partition, sort) = ("truncate[2](n)".parse(), "n desc".parse());
    let layout = settings::Table {
        partition: Some(vec![partition.map_err(Error::internal)?]),
        sort: Some(vec![sort.map_err(Error::internal)?]),
        ..settings::Table::default()
    };
    lake.set_layouts([(stream.table(), layout)].into());
    let table = lake.create_table(&stream.table(), schema.clone()).await?;
    for _ in 0..count {
        let first = table.state().delivered.next(Partition(0)).0;
        let (batch, raw) = (numbered(&schema, first)?, raw_of(first)?);
        table.append_tail(&schema, TailBatch { bytes: batch.get_array_memory_size(), rows: batch });
        for _ in 0..ATTEMPTS_MAX {
            let append = TableAppend { table: Arc::clone(&table), schema: schema.clone(), batches: 1 };
            let delivered = Offsets::from_iter([(Partition(0), Offset(first + ROWS))]);
            let commit = Commit { stream: stream.clone(), delivered, tables: vec![append], raw: raw.clone() };
            match lake.commit(commit).await {
                Ok(_) => {
                    say(&format!("committed {first}"));
                    break;
                }
                Err(error) => say(&format!("refused {first}: {}", error.chain())),
            }
        }
        if table.state().delivered.next(Partition(0)).0 == first {
            return Err(Error::unavailable("a commit was refused too often"));
        }
        compact(lake, &table).await;
    }
    Ok(())
}

/// Merges files of a partition once there are two; that it fails changes nothing.
async fn compact(lake: &Lake, table: &Arc<Table>) {
    let sizes = FileSizes { target_bytes: 1 << 20, files_min: 2 };
    match lake.compact(table, sizes, Arc::default()).await {
        Ok(None) => {}
        Ok(Some(report)) => say(&format!("merged {} files", report.files)),
        Err(error) => say(&format!("not merged: {}", error.chain())),
    }
}

/// Erases every third row of those that any snapshot has.
async fn erase_rows(lake: &Lake) -> Result<()> {
    let (stream, mut places) = (StreamName::new("t")?, Places::default());
    let rows = lake.table(&stream.table()).map_or(0, |table| table.state().delivered.next(Partition(0)).0);
    let now = SystemClock.now();
    for number in (0..rows).filter(|number| number % ERASED_OF == 0) {
        let position = Position { partition: Partition(0), offset: Offset(number) };
        places.add(position, now)?;
        // The hour may have changed since they came.
        places.add(position, Timestamp::from_micros(now.as_micros() - 3_600_000_000))?;
    }
    match lake.erase(&stream, places).await {
        Ok(erased) => say(&format!("erased {}", erased.raw.events)),
        Err(error) => say(&format!("refused: {}", error.chain())),
    }
    Ok(())
}

async fn verify_rows(lake: &Lake, directory: &Path) -> Result<()> {
    for finding in lake.check().await? {
        say(&format!("finding {finding}"));
    }
    say(&format!("views {}", views::steps_done(lake)?));
    let Some(table) = lake.table(&StreamName::new("t")?.table()) else {
        say("offset 0");
        return Ok(());
    };
    for number in numbers(&directory.join("lake"), &table)? {
        say(&format!("row {number}"));
    }
    say(&format!("offset {}", table.state().delivered.next(Partition(0)).0));
    Ok(())
}

fn schema() -> TableSchema {
    let column = Column::new;
    let columns = vec![column(5, "n", ColumnType::Long), column(6, "text", ColumnType::Text)];
    TableSchema { columns, last_id: 6, ..TableSchema::empty() }
}

fn numbered(schema: &TableSchema, first: u64) -> Result<RecordBatch> {
    let numbers: Vec<i64> = (first..first + ROWS).map(u64::cast_signed).collect();
    let now = SystemClock.now().as_micros();
    let column = |field: &Field| -> ArrayRef {
        match field.name().as_str() {
            "text" => Arc::new(numbers.iter().map(|number| Some(format!("row {number}"))).collect::<StringArray>()),
            RESCUED => Arc::new(StringArray::new_null(numbers.len())),
            RECEIVED_AT => Arc::new(
                TimestampMicrosecondArray::from_value(now, numbers.len()).with_data_type(field.data_type().clone()),
            ),
            PARTITION => Arc::new(Int32Array::from_value(0, numbers.len())),
            "n" | OFFSET => Arc::new(Int64Array::from(numbers.clone())),
            other => unreachable!("column {other}"),
        }
    };
    let arrow = schema.arrow();
    let columns = arrow.fields().iter().map(|field| column(field)).collect();
    RecordBatch::try_new(arrow, columns).map_err(|error| Error::internal("make rows").with_source(error))
}

fn raw_of(first: u64) -> Result<Vec<lacus_lake::RawFile>> {
    let mut raw = RawWriter::default();
    for number in first..first + ROWS {
        raw.add(&Record {
            position: Position { partition: Partition(0), offset: Offset(number) },
            received_at: SystemClock.now(),
            key: None,
            id: None,
            value: format!("{{\"n\":{number}}}").into(),
        })?;
    }
    raw.finish()
}

fn numbers(files: &Path, table: &Table) -> Result<Vec<i64>> {
    let mut numbers = Vec::new();
    for file in table.state().files.iter() {
        let path: PathBuf = files.join(&file.path);
        let broken = |error| Error::corrupt(format!("read {}", path.display())).with_source(error);
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path)?).map_err(broken)?;
        for batch in reader.build().map_err(broken)? {
            let batch = batch.map_err(|error| broken(error.into()))?;
            let column = batch.column_by_name("n").map(|column| column.as_primitive::<Int64Type>());
            numbers.extend(column.into_iter().flat_map(|column| column.values().iter().copied()));
        }
    }
    Ok(numbers)
}

/// Prints a line at once: the process may be killed at any time.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: there is nothing left to do about it.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
