//! A list of a request, of which only so many members are kept: two bytes of a body would each be many in memory.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A list of which no more than `MOST` members and one are kept: enough to see that there are too many.
#[derive(Debug)]
pub(crate) struct AtMost<T, const MOST: usize>(Vec<T>);

impl<'a, T: Deserialize<'a>, const MOST: usize> Deserialize<'a> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(AtMostVisitor(Vec::new()))
    }
}

struct AtMostVisitor<T, const MOST: usize>(Vec<T>);

impl<'a, T: Deserialize<'a>, const MOST: usize> Visitor<'a> for AtMostVisitor<T, MOST> {
    type Value = AtMost<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<S: SeqAccess<'a>>(mut self, mut members: S) -> Result<Self::Value, S::Error> {
        while self.0.len() <= MOST {
            match members.next_element()? {
                Some(member) => self.0.push(member),
                None => return Ok(AtMost(self.0)),
            }
        }
        while members.next_element::<IgnoredAny>()?.is_some() {}
        Ok(AtMost(self.0))
    }
}

impl<T, const MOST: usize> AtMost<T, MOST> {
    /// All members, unless they were too many.
    pub(crate) fn all(self) -> Option<Vec<T>> {
        Some(self.0).filter(|members| members.len() <= MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_shows_that_it_is_too_much() {
        let parse = |text: &str| serde_json::from_str::<AtMost<u8, 3>>(text);
        assert_eq!(parse("[1,2,3]").unwrap().all().unwrap(), [1, 2, 3]);
        let long = parse(&format!("[{}1]", "1,".repeat(1_000))).unwrap();
        assert_eq!(long.0, [1; 4]);
        assert!(long.all().is_none());
        assert!(parse("[1,2,3,4,}").is_err() && parse("{}").is_err());
    }
}
