//! `lacus table …`: acts on one table.

use lacus_core::units::{human_bytes, human_count, human_count_of};
use lacus_core::{Result, TableName};
use serde::Serialize;

use crate::answer::{Answer, Cell};
use crate::door::Door;
use crate::run::Invocation;

/// Commits that are shown, the newest first.
const COMMITS_SHOWN: usize = 10;

/// What a table is made of.
#[derive(Debug, Serialize)]
struct Shown {
    table: String,
    /// All that SQL sees.
    rows: u64,
    /// Those of them that are in files.
    committed_rows: u64,
    files: u64,
    bytes: u64,
    smallest_file_bytes: u64,
    largest_file_bytes: u64,
    snapshots: u64,
    /// What files are partitioned by, and rows sorted by.
    layout: Vec<LayoutField>,
    commits: Vec<Committed>,
}

/// One field of a partition spec or a sort order.
#[derive(Debug, Serialize)]
struct LayoutField {
    /// `partition` or `sort`.
    kind: String,
    field: String,
    /// Why it does not apply yet, if it does not.
    missing: Option<String>,
}

/// One commit.
#[derive(Debug, Serialize)]
struct Committed {
    committed_at: String,
    /// As text: programs that read numbers of JSON as floating-point ones would round it.
    snapshot_id: String,
    /// `append` brings rows, `replace` merges files.
    operation: String,
    added_rows: u64,
    added_files: u64,
    removed_files: u64,
    added_bytes: u64,
}

/// Shows what a table is made of.
pub(crate) async fn show(table: &str, invocation: &Invocation) -> Result<()> {
    let table = TableName::new(table)?;
    let door = Door::open(invocation).await?;
    let shown = look(&door, &table).await;
    door.close().await?;
    let shown = shown?;
    if invocation.json {
        return invocation.terminal.say_json(&shown);
    }
    draw(&shown, invocation)
}

async fn look(door: &Door, table: &TableName) -> Result<Shown> {
    let name = |what: &str| format!("\"{}\".\"{}{what}\"", table.database(), table.table());
    let rows = door.count(&format!("SELECT count(*) FROM {}", name(""))).await?;
    let files = format!(
        "SELECT count(*), sum(record_count), sum(file_size_in_bytes), min(file_size_in_bytes), max(file_size_in_bytes) FROM {}",
        name("$files")
    );
    let files = door.ask(&files).await?;
    let file = |column: usize| number(files.rows.first().and_then(|row| row.get(column)));
    let snapshots = door.count(&format!("SELECT count(*) FROM {}", name("$snapshots"))).await?;
    let layout = door.ask(&format!("SELECT kind, field, missing FROM {}", name("$layout"))).await?;
    let numbers = ["added-records", "added-data-files", "deleted-data-files", "added-files-size"];
    let numbers = numbers.map(|key| format!("CAST(summary['{key}'] AS BIGINT)")).join(", ");
    let commits = format!(
        "SELECT committed_at, CAST(snapshot_id AS VARCHAR), operation, {numbers} FROM {} ORDER BY committed_at DESC LIMIT {COMMITS_SHOWN}",
        name("$snapshots")
    );
    Ok(Shown {
        table: table.to_string(),
        rows,
        committed_rows: file(1),
        files: file(0),
        bytes: file(2),
        smallest_file_bytes: file(3),
        largest_file_bytes: file(4),
        snapshots,
        layout: layout.rows.iter().map(|row| layout_field(row)).collect(),
        commits: door.ask(&commits).await?.rows.iter().map(|row| committed(row)).collect(),
    })
}

