//! `CREATE TABLE … AS SELECT … WITH NO DATA`: a table of the query's columns, without its rows.
//!
//! The parser does not know it: in its place the query gets `LIMIT 0`. `WITH DATA` is left out.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace, Word};

use crate::identifiers::is_keyword;

/// Rewrites `WITH NO DATA` at the end of each `CREATE TABLE … AS` as a limit.
pub(crate) fn write_no_data(tokens: &mut Vec<TokenWithSpan>) {
    let mut start = 0;
    while start < tokens.len() {
        let end = (start..tokens.len()).find(|&at| tokens[at].token == Token::SemiColon).unwrap_or(tokens.len());
        start = end + write_in(tokens, start, end) + 1;
    }
}

/// The same for one statement. Returns how many tokens were added.
fn write_in(tokens: &mut Vec<TokenWithSpan>, start: usize, end: usize) -> usize {
    let Some(query) = query_of(tokens, start, end) else { return 0 };
    let mut last = (query..end).rev().filter(|&at| !matches!(tokens[at].token, Token::Whitespace(_)));
    let (Some(data), Some(before), Some(first)) = (last.next(), last.next(), last.next()) else { return 0 };
    let is = |at: usize, keyword| is_keyword(&tokens[at], keyword);
    let is_without = is(before, Keyword::NO) && is(first, Keyword::WITH);
    if !is(data, Keyword::DATA) || !is_without && !is(before, Keyword::WITH) {
        return 0;
    }
    let has_limit = has_limit(&tokens[query..before]);
    tokens[data].token = Token::Whitespace(Whitespace::Space);
    if !is_without {
        tokens[before].token = Token::Whitespace(Whitespace::Space);
        return 0;
    }
    let limit = Word { value: "LIMIT".to_owned(), quote_style: None, keyword: Keyword::LIMIT };
    tokens[first].token = Token::Word(limit);
    tokens[before].token = Token::Number("0".to_owned(), false);
    if !has_limit {
        return 0;
    }
    // A limit of its own stays in parentheses.
    let span = tokens[first].span;
    tokens.insert(first, TokenWithSpan::new(Token::RParen, span));
    tokens.insert(query, TokenWithSpan::new(Token::LParen, span));
    2
}

/// Where the query of a `CREATE TABLE … AS` begins.
fn query_of(tokens: &[TokenWithSpan], start: usize, end: usize) -> Option<usize> {
    let first = (start..end).find(|&at| !matches!(tokens[at].token, Token::Whitespace(_)))?;
    let table = (first..end).find(|&at| is_keyword(&tokens[at], Keyword::TABLE))?;
    let query = (first..end).find(|&at| is_keyword(&tokens[at], Keyword::AS))?;
    (is_keyword(&tokens[first], Keyword::CREATE) && table < query).then_some(query + 1)
}

/// Whether there is a limit outside of parentheses.
fn has_limit(tokens: &[TokenWithSpan]) -> bool {
    let mut depth = 0_i32;
    tokens.iter().any(|token| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        let is_limit = [Keyword::LIMIT, Keyword::OFFSET, Keyword::FETCH].iter().any(|word| is_keyword(token, *word));
        depth == 0 && is_limit
    })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;
    use trino_functions::syntax::SqlDialect;

    use super::*;

    #[track_caller]
    fn check(sql: &str, expected: &str) {
        let mut tokens = Tokenizer::new(&SqlDialect, sql).tokenize_with_location().unwrap();
        write_no_data(&mut tokens);
        let text: String = tokens.iter().map(|token| token.token.to_string()).collect();
        assert_eq!(text.trim_end(), expected);
    }

    #[test]
    fn what_has_no_data_has_a_limit() {
        check("CREATE TABLE a AS SELECT 1 WITH DATA", "CREATE TABLE a AS SELECT 1");
        check("CREATE TABLE a AS SELECT 1 WITH NO DATA", "CREATE TABLE a AS SELECT 1 LIMIT 0");
        check("create table a as (select x limit 1) with no data;", "create table a as (select x limit 1) LIMIT 0  ;");
        check(
            "CREATE TABLE a AS SELECT 1 LIMIT 2 WITH NO DATA; SELECT 2",
            "CREATE TABLE a AS( SELECT 1 LIMIT 2 )LIMIT 0  ; SELECT 2",
        );
        for sql in ["SELECT 1 AS t WITH NO DATA", "CREATE TABLE a (data text)", "CREATE VIEW v AS SELECT 1"] {
            check(sql, sql);
        }
    }
}
