//! Names in paths: a namespace of one level, a table in it.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use lacus_core::{MAIN_DATABASE, StreamName, TableName};
use serde::Deserialize;

use super::error::Refused;
use crate::http::Shared;

/// What separates the levels of a namespace in a path.
const LEVELS: char = '\u{1f}';

/// A namespace that exists.
pub(super) struct Namespace(pub(super) String);

/// A table in a namespace that exists; the table need not. Its name is none if no table of the lake can have it.
pub(super) struct Named {
    pub(super) namespace: String,
    pub(super) table: String,
    pub(super) name: Option<TableName>,
}

#[derive(Deserialize)]
struct NamespacePath {
    namespace: String,
}

#[derive(Deserialize)]
struct TablePath {
    namespace: String,
    table: String,
}

impl Named {
    /// The table's name in the lake.
    pub(super) fn known(&self) -> Result<&TableName, Refused> {
        self.name.as_ref().ok_or_else(|| self.missing())
    }

    pub(super) fn missing(&self) -> Refused {
        Refused::no_table(&self.namespace, &self.table)
    }
}

/// Databases of the lake, in order.
pub(super) fn databases(shared: &Shared) -> Vec<String> {
    let tables = shared.served.lake.tables();
    let names = tables.iter().map(|table| table.name().database()).chain([MAIN_DATABASE]);
    let names: std::collections::BTreeSet<&str> = names.collect();
    names.into_iter().map(str::to_owned).collect()
}

fn must_exist(namespace: &str, shared: &Shared) -> Result<(), Refused> {
    let exists = StreamName::new(namespace).is_ok() && databases(shared).iter().any(|name| name == namespace);
    if exists { Ok(()) } else { Err(Refused::no_namespace(&namespace.replace(LEVELS, "."))) }
}

fn unreadable(error: &PathRejection) -> Refused {
    Refused::bad_request(error.body_text())
}

impl FromRequestParts<Shared> for Namespace {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        let path = Path::<NamespacePath>::from_request_parts(parts, shared).await;
        let Path(NamespacePath { namespace }) = path.map_err(|error| unreadable(&error))?;
        must_exist(&namespace, shared)?;
        Ok(Self(namespace))
    }
}

impl FromRequestParts<Shared> for Named {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        let path = Path::<TablePath>::from_request_parts(parts, shared).await;
        let Path(TablePath { namespace, table }) = path.map_err(|error| unreadable(&error))?;
        must_exist(&namespace, shared)?;
        let name = TableName::new(&format!("{namespace}.{table}")).ok();
        Ok(Self { namespace, table, name })
    }
}
