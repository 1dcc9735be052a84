//! How the files of a table are laid out, as people write it: `day(_received_at)`, `bucket[16](user_id)`, `price desc`.
//!
//! The names are those of Iceberg's specification ("Partition Transforms", "Sorting"). Whether a column is there, and can
//! be partitioned so, is known only where its type is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most fields that a partition spec or a sort order has.
pub const LAYOUT_FIELDS_MAX: usize = 8;
/// The most buckets of one field.
const BUCKETS_MAX: u32 = 10_000;

/// One field of a partition spec: rows with the same value of it are in the same files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionField {
    /// The column, or the path of a field in a struct: `user.country`.
    pub column: String,
    /// The function that is applied to its value.
    pub transform: Transform,
}

/// The function of a column's value that partitions it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transform {
    /// The value itself.
    Identity,
    /// The year of a time, in UTC.
    Year,
    /// Its month.
    Month,
    /// Its day.
    Day,
    /// Its hour.
    Hour,
    /// One of this many buckets, by a hash of the value.
    Bucket(u32),
    /// A text cut to this many characters, or a number rounded down to a multiple of this.
    Truncate(u32),
}

/// One field of a sort order. Nulls come first, and last where it descends, as is usual with Iceberg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortField {
    /// The column, or the path of a field in a struct.
    pub column: String,
    /// Whether the largest value comes first.
    pub descending: bool,
}

impl Transform {
    /// Whether it is a part of a time. A column is partitioned by one of these at most.
    pub(crate) fn is_of_time(self) -> bool {
        matches!(self, Self::Year | Self::Month | Self::Day | Self::Hour)
    }
}

impl FromStr for PartitionField {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no partition field: write country, day(_received_at), bucket[16](user_id) or truncate[3](zip)"
            )
        };
        let text = text.trim();
        let Some((function, column)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) else {
            let is_name = !text.is_empty() && !text.contains(['(', ')', '[', ']']);
            return if is_name {
                Ok(Self { column: text.to_owned(), transform: Transform::Identity })
            } else {
                Err(wrong())
            };
        };
        let column = column.trim().to_owned();
        let transform = function.trim().parse().ok().filter(|_| !column.is_empty()).ok_or_else(wrong)?;
        Ok(Self { column, transform })
    }
}

impl FromStr for Transform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            Some((name, number)) => (name, number.trim().parse::<u32>().ok().filter(|number| *number > 0)),
            None => (text, None),
        };
        match (name.trim().to_ascii_lowercase().as_str(), number) {
            ("identity", None) => Ok(Self::Identity),
            ("year", None) => Ok(Self::Year),
            ("month", None) => Ok(Self::Month),
            ("day", None) => Ok(Self::Day),
            ("hour", None) => Ok(Self::Hour),
            ("bucket", Some(count)) if count <= BUCKETS_MAX => Ok(Self::Bucket(count)),
            ("truncate", Some(width)) => Ok(Self::Truncate(width)),
            _ => Err(format!("there is no transform \"{text}\"")),
        }
    }
}

impl FromStr for SortField {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (column, direction) = text.trim().rsplit_once(' ').unwrap_or((text.trim(), "asc"));
        let descending = match direction.to_ascii_lowercase().as_str() {
            "asc" => false,
            "desc" => true,
            _ => return Err(format!("\"{text}\" is no sort field: write user_id, or _received_at desc")),
        };
        match column.trim() {
            "" => Err("a sort field needs a column".to_owned()),
            column => Ok(Self { column: column.to_owned(), descending }),
        }
    }
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Year => f.write_str("year"),
            Self::Month => f.write_str("month"),
            Self::Day => f.write_str("day"),
            Self::Hour => f.write_str("hour"),
            Self::Bucket(count) => write!(f, "bucket[{count}]"),
            Self::Truncate(width) => write!(f, "truncate[{width}]"),
        }
    }
}

impl fmt::Display for PartitionField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transform {
            Transform::Identity => f.write_str(&self.column),
            transform => write!(f, "{transform}({})", self.column),
        }
    }
}

impl fmt::Display for SortField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.column, if self.descending { " desc" } else { "" })
    }
}

macro_rules! written_as_text {
    ($($name:ty),*) => {$(
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
    )*};
}
written_as_text!(PartitionField, SortField);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_they_are_read() {
        for text in ["country", "user.country", "day(_received_at)", "bucket[16](user_id)", "truncate[3](zip)"] {
            assert_eq!(text.parse::<PartitionField>().unwrap().to_string(), text);
        }
        assert_eq!(" Day( _received_at ) ".parse::<PartitionField>().unwrap().to_string(), "day(_received_at)");
        for text in ["user_id", "_received_at desc"] {
            assert_eq!(text.parse::<SortField>().unwrap().to_string(), text);
        }
        assert_eq!("user_id ASC".parse::<SortField>().unwrap().to_string(), "user_id");
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for text in ["", "day()", "week(t)", "bucket(user_id)", "bucket[0](a)", "bucket[10001](a)", "day(t", "a)b"] {
            assert!(text.parse::<PartitionField>().is_err(), "{text}");
        }
        for text in ["", "a b", "a nulls first"] {
            assert!(text.parse::<SortField>().is_err(), "{text}");
        }
    }
}
