//! Where texts and numbers end that are written as almost all are: no escapes, few digits.
//!
//! To look for such an end takes less time than to have the parser read the value. What is found here is what the parser
//! would have read, to the byte. Where nothing is found, that says nothing: the parser has the last word.

/// Texts of more blocks of eight bytes are left to the parser, which looks at more bytes at once.
const TEXT_BLOCKS_MAX: usize = 16;

/// Longer numbers are left to the parser, which has a limit for digits.
const NUMBER_BYTES_MAX: usize = 24;

const ONES: u64 = u64::from_le_bytes([1; 8]);
const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
const BLANKS: u64 = u64::from_le_bytes([b' '; 8]);
/// The highest bit of each byte.
const HIGHEST: u64 = u64::from_le_bytes([0x80; 8]);

/// The length of the text that begins here, after its quote.
pub(super) fn text_length(bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<8>();
    for (index, block) in blocks.iter().take(TEXT_BLOCKS_MAX).enumerate() {
        let ends = ends(u64::from_le_bytes(*block));
        if ends != 0 {
            let length = index * 8 + ends.trailing_zeros() as usize / 8;
            return (bytes.get(length) == Some(&b'"')).then_some(length);
        }
    }
    None
}

/// Marks the first of eight bytes that is a quote, a backslash or a control character, by its highest bit. Those above it may
/// be marked without being any: a subtraction borrows from the next byte.
fn ends(bytes: u64) -> u64 {
    let (quotes, backslashes) = (bytes ^ QUOTES, bytes ^ BACKSLASHES);
    let are_quotes = quotes.wrapping_sub(ONES) & !quotes;
    let are_backslashes = backslashes.wrapping_sub(ONES) & !backslashes;
    let are_controls = bytes.wrapping_sub(BLANKS) & !bytes;
    (are_quotes | are_backslashes | are_controls) & HIGHEST
}

/// The length of the number that begins here, if it is written without an exponent and a comma or bracket follows.
pub(super) fn number_length(bytes: &[u8]) -> Option<usize> {
    let bytes = &bytes[..bytes.len().min(NUMBER_BYTES_MAX)];
    let digits_from = |start: usize| bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let first = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits_from(first);
    if whole == 0 || (whole > 1 && bytes[first] == b'0') {
        return None;
    }
    let mut end = first + whole;
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits_from(end + 1);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    matches!(bytes.get(end)?, b',' | b'}' | b']').then_some(end)
}

#[cfg(test)]
mod tests {
    use jiter::{Jiter, Peek};

    use super::*;

    #[test]
    fn texts_end_before_their_quote() {
        for (filling, at, byte) in cases() {
            let mut bytes = [[filling; 20].as_slice(), b"\",\"next\":1}"].concat();
            bytes[at] = byte;
            let expected = match byte {
                b'"' => Some(at),
                b'\\' | 0..b' ' => None,
                _ => Some(20),
            };
            assert_eq!(text_length(&bytes), expected, "{byte} at {at} among {filling}");
        }
    }

    /// Every byte at every place, among others that differ by little from what ends a text.
    fn cases() -> impl Iterator<Item = (u8, usize, u8)> {
        let places = b"x !#[]\x7f\x80\xff".iter().flat_map(|filling| (0..20).map(move |at| (*filling, at)));
        places.flat_map(|(filling, at)| (0..=u8::MAX).map(move |byte| (filling, at, byte)))
    }

    #[test]
    fn long_texts_and_last_bytes_are_left_to_the_parser() {
        for length in 0..200 {
            let text = ["x".repeat(length), "\"".to_owned(), " ".repeat(8)].concat();
            assert_eq!(text_length(text.as_bytes()), (length < 128).then_some(length));
        }
        for cut in [&b""[..], b"x", b"\"", b"x\"}", b"12345678", b"1234567"] {
            assert_eq!(text_length(cut), None);
        }
        assert_eq!(text_length(b"1234567\""), Some(7));
    }

    #[test]
    fn numbers_end_where_the_parser_ends_them() {
        for (text, expected) in [
            ("0,", Some(1)),
            ("-0]", Some(2)),
            ("17}", Some(2)),
            ("-12.50,", Some(6)),
            ("0.007}", Some(5)),
            ("9223372036854775808,", Some(19)),
            ("12345678901234567890123,", Some(23)),
            ("123456789012345678901234,", None),
            ("1e3,", None),
            ("1.5E3,", None),
            ("1 ,", None),
            ("1", None),
            ("1.", None),
            ("1.,", None),
            ("1.5", None),
            ("01,", None),
            ("-01,", None),
            ("-,", None),
            (".5,", None),
            ("+1,", None),
            ("", None),
        ] {
            assert_eq!(number_length(text.as_bytes()), expected, "{text}");
            if let Some(length) = expected {
                let first = Peek::new(text.as_bytes()[0]);
                assert_eq!(Jiter::new(text.as_bytes()).known_number_bytes(first).unwrap().len(), length, "{text}");
            }
        }
    }
}
