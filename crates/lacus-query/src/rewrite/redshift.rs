//! Redshift's own forms: `DECODE`, `NVL`, `DATEADD(day, …)`, `TOP`, `MINUS`, arrays that are indexed from 0 and unnested in `FROM`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    LimitClause, ObjectName, Query, Select, SetExpr, SetOperator, Subscript, TableAlias, TableFactor, TopQuantity,
    Value, VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use trino_functions::syntax::SqlDialect;

use super::{binary, call, case, expression, name_of, plain, quoted, text_of};
use crate::identifiers::same_name;

/// Functions whose first argument is a unit: a word, which BI tools put in quotes, or a text.
const WITH_UNITS: [&str; 8] =
    ["dateadd", "date_add", "datediff", "date_diff", "date_part", "datepart", "pgdate_part", "date_trunc"];

/// Words that are units there, even in quotes; others are columns.
const UNITS: &str = "millennium millennia mil mils century centuries c cent cents decade decades dec decs epoch \
    year years y yr yrs quarter quarters qtr qtrs month months mon mons week weeks w \
    dayofweek dow dw weekday dayofyear doy dy yearday day days d hour hours h hr hrs minute minutes m min mins \
    second seconds s sec secs millisecond milliseconds ms msec msecs msecond mseconds millisec millisecs \
    microsecond microseconds us usec usecs usecond useconds microsec microsecs timezone timezone_hour timezone_minute";

/// Functions that the engine has by another name.
const RENAMED: [(&str, &str); 8] = [
    ("nvl", "coalesce"),
    ("len", "length"),
    ("textlen", "length"),
    ("replicate", "repeat"),
    ("datepart", "date_part"),
    ("pgdate_part", "date_part"),
    ("strtol", "from_base"),
    ("last_day", "last_day_of_month"),
];

pub(super) struct AsRedshift;

impl VisitorMut for AsRedshift {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        except_instead_of_minus(&mut query.body);
        limit_instead_of_top(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        unnest_paths(select);
        ControlFlow::Continue(())
    }

    // Before its parts are visited: a value is among them.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Convert { expr: kind, data_type: Some(value), charset: None, is_try: false, .. } = expr
            && let Some(cast) = converted(kind, value)
        {
            *expr = cast;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => {
                if let Some(new) = rewritten(function) {
                    *expr = new;
                }
            }
            Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("sysdate") => {
                *expr = now();
            }
            Expr::CompoundFieldAccess { access_chain, .. } => access_chain.iter_mut().for_each(count_from_one),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn except_instead_of_minus(body: &mut SetExpr) {
    if let SetExpr::SetOperation { op, left, right, .. } = body {
        if *op == SetOperator::Minus {
            *op = SetOperator::Except;
        }
        except_instead_of_minus(left);
        except_instead_of_minus(right);
    }
}

fn limit_instead_of_top(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    if query.limit_clause.is_some() {
        return;
    }
    // Ties and percentages are left to the planner, which refuses them.
    let Some(top) = select.top.take_if(|top| !top.with_ties && !top.percent) else { return };
    let limit = top.quantity.map(|quantity| match quantity {
        TopQuantity::Expr(expr) => expr,
        TopQuantity::Constant(count) => expression(&count.to_string()),
    });
    query.limit_clause = Some(LimitClause::LimitOffset { limit, offset: None, limit_by: Vec::new() });
}

/// `FROM orders o, o.lines AS line` unnests a column.
fn unnest_paths(select: &mut Select) {
    let mut names: Vec<Ident> = Vec::new();
    for table in &mut select.from {
        if let Some(path) = path_of(&table.relation, &names) {
            table.relation = path;
        }
        let relations = std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation));
        names.extend(relations.filter_map(name_of));
    }
}

fn path_of(table: &TableFactor, names: &[Ident]) -> Option<TableFactor> {
    let TableFactor::Table { name, alias, args: None, .. } = table else { return None };
    let words: Vec<Ident> = name.0.iter().map(|part| part.as_ident().cloned()).collect::<Option<_>>()?;
    let [first, _, ..] = words.as_slice() else { return None };
    names.iter().find(|name| same_name(name, first))?;
    let name = match alias {
        Some(alias) if alias.at.is_none() && alias.columns.is_empty() => alias.name.clone(),
        Some(_) => return None,
        None => words.last()?.clone(),
    };
    Some(TableFactor::UNNEST {
        alias: Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None }),
        array_exprs: vec![Expr::CompoundIdentifier(words)],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    })
}

/// Redshift counts the elements of an array from 0.
fn count_from_one(access: &mut AccessExpr) {
    let AccessExpr::Subscript(Subscript::Index { index }) = access else { return };
    let is_name = matches!(index, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)));
    if is_name {
        return;
    }
    *index = binary(index.clone(), BinaryOperator::Plus, expression("1"));
}

/// The start time of the statement, without a time zone.
fn now() -> Expr {
    call("to_local_time", vec![call("now", Vec::new())])
}

