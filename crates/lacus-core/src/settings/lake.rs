//! The settings of the lake: where its catalog is.

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::error::{Error, Result};

/// Tables and raw events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lake {
    /// The PostgreSQL database with the catalog: `postgres://user@host/database`. It may hold a password, so it is never shown
    /// and may stand in the environment: `LACUS__LAKE__CATALOG`. Without it, the catalog is `.lacus/catalog.db`.
    pub catalog: Secret,
}

impl Lake {
    /// The URL of the catalog, if it is not in the project's folder.
    #[must_use]
    pub fn catalog_url(&self) -> Option<&Secret> {
        (!self.catalog.is_empty()).then_some(&self.catalog)
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.catalog_url().map(|url| url.reveal().split_once("://")) {
            None | Some(Some(("postgres" | "postgresql", _))) => Ok(()),
            Some(_) => Err(Error::invalid("lake.catalog is no URL of a PostgreSQL database")
                .with_hint("lake.catalog = \"postgres://user@host:5432/database\"")),
        }
    }
}
