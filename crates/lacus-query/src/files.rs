//! Statements about files that are not the lake's: `UNLOAD` writes them, `COPY … FROM` reads them, and external tables
//! ([`external`]) are such files. `EXPLAIN COST` is read here too, because it contains a statement as `UNLOAD` does.
//!
//! `COPY` also takes rows that a Postgres client sends ([`sent`]). Options are read as Redshift, Athena and Postgres have them: an
//! unknown word is refused, and none that would change what is written or read is ignored. Where files may be is for the lake
//! to say ([`lacus_lake::Outside`]).

mod binary;
mod columns;
mod external;
mod load;
mod options;
mod records;
mod sent;
mod source;
mod text;
mod unload;
mod words;
mod writer;

use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::Token;
use datafusion_pg_catalog::sql::PostgresCompatibilityParser;

pub use self::binary::DecodeBinary;
pub(crate) use self::external::{External, ExternalTable, is_external, must_not_be_external};
pub(crate) use self::load::Load;
pub use self::sent::CopyIn;
pub(crate) use self::unload::{Unload, answer_schema};
pub(crate) use self::words::Words;
use crate::dialect::Dialect;
use crate::error::{Names, SqlError};
use crate::statement::StatementKind;

/// What is needed to read a statement within a statement.
pub(crate) struct Reading<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) postgres: &'a PostgresCompatibilityParser,
    pub(crate) names: &'a dyn Names,
}

/// Parses one of these statements; nothing for any other text.
///
/// # Errors
/// For what is wrong with it.
pub(crate) fn read(sql: &Arc<str>, reading: &Reading<'_>) -> Result<Option<StatementKind>, SqlError> {
    let has = |word: &str| sql.as_bytes().windows(word.len()).any(|bytes| bytes.eq_ignore_ascii_case(word.as_bytes()));
    let may_be_external = external::may_be(sql);
    if !has("unload") && !has("copy") && !has("cost") && !may_be_external {
        return Ok(None);
    }
    // Whoever parses it next says what is wrong.
    let Ok(tokens) = crate::statement::tokens(sql) else { return Ok(None) };
    if may_be_external {
        let mut words = Words::new(sql, tokens.clone());
        if let Some(external) = external::read(&mut words, sql)? {
            must_end(&mut words, "statements about external tables are sent alone")?;
            return Ok(Some(StatementKind::External(Box::new(external))));
        }
    }
    let mut words = Words::new(sql, tokens);
    let kind = if words.take("UNLOAD") {
        StatementKind::Unload(Box::new(Unload::read(&mut words, reading)?))
    } else if words.take("COPY") && words.is_from_files_or_client() {
        StatementKind::Load(Box::new(Load::read(&mut words)?))
    } else if words.take("EXPLAIN") && words.take("COST") {
        return cost(&words, reading).map(Some);
    } else {
        return Ok(None);
    };
    must_end(&mut words, "UNLOAD and COPY are sent alone, and take the options of the reference page")?;
    Ok(Some(kind))
}

fn must_end(words: &mut Words<'_>, hint: &str) -> Result<(), SqlError> {
    while words.symbol(&Token::SemiColon) {}
    if words.is_at_end() {
        return Ok(());
    }
    Err(words.expected("the end of the statement").with_hint(hint))
}

/// `EXPLAIN COST` of what follows.
fn cost(words: &Words<'_>, reading: &Reading<'_>) -> Result<StatementKind, SqlError> {
    Ok(StatementKind::Cost(Box::new(statement_in(&words.rest(), reading)?)))
}

/// The statement inside of a text, with positions that count in the whole text.
fn statement_in(text: &str, reading: &Reading<'_>) -> Result<crate::statement::Statement, SqlError> {
    let Reading { dialect, postgres, names } = reading;
    let mut statements = crate::statement::parse_plain(text.into(), *dialect, postgres, *names)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) if statement.command() == "SELECT" => Ok(statement),
        _ => Err(SqlError::invalid("42601", "UNLOAD and EXPLAIN COST take one query")
            .with_hint("UNLOAD ('SELECT …') TO …, EXPLAIN COST SELECT …")),
    }
}

fn refused(what: &str, hint: &str) -> SqlError {
    SqlError::invalid("0A000", format!("{what} is not supported")).with_hint(hint)
}
