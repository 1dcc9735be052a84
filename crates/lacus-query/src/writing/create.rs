//! `CREATE TABLE`: the table that a statement asks for.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, CreateTable, CreateTableOptions, DataType, Expr, FileFormat, HiveDistributionStyle,
    HiveIOFormat, Query, SqlOption, Value,
};
use lacus_core::TableName;
use lacus_core::layout::{LAYOUT_FIELDS_MAX, PartitionField, SortField};
use lacus_lake::foreign::NewTable;
use lacus_lake::{Column, TableSchema};

use super::layout::{PARTITION_FIELD, partition_field};
use crate::alter::column_type;
use crate::error::SqlError;
use crate::identifiers::folded;
use crate::stated_name::StatedName;

/// A table that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Creation {
    pub(crate) name: StatedName,
    pub(crate) unless_there: bool,
    columns: Vec<Column>,
    partition: Vec<PartitionField>,
    sort: Vec<SortField>,
    properties: HashMap<String, String>,
}

impl Creation {
    /// Parses a statement, and takes the query out of it.
    ///
    /// # Errors
    /// For what lacus does not do, and for types that it does not have.
    pub(crate) fn of(create: CreateTable) -> Result<(Self, Option<Box<Query>>), SqlError> {
        must_be_plain(&create)?;
        let mut creation = Self {
            name: StatedName::of(&create.name)?,
            unless_there: create.if_not_exists,
            columns: create.columns.iter().map(column).collect::<Result<_, _>>()?,
            partition: Vec::new(),
            sort: Vec::new(),
            properties: HashMap::new(),
        };
        if create.query.is_some() && !creation.columns.is_empty() {
            return Err(SqlError::invalid("0A000", "CREATE TABLE … AS takes its columns from the query")
                .with_hint("name them there: SELECT a AS b"));
        }
        if create.query.is_none() && creation.columns.is_empty() {
            return Err(
                SqlError::invalid("42601", "a table needs columns").with_hint("CREATE TABLE t (a bigint, b text)")
            );
        }
        creation.add_hive_partitions(create.hive_distribution)?;
        if let Some(by) = create.partition_by {
            creation.add_partitions(*by)?;
        }
        let options = match create.table_options {
            CreateTableOptions::None => Vec::new(),
            CreateTableOptions::With(options)
            | CreateTableOptions::Options(options)
            | CreateTableOptions::Plain(options)
            | CreateTableOptions::TableProperties(options) => options,
        };
        for option in options {
            creation.add_option(option)?;
        }
        if creation.partition.len().max(creation.sort.len()) > LAYOUT_FIELDS_MAX {
            let message = format!("a table is partitioned or sorted by {LAYOUT_FIELDS_MAX} fields at most");
            return Err(SqlError::invalid("54011", message));
        }
        Ok((creation, create.query))
    }

    /// The table under this name, with the columns it was given, or with these.
    ///
    /// # Errors
    /// If it can't be.
    pub(crate) fn table(&self, name: TableName, columns: Option<&TableSchema>) -> Result<NewTable, SqlError> {
        let own = TableSchema::of_columns(self.columns.iter().cloned());
        let columns = columns.unwrap_or(&own);
        let mut names: Vec<String> = columns.columns.iter().map(|column| column.name.to_lowercase()).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("table \"{name}\" would have two columns \"{}\"", twice[0]);
            return Err(SqlError::invalid("42701", message)
                .with_hint("rename one with AS: names that differ by case only are the same to SQL"));
        }
        let partition = self.partition_of(columns);
        let sort = self.sort.iter().cloned();
        let sort: Vec<SortField> =
            sort.map(|field| SortField { column: spelled(&field.column, columns), ..field }).collect();
        Ok(NewTable::of(name, columns, &partition, &sort, self.properties.clone())?)
    }

    /// The partition fields, with the names of columns as they are spelled in the table.
    pub(crate) fn partition_of(&self, columns: &TableSchema) -> Vec<PartitionField> {
        let partition = self.partition.iter().cloned();
        partition.map(|field| PartitionField { column: spelled(&field.column, columns), ..field }).collect()
    }

    fn add_hive_partitions(&mut self, distribution: HiveDistributionStyle) -> Result<(), SqlError> {
        let columns = match distribution {
            HiveDistributionStyle::NONE => return Ok(()),
            HiveDistributionStyle::PARTITIONED { columns } => columns,
            HiveDistributionStyle::SKEWED { .. } => return Err(refused("SKEWED BY")),
        };
        for definition in columns {
            if definition.data_type.to_string().eq_ignore_ascii_case(PARTITION_FIELD) {
                self.partition.push(partition_field(&definition.name.value)?);
                continue;
            }
            // As in Hive, such a column is part of the table, and comes last.
            let column = column(&definition)?;
            self.partition.push(partition_field(&column.name)?);
            self.columns.push(column);
        }
        Ok(())
    }

    fn add_partitions(&mut self, by: Expr) -> Result<(), SqlError> {
        match by {
            Expr::Tuple(fields) => fields.into_iter().try_for_each(|field| self.add_partitions(field)),
            Expr::Nested(field) => self.add_partitions(*field),
            field => {
                self.partition.push(partition_field(&field.to_string())?);
                Ok(())
            }
        }
    }

    fn add_option(&mut self, option: SqlOption) -> Result<(), SqlError> {
        let SqlOption::KeyValue { key, value } = option else { return Err(refused(&option.to_string())) };
        let name = key.value.to_lowercase();
        match name.as_str() {
            "partitioned_by" | "partitioning" | "partition" => {
                for field in texts(&name, &value)? {
                    self.partition.push(partition_field(&field)?);
                }
            }
            "sorted_by" | "sort" => {
                for field in texts(&name, &value)? {
                    let field = field.parse().map_err(|error: String| SqlError::invalid("22023", error))?;
                    self.sort.push(field);
                }
            }
            "format" | "storage_format" => must_be(&name, &value, &["parquet"])?,
            "table_type" => must_be(&name, &value, &["iceberg"])?,
            // Files are compressed with zstd, whatever the option says.
            "write_compression" | "parquet_compression" | "is_external" | "vacuum_max_snapshot_age_seconds" => {}
            "location" | "external_location" => return Err(own_place()),
            "bucketed_by" | "bucket_count" => {
                return Err(refused(&name).with_hint("partitioned_by = ARRAY['bucket(user_id, 16)']"));
            }
            _ => {
                let text = texts(&name, &value)?.pop().unwrap_or_default();
                self.properties.insert(key.value, text);
            }
        }
        Ok(())
    }
}

