//! Names in paths: a namespace of one level, a table in it.

use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use lacus_core::TableName;
use lacus_lake::foreign::Properties;
use serde::Deserialize;

use super::error::{About, Refused};
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

/// A namespace in a body.
pub(super) fn one_level(levels: &[String]) -> Result<&str, Refused> {
    match levels {
        [name] => Ok(name),
        _ => Err(Refused::bad_request("a namespace of this catalog has one level")),
    }
}

/// A table in a body.
#[derive(Deserialize)]
pub(super) struct Identifier {
    namespace: Vec<String>,
    name: String,
}

impl Identifier {
    /// The table's name in the lake, if its namespace exists and it can have this name.
    pub(super) async fn table(&self, shared: &Shared) -> Result<TableName, Refused> {
        self.table_of(&databases(shared).await?)
    }

    /// The same, where the namespaces that exist are known.
    pub(super) fn table_of(&self, namespaces: &Namespaces) -> Result<TableName, Refused> {
        let namespace = one_level(&self.namespace)?;
        must_be_of(namespaces, namespace)?;
        table_name(namespace, &self.name)
    }
}

/// A table or a view, and the name that it is to get.
#[derive(Deserialize)]
pub(super) struct Renaming {
    pub(super) source: Identifier,
    pub(super) destination: Identifier,
}

/// The lake's name for a new table.
pub(super) fn table_name(namespace: &str, name: &str) -> Result<TableName, Refused> {
    let name = TableName::new(&format!("{namespace}.{name}"));
    name.map_err(|error| Refused::of(&error, About::Table))
}

/// All namespaces, with their properties.
pub(super) type Namespaces = BTreeMap<String, Properties>;

pub(super) async fn databases(shared: &Shared) -> Result<Namespaces, Refused> {
    shared.served.lake.databases().await.map_err(|error| Refused::of(&error, About::Namespace))
}

async fn must_exist(namespace: &str, shared: &Shared) -> Result<(), Refused> {
    must_be_of(&databases(shared).await?, namespace)
}

fn must_be_of(namespaces: &Namespaces, namespace: &str) -> Result<(), Refused> {
    let exists = namespaces.contains_key(namespace);
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
        must_exist(&namespace, shared).await?;
        Ok(Self(namespace))
    }
}

impl FromRequestParts<Shared> for Named {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Refused> {
        let path = Path::<TablePath>::from_request_parts(parts, shared).await;
        let Path(TablePath { namespace, table }) = path.map_err(|error| unreadable(&error))?;
        must_exist(&namespace, shared).await?;
        let name = TableName::new(&format!("{namespace}.{table}")).ok();
        Ok(Self { namespace, table, name })
    }
}
