//! `text ARRAY` and `text ARRAY[4]`, as the SQL standard writes the types of arrays, in casts and in the columns of tables: as
//! `text[]`, which the parser knows. As in PostgreSQL, the size changes nothing.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

/// The words of types.
const WORDS: [&str; 33] = [
    "bigint",
    "bool",
    "boolean",
    "bytea",
    "char",
    "character",
    "date",
    "decimal",
    "double",
    "float",
    "float4",
    "float8",
    "int",
    "int2",
    "int4",
    "int8",
    "integer",
    "json",
    "jsonb",
    "numeric",
    "precision",
    "real",
    "smallint",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "uuid",
    "varchar",
    "varying",
    "with",
    "without",
    "zone",
];
/// The most words and brackets of a type: `timestamp (3) with time zone`.
const PARTS_MAX: usize = 6;

/// Writes `text ARRAY` as `text[]`.
pub(crate) fn write_array_types(tokens: &mut Vec<TokenWithSpan>) {
    let found: Vec<usize> = (0..tokens.len()).filter(|&at| ends_type(tokens, at)).collect();
    if found.is_empty() {
        return;
    }
    let mut is_array = vec![false; tokens.len()];
    for at in found {
        is_array[at] = true;
        if let Some((open, close)) = size(tokens, at) {
            for token in &mut tokens[open..=close] {
                token.token = Token::Whitespace(Whitespace::Space);
            }
        }
    }
    let mut written = Vec::with_capacity(tokens.len() + 1);
    for (at, token) in std::mem::take(tokens).into_iter().enumerate() {
        if is_array[at] {
            let span = token.span;
            written.extend([Token::LBracket, Token::RBracket].map(|bracket| TokenWithSpan::new(bracket, span)));
        } else {
            written.push(token);
        }
    }
    *tokens = written;
}

/// Whether this is the `ARRAY` after the type of a cast or of a column.
fn ends_type(tokens: &[TokenWithSpan], at: usize) -> bool {
    if keyword(&tokens[at].token) != Some(Keyword::ARRAY) {
        return false;
    }
    let Some(before) = before_type(tokens, at) else { return false };
    let end = size(tokens, at).map_or(at, |(_, close)| close);
    let behind = next(tokens, end + 1).map(|behind| &tokens[behind].token);
    match &tokens[before].token {
        Token::DoubleColon => true,
        word if keyword(word) == Some(Keyword::AS) => behind == Some(&Token::RParen),
        Token::Word(_) => begins_column(tokens, before) && ends_column(behind),
        _ => false,
    }
}

/// What is in front of the type that ends before `ARRAY`.
fn before_type(tokens: &[TokenWithSpan], array: usize) -> Option<usize> {
    let mut at = previous(tokens, array)?;
    let mut words = 0;
    for _ in 0..PARTS_MAX {
        if tokens[at].token == Token::RParen {
            at = opening(tokens, at)?;
        } else if is_word_of_type(&tokens[at].token) {
            words += 1;
        } else {
            return (words > 0).then_some(at);
        }
        at = previous(tokens, at)?;
    }
    None
}

/// Where the bracket with the digits of a type opens: `(12, 2)`.
fn opening(tokens: &[TokenWithSpan], close: usize) -> Option<usize> {
    let is_inside = |token: &Token| matches!(token, Token::Number(..) | Token::Comma | Token::Whitespace(_));
    let open = (0..close).rev().find(|&at| !is_inside(&tokens[at].token))?;
    (tokens[open].token == Token::LParen).then_some(open)
}

/// The brackets behind `ARRAY` with a number in them.
fn size(tokens: &[TokenWithSpan], array: usize) -> Option<(usize, usize)> {
    let open = next(tokens, array + 1)?;
    let number = next(tokens, open + 1)?;
    let close = next(tokens, number + 1)?;
    let is_size = tokens[open].token == Token::LBracket
        && matches!(tokens[number].token, Token::Number(..))
        && tokens[close].token == Token::RBracket;
    is_size.then_some((open, close))
}

/// Whether this is the name of a column in `(a text ARRAY` or `ADD COLUMN a text ARRAY`.
fn begins_column(tokens: &[TokenWithSpan], name: usize) -> bool {
    let Some(before) = previous(tokens, name) else { return false };
    let words = [Keyword::COLUMN, Keyword::ADD, Keyword::EXISTS];
    match &tokens[before].token {
        Token::LParen | Token::Comma => true,
        word => keyword(word).is_some_and(|word| words.contains(&word)),
    }
}

fn ends_column(behind: Option<&Token>) -> bool {
    match behind {
        None | Some(Token::Comma | Token::RParen | Token::SemiColon | Token::EOF) => true,
        Some(word) => matches!(keyword(word), Some(Keyword::NOT | Keyword::NULL)),
    }
}

fn is_word_of_type(token: &Token) -> bool {
    match token {
        Token::Word(word) if word.quote_style.is_none() => {
            WORDS.iter().any(|known| known.eq_ignore_ascii_case(&word.value))
        }
        _ => false,
    }
}

/// The word of SQL that a token is, if it is one without quotes.
pub(crate) fn keyword(token: &Token) -> Option<Keyword> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

/// The nearest token before a place that is no blank.
pub(crate) fn previous(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    (0..at).rev().find(|&at| !matches!(tokens[at].token, Token::Whitespace(_)))
}

/// The first token from a place on that is no blank.
pub(crate) fn next(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    (from..tokens.len()).find(|&at| !matches!(tokens[at].token, Token::Whitespace(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::tokens;

    fn check(sql: &str, expected: &str) {
        let mut tokens = tokens(sql).unwrap();
        write_array_types(&mut tokens);
        let written: String = tokens.iter().map(|token| token.token.to_string()).collect();
        assert_eq!(written.trim_end_matches("EOF"), expected, "{sql}");
    }

    #[test]
    fn types_with_array_behind_them_are_those_of_arrays() {
        for (sql, expected) in [
            ("SELECT CAST(x AS text ARRAY)", "SELECT CAST(x AS text [])"),
            ("SELECT CAST(x AS double precision array) AS y", "SELECT CAST(x AS double precision []) AS y"),
            ("SELECT '{1}'::numeric(12, 2) ARRAY, 1", "SELECT '{1}'::numeric(12, 2) [], 1"),
            ("SELECT x::timestamp(3) with time zone ARRAY", "SELECT x::timestamp(3) with time zone []"),
            ("SELECT CAST(x AS int ARRAY[4])", "SELECT CAST(x AS int []   )"),
            ("CREATE TABLE t (a text ARRAY, b int ARRAY NOT NULL)", "CREATE TABLE t (a text [], b int [] NOT NULL)"),
            ("ALTER TABLE t ADD COLUMN a text ARRAY", "ALTER TABLE t ADD COLUMN a text []"),
        ] {
            check(sql, expected);
        }
    }

    #[test]
    fn arrays_and_names_stay() {
        for sql in [
            "SELECT ARRAY[1, 2], CAST(ARRAY[1] AS ARRAY<int>)",
            "SELECT CAST(x AS array(bigint))",
            "SELECT date array FROM t",
            "SELECT x AS text, ARRAY[1]",
            "SELECT CASE WHEN a THEN ARRAY[1] END",
            "SELECT a = ANY (ARRAY[1]), \"text\" array FROM t",
        ] {
            check(sql, sql);
        }
    }
}
