//! `CREATE VIEW` and `DROP VIEW`: the views that other engines find in the REST catalog, too.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{self, CreateTableOptions};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};
use lacus_core::{Kind, MAIN_DATABASE};
use lacus_lake::views::SqlView;

use super::{Planned, aside, name_of};
use crate::answer::Answer;
use crate::error::{SqlError, explain};
use crate::files::is_external;
use crate::identifiers::folded;
use crate::session::Session;
use crate::stated_name::StatedName;
use crate::statement::{Statement, StatementKind, tokens};

/// `CREATE VIEW` without its query, which is kept as text.
#[derive(Debug, Clone)]
pub(crate) struct CreateView {
    name: StatedName,
    /// The names of its columns; empty if the query names them.
    columns: Vec<String>,
    or_replace: bool,
    unless_there: bool,
}

/// `DROP VIEW`.
#[derive(Debug, Clone)]
pub(crate) struct DropViews {
    names: Vec<StatedName>,
    if_there: bool,
}

impl CreateView {
    /// Reads a statement.
    ///
    /// # Errors
    /// For what lacus does not do.
    pub(crate) fn of(view: &ast::CreateView) -> Result<Self, SqlError> {
        let options = !matches!(view.options, CreateTableOptions::None) || !view.cluster_by.is_empty();
        let kinds = view.materialized || view.temporary || view.or_alter || view.to.is_some();
        let typed = view.columns.iter().any(|column| column.data_type.is_some() || column.options.is_some());
        if options || kinds || typed {
            return Err(SqlError::invalid("0A000", "a view is a name for a query, and nothing else")
                .with_hint("CREATE [OR REPLACE] VIEW name [(columns)] AS SELECT …"));
        }
        Ok(Self {
            name: StatedName::of(&view.name)?,
            columns: view.columns.iter().map(|column| folded(&column.name)).collect(),
            or_replace: view.or_replace,
            unless_there: view.if_not_exists,
        })
    }

    /// The columns of its query, renamed.
    fn named(&self, columns: &SchemaRef) -> Result<SchemaRef, SqlError> {
        if self.columns.is_empty() {
            return Ok(Arc::clone(columns));
        }
        if self.columns.len() != columns.fields().len() {
            let (names, count) = (self.columns.len(), columns.fields().len());
            return Err(SqlError::invalid("42601", format!("there are {names} names for {count} columns")));
        }
        let fields = columns.fields().iter().zip(&self.columns);
        let fields: Vec<Field> = fields.map(|(field, name)| field.as_ref().clone().with_name(name)).collect();
        Ok(Arc::new(Schema::new(fields)))
    }
}

impl DropViews {
    /// Reads a statement.
    ///
    /// # Errors
    /// If a name can't be one.
    pub(crate) fn of(names: &[ast::ObjectName], if_there: bool) -> Result<Self, SqlError> {
        Ok(Self { names: names.iter().map(StatedName::of).collect::<Result<_, _>>()?, if_there })
    }
}

impl Session {
    /// Makes a view of the statement's query.
    pub(crate) async fn create_view(&self, statement: &Statement, view: &CreateView) -> Result<Answer, SqlError> {
        self.must_be_allowed("CREATE VIEW")?;
        let lake = self.lake()?;
        let done = Ok(Answer::done("CREATE VIEW"));
        let name = self.meant_new(&view.name)?;
        if view.unless_there && lake.view(&name).is_some() {
            return done;
        }
        if view.or_replace && is_external(lake, &name) {
            return Err(SqlError::new(Kind::Exists, "42P07", format!("\"{name}\" is an external table"))
                .with_hint("DROP TABLE forgets it, and its files stay"));
        }
        let query = query_of(statement).map_err(|error| explain(error, &statement.sql, self.names()))?;
        let sql = statement.sql[query.clone()].to_owned();
        // Positions are told in the statement, not in the query.
        let before = statement.sql[..query.start].chars().count();
        let placed = |error: SqlError| {
            let position = error.position().map(|position| before + position);
            error.with_position(position)
        };
        // A query that is several statements is refused when it is planned.
        let home = match self.parse(&sql).map_err(placed)?.first() {
            Some(query) => self.home_of(query)?,
            None => MAIN_DATABASE.to_owned(),
        };
        let columns = view.named(&self.columns_of(&sql, statement, &home).await.map_err(placed)?)?;
        must_differ(&columns)?;
        if !lake.databases().await?.contains_key(name.database()) {
            let missing = format!("there is no database \"{}\"", name.database());
            return Err(SqlError::new(Kind::NotFound, "3F000", missing));
        }
        let dialect = name_of(statement.dialect());
        let new = SqlView { name, sql, dialect, database: home, columns };
        let new = lake.view_of(new)?;
        if view.or_replace {
            lake.create_or_replace_view(new).await?;
        } else {
            lake.create_view(new).await?;
        }
        done
    }

