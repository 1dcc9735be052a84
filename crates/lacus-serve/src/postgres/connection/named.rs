//! Prepared statements with a name: those of the protocol and those of `PREPARE` are the same, in one place and with one bound.
//! `EXECUTE` runs either.

use std::sync::Arc;

use arrow_pg::datatypes::into_pg_type;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use lacus_core::Kind;
use lacus_query::{Answer, Declared, Execution, Preparation, Prepared, SqlError, Statement};
use pgwire::api::stmt::StoredStatement;
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientPortalStore, DEFAULT_NAME};

use super::{Connection, Kept};

/// What `EXECUTE` runs.
pub(super) struct Target {
    pub(super) prepared: Arc<Prepared>,
    declared: Declared,
}

pub(super) fn no_statement(name: &str) -> SqlError {
    SqlError::invalid("26000", format!("prepared statement \"{name}\" does not exist"))
}

impl Connection {
    /// Keeps what `PREPARE` names.
    pub(super) async fn keep(&self, preparation: &Preparation) -> Result<(), SqlError> {
        let name = &preparation.name;
        self.must_have_room(Some(name))?;
        if self.statements().contains_key(name) {
            let exists = SqlError::invalid("42P05", format!("prepared statement \"{name}\" already exists"));
            return Err(exists.with_hint(format!("DEALLOCATE {name} takes it away")));
        }
        let mut types = Vec::new();
        if let Some(question) = &preparation.types {
            let nulls = self.session().prepare(Statement::clone(question)).await?;
            // For a type that clients don't know, they are told the inferred one.
            types.extend(nulls.schema().fields().iter().map(|field| into_pg_type(field.data_type()).ok()));
        }
        let declared = preparation.declared();
        let statement = Statement::clone(&preparation.statement);
        if statement.reads() {
            self.catch_up(&statement).await;
        }
        let prepared = Some(Arc::new(self.session().prepare_declared(statement, &declared).await?));
        let stored = StoredStatement::new(name.clone(), Kept { prepared, declared }, types);
        self.statements().insert(name.clone(), Arc::new(stored));
        Ok(())
    }

    /// What is prepared under this name.
    pub(super) fn target(&self, name: &str) -> Result<Target, SqlError> {
        let stored = self.statements().get(name).cloned().ok_or_else(|| no_statement(name))?;
        let Kept { prepared, declared } = stored.statement.clone();
        let empty = || SqlError::invalid("26000", format!("prepared statement \"{name}\" is empty"));
        let prepared = prepared.ok_or_else(empty)?;
        let statement = prepared.statement();
        // The protocol may name others, but the session and the client track those where they are sent directly.
        if !statement.can_be_executed() {
            let message =
                format!("prepared statement \"{name}\" is {}, which EXECUTE does not run", statement.command());
            return Err(SqlError::invalid("0A000", message).with_hint("send the statement itself"));
        }
        Ok(Target { prepared, declared })
    }

    /// The values of `EXECUTE`, cast to the declared types, or else to the inferred ones.
    pub(super) async fn values(&self, target: &Target, execution: &Execution) -> Result<Vec<ScalarValue>, SqlError> {
        let wanted = target.declared.or(target.prepared.parameters());
        let values = match &execution.values {
            Some(question) => {
                let question = Statement::clone(question).wanting(&wanted)?;
                if question.reads() {
                    self.catch_up(&question).await;
                }
                single_row(self.session().run(&question, &[]).await?).await?
            }
            None => Vec::new(),
        };
        let expected = wanted.count();
        if values.len() != expected {
            let name = &execution.name;
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let hint = format!("it has {expected}, and {} came", values.len());
            return Err(SqlError::invalid("42601", message).with_hint(hint));
        }
        Ok(values)
    }

    /// The prepared statement that a message of the protocol names, or the unnamed one.
    pub(super) fn stored<C>(&self, client: &C, name: Option<&str>) -> Result<Arc<StoredStatement<Kept>>, SqlError>
    where
        C: ClientPortalStore,
        C::PortalStore: PortalStore<Statement = Kept>,
    {
        let stored = match name {
            Some(name) => self.statements().get(name).cloned(),
            None => client.portal_store().get_statement(DEFAULT_NAME),
        };
        stored.ok_or_else(|| no_statement(name.unwrap_or_default()))
    }
}

/// The values of a one-row answer.
async fn single_row(mut answer: Answer) -> Result<Vec<ScalarValue>, SqlError> {
    let mut values = None;
    while let Some(rows) = answer.next().await {
        let rows = rows?;
        if rows.num_rows() == 0 {
            continue;
        }
        if values.is_some() || rows.num_rows() > 1 {
            return Err(SqlError::invalid("42601", "a value of EXECUTE is more than one"));
        }
        let row: Result<Vec<_>, _> =
            rows.columns().iter().map(|column| ScalarValue::try_from_array(column, 0)).collect();
        let unread = |error| SqlError::new(Kind::Internal, "XX000", "a value can't be read").with_source(error);
        values = Some(row.map_err(unread)?);
    }
    values.ok_or_else(|| SqlError::invalid("42601", "a value of EXECUTE is none"))
}
