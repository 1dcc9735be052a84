//! Changes of tables while streams deliver to them: new columns, and tables that go.

use std::sync::Arc;

use futures::future::BoxFuture;
use lacus_core::{Error, Kind, Result, TableName};
use lacus_lake::{AlterTables, RefillReport, SchemaChange};
use lacus_stream::StreamInfo;

use crate::tables::delivered;
use crate::{Deliveries, Inner, no_table, reading};

impl Deliveries {
    /// Changes the columns of `table`, durably, one change after the other, all or none. What the stream delivers
    /// afterwards has the new columns.
    ///
    /// # Errors
    /// `NotFound` for a table or column that is not there, `Invalid` for a change that can't be, `Conflict` for a name
    /// that is taken, `Unavailable` when the stream or the catalog can't commit.
    pub async fn alter(&self, table: &TableName, changes: Vec<SchemaChange>) -> Result<()> {
        let lake = Arc::clone(&self.0.lake);
        let found = lake.table(table).ok_or_else(|| no_table(&lake, table))?;
        self.alone(table, async move { lake.alter(&found, changes).await }).await
    }

    /// Accepts what is proposed for the values of a column that stand in `_rescued`: makes the columns that hold them, if
    /// they are not there, and puts the values there, one file after the other. What the stream delivers from then on goes
    /// there by itself. Begun again, it goes on where it ended.
    ///
    /// # Errors
    /// `NotFound` if nothing is proposed for this column; `Unavailable` when the stream, the store or the catalog refuses.
    pub async fn accept(&self, table: &TableName, column: &str) -> Result<(Vec<SchemaChange>, RefillReport)> {
        let lake = Arc::clone(&self.0.lake);
        let found = lake.table(table).ok_or_else(|| no_table(&lake, table))?;
        let changes = lake.misfitting(&found).await?.changes_for(column).ok_or_else(|| {
            Error::not_found(format!("nothing is proposed for column \"{column}\" of table \"{table}\""))
                .with_hint(format!("lacus schema proposals {table} lists what is"))
        })?;
        if !changes.is_empty() {
            self.alter(table, changes.clone()).await?;
        }
        let report = lake.refill(&found).await?;
        Ok((changes, report))
    }

    /// Drops a table of a stream that was deleted. What the stream had is committed first; the log keeps then how far that
    /// is, as the commits that did until now may be gone afterwards.
    async fn drop_ended(&self, stream: &StreamInfo, table: &TableName, purge: bool) -> Result<()> {
        if !stream.is_over() {
            self.flush_stream(stream).await?;
        }
        let (deliveries, stream, table) = (self.clone(), stream.clone(), table.clone());
        // To its end, whether or not anybody waits for it.
        let dropping = self.0.tasks.spawn(async move {
            let dropped = deliveries.drop_alone(&stream, &table, purge).await;
            // If it was made again meanwhile, it goes on. What keeps it from that is in its status.
            drop(deliveries.start_new().await);
            dropped
        });
        dropping.await.map_err(|error| Error::internal("dropping a table ended unexpectedly").with_source(error))?
    }

    async fn drop_alone(&self, stream: &StreamInfo, table: &TableName, purge: bool) -> Result<()> {
        let Inner { log, lake, beginning, .. } = &*self.0;
        let _beginning = beginning.lock().await;
        let name = stream.name.clone();
        if !stream.is_over() {
            let (log, delivered) = (log.clone(), delivered(lake, &name, &stream.let_go));
            let let_go = tokio::task::spawn_blocking(move || log.let_go(&name, &delivered)).await;
            let_go
                .map_err(|error| Error::internal("letting go of a stream ended unexpectedly").with_source(error))??;
        }
        self.end_delivery(&stream.name).await?;
        if log.stream(&stream.name).is_some() {
            let message = format!("stream \"{}\" was made again, and delivers to table \"{table}\"", stream.name);
            return Err(Error::new(Kind::Conflict, message).with_hint("delete the stream, then drop the table"));
        }
        lake.drop_ended_table(table, purge).await
    }

    /// Drops a table that had been dropped and was registered again with a name of its own: nothing delivers to it.
    async fn drop_unfed(&self, table: &TableName, purge: bool) -> Result<()> {
        let _beginning = self.0.beginning.lock().await;
        let stream = table.stream();
        if reading::describe(&self.0.log, &stream).is_ok() {
            let message = format!("stream \"{stream}\" was made meanwhile, and delivers to table \"{table}\"");
            return Err(Error::new(Kind::Conflict, message).with_hint("delete the stream, then drop the table"));
        }
        self.0.lake.drop_ended_table(table, purge).await
    }
}

impl AlterTables for Deliveries {
    fn alter<'a>(&'a self, table: &'a TableName, changes: Vec<SchemaChange>) -> BoxFuture<'a, Result<()>> {
        Box::pin(Self::alter(self, table, changes))
    }

    fn flush<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // A table that no stream feeds has nothing to commit.
            if self.feeding(table).is_none() {
                return Ok(());
            }
            Self::flush(self, table).await.map(drop)
        })
    }

    fn drop_table<'a>(&'a self, table: &'a TableName, purge: bool) -> BoxFuture<'a, Result<()>> {
        let (lake, name) = (Arc::clone(&self.0.lake), table.clone());
        let stream = reading::describe(&self.0.log, &table.stream()).ok();
        Box::pin(async move {
            match stream {
                Some(stream) if !stream.is_deleted && stream.name.as_str() == name.as_str() => {
                    return Err(Error::new(Kind::Denied, format!("lacus delivers events to table \"{name}\""))
                        .with_hint(
                            "events would be lost: DELETE FROM takes rows out of it; delete the stream first to drop it",
                        ));
                }
                Some(stream) if stream.is_deleted && lake.table(&name).is_some_and(|table| table.is_delivered()) => {
                    return self.drop_ended(&stream, &name, purge).await;
                }
                None if lake.table(&name).is_some_and(|table| table.is_delivered()) => {
                    return self.drop_unfed(&name, purge).await;
                }
                _ => {}
            }
            // Whether a stream delivers to it is known when all it has is committed.
            self.alone(table, async move { lake.drop_table(&name, purge).await }).await
        })
    }
}
