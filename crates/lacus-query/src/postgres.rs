//! What Postgres clients ask about the lake: `pg_catalog`, `information_schema`, Redshift's `svv_` views, and functions.
//!
//! The tables are made of the lake's as they are when a statement looks them up. What never changes (types, operators, casts) comes
//! from a library, which also rewrites questions until the engine understands them; what is about the lake is ours, and tells
//! the types that answers are sent with. Nothing here is for questions about events.

mod activity;
mod functions;
mod information_schema;
mod json_functions;
mod oids;
mod redshift;
mod relations;
mod rewrite;
mod tables;
mod types;

use std::fmt;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, BooleanArray, Int16Array, Int32Array, RecordBatch, StringArray};
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::setup_pg_catalog;

use self::activity::StatActivity;
pub(crate) use self::functions::{Asking, of_session};
pub(crate) use self::oids::Oids;
use self::relations::Relations;
pub(crate) use self::relations::is_system;
pub(crate) use self::rewrite::{asks_the_catalog_alone, rewrite};
pub(crate) use self::tables::OWNER;
pub use self::types::{postgres_type, type_modifier};
use crate::activity::Sessions;

/// The database with Postgres' own tables.
pub(crate) const PG_CATALOG: &str = "pg_catalog";
/// The database with the tables of the SQL standard.
pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";

/// Adds the catalog's tables for Postgres clients to it.
///
/// # Errors
/// If what never changes can't be read.
pub(crate) fn install(
    context: &SessionContext,
    name: &str,
    catalog: &Arc<dyn CatalogProvider>,
    oids: &Arc<Oids>,
    sessions: &Arc<Sessions>,
) -> Result<()> {
    setup_pg_catalog(context, name, EmptyContextProvider).map_err(|error| *error)?;
    let library = |database| {
        let missing = || DataFusionError::Internal(format!("there is no {database}"));
        catalog.schema(database).ok_or_else(missing)
    };
    let of_standard = InformationSchemaProvider::new(Arc::clone(context.state().catalog_list()));
    let activity = Some(Arc::new(StatActivity::of(sessions)?));
    let pg_catalog = Described::new(catalog, name, oids, library(PG_CATALOG)?);
    let pg_catalog = Described { what: What::PgCatalog, activity, ..pg_catalog };
    let of_standard = Described::new(catalog, name, oids, Arc::new(of_standard));
    catalog.register_schema(PG_CATALOG, Arc::new(pg_catalog))?;
    catalog.register_schema(INFORMATION_SCHEMA, Arc::new(of_standard))?;
    functions::register(context, oids);
    Ok(())
}

/// A schema of tables about a catalog.
struct Described {
    what: What,
    /// The catalog that it is about, and that contains it.
    catalog: Weak<dyn CatalogProvider>,
    catalog_name: String,
    oids: Arc<Oids>,
    /// Has the tables that are not ours.
    library: Arc<dyn SchemaProvider>,
    /// The table of sessions, which is not about the catalog.
    activity: Option<Arc<StatActivity>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    PgCatalog,
    InformationSchema,
}

impl Described {
    fn new(catalog: &Arc<dyn CatalogProvider>, name: &str, oids: &Arc<Oids>, library: Arc<dyn SchemaProvider>) -> Self {
        let (catalog_name, oids) = (name.to_owned(), Arc::clone(oids));
        let (what, catalog) = (What::InformationSchema, Arc::downgrade(catalog));
        Self { what, catalog, catalog_name, oids, library, activity: None }
    }

    /// The columns of one of our tables; none if it is not ours.
    fn ours(&self, name: &str, relations: &Relations) -> Option<Columns> {
        match self.what {
            What::PgCatalog => tables::of(name, relations).or_else(|| redshift::of(name, relations)),
            What::InformationSchema => information_schema::of(name, relations),
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        let lists: [&[&str]; 2] = match self.what {
            What::PgCatalog => [&tables::NAMES, &redshift::NAMES],
            What::InformationSchema => [&information_schema::NAMES, &[]],
        };
        lists.into_iter().flatten().copied()
    }
}

#[async_trait]
impl SchemaProvider for Described {
    fn table_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names().map(str::to_owned).collect();
        names.extend(self.library.table_names().into_iter().filter(|name| !self.names().any(|ours| ours == name)));
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(activity) = self.activity.as_ref().filter(|_| name == activity::NAME) {
            return Ok(Some(Arc::clone(activity) as _));
        }
        if !self.names().any(|ours| ours == name) {
            return self.library.table(name).await;
        }
        let Some(catalog) = self.catalog.upgrade() else { return Ok(None) };
        let relations = relations::of(&*catalog, &self.catalog_name, &self.oids).await?;
        self.ours(name, &relations).map(table).transpose()
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names().any(|ours| ours == name) || self.library.table_exist(name)
    }
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Described").field(&self.what).finish()
    }
}

/// The columns of a table, with their names.
type Columns = Vec<(&'static str, ArrayRef)>;

fn table(columns: Columns) -> Result<Arc<dyn TableProvider>> {
    // The types are kept when there are no rows.
    let rows =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?;
    Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
}

fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts.into_iter().map(Into::into)))
}

fn maybe_texts(texts: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(texts.into_iter().collect::<StringArray>())
}

fn ints(numbers: impl IntoIterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(numbers))
}

fn smalls(numbers: impl IntoIterator<Item = i16>) -> ArrayRef {
    Arc::new(Int16Array::from_iter_values(numbers))
}

fn bools(values: impl IntoIterator<Item = bool>) -> ArrayRef {
    Arc::new(values.into_iter().map(Some).collect::<BooleanArray>())
}
