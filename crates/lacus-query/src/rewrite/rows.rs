//! Row comparisons: `(a, b) = (1, 2)`, `(a, b) < (c, d)`, `(a, b) IN ((1, 2), (3, 4))`, `(a, b) IN (SELECT x, y FROM t)`.
//!
//! To the engine a row is one value, and nulls in it equal each other. In SQL rows are compared value by value, and one unknown
//! comparison may make the whole unknown. So these become comparisons of values. An `IN` with a subquery in a condition is left
//! to [`crate::rows`]; among the columns of a query it becomes a count, as other subqueries there do.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArguments, Query, SelectItem, SetExpr, TableFactor, UnaryOperator, visit_expressions,
};

use super::{binary, call, case, expression, nested, plain, within};
use crate::error::SqlError;
use crate::rows::ROWS;

/// The most values of a row that is compared.
const VALUES_MAX: usize = 100;

/// The largest list of rows, in parts of the comparisons that it becomes.
const LIST_MAX: usize = 30_000;

/// The most values of a row in an `IN` among a query's columns: each further value makes it three times as many questions,
/// which may take very long to plan.
const COUNTED_MAX: usize = 2;

/// The values of a row expression.
fn values(expr: &Expr) -> Option<Vec<&Expr>> {
    match expr {
        Expr::Tuple(values) => Some(values.iter().collect()),
        Expr::Nested(inner) => values(inner),
        called => values_of_call(called),
    }
}

/// The values of `ROW(a, b)`.
fn values_of_call(expr: &Expr) -> Option<Vec<&Expr>> {
    let Expr::Function(call) = expr else { return None };
    let is_row = matches!(call.name.0.as_slice(), [name] if name.as_ident().is_some_and(
        |name| name.quote_style.is_none() && name.value.eq_ignore_ascii_case("row")
    ));
    let FunctionArguments::List(list) = &call.args else { return None };
    if is_row { list.args.iter().map(plain).collect() } else { None }
}

/// A row comparison, as comparisons of values.
pub(super) fn compared(expr: &Expr, is_postgres: bool) -> Option<Expr> {
    let found = match expr {
        Expr::BinaryOp { left, op, right } => compare(&values(left)?, op, &values(right)?)?,
        Expr::IsDistinctFrom(left, right) => {
            let differ = |(a, b)| Expr::IsDistinctFrom(boxed(a), boxed(b));
            let pairs = pairs(&values(left)?, &values(right)?)?;
            joined(pairs.into_iter().map(differ).collect(), &BinaryOperator::Or)?
        }
        Expr::IsNotDistinctFrom(left, right) => {
            let same = |(a, b)| Expr::IsNotDistinctFrom(boxed(a), boxed(b));
            let pairs = pairs(&values(left)?, &values(right)?)?;
            joined(pairs.into_iter().map(same).collect(), &BinaryOperator::And)?
        }
        // To PostgreSQL, a missing row is a row of nulls.
        Expr::IsNull(row) if is_postgres => {
            let nulls = values(row)?.into_iter().map(|value| Expr::IsNull(boxed(value)));
            joined(nulls.collect(), &BinaryOperator::And)?
        }
        Expr::IsNotNull(row) if is_postgres => {
            let there = values(row)?.into_iter().map(|value| Expr::IsNotNull(boxed(value)));
            joined(there.collect(), &BinaryOperator::And)?
        }
        Expr::InList { expr, list, negated } => {
            let row = values(expr)?;
            let same = |other| compare(&row, &BinaryOperator::Eq, &values(other)?);
            let found = joined(list.iter().map(same).collect::<Option<_>>()?, &BinaryOperator::Or)?;
            not_if(*negated, found)
        }
        Expr::Between { expr, negated, low, high } => {
            let row = values(expr)?;
            let from = compare(&row, &BinaryOperator::GtEq, &values(low)?)?;
            let to = compare(&row, &BinaryOperator::LtEq, &values(high)?)?;
            not_if(*negated, nested(binary(from, BinaryOperator::And, to)))
        }
        Expr::InSubquery { expr, subquery, negated } => {
            let row = written(expr).filter(|values| values.len() > 1)?.to_vec();
            let subquery = Box::new(among(subquery, row.len()));
            return Some(Expr::InSubquery { expr: Box::new(call("row", row)), subquery, negated: *negated });
        }
        _ => return None,
    };
    Some(nested(found))
}

/// The values of `(a, b)`.
fn written(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(values) => Some(values),
        Expr::Nested(inner) => written(inner),
        _ => None,
    }
}

