//! Which streams feed the tables that a statement reads: whoever asks waits for those, and for no other.

use std::collections::BTreeSet;

use datafusion::common::Result;
use datafusion::sql::TableReference;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::resolve::resolve_table_references;
use lacus_core::{StreamName, TableName};

use crate::session::Session;
use crate::statement::Statement;

impl Session {
    /// The streams that feed the tables which a statement reads. None if any stream may: for names that no table has yet, and
    /// for questions about all tables.
    #[must_use]
    pub fn streams_of(&self, statement: &Statement) -> Option<BTreeSet<StreamName>> {
        if let Some(query) = self.query_of_view(statement) {
            return self.streams_of(&query);
        }
        let Some(parsed) = statement.question().filter(|_| statement.reads()) else { return Some(BTreeSet::new()) };
        let references = tables_named_in(parsed).ok()?;
        references.iter().map(|reference| self.stream_of(reference)).collect()
    }

    fn is_view(&self, database: &str, name: &str) -> bool {
        let name = TableName::new(&format!("{database}.{name}"));
        name.is_ok_and(|name| self.lake().is_ok_and(|lake| lake.view(&lake.meant(&name)).is_some()))
    }

    fn stream_of(&self, reference: &TableReference) -> Option<StreamName> {
        let database = reference.schema().map_or_else(|| self.database_of(reference.table()), str::to_owned);
        let database = database.as_str();
        let is_there = self.catalog().schema(database)?.table_exist(reference.table());
        // A view reads other tables, and may read different ones tomorrow.
        if self.is_view(database, reference.table()) {
            return None;
        }
        // What follows `$` is the kind of metadata.
        let table = reference.table().split('$').next()?;
        let name = TableName::new(&format!("{database}.{table}")).ok()?;
        is_there.then(|| self.lake().map_or_else(|_| name.clone(), |lake| lake.meant(&name)).stream())
    }
}

/// The tables that a statement names, without the queries of its `WITH`. No state of the engine is needed, which is expensive to
/// make: it folds names as all of our sessions do.
pub(crate) fn tables_named_in(parsed: &Parsed) -> Result<Vec<TableReference>> {
    resolve_table_references(parsed, true).map(|(tables, _)| tables)
}
