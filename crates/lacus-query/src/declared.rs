//! The declared types of parameters `$1`, `$2` …: by the protocol, or by `PREPARE`.
//!
//! The engine gives a parameter whatever type fits where it stands, so that 2.5 would become 2 beside a whole number. A parameter
//! with a declared type is cast to it wherever it stands: `$1` is read as `CAST($1 AS double precision)`.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType as Kind;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CastKind, DataType, ExactNumberInfo, Expr, Fetch, LimitClause, Query, SelectItem, SetExpr,
    Statement as Ast, TimezoneInfo, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use trino_functions::syntax::SqlDialect;

use crate::ast::ast_mut;
use crate::dialect::Dialect;
use crate::error::SqlError;
use crate::rewrite::{must_be_understood, rewrite};

/// Types of `$1`, `$2` …; none where the statement decides.
#[derive(Debug, Clone)]
pub struct Declared(Arc<[Option<DataType>]>);

impl Default for Declared {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl Declared {
    /// The types that a message of the protocol declares. Integers get the type they have in a statement, `bigint`. Texts and
    /// arrays are left to the statement: drivers declare texts for values of all kinds.
    #[must_use]
    pub fn by_message(kinds: &[Option<Kind>]) -> Self {
        let declared = kinds.iter().map(|kind| match kind.as_ref()? {
            Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64 => Some(DataType::BigInt(None)),
            Kind::Decimal128(..) => Some(DataType::Numeric(ExactNumberInfo::None)),
            Kind::Interval(_) => Some(DataType::Interval { fields: None, precision: None }),
            // Bytes are declared only here: in a statement, a text in their place is read differently.
            Kind::Binary => Some(DataType::Bytea),
            kind @ (Kind::Boolean | Kind::Float32 | Kind::Float64 | Kind::Date32 | Kind::Timestamp(..)) => {
                written(kind)
            }
            _ => None,
        });
        Self(declared.collect())
    }

    /// The types that a query for a null of each declares.
    pub(crate) fn by_question(question: &Parsed) -> Self {
        let declared = columns(question).iter().map(|column| match column {
            SelectItem::UnnamedExpr(Expr::Cast { data_type, .. })
            | SelectItem::ExprWithAlias { expr: Expr::Cast { data_type, .. }, .. } => Some(data_type.clone()),
            _ => None,
        });
        Self(declared.collect())
    }

    /// These types, and where there are none, those that the statement infers. An inferred `numeric` has the digits of a
    /// column, which are not the parameter's: those are dropped.
    #[must_use]
    pub fn or(&self, asked: &[Option<Kind>]) -> Self {
        let count = self.0.len().max(asked.len());
        let of = |place: usize| {
            let declared = self.0.get(place).cloned().flatten();
            declared.or_else(|| asked.get(place)?.as_ref().filter(|kind| !kind.is_decimal()).and_then(written))
        };
        Self((0..count).map(of).collect())
    }

