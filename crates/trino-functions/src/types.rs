//! Trino's types: their names, how they are written, and the Arrow types behind them.
//!
//! JSON is text whose field says `arrow.json`. `varchar(5)` and `char(5)` are text whose field tells the length, and
//! `timestamp(3)` one of microseconds whose field tells how many digits it has behind the second; only casts look at them.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{CharacterLength, DataType as Ast, TimezoneInfo};

/// The metadata key for the meaning of a field's values.
const EXTENSION: &str = "ARROW:extension:name";
const JSON: &str = "arrow.json";
/// The metadata key for the longest text of a cast's target type.
const LENGTH: &str = "trino.length";
/// The metadata key for the fractional digits of a cast's target timestamps.
const DIGITS: &str = "trino.digits";
/// The digits of microseconds.
const DIGITS_MAX: u64 = 6;
/// The zone of timestamps that have one.
const ZONE: &str = "+00:00";
/// The word that [`crate::syntax`] puts in front of a type it has quoted.
pub(crate) const QUOTED_TYPE: &str = "trino_type";

/// How deep types may be nested.
const DEPTH_MAX: usize = 32;

pub(crate) fn json_field() -> FieldRef {
    Arc::new(json("").with_nullable(true))
}

fn json(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true).with_metadata(HashMap::from([(EXTENSION.to_owned(), JSON.to_owned())]))
}

pub(crate) fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION).is_some_and(|name| name == JSON)
}

/// The length of `varchar(n)`.
pub(crate) fn length(field: &Field) -> Option<usize> {
    field.metadata().get(LENGTH)?.parse().ok()
}

fn text_of(length: u64) -> Field {
    Field::new("", DataType::Utf8, true).with_metadata(HashMap::from([(LENGTH.to_owned(), length.to_string())]))
}

/// The `n` of `timestamp(n)`, if it is less than microseconds.
pub(crate) fn digits(field: &Field) -> Option<u32> {
    field.metadata().get(DIGITS)?.parse().ok()
}

fn timestamp_of(digits: Option<u64>, zone: Option<&str>) -> Field {
    let field = Field::new("", DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into)), true);
    match digits {
        Some(digits) if digits < DIGITS_MAX => {
            field.with_metadata(HashMap::from([(DIGITS.to_owned(), digits.to_string())]))
        }
        _ => field,
    }
}

/// The name of the type of a field: `json`, `array(bigint)`.
pub(crate) fn field_name(field: &Field) -> String {
    if is_json(field) { "json".to_owned() } else { name(field.data_type()) }
}

/// The name of a type.
pub(crate) fn name(kind: &DataType) -> String {
    match kind {
        DataType::Null => "unknown".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => {
            format!("decimal({p},{s})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        DataType::Timestamp(unit, zone) => {
            let zone = if zone.is_some() { " with time zone" } else { "" };
            // Athena's timestamps have milliseconds, whatever the engine uses.
            let digits = if *unit == TimeUnit::Second { 0 } else { 3 };
            format!("timestamp({digits}){zone}")
        }
        DataType::Duration(_) => "interval day to second".to_owned(),
        DataType::Interval(_) => "interval".to_owned(),
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("{} {}", field.name(), field_name(field))).collect();
            format!("row({})", fields.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => format!("map({}, {})", field_name(&fields[0]), field_name(&fields[1])),
            other => format!("map({other})"),
        },
        DataType::Dictionary(_, values) => name(values),
        kind if crate::lists::is_list(kind) => {
            let element = match crate::lists::plain(kind) {
                DataType::List(field) => field_name(&field),
                other => other.to_string(),
            };
            format!("array({element})")
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "varbinary".to_owned()
        }
        other => other.to_string().to_lowercase(),
    }
}

