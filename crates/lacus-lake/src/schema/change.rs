//! Changes of a table's columns that a person asks for: by field id, so that files stay as they are.
//!
//! A column keeps its id whatever it is called and wherever it stands; a name that is dropped and added again is another
//! column. Types become wider only where Iceberg says that old files can be read so (specification, "Schema Evolution"):
//! `int` to `long`, `float` to `double`, decimals to more digits. A renamed column keeps the name it had for senders.

use lacus_core::{Error, Result};

use super::{Column, ColumnType, TableSchema, is_system_name};

/// One change. A path names a column, a field of a struct after it, `element` in a list, `value` in a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaChange {
    /// A new column, or a new field of a struct; last in order.
    Add {
        /// The struct's path and the new name.
        path: Vec<String>,
        /// Its type. Ids in it are given anew.
        kind: ColumnType,
    },
    /// A new column for what senders call otherwise: it has the values of that name that its neighbour of the name, if
    /// there is one, can't hold.
    AddFor {
        /// The struct's path and the new name.
        path: Vec<String>,
        /// Its type. Ids in it are given anew.
        kind: ColumnType,
        /// What senders call it.
        sent_as: String,
    },
    /// Another name for a column.
    Rename {
        /// What it is called now.
        path: Vec<String>,
        /// What it is called then.
        to: String,
    },
    /// No such column any more. Its values stay in the files until they are rewritten, and nothing shows them.
    Drop {
        /// The column.
        path: Vec<String>,
    },
    /// A wider type.
    Widen {
        /// The column.
        path: Vec<String>,
        /// Its new type.
        kind: ColumnType,
    },
    /// Another place among its neighbours.
    Move {
        /// The column.
        path: Vec<String>,
        /// The neighbour that it comes after; none: it comes first.
        after: Option<String>,
    },
}

impl TableSchema {
    /// The schema after some changes, one after the other.
    ///
    /// # Errors
    /// `Invalid` for a change that can't be; `NotFound` for a column that is not there.
    pub fn changed(&self, changes: &[SchemaChange]) -> Result<Self> {
        let mut schema = self.clone();
        changes.iter().try_for_each(|change| schema.change(change))?;
        Ok(schema)
    }

    fn change(&mut self, change: &SchemaChange) -> Result<()> {
        match change {
            SchemaChange::Add { path, kind } => self.add(path, kind),
            SchemaChange::AddFor { path, kind, sent_as } => {
                self.add(path, kind)?;
                self.at(path)?.aliases.push(sent_as.clone());
                Ok(())
            }
            SchemaChange::Rename { path, to } => self.rename(path, to),
            SchemaChange::Drop { path } => {
                let (fields, index) = self.find(path)?;
                fields.remove(index);
                Ok(())
            }
            SchemaChange::Widen { path, kind } => self.widen(path, kind),
            SchemaChange::Move { path, after } => self.move_after(path, after.as_deref()),
        }
    }

    fn add(&mut self, path: &[String], kind: &ColumnType) -> Result<()> {
        let (name, parent) = split(path)?;
        let mut column = Column::new(0, name, kind.clone());
        let mut last_id = self.last_id;
        number(&mut column, &mut last_id);
        let is_top = parent.is_empty();
        let fields = self.fields(parent)?;
        must_be_free(fields, name, is_top, None)?;
        // Whoever adds a column of a name wants the values that senders give this name.
        fields.iter_mut().for_each(|field| field.forget_alias(name));
        fields.push(column);
        self.last_id = last_id;
        Ok(())
    }

    fn rename(&mut self, path: &[String], to: &str) -> Result<()> {
        let (fields, index) = self.find(path)?;
        must_be_free(fields, to, path.len() == 1, Some(index))?;
        fields.iter_mut().for_each(|field| field.forget_alias(to));
        let column = &mut fields[index];
        let before = std::mem::replace(&mut column.name, to.to_owned());
        if before != to && !column.aliases.contains(&before) {
            column.aliases.push(before);
        }
        Ok(())
    }

    fn widen(&mut self, path: &[String], kind: &ColumnType) -> Result<()> {
        let shown = path.join(".");
        let column = self.at(path)?;
        if !is_wider(&column.kind, kind) {
            return Err(Error::invalid(format!(
                "column \"{shown}\" is {} and can't become {}",
                column.kind.sql(),
                kind.sql()
            ))
            .with_hint(
                "files stay as they are, so integer becomes bigint, real becomes double precision, numeric gets more digits; for another type add a new column",
            ));
        }
        column.kind = kind.clone();
        column.committed = true;
        Ok(())
    }

    fn move_after(&mut self, path: &[String], after: Option<&str>) -> Result<()> {
        let (fields, index) = self.find(path)?;
        let column = fields.remove(index);
        let place = match after {
            None => Ok(0),
            Some(name) => place_of(fields, name).map(|place| place + 1),
        };
        // The rest of the schema is dropped with an error, so the column may be gone from it.
        fields.insert(place?, column);
        Ok(())
    }

    /// The column at a path, which may be an element or a value.
    fn at(&mut self, path: &[String]) -> Result<&mut Column> {
        let (name, parents) = split(path)?;
        let children = self.children(parents)?;
        children.into_iter().find(|column| column.name == name).ok_or_else(|| no_column(path))
    }

