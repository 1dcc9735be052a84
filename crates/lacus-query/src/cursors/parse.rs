//! Reads statements around a query by their tokens. The query inside is read as any other, at its place in the text, so that
//! positions of mistakes are right.

mod prepared;

use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::{Around, CopyFormat, CopyKind, must_be_short};
use crate::error::SqlError;
use crate::identifiers::{folded_word, is_word};
use crate::statement::Statement;

/// The most statements of a text that has such a statement among them.
const TOGETHER_MAX: usize = 64;
/// Each statement is parsed with blanks in front, at its place in the text: so together they are as long as the text times
/// their number.
const BYTES_MAX: usize = 4 << 20;
/// What they begin with.
const WORDS: [&str; 10] =
    ["close", "copy", "deallocate", "declare", "execute", "fetch", "listen", "move", "prepare", "unlisten"];

/// A statement as it is read here.
pub(crate) enum Read {
    Around(Around),
    /// Accepted; nothing to do.
    Nothing(&'static str),
    /// Not read here.
    Other(Vec<Statement>),
}

/// The tokens of one statement.
struct Piece<'a> {
    sql: &'a str,
    tokens: Vec<&'a TokenWithSpan>,
    next: usize,
}

/// Parses a text that has a statement around a query among its statements; none if it has not. `read` parses all others.
///
/// # Errors
/// For what is no SQL, or not supported.
pub(crate) fn parse(
    sql: &str,
    tokens: impl FnOnce(&str) -> Option<Vec<TokenWithSpan>>,
    read: &dyn Fn(&str) -> Result<Vec<Statement>, SqlError>,
) -> Result<Option<Vec<Read>>, SqlError> {
    let lower = sql.to_ascii_lowercase();
    if !WORDS.iter().any(|word| lower.contains(word)) {
        return Ok(None);
    }
    // What is no SQL is reported where the whole text is parsed.
    let Some(tokens) = tokens(sql) else { return Ok(None) };
    let pieces: Vec<&[TokenWithSpan]> = tokens
        .split(|token| token.token == Token::SemiColon)
        .filter(|piece| piece.iter().any(|token| !is_space(token)))
        .collect();
    let is_ours = |piece: &&[TokenWithSpan]| Piece::new(sql, piece).begins_one_of_ours();
    if !pieces.iter().any(is_ours) {
        return Ok(None);
    }
    if pieces.len() > TOGETHER_MAX {
        let message = format!("more than {TOGETHER_MAX} statements at once with cursors or COPY among them");
        return Err(SqlError::invalid("54000", message).with_hint("send them one by one"));
    }
    if pieces.len() * sql.len() > BYTES_MAX {
        let message = "the text is too long for that many statements with cursors or COPY among them";
        return Err(SqlError::invalid("54000", message).with_hint("send them one by one"));
    }
    let mut found = Vec::with_capacity(pieces.len());
    for tokens in pieces {
        let mut piece = Piece::new(sql, tokens);
        found.push(match piece.begins_one_of_ours() {
            true => piece.statement(read)?,
            false => Read::Other(read(&piece.rest(0))?),
        });
    }
    Ok(Some(found))
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_) | Token::EOF)
}

impl<'a> Piece<'a> {
    fn new(sql: &'a str, tokens: &'a [TokenWithSpan]) -> Self {
        Self { sql, tokens: tokens.iter().filter(|token| !is_space(token)).collect(), next: 0 }
    }

    fn begins_one_of_ours(&self) -> bool {
        let is = |at: usize, word: &str| self.tokens.get(at).is_some_and(|token| is_word(&token.token, word));
        match WORDS.iter().find(|word| is(0, word)) {
            // Others are about files.
            Some(&"copy") => (1..self.tokens.len()).any(|at| is(at, "to") && is(at + 1, "stdout")),
            found => found.is_some(),
        }
    }

