//! Columns that misfits ask for: what is in `_rescued`, how often, and the column that would hold it.
//!
//! A proposal is an offer: nothing changes before somebody accepts it. No column changes its type for it, except where Iceberg
//! lets a type become wider: what a column can't hold gets a column beside it, and senders feed both by one name.

mod groups;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::{filter_record_batch, is_not_null};
use lacus_core::{Context, Error, Result};

use self::groups::{Group, Shape};
use crate::compact::rewrite::read_each;
use crate::conform::conform;
use crate::lake::Inner;
use crate::refill::{
    Refilled, Step, entries, files_with_misfits, fitting, fixed_columns, pieces, refill, rescued_of, way,
};
use crate::schema::{ColumnType, SchemaChange, TableSchema};
use crate::table::{LiveFile, Table};

/// The most groups of misfits that are kept apart. Further ones are only counted.
const GROUPS_MAX: usize = 500;
/// Examples of one column.
const EXAMPLES_MAX: usize = 3;
/// The longest example, in characters.
const EXAMPLE_LETTERS_MAX: usize = 80;

/// The misfits of a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Misfitting {
    /// All rows of the table.
    pub rows: u64,
    /// Rows with something in `_rescued`.
    pub rows_with_misfits: u64,
    /// The proposals, for the most frequent misfits first.
    pub proposals: Vec<Proposal>,
    /// Values for which no column is proposed: second values of a key, values within maps or among array elements of other
    /// types.
    pub others: u64,
}

/// A column that would hold values which are in `_rescued` now.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The column as senders know it: `amount`, `items.element.sku`.
    pub column: String,
    /// How many there are.
    pub values: u64,
    /// The column that would hold them.
    pub becomes: String,
    /// Its type. None if the column exists and holds the values as they are: they came before it did.
    pub kind: Option<ColumnType>,
    /// What would change.
    pub change: Option<SchemaChange>,
    /// Example values as JSON; long ones are cut.
    pub examples: Vec<String>,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    rows_with_misfits: u64,
    /// By the path of their column.
    fitting: BTreeMap<String, (u64, Vec<String>)>,
    groups: BTreeMap<(Vec<String>, Shape), Group>,
    others: u64,
}

/// Collects all misfits of a table, those of its tail too.
pub(crate) async fn misfitting(lake: Arc<Inner>, table: Arc<Table>) -> Result<Misfitting> {
    let doing = format!("look for misfits of table \"{}\"", table.name());
    let state = table.state();
    let schema = Arc::clone(&state.schema);
    let fixed = Arc::new(fixed_columns(&table.base().metadata));
    let mut found = Found::default();
    for file in files_with_misfits(&state) {
        let (schema, fixed) = (Arc::clone(&schema), Arc::clone(&fixed));
        let look = move |found: &mut Found, rows: RecordBatch| found.look(&rows, &schema, &fixed).map(|()| true);
        found = read_each(&lake, &file, Arc::clone(&state.arrow_schema), found, look).await.context(&doing)?;
    }
    let rows = state.files.iter().map(LiveFile::live_rows).sum::<u64>();
    let in_tail = state.tail.iter().map(|batch| batch.rows.num_rows() as u64).sum::<u64>();
    let work = move || {
        for batch in &state.tail {
            found.look(&conform(&batch.rows, &state.arrow_schema)?, &schema, &fixed)?;
        }
        found.propose(&schema)
    };
    let proposed = tokio::task::spawn_blocking(work).await;
    let proposed =
        proposed.map_err(|error| Error::internal("looking for misfits ended unexpectedly").with_source(error))?;
    let found = proposed.context(doing)?;
    Ok(Misfitting { rows: rows + in_tail, ..found })
}

impl Found {
    fn look(&mut self, rows: &RecordBatch, schema: &TableSchema, fixed: &BTreeSet<i32>) -> Result<()> {
        let Some(rescued) = rescued_of(rows) else { return Ok(()) };
        let broken = |error| Error::internal("pick rows with misfits").with_source(error);
        let has_some = is_not_null(rescued).map_err(broken)?;
        let mut rows = filter_record_batch(rows, &has_some).map_err(broken)?;
        self.rows_with_misfits += rows.num_rows() as u64;
        if let Some(Refilled { rows: refilled, paths }) = refill(&rows, schema, fixed)? {
            let before =
                rescued_of(&rows).map(|rescued| rescued.iter().flatten().map(str::to_owned).collect::<Vec<_>>());
            self.add_fitting(&paths, &before.unwrap_or_default(), schema)?;
            rows = refilled;
        }
        self.add_misfits(&rows, schema)
    }

