//! The numbers and names that Kinesis gives to what it holds.
//!
//! A sequence number has 56 digits, as Kinesis': `49`, the shard (10 digits), the offset (44). It grows within a shard, and
//! says where its record is. A shard iterator says its stream, shard and offset, and when it was made.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use lacus_core::{Offset, Partition, Timestamp};
use lacus_stream::{Shard, StreamInfo};

use super::super::aws_name;
use super::super::wire::{AwsError, shortened};
use crate::stats::Reason;

const PREFIX: &str = "49";
const SHARD_DIGITS: usize = 10;
const DIGITS: usize = 56;
/// An iterator is good for five minutes.
const ITERATOR_MAX_MS: u64 = 5 * 60 * 1_000;

pub(super) fn sequence_number(shard: Partition, offset: Offset) -> String {
    format!("{PREFIX}{:0SHARD_DIGITS$}{:044}", shard.0, offset.0)
}

/// The offset that a sequence number of this shard says.
pub(super) fn offset_of(shard: Partition, number: &str) -> Result<Offset, AwsError> {
    let wrong = || AwsError::invalid(format!("StartingSequenceNumber is no sequence number of {}.", shard_id(shard)));
    let digits =
        number.strip_prefix(PREFIX).filter(|_| number.len() == DIGITS && number.bytes().all(|b| b.is_ascii_digit()));
    let (number, offset) = digits.ok_or_else(wrong)?.split_at(SHARD_DIGITS);
    if number.parse() != Ok(shard.0) {
        return Err(wrong());
    }
    offset.parse().map(Offset).map_err(|_| wrong())
}

pub(super) fn shard_id(shard: Partition) -> String {
    format!("shardId-{:012}", shard.0)
}

/// The shard with this id.
pub(super) fn find_shard<'a>(stream: &'a StreamInfo, id: &str) -> Result<&'a Shard, AwsError> {
    let digits = id.strip_prefix("shardId-").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    stream.current_shards().find(|shard| Some(shard.partition.0) == number).ok_or_else(|| {
        AwsError::not_found(format!("Shard {} in stream {} does not exist.", shortened(id), aws_name(stream)))
    })
}

/// Where a reader is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShardIterator {
    pub(super) stream: String,
    pub(super) shard: Partition,
    pub(super) offset: Offset,
    pub(super) made_at: Timestamp,
}

impl ShardIterator {
    pub(super) fn to_text(&self) -> String {
        let Self { stream, shard, offset, made_at } = self;
        BASE64.encode(format!("1 {} {} {} {stream}", shard.0, offset.0, made_at.as_micros()))
    }

    /// Reads one. It holds nothing that its owner could not ask for, so that nothing but its form is checked.
    pub(super) fn parse(text: &str, now: Timestamp) -> Result<Self, AwsError> {
        let decoded = BASE64.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let read = || {
            let mut words = decoded.splitn(5, ' ');
            (words.next()? == "1").then_some(())?;
            let (shard, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let made_at = Timestamp::from_micros(words.next()?.parse().ok()?);
            Some(Self { shard: Partition(shard), offset: Offset(offset), made_at, stream: words.next()?.to_owned() })
        };
        let iterator: Self = read().ok_or_else(|| AwsError::invalid("Invalid ShardIterator."))?;
        if now.millis_since(iterator.made_at) > ITERATOR_MAX_MS {
            let message = "Iterator expired. The iterator was created more than 5 minutes ago; get a new one.";
            return Err(AwsError::new("ExpiredIteratorException", message, Reason::Parameter));
        }
        Ok(iterator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_grow_and_say_where_their_record_is() {
        let (shard, other) = (Partition(7), Partition(8));
        let numbers: Vec<String> = [0, 9, 10, u64::MAX].map(|offset| sequence_number(shard, Offset(offset))).into();
        assert!(numbers.is_sorted() && numbers.iter().all(|number| number.len() == 56));
        assert_eq!(offset_of(shard, &numbers[3]).unwrap(), Offset(u64::MAX));
        for wrong in ["", "49", "x", &numbers[1][1..], &"9".repeat(56), &sequence_number(other, Offset(1))] {
            assert_eq!(offset_of(shard, wrong).unwrap_err().name, "InvalidArgumentException");
        }
    }

    #[test]
    fn iterators_end_after_five_minutes() {
        let at = Timestamp::from_micros(1_000_000);
        let iterator = ShardIterator { stream: "a b".to_owned(), shard: Partition(3), offset: Offset(9), made_at: at };
        assert_eq!(ShardIterator::parse(&iterator.to_text(), at.plus_ms(300_000)).unwrap(), iterator);
        let expired = ShardIterator::parse(&iterator.to_text(), at.plus_ms(300_001)).unwrap_err();
        assert_eq!(expired.name, "ExpiredIteratorException");
        for wrong in ["", "!", "MQ", "MSAxIDIgMw"] {
            assert_eq!(ShardIterator::parse(wrong, at).unwrap_err().name, "InvalidArgumentException");
        }
    }
}
