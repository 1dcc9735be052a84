//! Types of columns as Hive, Athena and Trino write them: `map<string, string>`, `array(bigint)`, `row(a bigint)`.
//!
//! The parser knows `map(…)`, `array<…>` and `struct<…>`. In the columns of a `CREATE TABLE` the brackets of the others are
//! put in these words. No token moves.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::identifiers::is_keyword;

/// Rewrites the types in the columns of each `CREATE TABLE` so that the parser knows them.
pub(crate) fn write_types(tokens: &mut Vec<TokenWithSpan>) {
    let mut from = 0;
    while let Some((start, end)) = columns(tokens, from) {
        let before = tokens.len();
        split_shifts(tokens, start, end);
        let end = end + tokens.len() - before;
        for at in start..end {
            write_type(tokens, at, end);
        }
        from = end;
    }
}

/// Where the columns of the next `CREATE TABLE` are: up to its query, or its end.
fn columns(tokens: &[TokenWithSpan], from: usize) -> Option<(usize, usize)> {
    let create = (from..tokens.len()).find(|&at| is_keyword(&tokens[at], Keyword::CREATE))?;
    let statement = (create..tokens.len()).find(|&at| tokens[at].token == Token::SemiColon).unwrap_or(tokens.len());
    let Some(table) = (create..statement).find(|&at| is_keyword(&tokens[at], Keyword::TABLE)) else {
        return columns(tokens, statement);
    };
    let query = (table..statement).find(|&at| is_keyword(&tokens[at], Keyword::AS));
    Some((table, query.unwrap_or(statement)))
}

/// `>>` ends two types.
fn split_shifts(tokens: &mut Vec<TokenWithSpan>, start: usize, end: usize) {
    for at in (start..end).rev() {
        if tokens[at].token == Token::ShiftRight {
            let span = tokens[at].span;
            let ends = [Token::Gt, Token::Gt].map(|token| TokenWithSpan::new(token, span));
            tokens.splice(at..=at, ends);
        }
    }
}

/// Rewrites the brackets of the type that begins here, if there is one.
fn write_type(tokens: &mut [TokenWithSpan], at: usize, end: usize) {
    let Token::Word(word) = &tokens[at].token else { return };
    if word.quote_style.is_some() {
        return;
    }
    let name = word.value.to_ascii_lowercase();
    let next = (at + 1..end).find(|&at| !matches!(tokens[at].token, Token::Whitespace(_)));
    let Some((open, close)) = next.and_then(|open| Some((open, closing(tokens, open, end)?))) else { return };
    let (wanted, brackets) = match (name.as_str(), &tokens[open].token) {
        ("map", Token::Lt) => ("map", [Token::LParen, Token::RParen]),
        ("array", Token::LParen) => ("array", [Token::Lt, Token::Gt]),
        ("row" | "struct", Token::LParen) => ("struct", [Token::Lt, Token::Gt]),
        _ => return,
    };
    if wanted != name
        && let Token::Word(word) = &mut tokens[at].token
    {
        wanted.clone_into(&mut word.value);
        word.keyword = Keyword::STRUCT;
    }
    let [opening, ending] = brackets;
    tokens[open].token = opening;
    tokens[close].token = ending;
}

/// Where the bracket that opens here is closed.
fn closing(tokens: &[TokenWithSpan], open: usize, end: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().take(end).skip(open) {
        match token.token {
            Token::Lt | Token::LParen => depth += 1,
            Token::Gt | Token::RParen => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return (at > open).then_some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;
    use trino_functions::syntax::SqlDialect;

    use super::*;

    #[track_caller]
    fn check(sql: &str, expected: &str) {
        let mut tokens = Tokenizer::new(&SqlDialect, sql).tokenize_with_location().unwrap();
        write_types(&mut tokens);
        assert_eq!(tokens.iter().map(|token| token.token.to_string()).collect::<String>(), expected);
    }

    #[test]
    fn types_are_written_as_the_parser_knows_them() {
        check("CREATE TABLE t (a map<string,string>)", "CREATE TABLE t (a map(string,string))");
        check("create table t (a array(bigint), b int)", "create table t (a array<bigint>, b int)");
        check(
            "create table t (a row(x bigint, y array(map<int,int>)))",
            "create table t (a struct<x bigint, y array<map(int,int)>>)",
        );
        check("create table t (a map<int,array<int>>)", "create table t (a map(int,array<int>))");
        check("create table t as select a < b, array(1) > c", "create table t as select a < b, array(1) > c");
        check("select map<b", "select map<b");
        check("create table t (\"map\" int, a map<int", "create table t (\"map\" int, a map<int");
    }
}