fn text(cell: Option<&Cell>) -> Option<String> {
    match cell {
        Some(Cell::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

fn layout_field(row: &[Cell]) -> LayoutField {
    let value = |column: usize| text(row.get(column)).unwrap_or_default();
    LayoutField { kind: value(0), field: value(1), missing: text(row.get(2)) }
}

fn committed(row: &[Cell]) -> Committed {
    let text = |column: usize| text(row.get(column)).unwrap_or_default();
    Committed {
        committed_at: text(0),
        snapshot_id: text(1),
        operation: text(2),
        added_rows: number(row.get(3)),
        added_files: number(row.get(4)),
        removed_files: number(row.get(5)),
        added_bytes: number(row.get(6)),
    }
}

/// A sum over nothing is null.
fn number(cell: Option<&Cell>) -> u64 {
    cell.and_then(Cell::whole).unwrap_or(0)
}

fn draw(shown: &Shown, invocation: &Invocation) -> Result<()> {
    let terminal = invocation.terminal;
    terminal.say(&format!(
        "{}: {}, {} of them not committed yet; {}, {} of Parquet; {}",
        shown.table,
        human_count_of(shown.rows, "row"),
        human_count(shown.rows.saturating_sub(shown.committed_rows)),
        human_count_of(shown.files, "file"),
        human_bytes(shown.bytes),
        human_count_of(shown.snapshots, "snapshot"),
    ))?;
    if shown.files > 1 {
        let (smallest, largest) = (human_bytes(shown.smallest_file_bytes), human_bytes(shown.largest_file_bytes));
        terminal.say(
            &terminal.dim(&format!("files of {smallest} to {largest}; small ones are merged in the background")),
        )?;
    }
    draw_layout(&shown.layout, invocation)?;
    if shown.commits.is_empty() {
        return terminal.say(&format!("Nothing is committed yet: lacus table flush {} commits now.", shown.table));
    }
    let columns = ["committed", "what", "rows", "new files", "files gone", "new bytes"];
    let row = |commit: &Committed| {
        vec![
            Cell::time(&commit.committed_at),
            Cell::Text(commit.operation.clone()),
            Cell::count(commit.added_rows),
            Cell::count(commit.added_files),
            Cell::count(commit.removed_files),
            Cell::Text(human_bytes(commit.added_bytes)),
        ]
    };
    let rows = shown.commits.iter().map(row).collect();
    let table = Answer { columns: columns.map(str::to_owned).to_vec(), rows, ..Answer::default() };
    terminal.write(&table.draw(terminal.width()))?;
    let versions = format!("SELECT committed_at, snapshot_id FROM {}", of_snapshots(&shown.table));
    terminal.say(&terminal.dim(&format!("versions to ask for or roll back to: {versions}")))
}

/// The table of a table's snapshots, as SQL names it.
fn of_snapshots(table: &str) -> String {
    match table.split_once('.') {
        Some((database, table)) => format!("\"{database}\".\"{table}$snapshots\""),
        None => format!("\"{table}$snapshots\""),
    }
}

fn draw_layout(layout: &[LayoutField], invocation: &Invocation) -> Result<()> {
    for (kind, what) in [("partition", "partitioned by"), ("sort", "sorted by")] {
        let fields: Vec<&str> = layout
            .iter()
            .filter(|field| field.kind == kind && field.missing.is_none())
            .map(|field| field.field.as_str())
            .collect();
        if !fields.is_empty() {
            invocation.terminal.say(&format!("{what} {}", fields.join(", ")))?;
        }
        for field in layout.iter().filter(|field| field.kind == kind) {
            if let Some(why) = &field.missing {
                invocation.terminal.say(&invocation.terminal.dim(&format!("not {what} {}: {why}", field.field)))?;
            }
        }
    }
    Ok(())
}

/// Commits a table now.
pub(crate) async fn flush(table: &str, invocation: &Invocation) -> Result<()> {
    let table = TableName::new(table)?;
    let door = Door::open(invocation).await?;
    let flushed = door.flush(&table).await;
    door.close().await?;
    let flushed = flushed?;
    if invocation.json {
        return invocation.terminal.say_json(&flushed);
    }
    if flushed.rows == 0 && flushed.raw_bytes == 0 {
        return invocation.terminal.say(&format!("Nothing of {table} waits to be committed."));
    }
    // All tables of a stream are committed at once: rows in quarantine count, too.
    invocation.terminal.say(&format!(
        "Committed {} of stream {}: {} of Parquet, {} of raw JSON.",
        human_count_of(flushed.rows, "row"),
        table.stream(),
        human_bytes(flushed.parquet_bytes),
        human_bytes(flushed.raw_bytes),
    ))
}
