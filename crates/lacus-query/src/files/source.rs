//! One file, or what a client sent, read into rows of a table.

use std::collections::HashSet;
use std::io::BufRead;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt;
use lacus_core::settings::Contract;
use lacus_core::{Kind, Offset, Partition, Position, Record as Event, Timestamp};
use lacus_lake::decode::{Decoded, decode_under};
use lacus_lake::{Compression, OutsideFile, Piece, TableSchema};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::ParquetObjectReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::binary::{DecodeBinary, Tuples, Values};
use super::columns::Columns;
use super::options::{Form, How, TextForm};
use super::records::{Record, Records};
use super::sent::Sent;
use super::writer::of_lake;
use crate::error::{SqlError, out_of_memory};
use crate::postgres::postgres_type;

/// The most rows, and bytes of text, that are sent to the lake together.
const ROWS_AT_ONCE: usize = 8_192;
const BYTES_AT_ONCE: usize = 4 << 20;
/// The longest line of JSON, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// The most spellings that fields of JSON may use for one column.
const SPELLINGS_MAX: usize = 8;

/// What rows are read from.
#[derive(Debug)]
pub(super) enum Input {
    File(OutsideFile),
    Sent(Sent),
}

impl Input {
    /// How people call it.
    fn name(&self) -> &str {
        match self {
            Self::File(file) => &file.name,
            Self::Sent(_) => "STDIN",
        }
    }

    fn read(&self, compression: Option<Compression>) -> Result<Box<dyn BufRead + Send>, SqlError> {
        match self {
            Self::File(file) => file.read(compression).map_err(of_lake),
            Self::Sent(sent) => Ok(sent.read()),
        }
    }
}

/// Where rows go that are read.
#[derive(Clone)]
pub(super) struct Outlet {
    send: mpsc::Sender<Piece>,
    /// Whose memory it is that they have until they are taken; none if nobody counts.
    memory: Option<Arc<MemoryReservation>>,
}

impl Outlet {
    /// Rows go here, and nobody counts: who takes them has a bound of its own.
    pub(super) fn uncounted(send: mpsc::Sender<Piece>) -> Self {
        Self { send, memory: None }
    }

    /// Rows go here, and count until whoever takes them takes [`bytes_of`] them off.
    pub(super) fn counted(send: mpsc::Sender<Piece>, memory: Arc<MemoryReservation>) -> Self {
        Self { send, memory: Some(memory) }
    }

    /// Counts some memory until what is returned is dropped.
    fn hold(&self, bytes: usize) -> Result<Option<MemoryReservation>, SqlError> {
        let Some(memory) = &self.memory else { return Ok(None) };
        let held = memory.new_empty();
        held.try_grow(bytes).map_err(|error| out_of_memory().with_source(error))?;
        Ok(Some(held))
    }

    /// Sends rows, once there is memory for them beside those that wait. Whether there is anybody who wants more.
    async fn send(&self, rows: RecordBatch) -> Result<bool, SqlError> {
        let Some(memory) = &self.memory else { return Ok(self.send.send(Piece::Added(rows)).await.is_ok()) };
        let bytes = bytes_of(&rows);
        if memory.try_grow(bytes).is_ok() {
            return Ok(self.send.send(Piece::Added(rows)).await.is_ok());
        }
        // When all those before are taken, there may be.
        let Ok(mut free) = self.send.reserve_many(self.send.max_capacity()).await else { return Ok(false) };
        memory.try_grow(bytes).map_err(|error| out_of_memory().with_source(error))?;
        if let Some(place) = free.next() {
            place.send(Piece::Added(rows));
        }
        Ok(true)
    }
}

/// What rows that wait are counted as.
pub(super) fn bytes_of(rows: &RecordBatch) -> usize {
    rows.get_array_memory_size()
}

