//! How deep a statement may be, found out before it is parsed.
//!
//! `1 + 1 + 1 …` is read in a loop and becomes a tree as deep as it is long, that nobody can walk over, not even to drop it,
//! without as much stack. The parser's own limit counts brackets only. So what stands between two commas is counted here,
//! along with what stands around it.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::SqlError;

/// The most words and operators around and before a place of a statement, back to the last comma. Of conditions only the `AND`
/// and `OR` between them count.
const WORDS_MAX: usize = 2_000;

/// The stack of a thread that reads and plans statements: several times what one of that depth takes unoptimised.
pub const STACK_BYTES: usize = 32 << 20;

/// What a pair of brackets has in it so far.
#[derive(Default)]
struct Level {
    /// `AND` and `OR` since the last comma.
    joined: usize,
    /// Other words since the last comma, `AND` or `OR`.
    words: usize,
}

/// Refuses a statement that is too deep.
///
/// # Errors
/// `54001`.
pub(crate) fn must_be_shallow(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let (mut outside, mut words_outside, mut level) = (Vec::new(), 0, Level::default());
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => {}
            Token::LParen | Token::LBracket | Token::LBrace => {
                level.words += 1;
                words_outside += level.joined + level.words;
                outside.push(std::mem::take(&mut level));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                level = outside.pop().unwrap_or_default();
                words_outside = words_outside.saturating_sub(level.joined + level.words);
            }
            Token::Comma | Token::SemiColon => level = Level::default(),
            Token::Word(word) if matches!(word.keyword, Keyword::AND | Keyword::OR) => {
                level = Level { joined: level.joined + 1, words: 0 };
            }
            _ => level.words += 1,
        }
        if words_outside + level.joined + level.words > WORDS_MAX {
            let error = SqlError::invalid("54001", "the statement is nested too deeply");
            return Err(error.with_hint("write long lists as IN (…), or join a table or VALUES with them"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::tokens;

    fn is_shallow(sql: &str) -> bool {
        must_be_shallow(&tokens(sql).unwrap()).is_ok()
    }

    #[test]
    fn what_is_long_is_not_deep() {
        let list = vec!["1 + 1"; 20_000].join(", ");
        assert!(is_shallow(&format!("SELECT {list}")));
        assert!(is_shallow(&format!("SELECT 1 WHERE 1 IN ({list}) AND 2 IN ({list})")));
        assert!(is_shallow(&vec!["a = 1"; 1_500].join(" OR ")));
        assert!(is_shallow(&vec!["(a = 1 AND b = f(2))"; 400].join(" OR ")));
        assert!(is_shallow(&vec!["SELECT 1"; 5_000].join("; ")));
        assert!(is_shallow(")]}".repeat(10_000).as_str()));
    }

    #[test]
    fn what_is_deep_is_refused() {
        for sql in [
            vec!["1"; 5_000].join(" + "),
            vec!["a"; 5_000].join(" AND "),
            vec!["SELECT 1"; 5_000].join(" UNION ALL "),
            format!("1{}", " IS NULL".repeat(5_000)),
            format!("a{}", "[1]".repeat(5_000)),
            "(".repeat(5_000),
            // Each of the brackets alone would do.
            format!("({}", vec!["1"; 30].join(" + ")).repeat(60),
        ] {
            assert!(!is_shallow(&sql), "{}", &sql[..40]);
        }
    }
}
