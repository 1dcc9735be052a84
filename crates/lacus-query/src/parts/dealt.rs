//! Rows dealt out by the hash of their group, in memory and on disk.
//!
//! The rows of each input are dealt out by a task of its own, to parts of its own: nobody waits for another. When all are there, a
//! part is what all inputs have of it.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::hash_utils::create_hashes;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::repartition::REPARTITION_RANDOM_STATE;
use datafusion::physical_plan::spill::{SpillManager, get_record_batch_memory_size};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;

use super::part::{Part, bytes_shown, rows as in_memory, rows_of, without_waste_within};
use super::{aggregate_of, part_of};
use crate::large_joins::is_out_of_memory;

/// The most parts of a partition, and about as many of all partitions together: each input has room for rows in each of them.
const PARTS_MAX: usize = 32;
const PARTS_OF_ALL: usize = 64;

/// Fewer rows of each input are one part, if they are no more bytes than this: they are as quickly grouped as dealt out.
const WHOLE_ROWS: usize = 65_536;
const WHOLE_BYTES: usize = 16 << 20;

/// Bytes of rows that are dealt out and may be in no batch of their part yet, of all inputs together.
const LOOSE_BYTES: usize = 16 << 20;

/// Grouping takes so many times the memory that the rows take. What takes more than so much goes to disk by itself.
const ROOM: usize = 3;
const ROOM_BYTES_MAX: usize = 64 << 20;

/// The rows of a partition, one part after the other, and the memory to group them in.
pub(super) type Rows = (Vec<SendableRecordBatchStream>, MemoryReservation);

/// The rows of one input.
pub(super) struct Dealt {
    aggregate: Arc<dyn ExecutionPlan>,
    input: usize,
    context: Arc<TaskContext>,
    schema: SchemaRef,
    /// What says where a row belongs.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    partitions: usize,
    /// The first rows, as long as they are few.
    first: Vec<RecordBatch>,
    /// Those of one partition after those of the other; none while rows are few.
    parts: Vec<Part>,
    /// Bytes of rows that came since those of all parts were put together.
    loose: usize,
    /// Room to group the largest part in, until parts are grouped. What parts take stands with them.
    room: MemoryReservation,
    spills: SpillManager,
    /// Whether rows of a group came often enough to be brought together on the way.
    merging_helps: bool,
}

/// Deals out the rows of some inputs: those of each partition.
///
/// # Errors
/// Those of the rows, and if there is room for them neither in memory nor on disk.
pub(super) async fn deal(inputs: Vec<(Dealt, SendableRecordBatchStream)>) -> Result<Vec<Rows>> {
    let mut tasks = JoinSet::new();
    for (dealt, rows) in inputs {
        tasks.spawn(dealt.take_all(rows));
    }
    let mut dealt = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        dealt.push(ended.map_err(|error| DataFusionError::External(error.into()))??);
    }
    by_partition(dealt).await
}

/// What all inputs have for each partition.
async fn by_partition(mut inputs: Vec<Dealt>) -> Result<Vec<Rows>> {
    let Some(first) = inputs.first() else { return Ok(Vec::new()) };
    let (schema, partitions, none) = (Arc::clone(&first.schema), first.partitions, first.room.new_empty());
    let are_few = inputs.iter().all(|input| input.parts.is_empty());
    let parts = if are_few { 1 } else { parts_of(partitions) };
    for input in inputs.iter_mut().filter(|_| !are_few) {
        input.deal_first().await?;
        input.put_together().await?;
    }
    let mut places: Vec<Vec<SendableRecordBatchStream>> = (0..partitions * parts).map(|_| Vec::new()).collect();
    let mut rooms = Vec::with_capacity(inputs.len());
    for input in inputs {
        let (rows, room) = if are_few { input.few()? } else { input.many()? };
        for (place, rows) in places.iter_mut().zip(rows) {
            place.push(rows);
        }
        rooms.push(room);
    }
    let mut parts_of_all = places.into_iter().map(|rows| in_memory(&schema, stream::iter(rows).flatten()));
    let of_partition = (0..partitions).map(|_| {
        let rows: Vec<_> = parts_of_all.by_ref().take(parts).collect();
        (rows, rooms.pop().unwrap_or_else(|| none.new_empty()))
    });
    Ok(of_partition.collect())
}

