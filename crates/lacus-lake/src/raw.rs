//! The raw zone: every event as it came, NDJSON, zstd, by hour of arrival.
//!
//! A line is the event's own JSON object with `_received_at`, `_partition` and `_offset` spliced in before its closing
//! brace: nothing is parsed, so nothing can be lost. Only records that the decoder accepted as JSON objects come here.

use std::io::Write;

use lacus_core::clock::Hour;
use lacus_core::{Context, Error, Offset, Partition, Record, Result, Timestamp};
use object_store::PutPayload;
use zstd::zstd_safe::CParameter;

use crate::pieces::Pieces;

/// The most hours that are written at the same time. Records come in order of arrival, so more than two are rare; a fifth
/// ends the oldest file.
const OPEN_HOURS_MAX: usize = 4;
/// The longest position at the end of a line: two names and two numbers.
const PLACE_BYTES_MAX: usize = 64;
/// The digits of the largest offset.
const NUMBER_DIGITS_MAX: usize = 20;
/// Lines are given to the compressor once they are so many bytes: a call for each would cost as much as writing it.
const LINES_BYTES: usize = 64 << 10;
/// zstd's fastest level: raw events are read rarely and JSON compresses well at any level.
const ZSTD_LEVEL: i32 = 1;
/// The compressor's window, and its table of what came before, as powers of two: what this level has for 128 kB. For a stream it
/// would take 19 and 14. So, clicks are compressed at 907 MB/s, not 750, to the same size; long messages that differ take 13 to 17 %
/// less time, and their files are 5 to 8 % larger. And a file that is written has 256 kB of buffers, not 640.
const WINDOW_LOG: u32 = 17;
const HASH_LOG: u32 = 13;

/// Compresses records into one file per hour of arrival, as they come.
#[derive(Default)]
pub struct RawWriter {
    /// At most [`OPEN_HOURS_MAX`], oldest first.
    open: Vec<OpenFile>,
    finished: Vec<RawFile>,
    /// How the last line ended: all records of one sync have the same time.
    last: Option<Ending>,
}

/// What the lines of records that were received together end with.
struct Ending {
    received_at: Timestamp,
    partition: Partition,
    hour: Hour,
    /// The fields that are added to an event, up to the number of its offset.
    text: String,
}

struct OpenFile {
    hour: Hour,
    /// Lines that the compressor has not taken yet.
    lines: Vec<u8>,
    encoder: zstd::Encoder<'static, Pieces>,
    records: u64,
}

/// One finished file of the raw zone.
#[derive(Debug, Clone)]
pub struct RawFile {
    /// The UTC hour its records arrived in.
    pub hour: Hour,
    /// Compressed NDJSON.
    pub bytes: PutPayload,
    /// How many records it has.
    pub records: u64,
}

impl RawWriter {
    /// Adds a record: its JSON object on one line, extended by `_received_at`, `_partition` and `_offset`.
    ///
    /// # Errors
    /// If the record is no JSON object or the compressor fails.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        let inside = inside_of(record)?;
        let ending = match self.last.take() {
            Some(last) if last.is_of(record) => last,
            _ => Ending::of(record),
        };
        self.file_of(ending.hour)?.add(inside, &ending, record.position.offset)?;
        self.last = Some(ending);
        Ok(())
    }

    /// The bytes written so far, without lines that wait and what the compressors still hold.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let open = self.open.iter().map(|file| file.encoder.get_ref().len());
        open.chain(self.finished.iter().map(|file| file.bytes.content_length())).sum::<usize>() as u64
    }

    /// Ends all files, and begins new ones with the next record.
    ///
    /// # Errors
    /// If the compressor fails.
    pub fn finish(&mut self) -> Result<Vec<RawFile>> {
        for file in std::mem::take(&mut self.open) {
            self.finished.push(file.finish()?);
        }
        Ok(std::mem::take(&mut self.finished))
    }

    fn file_of(&mut self, hour: Hour) -> Result<&mut OpenFile> {
        let place = match self.open.iter().position(|file| file.hour == hour) {
            Some(place) => place,
            None => {
                if self.open.len() == OPEN_HOURS_MAX {
                    let oldest = self.open.remove(0);
                    self.finished.push(oldest.finish()?);
                }
                self.open.push(OpenFile::new(hour)?);
                self.open.len() - 1
            }
        };
        Ok(&mut self.open[place])
    }
}

