//! `lacus status`: how far each stream is.

use lacus_core::Result;
use lacus_core::units::{human_bytes, human_count, human_count_of};

use crate::answer::{Answer, Cell};
use crate::door::Door;
use crate::door::wire::{GlueStatus, Status, StreamStatus};
use crate::run::Invocation;
use crate::terminal::harmless;

/// Shows all streams.
pub(crate) async fn run(invocation: &Invocation) -> Result<()> {
    let door = Door::open(invocation).await?;
    let status = door.status().await;
    door.close().await?;
    let status = status?;
    if invocation.json {
        for stream in &status.streams {
            invocation.terminal.say_json(stream)?;
        }
        return Ok(());
    }
    show(&status, invocation)
}

fn show(status: &Status, invocation: &Invocation) -> Result<()> {
    let Status { streams, lake, glue } = status;
    if streams.is_empty() {
        return invocation
            .terminal
            .say("No events yet. The first one posted to /v1/events?source=NAME makes stream and table NAME.");
    }
    let columns = ["stream", "acknowledged", "visible", "committed", "freshness", "files", "in files"];
    let row = |stream: &StreamStatus| {
        vec![
            Cell::Text(stream.stream.clone()),
            Cell::count(stream.acknowledged),
            Cell::count(stream.visible),
            Cell::count(stream.committed),
            Cell::Text(freshness(stream.freshness_p50_ms)),
            Cell::count(stream.files),
            Cell::Text(human_bytes(stream.file_bytes)),
        ]
    };
    let table = Answer {
        columns: columns.map(str::to_owned).to_vec(),
        rows: streams.iter().map(row).collect(),
        ..Answer::default()
    };
    invocation.terminal.write(&table.draw(invocation.terminal.width()))?;
    invocation.terminal.say(&invocation.terminal.dim(&format!(
        "the lake: {} in {}, {} of Parquet, {} of raw JSON",
        human_count_of(lake.rows, "row"),
        human_count_of(lake.files, "file"),
        human_bytes(lake.bytes),
        human_bytes(lake.raw_bytes),
    )))?;
    if let Some(glue) = glue {
        show_mirror(glue, invocation)?;
    }
    for stream in streams {
        if let Some(error) = &stream.error {
            invocation.terminal.say(&format!(
                "\n{}: the delivery is being retried: {}",
                stream.stream,
                harmless(error)
            ))?;
        }
    }
    Ok(())
}

/// Nothing where no event has come since the start: 0 ms would be a promise.
fn freshness(median_ms: f64) -> String {
    if median_ms > 0.0 { format!("{median_ms:.0} ms") } else { String::new() }
}

fn show_mirror(glue: &GlueStatus, invocation: &Invocation) -> Result<()> {
    let behind = if glue.behind > 0 { format!(", {} behind", human_count(glue.behind)) } else { String::new() };
    let current = human_count_of(glue.current, "table");
    invocation.terminal.say(&invocation.terminal.dim(&format!("AWS Glue: {current} up to date{behind}")))?;
    match &glue.error {
        Some(error) => invocation.terminal.say(&format!("\nAWS Glue is being tried again: {}", harmless(error))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_the_freshness_of_no_events() {
        assert_eq!(freshness(11.6), "12 ms");
        assert_eq!(freshness(0.0), "");
    }
}
