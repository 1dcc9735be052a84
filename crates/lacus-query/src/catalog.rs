//! The tables of the lake as SQL finds them: catalog `lake`, database `main`.
//!
//! Looking a table up takes its state as it is at that instant; the engine looks each table up once per statement, so
//! a statement sees every table in one state however often it names it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;
use lacus_core::TableName;
use lacus_lake::Lake;

use crate::table::LakeTable;

/// Database `main`.
pub(crate) struct MainDatabase {
    lake: Arc<Lake>,
}

impl MainDatabase {
    pub(crate) fn new(lake: Arc<Lake>) -> Self {
        Self { lake }
    }
}

impl fmt::Debug for MainDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MainDatabase")
    }
}

#[async_trait]
impl SchemaProvider for MainDatabase {
    fn table_names(&self) -> Vec<String> {
        self.lake.tables().iter().map(|table| table.name().to_string()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let table = TableName::new(name).ok().and_then(|name| self.lake.table(&name));
        Ok(table.map(|table| Arc::new(LakeTable::new(table.state())) as Arc<dyn TableProvider>))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        TableName::new(name).is_ok_and(|name| self.lake.table(&name).is_some())
    }
}