/// The type without metadata of texts inside, which the engine does not keep in constants.
pub(crate) fn bare(kind: &DataType) -> DataType {
    let field = |field: &FieldRef| {
        let kind = bare(field.data_type());
        Arc::new(Field::new(field.name(), kind, field.is_nullable()))
    };
    match kind {
        DataType::List(element) => DataType::List(field(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}

/// `map(key, value)`
pub(crate) fn map_of(key: DataType, value: &FieldRef) -> DataType {
    let key = Field::new("key", key, false);
    let value = value.as_ref().clone().with_name("value").with_nullable(true);
    let entries = DataType::Struct(vec![key, value].into());
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

/// Plans the types that casts name.
#[derive(Debug)]
pub(crate) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, kind: &Ast) -> Result<Option<FieldRef>> {
        Ok(match kind {
            Ast::JSON => Some(json_field()),
            Ast::Varchar(Some(CharacterLength::IntegerLength { length, .. }))
            | Ast::Char(Some(CharacterLength::IntegerLength { length, .. }))
            | Ast::Character(Some(CharacterLength::IntegerLength { length, .. })) => Some(Arc::new(text_of(*length))),
            Ast::Char(None) | Ast::Character(None) => Some(Arc::new(text_of(1))),
            Ast::Timestamp(digits, zone) => {
                let is_zoned = matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz);
                Some(Arc::new(timestamp_of(*digits, is_zoned.then_some(ZONE))))
            }
            // As columns have it: DataFusion's nanoseconds are compared with no column.
            Ast::Time(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                Some(Arc::new(Field::new("", DataType::Time64(TimeUnit::Microsecond), true)))
            }
            Ast::Varbinary(None) => Some(Arc::new(Field::new("", DataType::Binary, true))),
            Ast::Custom(name, modifiers) if name.to_string() == QUOTED_TYPE => match modifiers.as_slice() {
                [text] => Some(Arc::new(parse(text)?)),
                _ => None,
            },
            _ => None,
        })
    }
}

/// Reads a type as Trino or Hive writes it: `array(row(a bigint, b varchar))`, `map<string,int>`.
pub(crate) fn parse(text: &str) -> Result<Field> {
    let mut reader = Reader { rest: text.trim(), depth: 0 };
    match reader.kind() {
        Some(field) if reader.rest.is_empty() => Ok(field),
        _ => plan_err!("\"{text}\" is not a type"),
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn eat(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(token)?.trim_start();
        Some(())
    }

    fn word(&mut self) -> Option<&'a str> {
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let (word, rest) = quoted.split_once('"')?;
            self.rest = rest.trim_start();
            return Some(word);
        }
        let end = self.rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        (!word.is_empty()).then_some(word)
    }

    fn kind(&mut self) -> Option<Field> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let word = self.word()?.to_lowercase();
        let field = match word.as_str() {
            "array" => {
                let element = self.within(|reader| reader.kind())?;
                Field::new("", DataType::List(Arc::new(element.with_name("item"))), true)
            }
            "map" => {
                let (key, value) = self.within(|reader| {
                    let key = reader.kind()?;
                    reader.eat(",")?;
                    Some((key, reader.kind()?))
                })?;
                Field::new("", map_of(key.data_type().clone(), &Arc::new(value)), true)
            }
            "row" | "struct" => {
                let fields = self.within(Self::fields)?;
                Field::new("", DataType::Struct(fields.into()), true)
            }
            simple => self.simple(simple)?,
        };
        self.depth -= 1;
        Some(field)
    }

    fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let close = if self.eat("(").is_some() { ")" } else { self.eat("<").map(|()| ">")? };
        let inner = read(self)?;
        self.eat(close)?;
        Some(inner)
    }

    /// `a bigint, b varchar`, `a:bigint`, or types without names.
    fn fields(&mut self) -> Option<Vec<Field>> {
        let mut fields = Vec::new();
        loop {
            let start = self.rest;
            let named = self.word().and_then(|name| {
                // A colon is Hive's.
                let _colon = self.eat(":");
                Some(self.kind()?.with_name(name.to_lowercase()))
            });
            fields.push(match named {
                Some(field) => field,
                None => {
                    self.rest = start;
                    let name = format!("field{}", fields.len());
                    self.kind()?.with_name(name)
                }
            });
            if self.eat(",").is_none() {
                return Some(fields);
            }
        }
    }

    fn numbers(&mut self) -> Option<Vec<u64>> {
        if self.eat("(").is_none() {
            return Some(Vec::new());
        }
        let mut numbers = vec![self.word()?.parse().ok()?];
        while self.eat(",").is_some() {
            numbers.push(self.word()?.parse().ok()?);
        }
        self.eat(")")?;
        Some(numbers)
    }

    fn simple(&mut self, word: &str) -> Option<Field> {
        let kind = match word {
            "boolean" => DataType::Boolean,
            "tinyint" => DataType::Int8,
            "smallint" => DataType::Int16,
            "integer" | "int" => DataType::Int32,
            "bigint" => DataType::Int64,
            "real" | "float" => DataType::Float32,
            "double" => {
                if self.rest.to_lowercase().starts_with("precision") {
                    self.word()?;
                }
                DataType::Float64
            }
            "date" => DataType::Date32,
            "varbinary" | "binary" => DataType::Binary,
            "string" => DataType::Utf8,
            "json" => return Some(json("")),
            "varchar" | "char" => match self.numbers()?.as_slice() {
                [] => DataType::Utf8,
                [length] => return Some(text_of(*length)),
                _ => return None,
            },
            "decimal" | "numeric" => match self.numbers()?.as_slice() {
                [] => DataType::Decimal128(38, 0),
                [precision @ 1..=38] => DataType::Decimal128(*precision as u8, 0),
                [precision @ 1..=38, scale] if scale <= precision => {
                    DataType::Decimal128(*precision as u8, *scale as i8)
                }
                _ => return None,
            },
            "timestamp" => {
                let digits = match self.numbers()?.as_slice() {
                    [] => None,
                    [digits] => Some(*digits),
                    _ => return None,
                };
                let rest = self.rest.to_lowercase();
                let zone = rest.starts_with("with time zone").then_some("UTC");
                if zone.is_some() {
                    self.rest = self.rest["with time zone".len()..].trim_start();
                }
                return Some(timestamp_of(digits, zone));
            }
            _ => return None,
        };
        Some(Field::new("", kind, true))
    }
}