/// Reads one of the inputs, and sends its rows.
///
/// # Errors
/// With file and line of what is wrong; `53200` if there is no memory for them.
pub(super) async fn read_input(
    how: &How,
    inputs: &Arc<Vec<Input>>,
    index: usize,
    columns: &Arc<Columns>,
    schema: &Arc<TableSchema>,
    out: &Outlet,
) -> Result<(), SqlError> {
    if let (Form::Parquet, Input::File(file)) = (&how.form, &inputs[index]) {
        return read_parquet(how, file, columns, out).await;
    }
    let (how, inputs, columns) = (how.clone(), Arc::clone(inputs), Arc::clone(columns));
    let (schema, out, runtime) = (Arc::clone(schema), out.clone(), Handle::current());
    let reading = spawn_blocking(move || {
        let input = &inputs[index];
        let from = input.read(how.compression)?;
        let _gathered = out.hold(BYTES_AT_ONCE)?;
        let reading = Reading { how: &how, input, columns: &columns, out: &out, runtime: &runtime };
        match (&how.form, input) {
            (Form::Text(form), _) => reading.text(from, form),
            (Form::Binary, Input::Sent(sent)) => reading.binary(from, sent.decode),
            _ => reading.json(from, &schema),
        }
    });
    let unexpected = "reading a file ended unexpectedly";
    reading.await.map_err(|error| SqlError::new(Kind::Internal, "XX000", unexpected).with_source(error))?
}

/// What is needed to read an input.
struct Reading<'a> {
    how: &'a How,
    input: &'a Input,
    columns: &'a Columns,
    out: &'a Outlet,
    runtime: &'a Handle,
}

/// The line of each gathered row; for tuples, its number among all.
type Lines = Vec<u64>;

