//! `lacus table tag`, `untag`, `rollback`: names for snapshots of a table, and the way back to one.

use axum::http::Method;
use lacus_core::units::human_count_of;
use lacus_core::{Error, Result, TableName};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::door::Door;
use crate::run::Invocation;

/// A tag and its snapshot, as the server answers.
#[derive(Debug, Serialize, Deserialize)]
struct Tagged {
    tag: String,
    snapshot: String,
}

/// What a rollback did.
#[derive(Debug, Serialize, Deserialize)]
struct RolledBack {
    table: String,
    from: String,
    to: String,
    rows_before: u64,
    rows_after: u64,
}

/// Gives a snapshot a name.
pub(crate) async fn tag(table: &str, tag: &str, snapshot: Option<String>, invocation: &Invocation) -> Result<()> {
    let (table, path) = path(table, tag)?;
    let door = Door::open(invocation).await?;
    let body = snapshot.map_or_else(|| json!({}), |version| json!({ "version": version }));
    let tagged = door.call::<Tagged>(Method::PUT, &path, Some(body)).await;
    door.close().await?;
    let tagged = tagged?;
    if invocation.json {
        return invocation.terminal.say_json(&tagged);
    }
    let Tagged { tag, snapshot } = tagged;
    invocation.terminal.say(&format!("Snapshot {snapshot} of {table} is {tag} now, and stays."))?;
    invocation.terminal.note(&format!("SELECT … FROM {table} FOR VERSION AS OF '{tag}'"))
}

/// Removes a tag.
pub(crate) async fn untag(table: &str, tag: &str, invocation: &Invocation) -> Result<()> {
    let (table, path) = path(table, tag)?;
    let door = Door::open(invocation).await?;
    let untagged = door.call::<Tagged>(Method::DELETE, &path, None).await;
    door.close().await?;
    let untagged = untagged?;
    if invocation.json {
        return invocation.terminal.say_json(&untagged);
    }
    let Tagged { tag, snapshot } = untagged;
    invocation.terminal.say(&format!("Snapshot {snapshot} of {table} is {tag} no more, and expires as others do."))
}

/// Returns to the rows of a snapshot.
pub(crate) async fn rollback(table: &str, to: &str, invocation: &Invocation) -> Result<()> {
    let table = TableName::new(table)?;
    let door = Door::open(invocation).await?;
    let path = format!("/v1/tables/{table}/rollback");
    let done = door.call::<RolledBack>(Method::POST, &path, Some(json!({ "to": to }))).await;
    door.close().await?;
    let done = done?;
    if invocation.json {
        return invocation.terminal.say_json(&done);
    }
    invocation.terminal.say(&format!(
        "Table {table} has the {} of snapshot {} again; it had {}.",
        human_count_of(done.rows_after, "row"),
        done.to,
        human_count_of(done.rows_before, "row"),
    ))?;
    invocation.terminal.note(&format!("to undo it: lacus table rollback {table} --to {}", done.from))
}

/// The path of a tag. What can't be a tag can't be a path either.
fn path(table: &str, tag: &str) -> Result<(TableName, String)> {
    let table = TableName::new(table)?;
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if tag.is_empty() || !tag.chars().all(fits) {
        return Err(Error::invalid(format!("\"{tag}\" can't be the name of a tag"))
            .with_hint("letters, digits, - _ and . may be in it"));
    }
    let path = format!("/v1/tables/{table}/tags/{tag}");
    Ok((table, path))
}
