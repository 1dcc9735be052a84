//! External tables: rows in files that are not the lake's, listed anew by each query below one folder.
//!
//! A table is kept as a view whose SQL, in a dialect of its own, is the statement that made it: the catalog, backups and other
//! engines see a view that they can't run. The files are never written to, and where they may be is for the lake to say
//! ([`lacus_lake::Outside`]). What can't be read as the table's columns is an error that names the file; no row is skipped.

mod definition;
mod listing;
mod scan;
mod statements;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use lacus_core::{Context, Error, TableName};
use lacus_lake::Lake;
use lacus_lake::views::View;
use tokio::sync::OnceCell;

use self::definition::Definition;
use self::listing::Listing;
use self::scan::FilesSource;
pub(crate) use self::statements::{External, is_external, may_be, must_not_be_external, read};
use crate::cost::{Scan, Scans};
use crate::error::{SqlError, external};
use crate::table::projected;
use crate::views::again;

/// The dialect of the SQL of external tables.
const DIALECT: &str = "lacus-external";

/// The statement that made an external table; none for an ordinary view.
fn statement_of(view: &View) -> Option<&str> {
    view.statements().into_iter().find(|(dialect, _)| *dialect == DIALECT).map(|(_, sql)| sql)
}

/// An external table as one statement reads it: its files are listed once.
pub(crate) struct ExternalTable {
    lake: Arc<Lake>,
    name: TableName,
    /// An error if it can't be read: listing all tables must not fail because of it.
    definition: Result<Definition, Error>,
    schema: SchemaRef,
    listing: OnceCell<Listing>,
}

impl ExternalTable {
    /// The external table that a view is; none for an ordinary view.
    ///
    /// # Errors
    /// If its columns can't be told.
    pub(crate) fn of(lake: &Arc<Lake>, view: &View) -> Option<Result<Self, Error>> {
        let sql = statement_of(view)?;
        let definition = statements::definition(sql).context(format_args!("external table \"{}\"", view.name));
        let schema = match &definition {
            Ok(definition) => Ok(Arc::clone(&definition.schema)),
            Err(_) => view.arrow(),
        };
        let (lake, name) = (Arc::clone(lake), view.name.clone());
        Some(schema.map(|schema| Self { lake, name, definition, schema, listing: OnceCell::new() }))
    }

    /// Its files.
    async fn listing(&self) -> Result<&Listing, SqlError> {
        let definition = self.definition.as_ref().map_err(|error| SqlError::from(again(error)))?;
        self.listing.get_or_try_init(|| Listing::of(self.lake.outside(), definition)).await
    }
}

impl fmt::Debug for ExternalTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExternalTable").field(&self.name).finish()
    }
}

#[async_trait]
impl TableProvider for ExternalTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters say which folders to read; rows are filtered above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let listing = self.listing().await.map_err(external)?;
        let definition = self.definition.as_ref().map_err(|error| external(SqlError::from(again(error))))?;
        let files = listing.files_to_read(filters, session)?;
        if let Some(scans) = session.config().get_extension::<Scans>() {
            scans.add(Scan {
                files: files.len() as u64,
                files_skipped: (listing.inputs.len() - files.len()) as u64,
                bytes: files.iter().map(|&file| listing.bytes(file)).sum(),
                ..Scan::default()
            });
        }
        let schema = projected(&self.schema, projection)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let partitions = session.config().target_partitions();
        let source = FilesSource::new(&self.name, definition, listing, &files, schema, projection, partitions)?;
        Ok(DataSourceExec::from_data_source(source))
    }
}
