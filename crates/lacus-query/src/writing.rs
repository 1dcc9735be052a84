//! Statements that write: which there are, and what of their text decides before they run.
//!
//! `CREATE` and `DROP` of tables and databases act at once. All others have a question in them, which is planned and run
//! as any query: the rows of `CREATE TABLE … AS` and `INSERT`; the places of rows that go, and the rows that come in their
//! stead, for `DELETE`, `UPDATE` and `MERGE` ([`questions`]). What it answers goes to the lake piece by piece
//! ([`running`]), which makes one commit of it at the end.

mod assignments;
mod casts;
mod common_tables;
mod computed;
mod create;
mod data;
mod external;
mod layout;
mod overwrite;
mod planning;
mod questions;
mod returning;
mod running;
mod types;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    CreateTable, Ident, ObjectName, ObjectType, SchemaName, SetExpr, Statement as Ast,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

pub(crate) use self::casts::without_ids;
use self::common_tables::put_inside;
pub(crate) use self::create::{Creation, column as new_column, texts};
pub(crate) use self::data::write_no_data;
use self::external::ExternalSchema;
pub(crate) use self::external::read as read_external_schema;
pub(crate) use self::layout::quote_partitions;
pub(crate) use self::planning::table_to_write;
pub(crate) use self::running::{Checked, Limits, of_lake as of_write};
pub(crate) use self::types::write_types;
use crate::engine::CATALOG;
use crate::error::SqlError;
use crate::identifiers::folded;
use crate::stated_name::StatedName;

