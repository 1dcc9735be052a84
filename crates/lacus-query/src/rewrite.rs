//! Rewrites parsed SQL: from what people write, in each dialect, to what the engine plans as it was meant.
//!
//! [`rewrite`] is done for every statement, in one walk over it. What has to know the columns of tables is done when a statement
//! is planned ([`put_columns`]), and some of it only after the engine has refused the statement as it was
//! ([`tell_columns_apart`], [`name_inner_columns`], [`name_sorted_columns`]). There is one module for each form of SQL. A form
//! that would be answered wrongly and can't be rewritten is refused by name ([`must_be_understood`]).

mod common_tables;
mod decimals;
mod first_of_each;
mod formats;
mod grouping;
mod inner_names;
mod intervals;
mod joined;
mod lateral;
mod likes;
mod percentiles;
mod quantified;
mod redshift;
mod refused;
mod regexps;
mod rows;
mod series;
mod shared_columns;
mod shown;
mod sorting;
mod spelled_out;
mod subqueries;
mod ties;
mod twice;
mod values;
mod windows;

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, CaseWhen, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    TableAliasColumnDef, TableFactor, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};
use trino_functions::syntax::SqlDialect;

pub(crate) use self::common_tables::{SHARED, tell_shared};
pub(crate) use self::decimals::keep_digits;
pub(crate) use self::first_of_each::number_first_of_each;
pub(crate) use self::inner_names::name_inner_columns;
pub(crate) use self::joined::{joins_at, put_columns, sharing};
pub(crate) use self::refused::must_be_understood;
pub(crate) use self::sorting::name_sorted_columns;
pub(crate) use self::spelled_out::spell_out;
pub(crate) use self::twice::tell_columns_apart;
use crate::ast::ast_mut;
use crate::dialect::Dialect;
use crate::identifiers::{folded, is_word};

/// Removes hints that the parser does not know: `AS MATERIALIZED (`, `APPROXIMATE COUNT(`.
pub(crate) fn leave_out_advice(tokens: &mut [TokenWithSpan]) {
    let mut words: Vec<usize> = Vec::new();
    for index in 0..tokens.len() {
        match &tokens[index].token {
            Token::Whitespace(_) => continue,
            Token::Word(_) => words.push(index),
            token => {
                let said = |back: usize, word: &str| {
                    let index = words.len().checked_sub(back).map(|place| words[place]);
                    index.filter(|index| is_word(&tokens[*index].token, word))
                };
                let advice = match (said(1, "materialized"), said(2, "not"), said(2, "as"), said(3, "as")) {
                    (Some(word), Some(not), _, Some(_)) => vec![word, not],
                    (Some(word), None, Some(_), _) => vec![word],
                    _ if said(1, "count").is_some() => said(2, "approximate").into_iter().collect(),
                    _ => Vec::new(),
                };
                if *token == Token::LParen {
                    advice.into_iter().for_each(|index| tokens[index].token = Token::Whitespace(Whitespace::Space));
                }
                words.clear();
            }
        }
    }
}

/// Rewrites a statement as the engine wants it.
pub(crate) fn rewrite(statement: &mut Parsed, dialect: Dialect) {
    let Some(ast) = ast_mut(statement) else { return };
    shown::as_query(ast);
    // The visitors never break off.
    if dialect == Dialect::Redshift {
        let _done: ControlFlow<()> = ast.visit(&mut redshift::AsRedshift);
    }
    let _done: ControlFlow<()> = ast.visit(&mut lateral::AsUnnest { has_series: dialect != Dialect::Athena });
    trino_functions::syntax::rewrite(ast, dialect.semantics());
    let _done: ControlFlow<()> = ast.visit(&mut FieldsAfterSubscripts);
    let _done: ControlFlow<()> = ast.visit(&mut Escapes { has_backslash: dialect != Dialect::Athena });
    let _done: ControlFlow<()> = ast.visit(&mut Meanings { dialect });
    subqueries::as_values_in_assignments(ast);
}

/// SQL that the engine reads differently than it is meant, or not at all.
struct Meanings {
    dialect: Dialect,
}

impl Meanings {
    /// Whether the dialect follows PostgreSQL where that and Trino differ.
    fn is_postgres(&self) -> bool {
        self.dialect != Dialect::Athena
    }
}

