//! `pg_stat_activity`: the sessions of clients as whoever asks may see them, when the question runs.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int32Array, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use lacus_core::Timestamp;

use super::functions::Asking;
use super::tables::{DATABASE_OID, none};
use super::{Columns, ints, maybe_texts, table, texts};
use crate::activity::{Own, Seen, Sessions, Waiting};
use crate::engine::CATALOG;

/// What it is called.
pub(super) const NAME: &str = "pg_stat_activity";
/// Shown in place of the queries of other users, as in PostgreSQL.
const HIDDEN: &str = "<insufficient privilege>";

/// The table.
#[derive(Debug)]
pub(super) struct StatActivity {
    sessions: Arc<Sessions>,
    schema: SchemaRef,
}

impl StatActivity {
    /// # Errors
    /// Never today: its columns are as long as each other.
    pub(super) fn of(sessions: &Arc<Sessions>) -> Result<Self> {
        Ok(Self { sessions: Arc::clone(sessions), schema: table(columns(&[]))?.schema() })
    }
}

#[async_trait]
impl TableProvider for StatActivity {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // A view is planned for no user, and shows what everybody may see.
        let asking = state.config().get_extension::<Asking>();
        let seen = self.sessions.seen_by(asking.as_ref().map(|asking| asking.user.as_str()));
        table(columns(&seen))?.scan(state, projection, filters, limit).await
    }
}

fn columns(all: &[Seen]) -> Columns {
    let count = all.len();
    let own = || all.iter().map(|seen| seen.own.as_ref());
    let doing = || own().map(|own| own.map(|own| &own.doing));
    let queries = doing().map(|doing| doing.map_or(HIDDEN, |doing| doing.query.as_str()));
    let states = doing().map(|doing| doing.map(|doing| state(doing.waiting).to_owned()));
    let ports: Int32Array = own().map(|own| own.map(|own| i32::from(own.address.port()))).collect();
    vec![
        ("datid", ints(vec![DATABASE_OID; count])),
        ("datname", texts(vec![CATALOG; count])),
        ("pid", ints(all.iter().map(|seen| seen.backend))),
        ("leader_pid", none(&DataType::Int32, count)),
        ("usesysid", none(&DataType::Int32, count)),
        ("usename", texts(all.iter().map(|seen| &seen.user))),
        ("application_name", texts(all.iter().map(|seen| &seen.application))),
        ("client_addr", maybe_texts(own().map(|own| own.map(|own| own.address.ip().to_string())))),
        ("client_hostname", none(&DataType::Utf8, count)),
        ("client_port", Arc::new(ports)),
        ("backend_start", times(own().map(|own| own.map(|own| own.began_at)))),
        ("xact_start", times(own().map(|own| own.and_then(transaction_began_at)))),
        ("query_start", times(doing().map(|doing| doing.and_then(|doing| doing.query_at)))),
        ("state_change", times(doing().map(|doing| doing.map(|doing| doing.changed_at)))),
        ("wait_event_type", none(&DataType::Utf8, count)),
        ("wait_event", none(&DataType::Utf8, count)),
        ("state", maybe_texts(states)),
        ("backend_xid", none(&DataType::Utf8, count)),
        ("backend_xmin", none(&DataType::Utf8, count)),
        ("query_id", none(&DataType::Int64, count)),
        ("query", texts(queries)),
        ("backend_type", texts(vec!["client backend"; count])),
    ]
}

/// In PostgreSQL's words.
fn state(waiting: Option<Waiting>) -> &'static str {
    match waiting {
        None => "active",
        Some(Waiting::Idle) => "idle",
        Some(Waiting::InBlock) => "idle in transaction",
        Some(Waiting::InFailedBlock) => "idle in transaction (aborted)",
    }
}

/// When its transaction block began, or else the statement that is running.
fn transaction_began_at(own: &Own) -> Option<Timestamp> {
    let doing = &own.doing;
    doing.block_at.or_else(|| doing.query_at.filter(|_| doing.waiting.is_none()))
}

fn times(times: impl Iterator<Item = Option<Timestamp>>) -> ArrayRef {
    let times: TimestampMicrosecondArray = times.map(|time| time.map(Timestamp::as_micros)).collect();
    Arc::new(times.with_timezone("+00:00"))
}
