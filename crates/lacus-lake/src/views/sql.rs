//! The SQL of views: one made of a statement, and the statement of one that is there.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit};
use iceberg::NamespaceIdent;
use iceberg::arrow::{arrow_schema_to_schema_auto_assign_ids, schema_to_arrow_schema};
use iceberg::spec::{Schema, SqlViewRepresentation, ViewRepresentation, ViewRepresentations, ViewVersion};
use lacus_core::{Clock, Error, Result, TableName};

use super::{NewView, View};

/// A view that a statement makes.
#[derive(Debug, Clone)]
pub struct SqlView {
    /// Its name.
    pub name: TableName,
    /// Its query.
    pub sql: String,
    /// The dialect of it, as engines call it: `lacus`, `trino`.
    pub dialect: &'static str,
    /// The database that tables are in which the query names without one.
    pub database: String,
    /// The columns of its answer.
    pub columns: SchemaRef,
}

impl SqlView {
    /// The view as the specification has it.
    ///
    /// # Errors
    /// `Invalid` if a column has a type that Iceberg has not.
    pub(super) fn into_new(self, clock: &dyn Clock) -> Result<NewView> {
        let Self { name, sql, dialect, database, columns } = self;
        let schema = schema_of(&columns)?;
        let sql = SqlViewRepresentation { sql, dialect: dialect.to_owned() };
        let engine = [("engine-name", "lacus"), ("engine-version", env!("CARGO_PKG_VERSION"))];
        let version = ViewVersion::builder()
            .with_schema_id(schema.schema_id())
            .with_timestamp_ms(clock.now().as_micros() / 1_000)
            .with_summary(engine.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
            .with_representations(representations(sql)?)
            .with_default_namespace(NamespaceIdent::new(database))
            .build();
        Ok(NewView { name, location: None, schema, version, properties: std::collections::HashMap::new() })
    }
}

/// The library makes them of JSON only.
fn representations(sql: SqlViewRepresentation) -> Result<ViewRepresentations> {
    let sql = serde_json::to_value(vec![ViewRepresentation::Sql(sql)]);
    sql.and_then(serde_json::from_value).map_err(|error| Error::internal("write the SQL of a view").with_source(error))
}

impl View {
    /// Dialect and SQL of each of its representations.
    #[must_use]
    pub fn statements(&self) -> Vec<(&str, &str)> {
        let representations = self.metadata.current_version().representations();
        let statements = representations.iter().map(|representation| {
            let ViewRepresentation::Sql(SqlViewRepresentation { sql, dialect }) = representation;
            (dialect.as_str(), sql.as_str())
        });
        statements.collect()
    }

    /// The names of its columns.
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        self.metadata.current_schema().as_struct().fields().iter().map(|field| field.name.as_str()).collect()
    }

    /// Its columns, as its metadata has them.
    ///
    /// # Errors
    /// `Invalid` if it has a type that lacus has not.
    pub fn arrow(&self) -> Result<SchemaRef> {
        let schema = schema_to_arrow_schema(self.metadata.current_schema());
        schema.map(Arc::new).map_err(|error| {
            Error::invalid(format!("view \"{}\" has columns that lacus can't read", self.name)).with_source(error)
        })
    }

    /// The database that tables are in which its SQL names without one.
    #[must_use]
    pub fn database(&self) -> &str {
        let levels = self.metadata.current_version().default_namespace();
        levels.first().map_or_else(|| self.name.database(), String::as_str)
    }
}

/// The columns of a query as Iceberg knows them.
fn schema_of(columns: &ArrowSchema) -> Result<Schema> {
    let fields: Vec<FieldRef> = columns.fields().iter().map(plain).collect();
    arrow_schema_to_schema_auto_assign_ids(&ArrowSchema::new(fields)).map_err(|error| {
        Error::invalid(format!("the columns can't be those of a view: {}", error.message()))
            .with_hint("cast each to a type of Iceberg, and give each a name of its own")
            .with_source(error)
    })
}

/// A column with the type that Iceberg would keep its values in. Any may be null: nobody promised more.
fn plain(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        DataType::Dictionary(_, value) => {
            return plain(&Arc::new(field.as_ref().clone().with_data_type(*value.clone())));
        }
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::FixedSizeList(element, _) => DataType::List(plain(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain_entries(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), kind, true))
}

/// Keys of a map are never null.
fn plain_entries(entries: &FieldRef) -> FieldRef {
    let DataType::Struct(fields) = entries.data_type() else { return Arc::clone(entries) };
    let fields = fields.iter().enumerate().map(|(place, field)| {
        let field = plain(field);
        if place == 0 { Arc::new(field.as_ref().clone().with_nullable(false)) } else { field }
    });
    Arc::new(Field::new(entries.name(), DataType::Struct(fields.collect::<Fields>()), false))
}