impl VisitorMut for Meanings {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        common_tables::name_columns(query);
        ties::by_ranks(query);
        sorting::as_distinct(query);
        sorting::by_expressions(query, self.is_postgres());
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        in_lowercase(table);
        ControlFlow::Continue(())
    }

    // Inner queries are done by now: the windows and columns that are left are this query's.
    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        shared_columns::put(select);
        windows::write_out(select);
        grouping::write_out(select);
        if self.is_postgres() {
            series::as_rows(select);
        }
        subqueries::as_values(select);
        subqueries::as_values_in_joins(select);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        shared_columns::put_in_order(query);
        windows::write_out_order(query);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(compared) = subqueries::compared(expr).or_else(|| rows::compared(expr, self.is_postgres())) {
            *expr = compared;
        }
        if let Some(value) = values::uuid(expr).or_else(|| values::power(expr)) {
            *expr = value;
        }
        if let Some(value) = windows::of_missing_rows(expr) {
            *expr = value;
        }
        values::similar(expr);
        values::tried(expr);
        values::negated(expr);
        if self.is_postgres() {
            if let Some(array) = subqueries::as_array(expr) {
                *expr = array;
            }
            if let Some(changed) =
                likes::of_several(expr).or_else(|| quantified::asked(expr)).or_else(|| windows::of_no_row(expr))
            {
                *expr = changed;
            }
            if let Some(reworded) = formats::reworded(expr).or_else(|| percentiles::at_place(expr)) {
                *expr = reworded;
            }
            regexps::read(expr, self.dialect);
            values::read(expr);
            decimals::cast_as_written(expr);
            decimals::divide_as_written(expr);
            decimals::compare_as_written(expr);
        }
        ControlFlow::Continue(())
    }
}

/// `FROM GENERATE_SERIES(1, 3)`: the engine does not fold the names of table functions.
fn in_lowercase(table: &mut TableFactor) {
    if let TableFactor::Table { name, args: Some(_), .. } = table
        && let Some(ObjectNamePart::Identifier(function)) = name.0.first_mut()
    {
        function.value = folded(function);
    }
}

/// The name of a table within its query.
fn name_of(table: &TableFactor) -> Option<Ident> {
    match table {
        TableFactor::Table { name, alias, .. } => match alias {
            Some(alias) => Some(alias.name.clone()),
            None => name.0.last()?.as_ident().cloned(),
        },
        TableFactor::Derived { alias, .. } | TableFactor::UNNEST { alias, .. } => Some(alias.as_ref()?.name.clone()),
        _ => None,
    }
}

/// A query of ours, to be filled in.
fn template(sql: &str) -> Query {
    let parsed = Parser::new(&SqlDialect).try_with_sql(sql).and_then(|mut parser| parser.parse_query());
    *parsed.expect("it is our own SQL")
}

/// An expression of ours.
fn expression(sql: &str) -> Expr {
    let parsed = Parser::new(&SqlDialect).try_with_sql(sql).and_then(|mut parser| parser.parse_expr());
    parsed.expect("it is our own SQL")
}

/// A template with `inner` in place of the query in its `FROM`. The columns have the names that the template gives, and then
/// these.
fn within(outer: &str, names: &[TableAliasColumnDef], mut inner: Query) -> Query {
    let mut outer = template(outer);
    if let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(table) = select.from.first_mut()
        && let TableFactor::Derived { subquery, alias: Some(alias), .. } = &mut table.relation
    {
        alias.columns.extend_from_slice(names);
        if name_columns(&mut inner.body, &alias.columns) {
            alias.columns.clear();
        }
        **subquery = inner;
    }
    outer
}

/// Gives the columns of a query aliases, if none has one; whether it did. Where names are given to a table instead, the
/// engine does not find columns whose own names have capitals.
fn name_columns(body: &mut SetExpr, names: &[TableAliasColumnDef]) -> bool {
    let SetExpr::Select(select) = body else { return false };
    let all_have_none = select.projection.iter().all(|item| matches!(item, SelectItem::UnnamedExpr(_)));
    if select.projection.len() != names.len() || !all_have_none {
        return false;
    }
    for (item, name) in select.projection.iter_mut().zip(names) {
        if let SelectItem::UnnamedExpr(expr) = item {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: name.name.clone() };
        }
    }
    true
}

/// The text of a literal.
pub(crate) fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Some(text),
        _ => None,
    }
}

fn quoted(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span())
}

