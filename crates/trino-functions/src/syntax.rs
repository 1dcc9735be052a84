//! The SQL that goes with the functions: lambdas, types in parentheses, and calls that are more than calls.
//!
//! Read a text with [`SqlDialect`]'s tokens, give them to [`quote_types`], and what the parser makes of them to
//! [`rewrite`]. No token moves: errors keep their positions.

use std::any::TypeId;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, Join, JoinConstraint, JoinOperator, LambdaFunction,
    LambdaFunctionParameter, LambdaSyntax, LimitClause, ObjectName, OneOrManyWithParens, Query, SetExpr, Statement,
    TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::Semantics;
use crate::types::QUOTED_TYPE;
use crate::unnest::ends_in_unnest;

/// sqlparser's generic dialect with lambdas: `x -> x + 1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqlDialect;

macro_rules! as_generic {
    ($($name:ident),+ $(,)?) => {
        $(fn $name(&self) -> bool {
            GenericDialect.$name()
        })+
    };
}

impl Dialect for SqlDialect {
    fn dialect(&self) -> TypeId {
        // The parser treats this dialect like the generic one.
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, letter: char) -> bool {
        GenericDialect.is_delimited_identifier_start(letter)
    }

    fn is_identifier_start(&self, letter: char) -> bool {
        GenericDialect.is_identifier_start(letter)
    }

    fn is_identifier_part(&self, letter: char) -> bool {
        GenericDialect.is_identifier_part(letter)
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    /// As in PostgreSQL, `a * b ^ c` has the power first, `a || b + c` the sum, and `a | b & c` goes from left to right.
    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        use Token::{Ampersand, Caret, Pipe, ShiftLeft, ShiftRight, StringConcat};
        match parser.peek_token_ref().token {
            Caret => Some(Ok(self.prec_value(Precedence::MulDivModOp) + 1)),
            Ampersand | Pipe | ShiftLeft | ShiftRight | StringConcat => {
                Some(Ok(self.prec_value(Precedence::Ampersand)))
            }
            _ => None,
        }
    }

    /// `a IS DISTINCT FROM b AND c`: by itself, the parser would compare with everything that follows.
    fn parse_infix(&self, parser: &mut Parser, left: &Expr, _precedence: u8) -> Option<Result<Expr, ParserError>> {
        use Keyword::{DISTINCT, FROM, IS, NOT};
        let is_same = parser.parse_keywords(&[IS, NOT, DISTINCT, FROM]);
        if !is_same && !parser.parse_keywords(&[IS, DISTINCT, FROM]) {
            return None;
        }
        let compared = |right| {
            let (left, right) = (Box::new(left.clone()), Box::new(right));
            if is_same { Expr::IsNotDistinctFrom(left, right) } else { Expr::IsDistinctFrom(left, right) }
        };
        Some(parser.parse_subexpr(self.prec_value(Precedence::Is)).map(compared))
    }

    as_generic!(
        supports_unicode_string_literal,
        supports_partition_by_after_order_by,
        supports_array_join_syntax,
        supports_group_by_expr,
        supports_group_by_with_modifier,
        supports_left_associative_joins_without_parens,
        supports_connect_by,
        supports_match_recognize,
        supports_pipe_operator,
        supports_start_transaction_modifier,
        supports_window_function_null_treatment_arg,
        supports_dictionary_syntax,
        supports_window_clause_named_window_reference,
        supports_parenthesized_set_variables,
        supports_select_wildcard_except,
        support_map_literal_syntax,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_extract_comma_syntax,
        supports_create_view_comment_syntax,
        supports_parens_around_table_factor,
        supports_values_as_table_factor,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_limit_comma,
        supports_update_order_by,
        supports_from_first_select,
        supports_projection_trailing_commas,
        supports_asc_desc_in_column_definition,
        supports_try_convert,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_assignment_operator,
        supports_struct_literal,
        supports_empty_projections,
        supports_nested_comments,
        supports_multiline_comment_hints,
        supports_user_host_grantee,
        supports_string_escape_constant,
        supports_array_typedef_with_brackets,
        supports_match_against,
        supports_set_names,
        supports_comma_separated_set_assignments,
        supports_filter_during_aggregation,
        supports_select_wildcard_exclude,
        supports_data_type_signed_suffix,
        supports_interval_options,
        supports_quote_delimited_string,
        supports_select_wildcard_replace,
        supports_select_wildcard_ilike,
        supports_select_wildcard_rename,
        supports_optimize_table,
        supports_install,
        supports_detach,
        supports_prewhere,
        supports_with_fill,
        supports_limit_by,
        supports_interpolate,
        supports_settings,
        supports_select_format,
        supports_comment_optimizer_hint,
        supports_constraint_keyword_without_name,
        supports_key_column_option,
        supports_comma_separated_trim,
        supports_cte_without_as,
        supports_select_item_multi_column_alias,
        supports_xml_expressions,
    );
}

