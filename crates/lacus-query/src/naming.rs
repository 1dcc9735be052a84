//! The names of an answer's columns.
//!
//! A column without an alias is named after its expression: `actor.login` is `login`, unless another column has that name;
//! `sum(additional_data.price)` is just that. Columns that were given one name all keep it. The engine's own names
//! (`events.actor[login]`) stay inside. Only the outermost `SELECT` counts, and only the answer is renamed: the plan keeps its
//! names. For inner queries see [`crate::rewrite::name_inner_columns`].

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, SelectItem, SetExpr, Statement as Ast, Value};

use crate::dialect::Dialect;
use crate::identifiers::folded;

/// The longest name that is made of an expression, in characters.
const NAME_LETTERS_MAX: usize = 60;

/// The names of an answer's columns, as far as the statement tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct ColumnNames {
    /// Those of the first columns; none keeps the engine's name.
    first: Vec<Option<Name>>,
    /// Those of the last columns, if there is a `*` in between.
    last: Vec<Option<Name>>,
}

#[derive(Debug, Clone)]
enum Name {
    Own {
        short: String,
        long: String,
    },
    /// `_col2`: named by its place, as in Athena.
    Place,
    /// This is the engine's name too, unless the column was renamed: see [`crate::rewrite::tell_columns_apart`].
    Word(String),
}

impl ColumnNames {
    pub(crate) fn of(statement: &Parsed, dialect: Dialect) -> Self {
        let Parsed::Statement(ast) = statement else { return Self::default() };
        let query = match ast.as_ref() {
            Ast::Query(query) => query,
            Ast::CreateTable(create) if create.query.is_some() => create.query.as_ref().expect("it was just seen"),
            _ => return Self::default(),
        };
        let mut body = query.body.as_ref();
        let select = loop {
            match body {
                SetExpr::Select(select) => break select,
                SetExpr::Query(query) => body = query.body.as_ref(),
                SetExpr::SetOperation { left, .. } => body = left.as_ref(),
                _ => return Self::default(),
            }
        };
        let mut groups =
            select.projection.split(is_wildcard).map(|items| items.iter().map(|item| name(item, dialect)).collect());
        let first = groups.next().unwrap_or_default();
        let last = groups.next().unwrap_or_default();
        // With two wildcards it is not known which column is which.
        if groups.next().is_some() { Self::default() } else { Self { first, last } }
    }

    /// The schema with these names.
    pub(crate) fn apply(&self, schema: &SchemaRef) -> SchemaRef {
        let count = schema.fields().len();
        if self.first.len() + self.last.len() > count {
            return Arc::clone(schema);
        }
        let mut names: Vec<Option<&Name>> = vec![None; count];
        for (slot, name) in names.iter_mut().zip(&self.first) {
            *slot = name.as_ref();
        }
        for (slot, name) in names.iter_mut().rev().zip(self.last.iter().rev()) {
            *slot = name.as_ref();
        }
        let shorts: Vec<Option<String>> = schema
            .fields()
            .iter()
            .zip(&names)
            .enumerate()
            .map(|(place, (field, name))| name.as_ref()?.short(place, field.name()))
            .collect();
        let mut uses: HashMap<&str, usize> = HashMap::new();
        for (field, short) in schema.fields().iter().zip(&shorts) {
            *uses.entry(short.as_ref().unwrap_or(field.name())).or_default() += 1;
        }
        let fields = schema.fields().iter().zip(names).zip(&shorts).map(|((field, name), short)| match (name, short) {
            (Some(Name::Word(_)), Some(word)) => renamed(field, word),
            (Some(_), Some(short)) if uses[short.as_str()] == 1 => renamed(field, short),
            (Some(Name::Own { long, .. }), _) => renamed(field, long),
            (Some(Name::Place), Some(short)) => renamed(field, short),
            _ => field.as_ref().clone(),
        });
        Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
    }
}

impl Name {
    /// The name of the column if no other has the same; none keeps the name that it has.
    fn short(&self, place: usize, name: &str) -> Option<String> {
        match self {
            Self::Own { short, .. } => Some(short.clone()),
            Self::Place => Some(format!("_col{place}")),
            Self::Word(word) => without_place(name, word).map(str::to_owned),
        }
    }
}

/// The original name of a renamed column: `a` for `a#2`.
fn without_place<'a>(name: &'a str, word: &str) -> Option<&'a str> {
    let (own, place) = name.rsplit_once('#')?;
    let is_place = !place.is_empty() && place.bytes().all(|digit| digit.is_ascii_digit());
    (is_place && own.eq_ignore_ascii_case(word)).then_some(own)
}

fn renamed(field: &Field, name: &str) -> Field {
    field.clone().with_name(name)
}

pub(crate) fn is_wildcard(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

fn name(item: &SelectItem, dialect: Dialect) -> Option<Name> {
    let expr = match item {
        SelectItem::UnnamedExpr(Expr::Identifier(word)) | SelectItem::ExprWithAlias { alias: word, .. } => {
            return Some(Name::Word(folded(word)));
        }
        SelectItem::UnnamedExpr(expr) => expr,
        _ => return None,
    };
    let long = match expr {
        Expr::CompoundIdentifier(words) => words.iter().map(folded).collect::<Vec<_>>().join("."),
        other => other.to_string(),
    };
    let short = match last_field(expr) {
        Some(field) => field,
        None if dialect == Dialect::Athena => return Some(Name::Place),
        None => long.clone(),
    };
    Some(Name::Own { short: shortened(&short), long: shortened(&long) })
}

/// `login` for `actor.login`, `actor['login']` and `commits[1].author.login`.
pub(crate) fn last_field(expr: &Expr) -> Option<String> {
    match expr {
        Expr::CompoundIdentifier(words) => words.last().map(folded),
        Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last()? {
            AccessExpr::Dot(Expr::Identifier(word)) => Some(folded(word)),
            AccessExpr::Dot(Expr::Value(value)) => match &value.value {
                Value::SingleQuotedString(text) => Some(text.clone()),
                _ => None,
            },
            AccessExpr::Subscript(subscript) => {
                let text = subscript.to_string();
                text.strip_prefix('\'')?.strip_suffix('\'').map(str::to_owned)
            }
            AccessExpr::Dot(_) => None,
        },
        _ => None,
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= NAME_LETTERS_MAX {
        return text.to_owned();
    }
    text.chars().take(NAME_LETTERS_MAX - 1).chain(['…']).collect()
}
