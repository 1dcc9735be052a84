//! `VALUES 1, 2`, as Trino allows it: rows of one column without brackets around each.
//!
//! The parser requires the brackets, so they are put in. Nothing changes where `VALUES` may be the name of a column, or where
//! the list begins with a bracket.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::array_types::{keyword, next, previous};

/// What stands in front of a query, or of the bracket around it.
const BEFORE_QUERY: [Keyword; 6] =
    [Keyword::AS, Keyword::UNION, Keyword::ALL, Keyword::DISTINCT, Keyword::EXCEPT, Keyword::INTERSECT];
/// What else stands in front of the bracket around a query.
const BEFORE_BRACKET: [Keyword; 8] = [
    Keyword::FROM,
    Keyword::JOIN,
    Keyword::IN,
    Keyword::EXISTS,
    Keyword::ANY,
    Keyword::SOME,
    Keyword::LATERAL,
    Keyword::USING,
];
/// What stands behind a list of rows.
const BEHIND: [Keyword; 11] = [
    Keyword::ORDER,
    Keyword::LIMIT,
    Keyword::OFFSET,
    Keyword::FETCH,
    Keyword::UNION,
    Keyword::INTERSECT,
    Keyword::EXCEPT,
    Keyword::WHEN,
    Keyword::ON,
    Keyword::RETURNING,
    Keyword::WITH,
];
/// Keywords that may follow a column, but begin no value.
const BEHIND_COLUMN: [Keyword; 9] = [
    Keyword::FROM,
    Keyword::AS,
    Keyword::AND,
    Keyword::OR,
    Keyword::IS,
    Keyword::IN,
    Keyword::LIKE,
    Keyword::BETWEEN,
    Keyword::WHERE,
];

/// Puts brackets around the rows that have none.
pub(crate) fn put_brackets(tokens: &mut Vec<TokenWithSpan>) {
    let rows: Vec<(usize, usize)> =
        (0..tokens.len()).filter(|&at| begins_list(tokens, at)).flat_map(|at| bare_rows(tokens, at + 1)).collect();
    if rows.is_empty() {
        return;
    }
    let (mut opens, mut closes) = (vec![false; tokens.len()], vec![false; tokens.len()]);
    for (first, last) in rows {
        opens[first] = true;
        closes[last] = true;
    }
    let mut bracketed = Vec::with_capacity(tokens.len() + 2);
    for (at, token) in std::mem::take(tokens).into_iter().enumerate() {
        let span = token.span;
        bracketed.extend(opens[at].then(|| TokenWithSpan::new(Token::LParen, span)));
        bracketed.push(token);
        bracketed.extend(closes[at].then(|| TokenWithSpan::new(Token::RParen, span)));
    }
    *tokens = bracketed;
}

/// Whether rows follow here, the first one without a bracket.
fn begins_list(tokens: &[TokenWithSpan], at: usize) -> bool {
    keyword(&tokens[at].token) == Some(Keyword::VALUES) && stands_in_front(tokens, at) && begins_value(tokens, at + 1)
}

/// Whether a query follows what stands before this place.
fn stands_in_front(tokens: &[TokenWithSpan], at: usize) -> bool {
    let Some(before) = previous(tokens, at) else { return true };
    match &tokens[before].token {
        Token::SemiColon | Token::RParen => true,
        Token::LParen => match previous(tokens, before) {
            None => true,
            Some(outer) => match &tokens[outer].token {
                Token::SemiColon | Token::LParen | Token::Comma => true,
                word => {
                    keyword(word).is_some_and(|word| BEFORE_QUERY.contains(&word) || BEFORE_BRACKET.contains(&word))
                }
            },
        },
        word if keyword(word).is_some_and(|word| BEFORE_QUERY.contains(&word)) => true,
        Token::Word(_) => is_table_to_write(tokens, before),
        _ => false,
    }
}

/// Whether this is the end of the name in `INSERT INTO a.b`.
fn is_table_to_write(tokens: &[TokenWithSpan], end: usize) -> bool {
    let mut word = end;
    while let Some(before) = previous(tokens, word) {
        match (&tokens[before].token, previous(tokens, before)) {
            (Token::Period, Some(part)) => word = part,
            (other, _) => {
                let into = [Keyword::INTO, Keyword::TABLE, Keyword::OVERWRITE];
                return keyword(other).is_some_and(|other| into.contains(&other));
            }
        }
    }
    false
}

fn begins_value(tokens: &[TokenWithSpan], from: usize) -> bool {
    let Some(first) = next(tokens, from) else { return false };
    let is_row = || next(tokens, first + 1).is_some_and(|second| tokens[second].token == Token::LParen);
    match &tokens[first].token {
        Token::Number(..) | Token::SingleQuotedString(_) | Token::Placeholder(_) | Token::Minus => true,
        Token::Word(word) if word.quote_style.is_none() => match word.keyword {
            Keyword::ROW => !is_row(),
            other => !BEHIND.contains(&other) && !BEHIND_COLUMN.contains(&other),
        },
        _ => false,
    }
}

