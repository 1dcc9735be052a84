//! The statement of SQL in what the parser returns, under any `EXPLAIN`.

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::Statement as Ast;

/// The statement itself, or the one that is explained; none for statements of the engine's own, such as `COPY`.
pub(crate) fn ast_of(parsed: &Parsed) -> Option<&Ast> {
    match parsed {
        Parsed::Statement(ast) => Some(ast.as_ref()),
        Parsed::Explain(explain) => ast_of(&explain.statement),
        _ => None,
    }
}

/// The same, to be changed.
pub(crate) fn ast_mut(parsed: &mut Parsed) -> Option<&mut Ast> {
    match parsed {
        Parsed::Statement(ast) => Some(ast.as_mut()),
        Parsed::Explain(explain) => ast_mut(&mut explain.statement),
        _ => None,
    }
}