    /// The number of parameters, up to the last one with a type.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether any type is declared.
    pub(crate) fn is_any(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    /// Where nothing is declared, the statement infers `numeric`, and the value is one: `numeric` with the value's own
    /// digits, not those of the column beside it. None if there is no such parameter.
    pub(crate) fn with_numbers(&self, asked: &[Option<Kind>], values: &[ScalarValue]) -> Option<Self> {
        let declared = |place: usize| self.0.get(place).cloned().flatten();
        let is_number = |place: usize| {
            declared(place).is_none()
                && matches!(asked.get(place), Some(Some(Kind::Decimal128(..))))
                && matches!(values.get(place), Some(ScalarValue::Decimal128(Some(_), ..)))
        };
        let count = self.0.len().max(asked.len());
        let open = || DataType::Numeric(ExactNumberInfo::None);
        let types = (0..count).map(|place| if is_number(place) { Some(open()) } else { declared(place) });
        (0..count).any(is_number).then(|| Self(types.collect()))
    }

    /// The types for these values: a `numeric` without digits gets those of its value. None if nothing changes.
    pub(crate) fn of_values(&self, values: &[ScalarValue]) -> Option<Self> {
        let is_open = |kind: &Option<DataType>| {
            matches!(kind, Some(DataType::Numeric(ExactNumberInfo::None) | DataType::Decimal(ExactNumberInfo::None)))
        };
        if !self.0.iter().any(is_open) {
            return None;
        }
        let of = |(place, kind): (usize, &Option<DataType>)| match values.get(place) {
            Some(ScalarValue::Decimal128(Some(value), _, scale)) if is_open(kind) => {
                let digits = value.unsigned_abs().checked_ilog10().map_or(1, |log| log + 1);
                let precision = u64::from(digits).max(u64::from(scale.unsigned_abs()));
                Some(DataType::Numeric(ExactNumberInfo::PrecisionAndScale(precision, i64::from(*scale))))
            }
            _ => kind.clone(),
        };
        Some(Self(self.0.iter().enumerate().map(of).collect()))
    }

    /// Casts the parameters of a statement to these types.
    pub(crate) fn put(&self, statement: &mut Parsed) {
        if self.is_any()
            && let Some(ast) = ast_mut(statement)
        {
            // The visitor never breaks off.
            let _done: ControlFlow<()> = ast.visit(&mut Casts { types: &self.0, limits: Vec::new() });
        }
    }

    /// Casts the columns of a query to these types, as if the casts were written in it.
    pub(crate) fn put_around(&self, question: &mut Parsed, dialect: Dialect) {
        let Some(columns) = columns_mut(question) else { return };
        for (column, kind) in columns.iter_mut().zip(self.0.iter()) {
            let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = column else { continue };
            if let Some(kind) = kind {
                *expr = read(cast(expr.clone(), kind), dialect);
            }
        }
    }

    /// Refuses texts among the columns of a query that can't be values of these types, where that is known before it runs.
    pub(crate) fn must_be_of(&self, question: &Parsed) -> Result<(), SqlError> {
        for (column, kind) in columns(question).iter().zip(self.0.iter()) {
            if let (SelectItem::UnnamedExpr(expr), Some(kind)) = (column, kind)
                && is_text(expr)
            {
                must_be_understood(&alone(cast(expr.clone(), kind)))?;
            }
        }
        Ok(())
    }
}

/// A type as it is written in SQL.
fn written(kind: &Kind) -> Option<DataType> {
    Some(match kind {
        Kind::Boolean => DataType::Boolean,
        Kind::Int8 | Kind::Int16 => DataType::SmallInt(None),
        Kind::Int32 => DataType::Int(None),
        Kind::Int64 => DataType::BigInt(None),
        Kind::Float32 => DataType::Real,
        Kind::Float64 => DataType::DoublePrecision,
        Kind::Decimal128(precision, scale) => {
            DataType::Numeric(ExactNumberInfo::PrecisionAndScale(u64::from(*precision), i64::from(*scale)))
        }
        Kind::Utf8 | Kind::LargeUtf8 | Kind::Utf8View => DataType::Text,
        Kind::Date32 => DataType::Date,
        Kind::Timestamp(_, None) => DataType::Timestamp(None, TimezoneInfo::None),
        Kind::Timestamp(_, Some(_)) => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
        Kind::List(element) => {
            let element = Box::new(written(element.data_type())?);
            DataType::Array(ArrayElemTypeDef::SquareBracket(element, None))
        }
        _ => return None,
    })
}

struct Casts<'a> {
    types: &'a [Option<DataType>],
    /// `LIMIT`, `OFFSET` and `FETCH` of the enclosing queries: only a value may stand there.
    limits: Vec<(Option<LimitClause>, Option<Fetch>)>,
}

impl Casts<'_> {
    fn of(&self, parameter: &str) -> Option<&DataType> {
        let number = parameter.strip_prefix('$')?.parse::<usize>().ok()?;
        self.types.get(number.checked_sub(1)?)?.as_ref()
    }
}

impl VisitorMut for Casts<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.limits.push((query.limit_clause.take(), query.fetch.take()));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some((limit, fetch)) = self.limits.pop() {
            (query.limit_clause, query.fetch) = (limit, fetch);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => {
                if let Some(kind) = self.of(name) {
                    *expr = cast(expr.clone(), kind);
                }
            }
            // In `INTERVAL $1` only a value may stand.
            Expr::Interval(interval) => {
                if let Expr::Cast { expr: value, .. } = interval.value.as_ref() {
                    interval.value = value.clone();
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn cast(expr: Expr, kind: &DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type: kind.clone(), array: false, format: None }
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_), .. }))
}

/// A cast, rewritten as in a statement: the cast of a text may become another expression.
fn read(cast: Expr, dialect: Dialect) -> Expr {
    if !matches!(&cast, Expr::Cast { expr, .. } if is_text(expr)) {
        return cast;
    }
    let mut alone = alone(cast.clone());
    rewrite(&mut alone, dialect);
    match columns(&alone) {
        [SelectItem::UnnamedExpr(expr)] => expr.clone(),
        _ => cast,
    }
}

/// A question for one value.
fn alone(value: Expr) -> Parsed {
    let query = Parser::new(&SqlDialect).try_with_sql("SELECT NULL").and_then(|mut parser| parser.parse_query());
    let mut question = Parsed::Statement(Box::new(Ast::Query(query.expect("it is our own SQL"))));
    if let Some(columns) = columns_mut(&mut question) {
        *columns = vec![SelectItem::UnnamedExpr(value)];
    }
    question
}

fn columns(question: &Parsed) -> &[SelectItem] {
    match question {
        Parsed::Statement(ast) => match ast.as_ref() {
            Ast::Query(query) => match query.body.as_ref() {
                SetExpr::Select(select) => &select.projection,
                _ => &[],
            },
            _ => &[],
        },
        _ => &[],
    }
}

