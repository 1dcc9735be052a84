//! What a scalar function is made of: the types it takes and gives, and what it does with columns.
//!
//! Most functions work row by row on values of simple types; [`map1`] to [`map4`] do that for them: null in, null out.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{exec_datafusion_err, internal_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use crate::catalog::Function;

/// What is known of the arguments during planning.
pub(crate) struct Given<'a> {
    pub(crate) name: &'static str,
    pub(crate) types: &'a [DataType],
    /// The values of literal arguments; none while types are coerced.
    pub(crate) literals: &'a [Option<&'a ScalarValue>],
}

impl Given<'_> {
    /// The text of an argument that is a literal.
    pub(crate) fn text(&self, index: usize) -> Option<&str> {
        self.literals.get(index).copied().flatten().and_then(|value| value.try_as_str().flatten())
    }

    /// That a call like this is wrong.
    pub(crate) fn refuse<T>(&self) -> Result<T> {
        let types: Vec<String> = self.types.iter().map(crate::types::name).collect();
        plan_err!("{}({}) is not supported: wrong number or types of arguments", self.name, types.join(", "))
    }
}

/// The types that a function takes and returns.
#[derive(Debug)]
pub(crate) struct Types {
    pub(crate) arguments: Vec<DataType>,
    pub(crate) returns: FieldRef,
}

impl Types {
    pub(crate) fn new(arguments: Vec<DataType>, returns: DataType) -> Self {
        Self { arguments, returns: Arc::new(Field::new("", returns, true)) }
    }

    /// The same, returning JSON.
    pub(crate) fn json(mut self) -> Self {
        self.returns = crate::types::json_field();
        self
    }
}

/// A call of a function with columns of `rows` rows.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) args: Vec<ArrayRef>,
    pub(crate) fields: Vec<FieldRef>,
    pub(crate) rows: usize,
    pub(crate) returns: FieldRef,
}

/// Decides on types.
pub(crate) type Typing = fn(&Given) -> Result<Types>;
/// Computes a column.
pub(crate) type Run = fn(&Call) -> Result<ArrayRef>;

/// What a scalar function does.
#[derive(Clone, Copy)]
pub(crate) struct Body {
    types: Typing,
    run: Run,
    is_volatile: bool,
    hint: &'static str,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

impl Body {
    pub(crate) const fn new(types: Typing, run: Run) -> Self {
        Self { types, run, is_volatile: false, hint: "" }
    }

    /// A function with a new result in each call.
    pub(crate) const fn volatile(types: Typing, run: Run) -> Self {
        Self { types, run, is_volatile: true, hint: "" }
    }

    /// A function that is not supported: it says what to use instead.
    pub(crate) const fn refused(hint: &'static str) -> Self {
        Self {
            types: |given| given.refuse(),
            run: |call| internal_err!("{} was refused", call.name),
            is_volatile: false,
            hint,
        }
    }
}

/// A function of the catalog in DataFusion's form.
#[derive(Debug)]
pub(crate) struct Scalar {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    body: Body,
}

impl Scalar {
    pub(crate) fn new(function: &'static Function, body: Body) -> Self {
        Self::named(function.names, body)
    }

    pub(crate) fn named(names: &'static [&'static str], body: Body) -> Self {
        let volatility = if body.is_volatile { Volatility::Volatile } else { Volatility::Immutable };
        let aliases = names[1..].iter().map(|&name| name.to_owned()).collect();
        Self { name: names[0], aliases, signature: Signature::user_defined(volatility), body }
    }

