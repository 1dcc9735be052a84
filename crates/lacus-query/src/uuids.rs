//! UUIDs in SQL: `'…'::uuid`, `gen_random_uuid()`, a column of them as text, and compared with a text.
//!
//! They are sixteen bytes, and their field says that these are a UUID. The engine reads none from a text and writes none as one.
//! Here are the functions that do; [`crate::rewrite`] puts them where a text is cast to a UUID, and [`meant`] where the types say
//! so. What is no UUID is an error, never null.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, exec_err, internal_err, plan_err};
use datafusion::logical_expr::expr::{Cast, InList, Placeholder};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use lacus_lake::schema::is_uuid;

use crate::json::uuid_text;

/// The name of the function that casts to a UUID.
pub(crate) const TO_UUID: &str = "_to_uuid";

/// The same for `TRY_CAST`: an invalid text becomes null.
pub(crate) const TRY_TO_UUID: &str = "_try_to_uuid";

/// Adds the functions that casts are rewritten to.
pub(crate) fn register(context: &SessionContext) {
    for tries in [false, true] {
        context.register_udf(ScalarUDF::from(ToUuid::new(tries)));
    }
}

/// Adds calls where a UUID is cast to text or compared with one.
pub(crate) fn meant(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let schema = merge_schema(&plan.inputs());
        if !has_uuids(&plan, &schema)? {
            return Ok(Transformed::no(plan));
        }
        let names = NamePreserver::new(&plan);
        let changed = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(|part| as_meant(part, &schema))?.update_data(|expr| name.restore(expr)))
        })?;
        if !changed.transformed {
            return Ok(changed);
        }
        Ok(Transformed::yes(changed.data.recompute_schema()?))
    })
    .data()
}

fn has_uuids(plan: &LogicalPlan, schema: &DFSchema) -> Result<bool> {
    let mut has_some = schema.fields().iter().any(|field| is_uuid(field));
    plan.apply_expressions(|expr| {
        has_some = has_some || expr.exists(|part| Ok(is_cast(part)))?;
        Ok(if has_some { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(has_some)
}

fn is_cast(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if [TO_UUID, TRY_TO_UUID].contains(&call.func.name()))
}

fn as_meant(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_one = |expr: &Expr| expr.to_field(schema).is_ok_and(|(_, field)| is_uuid(&field));
    Ok(match expr {
        Expr::Cast(Cast { expr, field }) if field.data_type().is_string() && is_one(&expr) => {
            Transformed::yes(as_text(*expr))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) && is_one(&left) && is_written(&right) => {
            let right = Box::new(read(*right));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) && is_one(&right) && is_written(&left) => {
            let left = Box::new(read(*left));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
        }
        Expr::InList(InList { expr, list, negated }) if is_one(&expr) && list.iter().any(is_written) => {
            let list = list.into_iter().map(|value| if is_written(&value) { read(value) } else { value }).collect();
            Transformed::yes(Expr::InList(InList { expr, list, negated }))
        }
        other => Transformed::no(other),
    })
}

fn compares(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Whether it is written in the statement itself: a text, or a parameter.
fn is_written(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.data_type().is_string(),
        Expr::Placeholder(_) => true,
        _ => false,
    }
}

/// A text, parsed as a UUID. Parameters come as texts.
fn read(expr: Expr) -> Expr {
    let expr = match expr {
        Expr::Placeholder(parameter) => {
            let text = Arc::new(Field::new("", DataType::Utf8, true));
            Expr::Placeholder(Placeholder::new_with_field(parameter.id, Some(text)))
        }
        other => other,
    };
    static READ: LazyLock<ScalarUDF> = LazyLock::new(|| ScalarUDF::from(ToUuid::new(false)));
    READ.call(vec![expr])
}

fn as_text(uuid: Expr) -> Expr {
    static TEXT: LazyLock<ScalarUDF> = LazyLock::new(|| ScalarUDF::from(AsText::default()));
    TEXT.call(vec![uuid])
}

/// A UUID of a text, or of its bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToUuid {
    signature: Signature,
    /// Whether what is none is null.
    tries: bool,
}

impl ToUuid {
    fn new(tries: bool) -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable), tries }
    }

    fn read(&self, values: &ArrayRef) -> Result<ArrayRef> {
        if *values.data_type() == DataType::FixedSizeBinary(16) {
            return Ok(Arc::clone(values));
        }
        let texts = cast(values, &DataType::Utf8)?;
        let mut uuids = FixedSizeBinaryBuilder::with_capacity(texts.len(), 16);
        for text in texts.as_string::<i32>() {
            match (text, text.and_then(bytes_of)) {
                (_, Some(bytes)) => uuids.append_value(bytes)?,
                (Some(text), None) if !self.tries => {
                    return exec_err!("Cannot cast string '{text}' to value of uuid type");
                }
                _ => uuids.append_null(),
            }
        }
        Ok(Arc::new(uuids.finish()))
    }
}