    /// The fields that a column or field is one of, and its place.
    fn find(&mut self, path: &[String]) -> Result<(&mut Vec<Column>, usize)> {
        let (name, parents) = split(path)?;
        let fields = self.fields(parents)?;
        let index = fields.iter().position(|field| field.name == name).ok_or_else(|| no_column(path))?;
        Ok((fields, index))
    }

    /// The columns of the table, or the fields of the struct at `path`.
    fn fields(&mut self, path: &[String]) -> Result<&mut Vec<Column>> {
        if path.is_empty() {
            return Ok(&mut self.columns);
        }
        match &mut self.at(path)?.kind {
            ColumnType::Struct(fields) => Ok(fields),
            other => Err(Error::invalid(format!("column \"{}\" is {} and has no fields", path.join("."), other.sql()))),
        }
    }

    fn children(&mut self, path: &[String]) -> Result<Vec<&mut Column>> {
        let mut children: Vec<&mut Column> = self.columns.iter_mut().collect();
        for (depth, name) in path.iter().enumerate() {
            let parent = children.into_iter().find(|column| column.name == *name);
            children = parent.ok_or_else(|| no_column(&path[..=depth]))?.kind.children_mut();
        }
        Ok(children)
    }
}

impl Column {
    /// Whether senders mean it by this name: its own, or another one that they have for it.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }

    fn forget_alias(&mut self, name: &str) {
        self.aliases.retain(|alias| alias.to_lowercase() != name.to_lowercase());
    }
}

fn split(path: &[String]) -> Result<(&str, &[String])> {
    let (name, parents) = path.split_last().ok_or_else(|| Error::invalid("a column has a name"))?;
    Ok((name, parents))
}

fn no_column(path: &[String]) -> Error {
    let name = path.join(".");
    if path.len() == 1 && is_system_name(&name) {
        return Error::invalid(format!("column \"{name}\" is lacus's own and stays as it is"));
    }
    Error::not_found(format!("there is no column \"{name}\"")).with_hint("lacus schema show <table> lists the columns")
}

fn place_of(fields: &[Column], name: &str) -> Result<usize> {
    fields.iter().position(|field| field.name == name).ok_or_else(|| no_column(&[name.to_owned()]))
}

/// Names that differ only by case are one name, in SQL and for the decoder.
fn must_be_free(fields: &[Column], name: &str, is_top: bool, but: Option<usize>) -> Result<()> {
    if name.is_empty() || name.contains('.') || name.len() > 255 || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("\"{name}\" is no name for a column"))
            .with_hint("a name has 1 to 255 bytes, without control characters and without \".\""));
    }
    if is_top && is_system_name(name) {
        return Err(Error::invalid(format!("the name \"{name}\" is lacus's own")));
    }
    let lower = name.to_lowercase();
    let taken =
        fields.iter().enumerate().find(|(place, field)| Some(*place) != but && field.name.to_lowercase() == lower);
    match taken {
        Some((_, field)) => {
            Err(Error::new(lacus_core::Kind::Conflict, format!("there is a column \"{}\" already", field.name)))
        }
        None => Ok(()),
    }
}

/// Gives a column, and all columns in it, the next ids.
fn number(column: &mut Column, last_id: &mut i32) {
    *last_id += 1;
    column.id = *last_id;
    column.committed = true;
    column.kind.children_mut().into_iter().for_each(|child| number(child, last_id));
}

/// What Iceberg allows a type to become.
fn is_wider(from: &ColumnType, to: &ColumnType) -> bool {
    match (from, to) {
        (ColumnType::Int, ColumnType::Long) | (ColumnType::Float, ColumnType::Double) => true,
        (ColumnType::Decimal { precision: from, scale }, ColumnType::Decimal { precision: to, scale: same }) => {
            scale == same && from < to
        }
        _ => false,
    }
}

impl ColumnType {
    /// The type as SQL calls it: `bigint`, `struct<price double precision>`.
    #[must_use]
    pub fn sql(&self) -> String {
        match self {
            Self::Boolean => "boolean".to_owned(),
            Self::Int => "integer".to_owned(),
            Self::Long => "bigint".to_owned(),
            Self::Float => "real".to_owned(),
            Self::Double => "double precision".to_owned(),
            Self::Decimal { precision, scale } => format!("numeric({precision},{scale})"),
            Self::Date => "date".to_owned(),
            Self::Time => "time".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            Self::Timestamptz => "timestamptz".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Uuid => "uuid".to_owned(),
            Self::Fixed(_) | Self::Binary => "bytea".to_owned(),
            Self::Struct(fields) => {
                let fields: Vec<_> =
                    fields.iter().map(|field| format!("{} {}", field.name, field.kind.sql())).collect();
                format!("struct<{}>", fields.join(", "))
            }
            Self::List(element) => format!("{}[]", element.kind.sql()),
            Self::Map(entry) => format!("map<{}, {}>", entry.0.kind.sql(), entry.1.kind.sql()),
        }
    }
}

#[cfg(test)]
mod tests;
