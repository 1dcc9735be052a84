//! What `CREATE EXTERNAL TABLE` says, as Hive, Athena and Redshift Spectrum write it: which columns there are, how files are read,
//! and where they are.
//!
//! What would change which rows are read, and is not done here, is refused by name. What says nothing about that, such as the
//! notes that a crawler leaves among the properties, is passed over.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};
use lacus_lake::{Column, ColumnType, TableSchema};
use trino_functions::syntax::SqlDialect;

use crate::depth::must_be_shallow;
use crate::error::{Names, SqlError, explain};
use crate::files::options::{Advice, Form, How, TextForm, character};
use crate::files::refused;
use crate::files::words::Words;
use crate::writing::{new_column, write_types};

/// What is said of what does not fit.
const ADVICE: Advice = Advice {
    value: "correct the file, or make the table with another type of the column: text takes any text",
    fields: "check the delimiter and 'skip.header.line.count': a line has as many fields as the table has columns",
};
/// The default delimiter, as in Hive.
const DELIMITER: u8 = 1;
/// The default text for null, as in Hive.
const NULL: &str = "\\N";

/// What an external table is.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    /// The columns that files have.
    pub(super) columns: Arc<TableSchema>,
    /// The columns whose values are in the names of folders, outermost first.
    pub(super) folders: Vec<Column>,
    /// All of them.
    pub(super) schema: SchemaRef,
    /// The folder with the files.
    pub(super) location: String,
    pub(super) how: How,
}

impl Definition {
    /// Reads what follows the name of the table.
    ///
    /// # Errors
    /// For what is wrong with it, and for what lacus does not do.
    pub(super) fn read(words: &mut Words<'_>, sql: &str) -> Result<Self, SqlError> {
        let columns = columns(words.parenthesized()?, sql)?;
        let mut clauses = Clauses::default();
        while clauses.take(words, sql)? {}
        clauses.definition(columns)
    }
}

/// What reads rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serde {
    Delimited,
    /// As `OpenCSVSerde` does, with backslashes.
    OpenCsv,
    Csv,
    Json,
    Parquet,
}

/// What files are.
#[derive(Debug, Clone, Copy)]
enum Stored {
    Text,
    Csv,
    Json,
    Parquet,
}

/// The clauses after the columns, in any order.
#[derive(Default)]
struct Clauses {
    folders: Vec<Column>,
    serde: Option<Serde>,
    serde_properties: Vec<(String, String)>,
    stored: Option<Stored>,
    location: Option<String>,
    properties: Vec<(String, String)>,
}

/// The words of `ROW FORMAT DELIMITED`, and the properties of a serde that mean the same.
const DELIMITED: [(&[&str], &str); 6] = [
    (&["FIELDS", "TERMINATED", "BY"], "field.delim"),
    (&["ESCAPED", "BY"], "escape.delim"),
    (&["COLLECTION", "ITEMS", "TERMINATED", "BY"], "collection.delim"),
    (&["MAP", "KEYS", "TERMINATED", "BY"], "mapkey.delim"),
    (&["LINES", "TERMINATED", "BY"], "line.delim"),
    (&["NULL", "DEFINED", "AS"], "serialization.null.format"),
];

/// Table properties that may change which rows are read, or what is a valid value.
const READING: [&str; 12] = [
    "skip.footer.line.count",
    "has_encrypted_data",
    "projection.enabled",
    "storage.location.template",
    "invalid_char_handling",
    "surplus_char_handling",
    "surplus_bytes_handling",
    "numeric_overflow_handling",
    "column_count_mismatch_handling",
    "parquet.column.index.access",
    "ignore.malformed.json",
    "use.null.for.invalid.data",
];

