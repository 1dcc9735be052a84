//! `COPY … FROM STDIN`: rows that a client sends over the Postgres port.
//!
//! They are kept in a file without a name until all of them are there, however slowly they come; then they are read as a file
//! is, and take one of the turns to write.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use lacus_core::Kind;
use tokio::task::spawn_blocking;

use super::load::{Load, Origin, columns_of};
use super::source::Input;
use crate::answer::Answer;
use crate::error::SqlError;
use crate::session::Session;
use crate::statement::{Statement, StatementKind};
use crate::writing::table_to_write;

/// The most bytes of a statement's rows.
const SENT_BYTES_MAX: u64 = 64 << 30;
/// Bytes that gather before they are written.
const GATHERED_BYTES: usize = 1 << 20;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// Rows that a client sends. Dropped, they were never sent.
#[derive(Debug)]
pub struct CopyIn {
    load: Load,
    columns: usize,
    /// None while a piece is on its way to the disk, and after it could not be written.
    file: Option<File>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    bytes: u64,
}

impl CopyIn {
    /// How many columns the rows have.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Takes the next piece, wherever in a row it ends.
    ///
    /// # Errors
    /// SQLSTATE `54000` if there is too much, `53100` if the disk refuses.
    pub async fn add(&mut self, piece: Bytes) -> Result<(), SqlError> {
        self.bytes += piece.len() as u64;
        if self.bytes > SENT_BYTES_MAX {
            let message = format!("one COPY takes {} GiB at most", SENT_BYTES_MAX >> 30);
            return Err(SqlError::invalid("54000", message).with_hint("send the rows with several"));
        }
        self.gathered_bytes += piece.len();
        self.gathered.push(piece);
        if self.gathered_bytes < GATHERED_BYTES { Ok(()) } else { self.write().await }
    }

    async fn write(&mut self) -> Result<(), SqlError> {
        let (pieces, file) = (std::mem::take(&mut self.gathered), self.file.take());
        self.gathered_bytes = 0;
        let mut file = file.ok_or_else(|| unwritten(io::Error::other("an earlier piece could not be written")))?;
        let written = spawn_blocking(move || {
            pieces.iter().try_for_each(|piece| file.write_all(piece))?;
            Ok(file)
        });
        let written = written.await.map_err(io::Error::other).flatten();
        self.file = Some(written.map_err(unwritten)?);
        Ok(())
    }

    async fn end(mut self) -> Result<(Load, Sent), SqlError> {
        self.write().await?;
        let file = self.file.take().ok_or_else(|| unwritten(io::Error::other("it is gone")))?;
        Ok((self.load, Sent(Arc::new(file))))
    }
}

/// All rows that a client sent.
#[derive(Debug)]
pub(super) struct Sent(Arc<File>);

impl Sent {
    /// The rows, from the first one.
    pub(super) fn read(&self) -> Box<dyn BufRead + Send> {
        Box::new(BufReader::with_capacity(READ_BYTES, FromStart { file: Arc::clone(&self.0), at: 0 }))
    }
}

/// A file that is read from its beginning, whoever else reads it.
struct FromStart {
    file: Arc<File>,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(into, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

fn unwritten(error: io::Error) -> SqlError {
    SqlError::new(Kind::Unavailable, "53100", "the rows can't be kept until all of them are there")
        .with_source(error)
        .with_hint("make room in the folder for temporary files (TMPDIR)")
}

impl Session {
    /// Begins to take rows, if that is what a statement is for. That it may be done, and into which columns, is sure then.
    ///
    /// # Errors
    /// If it may not be done, or there is no such table or column.
    pub async fn begin_copy(&self, statement: &Statement) -> Result<Option<CopyIn>, SqlError> {
        let StatementKind::Load(load) = &statement.kind else { return Ok(None) };
        if matches!(load.origin, Origin::Files(_)) {
            return Ok(None);
        }
        self.must_be_allowed("COPY")?;
        let name = load.table.meant_in(self.lake()?);
        let table = table_to_write(self.shared(), &name)?;
        let columns = columns_of(load, &name, &table, &table.state())?.places.len();
        let file = spawn_blocking(tempfile::tempfile).await.map_err(io::Error::other).flatten().map_err(unwritten)?;
        let load = Load::clone(load);
        Ok(Some(CopyIn { load, columns, file: Some(file), gathered: Vec::new(), gathered_bytes: 0, bytes: 0 }))
    }

    /// Loads the rows that a client has sent to their end: all of them, or none.
    ///
    /// # Errors
    /// With the line of the first value that does not fit; and as for a `COPY` of files.
    pub async fn end_copy(&self, copy: CopyIn) -> Result<Answer, SqlError> {
        self.must_be_allowed("COPY")?;
        let (load, sent) = copy.end().await?;
        let mut turn = self.turn_to_write().await?;
        self.load_all(&load, vec![Input::Sent(sent)], &mut turn.limits).await
    }
}
