//! Rows that are computed when they are first asked for, and kept until nobody asks any more: in memory as long as there is room,
//! and else on disk.
//!
//! They are all there before anybody has one: who reads faster waits for nobody who reads slower, and none waits for ever.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result, internal_datafusion_err, internal_err};
use datafusion::execution::disk_manager::RefCountedTempFile;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet, SpillMetrics};
use datafusion::physical_plan::spill::{SpillManager, get_record_batch_memory_size};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, TryStreamExt, stream};
use tokio::sync::oneshot;

use crate::answer::StopOnDrop;

/// Rows on their way.
type Computing = Shared<BoxFuture<'static, Result<Arc<Kept>, Arc<DataFusionError>>>>;

/// The rows of a query, once somebody has asked for them.
#[derive(Default)]
pub(super) struct SharedRows(Mutex<Option<Computing>>);

impl fmt::Debug for SharedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedRows")
    }
}

impl SharedRows {
    /// What computes them; whoever is first begins it. What failed is begun anew: by another plan that needs less memory.
    fn computing(&self, begin: impl FnOnce() -> Result<Computing>) -> Result<Computing> {
        // Every change is one assignment.
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match begun.as_ref() {
            Some(computing) if !matches!(computing.peek(), Some(Err(_))) => Ok(computing.clone()),
            _ => Ok(begun.insert(begin()?).clone()),
        }
    }
}

/// All rows.
struct Kept {
    held: Vec<RecordBatch>,
    /// What those that are held take.
    _memory: MemoryReservation,
    file: Option<RefCountedTempFile>,
    spills: SpillManager,
}

impl Kept {
    /// Takes all rows.
    async fn of(mut rows: SendableRecordBatchStream, memory: MemoryReservation, spills: SpillManager) -> Result<Self> {
        let (mut held, mut file) = (Vec::new(), None);
        while let Some(batch) = rows.try_next().await? {
            if file.is_none() && memory.try_grow(get_record_batch_memory_size(&batch)).is_ok() {
                held.push(batch);
                continue;
            }
            if file.is_none() {
                let mut begun = spills.create_in_progress_file("rows that are computed once")?;
                for batch in held.drain(..) {
                    begun.append_batch(&batch)?;
                }
                memory.free();
                file = Some(begun);
            }
            if let Some(file) = &mut file {
                file.append_batch(&batch)?;
            }
        }
        let file = match file {
            Some(mut file) => file.finish()?,
            None => None,
        };
        Ok(Self { held, _memory: memory, file, spills })
    }

    fn rows(&self) -> Result<SendableRecordBatchStream> {
        if let Some(file) = &self.file {
            return self.spills.read_spill_as_stream(file.clone(), None);
        }
        let held = stream::iter(self.held.clone().into_iter().map(Ok));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(self.spills.schema()), held)))
    }
}

/// Gives rows that are computed once.
#[derive(Debug)]
pub(super) struct OnceExec {
    input: Arc<dyn ExecutionPlan>,
    rows: Arc<SharedRows>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl OnceExec {
    /// The rows of `input`, unless another one of the same `rows` was asked before.
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, rows: Arc<SharedRows>) -> Self {
        let of_rows = EquivalenceProperties::new(input.schema());
        let of_plan = input.properties();
        let (emission, boundedness) = (of_plan.emission_type, of_plan.boundedness);
        let properties = PlanProperties::new(of_rows, Partitioning::UnknownPartitioning(1), emission, boundedness);
        Self { input, rows, properties: properties.into(), metrics: ExecutionPlanMetricsSet::new() }
    }

    /// Begins to compute the rows, in a task of its own: it goes on whoever of those that ask looks at it.
    fn begin(&self, context: &Arc<TaskContext>) -> Result<Computing> {
        let rows = self.input.execute(0, Arc::clone(context))?;
        let memory = MemoryConsumer::new("OnceExec").with_can_spill(true).register(context.memory_pool());
        let metrics = SpillMetrics::new(&self.metrics, 0);
        let spills = SpillManager::new(context.runtime_env(), metrics, self.input.schema())
            .with_compression_type(context.session_config().spill_compression());
        let (tell, told) = oneshot::channel();
        let task = StopOnDrop(tokio::spawn(async move {
            // Nobody listens once the question is gone.
            let _gone = tell.send(Kept::of(rows, memory, spills).await);
        }));
        let computing = async move {
            let kept = told.await;
            drop(task);
            let ended = |_| internal_datafusion_err!("computing rows ended unexpectedly");
            kept.map_err(ended).and_then(|kept| kept).map(Arc::new).map_err(Arc::new)
        };
        Ok(computing.boxed().shared())
    }
}

impl ExecutionPlan for OnceExec {
    fn name(&self) -> &str {
        "OnceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop() else { return internal_err!("rows that are computed once are of a query") };
        Ok(Arc::new(Self::new(input, Arc::clone(&self.rows))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("there is one partition, and no {partition}");
        }
        let computing = self.rows.computing(|| self.begin(&context))?;
        let rows = async move { computing.await.map_err(DataFusionError::Shared)?.rows() };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(rows).try_flatten())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

impl DisplayAs for OnceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnceExec")
    }
}
