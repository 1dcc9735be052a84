//! Small differences between the SQL people write and the SQL the engine plans.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, SelectItem, SetExpr, Statement as Ast, Value, VisitMut, VisitorMut,
};

use crate::dialect::Dialect;

/// Rewrites a statement as the engine wants it.
pub(crate) fn rewrite(statement: &mut Parsed, dialect: Dialect) {
    match statement {
        Parsed::Statement(ast) => {
            trino_functions::syntax::rewrite(ast, dialect.semantics());
            // The visitor never breaks off.
            let _done: ControlFlow<()> = ast.visit(&mut FieldsAfterSubscripts);
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
