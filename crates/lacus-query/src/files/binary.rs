//! Rows in Postgres' binary format, as a client sends them: a header, tuples of values with their lengths, and an end mark.
//!
//! They are taken apart here; what the bytes of a value mean is known to the door that speaks the protocol ([`DecodeBinary`]).
//! The bytes come from the network: whatever they are, they become values or an error, and take no more memory than was sent.

use std::io::{self, BufRead, ErrorKind, Read};
use std::ops::Range;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::Field;

use super::records::RECORD_BYTES_MAX;

/// Makes an array of a column's values in Postgres' binary format, or says which is the first invalid one.
pub type DecodeBinary = fn(&Field, &[Option<&[u8]>]) -> Result<ArrayRef, usize>;

/// What all rows begin with.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// The header's flags that a reader must know. None is known here.
const CRITICAL_FLAGS: u32 = 0xffff_0000;
/// The longest part of a header that may be skipped, in bytes.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Ends the rows, in place of the number of values of a tuple.
const END: i16 = -1;
/// Stands for null, in place of a value's length.
const NULL: i32 = -1;
/// Bytes of a length.
const LENGTH_BYTES: usize = 4;

/// The values of one column, one after the other.
#[derive(Debug, Default)]
pub(super) struct Values {
    bytes: Vec<u8>,
    /// The range of each value; none for null.
    places: Vec<Option<Range<usize>>>,
}

impl Values {
    /// The first ones.
    pub(super) fn first(&self, count: usize) -> Vec<Option<&[u8]>> {
        self.places.iter().take(count).map(|place| place.clone().map(|place| &self.bytes[place])).collect()
    }

    /// Reads the next value, if it has no more than this many bytes, and says how many it has.
    fn read(&mut self, from: &mut impl BufRead, bytes_max: usize) -> io::Result<usize> {
        let length = i32::from_be_bytes(read_array(from)?);
        if length == NULL {
            self.places.push(None);
            return Ok(0);
        }
        let length = usize::try_from(length).map_err(|_| wrong(format!("{length} is no length")))?;
        if length > bytes_max {
            return Err(wrong(format!("with it the row has more than {RECORD_BYTES_MAX} bytes")));
        }
        let start = self.bytes.len();
        let end = start + length;
        while self.bytes.len() < end {
            let bytes = from.fill_buf()?;
            if bytes.is_empty() {
                return Err(cut_off());
            }
            let count = bytes.len().min(end - self.bytes.len());
            self.bytes.extend_from_slice(&bytes[..count]);
            from.consume(count);
        }
        self.places.push(Some(start..end));
        Ok(length)
    }
}

/// Reads one tuple after the other.
pub(super) struct Tuples<R> {
    from: R,
    /// What the columns are called.
    columns: Vec<String>,
}

impl<R: BufRead> Tuples<R> {
    /// Reads the header of rows with these columns.
    ///
    /// # Errors
    /// `InvalidData` for what is no header, and if nothing can be read.
    pub(super) fn new(mut from: R, columns: Vec<String>) -> io::Result<Self> {
        let mut signature = Vec::new();
        Read::take(&mut from, SIGNATURE.len() as u64).read_to_end(&mut signature)?;
        if signature != SIGNATURE {
            return Err(wrong("this is not how the binary format begins".to_owned()));
        }
        let flags = u32::from_be_bytes(read_array(&mut from)?);
        if flags & CRITICAL_FLAGS != 0 {
            return Err(wrong(format!("nobody knows its flags: {flags:#010x}")));
        }
        // A negative length is one that is too long.
        let length = u64::from(u32::from_be_bytes(read_array(&mut from)?));
        if length > EXTENSION_BYTES_MAX {
            return Err(wrong(format!("the header has more than {EXTENSION_BYTES_MAX} bytes")));
        }
        let skipped = io::copy(&mut Read::take(&mut from, length), &mut io::sink())?;
        if skipped < length { Err(cut_off()) } else { Ok(Self { from, columns }) }
    }

    /// Reads the values of the next tuple, each into its column, and says how many bytes they have; none if there are no more
    /// tuples. After an error, some columns may have one value more than others.
    ///
    /// After an error some of the columns may have a value more than others.
    ///
    /// # Errors
    /// `InvalidData` for what is no tuple, and if nothing can be read.
    pub(super) fn next(&mut self, into: &mut [Values]) -> io::Result<Option<usize>> {
        if self.from.fill_buf()?.is_empty() {
            // As in Postgres: the client has said, too, that these were all.
            return Ok(None);
        }
        let count = i16::from_be_bytes(read_array(&mut self.from)?);
        if count == END {
            let is_all = self.from.fill_buf()?.is_empty();
            return if is_all { Ok(None) } else { Err(wrong("more comes behind the end of the rows".to_owned())) };
        }
        let columns = self.columns.len();
        if usize::try_from(count).ok() != Some(columns) {
            return Err(wrong(format!("it has {count} fields, and there are {columns} columns")));
        }
        let mut taken = 0;
        for (name, values) in self.columns.iter().zip(into) {
            let read = values.read(&mut self.from, RECORD_BYTES_MAX.saturating_sub(taken));
            taken += LENGTH_BYTES + read.map_err(|error| in_column(name, &error))?;
        }
        Ok(Some(taken))
    }
}