impl Clauses {
    /// Takes one clause; whether there was one.
    fn take(&mut self, words: &mut Words<'_>, sql: &str) -> Result<bool, SqlError> {
        if words.take("COMMENT") {
            words.text()?;
        } else if words.takes_two("PARTITIONED", "BY") {
            self.folders = columns(words.parenthesized()?, sql)?;
        } else if words.takes_two("ROW", "FORMAT") {
            self.take_row_format(words)?;
        } else if words.takes_two("WITH", "SERDEPROPERTIES") {
            self.serde_properties.extend(words.pairs()?);
        } else if words.takes_two("STORED", "AS") {
            self.stored = Some(stored(words)?);
        } else if words.take("LOCATION") {
            self.location = Some(words.text()?);
        } else if words.take("TBLPROPERTIES") || words.takes_two("TABLE", "PROPERTIES") {
            self.properties.extend(words.pairs()?);
        } else if let Some(word) = words.one_of(&["CLUSTERED", "SKEWED", "SORTED"]) {
            return Err(refused(&format!("{word} BY of an external table"), "leave it out: files are read whole"));
        } else if words.take("AS") {
            let hint = "UNLOAD (SELECT …) TO 'folder/' writes files, of which an external table can be made";
            return Err(refused("CREATE EXTERNAL TABLE … AS", hint));
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn take_row_format(&mut self, words: &mut Words<'_>) -> Result<(), SqlError> {
        if words.take("SERDE") {
            self.serde = Some(serde(&words.text()?)?);
            return Ok(());
        }
        words.must("DELIMITED")?;
        self.serde = Some(Serde::Delimited);
        while let Some((rest, name)) =
            DELIMITED.iter().find_map(|(said, name)| words.take(said[0]).then_some((&said[1..], *name)))
        {
            rest.iter().try_for_each(|word| words.must(word))?;
            self.serde_properties.push((name.to_owned(), words.text()?));
        }
        Ok(())
    }

    /// What all of them say.
    fn definition(mut self, columns: Vec<Column>) -> Result<Definition, SqlError> {
        let location = self.location.take().ok_or_else(|| {
            SqlError::invalid("42601", "an external table needs a LOCATION").with_hint("LOCATION 's3://bucket/folder/'")
        })?;
        let serde = self.reader()?;
        let mut how = How::new(self.form(serde)?, ADVICE);
        how.passes_others = true;
        self.apply_properties(&mut how)?;
        let count = columns.len();
        // In a table of one column, an empty line may be an empty text.
        how.blank_lines_ignored = count > 1;
        let folders = std::mem::take(&mut self.folders);
        let all = TableSchema::of_columns(columns.into_iter().chain(folders));
        must_differ(&all.columns)?;
        let (own, folders) = all.columns.split_at(count);
        folders.iter().try_for_each(must_be_of_folders)?;
        let schema = all.arrow();
        let is_text = matches!(how.form, Form::Text(_));
        if let Some(nested) = schema.fields().iter().take(count).find(|field| is_text && field.data_type().is_nested())
        {
            let message = format!("column \"{}\" has lists or objects, which are not read from text", nested.name());
            return Err(SqlError::invalid("0A000", message).with_hint("have them in files of JSON or Parquet"));
        }
        let columns = TableSchema { columns: own.to_vec(), ..all.clone() };
        Ok(Definition { columns: Arc::new(columns), folders: folders.to_vec(), schema, location, how })
    }

    fn reader(&self) -> Result<Serde, SqlError> {
        use Stored::{Csv, Json, Parquet, Text};
        Ok(match (self.serde, self.stored) {
            (None | Some(Serde::Delimited), None | Some(Text)) => Serde::Delimited,
            (Some(Serde::OpenCsv), None | Some(Text | Csv)) => Serde::OpenCsv,
            (None, Some(Csv)) => Serde::Csv,
            (Some(Serde::Json), None | Some(Text | Json)) | (None, Some(Json)) => Serde::Json,
            (Some(Serde::Parquet), None | Some(Parquet)) | (None, Some(Parquet)) => Serde::Parquet,
            _ => {
                return Err(SqlError::invalid("42601", "ROW FORMAT and STORED AS are of two kinds of files")
                    .with_hint("leave one of them out"));
            }
        })
    }

    fn form(&self, serde: Serde) -> Result<Form, SqlError> {
        let plain = TextForm { delimiter: DELIMITER, null: NULL.to_owned(), ..TextForm::delimited() };
        let csv = TextForm { null: NULL.to_owned(), escape: serde == Serde::OpenCsv, ..TextForm::csv() };
        let mut form = match serde {
            Serde::Delimited => Form::Text(plain),
            Serde::OpenCsv | Serde::Csv => Form::Text(csv),
            Serde::Json => Form::Json,
            Serde::Parquet => Form::Parquet,
        };
        let has_delimiter = self.serde_properties.iter().any(|(name, _)| name.eq_ignore_ascii_case("field.delim"));
        for (name, value) in &self.serde_properties {
            let lower = name.to_ascii_lowercase();
            let is_known = match &mut form {
                // Hive writes this where nothing is meant by it.
                _ if lower == "serialization.format" && (has_delimiter || serde != Serde::Delimited) => true,
                Form::Text(form) if serde == Serde::Delimited => delimited_property(form, &lower, value)?,
                Form::Text(form) => csv_property(form, &lower, value)?,
                Form::Json => ["paths", "case.insensitive"].contains(&lower.as_str()) || is_usual(value),
                _ => is_usual(value),
            };
            if !is_known {
                return Err(unknown_property(name, value));
            }
        }
        Ok(form)
    }

    fn apply_properties(&self, how: &mut How) -> Result<(), SqlError> {
        for (name, value) in &self.properties {
            match (name.to_ascii_lowercase().as_str(), &mut how.form) {
                ("skip.header.line.count", Form::Text(_)) => {
                    how.lines_ignored = value.trim().parse().map_err(|_| unknown_property(name, value))?;
                }
                ("serialization.null.format", Form::Text(form)) => form.null.clone_from(value),
                ("skip.header.line.count", Form::Parquet) => {}
                ("skip.header.line.count", _) if !is_usual(value) => return Err(unknown_property(name, value)),
                (lower, _) if READING.contains(&lower) && !is_usual(value) => {
                    return Err(unknown_property(name, value).with_hint(
                        "leave it out: all files below LOCATION are found at each question, with folders as dt=2026-11-22/, and what is no value is an error",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a property asks for what is done anyway.
fn is_usual(value: &str) -> bool {
    ["", "0", "false", "fail", "disabled", "none"].iter().any(|usual| value.trim().eq_ignore_ascii_case(usual))
}

fn unknown_property(name: &str, value: &str) -> SqlError {
    refused(&format!("'{name}' = '{value}'"), "leave it out, or write the files as docs/reference/external.md says")
}

/// Whether a property of delimited text is known.
fn delimited_property(form: &mut TextForm, name: &str, value: &str) -> Result<bool, SqlError> {
    match name {
        "field.delim" | "serialization.format" => form.delimiter = code_or_character(value)?,
        "escape.delim" if is_backslash(value) => form.escape = true,
        "serialization.null.format" => value.clone_into(&mut form.null),
        "line.delim" => return Ok(["\n", "\\n"].contains(&value)),
        // Such columns do not exist here.
        "collection.delim" | "mapkey.delim" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

/// Whether a property of CSV is known.
fn csv_property(form: &mut TextForm, name: &str, value: &str) -> Result<bool, SqlError> {
    match name {
        "separatorchar" => form.delimiter = character(value)?,
        "quotechar" => form.quote = character(value)?,
        "escapechar" if is_backslash(value) => form.escape = true,
        // Quotes in values are doubled.
        "escapechar" if value == "\"" => form.escape = false,
        _ => return Ok(false),
    }
    Ok(true)
}

fn is_backslash(text: &str) -> bool {
    text == "\\" || text == "\\\\"
}

/// A character, or its number: Hive writes `1` for the character with code 1.
fn code_or_character(text: &str) -> Result<u8, SqlError> {
    match text.parse::<u8>() {
        Ok(code) if code.is_ascii() && !b"\n\r".contains(&code) => Ok(code),
        _ => character(text),
    }
}

fn serde(class: &str) -> Result<Serde, SqlError> {
    Ok(match last_word(class).as_str() {
        "lazysimpleserde" => Serde::Delimited,
        "opencsvserde" => Serde::OpenCsv,
        "jsonserde" => Serde::Json,
        "parquethiveserde" => Serde::Parquet,
        _ => return Err(unknown_form(class)),
    })
}

fn stored(words: &mut Words<'_>) -> Result<Stored, SqlError> {
    if words.take("INPUTFORMAT") {
        let class = words.text()?;
        words.must("OUTPUTFORMAT")?;
        words.text()?;
        return match last_word(&class).as_str() {
            "textinputformat" => Ok(Stored::Text),
            "mapredparquetinputformat" => Ok(Stored::Parquet),
            _ => Err(unknown_form(&class)),
        };
    }
    match words.one_of(&["PARQUET", "TEXTFILE", "CSV", "JSONFILE", "JSON"]) {
        Some("PARQUET") => Ok(Stored::Parquet),
        Some("TEXTFILE") => Ok(Stored::Text),
        Some("CSV") => Ok(Stored::Csv),
        Some(_) => Ok(Stored::Json),
        None => Err(unknown_form(&words.name()?.0)),
    }
}

/// The name of a class without its package.
fn last_word(class: &str) -> String {
    class.rsplit('.').next().unwrap_or(class).to_ascii_lowercase()
}

fn unknown_form(name: &str) -> SqlError {
    refused(
        &format!("an external table of {name}"),
        "files are Parquet (STORED AS PARQUET), JSON (JsonSerDe), CSV (OpenCSVSerde) or text between delimiters (ROW FORMAT DELIMITED)",
    )
}

/// Suggests no names: while columns are parsed there are none.
struct NoNames;

impl Names for NoNames {
    fn tables(&self) -> Vec<String> {
        Vec::new()
    }

    fn functions(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Columns with their types, in parentheses.
fn columns(tokens: Vec<TokenWithSpan>, sql: &str) -> Result<Vec<Column>, SqlError> {
    must_be_shallow(&tokens)?;
    // Types are parsed after these words.
    let span = tokens.first().map_or_else(Span::empty, |token| token.span);
    let words = ["CREATE", "TABLE"].map(|word| TokenWithSpan::new(Token::make_keyword(word), span));
    let mut tokens: Vec<TokenWithSpan> = words.into_iter().chain(tokens).collect();
    write_types(&mut tokens);
    let mut parser = Parser::new(&SqlDialect).with_tokens_with_locations(tokens.split_off(2));
    let (definitions, constraints) =
        parser.parse_columns().map_err(|error| explain(DataFusionError::SQL(Box::new(error), None), sql, &NoNames))?;
    if !constraints.is_empty() {
        return Err(refused("a constraint of an external table", "leave it out: files may have anything in them"));
    }
    if definitions.is_empty() {
        return Err(SqlError::invalid("42601", "an external table needs columns")
            .with_hint("CREATE EXTERNAL TABLE t (a bigint, b text) … LOCATION 's3://bucket/folder/'"));
    }
    let columns = definitions.iter().map(new_column).collect::<Result<Vec<_>, _>>()?;
    match columns.iter().find(|column| column.required) {
        Some(column) => Err(refused(
            &format!("NOT NULL of column \"{}\"", column.name),
            "leave it out: files may have anything in them",
        )),
        None => Ok(columns),
    }
}

fn must_differ(columns: &[Column]) -> Result<(), SqlError> {
    let mut names: Vec<String> = columns.iter().map(|column| column.name.to_lowercase()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(SqlError::invalid("42701", format!("two columns are called \"{}\"", twice[0]))
            .with_hint("a column of PARTITIONED BY is not named among the others")),
        None => Ok(()),
    }
}

/// Whether names of folders can be the values of a column.
fn must_be_of_folders(column: &Column) -> Result<(), SqlError> {
    use ColumnType::{Boolean, Date, Int, Long, Text, Timestamp};
    if !matches!(column.kind, Boolean | Date | Int | Long | Text | Timestamp) {
        let message = format!("column \"{}\" of PARTITIONED BY can't be of type {}", column.name, column.kind.sql());
        return Err(SqlError::invalid("0A000", message).with_hint("string, int, bigint, date, timestamp or boolean"));
    }
    if column.name.starts_with(['_', '.']) {
        let message = format!("column \"{}\" of PARTITIONED BY can't begin with _ or .", column.name);
        return Err(SqlError::invalid("0A000", message).with_hint("folders that are called so are passed over"));
    }
    Ok(())
}
