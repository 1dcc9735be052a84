//! Sizes and durations as people write them: `128MB`, `5m`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, written as `512B`, `64KB`, `10MB` or `1GB` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A duration in milliseconds, written as `250ms`, `60s`, `5m`, `24h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

const SIZES: [(&str, u64); 4] = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1)];
const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

impl ByteSize {
    /// This many mebibytes.
    #[must_use]
    pub const fn mb(count: u64) -> Self {
        Self(count << 20)
    }

    /// The size as an index or a length in memory.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Millis {
    /// This many seconds.
    #[must_use]
    pub const fn seconds(count: u64) -> Self {
        Self(count * 1_000)
    }

    /// As a duration of the standard library.
    #[must_use]
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic() || letter == ' ');
    let unit = text[digits.len()..].trim();
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

fn print(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut exact: Vec<_> = units.iter().filter(|(_, factor)| value.is_multiple_of(*factor)).collect();
    exact.sort_by_key(|(_, factor)| std::cmp::Reverse(*factor));
    match exact.first() {
        Some((name, factor)) if value > 0 => write!(f, "{}{name}", value / factor),
        _ => write!(f, "{value}{}", if units.len() == SIZES.len() { "B" } else { "ms" }),
    }
}

macro_rules! written_with_unit {
    ($name:ident, $units:ident, $examples:literal) => {
        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                parse(text, &$units).map($name).ok_or_else(|| format!("\"{text}\" is not {}", $examples))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                print(self.0, &$units, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
written_with_unit!(ByteSize, SIZES, "a size such as 64KB, 10MB or 1GB");
written_with_unit!(Millis, DURATIONS, "a duration such as 250ms, 60s, 5m, 24h or 7d");

/// Bytes for a person: `1.4 MB`.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let value = bytes as f64;
    match SIZES.iter().find(|(_, factor)| bytes >= *factor) {
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        Some((name, factor)) if *factor > 1 => format!("{:.1} {name}", value / *factor as f64),
        _ => format!("{bytes} B"),
    }
}

/// A count for a person: `1,234,567`.
#[must_use]
pub fn human_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something, for a person: `1 row`, `1,234 rows`.
#[must_use]
pub fn human_count_of(count: u64, one: &str) -> String {
    format!("{} {one}{}", human_count(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_as_they_print() {
        for text in ["1B", "64KB", "10MB", "3GB", "1536KB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        for text in ["250ms", "60ms", "5m", "90s", "24d", "7d"] {
            assert_eq!(text.parse::<Millis>().unwrap().to_string(), text);
        }
        assert_eq!("10 mb".parse(), Ok(ByteSize::mb(10)));
        assert_eq!(ByteSize(0).to_string(), "0B");
        assert_eq!(Millis(0).to_string(), "0ms");
        for wrong in ["", "MB", "10", "10 parsecs", "-1s", "99999999999999999999GB", "é"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
            assert!(wrong.parse::<Millis>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn people_read_rounded_bytes_and_grouped_counts() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1_500_000), "1.4 MB");
        assert_eq!(human_count(1_234_567), "1,234,567");
        assert_eq!(human_count(12), "12");
    }
}
