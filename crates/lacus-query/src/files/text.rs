//! Rows as lines of text, as Redshift writes them; Athena's differ in booleans only.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::FormatOptions;
use lacus_core::Kind;
use lacus_lake::schema::is_uuid;

use super::options::{Quotes, TextForm};
use crate::error::SqlError;
use crate::json::{text_column, uuid_text};

/// A timestamp; the second format marks it as UTC.
const TIME: &str = "%Y-%m-%d %H:%M:%S%.f";
const TIME_UTC: &str = "%Y-%m-%d %H:%M:%S%.f+00";

/// Appends the line of names.
pub(super) fn write_header(names: &[String], form: &TextForm, out: &mut Vec<u8>) {
    write_line(names.iter().map(|name| Some(name.as_str())), form, out);
}

/// Appends a line for each row.
///
/// # Errors
/// For values that have no text.
pub(super) fn write_rows(rows: &RecordBatch, form: &TextForm, out: &mut Vec<u8>) -> Result<(), SqlError> {
    let schema = rows.schema();
    let columns =
        schema.fields().iter().zip(rows.columns()).map(|(field, column)| texts(column, field, form.long_booleans));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    for row in 0..rows.num_rows() {
        write_line(columns.iter().map(|column| column.is_valid(row).then(|| column.value(row))), form, out);
    }
    Ok(())
}

fn write_line<'a>(values: impl Iterator<Item = Option<&'a str>>, form: &TextForm, out: &mut Vec<u8>) {
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.push(form.delimiter);
        }
        match (value, form.quotes) {
            (None, Quotes::Each) => {
                out.push(form.quote);
                out.extend_from_slice(form.null.as_bytes());
                out.push(form.quote);
            }
            (None, _) => out.extend_from_slice(form.null.as_bytes()),
            (Some(value), Quotes::Csv) => write_csv(value, form, out),
            (Some(value), Quotes::Each) => {
                out.push(form.quote);
                write_plain(value, form, out);
                out.push(form.quote);
            }
            (Some(value), Quotes::None) => write_plain(value, form, out),
        }
    }
    out.push(b'\n');
}

fn write_csv(value: &str, form: &TextForm, out: &mut Vec<u8>) {
    let needs = |byte: &u8| *byte == form.delimiter || *byte == form.quote || b"\n\r".contains(byte);
    // In quotes it is a value, even if it equals the text for null.
    if value != form.null && !value.as_bytes().iter().any(needs) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    out.push(form.quote);
    for byte in value.bytes() {
        if byte == form.quote {
            out.push(form.quote);
        }
        out.push(byte);
    }
    out.push(form.quote);
}

fn write_plain(value: &str, form: &TextForm, out: &mut Vec<u8>) {
    let quoted = form.quotes == Quotes::Each;
    for byte in value.bytes() {
        let is_special = byte == form.delimiter || b"\n\r\\".contains(&byte) || quoted && b"\"'".contains(&byte);
        if form.escape && is_special {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// The values of a column as text.
///
/// # Errors
/// For a type that has none.
pub(super) fn texts(column: &ArrayRef, field: &FieldRef, long_booleans: bool) -> Result<StringArray, SqlError> {
    let of = |column: &ArrayRef| cast(column, &DataType::Utf8).map_err(no_text);
    let text = match column.data_type() {
        DataType::Boolean if !long_booleans => {
            let booleans = column.as_boolean().iter();
            Arc::new(booleans.map(|value| value.map(|value| if value { "t" } else { "f" })).collect::<StringArray>())
        }
        DataType::FixedSizeBinary(16) if is_uuid(field) => {
            let uuids = column.as_fixed_size_binary().iter();
            Arc::new(uuids.map(|value| value.map(uuid_text)).collect::<StringArray>()) as ArrayRef
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let bytes = cast(column, &DataType::Binary).map_err(no_text)?;
            let bytes = bytes.as_binary::<i32>().iter();
            Arc::new(bytes.map(|value| value.map(hex)).collect::<StringArray>())
        }
        kind if kind.is_nested() => text_column(column, field)?,
        DataType::Timestamp(_, zone) => {
            let utc = zone.as_ref().map(|_| Arc::from("UTC"));
            let time = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, utc)).map_err(no_text)?;
            let format =
                FormatOptions::new().with_timestamp_format(Some(TIME)).with_timestamp_tz_format(Some(TIME_UTC));
            let options = CastOptions { safe: false, format_options: format };
            cast_with_options(&time, &DataType::Utf8, &options).map_err(no_text)?
        }
        DataType::Dictionary(_, value) => {
            let plain = cast(column, value).map_err(no_text)?;
            return texts(&plain, &Arc::new(Field::new(field.name(), value.as_ref().clone(), true)), long_booleans);
        }
        _ => of(column)?,
    };
    Ok(text.as_string::<i32>().clone())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn no_text(error: ArrowError) -> SqlError {
    SqlError::new(Kind::Invalid, "0A000", "the answer has a column that has no form as text")
        .with_hint("cast it to text")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[Option<&str>], form: &TextForm, expected: &str) {
        let mut out = Vec::new();
        write_line(values.iter().copied(), form, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn lines_are_those_of_redshift() {
        let values = [Some("a|b"), Some("say \"x\""), None, Some("two\nlines\\"), Some("it's")];
        let plain = TextForm::delimited();
        check(&values, &plain, "a|b|say \"x\"||two\nlines\\|it's\n");
        let escaped = TextForm { escape: true, ..TextForm::delimited() };
        check(&values, &escaped, "a\\|b|say \"x\"||two\\\nlines\\\\|it's\n");
        let quoted = TextForm { quotes: Quotes::Each, escape: true, null: "\\N".to_owned(), ..TextForm::delimited() };
        check(&values, &quoted, "\"a\\|b\"|\"say \\\"x\\\"\"|\"\\N\"|\"two\\\nlines\\\\\"|\"it\\'s\"\n");
        check(&values, &TextForm::csv(), "a|b,\"say \"\"x\"\"\",,\"two\nlines\\\",it's\n");
        let piped = TextForm { delimiter: b'|', null: "null".to_owned(), ..TextForm::csv() };
        check(&values, &piped, "\"a|b\"|\"say \"\"x\"\"\"|null|\"two\nlines\\\"|it's\n");
        check(&[Some("null"), None, Some("")], &piped, "\"null\"|null|\n");
        check(&[Some(""), None], &TextForm::csv(), "\"\",\n");
    }
}