fn rewritten(function: &mut Function) -> Option<Expr> {
    let [part] = function.name.0.as_slice() else { return None };
    let name = part.as_ident()?.value.to_lowercase();
    let FunctionArguments::List(list) = &mut function.args else { return None };
    if WITH_UNITS.contains(&name.as_str())
        && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(unit))) = list.args.first_mut()
        && let Expr::Identifier(word) = unit
    {
        let text = word.value.to_lowercase();
        if UNITS.split(' ').any(|unit| unit == text) {
            *unit = quoted(&text);
        }
    }
    let args: Vec<Expr> = list.args.iter().map(|arg| plain(arg).cloned()).collect::<Option<_>>()?;
    if let Some((_, new)) = RENAMED.iter().find(|(old, _)| *old == name) {
        function.name = ObjectName::from(vec![Ident::new(*new)]);
        return None;
    }
    match (name.as_str(), args.as_slice()) {
        ("decode", [value, rest @ ..]) if rest.len() >= 2 => Some(decoded(value, rest)),
        ("getdate", []) => Some(now()),
        ("charindex", [part, text]) => Some(call("strpos", vec![text.clone(), part.clone()])),
        ("convert", [kind, value]) => cast(value, &kind.to_string()),
        ("dexp", [_]) => renamed(function, "exp"),
        ("dlog1", [_]) => renamed(function, "ln"),
        ("dlog10", [_]) => renamed(function, "log10"),
        ("sha2", [value, bits]) => digest(value, bits),
        // All matches, not the first one.
        ("regexp_replace", [text, pattern]) => {
            Some(call("regexp_replace", vec![text.clone(), pattern.clone(), quoted(""), quoted("g")]))
        }
        ("regexp_replace", [text, pattern, with]) => {
            Some(call("regexp_replace", vec![text.clone(), pattern.clone(), with.clone(), quoted("g")]))
        }
        ("json_extract_path_text", [json, names @ ..]) if !names.is_empty() => {
            let names = names.iter().map(|name| Some(format!("[\"{}\"]", escaped(text_of(name)?))));
            Some(at_path(json, &names.collect::<Option<String>>()?))
        }
        ("json_extract_array_element_text", [json, Expr::Value(place)]) => match &place.value {
            Value::Number(place, _) => Some(at_path(json, &format!("[{place}]"))),
            _ => None,
        },
        ("is_valid_json", [json]) => {
            Some(Expr::IsNotNull(Box::new(call("try", vec![call("json_parse", vec![json.clone()])]))))
        }
        _ => None,
    }
}

fn renamed(function: &mut Function, name: &str) -> Option<Expr> {
    function.name = ObjectName::from(vec![Ident::new(name)]);
    None
}

/// `DECODE(x, 1, 'one', 2, 'two', 'many')`: compares nulls as equal.
fn decoded(value: &Expr, rest: &[Expr]) -> Expr {
    let pairs = rest.chunks_exact(2);
    let otherwise = pairs.remainder().first().cloned();
    let conditions = pairs.map(|pair| {
        let (left, right) = (Box::new(value.clone()), Box::new(pair[0].clone()));
        (Expr::IsNotDistinctFrom(left, right), pair[1].clone())
    });
    case(conditions.collect(), otherwise.unwrap_or_else(|| expression("NULL")))
}

/// `CONVERT(int, x)`
fn cast(value: &Expr, kind: &str) -> Option<Expr> {
    let data_type = Parser::new(&SqlDialect).try_with_sql(kind).ok()?.parse_data_type().ok()?;
    let mut cast = expression("CAST(NULL AS integer)");
    if let Expr::Cast { expr, data_type: of_cast, .. } = &mut cast {
        **expr = value.clone();
        *of_cast = data_type;
    }
    Some(cast)
}

/// `CONVERT(int, a)`, which the parser takes for MySQL's: as the value `int` and the type `a`.
fn converted(kind: &Expr, value: &DataType) -> Option<Expr> {
    let value = Parser::new(&SqlDialect).try_with_sql(&value.to_string()).ok()?.parse_expr().ok()?;
    cast(&value, &kind.to_string())
}

fn digest(value: &Expr, bits: &Expr) -> Option<Expr> {
    let name = match bits.to_string().as_str() {
        "0" | "256" => "sha256",
        "224" => "sha224",
        "384" => "sha384",
        "512" => "sha512",
        _ => return None,
    };
    Some(call("encode", vec![call(name, vec![value.clone()]), quoted("hex")]))
}

/// The value at a path as text: a text is without quotes.
fn at_path(json: &Expr, path: &str) -> Expr {
    let path = || quoted(&format!("${path}"));
    let scalar = call("json_extract_scalar", vec![json.clone(), path()]);
    let nested = call("json_format", vec![call("json_extract", vec![json.clone(), path()])]);
    call("coalesce", vec![scalar, nested])
}

fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"")
}
