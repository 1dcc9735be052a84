//! `COPY (…) TO STDOUT`: rows as text, CSV or Postgres' binary format, as they come. `COPY … FROM STDIN`: rows that the
//! client sends.

use std::fmt::Debug;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use lacus_query::{CopyFormat, CopyIn, CopyKind, SqlError};
use pgwire::api::portal::Format;
use pgwire::api::query::send_execution_response;
use pgwire::api::results::{FieldInfo, Tag};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyData, CopyDone, CopyInResponse, CopyOutResponse};
use pgwire::messages::data::DataRow;

use crate::postgres::errors::wire;

/// The header of a binary copy: its signature, no flags, and no extension.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
const BINARY_END: &[u8] = &[0xff, 0xff];

/// How values are encoded in such a copy.
pub(super) fn encoding(format: &CopyFormat) -> Format {
    if format.kind == CopyKind::Binary { Format::UnifiedBinary } else { Format::UnifiedText }
}

/// Sends rows whose values are encoded as [`encoding`] says.
pub(super) async fn send<C>(
    client: &mut C,
    format: &CopyFormat,
    fields: &[FieldInfo],
    rows: impl Stream<Item = PgWireResult<DataRow>> + Send,
) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let code = i16::from(format.kind == CopyKind::Binary);
    let columns = i16::try_from(fields.len()).unwrap_or(i16::MAX);
    let response = CopyOutResponse::new(i8::from(code == 1), columns, vec![code; fields.len()]);
    client.feed(PgWireBackendMessage::CopyOutResponse(response)).await?;
    let data = |bytes: Bytes| PgWireBackendMessage::CopyData(CopyData::new(bytes));
    // As in Postgres, the binary header is in the same message as the first row, and clients rely on it.
    let mut before: &[u8] = if format.kind == CopyKind::Binary { BINARY_HEADER } else { &[] };
    let mut with_header = |bytes: Bytes| match std::mem::take(&mut before) {
        [] => bytes,
        header => [header, &bytes[..]].concat().into(),
    };
    if format.header && format.kind != CopyKind::Binary {
        client.feed(data(header(format, fields))).await?;
    }
    let mut count = 0;
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.next().await {
        client.feed(data(with_header(line(format, &row?)?))).await?;
        count += 1;
    }
    if format.kind == CopyKind::Binary {
        client.feed(data(with_header(Bytes::from_static(BINARY_END)))).await?;
    }
    client.feed(PgWireBackendMessage::CopyDone(CopyDone::new())).await?;
    send_execution_response(client, Tag::new("COPY").with_rows(count)).await
}

/// Tells the client to send its rows.
pub(super) async fn ask_for_rows<C>(client: &mut C, copy: &CopyIn) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin + Send,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    // Postgres has 1,600 columns at most.
    let columns = i16::try_from(copy.columns()).unwrap_or(i16::MAX);
    let code = i16::from(copy.is_binary());
    let formats = vec![code; usize::try_from(columns).unwrap_or(0)];
    let response = CopyInResponse::new(i8::from(copy.is_binary()), columns, formats);
    client.send(PgWireBackendMessage::CopyInResponse(response)).await?;
    Ok(())
}

fn header(format: &CopyFormat, fields: &[FieldInfo]) -> Bytes {
    let names = fields.iter().map(|field| Some(field.name().as_bytes()));
    joined(format, names.map(Ok)).unwrap_or_default()
}

/// One row as it is sent.
fn line(format: &CopyFormat, row: &DataRow) -> PgWireResult<Bytes> {
    if format.kind == CopyKind::Binary {
        let mut line = BytesMut::with_capacity(2 + row.data.len());
        line.put_i16(row.field_count);
        line.put_slice(&row.data);
        return Ok(line.freeze());
    }
    joined(format, Values(&row.data))
}

/// The values of a row: each after its length, which is -1 for null.
struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = PgWireResult<Option<&'a [u8]>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let broken = || wire(&SqlError::new(lacus_core::Kind::Internal, "XX000", "a row can't be read again"));
        let Some((length, rest)) = self.0.split_first_chunk() else {
            self.0 = &[];
            return Some(Err(broken()));
        };
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.0 = rest;
            return Some(Ok(None));
        };
        let Some((value, rest)) = rest.split_at_checked(length) else {
            self.0 = &[];
            return Some(Err(broken()));
        };
        self.0 = rest;
        Some(Ok(Some(value)))
    }
}

fn joined<'a>(
    format: &CopyFormat,
    values: impl Iterator<Item = PgWireResult<Option<&'a [u8]>>>,
) -> PgWireResult<Bytes> {
    let mut line = BytesMut::new();
    let mut letter = [0; 4];
    for (index, value) in values.enumerate() {
        if index > 0 {
            line.put_slice(format.delimiter.encode_utf8(&mut letter).as_bytes());
        }
        match value? {
            None => line.put_slice(format.null.as_bytes()),
            Some(value) if format.kind == CopyKind::Csv => put_csv(&mut line, format, value),
            Some(value) => put_text(&mut line, format, value),
        }
    }
    line.put_u8(b'\n');
    Ok(line.freeze())
}

/// A value in the text format, with a backslash before delimiters, line ends and backslashes.
fn put_text(line: &mut BytesMut, format: &CopyFormat, value: &[u8]) {
    for byte in value {
        let escaped = match byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0b => b'v',
            0x0c => b'f',
            byte if char::from(*byte) == format.delimiter => *byte,
            byte => {
                line.put_u8(*byte);
                continue;
            }
        };
        line.put_slice(&[b'\\', escaped]);
    }
}

fn put_csv(line: &mut BytesMut, format: &CopyFormat, value: &[u8]) {
    let is = |byte: u8, letter: char| char::from(byte) == letter;
    let needs = |byte: &u8| matches!(byte, b'\n' | b'\r') || is(*byte, format.delimiter) || is(*byte, format.quote);
    let is_quoted = format.force_quote || value == format.null.as_bytes() || value == b"\\." || value.iter().any(needs);
    if !is_quoted {
        return line.put_slice(value);
    }
    let mut letter = [0; 4];
    let quote = format.quote.encode_utf8(&mut letter).as_bytes().to_vec();
    line.put_slice(&quote);
    for byte in value {
        if is(*byte, format.quote) || is(*byte, format.escape) {
            line.put_slice(format.escape.encode_utf8(&mut letter).as_bytes());
        }
        line.put_u8(*byte);
    }
    line.put_slice(&quote);
}
