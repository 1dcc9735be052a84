//! Arrow columns as Postgres columns.
//!
//! Scalars and lists of scalars have types of their own. Structs, lists of structs and everything else that is nested
//! are `json`: what users read, and what drivers turn into dictionaries.

use std::sync::Arc;

use arrow_pg::datatypes::into_pg_type;
use arrow_pg::encoder::encode_value;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, SchemaRef, TimeUnit};
use lacus_lake::schema::is_uuid;
use lacus_query::{SqlError, json, type_modifier};
use pgwire::api::Type;
use pgwire::api::portal::Format;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::data::DataRow;

use crate::postgres::errors::wire;
use crate::postgres::moments::{moment, moments};
use crate::postgres::numeric::{Numeric, Uuid};
use crate::postgres::texts::{Written, written};

/// The columns of an answer.
#[derive(Clone)]
pub(crate) struct Columns {
    /// As the client is told.
    pub(crate) fields: Arc<Vec<FieldInfo>>,
    shapes: Vec<Shape>,
}

/// How a column's values are sent.
#[derive(Clone)]
enum Shape {
    /// As arrays of this type.
    Cast(DataType),
    /// As JSON text.
    Json,
    /// As a decimal.
    Numeric,
    /// As a UUID, from its bytes.
    Uuid,
}

impl Columns {
    pub(crate) fn new(schema: &SchemaRef, format: &Format) -> Self {
        let shapes: Vec<Shape> = schema
            .fields()
            .iter()
            .map(|field| if is_uuid(field) { Shape::Uuid } else { shape(field.data_type()) })
            .collect();
        let fields = schema.fields().iter().zip(&shapes).enumerate().map(|(index, (field, shape))| {
            let kind = shape.postgres();
            let size = size(&kind);
            FieldInfo::new(field.name().clone(), None, None, kind, format_of(format, index))
                .with_type_size(size)
                .with_type_modifier(type_modifier(field.data_type()))
        });
        Self { fields: Arc::new(fields.collect()), shapes }
    }

    /// The rows of a batch, one by one.
    pub(crate) fn rows(
        &self,
        batch: &RecordBatch,
    ) -> PgWireResult<impl Iterator<Item = PgWireResult<DataRow>> + Send + use<>> {
        let mut columns = Vec::with_capacity(batch.num_columns());
        for ((shape, field), array) in self.shapes.iter().zip(batch.schema().fields()).zip(batch.columns()) {
            columns.push(Column::new(shape, field, array).map_err(|error| wire(&error))?);
        }
        let mut encoder = DataRowEncoder::new(Arc::clone(&self.fields));
        let fields = Arc::clone(&self.fields);
        Ok((0..batch.num_rows()).map(move |row| {
            for (column, field) in columns.iter().zip(fields.iter()) {
                column.encode(row, field, &mut encoder)?;
            }
            Ok(encoder.take_row())
        }))
    }
}

/// A request may name fewer formats than there are columns.
fn format_of(format: &Format, column: usize) -> FieldFormat {
    match format {
        Format::Individual(codes) if column >= codes.len() => FieldFormat::Text,
        format => format.format_for(column),
    }
}

/// A column in the form in which it is sent.
struct Column {
    values: ArrayRef,
    field: Field,
    /// Whether the values are decimals as texts.
    is_numeric: bool,
}

impl Column {
    fn new(shape: &Shape, field: &FieldRef, array: &ArrayRef) -> Result<Self, SqlError> {
        let values = match shape {
            Shape::Json => json::text_column(array, field)?,
            Shape::Uuid => Arc::clone(array),
            Shape::Cast(kind) if kind == array.data_type() => Arc::clone(array),
            Shape::Cast(kind) => converted(array, kind)?,
            Shape::Numeric => converted(array, &DataType::Utf8)?,
        };
        let field = Field::new(field.name(), values.data_type().clone(), true);
        Ok(Self { values, field, is_numeric: matches!(shape, Shape::Numeric) })
    }

    fn encode(&self, row: usize, field: &FieldInfo, out: &mut DataRowEncoder) -> PgWireResult<()> {
        if self.values.is_null(row) {
            return out.encode_field(&None::<i8>);
        }
        if let Some(moment) = moment(&self.values, row).map_err(|error| wire(&error))? {
            return out.encode_field(&moment);
        }
        if let Some(moments) = moments(&self.values, row).map_err(|error| wire(&error))? {
            return out.encode_field(&moments);
        }
        if field.format() == FieldFormat::Text
            && let Some(text) = written(&self.values, row)
        {
            return out.encode_field(&Written(text));
        }
        if *field.datatype() == Type::UUID
            && let Some(uuids) = self.values.as_fixed_size_binary_opt()
        {
            return out.encode_field(&Uuid(json::uuid_text(uuids.value(row))));
        }
        if !self.is_numeric {
            return encode_value(out, &self.values, row, &self.field, field);
        }
        let texts = self.values.as_any().downcast_ref::<StringArray>();
        let text = texts.ok_or_else(|| PgWireError::ApiError("decimals were cast to text".into()))?.value(row);
        out.encode_field(&Numeric(text.to_owned()))
    }
}

fn converted(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, SqlError> {
    // A timestamp out of range is an error: null would be another answer.
    let strictly = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, kind, &strictly).map_err(|error| {
        let name = json::type_name(array.data_type());
        let (sqlstate, message) = match is_moment(kind) {
            true => ("22008", format!("{name} out of range: its microseconds do not fit into 64 bits")),
            false => ("0A000", format!("{name} can't be sent to the client")),
        };
        SqlError::invalid(sqlstate, message).with_hint("cast it to text").with_source(error)
    })
}

/// Whether values of this type, or of its elements, are about time.
fn is_moment(kind: &DataType) -> bool {
    match kind {
        DataType::List(element) => element.data_type().is_temporal(),
        kind => kind.is_temporal(),
    }
}

impl Shape {
    fn postgres(&self) -> Type {
        match self {
            Self::Json => Type::JSON,
            Self::Numeric => Type::NUMERIC,
            Self::Uuid => Type::UUID,
            Self::Cast(DataType::Null) => Type::TEXT,
            Self::Cast(kind) => into_pg_type(kind).unwrap_or(Type::TEXT),
        }
    }
}

fn shape(kind: &DataType) -> Shape {
    match kind {
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::UInt64 => Shape::Numeric,
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            match scalar(element.data_type()) {
                Some(inner) => Shape::Cast(DataType::List(Arc::new(Field::new("element", inner, true)))),
                None => Shape::Json,
            }
        }
        DataType::Dictionary(_, value) => shape(value),
        other => scalar(other).map_or(Shape::Json, Shape::Cast),
    }
}

/// The type from which values of a scalar type are encoded.
fn scalar(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::Null => DataType::Null,
        DataType::Boolean => DataType::Boolean,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => DataType::Int16,
        DataType::UInt16 | DataType::Int32 => DataType::Int32,
        DataType::UInt32 | DataType::Int64 => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float32,
        DataType::Float64 => DataType::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        DataType::Interval(unit) => DataType::Interval(*unit),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        _ => return None,
    })
}

/// The length of a fixed-size value in bytes; -1 for others.
fn size(kind: &Type) -> i16 {
    match *kind {
        Type::BOOL => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL | Type::UUID => 16,
        _ => -1,
    }
}
