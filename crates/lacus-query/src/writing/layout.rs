//! How a new table is laid out: `PARTITIONED BY (day(ts), country)`, `partitioned_by = ARRAY['bucket(user_id, 16)']`.
//!
//! The parser knows `PARTITIONED BY` with columns and their types, as Hive has it. What has no type is quoted in the tokens
//! and given one of its own, so that it comes out of the parser as it went in. No token moves.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};
use lacus_core::layout::{PartitionField, Transform};

use crate::error::SqlError;

/// The type that marks a partition field which is quoted as text.
pub(super) const PARTITION_FIELD: &str = "lacus_partition_field";

/// Quotes the partition fields of `PARTITIONED BY (…)` that have no type.
pub(crate) fn quote_partitions(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while let Some(open) = (at..tokens.len()).find_map(|start| opens(tokens, start)) {
        let Some(close) = closing(tokens, open) else { return };
        let mut quoted = Vec::new();
        for item in items(&tokens[open + 1..close]) {
            if !quoted.is_empty() {
                quoted.push(TokenWithSpan::new(Token::Comma, item[0].span));
            }
            if has_type(item) {
                quoted.extend_from_slice(item);
            } else {
                let text: String = item.iter().map(|token| token.token.to_string()).collect();
                let span = item[0].span;
                let word = |value: String, quote_style| {
                    TokenWithSpan::new(Token::Word(Word { value, quote_style, keyword: Keyword::NoKeyword }), span)
                };
                quoted.push(word(text.trim().to_owned(), Some('"')));
                quoted.push(word(PARTITION_FIELD.to_owned(), None));
            }
        }
        at = open + quoted.len();
        tokens.splice(open + 1..close, quoted);
    }
}

/// The place of the parenthesis of `PARTITIONED BY`, if that begins here.
fn opens(tokens: &[TokenWithSpan], start: usize) -> Option<usize> {
    let mut rest = (start..tokens.len()).filter(|&index| !is_space(&tokens[index]));
    let is_word = |index: usize, wanted: &str| match &tokens[index].token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted),
        _ => false,
    };
    let first = rest.next().filter(|&index| index == start && is_word(index, "PARTITIONED"))?;
    rest.next().filter(|&index| index > first && is_word(index, "BY"))?;
    rest.next().filter(|&index| tokens[index].token == Token::LParen)
}

fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    (open..tokens.len()).find(|&index| {
        match tokens[index].token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// The parts between commas that are in no parentheses, without empty ones.
fn items(tokens: &[TokenWithSpan]) -> Vec<&[TokenWithSpan]> {
    let mut depth = 0_i32;
    let parts = tokens.split(|token| {
        match token.token {
            Token::LParen | Token::Lt => depth += 1,
            Token::RParen | Token::Gt => depth -= 1,
            _ => {}
        }
        depth == 0 && token.token == Token::Comma
    });
    parts.filter(|item| item.iter().any(|token| !is_space(token))).collect()
}

/// Whether it is a name and a type.
fn has_type(item: &[TokenWithSpan]) -> bool {
    let mut words = item.iter().filter(|token| !is_space(token)).map(|token| &token.token);
    matches!((words.next(), words.next()), (Some(Token::Word(_)), Some(Token::Word(_))))
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// A partition field in the notation of lacus, Athena, Trino or Spark: `day(ts)`, `days(ts)`, `bucket[16](id)`, `bucket(16,
/// id)`, `bucket(id, 16)`, `country`.
///
/// # Errors
/// For what is none.
pub(super) fn partition_field(text: &str) -> Result<PartitionField, SqlError> {
    let wrong = || {
        SqlError::invalid("22023", format!("\"{text}\" is no partition field"))
            .with_hint("write country, day(ts), bucket(16, user_id) or truncate(3, zip)")
    };
    let plain = text.replace(['"', '`'], "");
    if let Ok(field) = plain.parse::<PartitionField>()
        && !field.column.contains(',')
    {
        return Ok(field);
    }
    let (function, arguments) =
        plain.trim().strip_suffix(')').and_then(|text| text.split_once('(')).ok_or_else(wrong)?;
    let function = function.trim().to_ascii_lowercase();
    let field = match arguments.split_once(',') {
        None => format!("{}({arguments})", function.trim_end_matches('s')),
        Some((one, other)) => {
            let is_number = |text: &str| text.trim().parse::<u32>().is_ok();
            let (number, column) = if is_number(one) { (one, other) } else { (other, one) };
            format!("{function}[{}]({})", number.trim(), column.trim())
        }
    };
    let field = field.parse::<PartitionField>().map_err(|_| wrong())?;
    if field.transform == Transform::Identity { Err(wrong()) } else { Ok(field) }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;
    use trino_functions::syntax::SqlDialect;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(partition_field(text).unwrap().to_string(), expected);
    }

    #[test]
    fn partition_fields_are_read_as_every_engine_writes_them() {
        check("country", "country");
        check("day(ts)", "day(ts)");
        check("Days(ts)", "day(ts)");
        check("bucket[16](id)", "bucket[16](id)");
        check("bucket(16, id)", "bucket[16](id)");
        check("bucket(\"id\", 16)", "bucket[16](id)");
        check("truncate(3,zip)", "truncate[3](zip)");
        for text in ["", "week(ts)", "bucket(a, b)", "bucket(0, a)", "day()", "identity(1, 2)"] {
            assert!(partition_field(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_without_a_type_are_quoted_and_others_are_not() {
        let mut tokens = Tokenizer::new(&SqlDialect, "t PARTITIONED  BY (dt string, day(ts), bucket(16, a), b) x")
            .tokenize_with_location()
            .unwrap();
        quote_partitions(&mut tokens);
        let text: String = tokens.iter().map(|token| format!("{} ", token.token)).collect();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let kind = PARTITION_FIELD;
        assert_eq!(
            text,
            format!("t PARTITIONED BY ( dt string , \"day(ts)\" {kind} , \"bucket(16, a)\" {kind} , \"b\" {kind} ) x")
        );
    }
}
