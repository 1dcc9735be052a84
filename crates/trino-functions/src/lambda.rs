//! What a function that takes lambdas is made of.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::array::UInt64Array;
use datafusion::arrow::compute::take_arrays;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, HigherOrderFunctionArgs, HigherOrderReturnFieldArgs, HigherOrderSignature, HigherOrderUDFImpl,
    LambdaArgument, LambdaParametersProgress, ValueOrLambda, Volatility,
};

use crate::catalog::Function;

/// An argument during planning: the field of a value, or of a lambda's result if that is known yet.
pub(crate) type Planned = ValueOrLambda<FieldRef, Option<FieldRef>>;

/// What a function does.
#[derive(Clone, Copy)]
pub(crate) struct LambdaFunction {
    /// The types that the values are coerced to.
    pub(crate) coerce: fn(&[DataType]) -> Option<Vec<DataType>>,
    /// The parameters of each lambda.
    pub(crate) parameters: fn(&[Planned]) -> Option<LambdaParametersProgress>,
    /// The result's field; for a lambda, the argument is the field of its result.
    pub(crate) returns: fn(&[FieldRef]) -> Result<FieldRef>,
    pub(crate) run: fn(&LambdaCall) -> Result<ArrayRef>,
}

impl fmt::Debug for LambdaFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LambdaFunction")
    }
}

/// A call with its columns and lambdas.
pub(crate) struct LambdaCall {
    pub(crate) values: Vec<ArrayRef>,
    pub(crate) lambdas: Vec<LambdaArgument>,
    /// The types of the lambdas' results.
    pub(crate) results: Vec<DataType>,
    pub(crate) rows: usize,
    pub(crate) returns: FieldRef,
}

impl LambdaCall {
    /// The results of a lambda for `columns`, each of whose rows belongs to one of these rows of the call.
    pub(crate) fn apply(&self, lambda: usize, columns: &[ArrayRef], rows: &[u64]) -> Result<ArrayRef> {
        let getters: Vec<Box<dyn Fn() -> Result<ArrayRef>>> = columns
            .iter()
            .map(|column| {
                let column = Arc::clone(column);
                Box::new(move || Ok(Arc::clone(&column))) as Box<dyn Fn() -> Result<ArrayRef>>
            })
            .collect();
        let getters: Vec<&dyn Fn() -> Result<ArrayRef>> = getters.iter().map(AsRef::as_ref).collect();
        let owners = UInt64Array::from(rows.to_vec());
        let result = self.lambdas[lambda].evaluate(&getters, |captures| Ok(take_arrays(captures, &owners, None)?))?;
        result.into_array(rows.len())
    }
}

/// A function of the catalog in DataFusion's form.
#[derive(Debug)]
pub(crate) struct Lambda {
    name: &'static str,
    usage: &'static str,
    aliases: Vec<String>,
    signature: HigherOrderSignature,
    body: LambdaFunction,
}

impl Lambda {
    pub(crate) fn new(function: &'static Function, body: LambdaFunction) -> Self {
        let aliases = function.names[1..].iter().map(|&name| name.to_owned()).collect();
        let signature = HigherOrderSignature::user_defined(Volatility::Immutable);
        Self { name: function.names[0], usage: function.usage, aliases, signature, body }
    }
}

impl PartialEq for Lambda {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Lambda {}

impl Hash for Lambda {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl HigherOrderUDFImpl for Lambda {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &HigherOrderSignature {
        &self.signature
    }

    fn coerce_value_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match (self.body.coerce)(types) {
            Some(types) => Ok(types),
            None => {
                let types: Vec<String> = types.iter().map(crate::types::name).collect();
                plan_err!("{} is not for ({})", self.name, types.join(", "))
            }
        }
    }

    fn lambda_parameters(&self, _: usize, fields: &[Planned]) -> Result<LambdaParametersProgress> {
        match (self.body.parameters)(fields) {
            Some(progress) => Ok(progress),
            None => plan_err!("{} is called as {}", self.name, self.usage),
        }
    }

    fn return_field_from_args(&self, args: HigherOrderReturnFieldArgs) -> Result<FieldRef> {
        let fields: Vec<FieldRef> = args
            .arg_fields
            .iter()
            .map(|argument| match argument {
                ValueOrLambda::Value(field) | ValueOrLambda::Lambda(field) => Arc::clone(field),
            })
            .collect();
        let field = (self.body.returns)(&fields)?;
        Ok(Arc::new(field.as_ref().clone().with_name(self.name).with_nullable(true)))
    }

    fn clear_null_values(&self) -> bool {
        false
    }

    fn invoke_with_args(&self, args: HigherOrderFunctionArgs) -> Result<ColumnarValue> {
        let (mut values, mut lambdas) = (Vec::new(), Vec::new());
        for argument in args.args {
            match argument {
                ValueOrLambda::Value(value) => values.push(value.into_array(args.number_rows)?),
                ValueOrLambda::Lambda(lambda) => lambdas.push(lambda),
            }
        }
        let results = args.arg_fields.iter().filter_map(|field| match field {
            ValueOrLambda::Lambda(field) => Some(field.data_type().clone()),
            ValueOrLambda::Value(_) => None,
        });
        let results = results.collect();
        let call = LambdaCall { values, lambdas, results, rows: args.number_rows, returns: args.return_field };
        Ok(ColumnarValue::Array((self.body.run)(&call)?))
    }
}
