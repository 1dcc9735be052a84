//! `coalesce(ended_at, '9999-12-31')`: a moment, a day or a time of day beside one that is written as a text.
//!
//! The engine finds no type for them (DataFusion 54.1, `type_union_resolution`), as it does for `greatest` and `CASE`. Here it is that of
//! the moment, as in PostgreSQL.

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::functions::core::coalesce::CoalesceFunc;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature};

/// The engine's function, with a type for moments beside texts.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Coalesce {
    engine: CoalesceFunc,
}

impl ScalarUDFImpl for Coalesce {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn signature(&self) -> &Signature {
        self.engine.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.engine.return_type(kinds)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.engine.return_field_from_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.engine.simplify(args, context)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.engine.invoke_with_args(args)
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.engine.conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.engine.short_circuits()
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        self.engine.coerce_types(kinds).or_else(|error| match moment_beside_texts(kinds) {
            Some(kind) => Ok(vec![kind; kinds.len()]),
            None => Err(error),
        })
    }
}

fn moment_beside_texts(kinds: &[DataType]) -> Option<DataType> {
    let mut others = kinds.iter().filter(|kind| !kind.is_string() && !kind.is_null());
    let first = others.next()?;
    (first.is_temporal() && others.all(|kind| kind == first)).then(|| first.clone())
}
