//! Casts as Trino does them: numbers are rounded, texts of values have Trino's form, rows go field by field, JSON is
//! read and written. A cast that is not named here is DataFusion's. What PostgreSQL does otherwise is in [`postgres`].

pub(crate) mod arrays;
pub(crate) mod postgres;

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Int64Array, ListArray, MapArray, StringArray, StructArray,
};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Float64Type, TimeUnit, TimestampMicrosecondType,
};
use datafusion::arrow::util::display::FormatOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, exec_err, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::expr::{Cast, TryCast};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::scalar::ScalarValue;

use crate::dates::written;
use crate::math::is_decimal;
use crate::scalar::{MICROS, bad, is_text};
use crate::{json, lists, types};

pub(crate) fn register(state: &mut SessionState, is_trino: bool) -> Result<()> {
    state.register_function_rewrite(Arc::new(Casts { is_trino }))
}

/// A cast of a text to dates or timestamps, for rules that run after the one of casts.
pub(crate) fn read_as(text: Expr, kind: DataType, is_trino: bool) -> Result<Expr> {
    let function = TrinoCast { is_trino, ..TrinoCast::new(Arc::new(Field::new("", kind, true)), false) };
    function.check(&text)?;
    Ok(ScalarUDF::new_from_impl(function).call(vec![text]))
}

/// Replaces each cast that DataFusion does differently.
#[derive(Debug)]
struct Casts {
    is_trino: bool,
}

impl FunctionRewrite for Casts {
    fn name(&self) -> &str {
        "trino_casts"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let (inner, target, is_try) = match &expr {
            Expr::Cast(Cast { expr, field }) => (expr, field, false),
            Expr::TryCast(TryCast { expr, field }) => (expr, field, true),
            _ => return Ok(Transformed::no(expr)),
        };
        let source = inner.to_field(schema)?.1;
        if !self.differs(&source, target) {
            return Ok(Transformed::no(expr));
        }
        let is_whole = self.is_trino && is_whole_second(inner);
        let function = TrinoCast { is_trino: self.is_trino, is_whole, ..TrinoCast::new(Arc::clone(target), is_try) };
        function.check(inner)?;
        Ok(Transformed::yes(ScalarUDF::new_from_impl(function).call(vec![inner.as_ref().clone()])))
    }
}

impl Casts {
    fn differs(&self, source: &Field, target: &Field) -> bool {
        let has_size = types::length(target).is_some() || types::digits(target).is_some();
        if types::is_json(source) || types::is_json(target) || has_size {
            return true;
        }
        let (from, to) = (source.data_type(), target.data_type());
        // DataFusion truncates: 1.9 would be stored as 1.
        let is_rounded = to.is_integer() && (from.is_floating() || is_decimal(from));
        // DataFusion writes a `T` between date and time.
        let is_timestamp = is_text(to) && matches!(from, DataType::Timestamp(..));
        // DataFusion parses no time without seconds.
        let is_read = is_text(from) && matches!(to, DataType::Timestamp(..) | DataType::Date32);
        let is_of_postgres =
            is_text(to) && postgres::has_text(from) || matches!(to, DataType::Decimal128(..)) && from.is_floating();
        is_rounded
            || is_timestamp
            || is_read
            || !self.is_trino && (is_of_postgres || self.lists_differ(from, to))
            || self.is_trino
                && from != to
                && match to {
                    kind if is_text(kind) => !is_text(from) && !from.is_integer() && !from.is_null(),
                    DataType::Boolean => is_text(from),
                    DataType::Timestamp(_, None) => matches!(from, DataType::Timestamp(_, Some(_))),
                    DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => !from.is_null(),
                    _ => false,
                }
    }

    /// Whether it makes an array of a text, or of an array whose elements DataFusion casts differently.
    fn lists_differ(&self, from: &DataType, to: &DataType) -> bool {
        let DataType::List(to) = to else { return false };
        match lists::plain(from) {
            DataType::List(from) => !types::is_json(&from) && !types::is_json(to) && self.differs(&from, to),
            from => is_text(&from),
        }
    }
}