impl Reading<'_> {
    fn text(&self, from: Box<dyn BufRead + Send>, form: &TextForm) -> Result<(), SqlError> {
        let mut records = Records::new(from, form.clone());
        records.skip_lines(self.how.lines_ignored).map_err(|error| self.unreadable(1, &error))?;
        let mut record = Record::default();
        let mut gathered = self.builders();
        let (mut lines, mut bytes) = (Lines::new(), 0);
        loop {
            let is_there = records.next(&mut record).map_err(|error| self.unreadable(record.line, &error))?;
            if !is_there {
                break;
            }
            if record.is_blank() && self.how.blank_lines_ignored {
                continue;
            }
            match self.gather(&record, &mut gathered) {
                Ok(more) => bytes += more,
                Err(error) => {
                    // Errors in earlier rows are reported first.
                    self.send_text(gathered, &lines)?;
                    return Err(error);
                }
            }
            lines.push(record.line);
            if lines.len() >= ROWS_AT_ONCE || bytes >= BYTES_AT_ONCE {
                let full = std::mem::replace(&mut gathered, self.builders());
                if !self.send_text(full, &lines)? {
                    return Ok(());
                }
                lines.clear();
                bytes = 0;
            }
        }
        self.send_text(gathered, &lines).map(drop)
    }

    fn builders(&self) -> Vec<StringBuilder> {
        self.columns.places.iter().map(|_| StringBuilder::new()).collect()
    }

    /// Adds the fields of a record to the columns, and says how many bytes they have.
    fn gather(&self, record: &Record, into: &mut [StringBuilder]) -> Result<usize, SqlError> {
        let is_short = record.len() < into.len() && !self.how.fills_records;
        if is_short || record.len() > into.len() {
            let (has, wants) = (record.len(), into.len());
            let error =
                self.wrong("22P04", record.line, &format!("it has {has} fields, and there are {wants} columns"));
            return Err(error.with_hint(self.how.advice.fields));
        }
        let fields = (0..record.len()).map(|index| record.field(index)).collect::<Result<Vec<_>, _>>();
        let fields = fields.map_err(|_| self.wrong("22021", record.line, "it is not UTF-8"))?;
        let mut bytes = 0;
        for (index, values) in into.iter_mut().enumerate() {
            let text = fields.get(index).copied().flatten();
            let text = text.filter(|text| !(self.how.empty_is_null && text.is_empty()));
            let text = text.filter(|text| !(self.how.blank_is_null && !text.is_empty() && text.trim().is_empty()));
            bytes += text.map_or(1, str::len);
            values.append_option(text);
        }
        Ok(bytes)
    }

    /// Whether somebody still wants more.
    fn send_text(&self, gathered: Vec<StringBuilder>, lines: &Lines) -> Result<bool, SqlError> {
        let columns = gathered.into_iter().map(|mut values| Arc::new(values.finish()) as ArrayRef);
        let columns: Vec<(usize, ArrayRef)> = self.columns.places.iter().copied().zip(columns).collect();
        self.send(&columns, lines)
    }

    fn send(&self, columns: &[(usize, ArrayRef)], lines: &Lines) -> Result<bool, SqlError> {
        if lines.is_empty() {
            return Ok(true);
        }
        match self.columns.rows(columns, lines.len())? {
            Ok(rows) => self.runtime.block_on(self.out.send(rows)),
            Err(misfit) => Err(self.wrong("22P02", lines.get(misfit.row).copied().unwrap_or(0), &misfit.what)),
        }
    }

    /// Tuples of values in Postgres' binary format.
    fn binary(&self, from: Box<dyn BufRead + Send>, decode: DecodeBinary) -> Result<(), SqlError> {
        let names = self.columns.places.iter().map(|&place| self.columns.all.field(place).name().clone());
        let mut tuples = Tuples::new(from, names.collect()).map_err(|error| self.unreadable(0, &error))?;
        let mut gathered = self.values();
        let (mut rows, mut bytes) = (Lines::new(), 0);
        for row in 1.. {
            match tuples.next(&mut gathered) {
                Ok(Some(more)) => bytes += more,
                Ok(None) => break,
                Err(error) => {
                    // Errors in earlier rows are reported first.
                    self.send_values(&gathered, &rows, decode)?;
                    return Err(self.unreadable(row, &error));
                }
            }
            rows.push(row);
            if rows.len() >= ROWS_AT_ONCE || bytes >= BYTES_AT_ONCE {
                let full = std::mem::replace(&mut gathered, self.values());
                if !self.send_values(&full, &rows, decode)? {
                    return Ok(());
                }
                rows.clear();
                bytes = 0;
            }
        }
        self.send_values(&gathered, &rows, decode).map(drop)
    }

    fn values(&self) -> Vec<Values> {
        self.columns.places.iter().map(|_| Values::default()).collect()
    }

    /// Whether somebody still wants more.
    fn send_values(&self, gathered: &[Values], rows: &Lines, decode: DecodeBinary) -> Result<bool, SqlError> {
        let mut columns = Vec::with_capacity(gathered.len());
        // The place of the first invalid value.
        let mut wrong: Option<(usize, usize)> = None;
        for (&place, values) in self.columns.places.iter().zip(gathered) {
            match decode(self.columns.all.field(place), &values.first(rows.len())) {
                Ok(values) => columns.push((place, values)),
                Err(row) if wrong.is_none_or(|(first, _)| row < first) => wrong = Some((row, place)),
                Err(_) => {}
            }
        }
        let Some((row, place)) = wrong else { return self.send(&columns, rows) };
        let field = self.columns.all.field(place);
        let what = format!("column \"{}\": the value is no {} in binary", field.name(), postgres_type(field));
        Err(self.wrong("22P03", rows.get(row).copied().unwrap_or(0), &what))
    }

    /// One object per line, decoded as events are.
    fn json(&self, mut from: Box<dyn BufRead + Send>, schema: &TableSchema) -> Result<(), SqlError> {
        let mut schema = schema.clone();
        let (mut events, mut lines, mut bytes, mut line) = (Vec::new(), Lines::new(), 0, 0);
        loop {
            let mut text = Vec::new();
            let read = std::io::Read::take(&mut from, LINE_BYTES_MAX + 1).read_until(b'\n', &mut text);
            let read = read.map_err(|error| self.unreadable(line + 1, &error))?;
            line += 1;
            if read as u64 > LINE_BYTES_MAX {
                return Err(self.wrong("54000", line, &format!("it has more than {LINE_BYTES_MAX} bytes")));
            }
            if line > self.how.lines_ignored && !text.trim_ascii().is_empty() {
                bytes += text.len();
                lines.push(line);
                events.push(event(text, lines.len()));
            }
            let is_last = read == 0;
            if is_last || events.len() >= ROWS_AT_ONCE || bytes >= BYTES_AT_ONCE {
                if !self.send_events(&events, &lines, &mut schema)? || is_last {
                    return Ok(());
                }
                events.clear();
                lines.clear();
                bytes = 0;
            }
        }
    }

    fn send_events(&self, events: &[Event], lines: &Lines, schema: &mut TableSchema) -> Result<bool, SqlError> {
        let contract = if self.how.passes_others { Contract::Freeze } else { Contract::Strict };
        let mut decoded = decode_under(events, schema, contract).map_err(of_lake)?;
        if let Some(rejected) = decoded.rejected.first() {
            return Err(self.wrong("22P02", lines[rejected.index], &rejected.reason));
        }
        while self.how.passes_others
            && let Some((row, field)) = first_misfit(&decoded, schema)
        {
            if !learn(schema, &field) {
                let what = format!("{field}: not of the type or the name of its column");
                return Err(self.wrong("22P02", lines[row], &what));
            }
            decoded = decode_under(events, schema, contract).map_err(of_lake)?;
        }
        if decoded.widened {
            // Integers became fractions: only `ALTER TABLE` may change a column so.
            let widens = |event: &&Event| {
                let alone = decode_under(std::slice::from_ref(*event), schema, Contract::Strict);
                alone.is_ok_and(|alone| alone.widened)
            };
            let line = events.iter().position(|event| widens(&event)).map_or(0, |index| lines[index]);
            return Err(self.wrong("22P02", line, "a fraction does not fit a column of whole numbers"));
        }
        let mut columns = Vec::new();
        // After the table's columns come the system columns, of events that never were.
        let own = decoded.rows.columns().iter().take(schema.columns.len()).enumerate();
        for (place, column) in own {
            let has_values = column.null_count() < column.len();
            if self.columns.places.contains(&place) {
                columns.push((place, Arc::clone(column)));
            } else if has_values && self.columns.are_named {
                let name = self.columns.all.field(place).name();
                return Err(self.wrong(
                    "42703",
                    lines[0],
                    &format!("it has \"{name}\", which is not among the columns that are named"),
                ));
            }
        }
        self.send(&columns, lines)
    }

    fn unreadable(&self, line: u64, error: &std::io::Error) -> SqlError {
        match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidInput => {
                self.wrong("22P04", line, &error.to_string())
            }
            _ => SqlError::new(Kind::Unavailable, "58030", format!("{} can't be read: {error}", self.input.name())),
        }
    }

    fn wrong(&self, sqlstate: &'static str, line: u64, what: &str) -> SqlError {
        let place = match (&self.how.form, line) {
            (Form::Binary, 0) => "the beginning".to_owned(),
            (Form::Binary, row) => format!("row {row}"),
            (_, line) => format!("line {line}"),
        };
        SqlError::invalid(sqlstate, format!("{place} of {}: {what}", self.input.name()))
            .with_hint(self.how.advice.value)
    }
}

