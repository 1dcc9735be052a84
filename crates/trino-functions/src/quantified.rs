//! `x = ANY (array)`, `x > ALL (array)` and the like, as SQL has them: what is not known of one element may not be known of all.
//!
//! DataFusion looks at the least and the greatest element, and passes over nulls. Each of these comparisons is a function of the
//! value and the array; in an array that is a constant, what is equal is looked for with `IN`, by which files are skipped.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{internal_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, in_list, lit,
};
use datafusion::scalar::ScalarValue;

use crate::math::is_decimal;
use crate::scalar::{BOOL, DOUBLE, array_of};
use crate::{lists, types};

/// The functions' names, their comparisons, and whether all elements have to match.
const FUNCTIONS: [(&str, Operator, bool); 12] = [
    ("any_equal", Operator::Eq, false),
    ("any_unequal", Operator::NotEq, false),
    ("any_less", Operator::Lt, false),
    ("any_less_or_equal", Operator::LtEq, false),
    ("any_greater", Operator::Gt, false),
    ("any_greater_or_equal", Operator::GtEq, false),
    ("all_equal", Operator::Eq, true),
    ("all_unequal", Operator::NotEq, true),
    ("all_less", Operator::Lt, true),
    ("all_less_or_equal", Operator::LtEq, true),
    ("all_greater", Operator::Gt, true),
    ("all_greater_or_equal", Operator::GtEq, true),
];

pub(crate) fn register(state: &mut SessionState) -> Result<()> {
    for (name, operator, is_all) in FUNCTIONS {
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(Quantified::new(name, operator, is_all))))?;
    }
    Ok(())
}

/// The function that compares a value with an array's elements so; none if there is none.
#[must_use]
pub fn quantified(operator: Operator, is_all: bool) -> Option<&'static str> {
    FUNCTIONS.iter().find(|(_, other, of_all)| *other == operator && *of_all == is_all).map(|(name, ..)| *name)
}

/// Whether a function is one of these.
#[must_use]
pub fn is_quantified(function: &str) -> bool {
    FUNCTIONS.iter().any(|(name, ..)| *name == function)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quantified {
    name: &'static str,
    operator: Operator,
    is_all: bool,
    signature: Signature,
}

impl Quantified {
    fn new(name: &'static str, operator: Operator, is_all: bool) -> Self {
        Self { name, operator, is_all, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// Whether it is `= ANY` or `<> ALL`.
    fn is_in_list(&self) -> bool {
        matches!((self.operator, self.is_all), (Operator::Eq, false) | (Operator::NotEq, true))
    }

    fn holds(&self, ordering: Ordering) -> bool {
        match self.operator {
            Operator::Eq => ordering.is_eq(),
            Operator::NotEq => ordering.is_ne(),
            Operator::Lt => ordering.is_lt(),
            Operator::LtEq => ordering.is_le(),
            Operator::Gt => ordering.is_gt(),
            _ => ordering.is_ge(),
        }
    }

    /// The answer for each value, compared with the array in its row or with the only array.
    fn answers(&self, values: &ArrayRef, arrays: &ArrayRef) -> Result<BooleanArray> {
        let list = lists::list(arrays)?;
        let (elements, wanted) = lists::comparable_pair(list.values(), values)?;
        let answer = |row: usize| {
            let array = if list.len() == 1 { 0 } else { row };
            let mut places = lists::range(list, array);
            if list.is_null(array) {
                return None;
            }
            if places.is_empty() {
                return Some(self.is_all);
            }
            if values.is_null(row) {
                return None;
            }
            let is_known = |at: usize| list.values().is_valid(at);
            let decides = |at: usize| self.holds(wanted.row(row).cmp(&elements.row(at))) != self.is_all;
            if places.clone().any(|at| is_known(at) && decides(at)) {
                return Some(!self.is_all);
            }
            places.all(is_known).then_some(self.is_all)
        };
        Ok((0..values.len()).map(answer).collect())
    }
}

impl ScalarUDFImpl for Quantified {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [value, array] = given else { return plan_err!("{} takes a value and an array", self.name) };
        let Some(element) = lists::element_type(array) else {
            return plan_err!("ANY and ALL compare with the elements of an array, and not with {}", types::name(array));
        };
        let is_with_fraction =
            is_decimal(value) && element.is_floating() || value.is_floating() && is_decimal(&element);
        let kind = if is_with_fraction { DOUBLE } else { lists::common(&element, value)? };
        Ok(vec![kind.clone(), array_of(kind)])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(BOOL)
    }

    fn simplify(&self, mut args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let elements: Vec<Expr> = match args.as_slice() {
            [_, Expr::Literal(array @ ScalarValue::List(_), _)] if self.is_in_list() && !array.is_null() => {
                let array = array.to_array()?;
                let rows = ScalarValue::convert_array_to_scalar_vec(&array)?;
                rows.into_iter().flatten().flatten().map(|element| Expr::Literal(element, None)).collect()
            }
            _ => return Ok(ExprSimplifyResult::Original(args)),
        };
        if elements.is_empty() {
            return Ok(ExprSimplifyResult::Simplified(lit(self.is_all)));
        }
        Ok(ExprSimplifyResult::Simplified(in_list(args.swap_remove(0), elements, self.is_all)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, array] = args.args.as_slice() else { return internal_err!("{} has two arguments", self.name) };
        if let (ColumnarValue::Scalar(value), ColumnarValue::Scalar(array)) = (value, array) {
            let answers = self.answers(&value.to_array()?, &array.to_array()?)?;
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answers, 0)?));
        }
        let values = value.to_array(args.number_rows)?;
        // One array for all rows stays one.
        let arrays = match array {
            ColumnarValue::Array(arrays) => Arc::clone(arrays),
            ColumnarValue::Scalar(array) => array.to_array()?,
        };
        Ok(ColumnarValue::Array(Arc::new(self.answers(&values, &arrays)?)))
    }
}
