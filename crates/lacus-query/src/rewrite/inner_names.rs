//! Names of the columns of queries in `FROM` and `WITH`, as PostgreSQL gives them:
//! `SELECT count FROM (SELECT count(*) FROM t) AS counted`, `SELECT n FROM generate_series(1, 3) AS n`.
//!
//! The engine has names of its own for them. PostgreSQL's are put in only after the engine has missed a column.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    Cte, DataType, Expr, Ident, Query, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TimezoneInfo,
    TrimWhereField, VisitMut, VisitorMut,
};

use crate::ast::ast_mut;
use crate::identifiers::folded;
use crate::naming::last_field;

/// Names the unnamed columns of queries and table functions within a statement; whether there are any.
pub(crate) fn name_inner_columns(statement: &mut Parsed) -> bool {
    let mut naming = Naming { has_named: false };
    if let Some(ast) = ast_mut(statement) {
        // The visitor never breaks off.
        let _done: ControlFlow<()> = ast.visit(&mut naming);
    }
    naming.has_named
}

struct Naming {
    has_named: bool,
}

impl VisitorMut for Naming {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for Cte { alias, query, .. } in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            if alias.columns.is_empty() {
                self.has_named |= name_columns(&mut query.body);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        match table {
            TableFactor::Derived { subquery, alias, .. }
                if alias.as_ref().is_none_or(|alias| alias.columns.is_empty()) =>
            {
                self.has_named |= name_columns(&mut subquery.body);
            }
            // A function with one column: if it has more, the engine reports too few names.
            TableFactor::Table { name, alias, args: Some(_), .. } => {
                let function = name.0.last().and_then(|part| part.as_ident());
                if let Some(called) = alias.as_ref().map(|alias| &alias.name).or(function).cloned() {
                    let alias = alias.get_or_insert_with(|| TableAlias {
                        explicit: true,
                        name: called.clone(),
                        columns: Vec::new(),
                        at: None,
                    });
                    if alias.columns.is_empty() {
                        alias.columns.push(TableAliasColumnDef { name: called, data_type: None });
                        self.has_named = true;
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Gives aliases to the unnamed columns of a query; whether there are any. Two that would have the same name stay unnamed:
/// PostgreSQL finds neither.
fn name_columns(body: &mut SetExpr) -> bool {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::Query(query) => return name_columns(&mut query.body),
        SetExpr::SetOperation { left, .. } => return name_columns(left),
        _ => return false,
    };
    let names: Vec<Option<String>> = select.projection.iter().map(name_of_item).collect();
    let mut has_named = false;
    for (item, name) in select.projection.iter_mut().zip(&names) {
        let is_alone = names.iter().filter(|other| *other == name).count() == 1;
        if let (SelectItem::UnnamedExpr(expr), Some(name)) = (&*item, name)
            && is_alone
            && !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        {
            let alias = Ident::with_quote('"', name);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            has_named = true;
        }
    }
    has_named
}

fn name_of_item(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => name_of(expr).map(Name::text),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    }
}

/// What an expression is called.
enum Name {
    /// So also if it is cast.
    Own(String),
    /// Kept unless it is cast: then the name is that of the type.
    Kind(&'static str),
}

impl Name {
    fn text(self) -> String {
        match self {
            Self::Own(text) => text,
            Self::Kind(text) => text.to_owned(),
        }
    }
}

fn name_of(expr: &Expr) -> Option<Name> {
    let own = |name: &str| Some(Name::Own(name.to_owned()));
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => name_of(inner),
        Expr::Identifier(word) => Some(Name::Own(folded(word))),
        Expr::CompoundIdentifier(_) => last_field(expr).map(Name::Own),
        Expr::CompoundFieldAccess { root, .. } => last_field(expr).map(Name::Own).or_else(|| name_of(root)),
        Expr::Function(call) => call.name.0.last()?.as_ident().map(|word| Name::Own(as_written(folded(word)))),
        Expr::Cast { expr: inner, data_type, .. } => match name_of(inner) {
            Some(Name::Own(name)) => Some(Name::Own(name)),
            _ => kind_of(data_type).map(Name::Kind),
        },
        Expr::TypedString(text) => kind_of(&text.data_type).map(Name::Kind),
        Expr::Interval(_) => Some(Name::Kind("interval")),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(name_of) {
            Some(Name::Own(name)) => Some(Name::Own(name)),
            _ => Some(Name::Kind("case")),
        },
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => select.projection.first().and_then(name_of_item).map(Name::Own),
            _ => None,
        },
        Expr::Exists { .. } => own("exists"),
        Expr::Array(_) => own("array"),
        Expr::Tuple(_) => own("row"),
        Expr::Extract { .. } => own("extract"),
        Expr::Ceil { .. } => own("ceil"),
        Expr::Floor { .. } => own("floor"),
        Expr::Position { .. } => own("position"),
        Expr::Substring { .. } => own("substring"),
        Expr::Overlay { .. } => own("overlay"),
        Expr::AtTimeZone { .. } => own("timezone"),
        Expr::Trim { trim_where, .. } => own(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            Some(TrimWhereField::Both) | None => "btrim",
        }),
        _ => None,
    }
}

/// The original name of a function that was rewritten to another one.
fn as_written(name: String) -> String {
    let written = match name.as_str() {
        "at_time_zone" => "timezone",
        "format_datetime" => "to_char",
        "parse_datetime" => "to_timestamp",
        "array_without" => "array_remove",
        "array_replace_all" => "array_replace",
        "array_of_rows" => "array",
        "array_mode" => "mode",
        "replace_all" => "replace",
        _ => return name,
    };
    written.to_owned()
}

/// PostgreSQL's own name of a type.
fn kind_of(kind: &DataType) -> Option<&'static str> {
    Some(match kind {
        DataType::Boolean | DataType::Bool => "bool",
        DataType::SmallInt(_) => "int2",
        DataType::Int(_) | DataType::Integer(_) => "int4",
        DataType::BigInt(_) => "int8",
        DataType::Real | DataType::Float4 => "float4",
        DataType::DoublePrecision | DataType::Float8 => "float8",
        DataType::Numeric(_) | DataType::Decimal(_) => "numeric",
        DataType::Text => "text",
        DataType::Varchar(_) | DataType::CharacterVarying(_) => "varchar",
        DataType::Char(_) | DataType::Character(_) => "bpchar",
        DataType::Bytea => "bytea",
        DataType::Uuid => "uuid",
        DataType::Date => "date",
        DataType::Time(..) => "time",
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => "timestamp",
        DataType::Timestamp(..) => "timestamptz",
        DataType::Interval { .. } => "interval",
        _ => return None,
    })
}
