//! `ALTER TABLE`: the changes that a statement asks for, in the words of the lake; or the properties that it sets.
//!
//! A path to a nested column is one quoted name, `"user.address.city"`: no column has a dot in its name. Words without quotes
//! find a column however it is spelled; a new column is named in lowercase then, as in Postgres.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, ArrayElemTypeDef, DataType, ExactNumberInfo, Ident,
    MySQLColumnPosition, SqlOption, TimezoneInfo,
};
use lacus_lake::{Column, ColumnType, SchemaChange, TableSchema};

use crate::error::SqlError;
use crate::identifiers::folded;
use crate::stated_name::StatedName;
use crate::writing::texts;

/// The most digits of a decimal.
const DIGITS_MAX: u8 = 38;

/// What a statement changes.
#[derive(Debug, Clone)]
pub(crate) struct Alteration {
    pub(crate) table: StatedName,
    steps: Vec<Step>,
    /// The properties that it sets; if there are any, it changes nothing else.
    pub(crate) properties: HashMap<String, String>,
}

#[derive(Debug, Clone)]
enum Step {
    Add { column: Ident, kind: ColumnType, position: Option<MySQLColumnPosition>, unless_there: bool },
    Drop { column: Ident, if_there: bool },
    Rename { column: Ident, to: Ident },
    Retype { column: Ident, kind: ColumnType, position: Option<MySQLColumnPosition> },
}

impl Alteration {
    /// Reads a statement.
    ///
    /// # Errors
    /// For what lacus does not do, and for types that it does not have.
    pub(crate) fn of(statement: AlterTable) -> Result<Self, SqlError> {
        let table = StatedName::of(&statement.name)?;
        let (mut steps, mut properties) = (Vec::with_capacity(statement.operations.len()), HashMap::new());
        for operation in statement.operations {
            match operation {
                AlterTableOperation::SetTblProperties { table_properties } => {
                    for option in table_properties {
                        add_property(option, &mut properties)?;
                    }
                }
                operation => add_steps(operation, &mut steps)?,
            }
        }
        if !steps.is_empty() && !properties.is_empty() {
            return Err(SqlError::invalid("0A000", "one ALTER TABLE changes columns or sets properties, not both")
                .with_hint("set properties in a statement of their own"));
        }
        Ok(Self { table, steps, properties })
    }

    /// The changes for a table that has these columns. Names are looked up as they are before the first change.
    pub(crate) fn changes(&self, schema: &TableSchema) -> Vec<SchemaChange> {
        let mut changes = Vec::new();
        for step in &self.steps {
            match step {
                Step::Add { column, unless_there: true, .. } if is_there(schema, column) => {}
                Step::Drop { column, if_there: true } if !is_there(schema, column) => {}
                Step::Add { column, kind, position, .. } => {
                    let path = path(schema, column);
                    changes.push(SchemaChange::Add { path: path.clone(), kind: kind.clone() });
                    changes.extend(position.as_ref().map(|position| moved(schema, path, position)));
                }
                Step::Drop { column, .. } => changes.push(SchemaChange::Drop { path: path(schema, column) }),
                Step::Rename { column, to } => {
                    changes.push(SchemaChange::Rename { path: path(schema, column), to: folded(to) });
                }
                Step::Retype { column, kind, position } => {
                    let path = path(schema, column);
                    // With a position the type is repeated; it need not change.
                    if position.is_none() || find(schema, &path).is_none_or(|found| !is_same(&found.kind, kind)) {
                        changes.push(SchemaChange::Widen { path: path.clone(), kind: kind.clone() });
                    }
                    changes.extend(position.as_ref().map(|position| moved(schema, path, position)));
                }
            }
        }
        changes
    }
}

fn add_property(option: SqlOption, properties: &mut HashMap<String, String>) -> Result<(), SqlError> {
    let SqlOption::KeyValue { key, value } = option else {
        return Err(SqlError::invalid("42601", format!("{option} is no property"))
            .with_hint("ALTER TABLE t SET TBLPROPERTIES ('name' = 'value')"));
    };
    let text = texts(&key.value, &value)?.pop().unwrap_or_default();
    properties.insert(key.value, text);
    Ok(())
}

fn add_steps(operation: AlterTableOperation, steps: &mut Vec<Step>) -> Result<(), SqlError> {
    match operation {
        AlterTableOperation::AddColumn { column_def, column_position, if_not_exists, .. }
            if column_def.options.is_empty() =>
        {
            let kind = column_type(&column_def.data_type)?;
            steps.push(Step::Add {
                column: column_def.name,
                kind,
                position: column_position,
                unless_there: if_not_exists,
            });
        }
        AlterTableOperation::AddColumn { .. } => {
            return Err(SqlError::invalid("0A000", "a column has no default and no constraint")
                .with_hint("ALTER TABLE t ADD COLUMN a bigint"));
        }
        AlterTableOperation::DropColumn { column_names, if_exists, .. } => {
            steps.extend(column_names.into_iter().map(|column| Step::Drop { column, if_there: if_exists }));
        }
        AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
            steps.push(Step::Rename { column: old_column_name, to: new_column_name });
        }
        AlterTableOperation::AlterColumn {
            column_name,
            op: AlterColumnOperation::SetDataType { data_type, using: None, .. },
        } => steps.push(Step::Retype { column: column_name, kind: column_type(&data_type)?, position: None }),
        AlterTableOperation::ModifyColumn { col_name, data_type, options, column_position } if options.is_empty() => {
            let kind = column_type(&data_type)?;
            steps.push(Step::Retype { column: col_name, kind, position: column_position });
        }
        other => {
            return Err(SqlError::invalid("0A000", format!("ALTER TABLE … {other} is not supported")).with_hint(
                "ALTER TABLE adds, drops and renames columns, gives them a wider type, moves them (MODIFY COLUMN a bigint AFTER b), and sets properties",
            ));
        }
    }
    Ok(())
}

