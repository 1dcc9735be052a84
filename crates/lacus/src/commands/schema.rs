//! `lacus schema …`: the columns of a table, seen and changed. Everything goes through SQL, as `ALTER TABLE` does.

use lacus_core::{Result, TableName};

use crate::cli::Schema;
use crate::commands::{misfits, sql};
use crate::door::Door;
use crate::run::Invocation;

/// Does what was asked.
pub(crate) async fn run(asked: Schema, invocation: &Invocation) -> Result<()> {
    let (table, what, said) = match &asked {
        Schema::Show { table } => return show(table, invocation).await,
        Schema::Proposals { table } => return misfits::proposals(table, invocation).await,
        Schema::Accept { table, column } => return misfits::accept(table, column, invocation).await,
        Schema::Add { table, column, r#type } => {
            (table, format!("ADD COLUMN {} {type}", quoted(column)), format!("Added {column} to {table}."))
        }
        Schema::Rename { table, column, to } => (
            table,
            format!("RENAME COLUMN {} TO {}", quoted(column), quoted(to)),
            format!("{column} of {table} is {to} now; events with the old name feed it as before."),
        ),
        Schema::Drop { table, column } => {
            (table, format!("DROP COLUMN {}", quoted(column)), format!("Dropped {column} of {table}."))
        }
        Schema::Widen { table, column, r#type } => (
            table,
            format!("ALTER COLUMN {} TYPE {type}", quoted(column)),
            format!("{column} of {table} is {type} now."),
        ),
    };
    let statement = format!("ALTER TABLE {} {what}", named(&TableName::new(table)?, ""));
    let door = Door::open(invocation).await?;
    let altered = door.ask(&statement).await.map_err(|refused| refused.error);
    door.close().await?;
    altered?;
    if invocation.json { invocation.terminal.say("{}") } else { invocation.terminal.say(&said) }
}

async fn show(table: &str, invocation: &Invocation) -> Result<()> {
    let columns = named(&TableName::new(table)?, "$columns");
    sql::run(Some(format!("SELECT column_name, data_type, former_names FROM {columns}")), false, invocation).await
}

fn named(table: &TableName, suffix: &str) -> String {
    format!("{}.{}", quoted(table.database()), quoted(&format!("{}{suffix}", table.table())))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
