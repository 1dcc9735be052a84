//! The questions in `DELETE`, `UPDATE` and `MERGE`: which rows go, and which come in their stead.
//!
//! A row that changes goes, and comes as it is then. Each question answers with the place of the row that goes
//! ([`FILE`](crate::numbered::FILE), [`ROW`](crate::numbered::ROW); null if none does), `MERGE` with what is to be done, and then with all
//! columns of the row that comes. Expressions are those of the statement, with their positions in the text.

use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, CaseWhen, Delete, Expr, FromTable, Ident, Join, JoinConstraint,
    JoinOperator, Merge, MergeAction, MergeClause, MergeClauseKind, MergeInsertKind, ObjectName, Query, Select,
    SelectItem, SetExpr, Statement as Ast, TableAlias, TableFactor, TableWithJoins, Update, UpdateTableFromKind, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use lacus_core::TableName;
use lacus_lake::schema::{OFFSET, PARTITION, RECEIVED_AT, RESCUED};

use crate::error::SqlError;
use crate::numbered::{FILE, NUMBERED, ROW};
use crate::rewrite::keep_digits;
use crate::stated_name::StatedName;

/// The column in the question of a `MERGE` that says what to do with the row: see [`Doing`].
const DOING: &str = "_lacus_doing";
/// A column of a `MERGE`'s source that is null where no row of it matches.
const SOURCE: &str = "_lacus_source";

/// What a `MERGE` does with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Nothing = 0,
    Update = 1,
    Delete = 2,
    Insert = 3,
}

/// What has to be known of a table to make the question.
pub(super) struct Columns<'a> {
    pub(super) table: &'a TableName,
    /// What the statement calls it.
    pub(super) called: String,
    /// All columns, in order.
    pub(super) names: Vec<&'a str>,
    /// What is in them.
    pub(super) kinds: Vec<&'a DataType>,
    /// Whether a stream delivers to it: its system columns say which event a row is from, and are kept.
    pub(super) is_delivered: bool,
}

/// The table that a statement changes, as the statement has it.
pub(super) fn target(statement: &Ast) -> Result<&TableFactor, SqlError> {
    let only = |tables: &'static str| SqlError::invalid("0A000", format!("{tables} changes one table"));
    match statement {
        Ast::Delete(delete) => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            match from.as_slice() {
                [one] if one.joins.is_empty() && delete.tables.is_empty() => Ok(&one.relation),
                _ => Err(only("DELETE").with_hint("join with USING: DELETE FROM t USING other WHERE t.id = other.id")),
            }
        }
        Ast::Update(update) if update.table.joins.is_empty() => Ok(&update.table.relation),
        Ast::Update(_) => Err(only("UPDATE").with_hint("join with FROM: UPDATE t SET a = other.a FROM other WHERE …")),
        Ast::Merge(merge) => Ok(&merge.table),
        other => Err(SqlError::invalid("0A000", format!("{other} changes no rows"))),
    }
}

/// The name of the table.
pub(super) fn target_name(statement: &Ast) -> Result<StatedName, SqlError> {
    match target(statement)? {
        TableFactor::Table { name, .. } => StatedName::of(name),
        other => Err(SqlError::invalid("42809", format!("\"{other}\" is no table"))),
    }
}

/// The question of a statement. If it `returns`, a `DELETE` asks for the columns of the removed rows, too, after their
/// places.
///
/// # Errors
/// For what lacus does not do, and for columns that are not there.
pub(super) fn question(statement: Ast, columns: &Columns<'_>, returns: bool) -> Result<Ast, SqlError> {
    let (target, alias) = numbered(target(&statement)?.clone(), columns.table);
    let (names, kinds) = (columns.names.clone(), columns.kinds.clone());
    let columns = &Columns { called: alias.value.clone(), names, kinds, ..*columns };
    let select = match statement {
        Ast::Delete(delete) => {
            let returned = if returns { columns.names.as_slice() } else { &[] };
            deleting(delete, target, &alias, returned)?
        }
        Ast::Update(update) => updating(update, target, &alias, columns)?,
        Ast::Merge(merge) => merging(merge, target, &alias, columns)?,
        other => return Err(SqlError::invalid("0A000", format!("{other} changes no rows"))),
    };
    Ok(Ast::Query(Box::new(select)))
}

