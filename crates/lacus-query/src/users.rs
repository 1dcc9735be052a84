//! The table `users` of a database that has `identifies`: the latest known about each user, computed when it is queried.
//!
//! One row for each `user_id`, which is its `id` too, as in Segment's warehouses. Every other column has its latest value that is
//! not null, by when it was received and then by its place in the log. Columns that are about one message only are left out.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{Column, Result, TableReference};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::functions_aggregate::expr_fn::last_value;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlanBuilder};
use lacus_lake::schema::{OFFSET, PARTITION, RECEIVED_AT, RESCUED};
use lacus_lake::{Table, TableState};

use crate::table::LakeTable;

/// The table it is computed from.
pub(crate) const IDENTIFIES: &str = "identifies";
/// What it is called.
pub(crate) const USERS: &str = "users";

const USER_ID: &str = "user_id";
/// Columns that are about one message, or about where it came from.
const OF_MESSAGES: [&str; 8] =
    ["id", "sent_at", "original_timestamp", "timestamp", RESCUED, RECEIVED_AT, PARTITION, OFFSET];

/// Whether users can be computed from a table `identifies`.
pub(crate) fn has_users(identifies: &Table) -> bool {
    identifies.state().schema.columns.iter().any(|column| column.name == USER_ID)
}

/// The users, computed from this state of `identifies`.
pub(crate) fn users(identifies: Arc<TableState>) -> Result<Arc<dyn TableProvider>> {
    let names: Vec<String> = identifies.arrow_schema.fields().iter().map(|field| field.name().clone()).collect();
    let traits: Vec<&String> =
        names.iter().filter(|name| *name != USER_ID && !OF_MESSAGES.contains(&name.as_str())).collect();
    let latest = traits.iter().map(|name| latest(name)).collect::<Result<Vec<_>>>()?;
    let source = provider_as_source(Arc::new(LakeTable::new(identifies)));
    let columns = [column(USER_ID).alias("id"), column(USER_ID)];
    let columns = columns.into_iter().chain(traits.iter().map(|name| Expr::Column(Column::new_unqualified(*name))));
    let plan = LogicalPlanBuilder::scan(IDENTIFIES, source, None)?
        .filter(column(USER_ID).is_not_null())?
        .aggregate(vec![column(USER_ID)], latest)?
        .project(columns)?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// The latest value of a column that is not null.
fn latest(name: &str) -> Result<Expr> {
    let order = [RECEIVED_AT, PARTITION, OFFSET].map(|name| Sort::new(column(name), true, false));
    // Order and filter must be set in one chain: each chain starts without them.
    let latest = last_value(column(name), Vec::new()).order_by(order.to_vec()).filter(column(name).is_not_null());
    Ok(latest.build()?.alias(name))
}

/// A column of `identifies`, in exactly this spelling.
fn column(name: &str) -> Expr {
    Expr::Column(Column::new(Some(TableReference::bare(IDENTIFIES)), name))
}
