//! `CREATE EXTERNAL SCHEMA s FROM DATA CATALOG DATABASE 'd' IAM_ROLE '…'`: another name for a database, as Redshift has it.
//!
//! The lake is the catalog. Roles, regions and the like are taken and change nothing: it is lacus' own access.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::Write;
use crate::error::SqlError;
use crate::files::Words;
use crate::statement::{StatementKind, tokens};

/// Options about the access to another catalog.
const ACCESS: [&str; 4] = ["IAM_ROLE", "REGION", "CATALOG_ROLE", "CATALOG_ID"];

const EXTERNAL: &str = "EXTERNAL";

/// A schema that is another name for a database.
#[derive(Debug, Clone)]
pub(crate) struct ExternalSchema {
    pub(crate) name: String,
    pub(crate) unless_there: bool,
    pub(crate) database: String,
    /// Whether to make the database if it does not exist.
    pub(crate) makes_database: bool,
}

/// Parses this statement; nothing for any other.
///
/// # Errors
/// For what is wrong with it.
pub(crate) fn read(sql: &str) -> Result<Option<StatementKind>, SqlError> {
    if !may_be(sql) {
        return Ok(None);
    }
    // Whoever parses it next says what is wrong.
    let Ok(tokens) = tokens(sql) else { return Ok(None) };
    let mut words = Words::new(sql, tokens);
    if !(words.take("CREATE") && words.take(EXTERNAL) && words.take("SCHEMA")) {
        return Ok(None);
    }
    let unless_there = words.take("IF");
    if unless_there {
        words.must("NOT")?;
        words.must("EXISTS")?;
    }
    let (name, _) = words.name()?;
    words.must("FROM")?;
    words.must("DATA")?;
    words.must("CATALOG")?;
    words.must("DATABASE")?;
    let database = words.text()?;
    while words.one_of(&ACCESS).is_some() {
        if !words.take("DEFAULT") && !words.take("SESSION") {
            words.text()?;
        }
    }
    let makes_database = words.take("CREATE");
    if makes_database {
        for word in ["EXTERNAL", "DATABASE", "IF", "NOT", "EXISTS"] {
            words.must(word)?;
        }
    }
    while words.symbol(&Token::SemiColon) {}
    if !words.is_at_end() {
        return Err(words.expected("the end of the statement"));
    }
    let schema = ExternalSchema { name, unless_there, database, makes_database };
    Ok(Some(StatementKind::Write(Box::new(Write::CreateExternalSchema(schema)))))
}

/// Whether a text has a word that hardly any other statement has.
fn may_be(sql: &str) -> bool {
    sql.as_bytes().windows(EXTERNAL.len()).any(|part| part.eq_ignore_ascii_case(EXTERNAL.as_bytes()))
}
