//! Which files of a table a query need not read: those whose partition or bounds exclude what it looks for.
//!
//! All that is known of a file is in the table's state, so planning asks no store. A file is left out only if no row of
//! it can match: bounds of text may be cut, and of columns that may hold what is no number there are none.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use lacus_lake::{Bound, ColumnStats, LiveFile, ValueOf, buckets_of};

/// Whole numbers up to here are fractions without a loss.
const EXACT_IN_DOUBLE: u64 = 1 << 53;

/// Those of the files that may have a row that all filters accept, in order. `schema` is what files are written with.
pub(crate) fn files_to_read<'a>(
    files: &'a [LiveFile],
    schema: &SchemaRef,
    filters: &[Expr],
    session: &dyn Session,
) -> Result<Vec<&'a LiveFile>> {
    let all = || files.iter().collect::<Vec<_>>();
    let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(all()) };
    let filter = with_plain_texts(filter)?;
    let named = DFSchema::try_from(Arc::clone(schema))?;
    // What can't be said as a question about bounds keeps every file; so does a filter that fails to be planned here.
    let Ok(filter) = session.create_physical_expr(filter, &named) else { return Ok(all()) };
    let Ok(predicate) = PruningPredicate::try_new(filter, Arc::clone(schema)) else { return Ok(all()) };
    if predicate.always_true() {
        return Ok(all());
    }
    let Ok(kept) = predicate.prune(&Files { files, schema }) else { return Ok(all()) };
    Ok(files.iter().zip(kept).filter_map(|(file, is_kept)| is_kept.then_some(file)).collect())
}

/// Texts in questions are views, and those in files are not.
fn with_plain_texts(filter: Expr) -> Result<Expr> {
    filter
        .transform(|expr| match expr {
            Expr::Literal(ScalarValue::Utf8View(text), metadata) => {
                Ok(Transformed::yes(Expr::Literal(ScalarValue::Utf8(text), metadata)))
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
}

/// The Iceberg id of a column.
pub(crate) fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get("PARQUET:field_id")?.parse().ok()
}

/// The least and the greatest value of a column in some files. None where bounds may be cut or rounded, or are not known, or are
/// those of another writer: they may be wider than its values.
pub(crate) fn value_range(files: &[&LiveFile], field: &Field) -> Option<(ScalarValue, ScalarValue)> {
    let kind = field.data_type();
    let is_exact = matches!(
        kind,
        DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _)
    );
    let id = field_id(field).filter(|_| is_exact)?;
    let mut range: Option<(i64, i64)> = None;
    for file in files {
        let stats = file.stats.column(id)?;
        if stats.nulls == Some(file.rows) {
            continue;
        }
        if !file.stats.is_own() {
            return None;
        }
        let (Some(Bound::Long(lower)), Some(Bound::Long(upper))) = (&stats.lower, &stats.upper) else { return None };
        range = Some(range.map_or((*lower, *upper), |(least, greatest)| (least.min(*lower), greatest.max(*upper))));
    }
    let (least, greatest) = range?;
    // The optimizer counts the values between them (DataFusion 54.1), and can't count to 2^64.
    greatest.checked_sub(least)?;
    Some((scalar(&Bound::Long(least), kind)?, scalar(&Bound::Long(greatest), kind)?))
}

/// What the texts of a column in a file begin with at the least: it may be the beginning of one.
pub(crate) fn least_text(file: &LiveFile, field: &Field) -> Option<ScalarValue> {
    let id = field_id(field).filter(|_| *field.data_type() == DataType::Utf8View)?;
    match file.stats.column(id)?.lower {
        Some(Bound::Text(text)) => Some(ScalarValue::Utf8View(Some(text.into_owned()))),
        _ => None,
    }
}

/// The value that a column has in all rows of a file, where the file's partition says it.
pub(crate) fn only_value(file: &LiveFile, field: &Field) -> Option<ScalarValue> {
    let id = field_id(field)?;
    typed(file.stats.values().iter().find(|value| value.id == id)?, field.data_type())
}

/// The values of columns that a file may lack, by their places: its partition has them.
///
/// # Errors
/// If a value is of another type than its column, and the column is among those that are `asked`; none says all.
pub(crate) fn values_of_partition(
    file: &LiveFile,
    schema: &SchemaRef,
    asked: Option<&Vec<usize>>,
) -> Result<Vec<(usize, ScalarValue)>> {
    let mut values = Vec::new();
    if !file.has_values_of_partition() {
        return Ok(values);
    }
    for (place, field) in schema.fields().iter().enumerate() {
        match file.value_of_partition(field) {
            Ok(Some(value)) => values.push((place, ScalarValue::try_from_array(&value, 0)?)),
            Err(error) if asked.is_none_or(|asked| asked.contains(&place)) => {
                return Err(DataFusionError::External(error.into()));
            }
            Ok(None) | Err(_) => {}
        }
    }
    Ok(values)
}

/// Such a value in the type of its column. None if it is of another, as of a file from before the type changed.
pub(crate) fn typed(value: &ValueOf, kind: &DataType) -> Option<ScalarValue> {
    match (&value.value, kind) {
        (None, kind) => ScalarValue::try_from(kind).ok(),
        (Some(Bound::Text(text)), DataType::Utf8View) => Some(ScalarValue::Utf8View(Some(text.to_string()))),
        (Some(Bound::Long(micros)), DataType::Time64(TimeUnit::Microsecond)) => {
            Some(ScalarValue::Time64Microsecond(Some(*micros)))
        }
        (Some(value), kind) => scalar(value, kind),
    }
}

/// What is known of some files, as the planner asks for it.
struct Files<'a> {
    files: &'a [LiveFile],
    schema: &'a SchemaRef,
}

