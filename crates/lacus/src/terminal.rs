//! The one place that writes to stdout and stderr.
//!
//! Answers go to stdout, everything about them to stderr. Colour only where a terminal shows it.

use std::error::Error as _;
use std::io::{self, IsTerminal, Write};

use lacus_core::{Error, Result};
use serde::Serialize;

/// Columns when nobody says how wide the terminal is.
const WIDTH_DEFAULT: usize = 80;
/// Tables are not drawn narrower than this: their borders need some room.
const WIDTH_MIN: usize = 40;

/// Where a person (or a script) reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    out_is_terminal: bool,
    err_is_terminal: bool,
    colour: bool,
}

impl Terminal {
    /// The terminal of this process; without colour if asked so.
    pub(crate) fn new(colour: bool) -> Self {
        Self { out_is_terminal: io::stdout().is_terminal(), err_is_terminal: io::stderr().is_terminal(), colour }
    }

    /// Whether a person looks at stdout.
    pub(crate) fn is_live(self) -> bool {
        self.out_is_terminal
    }

    /// Columns of the terminal; none when stdout is not a terminal: then tables are as wide as they need.
    pub(crate) fn width(self) -> Option<usize> {
        self.out_is_terminal.then(|| {
            let width = terminal_size::terminal_size().map_or(WIDTH_DEFAULT, |(width, _)| usize::from(width.0));
            width.max(WIDTH_MIN)
        })
    }

    /// Writes to stdout as it is.
    ///
    /// # Errors
    /// If stdout is closed or full.
    pub(crate) fn write(self, text: &str) -> Result<()> {
        self.write_bytes(text.as_bytes())
    }

    /// The same for bytes.
    ///
    /// # Errors
    /// If stdout is closed or full.
    pub(crate) fn write_bytes(self, bytes: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// Writes a line to stdout.
    ///
    /// # Errors
    /// If stdout is closed or full.
    pub(crate) fn say(self, line: &str) -> Result<()> {
        self.write(&format!("{line}\n"))
    }

    /// Writes a value to stdout as one line of JSON.
    ///
    /// # Errors
    /// If stdout is closed or full.
    pub(crate) fn say_json(self, value: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(value).map_err(|error| Error::internal(error.to_string()))?;
        self.say(&line)
    }

    /// Writes a line about an answer to stderr.
    ///
    /// # Errors
    /// If stderr is closed or full.
    pub(crate) fn note(self, line: &str) -> Result<()> {
        let line = paint(self.err_is_terminal && self.colour, "2", line);
        Ok(writeln!(io::stderr().lock(), "{line}")?)
    }

    /// Draws a line over the one that the last call drew, where a person looks at stderr. An empty one ends it.
    ///
    /// # Errors
    /// If stderr is closed or full.
    pub(crate) fn progress(self, line: &str) -> Result<()> {
        if !self.err_is_terminal {
            return Ok(());
        }
        let mut err = io::stderr().lock();
        write!(err, "\r\x1b[2K{line}")?;
        Ok(err.flush()?)
    }

    /// `text` in bold, where stdout shows it.
    pub(crate) fn bold(self, text: &str) -> String {
        paint(self.out_is_terminal && self.colour, "1", text)
    }

    /// `text` in a fainter colour, where stdout shows it.
    pub(crate) fn dim(self, text: &str) -> String {
        paint(self.out_is_terminal && self.colour, "2", text)
    }

    /// Reports why a command failed, and what to do about it.
    pub(crate) fn report(self, error: &Error) {
        let coloured = self.err_is_terminal && self.colour;
        let mut text = format!("{} {}\n", paint(coloured, "1;31", "error:"), harmless(&error.chain()));
        if let Some(hint) = error.hint() {
            text.push_str(&format!("{} {}\n", paint(coloured, "1", "hint:"), harmless(hint)));
        }
        // When even stderr is gone there is nobody left to tell; the exit code still does.
        drop(io::stderr().lock().write_all(text.as_bytes()));
    }
}

/// Whether a command failed only because its reader has seen enough (`lacus sql … | head`).
pub(crate) fn is_closed_pipe(error: &Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Lines of text whose other control codes are escaped: names and values in it may be a sender's, who must not command the
/// terminal.
pub(crate) fn harmless(text: &str) -> String {
    let is_command = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    let shown = |letter: char| if is_command(letter) { letter.escape_default().to_string() } else { letter.into() };
    text.chars().map(shown).collect()
}

fn paint(coloured: bool, style: &str, text: &str) -> String {
    if coloured { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_wrote_commands_no_terminal() {
        assert_eq!(harmless("no \u{1b}]0;x\u{7} here:\n\tline 1: é"), "no \\u{1b}]0;x\\u{7} here:\n\tline 1: é");
        assert_eq!(harmless("\u{9b}2J\r"), "\\u{9b}2J\\r");
    }
}
