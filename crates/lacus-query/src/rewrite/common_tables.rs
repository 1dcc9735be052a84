//! `WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t …)`: the names of the columns.
//!
//! The engine names the columns when the recursion is planned already, and leaves out those that only the recursion reads.
//! Where the rows it begins with are a query in a query, it does neither.

use datafusion::sql::sqlparser::ast::{Cte, Query, SetExpr, SetOperator};

use super::{template, within};

/// Names the columns of the rows that recursions begin with.
pub(super) fn name_columns(query: &mut Query) {
    let Some(with) = query.with.as_mut().filter(|with| with.recursive) else { return };
    for Cte { alias, query, .. } in &mut with.cte_tables {
        let SetExpr::SetOperation { op: SetOperator::Union, left, .. } = query.body.as_mut() else { continue };
        let mut first = template("SELECT 1");
        std::mem::swap(first.body.as_mut(), left.as_mut());
        **left = *within("SELECT * FROM (SELECT 1) AS begun", &alias.columns, first).body;
    }
}
