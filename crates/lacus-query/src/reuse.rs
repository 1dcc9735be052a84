//! Answers that are given again: the question is the same, and so are the tables.
//!
//! A dashboard asks what it asked a minute ago. Its answer is kept while each table that it was read from is the same: in
//! the same metadata, and with nothing in its tail. What a question means is its plan, not its text, and no function in it
//! may give something else the next time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::WindowFunctionDefinition;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use crate::dialect::Dialect;
use crate::same::is_nothing;
use crate::statement::Statement;
use crate::table::LakeTable;
use crate::views::ViewTable;

/// Answers to longer statements are not kept.
const SQL_BYTES_MAX: usize = 16 << 10;
/// As many answers are kept at most.
const ANSWERS_MAX: usize = 1024;
/// One answer may take this fraction of the memory at most.
const PARTS: usize = 8;

/// The answers that are kept. The least recently used goes first.
pub(crate) struct Answers {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: HashMap<Arc<Question>, Entry>,
    bytes: usize,
    /// A count of questions, which tells when each answer was last used.
    now: u64,
}

struct Entry {
    answer: Given,
    bytes: usize,
    given_at: u64,
}

/// An answer as its plan gave it, before columns are renamed.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

/// An answer of which more may come.
pub(crate) struct Growing {
    question: Question,
    answer: Given,
    bytes: usize,
    bytes_max: usize,
}

/// What is asked, and of what.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    dialect: Dialect,
    time_zone: Option<String>,
    /// The plan itself, and those of the views in it.
    plans: Vec<LogicalPlan>,
    sources: Vec<Source>,
}

/// A table or view in one state.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Source {
    /// Where its metadata is: each change gives it another place.
    metadata: String,
    snapshot: Option<i64>,
}

impl Question {
    /// What identifies the answer of a plan whose parameters are filled in. None if its answer must not be reused.
    pub(crate) fn of(plan: &LogicalPlan, statement: &Statement, state: &SessionState) -> Option<Self> {
        let is_short = statement.sql.len() <= SQL_BYTES_MAX;
        let dialect = statement.dialect();
        let time_zone = state.config_options().execution.time_zone.clone();
        let mut question = Self { dialect, time_zone, plans: Vec::new(), sources: Vec::new() };
        let is_lasting = is_short && question.add(plan).unwrap_or(false) && !question.sources.is_empty();
        is_lasting.then_some(question)
    }

    /// Adds a plan; whether its answer holds as long as its tables do not change.
    fn add(&mut self, plan: &LogicalPlan) -> Result<bool> {
        let mut is_lasting = true;
        plan.apply_with_subqueries(|node| {
            is_lasting &= self.is_lasting(node)?;
            Ok(if is_lasting { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        })?;
        self.plans.push(plan.clone());
        Ok(is_lasting)
    }

    fn is_lasting(&mut self, node: &LogicalPlan) -> Result<bool> {
        let is_lasting = match node {
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source)?;
                if let Some(table) = provider.downcast_ref::<LakeTable>() {
                    let state = table.state();
                    self.sources
                        .push(Source { metadata: state.metadata_location.clone(), snapshot: state.snapshot_id });
                    state.tail.is_empty()
                } else if let Some((metadata, plan)) =
                    provider.downcast_ref::<ViewTable>().and_then(ViewTable::question)
                {
                    self.sources.push(Source { metadata: metadata.to_owned(), snapshot: None });
                    self.add(plan)?
                } else {
                    false
                }
            }
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::Extension(_) => false,
            _ => true,
        };
        Ok(is_lasting && has_lasting_expressions(node)?)
    }
}

fn has_lasting_expressions(node: &LogicalPlan) -> Result<bool> {
    let mut is_lasting = true;
    node.apply_expressions(|expr| {
        expr.apply(|expr| {
            is_lasting &= volatility(expr) == Volatility::Immutable;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(is_lasting)
}

fn volatility(expr: &Expr) -> Volatility {
    match expr {
        expr if is_nothing(expr) => Volatility::Immutable,
        Expr::ScalarFunction(call) => call.func.signature().volatility,
        Expr::AggregateFunction(call) => call.func.signature().volatility,
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => function.signature().volatility,
            WindowFunctionDefinition::WindowUDF(function) => function.signature().volatility,
        },
        // A variable, or a value that is known only when it runs.
        Expr::ScalarVariable(..) | Expr::Placeholder(_) => Volatility::Volatile,
        _ => Volatility::Immutable,
    }
}

impl Answers {
    /// Keeps answers of at most this many bytes in all; none if 0.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::default() }
    }

    /// Begins to record the answer to a question.
    pub(crate) fn gather(&self, question: Question, schema: SchemaRef) -> Option<Growing> {
        let answer = Given { schema, batches: Vec::new() };
        let growing = Growing { question, answer, bytes: 0, bytes_max: self.bytes_max / PARTS };
        (self.bytes_max > 0).then_some(growing)
    }

    /// The recorded answer to this question.
    pub(crate) fn find(&self, question: &Question) -> Option<Given> {
        let mut kept = self.kept();
        kept.now += 1;
        let now = kept.now;
        let entry = kept.answers.get_mut(question)?;
        entry.given_at = now;
        Some(entry.answer.clone())
    }

    /// Keeps a whole answer.
    pub(crate) fn keep(&self, growing: Growing) {
        let Growing { question, answer, bytes, .. } = growing;
        let mut kept = self.kept();
        kept.now += 1;
        let entry = Entry { answer, bytes, given_at: kept.now };
        let before = kept.answers.insert(Arc::new(question), entry);
        kept.bytes = kept.bytes + bytes - before.map_or(0, |entry| entry.bytes);
        while kept.bytes > self.bytes_max || kept.answers.len() > ANSWERS_MAX {
            kept.forget_one();
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each change is complete in itself: a panic leaves nothing half done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Given {
    /// How many rows it has.
    pub(crate) fn rows(&self) -> u64 {
        self.batches.iter().map(|batch| batch.num_rows() as u64).sum()
    }
}

impl Growing {
    /// The answer with one more batch. None once it is too large.
    pub(crate) fn with(mut self, batch: &RecordBatch) -> Option<Self> {
        // A batch that can't be copied is not kept.
        let batch = compacted(batch).ok()?;
        self.bytes += batch.get_array_memory_size();
        self.answer.batches.push(batch);
        (self.bytes <= self.bytes_max).then_some(self)
    }
}

impl Kept {
    fn forget_one(&mut self) {
        let oldest =
            self.answers.iter().min_by_key(|(_, entry)| entry.given_at).map(|(question, _)| Arc::clone(question));
        if let Some(entry) = oldest.and_then(|question| self.answers.remove(&question)) {
            self.bytes -= entry.bytes;
        }
    }
}

/// A copy of the batch that does not hold on to the pages it was read from, as views do.
fn compacted(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => Arc::clone(column),
    });
    RecordBatch::try_new_with_options(
        batch.schema(),
        columns.collect(),
        &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
}