/// The first and the last tokens of the rows of a list that have no brackets.
fn bare_rows(tokens: &[TokenWithSpan], from: usize) -> Vec<(usize, usize)> {
    let (mut rows, mut row, mut depth) = (Vec::new(), Row::default(), 0_usize);
    for (at, token) in tokens.iter().enumerate().skip(from) {
        let word = keyword(&token.token);
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::EOF | Token::SemiColon => break,
            Token::Comma if depth == 0 => {
                rows.extend(std::mem::take(&mut row).bare());
                continue;
            }
            _ if depth == 0 && word.is_some_and(|word| BEHIND.contains(&word)) => break,
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace if depth == 0 => break,
            Token::RParen | Token::RBracket | Token::RBrace => depth -= 1,
            _ if word == Some(Keyword::CASE) => depth += 1,
            _ if word == Some(Keyword::END) => depth = depth.saturating_sub(1),
            _ => {}
        }
        row.add(at, token.token == Token::LParen, word == Some(Keyword::ROW), depth);
    }
    rows.extend(row.bare());
    rows
}

/// A row as it is read.
#[derive(Default)]
struct Row {
    first: Option<usize>,
    last: usize,
    /// Whether nothing but `ROW` was there.
    is_row_alone: bool,
    /// Whether it begins with a bracket, or with `ROW` and one.
    is_bracketed: bool,
    /// Where the bracket that it begins with is closed.
    closed: Option<usize>,
}

impl Row {
    fn add(&mut self, at: usize, is_bracket: bool, is_row: bool, depth: usize) {
        if self.first.is_none() || self.is_row_alone {
            self.is_bracketed = is_bracket;
        }
        self.is_row_alone = self.first.is_none() && is_row;
        self.first.get_or_insert(at);
        self.last = at;
        if self.is_bracketed && depth == 0 {
            self.closed.get_or_insert(at);
        }
    }

    /// Where it begins and ends, unless it has brackets, or is none.
    fn bare(self) -> Option<(usize, usize)> {
        let has_brackets = self.is_bracketed && self.closed == Some(self.last);
        self.first.filter(|_| !has_brackets).map(|first| (first, self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::tokens;

    fn check(sql: &str, expected: &str) {
        let mut tokens = tokens(sql).unwrap();
        put_brackets(&mut tokens);
        let written: String = tokens.iter().map(|token| token.token.to_string()).collect();
        assert_eq!(written.trim_end_matches("EOF"), expected, "{sql}");
    }

    #[test]
    fn rows_without_brackets_get_them() {
        for (sql, expected) in [
            ("VALUES 1, 2", "VALUES (1), (2)"),
            ("values 'a' || 'b', upper('c,d') ; SELECT 1", "values ('a' || 'b'), (upper('c,d')) ; SELECT 1"),
            ("VALUES -1, (2), ROW(3), (4) * 5 ORDER BY 1", "VALUES (-1), (2), ROW(3), ((4) * 5) ORDER BY 1"),
            ("SELECT * FROM (VALUES 1, 2) AS t(x)", "SELECT * FROM (VALUES (1), (2)) AS t(x)"),
            (
                "WITH x(n) AS (VALUES 1) SELECT n FROM x, (VALUES 2, NULL) y(m)",
                "WITH x(n) AS (VALUES (1)) SELECT n FROM x, (VALUES (2), (NULL)) y(m)",
            ),
            ("SELECT a IN (VALUES 'x', 'y') FROM t", "SELECT a IN (VALUES ('x'), ('y')) FROM t"),
            ("VALUES CASE WHEN a THEN 1, 2 END, ARRAY[1, 2]", "VALUES (CASE WHEN a THEN 1, 2 END), (ARRAY[1, 2])"),
            ("VALUES 1 UNION ALL VALUES 2, 3 LIMIT 1", "VALUES (1) UNION ALL VALUES (2), (3) LIMIT 1"),
            ("INSERT INTO a.\"b\" VALUES 1, 2", "INSERT INTO a.\"b\" VALUES (1), (2)"),
            ("INSERT INTO t (n) VALUES DATE '2026-11-22'", "INSERT INTO t (n) VALUES (DATE '2026-11-22')"),
            ("CREATE TABLE t AS VALUES 1 WITH NO DATA", "CREATE TABLE t AS VALUES (1) WITH NO DATA"),
            (
                "VALUES 1, (SELECT max(x) FROM (VALUES 2, 3) t(x))",
                "VALUES (1), (SELECT max(x) FROM (VALUES (2), (3)) t(x))",
            ),
        ] {
            check(sql, expected);
        }
    }

    #[test]
    fn what_is_no_list_of_bare_rows_stays() {
        for sql in [
            "VALUES (1), (2)",
            "VALUES ROW(1, 2), ROW(3, 4)",
            "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
            "MERGE INTO t USING s ON t.a = s.a WHEN NOT MATCHED THEN INSERT (a) VALUES (s.a) WHEN MATCHED THEN DELETE",
            "SELECT values FROM t",
            "SELECT t.values, max(values - 1) values FROM t",
            "SELECT values, \"values\" FROM t WHERE values IN (1, 2)",
            "SELECT x AS values FROM t UNION SELECT values FROM t",
            "SELECT * FROM t AS values(a, b) WHERE a = 1",
            "VALUES",
        ] {
            check(sql, sql);
        }
    }
}