impl Ending {
    fn of(record: &Record) -> Self {
        let (received_at, partition) = (record.received_at, record.position.partition);
        let text = format!("\"_received_at\":\"{received_at}\",\"_partition\":{},\"_offset\":", partition.0);
        Self { received_at, partition, hour: received_at.hour(), text }
    }

    fn is_of(&self, record: &Record) -> bool {
        self.received_at == record.received_at && self.partition == record.position.partition
    }
}

impl OpenFile {
    fn new(hour: Hour) -> Result<Self> {
        Ok(Self { hour, lines: Vec::new(), encoder: compressor(Pieces::default())?, records: 0 })
    }

    fn add(&mut self, inside: &[u8], ending: &Ending, offset: Offset) -> Result<()> {
        write_line(inside, ending, offset, &mut self.lines);
        self.records += 1;
        if self.lines.len() < LINES_BYTES { Ok(()) } else { self.compress() }
    }

    fn compress(&mut self) -> Result<()> {
        self.encoder.write_all(&self.lines).context("compress raw events")?;
        self.lines.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<RawFile> {
        self.compress()?;
        let bytes = self.encoder.finish().context("end a raw file")?.freeze();
        Ok(RawFile { hour: self.hour, bytes, records: self.records })
    }
}

/// What compresses the lines of a raw file.
pub(crate) fn compressor<W: Write>(file: W) -> Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL).context("start a raw file")?;
    for parameter in [CParameter::WindowLog(WINDOW_LOG), CParameter::HashLog(HASH_LOG)] {
        encoder.set_parameter(parameter).context("start a raw file")?;
    }
    Ok(encoder)
}

/// The directory of a stream's raw files of one hour.
pub(crate) fn directory(stream: &lacus_core::StreamName, hour: Hour) -> String {
    format!("raw/{stream}/{:04}/{:02}/{:02}/{:02}", hour.year, hour.month, hour.day, hour.hour)
}

/// The partition and offset that [`write_line`] put at the end of a line.
pub(crate) fn place_of(line: &[u8]) -> Result<(u32, u64)> {
    let unreadable = || Error::corrupt("a line of the raw zone does not end with its place");
    let end = line.trim_ascii_end().strip_suffix(b"}").ok_or_else(unreadable)?;
    // The text before it may begin in the middle of a character.
    let tail = String::from_utf8_lossy(&end[end.len().saturating_sub(PLACE_BYTES_MAX)..]);
    let (_, place) = tail.rsplit_once(",\"_partition\":").ok_or_else(unreadable)?;
    let (partition, offset) = place.split_once(",\"_offset\":").ok_or_else(unreadable)?;
    Ok((partition.parse().map_err(|_| unreadable())?, offset.parse().map_err(|_| unreadable())?))
}

/// What is between the braces of a record's JSON object.
fn inside_of(record: &Record) -> Result<&[u8]> {
    match record.value.trim_ascii() {
        [b'{', inside @ .., b'}'] => Ok(inside),
        _ => Err(Error::internal(format!("record {} is no JSON object", record.position))),
    }
}

fn write_line(inside: &[u8], ending: &Ending, offset: Offset, lines: &mut Vec<u8>) {
    lines.push(b'{');
    // JSON strings can't contain line ends, so these are white space between tokens.
    lines.extend(inside.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    if !inside.trim_ascii().is_empty() {
        lines.push(b',');
    }
    lines.extend_from_slice(ending.text.as_bytes());
    write_number(offset.0, lines);
    lines.extend_from_slice(b"}\n");
}

/// The same as `write!`, which takes longer than to copy an event.
fn write_number(number: u64, lines: &mut Vec<u8>) {
    let (mut digits, mut first, mut rest) = ([0; NUMBER_DIGITS_MAX], NUMBER_DIGITS_MAX, number);
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    lines.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests;