    fn statement(&mut self, read: &dyn Fn(&str) -> Result<Vec<Statement>, SqlError>) -> Result<Read, SqlError> {
        let first = self.word().unwrap_or_default();
        let around = match first.as_str() {
            "copy" => self.copy(read)?,
            "declare" => self.declare(read)?,
            "prepare" => self.prepare(read)?,
            "execute" => self.execute(read)?,
            "close" if self.takes("all") => Around::Close(None),
            "close" => Around::Close(Some(self.name()?)),
            "deallocate" => {
                let _prepare = self.takes("prepare");
                if self.takes("all") { Around::Deallocate(None) } else { Around::Deallocate(Some(self.name()?)) }
            }
            "unlisten" => {
                self.next = self.tokens.len();
                return Ok(Read::Nothing("UNLISTEN"));
            }
            "listen" => {
                return Err(SqlError::invalid("0A000", "LISTEN is not supported")
                    .with_hint("nobody is told of new rows: ask for them"));
            }
            word => self.fetch(word == "move")?,
        };
        self.ends()?;
        Ok(Read::Around(around))
    }

    /// `[NEXT | n | ALL | FORWARD [n | ALL]] [FROM | IN] name`.
    fn fetch(&mut self, is_move: bool) -> Result<Around, SqlError> {
        for backward in ["prior", "first", "last", "absolute", "relative", "backward"] {
            let ahead = self.tokens.get(self.next + 1);
            if self.is(backward) && ahead.is_some() {
                return Err(only_forward());
            }
        }
        let is_forward = self.takes("forward");
        let rows = if self.takes("all") {
            None
        } else if let Some(number) = self.number() {
            Some(number)
        } else if self.is_sign(&Token::Minus) {
            return Err(only_forward());
        } else {
            let _next = !is_forward && self.tokens.len() > self.next + 1 && self.takes("next");
            Some(1)
        };
        let _from = self.takes("from") || self.takes("in");
        Ok(Around::Fetch { name: self.name()?, rows, is_move })
    }

    /// `name [options] CURSOR [{WITH | WITHOUT} HOLD] FOR query`.
    fn declare(&mut self, read: &dyn Fn(&str) -> Result<Vec<Statement>, SqlError>) -> Result<Around, SqlError> {
        let name = self.name()?;
        let mut no = false;
        loop {
            match self.word().as_deref() {
                Some("cursor") => break,
                Some("no") => no = true,
                Some("scroll") if !no => return Err(only_forward()),
                Some("scroll" | "insensitive" | "asensitive") => {}
                Some("binary") => {
                    return Err(SqlError::invalid("0A000", "BINARY cursors are not supported")
                        .with_hint("ask for binary values when you FETCH"));
                }
                _ => return Err(self.unexpected("CURSOR")),
            }
        }
        let hold = self.takes("with");
        if hold || self.takes("without") {
            self.expect("hold")?;
        }
        self.expect("for")?;
        let query = one(read(&self.rest(self.next))?, "DECLARE CURSOR")?;
        self.next = self.tokens.len();
        Ok(Around::Declare { name, hold, query })
    }

    /// `COPY (query) TO STDOUT options`, `COPY table [(columns)] TO STDOUT options`.
    fn copy(&mut self, read: &dyn Fn(&str) -> Result<Vec<Statement>, SqlError>) -> Result<Around, SqlError> {
        let to = (1..self.tokens.len()).rev().find(|at| {
            is_word(&self.tokens[*at].token, "to")
                && self.tokens.get(at + 1).is_some_and(|token| is_word(&token.token, "stdout"))
        });
        let Some(to) = to else { return Err(self.unexpected("TO STDOUT")) };
        let source = self.next..to;
        let has_bracket = source.clone().any(|at| self.tokens[at].token == Token::LParen);
        if has_bracket && self.tokens[to - 1].token != Token::RParen {
            self.next = to;
            return Err(self.unexpected(")"));
        }
        let query = if self.is_sign(&Token::LParen) {
            one(read(&self.padded(source.start + 1..source.end - 1))?, "COPY")?
        } else {
            one(read(&self.selection(source))?, "COPY")?
        };
        self.next = to + 2;
        Ok(Around::Copy { format: self.copy_format()?, query })
    }

