//! Tables as they were: `clicks FOR VERSION AS OF 'before_launch'`, `clicks FOR TIMESTAMP AS OF now() - interval '1 day'`.
//!
//! As in Athena and Trino the clause stands right behind a table's name, before its alias; `SYSTEM_TIME` and
//! `SYSTEM_VERSION` are other words for it. The parser does not know it, so it is taken out of the tokens, and the name it
//! follows is marked. When the statement is planned the marked name becomes one that says which version is meant
//! (`clicks@t1795200000000000`), which the catalog finds ([`split`]).

use std::ops::ControlFlow;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Diagnostic, ScalarValue, Span};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::physical_plan::collect;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectNamePart, TableAlias, TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};
use lacus_core::{Error, Timestamp};
use lacus_lake::Version;
use trino_functions::moment_of_text;

use crate::ast::{ast_mut, ast_of};
use crate::identifiers::folded_word;

/// Between the name of a table and its version.
const MARK: char = '@';
/// The most past tables in one text.
const MOMENTS_MAX: usize = 64;
/// How deep the expression of a time may be nested.
const DEPTH_MAX: usize = 16;

/// One `FOR … AS OF …`.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    kind: MomentKind,
    expr: Expr,
    /// Where the expression begins.
    at: Location,
    /// The name before the clause, and the marked name that replaced it.
    table: Ident,
    marked: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MomentKind {
    Version,
    Time,
}

/// The table and version that a marked name stands for.
pub(crate) fn split(name: &str) -> Option<(&str, Version)> {
    let (table, version) = name.split_once(MARK)?;
    let (kind, text) = version.split_at_checked(1)?;
    let version = match kind {
        "v" => Version::Snapshot(text.parse().ok()?),
        "t" => Version::At(Timestamp::from_micros(text.parse().ok()?)),
        "n" => Version::Tag(text.to_owned()),
        _ => return None,
    };
    Some((table, version))
}

/// Whether a text may have such a clause: looks for a word of it, which is cheap.
pub(crate) fn may_travel(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    lower.contains("for") && ["version", "time"].iter().any(|word| lower.contains(word))
}