/// Quotes types in casts that the parser can't parse: `array(row(a bigint))`, `map(varchar, bigint)`.
pub fn quote_types(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        if let Some((first, end)) = nested_type(tokens, at) {
            let text: String = tokens[first..end].iter().map(|token| token.token.to_string()).collect();
            let span = tokens[first].span;
            let word = Word { value: QUOTED_TYPE.to_owned(), quote_style: None, keyword: Keyword::NoKeyword };
            let quoted = [Token::Word(word), Token::LParen, Token::SingleQuotedString(text), Token::RParen];
            tokens.splice(first..end, quoted.map(|token| TokenWithSpan { token, span }));
        }
        at += 1;
    }
}

/// The range of the nested type in the cast that begins at a token.
fn nested_type(tokens: &[TokenWithSpan], at: usize) -> Option<(usize, usize)> {
    if !is_word(&tokens[at], &["CAST", "TRY_CAST"]) {
        return None;
    }
    let open = next(tokens, at + 1)?;
    if tokens[open].token != Token::LParen {
        return None;
    }
    let (mut depth, mut first) = (0_usize, None);
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth -= 1;
                if depth == 0 {
                    return first.map(|first| (first, index));
                }
            }
            Token::Word(_) if depth == 1 && is_word(token, &["AS"]) => {
                let start = next(tokens, index + 1)?;
                let bracket = next(tokens, start + 1)?;
                let is_nested = is_word(&tokens[start], &["ARRAY", "MAP", "ROW", "STRUCT"])
                    && matches!(tokens[bracket].token, Token::LParen | Token::Lt);
                first = Some(is_nested.then_some(start)?);
            }
            _ => {}
        }
    }
    None
}

fn next(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    (from..tokens.len()).find(|index| !matches!(tokens[*index].token, Token::Whitespace(_)))
}

fn is_word(token: &TokenWithSpan, words: &[&str]) -> bool {
    match &token.token {
        Token::Word(word) => {
            word.quote_style.is_none() && words.iter().any(|known| word.value.eq_ignore_ascii_case(known))
        }
        _ => false,
    }
}

/// Writes what the engine has no plan for with what it has: `if` as `CASE`, `try` with a lambda, a join with `UNNEST`
/// in parentheses.
///
/// With [`Semantics::Trino`] also `TIMESTAMP '… Europe/Berlin'`, `JSON '…'`, `DECIMAL '…'` and `AT TIME ZONE`, which the engine
/// reads otherwise.
pub fn rewrite(statement: &mut Statement, semantics: Semantics) {
    // The visitor never breaks off.
    let _done: ControlFlow<()> = statement.visit(&mut Rewrite { is_trino: semantics == Semantics::Trino });
}

struct Rewrite {
    is_trino: bool,
}

impl VisitorMut for Rewrite {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        nest_unnests(&mut query.body);
        limit_instead_of_fetch(query);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Lambda(lambda) = expr {
            use_all(lambda);
        }
        if self.is_trino
            && let Some(new) = zoned(expr).or_else(|| typed(expr))
        {
            *expr = new;
        }
        if let Some(new) = double(expr).or_else(|| membership(expr)) {
            *expr = new;
        }
        if let Expr::Function(call) = expr
            && let Some(new) = rewritten(call)
        {
            *expr = new;
        }
        ControlFlow::Continue(())
    }
}

/// `1.5e0` is a double, whatever `1.5` is.
fn double(expr: &Expr) -> Option<Expr> {
    let Expr::Value(value) = expr else { return None };
    let Value::Number(text, _) = &value.value else { return None };
    text.contains(['e', 'E']).then(|| cast(Expr::Value(value.clone()), CastKind::Cast))
}

