//! `lacus erase`: removes a person from tables, older snapshots and the raw zone.

use axum::http::Method;
use lacus_core::Result;
use lacus_core::units::{human_bytes, human_count_of};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Answer, Cell, to_the_second};
use crate::cli::Erase;
use crate::door::Door;
use crate::run::Invocation;

/// What was erased, as the server answers.
#[derive(Debug, Serialize, Deserialize)]
struct Erased {
    dry_run: bool,
    events: u64,
    tables: Vec<Table>,
    streams: Vec<Stream>,
    without_column: Vec<String>,
    not_searched: Vec<String>,
    files_deleted_at: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Table {
    table: String,
    found: u64,
    erased_rows: u64,
    rewritten_files: u64,
    bytes_before: u64,
    bytes_after: u64,
    forgotten_snapshots: u64,
    strangers: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stream {
    stream: String,
    raw_events: u64,
    raw_files: u64,
    raw_bytes_before: u64,
    raw_bytes_after: u64,
    in_log: u64,
    log_until: Option<String>,
}

/// Erases, and says what was done and what is left.
pub(crate) async fn run(erase: Erase, invocation: &Invocation) -> Result<()> {
    let Erase { r#where, table, dry_run } = erase;
    let door = Door::open(invocation).await?;
    let body = json!({ "where": r#where, "table": table, "dry_run": dry_run });
    let erased = door.call::<Erased>(Method::POST, "/v1/erase", Some(body)).await;
    door.close().await?;
    let erased = erased?;
    if invocation.json {
        return invocation.terminal.say_json(&erased);
    }
    draw(&erased, invocation)
}

fn draw(erased: &Erased, invocation: &Invocation) -> Result<()> {
    let terminal = invocation.terminal;
    if erased.events == 0 {
        terminal.say("Nothing to erase: no row of any table or older snapshot meets the condition.")?;
        return notes(erased, invocation);
    }
    let columns = ["table", "found", "erased rows", "files", "bytes before", "after", "snapshots gone"];
    let row = |table: &Table| {
        vec![
            Cell::Text(table.table.clone()),
            Cell::count(table.found),
            Cell::count(table.erased_rows),
            Cell::count(table.rewritten_files),
            Cell::Text(human_bytes(table.bytes_before)),
            Cell::Text(human_bytes(table.bytes_after)),
            Cell::count(table.forgotten_snapshots),
        ]
    };
    let rows = erased.tables.iter().map(row).collect();
    let table = Answer { columns: columns.map(str::to_owned).to_vec(), rows, ..Answer::default() };
    terminal.write(&table.draw(terminal.width()))?;
    for stream in &erased.streams {
        if !erased.dry_run {
            terminal.say(&format!(
                "raw events of {}: {} erased from {}",
                stream.stream,
                human_count_of(stream.raw_events, "event"),
                human_count_of(stream.raw_files, "file"),
            ))?;
        }
        if let Some(until) = &stream.log_until {
            terminal.say(&format!(
                "the log of {} has {} still, until {} UTC at least: it can't be changed, and goes with its retention",
                stream.stream,
                human_count_of(stream.in_log, "event"),
                to_the_second(until)
            ))?;
        }
    }
    notes(erased, invocation)
}

fn notes(erased: &Erased, invocation: &Invocation) -> Result<()> {
    if let Some(at) = &erased.files_deleted_at {
        invocation.terminal.say(&format!("the files that had them are deleted at {} UTC", to_the_second(at)))?;
    }
    if erased.dry_run && erased.events > 0 {
        invocation.terminal.say("Nothing was erased: without --dry-run it is.")?;
    }
    for table in erased.tables.iter().filter(|table| table.strangers > 0) {
        let (rows, table) = (human_count_of(table.strangers, "row"), &table.table);
        invocation
            .terminal
            .note(&format!("{rows} of {table} stay, for they are of no event: DELETE FROM {table} removes them"))?;
    }
    if !erased.without_column.is_empty() {
        let tables = erased.without_column.join(", ");
        invocation.terminal.note(&format!("without a column of the condition: {tables}"))?;
    }
    if !erased.not_searched.is_empty() {
        let tables = erased.not_searched.join(", ");
        invocation.terminal.note(&format!(
            "not looked at, for no stream feeds them: {tables}; DELETE FROM removes what must go there"
        ))?;
    }
    Ok(())
}