impl Files<'_> {
    /// Field id and type of a column at the top.
    fn column(&self, column: &Column) -> Option<(i32, &DataType)> {
        let field = self.schema.field_with_name(&column.name).ok()?;
        Some((field_id(field)?, field.data_type()))
    }

    fn bounds(&self, column: &Column, end: impl Fn(ColumnStats<'_>) -> Option<Bound<'_>>) -> Option<ArrayRef> {
        let (id, kind) = self.column(column)?;
        let unknown = ScalarValue::try_from(kind).ok()?;
        let mut is_known = false;
        let values = self.files.iter().map(|file| {
            let value = file.stats.column(id).and_then(&end).and_then(|bound| scalar(&bound, kind));
            is_known |= value.is_some();
            value.unwrap_or_else(|| unknown.clone())
        });
        let values = ScalarValue::iter_to_array(values).ok()?;
        is_known.then_some(values)
    }
}

impl PruningStatistics for Files<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |stats| stats.lower)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |stats| stats.upper)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let (id, _) = self.column(column)?;
        let counts: UInt64Array = self.files.iter().map(|file| file.stats.column(id)?.nulls).collect();
        (counts.null_count() < counts.len()).then(|| Arc::new(counts) as _)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.files.iter().map(|file| Some(file.rows)).collect::<UInt64Array>()))
    }

    /// A file of one bucket has none of the values that are in others.
    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let (id, kind) = self.column(column)?;
        if self.files.iter().all(|file| file.stats.bucket(id).is_none()) {
            return None;
        }
        let values = ScalarValue::iter_to_array(values.iter().cloned()).ok()?;
        if values.data_type() != kind {
            return None;
        }
        let mut wanted: HashMap<u32, Option<Vec<i32>>> = HashMap::new();
        let contained = self.files.iter().map(|file| {
            let own = file.stats.bucket(id)?;
            let wanted = wanted.entry(own.count).or_insert_with(|| buckets_of(&values, own.count)).as_ref()?;
            let may_have = own.bucket.is_some_and(|bucket| wanted.contains(&bucket));
            if may_have { None } else { Some(false) }
        });
        Some(contained.collect())
    }
}

/// A bound as a value of the column's type. None if it is of another, as of a file from before the type changed.
fn scalar(bound: &Bound<'_>, kind: &DataType) -> Option<ScalarValue> {
    match (bound, kind) {
        (Bound::Boolean(value), DataType::Boolean) => Some(ScalarValue::Boolean(Some(*value))),
        (Bound::Long(value), DataType::Int32) => Some(ScalarValue::Int32(Some(i32::try_from(*value).ok()?))),
        (Bound::Long(value), DataType::Int64) => Some(ScalarValue::Int64(Some(*value))),
        (Bound::Long(value), DataType::Date32) => Some(ScalarValue::Date32(Some(i32::try_from(*value).ok()?))),
        (Bound::Long(value), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            Some(ScalarValue::TimestampMicrosecond(Some(*value), zone.clone()))
        }
        #[expect(clippy::cast_precision_loss, reason = "not within these limits")]
        (Bound::Long(value), DataType::Float64) if value.unsigned_abs() <= EXACT_IN_DOUBLE => {
            Some(ScalarValue::Float64(Some(*value as f64)))
        }
        (Bound::Double(value), DataType::Float64) => Some(ScalarValue::Float64(Some(*value))),
        (Bound::Text(text), DataType::Utf8) => Some(ScalarValue::Utf8(Some(text.to_string()))),
        _ => None,
    }
}