    /// `things (id, name)` as a query.
    fn selection(&self, source: Range<usize>) -> String {
        let bracket = source.clone().find(|at| self.tokens[*at].token == Token::LParen);
        let table = self.text(source.start..bracket.unwrap_or(source.end));
        match bracket {
            Some(bracket) => format!("SELECT {} FROM {table}", self.text(bracket + 1..source.end - 1)),
            None => format!("SELECT * FROM {table}"),
        }
    }

    fn copy_format(&mut self) -> Result<CopyFormat, SqlError> {
        let mut options: Vec<(String, Option<String>)> = Vec::new();
        let _with = self.takes("with");
        let is_list = self.takes_sign(&Token::LParen);
        while let Some(name) = self.word() {
            let _as = self.takes("as");
            let is_flag = !is_list && ["csv", "binary", "text", "header"].contains(&name.as_str());
            let value = if is_flag { None } else { self.value() };
            options.push((name, value));
            if is_list && !self.takes_sign(&Token::Comma) {
                break;
            }
        }
        if is_list && !self.takes_sign(&Token::RParen) {
            return Err(self.unexpected(")"));
        }
        format_of(&options)
    }

    /// The value of an option.
    fn value(&mut self) -> Option<String> {
        let token = self.tokens.get(self.next)?;
        let value = match &token.token {
            Token::SingleQuotedString(text) => text.clone(),
            Token::EscapedStringLiteral(text) => text.clone(),
            Token::Number(number, _) => number.clone(),
            Token::Word(word) => word.value.clone(),
            Token::Mul => "*".to_owned(),
            _ => return None,
        };
        self.next += 1;
        Some(value)
    }

    /// The text from a token on.
    fn rest(&self, from: usize) -> String {
        self.padded(from..self.tokens.len())
    }

    /// The text of some tokens, padded with blanks to its place in the whole.
    fn padded(&self, tokens: Range<usize>) -> String {
        let Some(first) = self.tokens.get(tokens.start).filter(|_| !tokens.is_empty()) else { return String::new() };
        let before = &self.sql[..byte_of(self.sql, first.span.start)];
        let spaces: String = before.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }).collect();
        spaces + self.text(tokens)
    }

    fn text(&self, tokens: Range<usize>) -> &str {
        match self.tokens.get(tokens).and_then(|tokens| Some((tokens.first()?, tokens.last()?))) {
            Some((first, last)) => {
                let range = byte_of(self.sql, first.span.start)..byte_of(self.sql, last.span.end);
                self.sql.get(range).unwrap_or_default()
            }
            None => "",
        }
    }

    fn is(&self, word: &str) -> bool {
        self.tokens.get(self.next).is_some_and(|token| is_word(&token.token, word))
    }

    fn is_sign(&self, sign: &Token) -> bool {
        self.tokens.get(self.next).is_some_and(|token| token.token == *sign)
    }

    fn takes(&mut self, word: &str) -> bool {
        let takes = self.is(word);
        self.next += usize::from(takes);
        takes
    }

    fn takes_sign(&mut self, sign: &Token) -> bool {
        let takes = self.is_sign(sign);
        self.next += usize::from(takes);
        takes
    }

    fn expect(&mut self, word: &str) -> Result<(), SqlError> {
        if self.takes(word) { Ok(()) } else { Err(self.unexpected(&word.to_uppercase())) }
    }

    /// An unquoted word, in lowercase.
    fn word(&mut self) -> Option<String> {
        let Token::Word(word) = &self.tokens.get(self.next)?.token else { return None };
        if word.quote_style.is_some() {
            return None;
        }
        self.next += 1;
        Some(word.value.to_lowercase())
    }

    fn number(&mut self) -> Option<u64> {
        let Token::Number(number, _) = &self.tokens.get(self.next)?.token else { return None };
        let number = number.parse().ok()?;
        self.next += 1;
        Some(number)
    }

    /// The name of a cursor or of a prepared statement.
    fn name(&mut self) -> Result<String, SqlError> {
        let Some(Token::Word(word)) = self.tokens.get(self.next).map(|token| &token.token) else {
            return Err(self.unexpected("a name"));
        };
        must_be_short(&word.value)?;
        self.next += 1;
        Ok(folded_word(word))
    }

    fn ends(&self) -> Result<(), SqlError> {
        if self.next == self.tokens.len() { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    fn unexpected(&self, expected: &str) -> SqlError {
        let found = match self.tokens.get(self.next) {
            Some(token) => format!("\"{}\"", token.token),
            None => "the end".to_owned(),
        };
        SqlError::invalid("42601", format!("syntax error at {found}: expected {expected}"))
    }
}

/// The byte offset of a line and column.
fn byte_of(sql: &str, location: Location) -> usize {
    let lines = usize::try_from(location.line).unwrap_or(1).saturating_sub(1);
    let before: usize = sql.split_inclusive('\n').take(lines).map(str::len).sum();
    let columns = usize::try_from(location.column).unwrap_or(1).saturating_sub(1);
    before + sql[before..].chars().take(columns).map(char::len_utf8).sum::<usize>()
}

fn one(mut statements: Vec<Statement>, around: &str) -> Result<Box<Statement>, SqlError> {
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) if statement.command() == "SELECT" => Ok(Box::new(statement)),
        _ => Err(SqlError::invalid("0A000", format!("{around} is for one query"))),
    }
}