/// The values of two rows in pairs, unless they are rows themselves.
fn pairs<'a>(left: &[&'a Expr], right: &[&'a Expr]) -> Option<Vec<(&'a Expr, &'a Expr)>> {
    let is_row = |value: &&Expr| written(value).is_some();
    if left.len() != right.len() || left.iter().chain(right).any(is_row) {
        return None;
    }
    Some(left.iter().copied().zip(right.iter().copied()).collect())
}

fn compare(left: &[&Expr], op: &BinaryOperator, right: &[&Expr]) -> Option<Expr> {
    use BinaryOperator::{And, Eq, Gt, GtEq, Lt, LtEq, NotEq, Or};
    let pairs = pairs(left, right)?.into_iter();
    let one = |op: &BinaryOperator, a: &Expr, b: &Expr| binary(a.clone(), op.clone(), b.clone());
    let strictly = match op {
        Eq => return joined(pairs.map(|(a, b)| one(op, a, b)).collect(), &And),
        NotEq => return joined(pairs.map(|(a, b)| one(op, a, b)).collect(), &Or),
        Lt | LtEq => Lt,
        Gt | GtEq => Gt,
        _ => return None,
    };
    // The first pair that differs decides.
    let mut decides: Option<Expr> = None;
    for (a, b) in pairs.rev() {
        decides = Some(match decides {
            None => one(op, a, b),
            Some(rest) => {
                let rest = nested(binary(one(&Eq, a, b), And, rest));
                nested(binary(one(&strictly, a, b), Or, rest))
            }
        });
    }
    decides
}

/// Conditions joined as a balanced tree: a long list must not be a deep expression.
fn joined(mut conditions: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    while conditions.len() > 1 {
        let mut halves = Vec::with_capacity(conditions.len().div_ceil(2));
        let mut rest = conditions.into_iter();
        while let Some(left) = rest.next() {
            halves.push(match rest.next() {
                Some(right) => nested(binary(left, op.clone(), right)),
                None => left,
            });
        }
        conditions = halves;
    }
    conditions.pop()
}

fn not_if(negated: bool, expr: Expr) -> Expr {
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(nested(expr)) } } else { expr }
}

fn boxed(expr: &Expr) -> Box<Expr> {
    Box::new(expr.clone())
}

/// The rows of a query, each as one value.
fn among(query: &Query, count: usize) -> Query {
    let names: Vec<String> = (0..count).map(column).collect();
    let names = names.join(", ");
    let rows = format!("SELECT row({names}) FROM (SELECT 1) AS \"{ROWS}\"({names})");
    let mut rows = within(&rows, &[], query.clone());
    without_name(&mut rows);
    rows
}

/// Removes the alias of such a query. If its columns are named, it needs none; and a correlated query can't have one.
pub(super) fn without_name(rows: &mut Query) {
    if let SetExpr::Select(select) = rows.body.as_mut()
        && let Some(table) = select.from.first_mut()
        && let TableFactor::Derived { alias, .. } = &mut table.relation
        && alias.as_ref().is_some_and(|alias| alias.columns.is_empty())
    {
        *alias = None;
    }
}

/// The names of a row's columns.
fn column(index: usize) -> String {
    format!("\"among#{}\"", index + 1)
}

/// The values of a row in an `IN` that was made by [`compared`].
pub(super) fn asked<'a>(value: &'a Expr, query: &Query) -> Option<Vec<&'a Expr>> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [SelectItem::UnnamedExpr(selected)] = select.projection.as_slice() else { return None };
    let columns = values_of_call(selected)?;
    let is_ours = columns.first().is_some_and(|first| **first == expression(&column(0)));
    values_of_call(value).filter(|values| is_ours && values.len() == columns.len())
}

/// How a value of a row compares with its counterpart, if the rows may be equal.
#[derive(Clone, Copy)]
enum May {
    Be,
    /// The value looked for is null.
    BeAnything,
    /// The value in the query's row is null.
    BeThis,
}

/// Whether a row is among those of a query, as one of SQL's three truth values; none if the row is too long.
pub(super) fn is_in(row: &[&Expr], query: &Query) -> Option<Expr> {
    if row.len() > COUNTED_MAX {
        return None;
    }
    let mut ways: Vec<Vec<May>> = vec![Vec::new()];
    for _ in row {
        let each = [May::Be, May::BeAnything, May::BeThis];
        ways = ways.iter().flat_map(|way| each.map(|may| [way.as_slice(), &[may]].concat())).collect();
    }
    // The first way is the one without nulls.
    let mut cases = Vec::with_capacity(ways.len());
    for (index, way) in ways.iter().enumerate() {
        let value = if index == 0 { "true" } else { "CAST(NULL AS boolean)" };
        cases.push((is_there(row, way, query)?, expression(value)));
    }
    Some(case(cases, expression("false")))
}

