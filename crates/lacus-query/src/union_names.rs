//! Names in the questions of a `UNION`: `SELECT id, n FROM t UNION ALL SELECT n, 5 FROM t`.
//!
//! A value without a name gets that of the first question, here `n`, and the column `t.n` beside it keeps its own; then the engine does
//! not know which is meant (DataFusion 54.1, `coerce_exprs_for_schema`). Here all are called as in the first question.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Union};

/// Gives the columns of such questions the names of the first one.
pub(crate) fn named_as_first(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::Union(Union { inputs, schema }) = plan else { return Ok(Transformed::no(plan)) };
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let mut is_changed = false;
        let mut questions = Vec::with_capacity(inputs.len());
        for question in inputs {
            let named = named(&question, &names)?;
            is_changed |= named.is_some();
            questions.push(named.map_or(question, Arc::new));
        }
        let union = LogicalPlan::Union(Union { inputs: questions, schema });
        Ok(if is_changed { Transformed::yes(union) } else { Transformed::no(union) })
    })
    .data()
}

/// A question with these names; none if its own are none of another column.
fn named(question: &LogicalPlan, names: &[String]) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = question else { return Ok(None) };
    let own: Vec<&String> = projection.schema.fields().iter().map(|field| field.name()).collect();
    let takes_another = projection.expr.iter().zip(names).enumerate().any(|(place, (value, name))| {
        let is_named = matches!(value, Expr::Column(_) | Expr::Alias(_));
        !is_named && own.iter().enumerate().any(|(other, own)| other != place && *own == name)
    });
    let are_unique = names.iter().enumerate().all(|(place, name)| !names[..place].contains(name));
    if !takes_another || !are_unique || own.len() != names.len() {
        return Ok(None);
    }
    let values = projection.expr.iter().zip(names).map(|(value, name)| value.clone().unalias().alias(name)).collect();
    Projection::try_new(values, Arc::clone(&projection.input)).map(LogicalPlan::Projection).map(Some)
}
