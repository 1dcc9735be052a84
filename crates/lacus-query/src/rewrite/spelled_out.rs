//! Short forms that the parser reads only when they are written out: `TABLE t`, `trim(TRAILING FROM s)`.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Writes `SELECT * FROM t` for `TABLE t`, and adds to `trim` the blanks that it removes by default.
pub(crate) fn spell_out(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        let words = match keyword(tokens, at) {
            Some(Keyword::TABLE) if is_query(tokens, at) => {
                vec![Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")]
            }
            Some(Keyword::FROM) if is_of_blanks(tokens, at) => {
                vec![Token::SingleQuotedString(" ".to_owned()), tokens[at].token.clone()]
            }
            _ => Vec::new(),
        };
        if !words.is_empty() {
            let span = tokens[at].span;
            tokens.splice(at..=at, words.into_iter().map(|token| TokenWithSpan::new(token, span)));
        }
        at += 1;
    }
}

/// Whether a query begins with this word, followed by the name of a table.
fn is_query(tokens: &[TokenWithSpan], at: usize) -> bool {
    use Keyword::{ALL, AS, DISTINCT, EXCEPT, INTERSECT, UNION};
    let is_space = |token: &&TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    let next = tokens[at + 1..].iter().find(|token| !is_space(token));
    let Some(Token::Word(next)) = next.map(|next| &next.token) else { return false };
    let Some(place) = before(tokens, at) else { return true };
    match (&tokens[place].token, keyword(tokens, place)) {
        (Token::SemiColon, _) | (_, Some(EXCEPT | INTERSECT | UNION)) => true,
        // Here it may be a column: `AS table FROM`, `(table IS NULL)`.
        (Token::LParen, _) | (_, Some(ALL | AS | DISTINCT)) => next.keyword == Keyword::NoKeyword,
        _ => false,
    }
}

/// Whether it is the `FROM` of `trim(BOTH FROM s)`.
fn is_of_blanks(tokens: &[TokenWithSpan], at: usize) -> bool {
    let Some(side) = before(tokens, at) else { return false };
    let Some(open) = before(tokens, side) else { return false };
    let Some(trim) = before(tokens, open) else { return false };
    matches!(keyword(tokens, side), Some(Keyword::BOTH | Keyword::LEADING | Keyword::TRAILING))
        && tokens[open].token == Token::LParen
        && keyword(tokens, trim) == Some(Keyword::TRIM)
}

/// The index of the token before this one, blanks aside.
fn before(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    (0..at).rev().find(|&place| !matches!(tokens[place].token, Token::Whitespace(_)))
}

fn keyword(tokens: &[TokenWithSpan], at: usize) -> Option<Keyword> {
    match &tokens[at].token {
        Token::Word(word) if word.keyword != Keyword::NoKeyword => Some(word.keyword),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;
    use trino_functions::syntax::SqlDialect;

    use super::*;

    #[track_caller]
    fn check(sql: &str, expected: &str) {
        let mut tokens = Tokenizer::new(&SqlDialect, sql).tokenize_with_location().unwrap();
        spell_out(&mut tokens);
        assert_eq!(tokens.iter().map(|token| token.token.to_string()).collect::<String>(), expected);
    }

    #[test]
    fn words_are_written_that_the_parser_misses() {
        check("TABLE t", "SELECT*FROM t");
        check("table a.t order by 1; (TABLE t)", "SELECT*FROM a.t order by 1; (SELECT*FROM t)");
        check("SELECT 1 UNION ALL TABLE t", "SELECT 1 UNION ALL SELECT*FROM t");
        check("CREATE TABLE c AS TABLE t", "CREATE TABLE c AS SELECT*FROM t");
        check("SELECT * FROM TABLE(f(1))", "SELECT * FROM TABLE(f(1))");
        check("INSERT INTO TABLE t SELECT \"table\"", "INSERT INTO TABLE t SELECT \"table\"");
        check("SELECT trim(BOTH FROM s), trim(both 'x' from s)", "SELECT trim(BOTH ' 'FROM s), trim(both 'x' from s)");
        check("SELECT trailing FROM t", "SELECT trailing FROM t");
        check("SELECT 1 AS table FROM t WHERE (table IS NULL)", "SELECT 1 AS table FROM t WHERE (table IS NULL)");
    }
}