    /// Drops views, one after the other.
    pub(crate) async fn drop_views(&self, views: &DropViews) -> Result<Answer, SqlError> {
        self.must_be_allowed("DROP VIEW")?;
        let lake = self.lake()?;
        for name in &views.names {
            let name = self.meant(name)?;
            if is_external(lake, &name) {
                return Err(SqlError::invalid("42809", format!("\"{name}\" is no view"))
                    .with_hint("it is an external table: DROP TABLE"));
            }
            match lake.drop_view(&name).await {
                Err(error) if error.kind() != Kind::NotFound => return Err(error.into()),
                Err(_) if !views.if_there => {
                    let error = SqlError::new(Kind::NotFound, "42P01", format!("there is no view \"{name}\""));
                    let is_table = lake.table(&name).is_some();
                    return Err(if is_table { error.with_hint("it is a table") } else { error });
                }
                _ => {}
            }
        }
        Ok(Answer::done("DROP VIEW"))
    }

    /// The query of a view that the statement makes. None if it makes none, or can't be parsed.
    pub(crate) fn query_of_view(&self, statement: &Statement) -> Option<Statement> {
        let StatementKind::CreateView(_) = &statement.kind else { return None };
        let query = query_of(statement).ok()?;
        self.parse(&statement.sql[query]).ok()?.into_iter().next()
    }

    /// The columns of a view's query, planned on the engine's threads.
    async fn columns_of(&self, sql: &str, statement: &Statement, home: &str) -> Result<SchemaRef, SqlError> {
        let (shared, sql, dialect) = (Arc::clone(self.shared()), sql.to_owned(), statement.dialect());
        let home = home.to_owned();
        let planned = async move { Planned::new(&shared, dialect, &sql, &home).await };
        Ok(aside(self.shared(), planned).await??.columns)
    }
}

/// The columns of a view must have different names.
fn must_differ(columns: &Schema) -> Result<(), SqlError> {
    let mut names: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(SqlError::invalid("42701", format!("two columns are called \"{}\"", twice[0]))
            .with_hint("give one of them another name: AS b")),
        None => Ok(()),
    }
}

/// Where the query is in the text of `CREATE VIEW … AS query`.
fn query_of(statement: &Statement) -> Result<Range<usize>, DataFusionError> {
    let sql = &*statement.sql;
    let tokens = tokens(sql)?;
    let statements = tokens.split(|token| token.token == Token::SemiColon);
    let own = statements.filter(|tokens| tokens.iter().any(is_word)).nth(statement.index());
    let own = own.unwrap_or_default();
    let mut after = own.iter().skip_while(|token| !is_as(token)).skip(1).filter(|token| is_word(token));
    let Some(first) = after.next() else { return Ok(0..0) };
    let last = after.last().unwrap_or(first);
    Ok(offset(sql, first.span.start)..offset(sql, last.span.end))
}

/// Neither blank, nor comment, nor the end.
fn is_word(token: &TokenWithSpan) -> bool {
    !matches!(token.token, Token::Whitespace(_) | Token::EOF)
}

/// The statement's own `AS`: the names and options before it contain none.
fn is_as(token: &TokenWithSpan) -> bool {
    matches!(&token.token, Token::Word(word) if word.keyword == Keyword::AS && word.quote_style.is_none())
}

/// The byte offset of a line and column.
fn offset(sql: &str, place: Location) -> usize {
    let count = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let line: usize = sql.split_inclusive('\n').take(count(place.line)).map(str::len).sum();
    let rest = &sql[line..];
    line + rest.char_indices().nth(count(place.column)).map_or(rest.len(), |(at, _)| at)
}
