//! Rows dealt out by the hash of their group, in memory and on disk.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::spill::{SpillManager, get_record_batch_memory_size};
use futures::{StreamExt, TryStreamExt, stream};

use super::part::{Part, bytes_shown, rows as in_memory, rows_of, without_waste_within};
use super::{aggregate_of, part_of};
use crate::large_joins::is_out_of_memory;

/// Parts of a partition.
const PARTS: usize = 32;

/// Fewer rows are one part, if they are no more bytes than this: they are as quickly grouped as dealt out.
const WHOLE_ROWS: usize = 65_536;
const WHOLE_BYTES: usize = 16 << 20;

/// Bytes of rows that are dealt out and may be in no batch of their part yet, of all partitions together.
const LOOSE_BYTES: usize = 16 << 20;

/// Grouping takes so many times the memory that the rows take. What takes more than so much goes to disk by itself.
const ROOM: usize = 3;
const ROOM_BYTES_MAX: usize = 64 << 20;

/// For hashes unlike those that dealt rows out to partitions, and unlike those of the tables of groups.
const SEED: u64 = 0x7061_7274;

/// The rows of one partition.
pub(super) struct Dealt {
    aggregate: Arc<dyn ExecutionPlan>,
    partition: usize,
    context: Arc<TaskContext>,
    schema: SchemaRef,
    /// What tells groups apart.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    parts: Vec<Part>,
    /// Bytes of rows that came since those of all parts were put together.
    loose: usize,
    /// Room to group the largest part in, until parts are grouped. What parts take stands with them.
    room: MemoryReservation,
    spills: SpillManager,
    /// Whether rows of a group came often enough to be brought together on the way.
    merging_helps: bool,
}

impl Dealt {
    /// For the rows that `aggregate` groups in a partition.
    pub(super) fn new(
        aggregate: &Arc<dyn ExecutionPlan>,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let schema = part_of(aggregate)?.schema();
        let groups = aggregate_of(aggregate)?.group_expr();
        let name = format!("InPartsExec[{partition}]");
        let compression = context.session_config().spill_compression();
        let spills =
            SpillManager::new(context.runtime_env(), SpillMetrics::new(metrics, partition), Arc::clone(&schema));
        Ok(Self {
            aggregate: Arc::clone(aggregate),
            partition,
            context: Arc::clone(context),
            schema,
            keys: groups.expr().iter().map(|(key, _)| Arc::clone(key)).collect(),
            parts: Vec::new(),
            loose: 0,
            room: MemoryConsumer::new(name).with_can_spill(true).register(context.memory_pool()),
            spills: spills.with_compression_type(compression),
            merging_helps: true,
        })
    }

    /// Takes all rows; gives those of one part after the other, and the memory to group them in.
    ///
    /// # Errors
    /// Those of the rows, and if there is room for them neither in memory nor on disk.
    pub(super) async fn deal(
        mut self,
        mut rows: SendableRecordBatchStream,
    ) -> Result<(Vec<SendableRecordBatchStream>, MemoryReservation)> {
        let (mut first, mut count, mut bytes) = (Vec::new(), 0, 0);
        while count < WHOLE_ROWS && bytes < WHOLE_BYTES {
            let Some(batch) = rows.try_next().await? else {
                return Ok((vec![in_memory(&self.schema, stream::iter(first.into_iter().map(Ok)))], self.room));
            };
            count += batch.num_rows();
            bytes += bytes_shown(&batch);
            first.push(batch);
        }
        self.parts = (0..PARTS).map(|_| Part::new(&self.schema, self.room.new_empty())).collect();
        let mut all = in_memory(&self.schema, stream::iter(first.into_iter().map(Ok)).chain(rows));
        while let Some(batch) = all.try_next().await? {
            self.add(&batch).await?;
        }
        self.put_together().await?;
        let parts = self.parts.into_iter().map(|part| part.rows(&self.spills)).collect::<Result<Vec<_>>>()?;
        Ok((parts, self.room))
    }

