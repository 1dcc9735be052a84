//! Small differences between the SQL people write and the SQL the engine plans.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, SelectItem, SetExpr, Statement as Ast, Value, ValueWithSpan, VisitMut, VisitorMut,
};

use crate::dialect::Dialect;

/// Rewrites a statement as the engine wants it.
pub(crate) fn rewrite(statement: &mut Parsed, dialect: Dialect) {
    match statement {
        Parsed::Statement(ast) => {
            trino_functions::syntax::rewrite(ast, dialect.semantics());
            // The visitor never breaks off.
            let _done: ControlFlow<()> = ast.visit(&mut FieldsAfterSubscripts);
            let _done: ControlFlow<()> = ast.visit(&mut Escapes);
        }
        Parsed::Explain(explain) => rewrite(&mut explain.statement, dialect),
        _ => {}
    }
}

/// The engine wants columns of different names: gives each one without a name a name of its own, which the answer does
/// not show.
pub(crate) fn tell_columns_apart(statement: &mut Parsed) {
    let Parsed::Statement(ast) = statement else { return };
    match ast.as_mut() {
        Ast::Query(query) => tell_apart(&mut query.body),
        Ast::Insert(insert) => insert.source.iter_mut().for_each(|query| tell_apart(&mut query.body)),
        _ => {}
    }
}

fn tell_apart(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for (index, item) in select.projection.iter_mut().enumerate().skip(1) {
                if let SelectItem::UnnamedExpr(expr) = item {
                    let alias = Ident::with_quote('"', format!("{expr}#{}", index + 1));
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
        SetExpr::Query(query) => tell_apart(&mut query.body),
        SetExpr::SetOperation { left, .. } => tell_apart(left),
        _ => {}
    }
}

/// The engine knows no escape but the backslash: `LIKE '50!%' ESCAPE '!'` is `LIKE '50\%'`.
struct Escapes;

impl VisitorMut for Escapes {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let (Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. }) = expr else {
            return ControlFlow::Continue(());
        };
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

/// A pattern in which backslashes escape, made of one in which another letter does.
fn with_backslashes(pattern: &Expr, escape: char) -> Expr {
    if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span }) = pattern {
        let value = Value::SingleQuotedString(in_backslashes(text, escape));
        return Expr::Value(ValueWithSpan { value, span: *span });
    }
    // Known when it runs: what is escaped twice is put aside meanwhile, as a letter that texts don't have.
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
    let quoted = |text: &str| Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span());
    let argument = |expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
    let arguments = vec![argument(text), argument(quoted(from)), argument(quoted(to))];
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("replace")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// In `commits[1].author` and `f(x).author` the engine wants the field's name as text.
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
                    let text = match name.quote_style {
                        Some(_) => name.value.clone(),
                        None => name.value.to_lowercase(),
                    };
                    *access = AccessExpr::Dot(Expr::Value(Value::SingleQuotedString(text).with_empty_span()));
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