/// The question for the places of all rows.
pub(super) fn places_of_all(columns: &Columns<'_>) -> Result<Ast, SqlError> {
    let parsed =
        Parser::new(&GenericDialect).try_with_sql("DELETE FROM t").and_then(|mut parser| parser.parse_statement());
    question(parsed.expect("this is a statement"), columns, false)
}

/// The table with places, and the name that qualifies its columns.
fn numbered(mut factor: TableFactor, table: &TableName) -> (TableFactor, Ident) {
    let mut called = quoted(table.table());
    if let TableFactor::Table { name, alias, .. } = &mut factor {
        let numbered = format!("{}{NUMBERED}", table.table());
        *name = ObjectName::from(vec![quoted(table.database()), quoted(&numbered)]);
        let alias = alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: called.clone(),
            columns: Vec::new(),
            at: None,
        });
        called = alias.name.clone();
    }
    (factor, called)
}

fn deleting(delete: Delete, target: TableFactor, alias: &Ident, returned: &[&str]) -> Result<Query, SqlError> {
    let odd = delete.limit.is_some() || !delete.order_by.is_empty() || delete.output.is_some();
    refuse(odd, "DELETE", "LIMIT, ORDER BY or OUTPUT")?;
    let from = std::iter::once(alone(target)).chain(delete.using.into_iter().flatten());
    let mut items = places(alias);
    items.extend(returned.iter().map(|name| named(column(alias, name), name)));
    Ok(select(items, from.collect(), delete.selection))
}

fn updating(update: Update, target: TableFactor, alias: &Ident, columns: &Columns<'_>) -> Result<Query, SqlError> {
    let odd = update.limit.is_some() || !update.order_by.is_empty() || update.output.is_some() || update.or.is_some();
    refuse(odd, "UPDATE", "LIMIT, ORDER BY, OUTPUT or OR")?;
    let assigned = assigned(update.assignments, columns)?;
    let mut items = places(alias);
    for (name, expr) in columns.names.iter().zip(assigned) {
        items.push(named(expr.unwrap_or_else(|| column(alias, name)), name));
    }
    let others = match update.from {
        None => Vec::new(),
        Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) => from,
    };
    let from = std::iter::once(alone(target)).chain(others);
    Ok(select(items, from.collect(), update.selection))
}

fn merging(merge: Merge, target: TableFactor, alias: &Ident, columns: &Columns<'_>) -> Result<Query, SqlError> {
    refuse(merge.output.is_some(), "MERGE", "OUTPUT or RETURNING")?;
    let has = |kinds: &[MergeClauseKind]| merge.clauses.iter().any(|clause| kinds.contains(&clause.clause_kind));
    let keeps_source = has(&[MergeClauseKind::NotMatched, MergeClauseKind::NotMatchedByTarget]);
    let keeps_target = has(&[MergeClauseKind::NotMatchedBySource]);
    let on = JoinConstraint::On(*merge.on);
    let (source, called) = marked(merge.source)?;
    let join_operator = match (keeps_target, keeps_source) {
        (false, false) => JoinOperator::Inner(on),
        (false, true) => JoinOperator::Right(on),
        (true, false) => JoinOperator::Left(on),
        (true, true) => JoinOperator::FullOuter(on),
    };
    let join = Join { relation: source, global: false, join_operator };
    let mut cases = Vec::new();
    for clause in merge.clauses {
        cases.push(Case::of(clause, alias, &called, columns)?);
    }
    let mut items = places(alias);
    let doing = |case: &Case| number(case.doing as i64);
    items.push(named(choice(&cases, doing, number(Doing::Nothing as i64)), DOING));
    for (index, name) in columns.names.iter().enumerate() {
        let value = |case: &Case| case.values.get(index).cloned().unwrap_or_else(null);
        items.push(named(choice(&cases, value, null()), name));
    }
    Ok(select(items, vec![TableWithJoins { relation: target, joins: vec![join] }], None))
}

/// One `WHEN … THEN …`.
struct Case {
    condition: Expr,
    doing: Doing,
    /// The values of all columns of the new row; none if the row is only removed.
    values: Vec<Expr>,
}

