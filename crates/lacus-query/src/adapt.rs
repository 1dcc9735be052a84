//! A file's columns as the table's columns, matched by field id.
//!
//! A file was written with the columns known then. Expressions over the table are rewritten to expressions over the
//! file: a column that is the same stays a plain column, so that its statistics still prune; a field reached by path
//! becomes the same path in the file, so that only its leaf is read; what the file lacks is null; a nested column that
//! has grown is read as the file has it and brought to the table's type. Names never decide where ids are known: a
//! column dropped and made anew does not show old values.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use datafusion::functions::core::getfield::GetFieldFunc;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use lacus_lake::conform::conform_array;

/// Makes an adapter for each file.
#[derive(Debug)]
pub(crate) struct MatchByFieldId;

impl PhysicalExprAdapterFactory for MatchByFieldId {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(FileAdapter { table, file }))
    }
}

/// Rewrites expressions over `table` to expressions over `file`.
#[derive(Debug)]
struct FileAdapter {
    table: SchemaRef,
    file: SchemaRef,
}

impl PhysicalExprAdapter for FileAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform_down(|node| {
            if let Some(path) = FieldPath::of(&node)
                && let Some(rewritten) = self.field(&path)?
            {
                return Ok(Transformed::new(rewritten, true, TreeNodeRecursion::Jump));
            }
            match node.downcast_ref::<Column>() {
                Some(column) => Ok(Transformed::new(self.column(column)?, true, TreeNodeRecursion::Jump)),
                None => Ok(Transformed::no(node)),
            }
        })
        .data()
    }
}

impl FileAdapter {
    fn column(&self, column: &Column) -> Result<Arc<dyn PhysicalExpr>> {
        let wanted = self.table_field(column)?;
        let Some((index, have)) = find(self.file.fields(), wanted) else {
            return null(wanted);
        };
        let read = Arc::new(Column::new(have.name(), index));
        Ok(conformed(read, have, wanted))
    }

    /// The field at the end of a path; nothing if it is no path through structs.
    fn field(&self, path: &FieldPath) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let mut wanted = self.table_field(path.column)?;
        let mut have = find(self.file.fields(), wanted);
        let Some((root, root_field)) = have else {
            return Ok(None);
        };
        let mut names = vec![Arc::new(Column::new(root_field.name(), root)) as Arc<dyn PhysicalExpr>];
        for name in &path.names {
            let DataType::Struct(fields) = wanted.data_type() else { return Ok(None) };
            let Some(next) = fields.iter().find(|field| field.name() == name) else { return Ok(None) };
            wanted = next;
            have = match have.map(|(_, field)| field.data_type()) {
                Some(DataType::Struct(fields)) => find(fields, next),
                _ => None,
            };
            if let Some((_, field)) = have {
                names.push(Arc::new(Literal::new(ScalarValue::from(field.name().as_str()))));
            }
        }
        let Some((_, have)) = have else { return null(wanted).map(Some) };
        let get_field = datafusion::functions::core::get_field();
        let read = ScalarFunctionExpr::try_new(get_field, names, &self.file, Arc::new(ConfigOptions::default()))?;
        Ok(Some(conformed(Arc::new(read), have, wanted)))
    }

    fn table_field(&self, column: &Column) -> Result<&FieldRef> {
        match self.table.fields().find(column.name()) {
            Some((_, field)) => Ok(field),
            None => internal_err!("the plan reads column {} that the table does not have", column.name()),
        }
    }
}

/// `get_field(column, 'a', 'b')`.
struct FieldPath<'a> {
    column: &'a Column,
    names: Vec<&'a str>,
}

impl<'a> FieldPath<'a> {
    fn of(expr: &'a Arc<dyn PhysicalExpr>) -> Option<Self> {
        let function = ScalarFunctionExpr::try_downcast_func::<GetFieldFunc>(expr.as_ref())?;
        let (column, names) = function.args().split_first()?;
        let names = names.iter().map(|name| name.downcast_ref::<Literal>()?.value().try_as_str().flatten());
        Some(Self { column: column.downcast_ref()?, names: names.collect::<Option<_>>()? })
    }
}

/// The field that has the id of `wanted`; its name decides only where one of them has no id.
fn find<'a>(fields: &'a Fields, wanted: &Field) -> Option<(usize, &'a FieldRef)> {
    fields.iter().enumerate().find(|(_, field)| match (id_of(field), id_of(wanted)) {
        (Some(have), Some(wanted)) => have == wanted,
        _ => field.name() == wanted.name(),
    })
}

/// The Iceberg id of a field.
fn id_of(field: &Field) -> Option<&str> {
    field.metadata().get("PARQUET:field_id").map(String::as_str)
}

fn null(wanted: &FieldRef) -> Result<Arc<dyn PhysicalExpr>> {
    let value = ScalarValue::try_from(wanted.data_type())?;
    Ok(Arc::new(Literal::new_with_metadata(value, Some(FieldMetadata::from(wanted.as_ref())))))
}

fn conformed(read: Arc<dyn PhysicalExpr>, have: &FieldRef, wanted: &FieldRef) -> Arc<dyn PhysicalExpr> {
    if have.data_type() == wanted.data_type() {
        return read;
    }
    Arc::new(Conformed { read, have: Arc::clone(have), wanted: Arc::clone(wanted) })
}

/// A nested value as the file has it, brought to the table's type.
#[derive(Debug, Eq)]
struct Conformed {
    read: Arc<dyn PhysicalExpr>,
    have: FieldRef,
    wanted: FieldRef,
}

// Derived, equality would move the expression out.
impl PartialEq for Conformed {
    fn eq(&self, other: &Self) -> bool {
        self.read.eq(&other.read) && self.have == other.have && self.wanted == other.wanted
    }
}

impl Hash for Conformed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.read.hash(state);
        self.have.hash(state);
        self.wanted.hash(state);
    }
}

impl fmt::Display for Conformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conformed({})", self.read)
    }
}

impl PhysicalExpr for Conformed {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = self.read.evaluate(batch)?.into_array(batch.num_rows())?;
        let conformed =
            conform_array(&array, &self.have, &self.wanted).map_err(|error| DataFusionError::External(error.into()))?;
        Ok(ColumnarValue::Array(conformed))
    }

    fn return_field(&self, _input: &Schema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.wanted))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.read]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let [read] = <[_; 1]>::try_from(children)
            .map_err(|children| DataFusionError::Internal(format!("{} children for one", children.len())))?;
        Ok(Arc::new(Self { read, have: Arc::clone(&self.have), wanted: Arc::clone(&self.wanted) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read.fmt_sql(f)
    }
}