    /// Counts values that current columns can hold.
    fn add_fitting(&mut self, paths: &[String], before: &[String], schema: &TableSchema) -> Result<()> {
        for path in paths {
            let Some(way) = way(path, &schema.columns) else { continue };
            self.fitting.entry(names(&way.steps).join(".")).or_default().0 += 1;
        }
        for text in before {
            for entry in entries(text)? {
                let Some(way) = way(&entry.path, &schema.columns) else { continue };
                if let Some((_, examples)) = self.fitting.get_mut(&names(&way.steps).join(".")) {
                    add_example(examples, entry.value);
                }
            }
        }
        Ok(())
    }

    /// Takes down what fits no column.
    fn add_misfits(&mut self, rows: &RecordBatch, schema: &TableSchema) -> Result<()> {
        let Some(rescued) = rescued_of(rows) else { return Ok(()) };
        let (mut ways, mut values) = (Vec::new(), Vec::new());
        for row in (0..rescued.len()).filter(|row| rescued.is_valid(*row)) {
            for entry in entries(rescued.value(row))? {
                self.add_pieces(entry.path, entry.value.to_owned(), schema, &mut ways);
            }
        }
        for (path, value) in &ways {
            values.extend(way(path, &schema.columns).map(|way| (way, value.as_str())));
        }
        for ((way, value), fits) in values.iter().zip(fitting(&values, schema)?) {
            let key = (names(&way.steps), Shape::of(value));
            let has_room = self.groups.len() < GROUPS_MAX || self.groups.contains_key(&key);
            // A value that fits but is not in its column is a second value of a key, or its column partitions or sorts the
            // table.
            if fits || !has_room {
                self.others += 1;
                continue;
            }
            self.groups.entry(key).or_insert_with(|| Group::new(way)).add(value);
        }
        Ok(())
    }

    /// Takes an object or array apart if there is a column for it: then its parts are the misfits.
    fn add_pieces(&mut self, path: String, value: String, schema: &TableSchema, found: &mut Vec<(String, String)>) {
        // Bounded: the values are parsed from text, which the decoder does not let nest deeper than its limit.
        let mut waiting = vec![(path, value)];
        while let Some((path, value)) = waiting.pop() {
            let Some(way) = way(&path, &schema.columns) else {
                self.others += 1;
                continue;
            };
            match pieces(&value).filter(|_| way.has_container(value.starts_with('['))) {
                Some(inside) => {
                    waiting.extend(inside.into_iter().rev().map(|(step, value)| (format!("{path}{step}"), value)));
                }
                None => found.push((path, value)),
            }
        }
    }

    fn propose(self, schema: &TableSchema) -> Result<Misfitting> {
        let mut told =
            Misfitting { rows_with_misfits: self.rows_with_misfits, others: self.others, ..Misfitting::default() };
        for (column, (values, examples)) in self.fitting {
            let becomes = column.clone();
            told.proposals.push(Proposal { column, values, becomes, kind: None, change: None, examples });
        }
        // The most frequent type of a new field gets the plain name.
        let mut groups: Vec<_> = self.groups.into_iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.values));
        let mut after = schema.clone();
        for ((path, shape), group) in groups {
            match group.propose(&path, shape, &mut after)? {
                Some(proposal) => told.proposals.push(proposal),
                None => told.others += group.values,
            }
        }
        told.proposals.sort_by_key(|proposal| std::cmp::Reverse(proposal.values));
        Ok(told)
    }
}

impl Misfitting {
    /// The changes that give the misfits of a column, or of a proposed one, a place; none if nothing is proposed for it.
    #[must_use]
    pub fn changes_for(&self, column: &str) -> Option<Vec<SchemaChange>> {
        let meant = self.proposals.iter().filter(|proposal| proposal.column == column || proposal.becomes == column);
        let mut meant: Vec<&Proposal> = meant.collect();
        // A text column would hold numbers, too: so it comes last.
        meant.sort_by_key(|proposal| proposal.kind == Some(ColumnType::Text));
        let changes = meant.iter().filter_map(|proposal| proposal.change.clone()).collect();
        (!meant.is_empty()).then_some(changes)
    }
}

fn add_example(examples: &mut Vec<String>, value: &str) {
    if examples.len() < EXAMPLES_MAX {
        let mut example: String = value.chars().take(EXAMPLE_LETTERS_MAX).collect();
        if example.len() < value.len() {
            example.push('…');
        }
        if !examples.contains(&example) {
            examples.push(example);
        }
    }
}

/// A way as a path of columns.
fn names(steps: &[Step]) -> Vec<String> {
    let name = |step: &Step| match step {
        Step::Field(name) => name.clone(),
        Step::Element(_) => "element".to_owned(),
    };
    steps.iter().map(name).collect()
}

#[cfg(test)]
mod tests;
