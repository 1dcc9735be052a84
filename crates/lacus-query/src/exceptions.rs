//! Plans that some of the engine's rules would change wrongly (DataFusion 54.1): these rules pass over them.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, Expr, Filter, LogicalPlan};
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_group_by_constant::EliminateGroupByConstant;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// The rule, which leaves alone the plans that it would change wrongly.
pub(crate) fn with_exceptions(rule: Rule) -> Rule {
    let is_rule = |other: &dyn OptimizerRule| rule.name() == other.name();
    let is_exception = if is_rule(&EliminateGroupByConstant::new()) {
        loses_groups
    } else if is_rule(&PushDownFilter::new()) {
        is_asked_of_what_is_computed
    } else if is_rule(&ExtractEquijoinPredicate::new()) {
        sees_nulls
    } else if is_rule(&EliminateCrossJoin::new()) {
        has_inner_join_that_sees_nulls
    } else {
        return rule;
    };
    Arc::new(WithExceptions { rule, is_exception })
}

#[derive(Debug)]
struct WithExceptions {
    rule: Rule,
    is_exception: fn(&LogicalPlan) -> bool,
}

impl OptimizerRule for WithExceptions {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if (self.is_exception)(&plan) { Ok(Transformed::no(plan)) } else { self.rule.rewrite(plan, config) }
    }
}

/// The rule drops group keys that follow from others. `GROUP BY ts, CAST(ts AS date)` is rejected then, because the cast has
/// the name of the column; and `GROUP BY 'all'` loses its only key: a total has a row even for no rows.
fn loses_groups(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Aggregate(Aggregate { group_expr, .. }) = plan else { return false };
    let mut names = HashSet::new();
    let share_a_name = !group_expr.iter().all(|group| names.insert(group.schema_name().to_string()));
    share_a_name || !group_expr.iter().any(|group| matches!(group, Expr::Column(_)))
}

/// A condition without columns is taken for one on the group keys: it is pushed below a total, which has a row all the same,
/// and `random()` removes rows before they are counted. So does a condition on groups of `random()`, which is another one below. Below
/// rows that several parts of a plan share ([`crate::once`]) a condition would be asked of all of them, or of none.
fn is_asked_of_what_is_computed(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = plan else { return false };
    let is_of_no_column = |condition: &&Expr| condition.column_refs().is_empty() || condition.is_volatile();
    is_of_computed(&filter.input) && conditions(filter).iter().any(is_of_no_column)
        || is_of_cast_key(filter)
        || differs_each_time(&filter.input)
}

/// Whether these are groups of what differs each time it is computed.
fn differs_each_time(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.iter().any(Expr::is_volatile),
        LogicalPlan::Filter(filter) => differs_each_time(&filter.input),
        _ => false,
    }
}

/// A partition key of a window that is a cast, or a function in place of one, has the name of the column inside. If that
/// column has no table, a condition on it is taken for one on the key, and removes rows of a partition: `PARTITION BY CAST(ts
/// AS date)` under `ts > …`.
fn is_of_cast_key(filter: &Filter) -> bool {
    let mut below = filter.input.as_ref();
    while let LogicalPlan::Filter(filter) = below {
        below = filter.input.as_ref();
    }
    let LogicalPlan::Window(window) = below else { return false };
    let asked: HashSet<&Column> = conditions(filter).into_iter().flat_map(Expr::column_refs).collect();
    let is_asked = |key: &Expr| {
        let (relation, name) = key.qualified_name();
        !matches!(key, Expr::Column(_)) && asked.contains(&Column::new(relation, name))
    };
    window.window_expr.iter().flat_map(keys).any(is_asked)
}

/// What a window is partitioned by.
fn keys(window: &Expr) -> &[Expr] {
    match window {
        Expr::Alias(alias) => keys(&alias.expr),
        Expr::WindowFunction(call) => &call.params.partition_by,
        _ => &[],
    }
}

fn is_of_computed(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Extension(_) => true,
        LogicalPlan::Filter(filter) => is_of_computed(&filter.input),
        _ => false,
    }
}

/// The conditions of a filter and of the filters just below it, which the rule merges.
fn conditions(filter: &Filter) -> Vec<&Expr> {
    let mut found = split_conjunction(&filter.predicate);
    if let LogicalPlan::Filter(below) = filter.input.as_ref() {
        found.extend(conditions(below));
    }
    found
}

/// The keys of `=` are added to those of `IS NOT DISTINCT FROM`, and then compare nulls as those do.
fn sees_nulls(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull)
}

/// Inner joins are flattened and rebuilt, all with the null equality of the topmost.
fn has_inner_join_that_sees_nulls(plan: &LogicalPlan) -> bool {
    let mut is_found = false;
    let searched = plan.apply_with_subqueries(|plan| {
        is_found |= sees_nulls(plan) && matches!(plan, LogicalPlan::Join(join) if join.join_type == JoinType::Inner);
        Ok(if is_found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    searched.is_err() || is_found
}
