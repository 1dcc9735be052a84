//! Names in any case: `select UserId` finds the column `userId`.
//!
//! SQL folds names to lowercase, JSON does not. A table has no two sibling columns whose names differ by case only, so a
//! word without quotes may mean the one column or field there is. Such words are replaced by the quoted name wherever
//! they stand, before the statement is read: the same word means the same everywhere in it. Words in quotes are
//! exact. A word that is spelled two ways in the tables of a statement is left as it is.

use std::collections::HashMap;

use datafusion::arrow::datatypes::{DataType, Fields, SchemaRef};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Names with capitals, by their lowercase; none for a lowercase with two spellings.
#[derive(Debug, Default)]
pub(crate) struct Spellings(HashMap<String, Option<String>>);

impl Spellings {
    /// The names of the columns and fields of tables.
    pub(crate) fn of<'a>(schemas: impl IntoIterator<Item = &'a SchemaRef>) -> Self {
        let mut all = HashMap::new();
        for schema in schemas {
            add(schema.fields(), &mut all);
        }
        // Lowercase names are found without help.
        all.retain(|lower, name| name.as_ref() != Some(lower));
        Self(all)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts these names in place of words; whether there were any.
    pub(crate) fn apply(&self, tokens: &mut [TokenWithSpan]) -> bool {
        let mut applied = false;
        let mut after_dot = false;
        for index in 0..tokens.len() {
            let is_call = next_word(tokens, index) == Some(&Token::LParen);
            let token = &mut tokens[index].token;
            if let Token::Word(word) = token
                && word.quote_style.is_none()
                && !is_call
                && (after_dot || word.keyword == Keyword::NoKeyword)
                && let Some(Some(name)) = self.0.get(&word.value.to_lowercase())
            {
                name.clone_into(&mut word.value);
                word.quote_style = Some('"');
                word.keyword = Keyword::NoKeyword;
                applied = true;
            }
            after_dot = *token == Token::Period;
        }
        applied
    }
}

fn next_word(tokens: &[TokenWithSpan], index: usize) -> Option<&Token> {
    tokens[index + 1..].iter().map(|token| &token.token).find(|token| !matches!(token, Token::Whitespace(_)))
}

fn add(fields: &Fields, all: &mut HashMap<String, Option<String>>) {
    for field in fields {
        let name = field.name();
        let known = all.entry(name.to_lowercase()).or_insert_with(|| Some(name.clone()));
        if known.as_ref() != Some(name) {
            *known = None;
        }
        let mut kind = field.data_type();
        while let DataType::List(element) = kind {
            kind = element.data_type();
        }
        if let DataType::Struct(fields) = kind {
            add(fields, all);
        }
    }
}
