//! How deep a statement may be, found out before it is parsed.
//!
//! `1 + 1 + 1 …` is parsed in a loop into a tree as deep as it is long, and even dropping that tree takes as much stack. The
//! parser's own limit counts brackets only. So here we count what stands between two commas, together with what is around it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{ObjectName, Query, Visit, Visitor, visit_relations};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::ast::ast_of;
use crate::error::SqlError;

/// The most words and operators around and before a place in a statement, back to the last comma. In conditions only the
/// `AND` and `OR` count.
const WORDS_MAX: usize = 2_000;

/// The stack of a thread that parses and plans: several times what a statement of that depth takes unoptimised.
pub const STACK_BYTES: usize = 32 << 20;

/// What a pair of brackets contains so far.
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

/// The most tables a statement may name.
const TABLES_MAX: usize = 1_000;

/// The most `WITH` names a statement may have.
const NAMES_MAX: usize = 200;

/// The most tables after `WITH` names are expanded: a name used twice by the next, which is used twice by the next, doubles
/// each time.
const READ_MAX: usize = 10_000;

/// Refuses a statement whose plan would be so large that making it takes all memory: planning can't be stopped.
///
/// # Errors
/// `54001`.
pub(crate) fn must_stay_small(parsed: &Parsed) -> Result<(), SqlError> {
    let Some(statement) = ast_of(parsed) else { return Ok(()) };
    let mut sizes = Sizes::default();
    // The visitor never breaks off.
    let _done: ControlFlow<()> = statement.visit(&mut sizes);
    for (found, most, what) in [
        (sizes.tables, TABLES_MAX, "names"),
        (sizes.known.len(), NAMES_MAX, "has in its WITH"),
        (sizes.largest.max(sizes.of(statement)), READ_MAX, "reads by its WITH"),
    ] {
        if found > most {
            let error = SqlError::invalid("54001", format!("the statement {what} more than {most} tables"));
            return Err(error.with_hint("keep a part of it in a table, with CREATE TABLE … AS"));
        }
    }
    Ok(())
}

/// How many tables each `WITH` name of a statement expands to.
#[derive(Default)]
struct Sizes {
    known: HashMap<String, usize>,
    largest: usize,
    tables: usize,
}

impl Sizes {
    fn of(&self, part: &impl Visit) -> usize {
        let mut size = 1_usize;
        let _done: ControlFlow<()> = visit_relations(part, |name| {
            size = size.saturating_add(self.known.get(&plain(name)).copied().unwrap_or(1));
            ControlFlow::Continue(())
        });
        size
    }
}

impl Visitor for Sizes {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for name in query.with.iter().flat_map(|with| &with.cte_tables) {
            let size = self.of(&name.query);
            self.largest = self.largest.max(size);
            self.known.insert(name.alias.name.value.to_lowercase(), size);
            if self.known.len() > NAMES_MAX {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, _name: &ObjectName) -> ControlFlow<()> {
        self.tables += 1;
        ControlFlow::Continue(())
    }
}

fn plain(name: &ObjectName) -> String {
    name.to_string().trim_matches('"').to_lowercase()
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

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
            // Each of the brackets would be allowed alone.
            format!("({}", vec!["1"; 30].join(" + ")).repeat(60),
        ] {
            assert!(!is_shallow(&sql), "{}", &sql[..40]);
        }
    }

    #[test]
    fn names_that_double_are_refused() {
        let is_small = |sql: &str| must_stay_small(&DFParser::parse_sql(sql).unwrap()[0]).is_ok();
        let doubling = |count: usize| {
            let names: Vec<String> =
                (1..count).map(|at| format!("a{at} AS (SELECT p.x FROM a{} p, a{} q)", at - 1, at - 1)).collect();
            format!("WITH a0 AS (SELECT 1 AS x), {} SELECT * FROM a{}", names.join(", "), count - 1)
        };
        assert!(is_small(&doubling(8)));
        assert!(!is_small(&doubling(40)));
        let tables = |count: usize| (0..count).map(|at| format!("t{at}")).collect::<Vec<_>>().join(", ");
        assert!(is_small(&format!("SELECT 1 FROM {}", tables(900))));
        assert!(!is_small(&format!("SELECT 1 FROM {}", tables(3_000))));
        let chain: Vec<String> = (1..1_000).map(|at| format!("a{at} AS (SELECT * FROM a{})", at - 1)).collect();
        assert!(!is_small(&format!("WITH a0 AS (SELECT 1), {} SELECT * FROM a999", chain.join(", "))));
    }
}