impl ScalarUDFImpl for ToUuid {
    fn name(&self) -> &str {
        if self.tries { TRY_TO_UUID } else { TO_UUID }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _kinds: &[DataType]) -> Result<DataType> {
        Ok(DataType::FixedSizeBinary(16))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let mut kinds = args.arg_fields.iter().map(|field| field.data_type());
        if let Some(from) = kinds.find(|kind| !kind.is_string() && !is_bytes_or_null(kind)) {
            return plan_err!("Unsupported CAST from {from} to uuid");
        }
        let says_so = HashMap::from([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())]);
        Ok(Arc::new(Field::new(self.name(), DataType::FixedSizeBinary(16), true).with_metadata(says_so)))
    }

    fn invoke_with_args(&self, given: ScalarFunctionArgs) -> Result<ColumnarValue> {
        of_one(given, |values| self.read(values))
    }
}

fn is_bytes_or_null(kind: &DataType) -> bool {
    matches!(kind, DataType::FixedSizeBinary(16) | DataType::Null)
}

/// A UUID as people write it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AsText {
    signature: Signature,
}

impl Default for AsText {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for AsText {
    fn name(&self) -> &str {
        "_uuid_text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _kinds: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, given: ScalarFunctionArgs) -> Result<ColumnarValue> {
        of_one(given, |values| {
            let Some(uuids) = values.as_fixed_size_binary_opt() else {
                return internal_err!("a UUID is no sixteen bytes");
            };
            Ok(Arc::new(uuids.iter().map(|uuid| uuid.map(uuid_text)).collect::<StringArray>()))
        })
    }
}

/// Applies a function to its one argument.
fn of_one(mut given: ScalarFunctionArgs, make: impl Fn(&ArrayRef) -> Result<ArrayRef>) -> Result<ColumnarValue> {
    match (given.args.pop(), given.args.is_empty()) {
        (Some(ColumnarValue::Array(values)), true) => make(&values).map(ColumnarValue::Array),
        (Some(ColumnarValue::Scalar(value)), true) => {
            let made = make(&value.to_array()?)?;
            ScalarValue::try_from_array(&made, 0).map(ColumnarValue::Scalar)
        }
        _ => internal_err!("a cast has one argument"),
    }
}

/// The bytes of a UUID as PostgreSQL parses it: in any case, in braces or not, with hyphens after any four digits.
fn bytes_of(text: &str) -> Option<[u8; 16]> {
    let text = text.strip_prefix('{').map_or(Some(text), |rest| rest.strip_suffix('}'))?.as_bytes();
    let digit = |at: usize| text.get(at).and_then(|letter| char::from(*letter).to_digit(16));
    let (mut bytes, mut at) = ([0_u8; 16], 0);
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(digit(at)? * 16 + digit(at + 1)?).ok()?;
        at += 2;
        if index % 2 == 1 && index < 15 && text.get(at) == Some(&b'-') {
            at += 1;
        }
    }
    (at == text.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_read_as_postgresql_reads_them() {
        let expected = bytes_of("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
        assert_eq!(expected.map(|bytes| uuid_text(&bytes)).as_deref(), Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"));
        for text in [
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(bytes_of(text), expected, "{text}");
        }
        for text in [
            "",
            "{}",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0eebc999c0b4ef8bb6d6bb9bd380a1",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11-",
            "-a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee--bc999c0b4ef8bb6d6bb9bd380a11",
            " a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "g0eebc999c0b4ef8bb6d6bb9bd380a11",
            "é0eebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert_eq!(bytes_of(text), None, "{text}");
        }
    }
}
