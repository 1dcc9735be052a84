//! Questions to `pg_catalog` as the engine understands them, beyond what the library rewrites.
//!
//! Numbers of objects are plain integers here: a cast to `regclass` or `oid` is one to `integer`, unless the name is wanted, as text
//! or in the answer.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, ExactNumberInfo, Expr, Function, FunctionArguments, SelectItem, SetExpr,
    Statement, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// Names that the catalog has as texts, where Postgres has numbers of functions.
const FUNCTION_COLUMNS: [&str; 8] =
    ["typanalyze", "typinput", "typmodin", "typmodout", "typoutput", "typreceive", "typsend", "typsubscript"];

/// Rewrites a statement.
pub(crate) fn rewrite(statement: &mut Statement) {
    if let Statement::Query(query) = statement {
        name_answers(&mut query.body);
    }
    // The visitor never breaks off.
    let _done: ControlFlow<()> = statement.visit(&mut Numbers);
}

/// What is cast to `regclass` in the answer itself is shown by name.
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
            Expr::Function(call) => {
                if let Some(array) = array_of_query(call) {
                    *expr = array;
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

/// The name of the object whose number is cast to `regclass` or `regtype`.
fn by_name(expr: &Expr) -> Option<Expr> {
    let Expr::Cast { expr: inner, data_type, .. } = expr else { return None };
    // A text is a name already; whether there is such an object is seen when its number is asked for.
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

/// The type that is the number of an object: `oid`, `regclass` …
fn alias(kind: &DataType) -> Option<String> {
    let name = last_word(kind)?;
    let is_alias = name.starts_with("reg") || ["oid", "xid", "cid"].contains(&name.as_str());
    is_alias.then_some(name)
}

/// A type as the engine calls it, if Postgres calls it otherwise: `oid`, `pg_catalog.int2[]`.
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

/// `ARRAY(SELECT a FROM …)` as `(SELECT array_agg(a) FROM …)`. Where it asks for the members of an array, as for the roles of a policy, there is
/// none: the lake has nothing that has such members.
fn array_of_query(call: &Function) -> Option<Expr> {
    let FunctionArguments::Subquery(query) = &call.args else { return None };
    if !call.name.to_string().eq_ignore_ascii_case("array") {
        return None;
    }
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    if select.selection.as_ref().is_some_and(|condition| condition.to_string().contains("array_contains(")) {
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

/// Types of texts that the engine does not know by this name.
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
    let name = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(names) => match names.last() {
            Some(name) => name,
            None => return false,
        },
        _ => return false,
    };
    FUNCTION_COLUMNS.contains(&name.value.to_lowercase().as_str())
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
    }
}
