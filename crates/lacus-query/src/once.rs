//! `WITH r AS (SELECT random() AS x) SELECT … FROM r AS a, r AS b`: both are the same rows, as in PostgreSQL.
//!
//! The engine puts the query of a `WITH` in each place where its name stands, and computes it there. That is the same, and often
//! better, unless the query gives something else each time. Such a query, where its name stands more than once, becomes a node
//! of the plan that is computed once ([`rows`]): see [`crate::rewrite::tell_shared`], which says where those are.

mod rows;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result, internal_err};
use datafusion::execution::SessionState;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use self::rows::{OnceExec, SharedRows};
use crate::rewrite::SHARED;

/// Whether a plan, or a subquery in it, may give something else each time.
///
/// # Errors
/// Those of the engine.
pub(crate) fn is_volatile(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.is_volatile();
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The plan with one computation of each query that [`crate::rewrite::tell_shared`] has given a name, if it may give something
/// else each time.
///
/// # Errors
/// Those of the engine.
pub(crate) fn computed_once(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut known: HashMap<String, Arc<SharedRows>> = HashMap::new();
    plan.transform_up_with_subqueries(|plan| {
        let name = match &plan {
            LogicalPlan::SubqueryAlias(named) if named.alias.table().starts_with(SHARED) => {
                named.alias.table().to_owned()
            }
            _ => return Ok(Transformed::no(plan)),
        };
        if !is_volatile(&plan)? {
            return Ok(Transformed::no(plan));
        }
        let rows = Arc::clone(known.entry(name).or_default());
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(Once { input: plan, rows }) })))
    })
    .data()
}

/// A query whose rows are those of all others of the same [`SharedRows`].
#[derive(Debug, Clone)]
struct Once {
    input: LogicalPlan,
    rows: Arc<SharedRows>,
}

impl PartialEq for Once {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows) && self.input == other.input
    }
}

impl Eq for Once {}

impl PartialOrd for Once {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for Once {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.rows).hash(state);
        self.input.hash(state);
    }
}

impl UserDefinedLogicalNodeCore for Once {
    fn name(&self) -> &str {
        "Once"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Some(input) = inputs.pop() else { return internal_err!("rows that are computed once are of a query") };
        Ok(Self { input, rows: Arc::clone(&self.rows) })
    }

    /// All: others that read the same rows may need what this one does not.
    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}

/// Plans questions as the engine does, and what is computed once.
#[derive(Debug)]
pub(crate) struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, state: &SessionState) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(OncePlanner)]);
        planner.create_physical_plan(plan, state).await
    }
}

struct OncePlanner;

#[async_trait]
impl ExtensionPlanner for OncePlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _state: &SessionState,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(once), [input]) = (node.as_any().downcast_ref::<Once>(), inputs) else { return Ok(None) };
        Ok(Some(Arc::new(OnceExec::new(Arc::clone(input), Arc::clone(&once.rows)))))
    }
}
