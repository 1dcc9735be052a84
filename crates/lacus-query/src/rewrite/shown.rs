//! `SHOW TABLES`, `SHOW DATABASES` and `SHOW SCHEMAS`: questions to `information_schema` about what is in the lake.
//!
//! The engine would list its own tables among those of the lake, and knows neither the others nor `IN` and `LIKE`. What none of
//! the dialects has (`SHOW TABLES STARTS WITH …`) is left to it, and refused there.

use datafusion::sql::sqlparser::ast::{
    ObjectNamePart, ShowStatementFilter, ShowStatementFilterPosition, ShowStatementIn, ShowStatementInParentType,
    ShowStatementOptions, Statement as Ast,
};
use datafusion::sql::sqlparser::parser::Parser;
use trino_functions::syntax::SqlDialect;

use crate::identifiers::folded;

/// Where no table of the lake is.
const NOT_OF_THE_LAKE: &str = "NOT IN ('information_schema', 'pg_catalog')";

/// Puts the question in the place of such a statement.
pub(super) fn as_query(statement: &mut Ast) {
    let question = match statement {
        Ast::ShowTables { show_options, .. } => tables(show_options),
        Ast::ShowDatabases { show_options, .. } | Ast::ShowSchemas { show_options, .. } => databases(show_options),
        _ => return,
    };
    let parsed = question.and_then(|sql| Parser::parse_sql(&SqlDialect, &sql).ok());
    if let Some(question) = parsed.and_then(|mut statements| statements.pop()) {
        *statement = question;
    }
}

fn tables(options: &ShowStatementOptions) -> Option<String> {
    let within = match &options.show_in {
        Some(place) => format!("= {}", quoted(&database(place)?)),
        None => NOT_OF_THE_LAKE.to_owned(),
    };
    let filter = filter("table_name", options)?;
    Some(format!(
        "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema {within}{filter} ORDER BY 1, 2"
    ))
}

fn databases(options: &ShowStatementOptions) -> Option<String> {
    if options.show_in.is_some() {
        return None;
    }
    let filter = filter("schema_name", options)?;
    Some(format!(
        "SELECT schema_name AS database_name FROM information_schema.schemata WHERE schema_name {NOT_OF_THE_LAKE}{filter} ORDER BY 1"
    ))
}

/// `IN web`, `FROM SCHEMA lake.web`: the last part of the name.
fn database(place: &ShowStatementIn) -> Option<String> {
    use ShowStatementInParentType::{Database, Schema};
    if !matches!(place.parent_type, None | Some(Database | Schema)) {
        return None;
    }
    match place.parent_name.as_ref()?.0.last()? {
        ObjectNamePart::Identifier(name) => Some(folded(name)),
        ObjectNamePart::Function(_) => None,
    }
}

/// The condition on names; an empty one if all are wanted.
fn filter(column: &str, options: &ShowStatementOptions) -> Option<String> {
    use ShowStatementFilter::{ILike, Like, NoKeyword, Where};
    if options.starts_with.is_some() || options.limit.is_some() || options.limit_from.is_some() {
        return None;
    }
    let Some(ShowStatementFilterPosition::Infix(filter) | ShowStatementFilterPosition::Suffix(filter)) =
        &options.filter_position
    else {
        return Some(String::new());
    };
    match filter {
        Like(pattern) => Some(format!(" AND {column} LIKE {}", quoted(pattern))),
        ILike(pattern) => Some(format!(" AND {column} ILIKE {}", quoted(pattern))),
        // As Athena has it: '*' stands for any letters, '|' for or.
        NoKeyword(pattern) => {
            Some(format!(" AND {column} ~ {}", quoted(&format!("^({})$", pattern.replace('*', ".*")))))
        }
        Where(_) => None,
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
