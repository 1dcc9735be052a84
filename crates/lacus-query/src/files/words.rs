//! A statement word by word.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{SqlError, characters_before};
use crate::identifiers::{folded_word, is_word};
use crate::stated_name::StatedName;

/// What is left to parse of a statement.
pub(crate) struct Words<'a> {
    sql: &'a str,
    /// Without what stands between words.
    tokens: Vec<TokenWithSpan>,
    at: usize,
}

impl<'a> Words<'a> {
    pub(crate) fn new(sql: &'a str, mut tokens: Vec<TokenWithSpan>) -> Self {
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
        Self { sql, tokens, at: 0 }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|token| &token.token)
    }

    /// Takes this word, if it is next.
    pub(crate) fn take(&mut self, wanted: &str) -> bool {
        let is_next = self.peek().is_some_and(|token| is_word(token, wanted));
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes these two words, if both are next.
    pub(crate) fn takes_two(&mut self, first: &str, second: &str) -> bool {
        let next = self.tokens.get(self.at + 1).is_some_and(|token| is_word(&token.token, second));
        let are_next = next && self.peek().is_some_and(|token| is_word(token, first));
        self.at += if are_next { 2 } else { 0 };
        are_next
    }

    /// Takes this word and a text in quotes, if both are next.
    pub(crate) fn text_after(&mut self, word: &str) -> Option<String> {
        if !self.take(word) {
            return None;
        }
        let text = self.text_if_any();
        self.at -= usize::from(text.is_none());
        text
    }

    /// Takes one of these words.
    pub(crate) fn one_of(&mut self, words: &[&'static str]) -> Option<&'static str> {
        words.iter().copied().find(|word| self.take(word))
    }

    pub(crate) fn must(&mut self, wanted: &str) -> Result<(), SqlError> {
        if self.take(wanted) { Ok(()) } else { Err(self.expected(wanted)) }
    }

    /// Takes this symbol, if it is next.
    pub(crate) fn symbol(&mut self, wanted: &Token) -> bool {
        let is_next = self.peek() == Some(wanted);
        self.at += usize::from(is_next);
        is_next
    }

    pub(crate) fn must_symbol(&mut self, wanted: &Token) -> Result<(), SqlError> {
        if self.symbol(wanted) { Ok(()) } else { Err(self.expected(&format!("\"{wanted}\""))) }
    }

    /// A text in quotes.
    pub(crate) fn text(&mut self) -> Result<String, SqlError> {
        let text = match self.peek() {
            Some(Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text)) => text.clone(),
            Some(Token::DollarQuotedString(text)) => text.value.clone(),
            _ => return Err(self.expected("a text in quotes")),
        };
        self.at += 1;
        Ok(text)
    }

    /// A text in quotes, if there is one.
    pub(crate) fn text_if_any(&mut self) -> Option<String> {
        self.text().ok()
    }

    /// `AS 'x'`, or `'x'`.
    pub(crate) fn text_as(&mut self) -> Result<String, SqlError> {
        self.take("AS");
        self.text()
    }

    /// A number that is not negative.
    pub(crate) fn number(&mut self) -> Result<f64, SqlError> {
        let number = match self.peek() {
            Some(Token::Number(digits, _)) => digits.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.expected("a number"))?;
        self.at += 1;
        Ok(number)
    }

    /// The name of a column or table, and whether it is quoted.
    pub(crate) fn name(&mut self) -> Result<(String, bool), SqlError> {
        let Some(Token::Word(word)) = self.peek() else { return Err(self.expected("a name")) };
        let quoted = word.quote_style.is_some();
        let name = folded_word(word);
        self.at += 1;
        Ok((name, quoted))
    }

    /// `(a, b)`
    pub(crate) fn names(&mut self) -> Result<Vec<String>, SqlError> {
        self.must_symbol(&Token::LParen)?;
        let mut names = vec![self.name()?.0];
        while self.symbol(&Token::Comma) {
            names.push(self.name()?.0);
        }
        self.must_symbol(&Token::RParen)?;
        Ok(names)
    }

    /// Takes everything in parentheses, including them.
    pub(crate) fn parenthesized(&mut self) -> Result<Vec<TokenWithSpan>, SqlError> {
        let first = self.at;
        self.must_symbol(&Token::LParen)?;
        let mut depth = 1_u32;
        while depth > 0 {
            match self.peek() {
                None => return Err(self.expected("\")\"")),
                Some(Token::LParen) => depth += 1,
                Some(Token::RParen) => depth -= 1,
                Some(_) => {}
            }
            self.at += 1;
        }
        Ok(self.tokens[first..self.at].to_vec())
    }

    /// `('a' = 'b', …)`
    pub(crate) fn pairs(&mut self) -> Result<Vec<(String, String)>, SqlError> {
        self.must_symbol(&Token::LParen)?;
        let mut pairs = Vec::new();
        loop {
            let name = self.text()?;
            self.must_symbol(&Token::Eq)?;
            pairs.push((name, self.text()?));
            if !self.symbol(&Token::Comma) {
                break;
            }
        }
        self.must_symbol(&Token::RParen)?;
        Ok(pairs)
    }

    /// The name of a table: `t`, `shop.t`, `lake.shop.t`.
    pub(crate) fn table(&mut self) -> Result<StatedName, SqlError> {
        let mut parts = vec![ident(self.name()?)];
        while self.symbol(&Token::Period) {
            parts.push(ident(self.name()?));
        }
        StatedName::of(&ObjectName::from(parts))
    }

    /// Whether what follows is `table [(…)] FROM 'text'`, or `… FROM STDIN`.
    pub(crate) fn is_from_files_or_client(&self) -> bool {
        let rest = &self.tokens[self.at..];
        if rest.first().is_some_and(|first| first.token == Token::LParen) {
            // A query.
            return false;
        }
        let from = rest.iter().position(|token| is_word(&token.token, "FROM"));
        let next = from.and_then(|from| rest.get(from + 1)).map(|next| &next.token);
        let is_text = |token: &Token| matches!(token, Token::SingleQuotedString(_) | Token::DollarQuotedString(_));
        next.is_some_and(|next| is_text(next) || is_word(next, "STDIN"))
    }

    /// Takes what is before the closing parenthesis, at its place in the text, with blanks for the rest.
    pub(crate) fn inside(&mut self) -> Result<String, SqlError> {
        let first = self.character();
        let mut depth = 1_u32;
        loop {
            match self.peek() {
                None => return Err(self.expected("\")\"")),
                Some(Token::LParen) => depth += 1,
                Some(Token::RParen) => depth -= 1,
                Some(_) => {}
            }
            if depth == 0 {
                break;
            }
            self.at += 1;
        }
        Ok(self.alone(first, self.character()))
    }

    /// What follows, at its place in the text, with blanks before it.
    pub(crate) fn rest(&self) -> String {
        self.alone(self.character(), None)
    }

    /// The statement with blanks for all but these characters.
    fn alone(&self, first: Option<usize>, end: Option<usize>) -> String {
        let (first, end) = (first.unwrap_or(1) - 1, end.map_or(usize::MAX, |end| end - 1));
        let blank = |(index, letter): (usize, char)| {
            if (first..end).contains(&index) || letter == '\n' { letter } else { ' ' }
        };
        self.sql.chars().enumerate().map(blank).collect()
    }

    /// The position of the next word, in characters counted from 1.
    pub(crate) fn character(&self) -> Option<usize> {
        let start = self.tokens.get(self.at)?.span.start;
        characters_before(start.line, start.column, self.sql)
    }

    /// The error that something else was expected here.
    pub(crate) fn expected(&self, what: &str) -> SqlError {
        let found = self.peek().map_or_else(|| "the end of the statement".to_owned(), ToString::to_string);
        let position = self.character().or_else(|| Some(self.sql.trim_end().chars().count() + 1));
        SqlError::invalid("42601", format!("syntax error: expected {what}, found {found}")).with_position(position)
    }
}

fn ident((name, is_quoted): (String, bool)) -> Ident {
    if is_quoted { Ident::with_quote('"', name) } else { Ident::new(name) }
}
