//! Reads `PREPARE` and `EXECUTE`. Types and values are read as questions of their own: nobody else needs to know how they are
//! written.

use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{Piece, byte_of, one};
use crate::cursors::{Around, Execution, Preparation};
use crate::error::SqlError;
use crate::identifiers::is_word;
use crate::statement::{EXECUTED, Statement};

/// What a question begins with.
const SELECT: &str = "SELECT";
/// Keywords that may follow the values of a query, but not those of `EXECUTE`.
const BEHIND: [&str; 9] = ["except", "from", "group", "having", "intersect", "limit", "order", "union", "where"];

impl Piece<'_> {
    /// `name [(type, …)] AS statement`.
    pub(super) fn prepare(
        &mut self,
        read: &dyn Fn(&str) -> Result<Vec<Statement>, SqlError>,
    ) -> Result<Around, SqlError> {
        let name = self.name()?;
        let types = if self.is_sign(&Token::LParen) { Some(self.types(read)?) } else { None };
        self.expect("as")?;
        let mut statements = read(&self.rest(self.next))?;
        self.next = self.tokens.len();
        match (statements.pop(), statements.is_empty()) {
            (Some(statement), true) if statement.can_be_executed() => {
                Ok(Around::Prepare(Preparation { name, types, statement: Box::new(statement) }))
            }
            _ => Err(SqlError::invalid("42601", format!("PREPARE is for one of {}", EXECUTED.join(", ")))),
        }
    }

    /// `name [(value, …)]`.
    pub(super) fn execute(
        &mut self,
        read: &dyn Fn(&str) -> Result<Vec<Statement>, SqlError>,
    ) -> Result<Around, SqlError> {
        let name = self.name()?;
        let values = if self.is_sign(&Token::LParen) { self.brackets()? } else { 0..0 };
        if values.is_empty() {
            return Ok(Around::Execute(Execution { name, values: None }));
        }
        for part in self.parts(values.clone()) {
            self.must_be_value(part)?;
        }
        let values = one(read(&self.selected(values))?, "EXECUTE")?;
        Ok(Around::Execute(Execution { name, values: Some(values) }))
    }

    /// `(int, numeric(10, 2))`, as a query for a null of each type.
    fn types(&mut self, read: &dyn Fn(&str) -> Result<Vec<Statement>, SqlError>) -> Result<Box<Statement>, SqlError> {
        let types = self.brackets()?;
        let null = |(number, kind): (usize, Range<usize>)| format!("CAST(NULL AS {}) AS n{number}", self.text(kind));
        let nulls: Vec<String> = self.parts(types).into_iter().enumerate().map(null).collect();
        one(read(&format!("{SELECT} {}", nulls.join(", ")))?, "PREPARE")
    }

    /// The tokens between the bracket that is next and the one that closes it.
    fn brackets(&mut self) -> Result<Range<usize>, SqlError> {
        let (open, mut depth) = (self.next, 0_usize);
        while let Some(token) = self.tokens.get(self.next) {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.next += 1;
            if depth == 0 {
                return Ok(open + 1..self.next - 1);
            }
        }
        Err(self.unexpected(")"))
    }

    /// The parts between commas that are in no brackets.
    fn parts(&self, all: Range<usize>) -> Vec<Range<usize>> {
        let (mut parts, mut begin, mut depth) = (Vec::new(), all.start, 0_usize);
        for at in all.clone() {
            match self.tokens[at].token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                Token::Comma if depth == 0 => {
                    parts.push(begin..at);
                    begin = at + 1;
                }
                _ => {}
            }
        }
        parts.push(begin..all.end);
        parts
    }

    /// Refuses what would be more than a value when the values are parsed as a query.
    fn must_be_value(&self, part: Range<usize>) -> Result<(), SqlError> {
        let mut depth = 0_usize;
        let tokens = &self.tokens[part];
        for (at, token) in tokens.iter().enumerate() {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ if depth == 0
                    && BEHIND.iter().any(|word| is_word(&token.token, word))
                    && !compares(&tokens[..=at]) =>
                {
                    let message = format!("syntax error at \"{}\": expected a value", token.token);
                    return Err(SqlError::invalid("42601", message));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The values as a query, each at its place in the text: `EXECUTE name (` is longer than what the query begins with.
    fn selected(&self, values: Range<usize>) -> String {
        let mut sql = self.padded(values);
        let at = self.tokens.first().map_or(0, |first| byte_of(self.sql, first.span.start));
        let at = self.sql[..at].chars().count();
        sql.replace_range(at..at + SELECT.len(), SELECT);
        sql
    }
}

/// Whether the last of these tokens belongs to `IS [NOT] DISTINCT FROM`.
fn compares(tokens: &[&TokenWithSpan]) -> bool {
    let ends_with = |words: &[&str]| {
        let last = tokens.len().checked_sub(words.len()).map(|first| &tokens[first..]);
        last.is_some_and(|last| last.iter().zip(words).all(|(token, word)| is_word(&token.token, word)))
    };
    ends_with(&["is", "distinct", "from"]) || ends_with(&["is", "not", "distinct", "from"])
}
