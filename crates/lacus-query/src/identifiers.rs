//! Names and keywords in statements. A name is read as PostgreSQL reads it: in lowercase, unless it is in quotes.

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// The name that an identifier stands for.
pub(crate) fn folded(identifier: &Ident) -> String {
    if identifier.quote_style.is_some() { identifier.value.clone() } else { identifier.value.to_lowercase() }
}

/// The same for a word that is not parsed yet.
pub(crate) fn folded_word(word: &Word) -> String {
    if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() }
}

/// Whether two identifiers stand for one name.
pub(crate) fn same_name(a: &Ident, b: &Ident) -> bool {
    folded(a) == folded(b)
}

/// Whether a token is this word, in any case. In quotes it would be a name.
pub(crate) fn is_word(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

/// Whether a token is this keyword.
pub(crate) fn is_keyword(token: &TokenWithSpan, wanted: Keyword) -> bool {
    matches!(&token.token, Token::Word(word) if word.keyword == wanted)
}
