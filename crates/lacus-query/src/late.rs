//! Late materialisation: `SELECT * FROM clicks WHERE … ORDER BY at DESC LIMIT 20` (Abadi et al., "Materialization strategies in a
//! column-oriented DBMS", 2007).
//!
//! A sort with a limit gets all columns of every row that may be among the first, and a file gives them by the row group: to
//! find 20 rows, whole columns are read and unpacked. Here the first of the columns that rows are sorted by is read and sorted
//! alone before. The rows of the answer have the values that come out, so the other columns are read only where it has
//! one of them. How rows with the same value follow each other is left to the sort, which stays above.
//!
//! That column is read twice. So it must be a narrow one, or nothing else be asked of the rows, and the columns that are saved be
//! worth it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::Array;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::datasource::physical_plan::{FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, DynamicFilterPhysicalExpr, IsNullExpr, in_list, lit};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::filter_pushdown::{ChildFilterDescription, FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, collect,
};
use futures::{TryStreamExt, stream};
use tokio::sync::OnceCell;

use crate::tail::TailSource;

/// A sort of more rows than these finds some in most pages, and reads all columns at once.
const ROWS_MAX: usize = 1_000;
/// So many values at most are named one by one; of more, only the least and the greatest.
const LISTED_MAX: usize = 100;
/// So many columns of numbers and times are worth reading another one twice.
const NARROW_MIN: usize = 4;

/// Puts late materialisation below sorts with a limit: before they bring down what they find meanwhile.
#[derive(Debug)]
pub(crate) struct LateMaterialization;

impl PhysicalOptimizerRule for LateMaterialization {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| match plan.downcast_ref::<SortExec>().map(late).transpose()?.flatten() {
            Some(late) => plan.with_new_children(vec![late]).map(Transformed::yes),
            None => Ok(Transformed::no(plan)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "late_materialization"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The input of a sort, with its other columns read late. None where that is of no use.
fn late(sort: &SortExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (rows, first) = (sort.input(), sort.expr().first());
    let (Some(limit), Some(key)) =
        (sort.fetch().filter(|limit| *limit <= ROWS_MAX), first.expr.downcast_ref::<Column>())
    else {
        return Ok(None);
    };
    let Some(reads) = Reads::of(rows) else { return Ok(None) };
    if !reads.is_worth_it(rows, key) {
        return Ok(None);
    }
    let Some(keys) = narrowed(rows, &[key.index()])? else { return Ok(None) };
    let order = LexOrdering::from([PhysicalSortExpr::new(
        Arc::new(Column::new(keys.schema().field(0).name(), 0)),
        first.options,
    )]);
    let is_one = keys.output_partitioning().partition_count() == 1;
    let sorted = SortExec::new(order.clone(), keys).with_fetch(Some(limit)).with_preserve_partitioning(!is_one);
    let keys: Arc<dyn ExecutionPlan> = if is_one {
        Arc::new(sorted)
    } else {
        Arc::new(SortPreservingMergeExec::new(order, Arc::new(sorted)).with_fetch(Some(limit)))
    };
    Ok(Some(Arc::new(LateExec::new(keys, Arc::clone(rows), key.clone(), first.options))))
}

/// What the files and the conditions below a sort are.
#[derive(Default)]
struct Reads {
    has_files: bool,
    /// The names of the columns that conditions ask for.
    filtered: HashSet<String>,
}

impl Reads {
    /// None: something there may give other rows the second time, or is unknown here.
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let mut reads = Self::default();
        reads.add(plan).then_some(reads)
    }

    fn add(&mut self, plan: &Arc<dyn ExecutionPlan>) -> bool {
        if plan.fetch().is_some() {
            return false;
        }
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            return self.filter(filter.predicate()) && self.add(filter.input());
        }
        if plan.is::<UnionExec>() || plan.is::<ProjectionExec>() {
            return plan.children().into_iter().all(|input| self.add(input));
        }
        let Some(scan) = plan.downcast_ref::<DataSourceExec>() else { return false };
        let Some((_, source)) = scan.downcast_to_file_source::<ParquetSource>() else {
            // Other sources, such as files that are not the lake's, may change meanwhile.
            return is_tail(scan);
        };
        self.has_files = true;
        if source.projection().is_some_and(|columns| columns.iter().any(|column| is_volatile(&column.expr))) {
            return false;
        }
        source.filter().is_none_or(|filter| self.filter(&filter))
    }