/// How many parts each of so many partitions has: a power of two.
fn parts_of(partitions: usize) -> usize {
    (PARTS_OF_ALL / partitions.max(1)).clamp(1, PARTS_MAX).next_power_of_two()
}

impl Dealt {
    /// For the rows that `aggregate` groups and has from this input.
    pub(super) fn new(
        aggregate: &Arc<dyn ExecutionPlan>,
        metrics: &ExecutionPlanMetricsSet,
        input: usize,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let part = part_of(aggregate)?;
        let schema = part.schema();
        let (keys, partitions) = match part.dealt_by() {
            Some((keys, partitions)) => (keys.to_vec(), partitions),
            None => {
                let groups = aggregate_of(aggregate)?.group_expr();
                (groups.expr().iter().map(|(key, _)| Arc::clone(key)).collect(), 1)
            }
        };
        let name = format!("InPartsExec[{input}]");
        let compression = context.session_config().spill_compression();
        let spills = SpillManager::new(context.runtime_env(), SpillMetrics::new(metrics, input), Arc::clone(&schema));
        Ok(Self {
            aggregate: Arc::clone(aggregate),
            input,
            context: Arc::clone(context),
            schema,
            keys,
            partitions,
            first: Vec::new(),
            parts: Vec::new(),
            loose: 0,
            room: MemoryConsumer::new(name).with_can_spill(true).register(context.memory_pool()),
            spills: spills.with_compression_type(compression),
            merging_helps: true,
        })
    }

    /// Takes all rows: few are held as they are, many are dealt out.
    async fn take_all(mut self, rows: SendableRecordBatchStream) -> Result<Self> {
        let mut rows = in_memory(&self.schema, rows);
        let (mut count, mut bytes) = (0, 0);
        while let Some(batch) = rows.try_next().await? {
            if !self.parts.is_empty() {
                self.add(&batch).await?;
                continue;
            }
            count += batch.num_rows();
            bytes += bytes_shown(&batch);
            self.first.push(batch);
            if count >= WHOLE_ROWS || bytes >= WHOLE_BYTES {
                self.deal_first().await?;
            }
        }
        if !self.parts.is_empty() {
            self.put_together().await?;
        }
        Ok(self)
    }

    /// Deals out the first rows, unless it was done.
    async fn deal_first(&mut self) -> Result<()> {
        if self.parts.is_empty() {
            let part = |_| Part::new(&self.schema, self.room.new_empty());
            self.parts = (0..self.partitions * parts_of(self.partitions)).map(part).collect();
        }
        for batch in std::mem::take(&mut self.first) {
            self.add(&batch).await?;
        }
        Ok(())
    }

    /// Few rows: those of each partition.
    fn few(self) -> Result<(Vec<SendableRecordBatchStream>, MemoryReservation)> {
        let mut rows = vec![Vec::new(); self.partitions];
        for batch in &self.first {
            if self.partitions == 1 {
                rows[0].push(batch.clone());
                continue;
            }
            let (batch, ends) = self.by_place(batch, 1)?;
            let mut begin = 0;
            for (rows, end) in rows.iter_mut().zip(ends) {
                if end > begin {
                    rows.push(batch.slice(begin, end - begin));
                }
                begin = end;
            }
        }
        let rows = rows.into_iter().map(|rows| in_memory(&self.schema, stream::iter(rows.into_iter().map(Ok))));
        Ok((rows.collect(), self.room))
    }

