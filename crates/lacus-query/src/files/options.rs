//! The forms of files, and the options that `UNLOAD` and `COPY` have in common.

use datafusion::sql::sqlparser::tokenizer::Token;
use lacus_lake::Compression;

use super::words::Words;
use crate::error::SqlError;

/// How values are quoted in text files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// Not at all.
    None,
    /// Each value.
    Each,
    /// Values that need it are quoted, and quotes in them doubled: CSV.
    Csv,
}

/// A file of text, one row a line.
#[derive(Debug, Clone)]
pub(super) struct TextForm {
    pub(super) delimiter: u8,
    pub(super) quotes: Quotes,
    pub(super) quote: u8,
    /// Whether a backslash escapes the character after it.
    pub(super) escape: bool,
    /// Whether a backslash with a letter stands for a control character, and `\.` alone on a line ends the rows, as in
    /// Postgres.
    pub(super) letters: bool,
    /// What stands for null.
    pub(super) null: String,
    /// Whether booleans are written as Hive and Athena do, and not as Redshift does.
    pub(super) long_booleans: bool,
}

impl TextForm {
    /// Redshift's form, if no option says otherwise.
    pub(super) fn delimited() -> Self {
        let null = String::new();
        let (delimiter, quotes, quote) = (b'|', Quotes::None, b'"');
        Self { delimiter, quotes, quote, escape: false, letters: false, null, long_booleans: false }
    }

    /// Postgres' form, if no option says otherwise.
    pub(super) fn postgres() -> Self {
        Self { delimiter: b'\t', escape: true, letters: true, null: "\\N".to_owned(), ..Self::delimited() }
    }

    pub(super) fn csv() -> Self {
        Self { delimiter: b',', quotes: Quotes::Csv, ..Self::delimited() }
    }
}

/// What a file has in it.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Text(TextForm),
    /// An object a line.
    Json,
    Parquet,
    /// Postgres' tuples, which only its clients send.
    Binary,
}

/// How files are read.
#[derive(Debug, Clone)]
pub(super) struct How {
    pub(super) form: Form,
    /// None: as the name of a file tells.
    pub(super) compression: Option<Compression>,
    /// Lines at the beginning of each file that are not rows.
    pub(super) lines_ignored: u64,
    /// Whether no text at all is null.
    pub(super) empty_is_null: bool,
    /// Whether a text of blanks is null.
    pub(super) blank_is_null: bool,
    /// Whether empty lines are skipped.
    pub(super) blank_lines_ignored: bool,
    /// Whether columns missing at the end of a line are null.
    pub(super) fills_records: bool,
    /// Whether fields of JSON and columns of Parquet that the table lacks are ignored.
    pub(super) passes_others: bool,
    pub(super) advice: Advice,
}

/// Hints for files that do not fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advice {
    /// Of a value.
    pub(super) value: &'static str,
    /// The hint for a line with another number of fields.
    pub(super) fields: &'static str,
}

impl How {
    /// Each line is a row, and each field a value of it.
    pub(super) fn new(form: Form, advice: Advice) -> Self {
        Self {
            form,
            compression: None,
            lines_ignored: 0,
            empty_is_null: false,
            blank_is_null: false,
            blank_lines_ignored: false,
            fills_records: false,
            passes_others: false,
            advice,
        }
    }
}

/// The forms by name.
pub(super) const FORMS: [&str; 3] = ["CSV", "JSON", "PARQUET"];

/// One character: `'|'`, `'\t'`, `'\001'`.
pub(super) fn character(text: &str) -> Result<u8, SqlError> {
    let octal = |digits: &str| u8::from_str_radix(digits, 8).ok().filter(|_| digits.len() == 3);
    let byte = match text {
        "\\t" => Some(b'\t'),
        "\\\\" => Some(b'\\'),
        _ => match (text.as_bytes(), text.strip_prefix('\\')) {
            ([one], _) => Some(*one),
            (_, Some(digits)) => octal(digits),
            _ => None,
        },
    };
    let byte = byte.filter(|byte| byte.is_ascii() && !b"\n\r".contains(byte));
    byte.ok_or_else(|| {
        SqlError::invalid("22023", format!("\"{text}\" is no delimiter"))
            .with_hint("it is one ASCII character, such as ',', '\\t' or '\\001'")
    })
}

/// Takes an option about access, which is ignored: lacus has its own, in `lake.s3`. Whether there was one.
pub(super) fn take_access(words: &mut Words<'_>) -> Result<bool, SqlError> {
    if words.take("IAM_ROLE") {
        if !words.take("DEFAULT") {
            words.text_as()?;
        }
        return Ok(true);
    }
    const WITH_TEXT: [&str; 6] =
        ["CREDENTIALS", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "AUTHORIZATION"];
    if words.one_of(&WITH_TEXT).is_some() {
        words.take("WITH");
        words.text_as()?;
        return Ok(true);
    }
    Ok(false)
}

/// `ON`, `OFF`, or nothing, which is on.
pub(super) fn switch(words: &mut Words<'_>) -> bool {
    !matches!(words.one_of(&["ON", "OFF", "TRUE", "FALSE"]), Some("OFF" | "FALSE"))
}

/// `5 MB`, `1.5 GB`, in bytes; a number alone is of megabytes.
pub(super) fn size(words: &mut Words<'_>) -> Result<u64, SqlError> {
    words.take("AS");
    let number = words.number()?;
    let unit = match words.one_of(&["MB", "GB"]) {
        Some("GB") => 1_u64 << 30,
        _ => 1 << 20,
    };
    Ok((number * unit as f64) as u64)
}

/// `'x'`, `ARRAY['x', 'y']`, `true`, `9`: the value of a property.
pub(super) fn values(words: &mut Words<'_>) -> Result<Vec<String>, SqlError> {
    if !words.take("ARRAY") {
        if let Some(text) = words.text_if_any() {
            return Ok(vec![text]);
        }
        return match words.number() {
            Ok(number) => Ok(vec![number.to_string()]),
            Err(_) => Ok(vec![words.name()?.0]),
        };
    }
    words.must_symbol(&Token::LBracket)?;
    let mut values = Vec::new();
    while !words.symbol(&Token::RBracket) {
        values.push(words.text()?);
        if !words.symbol(&Token::Comma) {
            words.must_symbol(&Token::RBracket)?;
            break;
        }
    }
    Ok(values)
}
