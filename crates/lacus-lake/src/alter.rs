//! Changes of a table's columns: a commit of metadata alone. No file is read or rewritten.
//!
//! Rows that are visible and not committed have the old columns, so there must be none: whoever delivers to the table commits
//! first, and reads nothing more until the change is done.

use std::sync::Arc;

use futures::future::BoxFuture;
use iceberg::spec::{Operation, PartitionField, TableMetadata};
use lacus_core::{Context, Error, Kind, Result, TableName};

use crate::by_name::must_keep_names;
use crate::change::{FileChange, change_table};
use crate::kernel::Base;
use crate::lake::{Inner, Lake};
use crate::schema::{Column, SchemaChange, TableSchema};
use crate::table::Table;

/// Whoever may change a table: the lake itself, or the delivery that writes to it meanwhile.
pub trait AlterTables: Send + Sync {
    /// Changes the columns of a table, durably, one change after the other, all or none.
    ///
    /// # Errors
    /// `NotFound` for a table or column that is not there, `Invalid` for a change that can't be, `Conflict` for a name
    /// that is taken, `Unavailable` when it can't be committed now.
    fn alter<'a>(&'a self, table: &'a TableName, changes: Vec<SchemaChange>) -> BoxFuture<'a, Result<()>>;

    /// Commits the rows of a table that were acknowledged before: they are in its files then. Without a stream there are none.
    ///
    /// # Errors
    /// `Unavailable` when they can't be committed now.
    fn flush<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<()>>;

    /// Drops a table that nothing is delivered to. Its files stay for a week, or for an hour if they are to be purged.
    ///
    /// # Errors
    /// `NotFound` if it is not there, `Denied` if a stream delivers to it, `Unavailable` when it can't be committed now.
    fn drop_table<'a>(&'a self, table: &'a TableName, purge: bool) -> BoxFuture<'a, Result<()>>;
}

impl AlterTables for Lake {
    fn alter<'a>(&'a self, table: &'a TableName, changes: Vec<SchemaChange>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let table = self.table(table).ok_or_else(|| no_table(table))?;
            Self::alter(self, &table, changes).await
        })
    }

    /// Here the lake has only the rows that a delivery gave it.
    fn flush<'a>(&'a self, _table: &'a TableName) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn drop_table<'a>(&'a self, table: &'a TableName, purge: bool) -> BoxFuture<'a, Result<()>> {
        Box::pin(Self::drop_table(self, table, purge))
    }
}

fn no_table(table: &TableName) -> Error {
    Error::not_found(format!("there is no table \"{table}\"")).with_hint("SHOW TABLES lists them")
}

/// Changes the columns of a table, one change after the other, all or none.
pub(crate) async fn alter(lake: Arc<Inner>, table: Arc<Table>, changes: Vec<SchemaChange>) -> Result<()> {
    let doing = format!("alter table \"{}\"", table.name());
    let nothing = FileChange { operation: Operation::Append, removed: Vec::new(), added: Vec::new() };
    change_table(&lake, &table, nothing, &changes).await.map_err(|failed| failed.error).context(doing)
}

/// The schema of a table after some changes.
///
/// # Errors
/// `Conflict` if the table has rows that are not committed; `Invalid` if a change can't be.
pub(crate) fn schema_after(table: &Table, base: &Base, changes: &[SchemaChange]) -> Result<TableSchema> {
    let before = base.schema()?;
    if changes.is_empty() {
        return Ok(before);
    }
    if !table.state().tail.is_empty() {
        return Err(Error::new(Kind::Conflict, "the table has rows that are not committed")
            .with_hint("lacus table flush <table>, then try again"));
    }
    let after = before.changed(changes)?;
    let has = |id: i32| after.columns.iter().any(|column| has_id(column, id)) || after.system_ids().contains(&id);
    let metadata = &base.metadata;
    let partitioned = metadata.default_partition_spec().fields().iter().map(|field| field.source_id);
    let sorted = metadata.default_sort_order().fields.iter().map(|field| field.source_id);
    if let Some(id) = partitioned.chain(sorted).find(|id| !has(*id)) {
        let name = metadata.current_schema().name_by_field_id(id).unwrap_or_default().to_owned();
        return Err(Error::invalid(format!("the table is partitioned or sorted by column \"{name}\""))
            .with_hint("partition or sort it by another column first"));
    }
    must_leave_names(metadata, &before, &after)?;
    must_keep_names(metadata, &after.iceberg(0)?)?;
    Ok(after)
}

/// No column may come by the name of a partition field that is not its own (Iceberg specification, "Partitioning").
/// One of a former layout is refused only if no column ever had the name.
fn must_leave_names(metadata: &TableMetadata, before: &TableSchema, after: &TableSchema) -> Result<()> {
    let was_column = |name: &str| metadata.schemas_iter().any(|schema| schema.field_by_name(name).is_some());
    let is_of_another = |column: &Column| {
        let is_field = |field: &PartitionField| field.name == column.name && field.source_id != column.id;
        let mut specs = metadata.partition_specs_iter().filter(|spec| spec.fields().iter().any(is_field));
        specs.any(|spec| spec.spec_id() == metadata.default_partition_spec_id() || !was_column(&column.name))
    };
    let had = |column: &Column| before.columns.iter().any(|old| (old.id, &old.name) == (column.id, &column.name));
    match after.columns.iter().find(|column| is_of_another(column) && !had(column)) {
        None => Ok(()),
        Some(Column { name, .. }) => {
            let text = format!("\"{name}\" is the name of a partition field, by which files are laid out");
            Err(Error::new(Kind::Conflict, text).with_hint("take another name for the column"))
        }
    }
}

fn has_id(column: &Column, id: i32) -> bool {
    column.id == id || column.kind.children().into_iter().any(|child| has_id(child, id))
}

#[cfg(test)]
mod tests;
