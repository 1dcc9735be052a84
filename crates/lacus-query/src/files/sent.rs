//! `COPY … FROM STDIN`: rows that a client sends over the Postgres port.
//!
//! They are kept in a file without a name until all of them are there, however slowly they come; then they are read as a file
//! is, and take one of the turns to write.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use lacus_core::{Error, Kind};
use lacus_lake::Lake;
use tokio::task::spawn_blocking;

use super::binary::DecodeBinary;
use super::load::{Load, Origin, columns_of};
use super::options::Form;
use super::source::Input;
use crate::answer::Answer;
use crate::error::SqlError;
use crate::session::Session;
use crate::statement::{Statement, StatementKind};
use crate::writing::table_to_write;

/// The most bytes of a statement's rows.
const SENT_BYTES_MAX: u64 = 64 << 30;
/// Bytes that are gathered before they are written.
const GATHERED_BYTES: usize = 1 << 20;
/// Bytes after which we check how much of the disk is free.
const CHECKED_BYTES: u64 = 64 << 20;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// Rows that a client is sending. If it is dropped, they are discarded.
pub struct CopyIn {
    load: Load,
    columns: usize,
    decode: DecodeBinary,
    lake: Arc<Lake>,
    /// None while a piece is being written to disk, and after that failed.
    file: Option<File>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    /// Bytes written since the disk was last checked.
    unchecked_bytes: u64,
    bytes: u64,
}

impl CopyIn {
    /// How many columns the rows have.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whether they come in the binary format.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        matches!(self.load.how.form, Form::Binary)
    }

    /// Takes the next piece, wherever in a row it ends.
    ///
    /// # Errors
    /// SQLSTATE `54000` if there is too much, `53100` if the disk refuses or has no more free than commits need.
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
        self.unchecked_bytes += self.gathered_bytes as u64;
        self.gathered_bytes = 0;
        let mut file = file.ok_or_else(|| unwritten(io::Error::other("an earlier piece could not be written")))?;
        let must_check = self.unchecked_bytes >= CHECKED_BYTES;
        if must_check {
            self.unchecked_bytes = 0;
        }
        let lake = Arc::clone(&self.lake);
        let written = spawn_blocking(move || -> Result<File, SqlError> {
            if must_check {
                lake.must_leave_room(&std::env::temp_dir(), CHECKED_BYTES).map_err(full)?;
            }
            pieces.iter().try_for_each(|piece| file.write_all(piece)).map_err(unwritten)?;
            Ok(file)
        });
        let written = written.await.map_err(|error| unwritten(io::Error::other(error)));
        self.file = Some(written.flatten()?);
        Ok(())
    }

    async fn end(mut self) -> Result<(Load, Sent), SqlError> {
        self.write().await?;
        let file = self.file.take().ok_or_else(|| unwritten(io::Error::other("it is gone")))?;
        Ok((self.load, Sent { file: Arc::new(file), decode: self.decode }))
    }
}

/// All rows that a client sent.
#[derive(Debug)]
pub(super) struct Sent {
    file: Arc<File>,
    /// Parses values of the binary format.
    pub(super) decode: DecodeBinary,
}

impl Sent {
    /// The rows, from the first one.
    pub(super) fn read(&self) -> Box<dyn BufRead + Send> {
        Box::new(BufReader::with_capacity(READ_BYTES, FromStart { file: Arc::clone(&self.file), at: 0 }))
    }
}

/// A file that is read from its beginning, whatever the position of other handles.
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

/// The lake's error for a disk that has no room.
fn full(error: Error) -> SqlError {
    let message = format!("the rows can't be kept until all of them are there: {}", error.chain());
    SqlError::new(Kind::Unavailable, "53100", message)
        .with_source(error)
        .with_hint("make room in the folder for temporary files (TMPDIR); stream.disk_reserve is what stays free")
}

impl Session {
    /// Begins to take rows for a `COPY … FROM STDIN`. That it is allowed, and into which columns, is decided here. `decode`
    /// makes arrays of values in the binary format.
    ///
    /// # Errors
    /// If it may not be done, or there is no such table or column, or the binary format has no values for a column.
    pub async fn begin_copy(&self, statement: &Statement, decode: DecodeBinary) -> Result<Option<CopyIn>, SqlError> {
        let StatementKind::Load(load) = &statement.kind else { return Ok(None) };
        if matches!(load.origin, Origin::Files(_)) {
            return Ok(None);
        }
        self.must_be_allowed("COPY")?;
        // The rows are for this table, whatever is made or renamed while they come.
        let mut load = Load::clone(load);
        load.table = self.found(&load.table)?;
        let name = self.meant(&load.table)?;
        let table = table_to_write(self.shared(), &name)?;
        let columns = columns_of(&load, &name, &table, &table.state())?;
        if matches!(load.how.form, Form::Binary) {
            columns.must_be_decoded(decode)?;
        }
        let file = spawn_blocking(tempfile::tempfile).await.map_err(io::Error::other).flatten().map_err(unwritten)?;
        Ok(Some(CopyIn {
            load,
            columns: columns.places.len(),
            decode,
            lake: Arc::clone(self.lake()?),
            file: Some(file),
            gathered: Vec::new(),
            gathered_bytes: 0,
            unchecked_bytes: 0,
            bytes: 0,
        }))
    }

    /// Loads the rows that a client has sent completely: all of them, or none.
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