/// The path that a name means, with the spelling of columns that are there.
fn path(schema: &TableSchema, name: &Ident) -> Vec<String> {
    let mut columns: Vec<&Column> = schema.columns.iter().collect();
    let mut path = Vec::new();
    let words = if name.quote_style.is_some() { name.value.split('.').collect() } else { vec![name.value.as_str()] };
    for word in words {
        let exact = columns.iter().find(|column| column.name == word);
        let any = || columns.iter().find(|column| column.name.eq_ignore_ascii_case(word));
        let found = exact.or_else(|| if name.quote_style.is_none() { any() } else { None }).copied();
        let unknown = || if name.quote_style.is_some() { word.to_owned() } else { word.to_lowercase() };
        path.push(found.map_or_else(unknown, |column| column.name.clone()));
        columns = found.map(|column| column.kind.children()).unwrap_or_default();
    }
    path
}

fn find<'a>(schema: &'a TableSchema, path: &[String]) -> Option<&'a Column> {
    let mut columns: Vec<&Column> = schema.columns.iter().collect();
    let mut found = None;
    for name in path {
        found = columns.into_iter().find(|column| column.name == *name);
        columns = found?.kind.children();
    }
    found
}

fn is_there(schema: &TableSchema, name: &Ident) -> bool {
    find(schema, &path(schema, name)).is_some()
}

/// Nested columns have ids, which the statement does not know: they are not compared.
fn is_same(one: &ColumnType, other: &ColumnType) -> bool {
    one.sql() == other.sql()
}

fn moved(schema: &TableSchema, path: Vec<String>, position: &MySQLColumnPosition) -> SchemaChange {
    let after = match position {
        MySQLColumnPosition::First => None,
        MySQLColumnPosition::After(name) => self::path(schema, name).pop(),
    };
    SchemaChange::Move { path, after }
}

/// The type of the lake that SQL calls so. Ids inside are given later.
pub(crate) fn column_type(kind: &DataType) -> Result<ColumnType, SqlError> {
    Ok(match kind {
        DataType::Boolean | DataType::Bool => ColumnType::Boolean,
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) | DataType::Int32 => ColumnType::Int,
        DataType::BigInt(_) | DataType::Int8(_) | DataType::Int64 => ColumnType::Long,
        DataType::Real | DataType::Float4 | DataType::Float32 => ColumnType::Float,
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 | DataType::Float64 | DataType::Float(_) => {
            ColumnType::Double
        }
        DataType::Decimal(info) | DataType::Numeric(info) | DataType::Dec(info) => decimal(info)?,
        DataType::Date => ColumnType::Date,
        DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => ColumnType::Time,
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => ColumnType::Timestamp,
        DataType::Timestamp(..) => ColumnType::Timestamptz,
        DataType::Text | DataType::String(_) | DataType::Varchar(_) | DataType::CharacterVarying(_) => ColumnType::Text,
        DataType::Uuid => ColumnType::Uuid,
        DataType::Bytea | DataType::Varbinary(_) | DataType::Binary(_) => ColumnType::Binary,
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::Parenthesis(element),
        ) => ColumnType::List(Box::new(Column::new(0, "element", column_type(element)?))),
        DataType::Map(key, value) => {
            let key = Column { required: true, ..Column::new(0, "key", column_type(key)?) };
            ColumnType::Map(Box::new((key, Column::new(0, "value", column_type(value)?))))
        }
        DataType::Struct(fields, _) if !fields.is_empty() => {
            let mut columns = Vec::with_capacity(fields.len());
            for field in fields {
                let name = field.field_name.as_ref().ok_or_else(|| unknown(kind))?;
                columns.push(Column::new(0, &folded(name), column_type(&field.field_type)?));
            }
            ColumnType::Struct(columns)
        }
        other => return Err(unknown(other)),
    })
}

fn decimal(info: &ExactNumberInfo) -> Result<ColumnType, SqlError> {
    let wrong = || {
        SqlError::invalid("22023", "a decimal has 1 to 38 digits, of which some are after the point")
            .with_hint("say how many: numeric(12,2)")
    };
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Err(wrong()),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let (precision, scale) = u8::try_from(precision).ok().zip(u8::try_from(scale).ok()).ok_or_else(wrong)?;
    if precision == 0 || precision > DIGITS_MAX || scale > precision {
        return Err(wrong());
    }
    Ok(ColumnType::Decimal { precision, scale })
}

fn unknown(kind: &DataType) -> SqlError {
    SqlError::invalid("42704", format!("there is no type {kind}")).with_hint(
        "types: boolean, integer, bigint, real, double precision, numeric(p,s), date, time, timestamp, timestamptz, text, uuid, bytea, bigint[], struct<a bigint>, map(text, bigint)",
    )
}
