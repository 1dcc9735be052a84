//! Answers as JSON text.
//!
//! Numbers keep all their digits, timestamps are RFC 3339, bytes are hexadecimal, numbers that are not finite are null.
//! Inside a nested value, what is null is left out, as it was in the event. A date or time that no calendar has is an error.

use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, MapArray, RecordBatch, StringArray, StringBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use lacus_core::Kind;
use lacus_lake::schema::is_uuid;

use crate::error::SqlError;

/// Appends each row as a JSON array on a line of its own, with a comma in front of all but the first row of the answer.
///
/// # Errors
/// For a type that has no JSON form, and `22008` for a date or time that has none. What is in `out` is of no use then.
pub fn write_arrays(batch: &RecordBatch, first: bool, out: &mut Vec<u8>) -> Result<(), SqlError> {
    with_encoders(batch, |encoders| {
        for row in 0..batch.num_rows() {
            out.extend_from_slice(if first && row == 0 { b"\n[" } else { b",\n[" });
            for (column, encoder) in encoders.iter_mut().enumerate() {
                if column > 0 {
                    out.push(b',');
                }
                write_value(encoder, row, out);
            }
            out.push(b']');
        }
    })
}

/// Appends each row as a JSON object on a line of its own. Null columns are there, as null.
///
/// # Errors
/// As [`write_arrays`].
pub fn write_objects(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), SqlError> {
    let schema = batch.schema();
    let names: Vec<String> = schema.fields().iter().map(|field| quoted(field.name())).collect();
    with_encoders(batch, |encoders| {
        for row in 0..batch.num_rows() {
            out.push(b'{');
            for (column, encoder) in encoders.iter_mut().enumerate() {
                if column > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(names[column].as_bytes());
                out.push(b':');
                write_value(encoder, row, out);
            }
            out.extend_from_slice(b"}\n");
        }
    })
}

/// That an array of texts holds so many bytes more.
///
/// # Errors
/// `54000` above 2 GiB.
pub(crate) fn must_fit(texts: &StringBuilder, bytes: usize) -> Result<(), SqlError> {
    if texts.values_slice().len() + bytes <= i32::MAX.unsigned_abs() as usize {
        return Ok(());
    }
    Err(SqlError::new(Kind::Limited, "54000", "texts of more than 2 GiB at once")
        .with_hint("make them shorter, or ask for fewer columns"))
}

/// The values of a column as JSON text; null stays null.
///
/// # Errors
/// As [`write_arrays`], and `54000` if they are more than 2 GiB.
pub fn text_column(array: &ArrayRef, field: &FieldRef) -> Result<ArrayRef, SqlError> {
    let textless = Textless::default();
    let options = options(&textless);
    let mut encoder = make_encoder(field, array, &options).map_err(no_json)?;
    let mut texts = StringBuilder::with_capacity(array.len(), 0);
    let mut text = Vec::new();
    let nulls = array.logical_nulls();
    for row in 0..array.len() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            texts.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        must_fit(&texts, text.len())?;
        texts.append_value(String::from_utf8_lossy(&text));
    }
    must_have_text(&textless)?;
    Ok(Arc::new(texts.finish()))
}

/// A JSON string literal.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control < ' ' => {
                use std::fmt::Write;
                write!(quoted, "\\u{:04x}", control as u32).expect("a string takes all text");
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The columns of an answer, with their types as people call them: `[("user_id", "text"), …]`.
#[must_use]
pub fn columns(schema: &SchemaRef) -> Vec<(String, String)> {
    let kind = |field: &FieldRef| if is_uuid(field) { "uuid".to_owned() } else { type_name(field.data_type()) };
    schema.fields().iter().map(|field| (field.name().clone(), kind(field))).collect()
}

/// A type as SQL calls it: `bigint`, `text`, `struct<price double precision>`.
#[must_use]
pub fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Null => "text".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 => "bigint".to_owned(),
        DataType::UInt64 => "numeric(20,0)".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea".to_owned()
        }
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        DataType::Timestamp(_, None) => "timestamp".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_owned(),
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => format!("numeric({digits},{scale})"),
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("{} {}", field.name(), type_name(field.data_type()))).collect();
            format!("struct<{}>", fields.join(", "))
        }
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            format!("{}[]", type_name(element.data_type()))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(entry) => {
                format!("map<{}, {}>", type_name(entry[0].data_type()), type_name(entry[1].data_type()))
            }
            other => type_name(other),
        },
        DataType::Dictionary(_, value) => type_name(value),
        other => other.to_string().to_lowercase(),
    }
}

