//! Questions to `pg_catalog` as the engine understands them, beyond what the library rewrites.
//!
//! Numbers of objects are plain integers here: a cast to `regclass` or `oid` is one to `integer`, unless the name is wanted, as text
//! or in the answer.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, ExactNumberInfo, Expr, Function, FunctionArguments, GroupByExpr, Ident,
    ObjectName, ObjectNamePart, Query, SelectItem, SetExpr, Statement, Value, ValueWithSpan, Visit, VisitMut, Visitor,
    VisitorMut, With, visit_relations,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;

use super::{INFORMATION_SCHEMA, PG_CATALOG, redshift, tables};
use crate::rewrite::text_of;

/// Columns that are texts here, and OIDs of functions in Postgres.
const FUNCTION_COLUMNS: [&str; 8] =
    ["typanalyze", "typinput", "typmodin", "typmodout", "typoutput", "typreceive", "typsend", "typsubscript"];

/// Whether a statement only asks, and only about tables of the catalog.
pub(crate) fn asks_the_catalog_alone(statement: &Statement) -> bool {
    let changes_nothing = matches!(
        statement,
        Statement::Query(_)
            | Statement::Explain { .. }
            | Statement::Set(_)
            | Statement::ShowVariable { .. }
            | Statement::StartTransaction { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
    );
    let mut names = WithNames::default();
    let _done: ControlFlow<()> = statement.visit(&mut names);
    let reads_tables = visit_relations(statement, |name| match is_of_the_catalog(name, &names.0) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    });
    changes_nothing && reads_tables.is_continue()
}

fn is_of_the_catalog(name: &ObjectName, with: &HashSet<String>) -> bool {
    let parts: Vec<String> =
        name.0.iter().filter_map(|part| part.as_ident()).map(|part| part.value.to_lowercase()).collect();
    match parts.as_slice() {
        [name] => {
            let name = name.as_str();
            with.contains(name) || is_ours(name) || PG_CATALOG_TABLES.contains(&name) || FUNCTIONS.contains(&name)
        }
        [.., database, _] => database == PG_CATALOG || database == INFORMATION_SCHEMA,
        [] => false,
    }
}

/// Functions that stand where tables do.
const FUNCTIONS: [&str; 5] = ["aclexplode", "generate_series", "generate_subscripts", "pg_get_keywords", "unnest"];

/// The names that `WITH` gives.
#[derive(Default)]
struct WithNames(HashSet<String>);

impl Visitor for WithNames {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let names = query.with.iter().flat_map(|with| &with.cte_tables);
        self.0.extend(names.map(|name| name.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }
}

/// Rewrites a statement.
pub(crate) fn rewrite(statement: &mut Statement) {
    if let Statement::Query(query) = statement {
        name_answers(&mut query.body);
    }
    // The visitor never breaks off.
    let _done: ControlFlow<()> = statement.visit(&mut Numbers);
}

/// Casts to `regclass` in the answer itself are shown by name.
fn name_answers(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                    && let Some(named) = by_name(expr)
                {
                    *expr = named;
                }
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            name_answers(left);
            name_answers(right);
        }
        _ => {}
    }
}

struct Numbers;