/// Takes the clauses out of the tokens, and marks the names before them.
pub(crate) fn take(tokens: &mut Vec<TokenWithSpan>) -> Result<Vec<Moment>, DataFusionError> {
    let mut moments = Vec::new();
    let mut from = 0;
    while let Some((start, kind, expr)) = next_clause(tokens, from) {
        from = start;
        let Some(place) = (0..start).rev().find(|&index| !is_space(&tokens[index].token)) else { break };
        let Token::Word(word) = &tokens[place].token else {
            return Err(misplaced(tokens[start].span.start));
        };
        if moments.len() == MOMENTS_MAX {
            return Err(syntax(&format!("more than {MOMENTS_MAX} tables of the past"), tokens[start].span.start));
        }
        let (parsed, end) = expression(&tokens[expr..])?;
        let at = tokens[expr..].iter().find(|token| !is_space(&token.token)).map_or(tokens[start].span.start, start_of);
        let table = folded_word(word);
        let marked = format!("{table}{MARK}#{}", moments.len());
        let span = tokens[place].span;
        let name = Word { value: marked.clone(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
        tokens[place] = TokenWithSpan::new(Token::Word(name), span);
        tokens.drain(start..expr + end);
        let table = Ident::with_quote_and_span('"', span, table);
        moments.push(Moment { kind, expr: parsed, at, table, marked });
    }
    Ok(moments)
}

fn start_of(token: &TokenWithSpan) -> Location {
    token.span.start
}

/// Where the next clause begins, its kind, and where its expression begins.
fn next_clause(tokens: &[TokenWithSpan], from: usize) -> Option<(usize, MomentKind, usize)> {
    (from..tokens.len()).find_map(|start| {
        let mut rest = (start..tokens.len()).filter(|&index| !is_space(&tokens[index].token));
        let mut word = || rest.next().and_then(|index| Some((plain(&tokens[index].token)?, index)));
        if word()?.0 != "FOR" {
            return None;
        }
        let kind = match word()?.0.as_str() {
            "VERSION" | "SYSTEM_VERSION" => MomentKind::Version,
            "TIMESTAMP" | "SYSTEM_TIME" => MomentKind::Time,
            _ => return None,
        };
        if word()?.0 != "AS" {
            return None;
        }
        let (of, index) = word()?;
        (of == "OF").then_some((start, kind, index + 1))
    })
}

fn plain(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    }
}

fn is_space(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

/// The expression at the beginning of these tokens, and how many of them it takes.
fn expression(tokens: &[TokenWithSpan]) -> Result<(Expr, usize), DataFusionError> {
    let mut parser =
        Parser::new(&GenericDialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens.to_vec());
    let expr = parser.parse_expr().map_err(|error| DataFusionError::SQL(Box::new(error), None))?;
    Ok((expr, parser.index().min(tokens.len())))
}

fn syntax(message: &str, at: Location) -> DataFusionError {
    let text = format!("{message} at Line: {}, Column: {}", at.line, at.column);
    DataFusionError::SQL(Box::new(ParserError::ParserError(text)), None)
}

fn misplaced(at: Location) -> DataFusionError {
    syntax("the version of a table stands right behind its name, before its alias", at)
}

/// Refuses a clause that does not follow the name of a table.
pub(crate) fn must_be_tables<'a>(
    statements: impl IntoIterator<Item = &'a Parsed>,
    moments: &[Moment],
) -> Result<(), DataFusionError> {
    let mut found = Found { moments, seen: vec![false; moments.len()] };
    for statement in statements {
        if let Some(ast) = ast_of(statement) {
            // The visitor never breaks off.
            let _done: ControlFlow<()> = ast.visit(&mut found);
        }
    }
    match found.seen.iter().position(|seen| !seen) {
        Some(missing) => Err(misplaced(moments[missing].at)),
        None => Ok(()),
    }
}

struct Found<'a> {
    moments: &'a [Moment],
    seen: Vec<bool>,
}

impl Visitor for Found<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, .. } = factor
            && let Some(ObjectNamePart::Identifier(last)) = name.0.last()
            && let Some(index) = self.moments.iter().position(|moment| moment.marked == last.value)
        {
            self.seen[index] = true;
        }
        ControlFlow::Continue(())
    }
}

/// The versions that the marked names stand for, as of now.
pub(crate) struct Versions<'a> {
    moments: &'a [Moment],
    /// What is behind the mark: see [`split`].
    versions: Vec<String>,
}

impl<'a> Versions<'a> {
    /// Finds the versions: expressions of times are evaluated.
    pub(crate) async fn of(state: &SessionState, moments: &'a [Moment]) -> Result<Self, DataFusionError> {
        let mut versions = Vec::with_capacity(moments.len());
        for moment in moments {
            versions.push(moment.version(state).await.map_err(|error| at(moment, error))?);
        }
        Ok(Self { moments, versions })
    }

    /// Puts the versions into the names that are marked.
    pub(crate) fn apply(&self, statement: &mut Parsed) {
        if let Some(ast) = ast_mut(statement) {
            // The visitor never breaks off.
            let _done: ControlFlow<()> = ast.visit(&mut Placing(self));
        }
    }
}

struct Placing<'a>(&'a Versions<'a>);

impl VisitorMut for Placing<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, .. } = factor
            && let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut()
            && let Some(index) = self.0.moments.iter().position(|moment| moment.marked == last.value)
        {
            let table = &self.0.moments[index].table;
            last.value = format!("{}{MARK}{}", table.value, self.0.versions[index]);
            // So that `clicks.column` is found.
            alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: table.clone(),
                columns: Vec::new(),
                at: None,
            });
        }
        ControlFlow::Continue(())
    }
}

/// Adds the position of the clause to an error about it.
fn at(moment: &Moment, error: DataFusionError) -> DataFusionError {
    let span = Span::new(moment.at.into(), moment.at.into());
    error.with_diagnostic(Diagnostic::new_error("the version of a table", Some(span)))
}