/// A statement that writes.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    /// `CREATE TABLE t (…)`.
    CreateTable(Box<Creation>),
    /// `CREATE TABLE t AS SELECT …`, and its question.
    CreateTableAs(Box<Creation>, Box<Parsed>),
    /// `DROP TABLE`.
    DropTables { names: Vec<StatedName>, if_there: bool },
    /// `CREATE SCHEMA`, `CREATE DATABASE`.
    CreateDatabase { command: &'static str, name: String, unless_there: bool },
    /// `CREATE EXTERNAL SCHEMA`.
    CreateExternalSchema(ExternalSchema),
    /// `DROP SCHEMA`, `DROP DATABASE`.
    DropDatabases { command: &'static str, names: Vec<String>, if_there: bool },
    /// `INSERT`, `DELETE`, `UPDATE`, `MERGE`.
    Rows { command: &'static str, parsed: Box<Parsed> },
}

impl Write {
    /// Parses a statement; gives it back if it is none of these.
    ///
    /// # Errors
    /// For what of these statements lacus does not do.
    pub(crate) fn of(statement: Ast) -> Result<Result<Self, Ast>, SqlError> {
        Ok(Ok(match statement {
            Ast::CreateTable(create) => {
                let (creation, question) = Creation::of(create)?;
                match question {
                    Some(query) => Self::CreateTableAs(
                        Box::new(creation),
                        Box::new(Parsed::Statement(Box::new(Ast::Query(query)))),
                    ),
                    None => Self::CreateTable(Box::new(creation)),
                }
            }
            Ast::Insert(_) => Self::rows("INSERT", statement),
            Ast::Delete(_) => Self::rows("DELETE", statement),
            Ast::Update(_) => Self::rows("UPDATE", statement),
            Ast::Merge(_) => Self::rows("MERGE", statement),
            Ast::CreateSchema { schema_name: SchemaName::Simple(name), if_not_exists, .. } => {
                let name = database_name(&name)?;
                Self::CreateDatabase { command: "CREATE SCHEMA", name, unless_there: if_not_exists }
            }
            Ast::CreateDatabase { db_name, if_not_exists, location: None, managed_location: None, .. } => {
                let name = database_name(&db_name)?;
                Self::CreateDatabase { command: "CREATE DATABASE", name, unless_there: if_not_exists }
            }
            Ast::Drop { object_type, if_exists, names, cascade, temporary: false, table: None, .. } => {
                return drop_of(object_type, if_exists, &names, cascade).map(Ok);
            }
            other => return Ok(Err(other)),
        }))
    }

    fn rows(command: &'static str, statement: Ast) -> Self {
        Self::Rows { command, parsed: Box::new(Parsed::Statement(Box::new(statement))) }
    }

    /// What it does, in Postgres' words.
    pub(crate) fn command(&self) -> &'static str {
        match self {
            Self::CreateTable(_) => "CREATE TABLE",
            Self::CreateTableAs(..) => "CREATE TABLE AS",
            Self::DropTables { .. } => "DROP TABLE",
            Self::CreateExternalSchema(_) => "CREATE SCHEMA",
            Self::CreateDatabase { command, .. } | Self::DropDatabases { command, .. } | Self::Rows { command, .. } => {
                command
            }
        }
    }

    /// The part of it that reads, if there is one.
    pub(crate) fn question(&self) -> Option<&Parsed> {
        match self {
            Self::CreateTableAs(_, parsed) | Self::Rows { parsed, .. } => Some(parsed),
            _ => None,
        }
    }
}

/// Normalizes: `WITH x AS (…) INSERT INTO t SELECT …` to `INSERT INTO t WITH x AS (…) SELECT …`, other changes of rows
/// likewise, and `TRUNCATE t` to `DELETE FROM t`.
pub(crate) fn plainly(statement: Ast) -> Ast {
    match &statement {
        Ast::Query(query) => match (query.body.as_ref(), &query.with) {
            (SetExpr::Insert(Ast::Insert(insert)), with) => {
                let mut insert = insert.clone();
                if let Some(source) = insert.source.as_mut().filter(|source| source.with.is_none()) {
                    source.with.clone_from(with);
                }
                Ast::Insert(insert)
            }
            (SetExpr::Update(inner) | SetExpr::Delete(inner) | SetExpr::Merge(inner), Some(with)) => {
                put_inside(with, inner).unwrap_or(statement)
            }
            _ => statement,
        },
        Ast::Truncate(truncate) if truncate.table_names.len() == 1 && truncate.partitions.is_none() => {
            let text = format!("DELETE FROM {}", truncate.table_names[0].name);
            let parsed =
                Parser::new(&GenericDialect).try_with_sql(&text).and_then(|mut parser| parser.parse_statement());
            parsed.unwrap_or(statement)
        }
        _ => statement,
    }
}

/// The part of a statement that reads: for `CREATE TABLE … AS`, the query.
pub(crate) fn question_of(statement: Parsed) -> Parsed {
    let Parsed::Statement(ast) = statement else { return statement };
    Parsed::Statement(Box::new(match plainly(*ast) {
        Ast::CreateTable(CreateTable { query: Some(query), .. }) => Ast::Query(query),
        other => other,
    }))
}

fn drop_of(kind: ObjectType, if_there: bool, names: &[ObjectName], cascade: bool) -> Result<Write, SqlError> {
    if cascade {
        return Err(SqlError::invalid("0A000", format!("DROP {kind} … CASCADE is not supported"))
            .with_hint("drop what is in it one by one: what is dropped stays for a week only"));
    }
    match kind {
        ObjectType::Table => {
            let names = names.iter().map(StatedName::of).collect::<Result<_, _>>()?;
            Ok(Write::DropTables { names, if_there })
        }
        ObjectType::Schema | ObjectType::Database => {
            let command = if kind == ObjectType::Schema { "DROP SCHEMA" } else { "DROP DATABASE" };
            let names = names.iter().map(database_name).collect::<Result<_, _>>()?;
            Ok(Write::DropDatabases { command, names, if_there })
        }
        other => Err(SqlError::invalid("0A000", format!("DROP {other} is not supported"))),
    }
}

/// `shop`, `lake.shop`.
fn database_name(name: &ObjectName) -> Result<String, SqlError> {
    let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
    match parts.as_deref() {
        Some([database]) => Ok(folded(database)),
        Some([catalog, database]) if folded(catalog) == CATALOG => Ok(folded(database)),
        _ => {
            Err(SqlError::invalid("3F000", format!("\"{name}\" is no name of a database"))
                .with_hint("CREATE SCHEMA shop"))
        }
    }
}
