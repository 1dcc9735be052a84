//! Records of a file of text: fields between delimiters, with the line that each begins in.

use std::io::{self, BufRead};

use super::options::{Quotes, TextForm};

/// The longest record, in bytes.
pub(super) const RECORD_BYTES_MAX: usize = 64 << 20;
/// The most fields of a record.
const FIELDS_MAX: usize = 100_000;

/// The fields of one record.
#[derive(Debug, Default)]
pub(super) struct Record {
    text: Vec<u8>,
    /// Where each field ends, and whether it is null.
    ends: Vec<(usize, bool)>,
    /// The line it begins in, counted from one.
    pub(super) line: u64,
}

impl Record {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether its line is empty.
    pub(super) fn is_blank(&self) -> bool {
        self.ends.len() == 1 && self.text.is_empty()
    }

    /// The text of a field; none for null.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub(super) fn field(&self, index: usize) -> Result<Option<&str>, std::str::Utf8Error> {
        let first = index.checked_sub(1).map_or(0, |before| self.ends[before].0);
        let (end, is_null) = self.ends[index];
        if is_null { Ok(None) } else { std::str::from_utf8(&self.text[first..end]).map(Some) }
    }
}

/// Where in a field the reader is.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Start,
    Plain,
    /// Between quotes of this kind.
    Quoted(u8),
    /// After a quote that may have been the closing one.
    AfterQuote(u8),
}

/// Reads one record after the other.
pub(super) struct Records<R> {
    from: R,
    form: TextForm,
    line: u64,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(from: R, form: TextForm) -> Self {
        Self { from, form, line: 1 }
    }

    /// Skips lines, whatever is in them.
    ///
    /// # Errors
    /// If the file can't be read.
    pub(super) fn skip_lines(&mut self, count: u64) -> io::Result<()> {
        for _ in 0..count {
            if self.from.skip_until(b'\n')? == 0 {
                return Ok(());
            }
            self.line += 1;
        }
        Ok(())
    }

    /// Reads the next record; whether there was one.
    ///
    /// # Errors
    /// `InvalidData` for what is no record, and if the file can't be read.
    pub(super) fn next(&mut self, record: &mut Record) -> io::Result<bool> {
        record.text.clear();
        record.ends.clear();
        record.line = self.line;
        // The field as it is written in the file, to be compared with the text for null.
        let mut raw: Vec<u8> = Vec::new();
        let (mut at, mut is_escaped, mut is_begun) = (At::Start, false, false);
        // After a carriage return that a line feed may follow.
        let mut is_return = false;
        loop {
            let bytes = self.from.fill_buf()?;
            if bytes.is_empty() {
                return self.end_of_file(record, &raw, at, is_escaped, is_begun);
            }
            let mut used = 0;
            let mut is_whole = false;
            for &byte in bytes {
                used += 1;
                is_begun = true;
                if byte == b'\n' {
                    self.line += 1;
                }
                let was_return = std::mem::take(&mut is_return);
                if is_escaped {
                    is_escaped = false;
                    raw.push(byte);
                    record.text.push(if self.form.letters { meant(byte)? } else { byte });
                    continue;
                }
                let is_quoted = matches!(at, At::Quoted(_));
                if byte == self.form.delimiter && !is_quoted {
                    end_field(record, &mut raw, &self.form);
                    at = At::Start;
                } else if byte == b'\n' && !is_quoted {
                    if was_return {
                        raw.pop();
                        record.text.pop();
                    }
                    if self.is_end(record, &raw) {
                        return Ok(false);
                    }
                    end_field(record, &mut raw, &self.form);
                    is_whole = true;
                    break;
                } else {
                    is_return = byte == b'\r' && !is_quoted;
                    raw.push(byte);
                    at = take(byte, at, &self.form, &mut record.text, &mut is_escaped);
                }
            }
            self.from.consume(used);
            if is_whole {
                return Ok(true);
            }
            if record.text.len() > RECORD_BYTES_MAX {
                return Err(wrong(format!("a record has more than {RECORD_BYTES_MAX} bytes")));
            }
            if record.len() > FIELDS_MAX {
                return Err(wrong(format!("a record has more than {FIELDS_MAX} fields")));
            }
        }
    }