    async fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let (rows, ends) = self.by_part(batch)?;
        let mut begin = 0;
        for (part, end) in ends.into_iter().enumerate() {
            if end > begin {
                self.parts[part].push(rows.slice(begin, end - begin))?;
                self.hold_what_came(part).await?;
            }
            begin = end;
        }
        self.loose += bytes_shown(&rows);
        let partitions = self.context.session_config().target_partitions().max(1);
        if self.loose >= LOOSE_BYTES / partitions {
            self.put_together().await?;
        }
        Ok(())
    }

    /// Has all rows in batches.
    async fn put_together(&mut self) -> Result<()> {
        for part in 0..PARTS {
            self.parts[part].end()?;
            self.hold_what_came(part).await?;
        }
        self.loose = 0;
        Ok(())
    }

    /// The rows of a batch by their part, and where each part ends.
    fn by_part(&self, batch: &RecordBatch) -> Result<(RecordBatch, [usize; PARTS])> {
        let count = batch.num_rows();
        let keys = self.keys.iter().map(|key| key.evaluate(batch)?.into_array(count)).collect::<Result<Vec<_>>>()?;
        let mut hashes = vec![0; count];
        create_hashes(&keys, &RandomState::with_seed(SEED), &mut hashes)?;
        let part = |hash: u64| (hash % PARTS as u64) as usize;
        let mut places = [0; PARTS];
        for hash in &hashes {
            places[part(*hash)] += 1;
        }
        let mut end = 0;
        for place in &mut places {
            // Where a part begins, until its rows are there.
            (*place, end) = (end, end + *place);
        }
        let mut order = vec![0_u32; count];
        for (row, hash) in (0..).zip(&hashes) {
            let place = &mut places[part(*hash)];
            order[*place] = row;
            *place += 1;
        }
        Ok((without_waste_within(&take_record_batch(batch, &UInt32Array::from(order))?)?, places))
    }

    /// Holds the batches of a part that are full, in memory or on disk.
    async fn hold_what_came(&mut self, part: usize) -> Result<()> {
        while let Some(batch) = self.parts[part].next_batch()? {
            let bytes = get_record_batch_memory_size(&batch);
            self.parts[part].count(bytes);
            while !(self.has_room(part) && self.parts[part].try_hold(&batch, bytes)) {
                let largest = (0..PARTS).max_by_key(|part| self.parts[*part].bytes()).unwrap_or(part);
                if self.parts[largest].bytes() == 0 {
                    self.parts[part].write(&[batch], &self.spills)?;
                    break;
                }
                self.make_room(largest).await?;
            }
        }
        Ok(())
    }

    /// Whether there is room to group a part in.
    fn has_room(&self, part: usize) -> bool {
        let wanted = (self.parts[part].bytes_in_all() * ROOM).min(ROOM_BYTES_MAX);
        self.room.try_grow(wanted.saturating_sub(self.room.size())).is_ok()
    }

    /// Has a part take less memory: as much as its groups do, or none.
    async fn make_room(&mut self, part: usize) -> Result<()> {
        let may_merge = self.merging_helps && self.parts[part].has_new_rows();
        let (held, memory) = self.parts[part].take();
        if may_merge {
            match self.merged(held.clone()).await {
                Ok(groups) if rows_of(&groups) <= rows_of(&held) / 2 => {
                    drop(memory);
                    self.parts[part].hold_groups(groups, &held);
                    return Ok(());
                }
                Ok(_) => self.merging_helps = false,
                // There is no room for it now.
                Err(error) if is_out_of_memory(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.parts[part].write(&held, &self.spills)
    }

    /// The groups of some rows.
    async fn merged(&mut self, held: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        let aggregate = aggregate_of(&self.aggregate)?;
        // States of groups come out of it as they went into it: `aggregate` makes values of them.
        let merging = AggregateExec::try_new(
            AggregateMode::PartialReduce,
            aggregate.group_expr().clone(),
            aggregate.aggr_expr().to_vec(),
            aggregate.filter_expr().to_vec(),
            Arc::clone(aggregate.input()),
            aggregate.input_schema(),
        )?;
        let rows = in_memory(&self.schema, stream::iter(held.into_iter().map(Ok)));
        let mut groups = part_of(&self.aggregate)?.run(&merging, self.partition, rows, &self.context)?;
        let mut merged = Part::new(&self.schema, self.room.new_empty());
        while let Some(batch) = groups.try_next().await? {
            merged.push(RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())?)?;
        }
        merged.end()?;
        std::iter::from_fn(|| merged.next_batch().transpose()).collect()
    }
}
