//! `WITH x AS (…) UPDATE t SET … FROM x WHERE …`, and `DELETE` and `MERGE`: the queries in it get the `WITH` themselves.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, Query, SelectItem, Statement as Ast, TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut, With,
};

use super::questions::select;
use crate::identifiers::folded;

/// The statement with its leading `WITH` moved into its queries; none if one of these has a `WITH` with the same name.
pub(super) fn put_inside(with: &With, statement: &Ast) -> Option<Ast> {
    let mut statement = statement.clone();
    put(&mut statement, &mut Put { with, depth: 0 }).is_continue().then_some(statement)
}

/// The table that is changed is never one of these.
fn put(statement: &mut Ast, put: &mut Put<'_>) -> ControlFlow<()> {
    match statement {
        Ast::Update(update) => {
            update.from.visit(put)?;
            update.assignments.visit(put)?;
            update.selection.visit(put)
        }
        Ast::Delete(delete) => {
            delete.using.visit(put)?;
            delete.selection.visit(put)
        }
        Ast::Merge(merge) => {
            merge.source.visit(put)?;
            merge.on.visit(put)?;
            merge.clauses.visit(put)
        }
        _ => ControlFlow::Break(()),
    }
}

struct Put<'a> {
    with: &'a With,
    depth: usize,
}

impl Put<'_> {
    fn has(&self, name: &Ident) -> bool {
        self.with.cte_tables.iter().any(|table| folded(&table.alias.name) == folded(name))
    }
}

impl VisitorMut for Put<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if self.depth == 0 {
            let mut with = self.with.clone();
            if let Some(own) = query.with.take() {
                if own.cte_tables.iter().any(|table| self.has(&table.alias.name)) {
                    return ControlFlow::Break(());
                }
                with.recursive |= own.recursive;
                with.cte_tables.extend(own.cte_tables);
            }
            query.with = Some(with);
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args: None, .. } = table else { return ControlFlow::Continue(()) };
        let [part] = name.0.as_slice() else { return ControlFlow::Continue(()) };
        let Some(name) = part.as_ident().filter(|name| self.depth == 0 && self.has(name)).cloned() else {
            return ControlFlow::Continue(());
        };
        let alias = alias.take().unwrap_or(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        let from = TableWithJoins { relation: table.clone(), joins: Vec::new() };
        let subquery = Box::new(select(vec![SelectItem::Wildcard(Default::default())], vec![from], None));
        *table = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
        ControlFlow::Continue(())
    }
}