impl VisitorMut for Numbers {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(with) = query.with.as_mut().filter(|with| with.recursive) {
            name_columns(with);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        if let [ObjectNamePart::Identifier(name)] = relation.0.as_slice()
            && is_ours(&name.value.to_lowercase())
        {
            relation.0.insert(0, ObjectNamePart::Identifier(Ident::new(PG_CATALOG)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr: inner, data_type, .. } = expr
            && is_text(data_type)
            && let Some(named) = by_name(inner)
        {
            *expr = named;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { data_type, .. } => {
                if let Some(plain) = plain(data_type) {
                    *data_type = plain;
                }
            }
            // A backslash escapes here, whatever the dialect.
            Expr::Like { escape_char: escape @ None, .. } | Expr::ILike { escape_char: escape @ None, .. } => {
                *escape = Some(Value::SingleQuotedString("\\".to_owned()).with_empty_span());
            }
            Expr::Function(call) => {
                if let Some(rewritten) = array_of_query(call).or_else(|| subscripts(call)) {
                    *expr = rewritten;
                }
            }
            Expr::Subquery(query) if is_empty(query) => {
                *expr = parsed("CAST(NULL AS TEXT)").unwrap_or_else(|| expr.clone());
            }
            Expr::Subquery(query) => one_answer(query),
            Expr::CompoundIdentifier(names) => match names.last_mut() {
                // The table that a row is of, and columns that Postgres 17 has renamed.
                Some(name) if name.value == "tableoid" => *expr = Expr::Value(Value::Null.with_empty_span()),
                Some(name) if name.value == "colliculocale" => name.value = "colllocale".to_owned(),
                _ => {}
            },
            // `typinput = 'array_in'::regproc`, for which the library would look among the functions.
            Expr::BinaryOp { left, right, .. } if is_function_column(left) && right.to_string().contains("pg_proc") => {
                if let Some(name) = right.to_string().split('\'').nth(1) {
                    **right = Expr::Value(Value::SingleQuotedString(name.to_owned()).with_empty_span());
                }
            }
            Expr::BinaryOp { left, right, .. } if text_of(right).is_some() => {
                let name = column(left).unwrap_or_default();
                match text_of(right).unwrap_or_default() {
                    answer @ ("t" | "f") if is_boolean(&name) => {
                        **right = Expr::Value(Value::Boolean(answer == "t").with_empty_span());
                    }
                    "{0}" if name == "polroles" => **right = parsed("ARRAY[0]").unwrap_or_else(|| (**right).clone()),
                    _ => {}
                }
            }
            Expr::BinaryOp { left, op, right } if is_function_column(left) && is_zero(right) => {
                let is_comparison = matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq | BinaryOperator::Gt);
                if is_comparison {
                    let is_none = *op == BinaryOperator::Eq;
                    *op = if is_none { BinaryOperator::Eq } else { BinaryOperator::NotEq };
                    **right = Expr::Value(Value::SingleQuotedString("-".to_owned()).with_empty_span());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The name of the object whose OID is cast to `regclass` or `regtype`.
fn by_name(expr: &Expr) -> Option<Expr> {
    let Expr::Cast { expr: inner, data_type, .. } = expr else { return None };
    // A text is a name already; whether there is such an object shows when its OID is asked for.
    let is_literal = matches!(inner.as_ref(), Expr::Value(_));
    match alias(data_type)?.as_str() {
        "regclass" if !is_literal => parsed(&format!("_regclass_name({inner})")),
        "regtype" if !is_literal => parsed(&format!("format_type({inner}, NULL)")),
        "regproc" | "regprocedure" if !is_literal => Some(inner.as_ref().clone()),
        _ => None,
    }
}

fn parsed(sql: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).ok()?.parse_expr().ok()
}

/// The alias type of an OID: `oid`, `regclass` …
fn alias(kind: &DataType) -> Option<String> {
    let name = last_word(kind)?;
    let is_alias = name.starts_with("reg") || ["oid", "xid", "cid"].contains(&name.as_str());
    is_alias.then_some(name)
}

/// The engine's name of a type, if Postgres has another one: `oid`, `pg_catalog.int2[]`.
fn plain(kind: &DataType) -> Option<DataType> {
    if let DataType::Array(ArrayElemTypeDef::SquareBracket(element, size)) = kind {
        return Some(DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(plain(element)?), *size)));
    }
    if alias(kind).is_some() {
        return Some(DataType::Int(None));
    }
    if is_text(kind) {
        return Some(DataType::Text);
    }
    Some(match last_word(kind)?.as_str() {
        "bool" => DataType::Boolean,
        "char" | "aclitem" | "cstring" | "pg_node_tree" => DataType::Text,
        "int2" => DataType::SmallInt(None),
        "int4" => DataType::Int(None),
        "int8" => DataType::BigInt(None),
        "float4" => DataType::Real,
        "float8" => DataType::Double(ExactNumberInfo::None),
        "oidvector" => DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Int(None)), None)),
        "int2vector" => DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::SmallInt(None)), None)),
        _ => return None,
    })
}

/// `ARRAY(SELECT a FROM …)` as `(SELECT array_agg(a) FROM …)`. Where it asks for the members of an array, such as the roles
/// of a policy, the answer is empty: the lake has no such objects.
fn array_of_query(call: &Function) -> Option<Expr> {
    let FunctionArguments::Subquery(query) = &call.args else { return None };
    if !call.name.to_string().eq_ignore_ascii_case("array") {
        return None;
    }
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let of_members = select.selection.as_ref().is_some_and(|text| text.to_string().contains("array_contains("));
    let from: String = select.from.iter().map(|table| table.to_string().to_lowercase()).collect();
    if of_members || from.contains("pg_policy") || (from.contains("unnest(") && !from.contains('[')) {
        return parsed("CAST(NULL AS TEXT[])");
    }
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] = select.projection.as_slice()
    else {
        return None;
    };
    let (mut query, mut select) = (query.as_ref().clone(), select.clone());
    select.projection = vec![SelectItem::UnnamedExpr(parsed(&format!("array_agg({item})"))?)];
    query.body = Box::new(SetExpr::Select(select));
    query.order_by = None;
    Some(Expr::Subquery(Box::new(query)))
}

