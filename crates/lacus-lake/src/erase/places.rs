//! Places in the log of one stream: what an erasure is about.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use lacus_core::clock::Hour;
use lacus_core::{Error, Kind, Offset, Partition, Position, Result, Timestamp};

use crate::file_stats::Bound;
use crate::schema::{OFFSET, PARTITION, TableSchema};
use crate::table::LiveFile;

/// The most places that are erased at once. They are in memory, with some 50 bytes each.
const PLACES_MAX: usize = 1_000_000;

/// Places in the log of one stream, and the hours in which their events arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    offsets: HashMap<u32, BTreeSet<u64>>,
    hours: BTreeSet<Hour>,
    count: usize,
}

impl Places {
    /// Adds the place of an event that arrived at this time.
    ///
    /// # Errors
    /// `Limited` if there are too many.
    pub fn add(&mut self, position: Position, received_at: Timestamp) -> Result<()> {
        let is_new = self.offsets.entry(position.partition.0).or_default().insert(position.offset.0);
        self.count += usize::from(is_new);
        self.hours.insert(received_at.hour());
        self.must_be_few()
    }

    fn must_be_few(&self) -> Result<()> {
        if self.count > PLACES_MAX {
            return Err(Error::new(Kind::Limited, format!("more than {PLACES_MAX} events meet the condition"))
                .with_hint("erase them in parts, with narrower conditions"));
        }
        Ok(())
    }

    /// Adds all of others.
    ///
    /// # Errors
    /// `Limited` if there are too many.
    pub fn add_all(&mut self, others: &Self) -> Result<()> {
        self.hours.extend(&others.hours);
        for (partition, offsets) in &others.offsets {
            let own = self.offsets.entry(*partition).or_default();
            let before = own.len();
            own.extend(offsets);
            self.count += own.len() - before;
        }
        self.must_be_few()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Position> + '_ {
        self.offsets.iter().flat_map(|(partition, offsets)| {
            offsets.iter().map(|offset| Position { partition: Partition(*partition), offset: Offset(*offset) })
        })
    }

    pub(super) fn contains(&self, partition: u32, offset: u64) -> bool {
        self.offsets.get(&partition).is_some_and(|offsets| offsets.contains(&offset))
    }

    pub(super) fn hours(&self) -> impl Iterator<Item = Hour> + '_ {
        self.hours.iter().copied()
    }

    /// Whether a file may have one of them, judging by its bounds.
    pub(super) fn may_be_in(&self, file: &LiveFile, schema: &TableSchema) -> bool {
        let Some(&[_, _, _, offset]) = schema.system.as_ref() else { return true };
        let bounds = file.stats.column(offset).map(|column| (column.lower, column.upper));
        let Some((Some(Bound::Long(lower)), Some(Bound::Long(upper)))) = bounds else { return true };
        let (lower, upper) = (lower.cast_unsigned(), upper.cast_unsigned());
        lower > upper || self.offsets.values().any(|offsets| offsets.range(lower..=upper).next().is_some())
    }

    /// Which rows of a batch are none of these. Rows without a place stay.
    pub(super) fn staying(&self, batch: &RecordBatch) -> BooleanArray {
        let partitions = batch.column_by_name(PARTITION).and_then(|column| column.as_primitive_opt::<Int32Type>());
        let offsets = batch.column_by_name(OFFSET).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let (Some(partitions), Some(offsets)) = (partitions, offsets) else {
            return BooleanArray::from(vec![true; batch.num_rows()]);
        };
        let stays = partitions.iter().zip(offsets).map(|place| match place {
            (Some(partition), Some(offset)) => !self.contains(partition.cast_unsigned(), offset.cast_unsigned()),
            _ => true,
        });
        stays.map(Some).collect()
    }
}