fn only_forward() -> SqlError {
    SqlError::invalid("0A000", "a cursor only goes forward").with_hint("DECLARE it without SCROLL, FETCH FORWARD")
}

fn format_of(options: &[(String, Option<String>)]) -> Result<CopyFormat, SqlError> {
    let last = |name: &str| options.iter().rev().find(|(option, _)| option == name);
    let text = |name: &str| last(name).and_then(|(_, value)| value.as_deref());
    let known = [
        "format",
        "csv",
        "binary",
        "text",
        "header",
        "delimiter",
        "null",
        "quote",
        "escape",
        "encoding",
        "force_quote",
    ];
    if let Some((unknown, _)) = options.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        return Err(SqlError::invalid("0A000", format!("COPY option \"{unknown}\" is not supported")));
    }
    let kind = match text("format").map(str::to_lowercase).as_deref() {
        Some("csv") => CopyKind::Csv,
        Some("binary") => CopyKind::Binary,
        Some("text") => CopyKind::Text,
        Some(other) => return Err(SqlError::invalid("22023", format!("COPY format \"{other}\" is not there"))),
        None if last("csv").is_some() => CopyKind::Csv,
        None if last("binary").is_some() => CopyKind::Binary,
        None => CopyKind::Text,
    };
    let is_csv = kind == CopyKind::Csv;
    let is_plain = |letter: char| letter.is_ascii() && !"\r\n\\".contains(letter);
    let sign = |name: &str, default: char| match text(name) {
        None => Ok(default),
        Some(text) => {
            let mut letters = text.chars();
            match (letters.next(), letters.next()) {
                (Some(letter), None) if is_plain(letter) || (is_csv && letter == '\\') => Ok(letter),
                _ => Err(SqlError::invalid("22023", format!("COPY {name} must be one plain character"))),
            }
        }
    };
    if text("encoding").is_some_and(|encoding| !["utf8", "utf-8"].contains(&encoding.to_lowercase().as_str())) {
        return Err(SqlError::invalid("0A000", "COPY writes UTF8 only"));
    }
    let is_off = |value: &str| ["false", "off", "0"].contains(&value.to_lowercase().as_str());
    let quote = sign("quote", '"')?;
    Ok(CopyFormat {
        kind,
        header: last("header").is_some_and(|(_, value)| !value.as_deref().is_some_and(is_off)),
        delimiter: sign("delimiter", if is_csv { ',' } else { '\t' })?,
        null: text("null").unwrap_or(if is_csv { "" } else { "\\N" }).to_owned(),
        quote,
        escape: sign("escape", quote)?,
        force_quote: text("force_quote") == Some("*"),
    })
}