    fn end_of_file(
        &self,
        record: &mut Record,
        raw: &[u8],
        at: At,
        is_escaped: bool,
        is_begun: bool,
    ) -> io::Result<bool> {
        if matches!(at, At::Quoted(_)) || is_escaped {
            return Err(wrong("the file ends within a value".to_owned()));
        }
        if !is_begun || self.is_end(record, raw) {
            return Ok(false);
        }
        end_field(record, &mut raw.to_vec(), &self.form);
        Ok(true)
    }

    /// Whether a line ends the rows.
    fn is_end(&self, record: &Record, raw: &[u8]) -> bool {
        self.form.letters && record.ends.is_empty() && raw == b"\\."
    }
}

/// What a letter after a backslash stands for in Postgres' text format.
fn meant(letter: u8) -> io::Result<u8> {
    Ok(match letter {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'0'..=b'7' | b'x' => {
            return Err(wrong(
                "characters by their numbers, as in \\x41, are not read: write them as they are".to_owned(),
            ));
        }
        other => other,
    })
}

/// Adds a character to a field, and gives the reader's next state.
fn take(byte: u8, at: At, form: &TextForm, text: &mut Vec<u8>, is_escaped: &mut bool) -> At {
    if form.escape && byte == b'\\' {
        *is_escaped = true;
        return if at == At::Start { At::Plain } else { at };
    }
    let opens = match form.quotes {
        Quotes::None => false,
        Quotes::Each => byte == b'"' || byte == b'\'',
        Quotes::Csv => byte == form.quote,
    };
    match at {
        At::Start if opens => At::Quoted(byte),
        At::Quoted(quote) if byte == quote => At::AfterQuote(quote),
        At::AfterQuote(quote) if byte == quote => {
            text.push(byte);
            At::Quoted(quote)
        }
        At::Quoted(_) => {
            text.push(byte);
            at
        }
        At::Start | At::Plain | At::AfterQuote(_) => {
            text.push(byte);
            // What follows the closing quote belongs to the value.
            At::Plain
        }
    }
}

fn end_field(record: &mut Record, raw: &mut Vec<u8>, form: &TextForm) {
    let null = form.null.as_bytes();
    let is_null = raw == null || form.quotes == Quotes::Each && !null.is_empty() && is_quoted(raw, null);
    record.ends.push((record.text.len(), is_null));
    raw.clear();
}

/// Whether it is this text in quotes.
fn is_quoted(raw: &[u8], text: &[u8]) -> bool {
    match raw {
        [first @ (b'"' | b'\''), inner @ .., last] => first == last && inner == text,
        _ => false,
    }
}

fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &[u8], form: &TextForm) -> io::Result<Vec<(u64, Vec<Option<String>>)>> {
        let mut records = Records::new(io::BufReader::with_capacity(3, text), form.clone());
        let (mut record, mut read) = (Record::default(), Vec::new());
        while records.next(&mut record)? {
            let fields = (0..record.len()).map(|index| record.field(index).unwrap().map(str::to_owned));
            read.push((record.line, fields.collect()));
        }
        Ok(read)
    }

    #[track_caller]
    fn check(text: &str, form: &TextForm, expected: &[(u64, &[Option<&str>])]) {
        let read = all(text.as_bytes(), form).unwrap();
        let read: Vec<(u64, Vec<Option<&str>>)> =
            read.iter().map(|(line, fields)| (*line, fields.iter().map(Option::as_deref).collect())).collect();
        let expected: Vec<_> = expected.iter().map(|(line, fields)| (*line, fields.to_vec())).collect();
        assert_eq!(read, expected);
    }

    fn csv() -> TextForm {
        TextForm { null: "\\N".to_owned(), ..TextForm::csv() }
    }

    #[test]
    fn fields_are_found_with_their_lines() {
        let a = Some("a");
        check("", &csv(), &[]);
        check(
            "a,b\r\n\n\"x,\"\"y\nz\",\\N",
            &csv(),
            &[(1, &[a, Some("b")]), (2, &[Some("")]), (3, &[Some("x,\"y\nz"), None])],
        );
        check("a,\n\"\",\"\\N\"\n", &csv(), &[(1, &[a, Some("")]), (2, &[Some(""), Some("\\N")])]);
        let escaped = TextForm { escape: true, null: "\\N".to_owned(), ..TextForm::delimited() };
        check("a\\|b|\\N|two\\\nlines|\\\\\n", &escaped, &[(1, &[Some("a|b"), None, Some("two\nlines"), Some("\\")])]);
        let quoted = TextForm { quotes: Quotes::Each, ..escaped };
        check(
            "\"a|b\"|'c'|\"say \\\"x\\\"\"|\"\\N\"\n",
            &quoted,
            &[(1, &[Some("a|b"), Some("c"), Some("say \"x\""), None])],
        );
        assert!(all(b"a,\"b\n", &csv()).is_err());
    }

    #[test]
    fn rows_are_as_postgres_writes_them() {
        let text = TextForm::postgres();
        check("a\\tb\\\\\t\\N\t\n", &text, &[(1, &[Some("a\tb\\"), None, Some("")])]);
        check("a\\\nb\r\n\\.\nno row\n", &text, &[(1, &[Some("a\nb")])]);
        check("\\.", &text, &[]);
        check("a\t\\.\n", &text, &[(1, &[Some("a"), Some(".")])]);
        assert!(all(b"\\x41\n", &text).unwrap_err().to_string().contains("by their numbers"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for quotes in [Quotes::None, Quotes::Each, Quotes::Csv] {
                for (escape, letters) in [(false, false), (true, false), (true, true)] {
                    let form = TextForm { quotes, escape, letters, ..TextForm::delimited() };
                    let mut records = Records::new(bytes.as_slice(), form);
                    let mut record = Record::default();
                    while let Ok(true) = records.next(&mut record) {
                        for index in 0..record.len() {
                            let _text = record.field(index);
                        }
                    }
                }
            }
        }

        #[test]
        fn what_unload_writes_is_read_again(
            rows in proptest::collection::vec(proptest::collection::vec(proptest::option::of("[ab|,\"'\\\\\n\r\u{e9} ]{0,5}"), 3), 0..5)
        ) {
            use std::sync::Arc;
            use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
            let forms = [
                TextForm { null: "\\N".to_owned(), ..TextForm::csv() },
                TextForm { null: "\\N".to_owned(), escape: true, ..TextForm::delimited() },
                TextForm { null: "\\N".to_owned(), escape: true, quotes: Quotes::Each, ..TextForm::delimited() },
            ];
            // A text that equals the one for null can't be told from it.
            prop_assume!(rows.iter().flatten().all(|value| value.as_deref() != Some("\\N")));
            for form in forms {
                let column = |index: usize| -> ArrayRef { Arc::new(rows.iter().map(|row| row[index].clone()).collect::<StringArray>()) };
                let batch = RecordBatch::try_from_iter((0..3).map(|index| (format!("c{index}"), column(index)))).unwrap();
                let mut text = Vec::new();
                crate::files::text::write_rows(&batch, &form, &mut text).unwrap();
                let read: Vec<Vec<Option<String>>> = all(&text, &form).unwrap().into_iter().map(|(_, row)| row).collect();
                prop_assert_eq!(&read, &rows, "{:?}", String::from_utf8_lossy(&text));
            }
        }
    }
}
