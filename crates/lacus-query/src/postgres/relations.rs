//! All databases, tables and columns of a catalog, as they are when somebody asks.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::catalog::{CatalogProvider, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::TableType;
use postgres_types::Type;

use super::oids::{About, Oids};
use super::{INFORMATION_SCHEMA, PG_CATALOG, postgres_type, type_modifier};
use crate::files::ExternalTable;
use crate::table::LakeTable;

/// What a catalog has.
#[derive(Default)]
pub(super) struct Relations {
    /// What the catalog is called.
    pub(super) catalog: String,
    pub(super) namespaces: Vec<Namespace>,
    pub(super) relations: Vec<Relation>,
}

/// A database of the lake, which Postgres calls a schema.
pub(super) struct Namespace {
    pub(super) oid: i32,
    pub(super) name: String,
}

/// A table or view.
pub(super) struct Relation {
    pub(super) oid: i32,
    pub(super) namespace: String,
    pub(super) namespace_oid: i32,
    pub(super) name: String,
    pub(super) is_view: bool,
    /// Whether its rows are in files that are not the lake's.
    pub(super) is_external: bool,
    pub(super) columns: Vec<Column>,
    /// What a view asks.
    pub(super) definition: Option<String>,
}

/// A column of it.
pub(super) struct Column {
    pub(super) name: String,
    /// Its place, from 1 on.
    pub(super) number: i16,
    pub(super) kind: Type,
    pub(super) modifier: i32,
    pub(super) arrow: DataType,
    pub(super) is_nullable: bool,
}

impl Relations {
    /// The tables and views that are not about the catalog itself.
    pub(super) fn of_users(&self) -> impl Iterator<Item = &Relation> {
        self.relations.iter().filter(|relation| !is_system(&relation.namespace))
    }

    /// Every column, with what it is of.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&Relation, &Column)> {
        self.relations.iter().flat_map(|relation| relation.columns.iter().map(move |column| (relation, column)))
    }
}

pub(crate) fn is_system(namespace: &str) -> bool {
    namespace == PG_CATALOG || namespace == INFORMATION_SCHEMA
}

/// Lists everything in a catalog. Tables about the catalog itself are listed without columns: clients know them.
///
/// # Errors
/// If the columns of a table can't be told.
pub(super) async fn of(catalog: &dyn CatalogProvider, name: &str, oids: &Oids) -> Result<Relations> {
    let mut found = Relations { catalog: name.to_owned(), ..Relations::default() };
    for namespace in catalog.schema_names() {
        let Some(database) = catalog.schema(&namespace) else { continue };
        let oid = oids.of(About { namespace: namespace.clone(), name: None, definition: None });
        for name in database.table_names() {
            let table = if is_system(&namespace) { None } else { Some(database.table(&name).await?) };
            // A table that was dropped meanwhile is left out.
            let Some(table) = table.map_or(Some(None), |table| table.map(Some)) else { continue };
            found.relations.push(relation(&namespace, oid, name, table.as_deref(), oids));
        }
        found.namespaces.push(Namespace { oid, name: namespace });
    }
    Ok(found)
}

fn relation(
    namespace: &str,
    namespace_oid: i32,
    name: String,
    table: Option<&dyn TableProvider>,
    oids: &Oids,
) -> Relation {
    let namespace = namespace.to_owned();
    let definition = table.and_then(|table| table.get_table_definition()).map(str::to_owned);
    let about = About { namespace: namespace.clone(), name: Some(name.clone()), definition: definition.clone() };
    Relation {
        oid: oids.of(about),
        is_view: table.map_or(namespace == INFORMATION_SCHEMA, |table| table.table_type() == TableType::View),
        is_external: table.is_some_and(|table| table.downcast_ref::<ExternalTable>().is_some()),
        columns: table.map(columns).unwrap_or_default(),
        namespace,
        namespace_oid,
        name,
        definition,
    }
}

fn columns(table: &dyn TableProvider) -> Vec<Column> {
    // The scan may have nulls where the table allows none: rows of the tail.
    let wanted = table.downcast_ref::<LakeTable>().map(|table| table.state().schema.columns.as_slice());
    let is_wanted =
        |field: &Field| wanted?.iter().find(|column| column.name == *field.name()).map(|column| column.required);
    // A table has fewer columns than there are numbers.
    let numbered = table.schema().fields().clone();
    let columns = numbered.iter().zip(1..).map(|(field, number)| {
        let is_nullable = !is_wanted(field).unwrap_or(!field.is_nullable());
        column(field, number, is_nullable)
    });
    columns.collect()
}

fn column(field: &Field, number: i16, is_nullable: bool) -> Column {
    Column {
        name: field.name().clone(),
        number,
        kind: postgres_type(field),
        modifier: type_modifier(field.data_type()),
        arrow: field.data_type().clone(),
        is_nullable,
    }
}
