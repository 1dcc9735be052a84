//! Functions in `FROM` that use columns of tables before them: `FROM t, generate_series(1, t.n) AS g`,
//! `LEFT JOIN LATERAL unnest(t.a) AS e ON true`.
//!
//! The engine's table functions can't refer to columns. But `UNNEST` can, so an array is computed for each row and unnested. This
//! has to come before joins with `UNNEST` are put in parentheses.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, TableAlias, TableFactor, VisitorMut, visit_expressions};

use super::{call, plain};
use crate::identifiers::folded;

/// Rewrites table functions that use columns of earlier tables as `UNNEST`.
pub(super) struct AsUnnest {
    /// Whether `generate_series` is one of them.
    pub(super) has_series: bool,
}

impl VisitorMut for AsUnnest {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        if let Some(unnest) = unnest(table, self.has_series) {
            *table = unnest;
        }
        ControlFlow::Continue(())
    }
}

fn unnest(table: &TableFactor, has_series: bool) -> Option<TableFactor> {
    let (name, args, with_ordinality, alias) = match table {
        TableFactor::Function { name, args, with_ordinality, alias, .. } => (name, args, with_ordinality, alias),
        TableFactor::Table { name, args: Some(args), with_ordinality, alias, .. } => {
            (name, &args.args, with_ordinality, alias)
        }
        _ => return None,
    };
    let [function] = name.0.as_slice() else { return None };
    let function = function.as_ident()?;
    let values: Vec<Expr> = args.iter().map(|arg| plain(arg).cloned()).collect::<Option<_>>()?;
    let mut alias = alias.clone();
    let array_exprs = match folded(function).as_str() {
        "unnest" => values,
        "generate_series" if has_series && values.iter().any(has_column) => {
            alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: function.clone(),
                columns: Vec::new(),
                at: None,
            });
            vec![call("generate_series", values)]
        }
        _ => return None,
    };
    Some(TableFactor::UNNEST {
        alias,
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: *with_ordinality,
    })
}

fn has_column(value: &Expr) -> bool {
    visit_expressions(value, |part| match part {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}