fn options(textless: &Textless) -> EncoderOptions {
    EncoderOptions::default().with_encoder_factory(Arc::new(OurForms { textless: Arc::clone(textless) }))
}

/// The type of the first value without a text form. Encoders can't fail, so they record it here.
type Textless = Arc<OnceLock<DataType>>;

fn must_have_text(textless: &Textless) -> Result<(), SqlError> {
    let Some(kind) = textless.get() else { return Ok(()) };
    let message = format!("{} out of range: the calendar of JSON answers has no such value", type_name(kind));
    Err(SqlError::invalid("22008", message).with_hint("cast it to a number, or leave it out"))
}

/// The values for which Arrow's encoder has no form, or another one than ours.
#[derive(Debug)]
struct OurForms {
    textless: Textless,
}

impl EncoderFactory for OurForms {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let nulls = array.nulls().cloned();
        if is_uuid(field)
            && let Some(values) = array.as_fixed_size_binary_opt()
        {
            return Ok(Some(NullableEncoder::new(Box::new(Uuids(values)), nulls)));
        }
        if is_moment(array.data_type()) {
            let (formatter, text) = (ArrayFormatter::try_new(array, &FormatOptions::new())?, String::new());
            let moments = Moments { formatter, kind: array.data_type(), textless: Arc::clone(&self.textless), text };
            return Ok(Some(NullableEncoder::new(Box::new(moments), nulls)));
        }
        match (field.data_type(), array.as_map_opt()) {
            (DataType::Map(entries, _), Some(maps)) => {
                let encoder = Maps::new(entries, maps, options)?;
                Ok(Some(NullableEncoder::new(Box::new(encoder), nulls)))
            }
            _ => Ok(None),
        }
    }
}

fn is_moment(kind: &DataType) -> bool {
    use DataType::{Date32, Date64, Time32, Time64, Timestamp};
    matches!(kind, Date32 | Date64 | Time32(_) | Time64(_) | Timestamp(..))
}

/// Dates and times as Arrow writes them, or null: Arrow would write its error message as the value.
struct Moments<'a> {
    formatter: ArrayFormatter<'a>,
    kind: &'a DataType,
    textless: Textless,
    text: String,
}

impl Encoder for Moments<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        self.text.clear();
        if self.formatter.value(row).write(&mut self.text).is_err() {
            // The first one is enough.
            let _later = self.textless.set(self.kind.clone());
            return out.extend_from_slice(b"null");
        }
        out.push(b'"');
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'"');
    }
}

/// `"0db3e2a8-9d1d-42b9-aa7b-74ebe558dceb"`
struct Uuids<'a>(&'a FixedSizeBinaryArray);

impl Encoder for Uuids<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("\"{}\"", uuid_text(self.0.value(row))).as_bytes());
    }
}

/// Maps as objects, whatever the type of their keys: names in JSON are text. Null values are kept.
struct Maps<'a> {
    maps: &'a MapArray,
    keys: StringArray,
    values: NullableEncoder<'a>,
}

impl<'a> Maps<'a> {
    fn new(entries: &'a FieldRef, maps: &'a MapArray, options: &'a EncoderOptions) -> Result<Self, ArrowError> {
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(ArrowError::JsonError("a map without entries".to_owned()));
        };
        let keys = match &fields[0] {
            key if is_uuid(key) => maps.keys().as_fixed_size_binary().iter().map(|key| key.map(uuid_text)).collect(),
            _ => cast(maps.keys(), &DataType::Utf8)?.as_string::<i32>().clone(),
        };
        Ok(Self { maps, keys, values: make_encoder(&fields[1], maps.values(), options)? })
    }
}

impl Encoder for Maps<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let offsets = self.maps.value_offsets();
        let number = |offset: i32| usize::try_from(offset).unwrap_or(0);
        let entries = number(offsets[row])..number(offsets[row + 1]);
        out.push(b'{');
        for (index, entry) in entries.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(quoted(self.keys.value(entry)).as_bytes());
            out.push(b':');
            write_value(&mut self.values, entry, out);
        }
        out.push(b'}');
    }
}

/// Sixteen bytes as people write a UUID.
#[must_use]
pub fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn with_encoders(batch: &RecordBatch, write: impl FnOnce(&mut Vec<NullableEncoder<'_>>)) -> Result<(), SqlError> {
    let textless = Textless::default();
    let options = options(&textless);
    let schema = batch.schema();
    let mut encoders = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| make_encoder(field, column, &options))
        .collect::<Result<Vec<_>, _>>()
        .map_err(no_json)?;
    write(&mut encoders);
    must_have_text(&textless)
}

