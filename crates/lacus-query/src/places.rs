//! The places in the log of the events whose rows meet a condition, for acts that are not queries, such as erasing.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use futures::StreamExt;
use lacus_core::{Kind, Offset, Partition, Position, TableName, Timestamp};
use lacus_lake::Places;
use lacus_lake::schema::{OFFSET, PARTITION, RECEIVED_AT};

use crate::error::{SqlError, explain};
use crate::session::Session;

/// After the name of a table: all rows of any of its snapshots, deleted ones too.
pub(crate) const ALL_SNAPSHOTS: &str = "@a";
/// How deep a condition may be nested.
const DEPTH_MAX: usize = 50;

/// What a condition found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The events.
    pub places: Places,
    /// Rows that don't say which event they are from: another engine wrote them.
    pub strangers: u64,
    /// When the last of the events was received.
    pub latest: Option<Timestamp>,
}

impl Session {
    /// The events whose rows in a table meet a condition, in any snapshot. Rows that are not committed are not looked at.
    ///
    /// # Errors
    /// What is wrong with the condition, `42703` if the table lacks a column of it, `Limited` for too many events.
    pub async fn places(&self, table: &TableName, condition: &str) -> Result<Found, SqlError> {
        must_be_condition(condition).map_err(|error| explain(error, condition, self.names()))?;
        let (database, name) = (table.database(), table.table());
        let columns = format!("\"{PARTITION}\", \"{OFFSET}\", \"{RECEIVED_AT}\"");
        let before = format!("SELECT {columns} FROM \"{database}\".\"{name}{ALL_SNAPSHOTS}\" AS \"{name}\" WHERE (");
        // The condition may end with a comment.
        let sql = format!("{before}{condition}\n)");
        let placed = |error: SqlError| {
            let position = error.position().and_then(|position| position.checked_sub(before.chars().count()));
            error.with_position(position.filter(|position| *position > 0))
        };
        let mut answer = self.query(&sql, &[]).await.map_err(placed)?;
        let mut found = Found::default();
        while let Some(batch) = answer.next().await {
            found.add(&batch.map_err(placed)?)?;
        }
        Ok(found)
    }
}

impl Found {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), SqlError> {
        let of_other_types = || SqlError::new(Kind::Internal, "XX000", "system columns have other types");
        let partitions = batch.column(0).as_primitive_opt::<Int32Type>().ok_or_else(of_other_types)?;
        let offsets = batch.column(1).as_primitive_opt::<Int64Type>().ok_or_else(of_other_types)?;
        let times = batch.column(2).as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(of_other_types)?;
        for row in 0..batch.num_rows() {
            if partitions.is_null(row) || offsets.is_null(row) || times.is_null(row) {
                self.strangers += 1;
                continue;
            }
            let partition = Partition(partitions.value(row).cast_unsigned());
            let position = Position { partition, offset: Offset(offsets.value(row).cast_unsigned()) };
            let received_at = Timestamp::from_micros(times.value(row));
            self.places.add(position, received_at)?;
            self.latest = self.latest.max(Some(received_at));
        }
        Ok(())
    }
}

/// Accepts one expression, and nothing after it that would make another statement of it.
fn must_be_condition(text: &str) -> Result<(), DataFusionError> {
    let parsed = Parser::new(&GenericDialect).with_recursion_limit(DEPTH_MAX).try_with_sql(text);
    let ended = parsed.and_then(|mut parser| {
        parser.parse_expr()?;
        let next = parser.peek_token();
        if next.token == Token::EOF {
            return Ok(());
        }
        let at = next.span.start;
        let message = format!("Expected: the end of the condition, found: {next}");
        Err(ParserError::ParserError(format!("{message} at Line: {}, Column: {}", at.line, at.column)))
    });
    ended.map_err(|error| DataFusionError::SQL(Box::new(error), None))
}