impl Case {
    fn of(clause: MergeClause, alias: &Ident, source: &Ident, columns: &Columns<'_>) -> Result<Self, SqlError> {
        let is_there = |is: bool, of: &Ident, name: &str| {
            let column = Box::new(column(of, name));
            if is { Expr::IsNotNull(column) } else { Expr::IsNull(column) }
        };
        let mut condition = match clause.clause_kind {
            MergeClauseKind::Matched => and(is_there(true, alias, FILE), is_there(true, source, SOURCE)),
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => is_there(false, alias, FILE),
            MergeClauseKind::NotMatchedBySource => is_there(false, source, SOURCE),
        };
        if let Some(predicate) = clause.predicate {
            condition = and(condition, Expr::Nested(Box::new(predicate)));
        }
        let inserts = matches!(clause.clause_kind, MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget);
        let (doing, values) = match clause.action {
            MergeAction::Delete { .. } if !inserts => (Doing::Delete, Vec::new()),
            MergeAction::Update(update) if !inserts => {
                let assigned = assigned(update.assignments, columns)?.into_iter().zip(&columns.names);
                let values = assigned.map(|(expr, name)| expr.unwrap_or_else(|| column(alias, name)));
                (Doing::Update, values.collect())
            }
            MergeAction::Insert(insert) if inserts => {
                let MergeInsertKind::Values(mut values) = insert.kind else {
                    return Err(
                        SqlError::invalid("0A000", "INSERT ROW is not supported").with_hint("INSERT (a) VALUES (s.a)")
                    );
                };
                let row = if values.rows.len() == 1 { values.rows.remove(0).content } else { Vec::new() };
                (Doing::Insert, inserted(&insert.columns, row, columns)?)
            }
            _ => {
                let message = format!("WHEN {} can't do this", clause.clause_kind);
                return Err(SqlError::invalid("42601", message)
                    .with_hint("WHEN MATCHED updates or deletes, WHEN NOT MATCHED inserts"));
            }
        };
        Ok(Self { condition, doing, values })
    }
}

/// `CASE WHEN … THEN … ELSE … END` over all clauses: the first that is true decides.
fn choice(cases: &[Case], value: impl Fn(&Case) -> Expr, otherwise: Expr) -> Expr {
    let conditions =
        cases.iter().map(|case| CaseWhen { condition: case.condition.clone(), result: value(case) }).collect();
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: Some(Box::new(otherwise)),
    }
}

/// The source with a column that is null where no row of it matches, and the name that qualifies its columns.
fn marked(source: TableFactor) -> Result<(TableFactor, Ident), SqlError> {
    let called = match &source {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            alias.name.clone()
        }
        TableFactor::Table { name, alias: None, .. } => match name.0.last().and_then(|part| part.as_ident()) {
            Some(name) => name.clone(),
            None => return Err(SqlError::invalid("42601", format!("\"{name}\" is no table"))),
        },
        _ => {
            return Err(
                SqlError::invalid("42601", "the source of a MERGE needs a name").with_hint("USING (SELECT …) AS s")
            );
        }
    };
    let all = SelectItem::Wildcard(Default::default());
    let inner = select(vec![all, named(number(1), SOURCE)], vec![alone(source)], None);
    let alias = TableAlias { explicit: true, name: called.clone(), columns: Vec::new(), at: None };
    let derived = TableFactor::Derived { lateral: false, subquery: Box::new(inner), alias: Some(alias), sample: None };
    Ok((derived, called))
}

/// The new values of all columns, in order.
fn assigned(assignments: Vec<Assignment>, columns: &Columns<'_>) -> Result<Vec<Option<Expr>>, SqlError> {
    let mut values: Vec<Option<Expr>> = vec![None; columns.names.len()];
    for Assignment { target, value } in assignments {
        let AssignmentTarget::ColumnName(name) = &target else {
            return Err(
                SqlError::invalid("0A000", format!("SET {target} is not supported")).with_hint("SET a = 1, b = 2")
            );
        };
        let index = columns.place(name)?;
        if values[index].replace(columns.value(index, value)).is_some() {
            return Err(SqlError::invalid("42701", format!("column \"{}\" is set twice", columns.names[index])));
        }
    }
    Ok(values)
}