/// A line as an event, whose origin nobody sees.
fn event(text: Vec<u8>, number: usize) -> Event {
    let offset = Offset(number as u64);
    Event {
        position: Position { partition: Partition(0), offset },
        received_at: Timestamp::from_micros(0),
        key: None,
        id: None,
        value: text.into(),
    }
}

/// The first row with a field that does not fit its column, and the path of that field. Fields whose names match no column,
/// in any spelling, are ignored.
fn first_misfit(decoded: &Decoded, schema: &TableSchema) -> Option<(usize, String)> {
    // The first behind the table's own.
    let rescued = decoded.rows.columns().get(schema.columns.len())?.as_string_opt::<i32>()?;
    let columns: Vec<String> = schema.columns.iter().map(|column| column.name.to_lowercase()).collect();
    let is_of_column = |path: &str| {
        let path = path.to_lowercase();
        let within = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
        // The whole line is under `$`: whether its fields should be ignored is not known.
        path == "$" || columns.iter().any(|column| path.strip_prefix(column.as_str()).is_some_and(within))
    };
    let mut passed = HashSet::new();
    for row in (0..rescued.len()).filter(|row| rescued.is_valid(*row)) {
        let fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(rescued.value(row)).unwrap_or_default();
        for path in fields.into_iter().map(|(path, _)| path) {
            if passed.contains(&path) {
                continue;
            }
            if is_of_column(&path) {
                return Some((row, path));
            }
            passed.insert(path);
        }
    }
    None
}

