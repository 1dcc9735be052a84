//! `WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t …)`: the names of the columns. And queries of a `WITH` that are
//! read more than once.
//!
//! The engine names the columns when the recursion is planned already, and leaves out those that only the recursion reads.
//! Where the rows it begins with are a query in a query, it does neither.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Cte, Query, SetExpr, SetOperator, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use super::{folded, template, within};

/// What the names begin with that [`tell_shared`] gives. No table of the lake is called so.
pub(crate) const SHARED: &str = "@shared";

/// Names the columns of the initial rows of recursions.
pub(super) fn name_columns(query: &mut Query) {
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else { return };
    for Cte { alias, query, .. } in &mut with.cte_tables {
        let SetExpr::SetOperation { op: SetOperator::Union, left, .. } = query.body.as_mut() else { continue };
        let mut first = template("SELECT 1");
        std::mem::swap(first.body.as_mut(), left.as_mut());
        **left = *within("SELECT * FROM (SELECT 1) AS begun", &alias.columns, first).body;
    }
}

/// Puts each query of a `WITH` whose name stands more than once into a query of its own name, [`SHARED`] and a number: so the plan
/// tells which parts of it are the same. Whether there are any. Recursions stay: each is computed by itself.
pub(crate) fn tell_shared(statement: &mut Parsed) -> bool {
    let Parsed::Statement(ast) = statement else { return false };
    let mut shared = TellShared { count: 0 };
    // The visitor never breaks off.
    let _done: ControlFlow<()> = VisitMut::visit(ast.as_mut(), &mut shared);
    shared.count > 0
}

struct TellShared {
    count: usize,
}

impl VisitorMut for TellShared {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let Some(is_recursive) = query.with.as_ref().map(|with| with.recursive) else {
            return ControlFlow::Continue(());
        };
        let read = Tables::of(query);
        for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            let name = folded(&table.alias.name);
            let is_recursion = is_recursive && Tables::of(&table.query).times(&name) > 0;
            if read.times(&name) < 2 || is_recursion {
                continue;
            }
            self.count += 1;
            let mut inner = template("SELECT 1");
            std::mem::swap(&mut inner, table.query.as_mut());
            let outer = format!("SELECT * FROM (SELECT 1) AS \"{SHARED}{}\"", self.count);
            *table.query = within(&outer, &[], inner);
        }
        ControlFlow::Continue(())
    }
}

/// How often the names of tables stand in a query.
#[derive(Default)]
struct Tables(HashMap<String, usize>);

impl Tables {
    fn of(query: &Query) -> Self {
        let mut tables = Self::default();
        // The visitor never breaks off.
        let _done: ControlFlow<()> = Visit::visit(query, &mut tables);
        tables
    }

    fn times(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }
}

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = table
            && let [name] = name.0.as_slice()
            && let Some(name) = name.as_ident()
        {
            *self.0.entry(folded(name)).or_default() += 1;
        }
        ControlFlow::Continue(())
    }
}