/// `x = ANY (SELECT …)` is `x IN (SELECT …)`, and `x <> ALL (SELECT …)` is `x NOT IN (SELECT …)`.
fn membership(expr: &Expr) -> Option<Expr> {
    let (left, right, negated) = match expr {
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => (left, right, false),
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => (left, right, true),
        _ => return None,
    };
    let Expr::Subquery(subquery) = right.as_ref() else { return None };
    Some(Expr::InSubquery { expr: left.clone(), subquery: subquery.clone(), negated })
}

fn cast(expr: Expr, kind: CastKind) -> Expr {
    Expr::Cast { kind, expr: Box::new(expr), data_type: DataType::DoublePrecision, array: false, format: None }
}

/// The engine passes a lambda that uses fewer parameters the first ones: this makes it use all.
fn use_all(lambda: &mut LambdaFunction) {
    let OneOrManyWithParens::Many(params) = &lambda.params else { return };
    let body = std::mem::replace(lambda.body.as_mut(), Expr::Value(Value::Null.with_empty_span()));
    let names = params.iter().map(|param| Expr::Identifier(param.name.clone()));
    let args = std::iter::once(body).chain(names).collect();
    *lambda.body = function("lambda_body", args);
}

fn function(name: &str, args: Vec<Expr>) -> Expr {
    let mut call = Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::None,
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    };
    set_args(&mut call, args);
    Expr::Function(call)
}

/// `FETCH FIRST n ROWS ONLY`
fn limit_instead_of_fetch(query: &mut Query) {
    let offset = match &query.limit_clause {
        None => None,
        Some(LimitClause::LimitOffset { limit: None, offset, limit_by }) if limit_by.is_empty() => offset.clone(),
        Some(_) => return,
    };
    // Ties and percentages are left to the planner, which refuses them.
    let Some(fetch) = query.fetch.take_if(|fetch| !fetch.with_ties && !fetch.percent) else { return };
    let one = Expr::Value(Value::Number("1".to_owned(), false).with_empty_span());
    let limit = Some(fetch.quantity.unwrap_or(one));
    query.limit_clause = Some(LimitClause::LimitOffset { limit, offset, limit_by: Vec::new() });
}

/// `TIMESTAMP '2021-07-31 10:00 UTC'` and `x AT TIME ZONE 'UTC'` as functions.
fn zoned(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::AtTimeZone { timestamp, time_zone } => {
            Some(function("at_timezone", vec![timestamp.as_ref().clone(), time_zone.as_ref().clone()]))
        }
        Expr::TypedString(literal) if matches!(literal.data_type, DataType::Timestamp(..)) => {
            let Value::SingleQuotedString(text) = &literal.value.value else { return None };
            let (local, zone) = split_zone(text)?;
            let zone = Expr::Value(Value::SingleQuotedString(zone).with_empty_span());
            let mut local_literal = literal.clone();
            local_literal.value.value = Value::SingleQuotedString(local);
            Some(function("with_timezone", vec![Expr::TypedString(local_literal), zone]))
        }
        _ => None,
    }
}

/// `JSON '{"a": 1}'` is JSON, and `DECIMAL '10.00'` has the digits that it is written with.
fn typed(expr: &Expr) -> Option<Expr> {
    let Expr::TypedString(literal) = expr else { return None };
    let Value::SingleQuotedString(text) = &literal.value.value else { return None };
    match literal.data_type {
        DataType::JSON => Some(function("json_parse", vec![Expr::Value(literal.value.clone())])),
        DataType::Decimal(ExactNumberInfo::None) => {
            let mut literal = literal.clone();
            literal.data_type = DataType::Decimal(written_digits(text)?);
            Some(Expr::TypedString(literal))
        }
        _ => None,
    }
}

/// The precision and scale that a decimal is written with.
fn written_digits(text: &str) -> Option<ExactNumberInfo> {
    let (whole, behind) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    let (scale, count) = (i64::try_from(behind.len()).ok()?, (whole.len() + behind.len()) as u64);
    let is_decimal = is_number(whole) && is_number(behind) && (1..=38).contains(&count);
    is_decimal.then_some(ExactNumberInfo::PrecisionAndScale(count, scale))
}

