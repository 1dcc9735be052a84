//! `$1`, `$2` …: their types, and values in their place.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{Placeholder, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::scalar::ScalarValue;
use trino_functions::{is_quantified, moment_of_text};

use crate::error::SqlError;
use crate::json::type_name;
use crate::mixed_numbers::filled_as_doubles;

/// The most parameters of a statement, as in Postgres.
const PARAMETERS_MAX: usize = 65_535;

/// The types of `$1`, `$2` … in order; none where the statement does not tell.
pub(crate) fn types(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, DataFusionError> {
    let mut types: BTreeMap<String, Option<DataType>> = plan.get_parameter_types()?.into_iter().collect();
    if types.values().any(Option::is_none) {
        add_hidden(plan, &mut types)?;
    }
    let numbered = |name: &str| name.trim_start_matches('$').parse::<usize>().ok().filter(|number| *number > 0);
    let count = types.keys().filter_map(|name| numbered(name)).max().unwrap_or(0).min(PARAMETERS_MAX);
    let mut ordered = vec![None; count];
    for (name, kind) in types {
        if let Some(slot) = numbered(&name).and_then(|number| ordered.get_mut(number - 1)) {
            *slot = kind.map(as_sent);
        }
    }
    Ok(ordered)
}

/// The type in which clients send values: string views are only used inside.
fn as_sent(kind: DataType) -> DataType {
    match kind {
        DataType::Utf8View => DataType::Utf8,
        DataType::List(element) => {
            let sent = as_sent(element.data_type().clone());
            DataType::List(Arc::new(element.as_ref().clone().with_data_type(sent)))
        }
        other => other,
    }
}

/// Puts values in place of the parameters, cast to the types that the statement infers.
pub(crate) fn fill(
    plan: LogicalPlan,
    values: &[ScalarValue],
) -> Result<Result<LogicalPlan, SqlError>, DataFusionError> {
    let types = types(&plan)?;
    if types.len() > values.len() {
        let message = format!("there is no value for parameter ${}", values.len() + 1);
        return Ok(Err(SqlError::invalid("08P01", message)));
    }
    if types.is_empty() {
        return Ok(Ok(plan));
    }
    let mut cast = Vec::with_capacity(types.len());
    for (index, (value, kind)) in values.iter().zip(types).enumerate() {
        cast.push(match kind {
            Some(kind) if kind != value.data_type() => match cast_as_it_is(value, &kind)? {
                Some(cast) => cast,
                None => return Ok(Err(would_change(index, value, &kind))),
            },
            _ => value.clone(),
        });
    }
    // Whether values are doubles or decimals, the plan sees now.
    filled_as_doubles(plan.with_param_values(cast)?).map(Ok)
}

/// The value cast to another type; none if the cast would change it, as 2.5 to an integer. Texts are parsed, and a decimal
/// becomes the nearest floating point number.
fn cast_as_it_is(value: &ScalarValue, kind: &DataType) -> Result<Option<ScalarValue>, DataFusionError> {
    let read = value.try_as_str().flatten().and_then(|text| moment_of_text(text, kind));
    if read.is_some() {
        return Ok(read);
    }
    let cast = value.cast_to(kind)?;
    let may_change = value.is_null() || is_text(&value.data_type()) || is_text(kind) || kind.is_floating();
    if may_change || cast.cast_to(&value.data_type()).is_ok_and(|back| back == *value) {
        return Ok(Some(cast));
    }
    Ok(None)
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::List(element) => is_text(element.data_type()),
        _ => false,
    }
}

fn would_change(index: usize, value: &ScalarValue, kind: &DataType) -> SqlError {
    let number = index + 1;
    let written = match value.cast_to(&DataType::Utf8) {
        Ok(ScalarValue::Utf8(Some(text))) => text,
        _ => value.to_string(),
    };
    let message = format!("parameter ${number} is {written}, and the statement takes it as {}", type_name(kind));
    SqlError::invalid("22P02", message).with_hint(format!("write CAST(${number} AS {})", type_name(&value.data_type())))
}

/// Adds types that the engine knows, but does not tell: in `x = any($1)` the parameter is a list of `x`'s type, in `a @> $1`
/// an array like `a`, in `$1::date` a date.
fn add_hidden(plan: &LogicalPlan, types: &mut BTreeMap<String, Option<DataType>>) -> Result<(), DataFusionError> {
    plan.apply_with_subqueries(|node| {
        for input in node.inputs() {
            node.apply_expressions(|expr| {
                expr.apply(|part| {
                    let list = |kind| DataType::List(Arc::new(Field::new_list_field(kind, true)));
                    let found = match (any_parameter(part), part) {
                        (Some((parameter, element)), _) => {
                            Some((parameter, element.get_type(input.schema()).map(list)))
                        }
                        (None, Expr::ScalarFunction(call)) => {
                            same_array(call).map(|(parameter, other)| (parameter, other.get_type(input.schema())))
                        }
                        (None, Expr::Cast(cast)) => match cast.expr.as_ref() {
                            Expr::Placeholder(parameter) => Some((parameter, part.get_type(input.schema()))),
                            _ => None,
                        },
                        _ => None,
                    };
                    if let Some((parameter, Ok(kind))) = found {
                        types.entry(parameter.id.clone()).and_modify(|known| *known = known.take().or(Some(kind)));
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn any_parameter(expr: &Expr) -> Option<(&Placeholder, &Expr)> {
    let Expr::ScalarFunction(function) = expr else { return None };
    match (function.name(), function.args.as_slice()) {
        ("array_has", [Expr::Placeholder(parameter), element]) => Some((parameter, element)),
        (name, [element, Expr::Placeholder(parameter)]) if is_quantified(name) => Some((parameter, element)),
        _ => None,
    }
}

fn same_array(call: &ScalarFunction) -> Option<(&Placeholder, &Expr)> {
    match call.args.as_slice() {
        [Expr::Placeholder(parameter), other] | [other, Expr::Placeholder(parameter)]
            if ["array_holds", "array_shares"].contains(&call.name()) =>
        {
            Some((parameter, other))
        }
        _ => None,
    }
}