fn read_array<const BYTES: usize>(from: &mut impl Read) -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let read = from.read_exact(&mut bytes);
    read.map_err(|error| if error.kind() == ErrorKind::UnexpectedEof { cut_off() } else { error })?;
    Ok(bytes)
}

fn in_column(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("column \"{name}\": {error}"))
}

fn cut_off() -> io::Error {
    wrong("the rows end within it".to_owned())
}

fn wrong(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header, a tuple with a value and null, one with nothing and a value, and the end.
    const ROWS: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\x01\0\0\0\x02ex\
        \0\x02\0\0\0\x03one\xff\xff\xff\xff\
        \0\x02\0\0\0\0\0\0\0\x03two\
        \xff\xff";
    const HEADER_BYTES: usize = 21;

    type Row = Vec<Option<Vec<u8>>>;

    fn all(bytes: &[u8]) -> Result<Vec<Row>, String> {
        let columns = vec!["a".to_owned(), "b".to_owned()];
        let said = |error: io::Error| error.to_string();
        let mut tuples = Tuples::new(io::BufReader::with_capacity(3, bytes), columns).map_err(said)?;
        let mut values = [Values::default(), Values::default()];
        let mut count = 0;
        while tuples.next(&mut values).map_err(said)?.is_some() {
            count += 1;
        }
        let [one, other] = values.each_ref().map(|values| values.first(count));
        let owned = |value: &Option<&[u8]>| value.map(<[u8]>::to_vec);
        Ok(one.iter().zip(&other).map(|(one, other)| vec![owned(one), owned(other)]).collect())
    }

    /// The rows with other bytes from some place on.
    fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut rows = ROWS.to_vec();
        rows[at..at + bytes.len()].copy_from_slice(bytes);
        rows
    }

    #[test]
    fn tuples_are_taken_apart() {
        let rows = vec![vec![Some(b"one".to_vec()), None], vec![Some(Vec::new()), Some(b"two".to_vec())]];
        assert_eq!(all(ROWS), Ok(rows.clone()));
        assert_eq!(all(&ROWS[..ROWS.len() - 2]), Ok(rows), "the end may be missing");
        assert_eq!(all(&ROWS[..HEADER_BYTES]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let ends = [HEADER_BYTES, HEADER_BYTES + 13, ROWS.len() - 2];
        for end in (0..ROWS.len()).filter(|end| !ends.contains(end)) {
            let error = all(&ROWS[..end]).expect_err("it is not whole");
            let expected =
                if end < SIGNATURE.len() { "not how the binary format begins" } else { "the rows end within it" };
            assert!(error.contains(expected), "{end} bytes: {error}");
        }
        assert_eq!(all(&ROWS[..HEADER_BYTES + 8]).unwrap_err(), "column \"a\": the rows end within it");
    }

    #[test]
    fn what_is_no_tuple_is_an_error() {
        for (rows, expected) in [
            (b"id\tname\n1\tone\n".to_vec(), "this is not how the binary format begins"),
            (changed(0, b"pg"), "this is not how the binary format begins"),
            (changed(11, &[0, 1, 0, 0]), "nobody knows its flags: 0x00010000"),
            (changed(15, &[0xff; 4]), "the header has more than 1048576 bytes"),
            (changed(15, &[0, 0x10, 0, 1]), "the header has more than 1048576 bytes"),
            (changed(HEADER_BYTES, &[0, 3]), "it has 3 fields, and there are 2 columns"),
            (changed(HEADER_BYTES, &[0xff, 0xfe]), "it has -2 fields, and there are 2 columns"),
            (changed(HEADER_BYTES, &[0xff, 0xff]), "more comes behind the end of the rows"),
            (changed(HEADER_BYTES + 2, &[0xff, 0xff, 0xff, 0xfe]), "column \"a\": -2 is no length"),
            (
                changed(HEADER_BYTES + 2, &[0x7f, 0xff, 0xff, 0xff]),
                "column \"a\": with it the row has more than 67108864 bytes",
            ),
        ] {
            assert_eq!(all(&rows).unwrap_err(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            at in 0..ROWS.len(),
            byte in any::<u8>(),
        ) {
            let _read = all(&bytes);
            let _read = all(&[&ROWS[..HEADER_BYTES], &bytes[..]].concat());
            let _read = all(&changed(at, &[byte]));
        }
    }
}