    /// Many rows: those of each part of each partition.
    fn many(self) -> Result<(Vec<SendableRecordBatchStream>, MemoryReservation)> {
        let rows = self.parts.into_iter().map(|part| part.rows(&self.spills)).collect::<Result<Vec<_>>>()?;
        Ok((rows, self.room))
    }

    async fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let (rows, ends) = self.by_place(batch, parts_of(self.partitions))?;
        let mut begin = 0;
        for (part, end) in ends.into_iter().enumerate() {
            if end > begin {
                self.parts[part].push(rows.slice(begin, end - begin))?;
                self.hold_what_came(part).await?;
            }
            begin = end;
        }
        self.loose += bytes_shown(&rows);
        let inputs = self.context.session_config().target_partitions().max(1);
        if self.loose >= LOOSE_BYTES / inputs {
            self.put_together().await?;
        }
        Ok(())
    }

    /// Has all rows in batches.
    async fn put_together(&mut self) -> Result<()> {
        for part in 0..self.parts.len() {
            self.parts[part].end()?;
            self.hold_what_came(part).await?;
        }
        self.loose = 0;
        Ok(())
    }

    /// The rows of a batch by partition and, within it, by part, of which there are so many; and where those of each end.
    ///
    /// Rows come to the same partition as by the engine's own exchange: a join may have its other side from there.
    fn by_place(&self, batch: &RecordBatch, parts: usize) -> Result<(RecordBatch, Vec<usize>)> {
        let count = batch.num_rows();
        let keys = self.keys.iter().map(|key| key.evaluate(batch)?.into_array(count)).collect::<Result<Vec<_>>>()?;
        let mut hashes = vec![0; count];
        create_hashes(&keys, REPARTITION_RANDOM_STATE.random_state(), &mut hashes)?;
        let partitions = self.partitions as u64;
        let partition = |hash: u64| match partitions.is_power_of_two() {
            true => hash & (partitions - 1),
            false => hash % partitions,
        };
        // Which part it is, the upper half says.
        let place = |hash: &u64| partition(*hash) as usize * parts + ((hash >> 32) as usize & (parts - 1));
        let places: Vec<usize> = hashes.iter().map(place).collect();
        let mut ends = vec![0; self.partitions * parts];
        for place in &places {
            ends[*place] += 1;
        }
        let mut end = 0;
        for place in &mut ends {
            // Where its rows begin, until they are there.
            (*place, end) = (end, end + *place);
        }
        let mut order = vec![0_u32; count];
        for (row, place) in (0..).zip(places) {
            order[ends[place]] = row;
            ends[place] += 1;
        }
        Ok((without_waste_within(&take_record_batch(batch, &UInt32Array::from(order))?)?, ends))
    }

    /// Holds the batches of a part that are full, in memory or on disk.
    async fn hold_what_came(&mut self, part: usize) -> Result<()> {
        while let Some(batch) = self.parts[part].next_batch()? {
            let bytes = get_record_batch_memory_size(&batch);
            self.parts[part].count(bytes);
            while !(self.has_room(part) && self.parts[part].try_hold(&batch, bytes)) {
                let largest = (0..self.parts.len()).max_by_key(|part| self.parts[*part].bytes()).unwrap_or(part);
                if self.parts[largest].bytes() == 0 {
                    self.parts[part].write(&[batch], &self.spills)?;
                    break;
                }
                self.make_room(largest).await?;
            }
        }
        Ok(())
    }

    /// Whether there is room to group a part in: each input keeps its share of it, for all partitions.
    fn has_room(&self, part: usize) -> bool {
        let wanted = (self.parts[part].bytes_in_all() * ROOM * self.partitions).min(ROOM_BYTES_MAX);
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
        let mut groups = part_of(&self.aggregate)?.run(&merging, self.input, rows, &self.context)?;
        let mut merged = Part::new(&self.schema, self.room.new_empty());
        while let Some(batch) = groups.try_next().await? {
            merged.push(RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())?)?;
        }
        merged.end()?;
        std::iter::from_fn(|| merged.next_batch().transpose()).collect()
    }
}