/// The error about a past table, with its position.
pub(crate) fn located(moments: &[Moment], table: &str, error: DataFusionError) -> DataFusionError {
    let Some((base, _)) = table.split_once(MARK) else { return error };
    match moments.iter().find(|moment| moment.table.value == base) {
        Some(moment) => at(moment, error),
        None => error,
    }
}

impl Moment {
    /// What is behind the mark: see [`split`].
    async fn version(&self, state: &SessionState) -> Result<String> {
        match (self.kind, &self.expr) {
            (MomentKind::Version, Expr::Value(value)) => match &value.value {
                Value::Number(number, _) if number.parse::<i64>().is_ok() => Ok(format!("v{number}")),
                Value::SingleQuotedString(tag) => Ok(format!("n{tag}")),
                _ => Err(no_version(&self.expr)),
            },
            (MomentKind::Version, _) => Err(no_version(&self.expr)),
            (MomentKind::Time, _) => Ok(format!("t{}", self.time(state).await?)),
        }
    }

    /// The time in microseconds.
    async fn time(&self, state: &SessionState) -> Result<i64> {
        if let Expr::Value(value) = &self.expr
            && let Value::SingleQuotedString(text) = &value.value
        {
            return micros_of_text(text);
        }
        if let Expr::TypedString(typed) = &self.expr
            && let Value::SingleQuotedString(text) = &typed.value.value
        {
            return micros_of_text(text);
        }
        if has_query(&self.expr) {
            return Err(invalid("FOR TIMESTAMP AS OF takes a time, not a query", "ask for the time first"));
        }
        let value = evaluate(state, &self.expr).await?;
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        let is_time = matches!(value.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Utf8);
        let time = if is_time { cast(&value, &micros).ok() } else { None };
        match time.map(|time| ScalarValue::try_from_array(&time, 0)).transpose()? {
            Some(ScalarValue::TimestampMicrosecond(Some(micros), _)) => Ok(micros),
            _ => Err(no_time(&self.expr.to_string())),
        }
    }
}

/// `2026-11-20`, `2026-11-20 19:30:00`, `2026-11-20T19:30:00+01:00`, `2026-11-20 19:30:00 UTC`; without a zone it is UTC.
fn micros_of_text(text: &str) -> Result<i64> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    match moment_of_text(text, &micros) {
        Some(ScalarValue::TimestampMicrosecond(Some(micros), _)) => Ok(micros),
        _ => Err(no_time(&format!("'{text}'"))),
    }
}

/// The value of an expression without columns, evaluated now.
async fn evaluate(state: &SessionState, expr: &Expr) -> Result<ArrayRef> {
    let sql = format!("SELECT {expr}");
    let statement = state.sql_to_statement(&sql, &state.config_options().sql_parser.dialect)?;
    let plan = state.statement_to_plan(statement).await?;
    let reads_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reads_only.verify_plan(&plan)?;
    let plan = state.create_physical_plan(&plan).await?;
    let rows = collect(plan, state.task_ctx()).await?;
    let value = rows.first().filter(|rows| rows.num_rows() == 1).map(|rows| ArrayRef::clone(rows.column(0)));
    value.ok_or_else(|| no_time(&expr.to_string()))
}

fn has_query(expr: &Expr) -> bool {
    struct Queries;
    impl Visitor for Queries {
        type Break = ();
        fn pre_visit_query(&mut self, _query: &datafusion::sql::sqlparser::ast::Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    expr.visit(&mut Queries).is_break()
}

fn no_version(expr: &Expr) -> DataFusionError {
    invalid(
        &format!("{expr} is no version of a table"),
        "a version is the number of a snapshot, or a tag in single quotes; see \"table$snapshots\" and \"table$refs\"",
    )
}

fn no_time(shown: &str) -> DataFusionError {
    invalid(&format!("{shown} is no time"), "write it as TIMESTAMP '2026-11-20 19:30:00', in UTC")
}

fn invalid(message: &str, hint: &str) -> DataFusionError {
    DataFusionError::External(Error::invalid(message).with_hint(hint).into())
}