/// Makes a column known by a name that differs from its own only by case; whether that was new.
fn learn(schema: &mut TableSchema, name: &str) -> bool {
    let lower = name.to_lowercase();
    let column = schema.columns.iter_mut().find(|column| column.name != name && column.name.to_lowercase() == lower);
    match column {
        Some(column) if column.aliases.len() < SPELLINGS_MAX && column.aliases.iter().all(|alias| alias != name) => {
            column.aliases.push(name.to_owned());
            true
        }
        _ => false,
    }
}

async fn read_parquet(how: &How, file: &OutsideFile, columns: &Columns, out: &Outlet) -> Result<(), SqlError> {
    let damaged =
        |error: ParquetError| SqlError::invalid("22P04", format!("{} can't be read as Parquet: {error}", file.name));
    let (store, path) = file.object().map_err(of_lake)?;
    let mut reader = ParquetObjectReader::new(store, path).with_file_size(file.bytes);
    let metadata = metadata(&mut reader).await.map_err(damaged)?;
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
    let (mut places, mut read) = (Vec::new(), Vec::new());
    for (index, field) in builder.schema().fields().iter().enumerate() {
        let Some(place) = columns.place_of(field.name()) else {
            if how.passes_others {
                continue;
            }
            let known = if columns.are_named {
                "is not among the columns that are named"
            } else {
                "the table has no such column"
            };
            let message = format!("{} has a column \"{}\": {known}", file.name, field.name());
            return Err(SqlError::invalid("42703", message));
        };
        if places.contains(&place) {
            return Err(SqlError::invalid("42701", format!("{} has two columns \"{}\"", file.name, field.name())));
        }
        places.push(place);
        read.push(index);
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), read);
    let _row_group = out.hold(largest_row_group(builder.metadata(), &mask))?;
    let builder = builder.with_projection(mask).with_batch_size(ROWS_AT_ONCE);
    let mut batches = builder.build().map_err(damaged)?;
    let mut first = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(damaged)?;
        let values: Vec<(usize, ArrayRef)> = places.iter().copied().zip(batch.columns().iter().cloned()).collect();
        match columns.rows(&values, batch.num_rows())? {
            Ok(rows) => {
                if !out.send(rows).await? {
                    return Ok(());
                }
            }
            Err(misfit) => {
                let row = first + misfit.row as u64 + 1;
                let error = SqlError::invalid("22P02", format!("row {row} of {}: {}", file.name, misfit.what));
                return Err(error.with_hint(how.advice.value));
            }
        }
        first += batch.num_rows() as u64;
    }
    Ok(())
}

/// Bytes of the largest part of a file that is in memory at once: a row group, compressed, in the columns that are read.
fn largest_row_group(file: &ParquetMetaData, read: &ProjectionMask) -> usize {
    let groups = file.row_groups().iter().map(|group| {
        let chunks = group.columns().iter().enumerate().filter(|(leaf, _)| read.leaf_included(*leaf));
        chunks.map(|(_, chunk)| usize::try_from(chunk.compressed_size()).unwrap_or(0)).sum::<usize>()
    });
    groups.max().unwrap_or(0)
}

/// What a file says of itself. Times that were written as 96 bits are read in microseconds: in nanoseconds only those of some
/// centuries could be told.
async fn metadata(reader: &mut ParquetObjectReader) -> Result<ArrowReaderMetadata, ParquetError> {
    let metadata = ArrowReaderMetadata::load_async(reader, ArrowReaderOptions::new()).await?;
    let roots = metadata.parquet_schema().root_schema().get_fields();
    let is_wide = |index: usize| {
        let root = roots.get(index);
        root.is_some_and(|root| root.is_primitive() && root.get_physical_type() == PhysicalType::INT96)
    };
    let fields = metadata.schema().fields().iter().enumerate();
    let fields = fields.map(|(index, field)| match field.data_type() {
        DataType::Timestamp(_, zone) if is_wide(index) => {
            let kind = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            Arc::new(field.as_ref().clone().with_data_type(kind))
        }
        _ => Arc::clone(field),
    });
    let fields: Vec<_> = fields.collect();
    if fields.iter().zip(metadata.schema().fields()).all(|(field, before)| field == before) {
        return Ok(metadata);
    }
    let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}