/// Whether there is a row that compares in this way.
fn is_there(row: &[&Expr], way: &[May], query: &Query) -> Option<Expr> {
    let (mut conditions, mut inside) = (Vec::new(), Vec::new());
    for (index, (value, may)) in row.iter().zip(way).enumerate() {
        let among = expression(&column(index));
        match may {
            May::Be => inside.push(binary(among, BinaryOperator::Eq, Expr::clone(value))),
            May::BeAnything => conditions.push(Expr::IsNull(boxed(value))),
            May::BeThis => inside.push(Expr::IsNull(Box::new(among))),
        }
    }
    let mut counted = query.clone();
    if let SetExpr::Select(select) = counted.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(expression("count(*) > 0"))];
        select.selection = joined(inside, &BinaryOperator::And);
    }
    conditions.push(Expr::Subquery(Box::new(counted)));
    joined(conditions, &BinaryOperator::And)
}

/// Refuses rows that can't be compared, or whose comparison would be too large.
pub(super) fn must_be_comparable(expr: &Expr) -> Result<(), SqlError> {
    let (row, others): (&Expr, Vec<&Expr>) = match expr {
        Expr::BinaryOp { left, right, .. } => (left.as_ref(), vec![right.as_ref()]),
        Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
            (left.as_ref(), vec![right.as_ref()])
        }
        Expr::Between { expr, low, high, .. } => (expr.as_ref(), vec![low.as_ref(), high.as_ref()]),
        Expr::InList { expr, list, .. } => (expr.as_ref(), list.iter().collect()),
        Expr::InSubquery { expr, .. } => (expr.as_ref(), Vec::new()),
        _ => return Ok(()),
    };
    let Some(values_of_row) = values(row) else { return Ok(()) };
    let mut all = values_of_row.clone();
    for other in &others {
        let Some(values) = values(other) else { continue };
        if values.len() != values_of_row.len() {
            return Err(SqlError::invalid("42601", "unequal number of entries in row expressions"));
        }
        all.extend(values);
    }
    if let Expr::InSubquery { expr, subquery, .. } = expr
        && let Some(columns) = columns_of(subquery).filter(|_| written(expr).is_some())
        && columns != values_of_row.len()
    {
        let what = if columns < values_of_row.len() { "few" } else { "many" };
        return Err(SqlError::invalid("42601", format!("subquery has too {what} columns")));
    }
    if values_of_row.len() > VALUES_MAX {
        let message = format!("a row that is compared has more than {VALUES_MAX} values");
        return Err(SqlError::invalid("54000", message));
    }
    // They would be repeated several times, inside of each other.
    let is_too_much = |value| written(value).is_some() || has_comparison(value, asks_for_rows(expr));
    if all.into_iter().any(is_too_much) {
        let message = "a row, or a comparison with a row or a subquery, has no place within a row that is compared";
        return Err(SqlError::invalid("0A000", message).with_hint("compute it in a query in FROM"));
    }
    if size(row).saturating_mul(others.len()) > LIST_MAX {
        let error = SqlError::invalid("54000", "the list of rows is too long");
        return Err(error.with_hint("join a table or VALUES with them"));
    }
    Ok(())
}

/// The number of a query's columns, if its text tells.
fn columns_of(query: &Query) -> Option<usize> {
    match query.body.as_ref() {
        SetExpr::Select(select) => {
            let is_one =
                |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. });
            select.projection.iter().all(is_one).then_some(select.projection.len())
        }
        SetExpr::Values(values) => values.rows.first().map(|row| row.content.len()),
        _ => None,
    }
}

fn size(expr: &Expr) -> usize {
    let mut parts = 0;
    let _done: ControlFlow<()> = visit_expressions(expr, |_| {
        parts += 1;
        ControlFlow::Continue(())
    });
    parts
}

/// Whether it contains a comparison that is repeated when it is compared, or, if asked, any subquery.
fn has_comparison(expr: &Expr, or_subquery: bool) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        Expr::InSubquery { .. } | Expr::AnyOp { .. } | Expr::AllOp { .. } => ControlFlow::Break(()),
        Expr::Subquery(_) | Expr::Exists { .. } if or_subquery => ControlFlow::Break(()),
        expr if compares_rows(expr) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Whether it is an `IN` of a row and a query.
pub(super) fn asks_for_rows(expr: &Expr) -> bool {
    matches!(expr, Expr::InSubquery { expr: row, .. } if written(row).is_some())
}

/// Whether it compares rows.
fn compares_rows(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { left: row, right: other, .. } => values(row).is_some() && values(other).is_some(),
        Expr::IsDistinctFrom(row, _) | Expr::IsNotDistinctFrom(row, _) => values(row).is_some(),
        Expr::Between { expr: row, .. } | Expr::InList { expr: row, .. } | Expr::InSubquery { expr: row, .. } => {
            values(row).is_some()
        }
        _ => false,
    }
}