/// The local time and the time zone after it, if there is one.
fn split_zone(text: &str) -> Option<(String, String)> {
    let clock = text.find([' ', 'T'])? + 1;
    let end = text[clock..].find(|letter: char| !letter.is_ascii_digit() && letter != ':' && letter != '.')?;
    let (local, zone) = text.split_at(clock + end);
    Some((local.to_owned(), zone.trim().to_owned()))
}

fn nest_unnests(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            let mut from: Vec<TableWithJoins> = Vec::new();
            for mut table in std::mem::take(&mut select.from) {
                // A comma before UNNEST is a cross join.
                if matches!(table.relation, TableFactor::UNNEST { .. })
                    && let Some(left) = from.last_mut()
                {
                    let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
                    left.joins.push(Join { relation: table.relation, global: false, join_operator });
                    left.joins.append(&mut table.joins);
                } else {
                    from.push(table);
                }
            }
            select.from = from.into_iter().map(nested).collect();
        }
        SetExpr::SetOperation { left, right, .. } => {
            nest_unnests(left);
            nest_unnests(right);
        }
        _ => {}
    }
}

/// Puts everything up to each `UNNEST` in parentheses.
fn nested(table: TableWithJoins) -> TableWithJoins {
    let mut nested = TableWithJoins { relation: table.relation, joins: Vec::new() };
    for join in table.joins {
        nested.joins.push(join);
        if ends_in_unnest(&nested) {
            let relation = TableFactor::NestedJoin { table_with_joins: Box::new(nested), alias: None };
            nested = TableWithJoins { relation, joins: Vec::new() };
        }
    }
    nested
}

fn rewritten(call: &mut Function) -> Option<Expr> {
    let name = match call.name.0.as_slice() {
        [part] => part.as_ident()?.value.to_lowercase(),
        _ => return None,
    };
    let args = match &mut call.args {
        FunctionArguments::List(list) => list.args.as_mut_slice(),
        FunctionArguments::None => &mut [],
        FunctionArguments::Subquery(_) => return None,
    };
    match (name.as_str(), args) {
        ("if", [condition, value, rest @ ..]) if rest.len() < 2 => {
            let otherwise = rest.first().map(|arg| plain(arg).cloned());
            let (condition, result) = (plain(condition)?.clone(), plain(value)?.clone());
            Some(Expr::Case {
                case_token: AttachedToken::empty(),
                end_token: AttachedToken::empty(),
                operand: None,
                conditions: vec![CaseWhen { condition, result }],
                else_result: otherwise.flatten().map(Box::new),
            })
        }
        ("try", [body]) => {
            if let Some(Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, array, format }) =
                plain(body)
            {
                // A cast of a constant would fail during planning.
                let (expr, data_type) = (expr.clone(), data_type.clone());
                return Some(Expr::Cast {
                    kind: CastKind::TryCast,
                    expr,
                    data_type,
                    array: *array,
                    format: format.clone(),
                });
            }
            let body = Box::new(plain(body)?.clone());
            let name = Ident::new("try_row");
            let params = OneOrManyWithParens::One(LambdaFunctionParameter { name, data_type: None });
            let lambda = Expr::Lambda(LambdaFunction { params, body, syntax: LambdaSyntax::Arrow });
            let zero = Expr::Value(Value::Number("0".to_owned(), false).with_empty_span());
            set_args(call, vec![zero, lambda]);
            None
        }
        ("array_sort", [_, order]) if matches!(plain(order), Some(Expr::Lambda(_))) => {
            call.name = ObjectName::from(vec![Ident::new("array_sort_by")]);
            None
        }
        ("map", []) => {
            call.name = ObjectName::from(vec![Ident::new("empty_map")]);
            None
        }
        ("normalize", [_, form]) => {
            if let Some(Expr::Identifier(word)) = plain(form) {
                let text = Value::SingleQuotedString(word.value.clone()).with_empty_span();
                *form = FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(text)));
            }
            None
        }
        ("localtimestamp", []) => Some(function("to_local_time", vec![function("now", Vec::new())])),
        _ => None,
    }
}

fn plain(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

fn set_args(call: &mut Function, args: Vec<Expr>) {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    call.args = FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() });
}