    fn types(&self, types: &[DataType], literals: &[Option<&ScalarValue>]) -> Result<Types> {
        if !self.body.hint.is_empty() {
            return plan_err!("function {} is not supported: use {}", self.name, self.body.hint);
        }
        (self.body.types)(&Given { name: self.name, types, literals })
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Scalar {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if !self.body.hint.is_empty() {
            // The error is raised later, where it is shown unchanged.
            return Ok(types.to_vec());
        }
        Ok(self.types(types, &[])?.arguments)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.types(types, &[])?.returns.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let returns = self.types(&types, args.scalar_arguments)?.returns;
        Ok(Arc::new(returns.as_ref().clone().with_name(self.name)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = !args.args.is_empty() && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let columns = args.args.into_iter().map(|arg| arg.into_array(rows)).collect::<Result<_>>()?;
        let call = Call { name: self.name, args: columns, fields: args.arg_fields, rows, returns: args.return_field };
        let array = (self.body.run)(&call)?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// What the texts of a column may have together: Arrow counts them in 32 bits.
const COLUMN_BYTES_MAX: usize = i32::MAX as usize;

/// A type whose values functions see one by one.
pub(crate) trait Kind {
    type Array: Array + 'static;
    type Item<'a>;
    type Owned;
    /// The Arrow type of its columns.
    const TYPE: DataType;
    fn get(array: &Self::Array, row: usize) -> Self::Item<'_>;
    /// What a value takes beside its place in the column.
    fn bytes(value: &Self::Owned) -> usize;
    fn collect(values: Vec<Option<Self::Owned>>) -> ArrayRef;
}

macro_rules! kind {
    ($(#[$doc:meta])* $name:ident, $array:ty, $item:ty, $owned:ty, $type:expr, $bytes:expr) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl Kind for $name {
            type Array = $array;
            type Item<'a> = $item;
            type Owned = $owned;
            const TYPE: DataType = $type;

            fn get(array: &Self::Array, row: usize) -> Self::Item<'_> {
                array.value(row)
            }

            fn bytes(value: &Self::Owned) -> usize {
                let bytes: fn(&$owned) -> usize = $bytes;
                bytes(value)
            }

            fn collect(values: Vec<Option<Self::Owned>>) -> ArrayRef {
                Arc::new(<$array>::from_iter(values))
            }
        }
    };
}

kind!(/// `varchar`
    Text, StringArray, &'a str, String, DataType::Utf8, |text| text.len());
kind!(/// `varbinary`
    Bytes, BinaryArray, &'a [u8], Vec<u8>, DataType::Binary, |bytes| bytes.len());
kind!(/// `bigint`
    Int, Int64Array, i64, i64, DataType::Int64, |_| 0);
kind!(/// `double`
    Double, Float64Array, f64, f64, DataType::Float64, |_| 0);
kind!(/// `boolean`
    Bool, BooleanArray, bool, bool, DataType::Boolean, |_| 0);
kind!(/// `date`: days since 1970
    Day, Date32Array, i32, i32, DataType::Date32, |_| 0);
kind!(/// `timestamp`: microseconds since 1970
    Micros, TimestampMicrosecondArray, i64, i64, DataType::Timestamp(TimeUnit::Microsecond, None), |_| 0);

/// The argument at `index` as an array of its kind.
pub(crate) fn column<K: Kind>(call: &Call, index: usize) -> Result<&K::Array> {
    let Some(array) = call.args.get(index) else { return internal_err!("{} has no argument {index}", call.name) };
    array
        .as_any()
        .downcast_ref::<K::Array>()
        .map_or_else(|| internal_err!("{}: argument {index} is {}", call.name, array.data_type()), Ok)
}

pub(crate) fn map1<A: Kind, R: Kind>(
    call: &Call,
    mut f: impl FnMut(A::Item<'_>) -> Result<Option<R::Owned>>,
) -> Result<ArrayRef> {
    let a = column::<A>(call, 0)?;
    each::<R>(call.rows, |row| if a.is_null(row) { Ok(None) } else { f(A::get(a, row)) })
}

pub(crate) fn map2<A: Kind, B: Kind, R: Kind>(
    call: &Call,
    mut f: impl FnMut(A::Item<'_>, B::Item<'_>) -> Result<Option<R::Owned>>,
) -> Result<ArrayRef> {
    let (a, b) = (column::<A>(call, 0)?, column::<B>(call, 1)?);
    each::<R>(
        call.rows,
        |row| {
            if a.is_null(row) || b.is_null(row) { Ok(None) } else { f(A::get(a, row), B::get(b, row)) }
        },
    )
}

pub(crate) fn map3<A: Kind, B: Kind, C: Kind, R: Kind>(
    call: &Call,
    mut f: impl FnMut(A::Item<'_>, B::Item<'_>, C::Item<'_>) -> Result<Option<R::Owned>>,
) -> Result<ArrayRef> {
    let (a, b, c) = (column::<A>(call, 0)?, column::<B>(call, 1)?, column::<C>(call, 2)?);
    each::<R>(call.rows, |row| {
        if a.is_null(row) || b.is_null(row) || c.is_null(row) {
            return Ok(None);
        }
        f(A::get(a, row), B::get(b, row), C::get(c, row))
    })
}

pub(crate) fn map4<A: Kind, B: Kind, C: Kind, D: Kind, R: Kind>(
    call: &Call,
    mut f: impl FnMut(A::Item<'_>, B::Item<'_>, C::Item<'_>, D::Item<'_>) -> Result<Option<R::Owned>>,
) -> Result<ArrayRef> {
    let (a, b) = (column::<A>(call, 0)?, column::<B>(call, 1)?);
    let (c, d) = (column::<C>(call, 2)?, column::<D>(call, 3)?);
    each::<R>(call.rows, |row| {
        if a.is_null(row) || b.is_null(row) || c.is_null(row) || d.is_null(row) {
            return Ok(None);
        }
        f(A::get(a, row), B::get(b, row), C::get(c, row), D::get(d, row))
    })
}

/// A column of the results of `f` for each row.
pub(crate) fn each<R: Kind>(rows: usize, mut f: impl FnMut(usize) -> Result<Option<R::Owned>>) -> Result<ArrayRef> {
    let (mut values, mut bytes) = (Vec::with_capacity(rows), 0);
    for row in 0..rows {
        let value = f(row)?;
        bytes += value.as_ref().map_or(0, R::bytes);
        if bytes > COLUMN_BYTES_MAX {
            return Err(bad("texts of more than 2 GB at once: make them shorter"));
        }
        values.push(value);
    }
    Ok(R::collect(values))
}

/// Remembers the last compiled thing: patterns, paths and formats are mostly the same in all rows.
pub(crate) struct Last<T> {
    made: Option<(String, T)>,
    make: fn(&str) -> Result<T>,
}

impl<T> Last<T> {
    pub(crate) fn new(make: fn(&str) -> Result<T>) -> Self {
        Self { made: None, make }
    }

    pub(crate) fn get(&mut self, text: &str) -> Result<&T> {
        if self.made.as_ref().is_none_or(|(last, _)| last != text) {
            self.made = Some((text.to_owned(), (self.make)(text)?));
        }
        self.made.as_ref().map(|(_, made)| made).ok_or_else(|| exec_datafusion_err!("made above"))
    }
}

/// An error about the values in a row, in the words of a user.
pub(crate) fn bad(message: impl fmt::Display) -> DataFusionError {
    DataFusionError::Execution(message.to_string())
}

/// Exactly these argument types, with coercion; trailing ones may be left out down to `least`.
pub(crate) fn exactly(given: &Given, arguments: &[DataType], least: usize, returns: DataType) -> Result<Types> {
    let count = given.types.len();
    if count < least || count > arguments.len() {
        return given.refuse();
    }
    for (kind, wanted) in given.types.iter().zip(arguments) {
        if !fits(kind, wanted) {
            return given.refuse();
        }
    }
    Ok(Types::new(arguments[..count].to_vec(), returns))
}

/// Whether Trino accepts one type for another without a cast.
fn fits(kind: &DataType, wanted: &DataType) -> bool {
    match wanted {
        _ if kind.is_null() => true,
        DataType::Utf8 => is_text(kind),
        DataType::Int64 => kind.is_integer(),
        DataType::Float64 => kind.is_numeric(),
        DataType::Binary => matches!(
            kind,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
        ),
        DataType::Boolean => *kind == DataType::Boolean,
        DataType::Date32 => matches!(kind, DataType::Date32 | DataType::Date64),
        DataType::Timestamp(..) => matches!(kind, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)),
        other => kind == other,
    }
}

pub(crate) fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

pub(crate) const TEXT: DataType = DataType::Utf8;
pub(crate) const INT: DataType = DataType::Int64;
pub(crate) const DOUBLE: DataType = DataType::Float64;
pub(crate) const BYTES: DataType = DataType::Binary;
pub(crate) const BOOL: DataType = DataType::Boolean;
pub(crate) const MICROS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// `array(kind)`
pub(crate) fn array_of(kind: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(kind, true)))
}