/// The values of all columns of an inserted row.
fn inserted(names: &[ObjectName], values: Vec<Expr>, columns: &Columns<'_>) -> Result<Vec<Expr>, SqlError> {
    let places: Vec<usize> = if names.is_empty() {
        columns.default_places()
    } else {
        names.iter().map(|name| columns.place(name)).collect::<Result<_, _>>()?
    };
    if places.len() != values.len() {
        return Err(SqlError::invalid("42601", format!("{} columns are given {} values", places.len(), values.len())));
    }
    let mut row = vec![null(); columns.names.len()];
    for (place, value) in places.into_iter().zip(values) {
        row[place] = columns.value(place, value);
    }
    Ok(row)
}

impl Columns<'_> {
    /// The place of a column that a statement sets.
    pub(super) fn place(&self, name: &ObjectName) -> Result<usize, SqlError> {
        let missing =
            || SqlError::invalid("42703", format!("column \"{name}\" of table \"{}\" does not exist", self.table));
        let words: Vec<&Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
        let word = match words.as_slice() {
            [word] => *word,
            [of, word] if of.value.eq_ignore_ascii_case(&self.called) => *word,
            // A field can't be set: the rest of the column's value would be lost.
            [_, .., _] => {
                return Err(SqlError::invalid("0A000", format!("\"{name}\" is no column, and can't be set by itself"))
                    .with_hint("set the whole column"));
            }
            [] => return Err(missing()),
        };
        let exact = self.names.iter().position(|name| *name == word.value);
        let any = || self.names.iter().position(|name| name.eq_ignore_ascii_case(&word.value));
        let unquoted = word.quote_style.is_none();
        let place = exact.or_else(|| if unquoted { any() } else { None }).ok_or_else(|| {
            let columns = self.names.join(", ");
            missing().with_hint(format!("columns of the table: {columns}"))
        })?;
        if self.is_kept(place) {
            let message = format!("column \"{}\" of table \"{}\" can't be set", self.names[place], self.table);
            return Err(SqlError::invalid("428C9", message)
                .with_hint("a stream delivers to the table: the column says which event a row is of"));
        }
        Ok(place)
    }

    /// The columns that a row has values for if the statement lists none.
    pub(super) fn default_places(&self) -> Vec<usize> {
        (0..self.names.len()).filter(|place| !self.is_kept(*place)).collect()
    }

    /// The value that a statement gives a column. There are no defaults: `DEFAULT` is null.
    fn value(&self, place: usize, mut value: Expr) -> Expr {
        match &value {
            Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default") => {
                null()
            }
            _ => {
                keep_digits(&mut value, self.kinds[place]);
                value
            }
        }
    }

    fn is_kept(&self, place: usize) -> bool {
        self.is_delivered && [RESCUED, RECEIVED_AT, PARTITION, OFFSET].contains(&self.names[place])
    }
}

fn refuse(is_there: bool, statement: &str, what: &str) -> Result<(), SqlError> {
    if is_there { Err(SqlError::invalid("0A000", format!("{statement} with {what} is not supported"))) } else { Ok(()) }
}

fn places(alias: &Ident) -> Vec<SelectItem> {
    [FILE, ROW].map(|name| named(column(alias, name), name)).to_vec()
}

fn named(expr: Expr, name: &str) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: quoted(name) }
}

fn column(of: &Ident, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![of.clone(), quoted(name)])
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

fn number(number: i64) -> Expr {
    Expr::Value(Value::Number(number.to_string(), false).with_empty_span())
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) }
}

fn alone(relation: TableFactor) -> TableWithJoins {
    TableWithJoins { relation, joins: Vec::new() }
}

/// `SELECT … FROM … WHERE …`.
pub(super) fn select(projection: Vec<SelectItem>, from: Vec<TableWithJoins>, selection: Option<Expr>) -> Query {
    let mut query = empty_query();
    if let SetExpr::Select(select) = query.body.as_mut() {
        **select = Select { projection, from, selection, ..Select::clone(select) };
    }
    query
}

fn empty_query() -> Query {
    let parsed = Parser::new(&GenericDialect).try_with_sql("SELECT 1").and_then(|mut parser| parser.parse_query());
    *parsed.expect("this is a query")
}