/// `generate_subscripts(a, 1)`: the indexes of an array's elements.
fn subscripts(call: &Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &call.args else { return None };
    let (true, [array, ..]) = (call.name.to_string() == "generate_subscripts", list.args.as_slice()) else {
        return None;
    };
    parsed(&format!("unnest(generate_series(CAST(1 AS BIGINT), CAST(array_length({array}) AS BIGINT)))"))
}

/// Whether it reads tables that never have rows, so that it is null: the engine can't plan some queries on them.
fn is_empty(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let from: Vec<String> = select.from.iter().map(|table| table.relation.to_string().to_lowercase()).collect();
    let is_empty = |table: &String| ["pg_attrdef", "pg_sequence"].iter().any(|empty| table.contains(empty));
    select.group_by == GroupByExpr::Expressions(Vec::new(), Vec::new())
        && select.selection.is_some()
        && from.iter().any(is_empty)
}

/// The engine requires a correlated scalar subquery to be an aggregate: with one row, `max` gives its value.
fn one_answer(query: &mut Query) {
    let aggregates = ["max(", "min(", "sum(", "count(", "_agg(", "bool_or(", "bool_and(", "unnest("];
    if let SetExpr::Select(select) = query.body.as_mut()
        && select.selection.is_some()
        && let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
            select.projection.as_mut_slice()
        && let text = value.to_string()
        && !aggregates.iter().any(|aggregate| text.to_lowercase().contains(aggregate))
        && let Some(aggregate) = parsed(&match value {
            Expr::BinaryOp { op: BinaryOperator::Eq, .. } => format!("bool_or({text})"),
            _ => format!("max({text})"),
        })
    {
        *value = aggregate;
        query.limit_clause = None;
        query.order_by = None;
    }
}

/// The columns of a recursive query have the names in its header: the engine takes those of its first part.
fn name_columns(with: &mut With) {
    for cte in &mut with.cte_tables {
        let SetExpr::SetOperation { left, .. } = cte.query.body.as_mut() else { continue };
        let SetExpr::Select(first) = left.as_mut() else { continue };
        for (item, column) in first.projection.iter_mut().zip(&cte.alias.columns) {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: column.name.clone() };
            }
        }
    }
}

/// Whether it is the name of one of our tables, found without `pg_catalog`.
fn is_ours(name: &str) -> bool {
    tables::NAMES.contains(&name) || redshift::NAMES.contains(&name)
}

/// Columns that Postgres compares with `'t'`.
fn is_boolean(name: &str) -> bool {
    name.starts_with("indis")
        || name.starts_with("relhas")
        || ["attisdropped", "atthasdef", "attnotnull"].contains(&name)
}

/// Names of text types that the engine does not know.
fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::String(_) => true,
        other => last_word(other).is_some_and(|name| ["name", "text", "varchar", "bpchar"].contains(&name.as_str())),
    }
}

fn last_word(kind: &DataType) -> Option<String> {
    match kind {
        DataType::Regclass => Some("regclass".to_owned()),
        DataType::Custom(name, arguments) if arguments.is_empty() => {
            Some(name.0.last()?.as_ident()?.value.to_lowercase())
        }
        _ => None,
    }
}

fn is_function_column(expr: &Expr) -> bool {
    column(expr).is_some_and(|name| FUNCTION_COLUMNS.contains(&name.as_str()))
}

/// The name of a column, in lowercase.
fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.to_lowercase()),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.to_lowercase()),
        _ => None,
    }
}

fn is_zero(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) if number == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &str) {
        let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
        rewrite(&mut statement);
        assert_eq!(statement.to_string(), expected);
    }

    #[test]
    fn numbers_are_integers_and_names_are_found() {
        check(
            "SELECT a::regclass, b::oid FROM t WHERE c::regclass = 5",
            "SELECT _regclass_name(a), b::INT FROM t WHERE c::INT = 5",
        );
        check("SELECT x::regtype::text, y::name", "SELECT format_type(x, NULL), y::TEXT");
        check("SELECT 1 WHERE t.typreceive <> 0", "SELECT 1 WHERE t.typreceive <> '-'");
        check("SELECT 1 WHERE a LIKE 'pg\\_%'", "SELECT 1 WHERE a LIKE 'pg\\_%' ESCAPE '\\'");
    }
}
