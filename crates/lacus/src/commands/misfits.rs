//! `lacus schema proposals`, `lacus schema accept`, `lacus replay`: what did not fit, and what becomes of it.

use axum::http::Method;
use lacus_core::units::{human_count, human_count_of};
use lacus_core::{Result, TableName};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Answer, Cell, printable};
use crate::cli::Replay;
use crate::door::Door;
use crate::run::Invocation;

/// The values in `_rescued`, as the server answers.
#[derive(Debug, Deserialize)]
struct Proposals {
    rows: u64,
    rows_with_misfits: u64,
    others: u64,
    proposals: Vec<Proposal>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Proposal {
    column: String,
    values: u64,
    act: String,
    becomes: String,
    r#type: Option<String>,
    examples: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Accepted {
    table: String,
    columns: Vec<Column>,
    values: u64,
    files: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Column {
    column: String,
    r#type: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Replayed {
    table: String,
    quarantine: String,
    moved: u64,
    stayed: u64,
    reasons: Vec<Reason>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reason {
    reason: String,
    records: u64,
}

/// Shows the columns that misfits ask for.
pub(crate) async fn proposals(table: &str, invocation: &Invocation) -> Result<()> {
    let table = TableName::new(table)?;
    let told: Proposals = call(Method::GET, &format!("/v1/tables/{table}/proposals"), None, invocation).await?;
    let terminal = invocation.terminal;
    if invocation.json {
        return told.proposals.iter().try_for_each(|proposal| terminal.say_json(proposal));
    }
    let (with, rows) = (human_count(told.rows_with_misfits), human_count_of(told.rows, "row"));
    terminal.say(&format!("{with} of {rows} of {table} have values in _rescued."))?;
    if let Some(first) = told.proposals.first() {
        let columns = ["column", "values", "becomes", "type", "examples"];
        let rows = told.proposals.iter().map(cells).collect();
        let drawn = Answer { columns: columns.map(str::to_owned).to_vec(), rows, ..Answer::default() };
        terminal.write(&drawn.draw(terminal.width()))?;
        let accept = invocation.command_line(&format!("schema accept {table} {}", in_a_shell(&first.column)));
        terminal.note(&format!("to have them in columns, those of old files too: {accept}"))?;
    }
    if told.others > 0 {
        terminal.note(&format!("no column is proposed for {} more", human_count_of(told.others, "value")))?;
    }
    Ok(())
}

/// A column as one word of a command line. Its name is a sender's, and the line is there to be copied.
fn in_a_shell(column: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.');
    if !column.is_empty() && column.chars().all(is_plain) {
        return column.to_owned();
    }
    format!("'{}'", printable(column).replace('\'', "'\\''"))
}

fn cells(proposal: &Proposal) -> Vec<Cell> {
    let Proposal { column, values, act, becomes, r#type, examples } = proposal;
    let becomes = if act == "add" { format!("{becomes} (new)") } else { becomes.clone() };
    let kind = r#type.clone().unwrap_or_else(|| "as it is".to_owned());
    vec![
        Cell::Text(column.clone()),
        Cell::count(*values),
        Cell::Text(becomes),
        Cell::Text(kind),
        Cell::Text(examples.join("  ")),
    ]
}

/// Makes the columns that are proposed, and fills them.
pub(crate) async fn accept(table: &str, column: &str, invocation: &Invocation) -> Result<()> {
    let table = TableName::new(table)?;
    let path = format!("/v1/tables/{table}/proposals");
    let done: Accepted = call(Method::POST, &path, Some(json!({ "column": column })), invocation).await?;
    if invocation.json {
        return invocation.terminal.say_json(&done);
    }
    for Column { column, r#type } in &done.columns {
        invocation.terminal.say(&format!("{} of {table} is {type} now.", printable(column)))?;
    }
    let (values, files) = (human_count_of(done.values, "value"), human_count_of(done.files, "file"));
    invocation.terminal.say(&format!("Put {values} from _rescued into columns; wrote {files} anew."))
}

/// Tries what is in quarantine again.
pub(crate) async fn replay(asked: Replay, invocation: &Invocation) -> Result<()> {
    let table = TableName::new(&asked.table)?;
    let body = json!({ "where": asked.r#where, "fix": asked.fix });
    let done: Replayed = call(Method::POST, &format!("/v1/tables/{table}/replay"), Some(body), invocation).await?;
    if invocation.json {
        return invocation.terminal.say_json(&done);
    }
    let (moved, stayed) = (human_count_of(done.moved, "event"), human_count(done.stayed));
    invocation.terminal.say(&format!("{moved} left {}; {stayed} of those asked for stay.", done.quarantine))?;
    if done.reasons.is_empty() {
        return Ok(());
    }
    let rows = done.reasons.iter().map(|told| vec![Cell::count(told.records), Cell::Text(told.reason.clone())]);
    let columns = ["events", "why they stay"].map(str::to_owned).to_vec();
    let drawn = Answer { columns, rows: rows.collect(), ..Answer::default() };
    invocation.terminal.write(&drawn.draw(invocation.terminal.width()))
}

async fn call<T: serde::de::DeserializeOwned>(
    method: Method,
    path: &str,
    body: Option<serde_json::Value>,
    invocation: &Invocation,
) -> Result<T> {
    let door = Door::open(invocation).await?;
    let answered = door.call(method, path, body).await;
    door.close().await?;
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_one_word_of_a_command_line() {
        assert_eq!(in_a_shell("additional_data.price"), "additional_data.price");
        assert_eq!(in_a_shell("größe"), "größe");
        assert_eq!(in_a_shell("a; reboot"), "'a; reboot'");
        assert_eq!(in_a_shell("it's $(so)"), r"'it'\''s $(so)'");
        assert_eq!(in_a_shell("a\u{1b}[2J"), r"'a\u{1b}[2J'");
    }
}