/// An argument without a name.
fn plain(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// Two expressions with an operator between them.
fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// An expression in parentheses.
fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn case(conditions: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
    let conditions = conditions.into_iter().map(|(condition, result)| CaseWhen { condition, result });
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: conditions.collect(),
        else_result: Some(Box::new(otherwise)),
    }
}

/// The engine knows only the backslash as escape: `LIKE '50!%' ESCAPE '!'` becomes `LIKE '50\%'`.
struct Escapes {
    /// Whether a backslash escapes without `ESCAPE`: not in Trino.
    has_backslash: bool,
}

impl VisitorMut for Escapes {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let (Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. }) = expr else {
            return ControlFlow::Continue(());
        };
        if escape_char.is_none() && !self.has_backslash {
            **pattern = without_escapes(pattern);
        }
        let escape = escape_char.as_ref().and_then(|escape| match &escape.value {
            Value::SingleQuotedString(text) => text.chars().next().filter(|letter| letter.len_utf8() == text.len()),
            _ => None,
        });
        if let Some(escape) = escape.filter(|escape| *escape != '\\') {
            **pattern = with_backslashes(pattern, escape);
            *escape_char = None;
        }
        ControlFlow::Continue(())
    }
}

/// A pattern in which backslashes are ordinary, for an engine in which they escape.
fn without_escapes(pattern: &Expr) -> Expr {
    if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span }) = pattern {
        let value = Value::SingleQuotedString(text.replace('\\', "\\\\"));
        return Expr::Value(ValueWithSpan { value, span: *span });
    }
    replace(as_text(pattern), "\\", "\\\\")
}

/// A text as an argument: a parameter alone would have no type.
fn as_text(text: &Expr) -> Expr {
    if !matches!(text, Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. })) {
        return text.clone();
    }
    let (expr, data_type) = (Box::new(text.clone()), DataType::Varchar(None));
    Expr::Cast { kind: CastKind::Cast, expr, data_type, array: false, format: None }
}

/// A pattern that escapes with backslashes, made of one that escapes with another character.
fn with_backslashes(pattern: &Expr, escape: char) -> Expr {
    if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span }) = pattern {
        let value = Value::SingleQuotedString(in_backslashes(text, escape));
        return Expr::Value(ValueWithSpan { value, span: *span });
    }
    // The pattern is known only at run time: doubled escapes are replaced by a character that texts don't contain meanwhile.
    let steps = [("\\".to_owned(), "\\\\"), (format!("{escape}{escape}"), "\u{1}"), (escape.to_string(), "\\")];
    let replaced = steps.iter().fold(pattern.clone(), |text, (from, to)| replace(text, from, to));
    replace(replaced, "\u{1}", &escape.to_string())
}

fn in_backslashes(text: &str, escape: char) -> String {
    let mut letters = text.chars();
    let mut written = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter == escape => match letters.next() {
                Some(escaped @ ('%' | '_' | '\\')) => written.extend(['\\', escaped]),
                Some(escaped) => written.push(escaped),
                None => written.push(escape),
            },
            '\\' => written.push_str("\\\\"),
            letter => written.push(letter),
        }
    }
    written
}

fn replace(text: Expr, from: &str, to: &str) -> Expr {
    call("replace", vec![text, quoted(from), quoted(to)])
}

/// Whether a function is called so, without a database before its name.
fn is_called(function: &Function, name: &str) -> bool {
    match function.name.0.as_slice() {
        [part] => part.as_ident().is_some_and(|word| word.value.eq_ignore_ascii_case(name)),
        _ => false,
    }
}

/// A call of a function.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// In `commits[1].author` and `f(x).author` the engine expects the field's name as a text.
struct FieldsAfterSubscripts;

impl VisitorMut for FieldsAfterSubscripts {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundFieldAccess { root, access_chain } = expr {
            let is_name = matches!(root.as_ref(), Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            let subscript =
                access_chain.iter().position(|access| !is_name || matches!(access, AccessExpr::Subscript(_)));
            for access in access_chain.iter_mut().skip(subscript.unwrap_or(usize::MAX)) {
                if let AccessExpr::Dot(Expr::Identifier(name)) = access {
                    *access = AccessExpr::Dot(quoted(&folded(name)));
                }
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::in_backslashes;

    #[test]
    fn any_letter_escapes() {
        assert_eq!(in_backslashes("pg/_%", '/'), "pg\\_%");
        assert_eq!(in_backslashes("a\\b//c/d/", '/'), "a\\\\b/cd/");
    }
}