/// The name of a column as it is spelled in the table.
fn spelled(name: &str, columns: &TableSchema) -> String {
    let found = columns.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
    found.map_or(name, |column| &column.name).to_owned()
}

fn must_be_plain(create: &CreateTable) -> Result<(), SqlError> {
    let unsupported = [
        (create.or_replace, "CREATE OR REPLACE TABLE", "drop the table first"),
        (create.external, "CREATE EXTERNAL TABLE among other statements", "send it alone"),
        (create.temporary || create.transient || create.volatile, "CREATE TEMPORARY TABLE", "use WITH in the query"),
        (create.like.is_some(), "CREATE TABLE … LIKE", "CREATE TABLE t AS SELECT * FROM other LIMIT 0"),
        (create.clone.is_some(), "CREATE TABLE … CLONE", "CREATE TABLE t AS SELECT * FROM other"),
        (!create.constraints.is_empty(), "a constraint of a table", "a column may be NOT NULL, and that is all"),
        (create.clustered_by.is_some(), "CLUSTERED BY", "PARTITIONED BY (bucket(16, user_id))"),
        (create.order_by.is_some(), "ORDER BY of a table", "WITH (sorted_by = ARRAY['user_id'])"),
    ];
    if let Some((_, what, hint)) = unsupported.into_iter().find(|(is_there, ..)| *is_there) {
        return Err(refused(what).with_hint(hint));
    }
    if create.location.is_some() {
        return Err(own_place());
    }
    let Some(hive) = &create.hive_formats else { return Ok(()) };
    if hive.location.is_some() {
        return Err(own_place());
    }
    match &hive.storage {
        None | Some(HiveIOFormat::FileFormat { format: FileFormat::PARQUET }) if hive.row_format.is_none() => Ok(()),
        _ => Err(refused("another format than Parquet").with_hint("leave out ROW FORMAT and STORED AS")),
    }
}

fn own_place() -> SqlError {
    SqlError::invalid("0A000", "lacus decides where the files of a table are").with_hint("leave out the location")
}

fn refused(what: &str) -> SqlError {
    SqlError::invalid("0A000", format!("{what} is not supported"))
}

/// A column definition.
///
/// # Errors
/// For types that tables don't have, and for all that is said but its type and `NOT NULL`.
pub(crate) fn column(definition: &ColumnDef) -> Result<Column, SqlError> {
    let name = folded(&definition.name);
    let mut column = Column::new(0, &name, column_type(&of_hive(&definition.data_type))?);
    for option in &definition.options {
        match &option.option {
            ColumnOption::Null | ColumnOption::Comment(_) => {}
            ColumnOption::NotNull => column.required = true,
            other => {
                return Err(SqlError::invalid("0A000", format!("column \"{name}\" can't have {other}"))
                    .with_hint("a column may be NOT NULL, and that is all"));
            }
        }
    }
    Ok(column)
}

/// `tinyint` and `smallint` become the smallest integer type that tables have.
fn of_hive(kind: &DataType) -> DataType {
    match kind {
        DataType::TinyInt(_) | DataType::SmallInt(_) | DataType::Int2(_) => DataType::Integer(None),
        DataType::Char(_) | DataType::Character(_) => DataType::Text,
        other => other.clone(),
    }
}

fn must_be(name: &str, value: &Expr, allowed: &[&str]) -> Result<(), SqlError> {
    let text = texts(name, value)?.pop().unwrap_or_default();
    if allowed.iter().any(|allowed| text.eq_ignore_ascii_case(allowed)) {
        return Ok(());
    }
    Err(SqlError::invalid("0A000", format!("{name} = '{text}' is not supported"))
        .with_hint(format!("leave it out: it is always {}", allowed.join(" or "))))
}

/// The texts of an option: `'a'`, `ARRAY['a', 'b']`, `true`, `16`.
pub(crate) fn texts(name: &str, value: &Expr) -> Result<Vec<String>, SqlError> {
    match value {
        Expr::Array(array) => {
            array.elem.iter().map(|element| texts(name, element)).try_fold(Vec::new(), |mut all, some| {
                all.extend(some?);
                Ok(all)
            })
        }
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Ok(vec![text.clone()]),
            other => Ok(vec![other.to_string()]),
        },
        Expr::Identifier(word) => Ok(vec![word.value.clone()]),
        other => Err(SqlError::invalid("22023", format!("\"{other}\" is no value for {name}"))),
    }
}