fn write_value(encoder: &mut NullableEncoder<'_>, row: usize, out: &mut Vec<u8>) {
    if encoder.is_null(row) {
        out.extend_from_slice(b"null");
    } else {
        encoder.encode(row, out);
    }
}

fn no_json(error: ArrowError) -> SqlError {
    SqlError::new(Kind::Invalid, "0A000", "the answer has a column that has no JSON form")
        .with_hint("cast it to text")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        Int32Builder, Int64Builder, MapBuilder, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    };
    use datafusion::arrow::datatypes::{Field, TimeUnit};
    use lacus_lake::{Column, ColumnType, TableSchema};

    use super::*;

    #[test]
    fn uuids_and_maps_have_their_usual_forms() {
        let entry = (Column::new(7, "key", ColumnType::Int), Column::new(8, "value", ColumnType::Long));
        let columns =
            vec![Column::new(5, "id", ColumnType::Uuid), Column::new(6, "m", ColumnType::Map(Box::new(entry)))];
        let arrow = TableSchema { columns, last_id: 8, ..TableSchema::default() }.arrow();
        let ids = FixedSizeBinaryArray::try_from_iter([[0x0d_u8; 16]].iter()).unwrap();
        let mut maps = MapBuilder::new(None, Int32Builder::new(), Int64Builder::new());
        maps.keys().append_slice(&[1, -2]);
        maps.values().append_value(10);
        maps.values().append_null();
        maps.append(true).unwrap();
        let maps = cast(&maps.finish(), arrow.field(1).data_type()).unwrap();
        let batch = RecordBatch::try_new(arrow, vec![Arc::new(ids), maps]).unwrap();
        let mut out = Vec::new();
        write_objects(&batch, &mut out).unwrap();
        let expected = "{\"id\":\"0d0d0d0d-0d0d-0d0d-0d0d-0d0d0d0d0d0d\",\"m\":{\"1\":10,\"-2\":null}}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let kinds: Vec<_> = columns_of(&batch);
        assert_eq!(kinds, ["uuid", "map<integer, bigint>"]);
    }

    #[test]
    fn a_time_that_no_calendar_has_is_an_error_and_no_value() {
        let written = |column: ArrayRef| {
            let batch = RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap();
            let mut out = Vec::new();
            let error = write_objects(&batch, &mut out).err();
            let text = text_column(batch.column(0), &batch.schema().fields()[0]).err();
            assert_eq!(error.as_ref().map(SqlError::message), text.as_ref().map(SqlError::message));
            error.map_or_else(
                || String::from_utf8(out).unwrap(),
                |error| format!("{} {}", error.sqlstate(), error.message()),
            )
        };
        let micros = |micros: &[Option<i64>]| TimestampMicrosecondArray::from(micros.to_vec());
        let out_of_range = "out of range: the calendar of JSON answers has no such value";
        assert_eq!(
            written(Arc::new(micros(&[Some(0), None, Some(253_402_300_800_000_000)]))),
            "{\"x\":\"1970-01-01T00:00:00\"}\n{\"x\":null}\n{\"x\":\"+10000-01-01T00:00:00\"}\n"
        );
        assert_eq!(written(Arc::new(micros(&[Some(0), Some(i64::MAX)]))), format!("22008 timestamp {out_of_range}"));
        let zoned = micros(&[Some(i64::MIN)]).with_timezone("+00:00");
        assert_eq!(written(Arc::new(zoned)), format!("22008 timestamptz {out_of_range}"));
        let times = Time64MicrosecondArray::from(vec![86_400_000_001]);
        assert_eq!(written(Arc::new(times)), format!("22008 time {out_of_range}"));
        // What is inside, not what a null hides.
        let covered = StructArray::new(
            vec![Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true)].into(),
            vec![Arc::new(micros(&[Some(i64::MAX), Some(1)]))],
            Some(vec![false, true].into()),
        );
        let expected = "{\"x\":null}\n{\"x\":{\"at\":\"1970-01-01T00:00:00.000001\"}}\n";
        assert_eq!(written(Arc::new(covered.clone())), expected);
        let (fields, columns, _) = covered.into_parts();
        let bare = StructArray::new(fields, columns, None);
        assert_eq!(written(Arc::new(bare)), format!("22008 timestamp {out_of_range}"));
    }

    fn columns_of(batch: &RecordBatch) -> Vec<String> {
        columns(&batch.schema()).into_iter().map(|(_, kind)| kind).collect()
    }
}
