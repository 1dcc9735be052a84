//! `lacus sql`: one question, one answer.

use std::io::{IsTerminal, Read};

use axum::body::Body;
use axum::http::Response;
use lacus_core::{Context, Error, Result};

use crate::door::wire::{late_error, stats_of};
use crate::door::{Door, Refused, next};
use crate::run::Invocation;

/// The longest SQL read from stdin.
const SQL_BYTES_MAX: u64 = 16 << 20;

/// Asks `query`, or what stdin says. With `cost`, JSON is followed by what it cost, on stderr; for people it always is.
pub(crate) async fn run(query: Option<String>, cost: bool, invocation: &Invocation) -> Result<()> {
    let sql = match query {
        Some(query) if query != "-" => query,
        asked => from_stdin(asked.is_some())?,
    };
    let door = Door::open(invocation).await?;
    let answered = answer(&door, &sql, cost, invocation).await;
    door.close().await?;
    answered
}

async fn answer(door: &Door, sql: &str, cost: bool, invocation: &Invocation) -> Result<()> {
    let terminal = invocation.terminal;
    if invocation.json {
        let response = door.rows(sql, cost).await.map_err(|refused| point_at(sql, refused))?;
        return stream(response, sql, cost, invocation).await;
    }
    let answer = door.ask(sql).await.map_err(|refused| point_at(sql, refused))?;
    if !answer.columns.is_empty() {
        terminal.write(&answer.draw(terminal.width()))?;
    }
    terminal.note(&answer.footer())
}

/// Writes rows as they come. The last line is held back until it is known that it is a row: it may be an error, or what the
/// question cost, if that was asked for.
async fn stream(response: Response<Body>, sql: &str, cost: bool, invocation: &Invocation) -> Result<()> {
    let mut rows = response.into_body().into_data_stream();
    let mut held = Vec::new();
    while let Some(bytes) = next(&mut rows).await? {
        held.extend_from_slice(&bytes);
        let end_of_line = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
        let whole_lines = end_of_line(&held).and_then(|end| end_of_line(&held[..end])).map_or(0, |end| end + 1);
        invocation.terminal.write_bytes(&held[..whole_lines])?;
        held.drain(..whole_lines);
    }
    if let Some(refused) = late_error(&held) {
        return Err(point_at(sql, refused));
    }
    match stats_of(&held).filter(|_| cost) {
        Some(stats) => invocation.terminal.note(&stats),
        None => invocation.terminal.write_bytes(&held),
    }
}

fn from_stdin(asked: bool) -> Result<String> {
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() && !asked {
        return Err(Error::invalid("no query").with_hint("lacus sql \"SELECT 1\"; for a prompt, psql"));
    }
    let mut sql = String::new();
    let read = Read::by_ref(&mut stdin).take(SQL_BYTES_MAX + 1).read_to_string(&mut sql);
    if read.context("read SQL from stdin")? as u64 > SQL_BYTES_MAX {
        return Err(Error::invalid("the query is too long"));
    }
    Ok(sql)
}

/// The error with the line of the SQL it is about, and a caret below.
pub(crate) fn point_at(sql: &str, refused: Refused) -> Error {
    let Some((line, column)) = refused.position.and_then(|position| place(sql, position)) else {
        return refused.error;
    };
    let (number, text) = line;
    let gutter = format!("line {number}: ");
    let indent = " ".repeat(gutter.chars().count() + column);
    let message = format!("{}\n{gutter}{text}\n{indent}^", refused.error.message());
    let error = Error::new(refused.error.kind(), message);
    match refused.error.hint() {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The line that has the character at `position`, counted from one, and how many characters are before it there.
fn place(sql: &str, position: usize) -> Option<((usize, &str), usize)> {
    let mut before = position.checked_sub(1)?;
    for (index, line) in sql.split('\n').enumerate() {
        let length = line.chars().count();
        if before <= length {
            return Some(((index + 1, line), before));
        }
        before -= length + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, position: usize, expected: &str) {
        let refused = Refused { error: Error::invalid("no").with_hint("look"), position: Some(position) };
        let error = point_at(sql, refused);
        assert_eq!(error.message(), expected);
        assert_eq!(error.hint(), Some("look"));
    }

    #[test]
    fn the_caret_is_below_the_character_it_is_about() {
        check("SELECT x", 8, "no\nline 1: SELECT x\n               ^");
        check("SELECT 'é',\n  y", 15, "no\nline 2:   y\n          ^");
        check("SELECT", 7, "no\nline 1: SELECT\n              ^");
        check("SELECT", 0, "no");
        check("SELECT", 99, "no");
    }
}