    fn filter(&mut self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        self.filtered.extend(collect_columns(filter).into_iter().map(|column| column.name().to_owned()));
        !is_volatile(filter)
    }

    /// Whether the columns that nobody needs to find the rows cost more than to read the key once more.
    fn is_worth_it(&self, rows: &Arc<dyn ExecutionPlan>, key: &Column) -> bool {
        let schema = rows.schema();
        let kind = schema.field(key.index()).data_type();
        let is_narrow = kind.is_primitive() && !kind.is_floating();
        if !self.has_files || !(is_narrow || (*kind == DataType::Utf8View && self.filtered.is_empty())) {
            return false;
        }
        let (mut narrow, mut wide) = (0, 0);
        for (place, field) in schema.fields().iter().enumerate() {
            if place != key.index() && !self.filtered.contains(field.name()) {
                *(if field.data_type().is_primitive() { &mut narrow } else { &mut wide }) += 1;
            }
        }
        wide > 0 || narrow >= NARROW_MIN
    }
}

/// The same rows with only these columns, read from the files anew. None where that can't be.
fn narrowed(plan: &Arc<dyn ExecutionPlan>, columns: &[usize]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(union) = plan.downcast_ref::<UnionExec>() {
        let inputs = union.inputs().iter().map(|input| narrowed(input, columns));
        return inputs.collect::<Result<Option<Vec<_>>>>()?.map(UnionExec::try_new).transpose();
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let below = |&column: &usize| Some(projection.expr().get(column)?.expr.downcast_ref::<Column>()?.index());
        let below = columns.iter().map(below).collect::<Option<Vec<_>>>();
        return below.map_or(Ok(None), |columns| narrowed(projection.input(), &columns));
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return filtered(filter, columns);
    }
    let schema = plan.schema();
    let column = |&column: &usize| {
        let name = schema.field(column).name();
        (Arc::new(Column::new(name, column)) as Arc<dyn PhysicalExpr>, name.clone())
    };
    let projection = ProjectionExec::try_new(columns.iter().map(column), Arc::clone(plan))?;
    if let Some(scan) = plan.try_swapping_with_projection(&projection)? {
        return Ok(Some(scan));
    }
    // The files of a scan are given out once, so it is not run twice. The tail is.
    Ok(plan.downcast_ref::<DataSourceExec>().is_some_and(is_tail).then(|| Arc::new(projection) as _))
}

fn is_tail(scan: &DataSourceExec) -> bool {
    scan.data_source().downcast_ref::<TailSource>().is_some()
}

/// The same of rows that a condition is asked of.
fn filtered(filter: &FilterExec, columns: &[usize]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let below =
        |&column: &usize| filter.projection().as_ref().map_or(Some(column), |places| places.get(column).copied());
    let Some(mut read) = columns.iter().map(below).collect::<Option<Vec<_>>>() else { return Ok(None) };
    for column in collect_columns(filter.predicate()) {
        if !read.contains(&column.index()) {
            read.push(column.index());
        }
    }
    let Some(input) = narrowed(filter.input(), &read)? else { return Ok(None) };
    let schema = input.schema();
    let predicate = Arc::clone(filter.predicate()).transform(|expr| {
        let place = expr.downcast_ref::<Column>().map(|column| read.iter().position(|read| *read == column.index()));
        Ok(match place.flatten() {
            Some(place) => Transformed::yes(Arc::new(Column::new(schema.field(place).name(), place))),
            None => Transformed::no(expr),
        })
    });
    let predicate = predicate.data()?;
    let columns = Some((0..columns.len()).collect());
    let filter = FilterExecBuilder::new(predicate, input).apply_projection(columns)?.build()?;
    Ok(Some(Arc::new(filter)))
}

/// Rows of its second input: those that have a value which the first one gives, and perhaps others.
#[derive(Debug, Clone)]
struct LateExec {
    /// The first values of the key, in its order.
    keys: Arc<dyn ExecutionPlan>,
    rows: Arc<dyn ExecutionPlan>,
    key: Column,
    options: SortOptions,
    /// Whether a row has one of the values: true of all until they are known.
    has_value: Arc<DynamicFilterPhysicalExpr>,
    is_known: Arc<OnceCell<()>>,
}

impl LateExec {
    fn new(keys: Arc<dyn ExecutionPlan>, rows: Arc<dyn ExecutionPlan>, key: Column, options: SortOptions) -> Self {
        let has_value = Arc::new(DynamicFilterPhysicalExpr::new(vec![Arc::new(key.clone())], lit(true)));
        Self { keys, rows, key, options, has_value, is_known: Arc::default() }
    }