fn columns_mut(question: &mut Parsed) -> Option<&mut Vec<SelectItem>> {
    let Parsed::Statement(ast) = question else { return None };
    let Ast::Query(query) = ast.as_mut() else { return None };
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    Some(&mut select.projection)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::IntervalUnit;
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn put(kinds: &[Option<Kind>], sql: &str) -> String {
        let mut parsed = DFParser::parse_sql_with_dialect(sql, &SqlDialect).unwrap().remove(0).unwrap();
        Declared::by_message(kinds).put(&mut parsed);
        parsed.to_string()
    }

    #[test]
    fn parameters_are_cast_to_what_is_declared() {
        let (int, double) = (Some(Kind::Int16), Some(Kind::Float64));
        for (kinds, sql, expected) in [
            (
                vec![double.clone()],
                "DELETE FROM t WHERE a = $1",
                "DELETE FROM t WHERE a = CAST($1 AS DOUBLE PRECISION)",
            ),
            (vec![int.clone(), None], "SELECT $1 + $2", "SELECT CAST($1 AS BIGINT) + $2"),
            (vec![Some(Kind::Utf8)], "SELECT a FROM t WHERE a = $1", "SELECT a FROM t WHERE a = $1"),
            (vec![None, int.clone()], "SELECT $1", "SELECT $1"),
            (
                vec![int.clone()],
                "SELECT a FROM (SELECT a FROM t LIMIT $1) WHERE a > $1 LIMIT $1 OFFSET $1",
                "SELECT a FROM (SELECT a FROM t LIMIT $1) WHERE a > CAST($1 AS BIGINT) LIMIT $1 OFFSET $1",
            ),
            (vec![int.clone()], "SELECT INTERVAL $1 DAY", "SELECT INTERVAL $1 DAY"),
            (vec![Some(Kind::Decimal128(38, 10))], "SELECT $1", "SELECT CAST($1 AS NUMERIC)"),
            (
                vec![Some(Kind::Interval(IntervalUnit::MonthDayNano))],
                "SELECT ts + $1",
                "SELECT ts + CAST($1 AS INTERVAL)",
            ),
            (vec![Some(Kind::Binary)], "SELECT $1", "SELECT CAST($1 AS BYTEA)"),
            (vec![int], "EXPLAIN SELECT $1", "EXPLAIN SELECT CAST($1 AS BIGINT)"),
        ] {
            let found = put(&kinds, sql);
            assert!(found.contains(expected), "{sql}: {found}");
        }
    }

    #[test]
    fn values_are_read_as_the_types_they_are_wanted_as() {
        let parse = |sql: &str| DFParser::parse_sql_with_dialect(sql, &SqlDialect).unwrap().remove(0).unwrap();
        let declared = Declared::by_question(&parse("SELECT CAST(NULL AS INT) AS n0, CAST(NULL AS INT[]) AS n1"));
        let wanted = declared.or(&[Some(Kind::Float64), None, Some(Kind::Utf8)]);
        assert_eq!((declared.count(), wanted.count()), (2, 3));
        let mut question = parse("SELECT 90.7, '{1,2}', x");
        wanted.must_be_of(&question).unwrap();
        wanted.put_around(&mut question, Dialect::Lacus);
        let found = question.to_string();
        assert!(found.starts_with("SELECT CAST(90.7 AS INT), CAST(ARRAY["), "{found}");
        assert!(found.ends_with("AS INT[]), CAST(x AS TEXT)"), "{found}");
        let error = wanted.must_be_of(&parse("SELECT 1, '{1'")).unwrap_err();
        assert_eq!(error.sqlstate(), "22P02");
    }

    #[test]
    fn a_number_without_digits_has_those_of_its_value() {
        let declared = Declared::by_message(&[Some(Kind::Decimal128(38, 10)), Some(Kind::Float64)]);
        let of = |value| {
            let types = declared.of_values(&[value, ScalarValue::Float64(Some(0.5))]).unwrap();
            types.0.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(ScalarValue::Decimal128(Some(-250), 38, 2)), "NUMERIC(3,2) DOUBLE PRECISION");
        assert_eq!(of(ScalarValue::Decimal128(Some(5), 38, 3)), "NUMERIC(3,3) DOUBLE PRECISION");
        assert_eq!(of(ScalarValue::Decimal128(Some(0), 38, 0)), "NUMERIC(1,0) DOUBLE PRECISION");
        assert_eq!(of(ScalarValue::Null), "NUMERIC DOUBLE PRECISION");
        assert!(Declared::by_message(&[Some(Kind::Float64)]).of_values(&[]).is_none());
        let value = [ScalarValue::Decimal128(Some(19_999), 38, 3)];
        let asked = Declared::default().with_numbers(&[Some(Kind::Decimal128(10, 2))], &value).unwrap();
        assert_eq!(asked.of_values(&value).unwrap().0[0].as_ref().unwrap().to_string(), "NUMERIC(5,3)");
        assert!(Declared::default().with_numbers(&[Some(Kind::Int64)], &value).is_none());
    }
}