/// Whether it is a timestamp literal without fractional seconds: a `timestamp(0)` in Trino.
fn is_whole_second(expr: &Expr) -> bool {
    // The cast is one of ours by now.
    let Expr::ScalarFunction(call) = expr else { return false };
    let Some(cast) = call.func.inner().downcast_ref::<TrinoCast>() else { return false };
    let [Expr::Literal(text, _)] = call.args.as_slice() else { return false };
    matches!(cast.target.data_type(), DataType::Timestamp(..))
        && text.try_as_str().flatten().is_some_and(|text| !text.contains('.'))
}

/// One cast.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TrinoCast {
    target: FieldRef,
    is_try: bool,
    /// Whether texts of timestamps have Trino's form, not PostgreSQL's.
    is_trino: bool,
    /// Whether the value is a timestamp literal without fractional seconds.
    is_whole: bool,
    signature: Signature,
}

impl TrinoCast {
    fn new(target: FieldRef, is_try: bool) -> Self {
        Self { target, is_try, is_trino: true, is_whole: false, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TrinoCast {
    fn name(&self) -> &str {
        if self.is_try { "try_cast" } else { "cast" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let word = if self.is_try { "TRY_CAST" } else { "CAST" };
        Ok(format!("{word}({} AS {})", args[0], self.target.data_type()))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        // Named like the cast it replaces, so that the plan keeps its column names.
        Ok(args[0].schema_name().to_string())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(types::bare(self.target.data_type()))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let source = &args.arg_fields[0];
        if types::is_json(&self.target) && !types::is_json(source) {
            json::check_writable(source)?;
        }
        let name = source.name();
        let field = Field::new(name, types::bare(self.target.data_type()), true);
        let metadata = if types::is_json(&self.target) { self.target.metadata().clone() } else { Default::default() };
        Ok(Arc::new(field.with_metadata(metadata)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let array = args.args[0].to_array(rows)?;
        let source = Arc::clone(&args.arg_fields[0]);
        let result = match self.convert(&array, &source) {
            Ok(result) => result,
            Err(error) if !self.is_try => return Err(error),
            Err(_) => self.row_by_row(&array, &source)?,
        };
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

impl TrinoCast {
    /// In PostgreSQL an invalid literal of a date or timestamp fails even if there are no rows.
    fn check(&self, inner: &Expr) -> Result<()> {
        let is_moment = matches!(self.target.data_type(), DataType::Timestamp(..) | DataType::Date32);
        if let Expr::Literal(value, _) = inner
            && is_moment
            && is_text(&value.data_type())
            && !self.is_trino
            && !self.is_try
        {
            self.convert(&value.to_array()?, &Field::new("", value.data_type(), true))?;
        }
        Ok(())
    }

    fn convert(&self, array: &ArrayRef, source: &Field) -> Result<ArrayRef> {
        let is_written = is_text(array.data_type()) && !types::is_json(source);
        if is_written && !self.is_trino && types::is_json(&self.target) {
            return json::parsed(array);
        }
        if let DataType::Decimal128(precision, scale) = *self.target.data_type()
            && array.data_type().is_floating()
            && !self.is_trino
        {
            return postgres::decimals(array, precision, scale);
        }
        if let DataType::List(element) = self.target.data_type()
            && (is_written || lists::is_list(array.data_type()))
            && !self.is_trino
        {
            return self.list(array, element);
        }
        let moments = self.moments(array, is_written)?;
        let array = moments.as_ref().unwrap_or(array);
        let is_json = types::is_json(&self.target);
        let texts = match array.data_type() {
            DataType::Timestamp(..) if !is_text(self.target.data_type()) => None,
            DataType::Timestamp(..) if !self.is_trino => Some(postgres_timestamps(array)?),
            kind if is_text(self.target.data_type()) && !is_json && !self.is_trino && postgres::has_text(kind) => {
                Some(postgres::texts(array)?)
            }
            DataType::Timestamp(_, zone) if self.is_whole => {
                Some(timestamps(array, TimeUnit::Second, zone.as_deref())?)
            }
            _ => None,
        };
        if let Some(texts) = texts {
            let texts = types::length(&self.target).map_or(texts.clone(), |length| shortened(&texts, length));
            return Ok(cast(&texts, &types::bare(self.target.data_type()))?);
        }
        Ok(cast(&convert(array, source, &self.target)?, &types::bare(self.target.data_type()))?)
    }

    /// The arrays of texts or of other arrays, in PostgreSQL's reading.
    fn list(&self, array: &ArrayRef, element: &FieldRef) -> Result<ArrayRef> {
        let array = if is_text(array.data_type()) {
            arrays::of_texts(array)?
        } else {
            cast(array, &lists::plain(array.data_type()))?
        };
        let list = lists::alone(lists::list(&array)?)?;
        let from = lists::element(list.data_type())?;
        let values = if (Casts { is_trino: false }).differs(&from, element) {
            Self { is_trino: false, ..Self::new(Arc::clone(element), false) }.convert(list.values(), &from)?
        } else {
            strict(list.values(), element.data_type())?
        };
        let values = cast(&values, element.data_type())?;
        let list = ListArray::try_new(Arc::clone(element), list.offsets().clone(), values, list.nulls().cloned())?;
        Ok(cast(&list, &types::bare(self.target.data_type()))?)
    }

    /// The dates or timestamps in PostgreSQL's or Trino's reading, where the engine's differs.
    fn moments(&self, array: &ArrayRef, is_written: bool) -> Result<Option<ArrayRef>> {
        match (array.data_type(), self.target.data_type()) {
            (_, DataType::Timestamp(_, zone)) if is_written => {
                let (zone, is_postgres) = (zone.as_deref(), !self.is_trino);
                written::timestamps(array, written::Reading { zone, is_postgres, is_try: self.is_try }).map(Some)
            }
            (_, DataType::Date32) if is_written && !self.is_trino => written::dates(array, self.is_try).map(Some),
            (DataType::Timestamp(_, Some(zone)), DataType::Timestamp(_, None)) if self.is_trino => {
                crate::dates::shown(array, zone).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Null for each row that fails.
    fn row_by_row(&self, array: &ArrayRef, source: &Field) -> Result<ArrayRef> {
        let null = datafusion::arrow::array::new_null_array(&types::bare(self.target.data_type()), 1);
        let rows: Vec<ArrayRef> = (0..array.len())
            .map(|row| self.convert(&array.slice(row, 1), source).unwrap_or_else(|_| Arc::clone(&null)))
            .collect();
        let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
        Ok(datafusion::arrow::compute::concat(&rows)?)
    }
}

/// Casts a column from one field's type to another's.
pub(crate) fn convert(array: &ArrayRef, source: &Field, target: &Field) -> Result<ArrayRef> {
    match (types::is_json(source), types::is_json(target)) {
        (true, true) => return Ok(Arc::clone(array)),
        (true, false) => return json::read(array, target),
        (false, true) => return json::write(array, source),
        (false, false) => {}
    }
    let (from, to) = (array.data_type(), target.data_type());
    match to {
        _ if from.is_null() => Ok(cast(array, to)?),
        kind if is_text(kind) => {
            let text = text(array)?;
            let text = match types::length(target) {
                Some(length) => shortened(&text, length),
                None => text,
            };
            Ok(cast(&text, to)?)
        }
        kind if kind.is_integer() && (from.is_floating() || is_decimal(from)) => strict(&rounded(array)?, to),
        DataType::Boolean if is_text(from) => booleans(array),
        DataType::Date32 if is_text(from) => dates(array),
        DataType::Timestamp(..) if types::digits(target).is_some() => {
            to_digits(&strict(array, to)?, types::digits(target).unwrap_or_default())
        }
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => nested(array, source, target),
        _ => strict(array, to),
    }
}

fn strict(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    Ok(cast_with_options(array, to, &options)?)
}

fn nested(array: &ArrayRef, source: &Field, target: &Field) -> Result<ArrayRef> {
    match target.data_type() {
        DataType::Struct(wanted) => {
            let Some(row) = array.as_struct_opt() else { return mismatch(source, target) };
            if row.num_columns() != wanted.len() {
                return mismatch(source, target);
            }
            let columns = row.columns().iter().zip(row.fields()).zip(wanted);
            let columns = columns.map(|((column, from), to)| convert(column, from, to)).collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(StructArray::try_new_with_length(wanted.clone(), columns, row.nulls().cloned(), row.len())?))
        }
        DataType::List(wanted) => {
            if !lists::is_list(array.data_type()) {
                return mismatch(source, target);
            }
            let array = cast(array, &lists::plain(array.data_type()))?;
            let list = lists::alone(lists::list(&array)?)?;
            let from = lists::element(list.data_type())?;
            let values = convert(list.values(), &from, wanted)?;
            let wanted = Arc::clone(wanted);
            Ok(Arc::new(ListArray::try_new(wanted, list.offsets().clone(), values, list.nulls().cloned())?))
        }
        DataType::Map(wanted, sorted) => {
            let Some(map) = array.as_map_opt() else { return mismatch(source, target) };
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = nested(&entries, &Field::new("", entries.data_type().clone(), false), wanted)?;
            let entries = entries.as_struct().clone();
            Ok(Arc::new(MapArray::try_new(
                Arc::clone(wanted),
                map.offsets().clone(),
                entries,
                map.nulls().cloned(),
                *sorted,
            )?))
        }
        _ => mismatch(source, target),
    }
}

fn mismatch<T>(source: &Field, target: &Field) -> Result<T> {
    plan_err!("cannot cast {} to {}", types::field_name(source), types::field_name(target))
}

fn shortened(texts: &StringArray, length: usize) -> StringArray {
    let cut = |text: &str| text.chars().take(length).collect::<String>();
    texts.iter().map(|text| text.map(cut)).collect()
}

/// Rounds half away from zero; NaN and values that are too large are errors.
fn rounded(array: &ArrayRef) -> Result<ArrayRef> {
    if let DataType::Decimal128(_, scale) = array.data_type() {
        let unit = crate::math::power(*scale)?;
        let values = array.as_primitive::<Decimal128Type>();
        let whole = values.iter().map(|value| {
            let Some(value) = value else { return Ok(None) };
            let value = crate::math::cut(value, unit, true);
            i64::try_from(value).map(Some).map_err(|_| bad(format!("cannot cast {value} to bigint: out of range")))
        });
        return Ok(Arc::new(whole.collect::<Result<Int64Array>>()?));
    }
    let values = cast(array, &DataType::Float64)?;
    let whole = values.as_primitive::<Float64Type>().iter().map(|value| {
        let Some(value) = value else { return Ok(None) };
        let rounded = value.round();
        // 2^63 itself does not fit.
        if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded) {
            return exec_err!("cannot cast {} to bigint: out of range", double(value));
        }
        Ok(Some(rounded as i64))
    });
    Ok(Arc::new(whole.collect::<Result<Int64Array>>()?))
}

/// Microseconds rounded to this many fractional digits of a second, half up.
fn to_digits(micros: &ArrayRef, digits: u32) -> Result<ArrayRef> {
    let unit = 10_i64.pow(6_u32.saturating_sub(digits));
    let values = micros.as_primitive::<TimestampMicrosecondType>();
    let rounded = values.try_unary::<_, TimestampMicrosecondType, DataFusionError>(|micros| {
        let up = micros.checked_add(unit / 2).ok_or_else(|| bad("timestamp out of range"))?;
        Ok(up.div_euclid(unit) * unit)
    })?;
    Ok(Arc::new(rounded.with_data_type(micros.data_type().clone())))
}

fn booleans(array: &ArrayRef) -> Result<ArrayRef> {
    let texts = cast(array, &DataType::Utf8)?;
    let values = texts.as_string::<i32>().iter().map(|text| {
        let Some(text) = text else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "t" | "true" | "1" => Ok(Some(true)),
            "f" | "false" | "0" => Ok(Some(false)),
            _ => exec_err!("cannot cast '{text}' to boolean"),
        }
    });
    Ok(Arc::new(values.collect::<Result<BooleanArray>>()?))
}

fn dates(array: &ArrayRef) -> Result<ArrayRef> {
    let texts = cast(array, &DataType::Utf8)?;
    let values = texts.as_string::<i32>().iter().map(|text| {
        let Some(text) = text else { return Ok(None) };
        match crate::dates::day(text.trim()) {
            Some(day) => Ok(Some(day)),
            None => exec_err!("cannot cast '{text}' to date: write it as 2021-07-31"),
        }
    });
    Ok(Arc::new(values.collect::<Result<Date32Array>>()?))
}

/// Timestamps as PostgreSQL writes them; those with a time zone in UTC.
fn postgres_timestamps(array: &ArrayRef) -> Result<StringArray> {
    let zone = match array.data_type() {
        DataType::Timestamp(_, Some(_)) => "+00",
        _ => "",
    };
    let micros = cast(array, &MICROS)?;
    let texts = micros.as_primitive::<TimestampMicrosecondType>().iter().map(|micros| {
        let Some(micros) = micros else { return Ok(None) };
        let moment = crate::dates::naive(micros).ok_or_else(|| bad("timestamp out of range"))?;
        let text = moment.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
        Ok(Some(format!("{}{zone}", text.trim_end_matches('0').trim_end_matches('.'))))
    });
    texts.collect()
}

/// Values as Trino writes them.
pub(crate) fn text(array: &ArrayRef) -> Result<StringArray> {
    let texts = match array.data_type() {
        DataType::Float32 => {
            let values = array.as_primitive::<datafusion::arrow::datatypes::Float32Type>();
            return Ok(values
                .iter()
                .map(|value| value.map(|value| java(&format!("{value:e}"), value.into())))
                .collect());
        }
        DataType::Float64 => {
            return Ok(array.as_primitive::<Float64Type>().iter().map(|value| value.map(double)).collect());
        }
        DataType::Timestamp(unit, zone) => return timestamps(array, *unit, zone.as_deref()),
        DataType::Duration(_) => return crate::dates::durations(array),
        kind if kind.is_nested() => {
            return plan_err!("cannot cast {} to varchar: use json_format(CAST(… AS JSON))", types::name(kind));
        }
        kind if kind.is_binary() => return plan_err!("cannot cast varbinary to varchar: use from_utf8 or to_hex"),
        _ => cast(array, &DataType::Utf8)?,
    };
    Ok(texts.as_string::<i32>().clone())
}

/// The shortest text that reads as the same number, in Java's form: `1.0`, `1.0E10`.
pub(crate) fn double(value: f64) -> String {
    java(&format!("{value:e}"), value)
}

fn java(scientific: &str, value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() };
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-3..7).contains(&exponent) {
        // The digits of the shortest text, without an exponent.
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        let sign = if value.is_sign_negative() { "-" } else { "" };
        let (whole, fraction) = if exponent < 0 {
            ("0".to_owned(), "0".repeat((-exponent - 1) as usize) + &digits)
        } else {
            let digits = format!("{digits:0<width$}", width = exponent as usize + 1);
            let (whole, fraction) = digits.split_at(exponent as usize + 1);
            (whole.to_owned(), fraction.to_owned())
        };
        let fraction = if fraction.is_empty() { "0" } else { fraction.as_str() };
        return format!("{sign}{whole}.{fraction}");
    }
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}E{exponent}")
}

fn timestamps(array: &ArrayRef, unit: TimeUnit, zone: Option<&str>) -> Result<StringArray> {
    let micros = strict(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into)))
        .or_else(|_| exec_err!("timestamp out of range"))?;
    let micros = micros.as_primitive::<TimestampMicrosecondType>();
    let offset = zone.map(crate::dates::zone).transpose()?;
    let write = |value: i64| {
        let utc = crate::dates::naive(value)?;
        let local = match &offset {
            Some(zone) => zone.local(utc),
            None => utc,
        };
        let fraction = match (unit, local.and_utc().timestamp_subsec_micros()) {
            (TimeUnit::Second, 0) => String::new(),
            (_, micros) if micros % 1000 == 0 => format!(".{:03}", micros / 1000),
            (_, micros) => format!(".{micros:06}"),
        };
        let zone = zone.map(|zone| format!(" {}", if zone == "+00:00" { "UTC" } else { zone })).unwrap_or_default();
        Some(format!("{}{fraction}{zone}", local.format("%Y-%m-%d %H:%M:%S")))
    };
    Ok(micros.iter().map(|value| value.and_then(write)).collect())
}