    /// Asks for the values, for all partitions once.
    async fn know(&self, context: &Arc<TaskContext>) -> Result<()> {
        let know = || async {
            let mut values = Vec::new();
            for batch in collect(Arc::clone(&self.keys), Arc::clone(context)).await? {
                let column = batch.column(0);
                for row in 0..column.len() {
                    values.push(ScalarValue::try_from_array(column, row)?);
                }
            }
            self.has_value.update(self.condition(values)?)
        };
        self.is_known.get_or_try_init(know).await.copied()
    }

    /// That the key is one of some values, which are in its order.
    fn condition(&self, mut values: Vec<ScalarValue>) -> Result<Arc<dyn PhysicalExpr>> {
        let key: Arc<dyn PhysicalExpr> = Arc::new(self.key.clone());
        let both = |left, operator, right| Arc::new(BinaryExpr::new(left, operator, right)) as Arc<dyn PhysicalExpr>;
        let has_null = values.iter().any(ScalarValue::is_null);
        values.retain(|value| !value.is_null());
        values.dedup();
        let (Some(first), Some(last)) = (values.first().cloned(), values.last().cloned()) else {
            return if has_null { is_null(key) } else { Ok(lit(false)) };
        };
        let (least, greatest) = if self.options.descending { (last, first) } else { (first, last) };
        let mut condition = both(
            both(Arc::clone(&key), Operator::GtEq, lit(least)),
            Operator::And,
            both(Arc::clone(&key), Operator::LtEq, lit(greatest)),
        );
        if values.len() <= LISTED_MAX {
            let values = values.into_iter().map(lit).collect();
            let is_listed = in_list(Arc::clone(&key), values, &false, &self.rows.schema())?;
            condition = both(condition, Operator::And, is_listed);
        }
        Ok(if has_null { both(is_null(key)?, Operator::Or, condition) } else { condition })
    }
}

impl ExecutionPlan for LateExec {
    fn name(&self) -> &str {
        "LateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.rows.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false, true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.keys, &self.rows]
    }

    /// It asks anew, and tells the same filter: that is in its rows' plan.
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.pop(), children.is_empty()) {
            (Some(rows), Some(keys), true) => {
                Ok(Arc::new(Self { keys, rows, is_known: Arc::default(), ..Self::clone(&self) }))
            }
            _ => internal_err!("late rows have keys and rows"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let late = self.clone();
        let rows = async move {
            late.know(&context).await?;
            late.rows.execute(partition, context)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(rows).try_flatten())))
    }

    /// What the sort finds meanwhile goes down to the rows, and so does what the keys are.
    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let has_value = Arc::clone(&self.has_value) as Arc<dyn PhysicalExpr>;
        let rows = ChildFilterDescription::from_child(&filters, &self.rows)?.with_self_filter(has_value);
        let keys = ChildFilterDescription::all_unsupported(&filters);
        Ok(FilterDescription::new().with_child(keys).with_child(rows))
    }
}

impl DisplayAs for LateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LateExec: rows with the first values of {}", self.key)
    }
}

fn is_null(key: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(Arc::new(IsNullExpr::new(key)))
}
