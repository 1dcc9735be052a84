//! `WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t …)`: the names of the columns.
//!
//! The engine names the columns when the recursion is planned already, and leaves out those that only the recursion reads.
//! Where the rows it begins with are a query in a query, it does neither.

use datafusion::sql::sqlparser::ast::{Cte, Ident, Query, SetExpr, SetOperator, TableAlias, TableFactor};

use super::template;

/// Names the columns of the rows that recursions begin with.
pub(super) fn name_columns(query: &mut Query) {
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else { return };
    for Cte { alias, query, .. } in &mut with.cte_tables {
        let SetExpr::SetOperation { op: SetOperator::Union, left, .. } = query.body.as_mut() else { continue };
        let mut columns = alias.columns.clone();
        if super::name_columns(left, &columns) {
            columns.clear();
        }
        let mut begun = template("SELECT * FROM (SELECT 1) AS begun");
        if let Some(TableFactor::Derived { subquery, alias, .. }) = first_table(&mut begun) {
            std::mem::swap(subquery.body.as_mut(), left.as_mut());
            *alias = Some(TableAlias { columns, ..named("begun") });
        }
        **left = *begun.body;
    }
}

fn first_table(query: &mut Query) -> Option<&mut TableFactor> {
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    select.from.first_mut().map(|table| &mut table.relation)
}

/// The alias of a table.
fn named(name: &str) -> TableAlias {
    TableAlias { explicit: true, name: Ident::new(name), columns: Vec::new(), at: None }
}
