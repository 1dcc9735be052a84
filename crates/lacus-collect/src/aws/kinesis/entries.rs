//! What a producer puts: read from a body, checked, and taken apart where a producer packed several records into one.

use bytes::Bytes;
use lacus_core::{NewRecord, RejectedEvent};
use lacus_stream::RECORD_BYTES_MAX;
use serde::Deserialize;

use super::super::aggregated::take_apart;
use super::super::wire::{AwsError, Blob, Protocol};
use super::Named;
use crate::at_most::AtMost;
use crate::split::EVENTS_MAX;

/// Records of one `PutRecords`.
const ENTRIES_MAX: usize = 500;
/// Bytes of data and keys in one `PutRecords`.
const BYTES_MAX: usize = 10 << 20;
const PARTITION_KEY_CHARS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecord {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    data: Blob,
    partition_key: String,
    explicit_hash_key: Option<String>,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecords {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    records: AtMost<Entry, ENTRIES_MAX>,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    data: Blob,
    partition_key: String,
    explicit_hash_key: Option<String>,
}

/// The records of a request.
pub(super) struct Batch {
    pub(super) stream: Named,
    pub(super) is_dry_run: Option<bool>,
    pub(super) records: Vec<NewRecord>,
    /// Of each entry, where in `records` its last one is: an aggregated one has many.
    pub(super) lasts: Vec<usize>,
    /// Bytes of keys and values of the records.
    pub(super) bytes: usize,
}

impl Batch {
    /// The record of a `PutRecord`.
    pub(super) fn of_one(protocol: Protocol, body: &[u8]) -> Result<Self, AwsError> {
        let PutRecord { stream_name, stream_arn, data, partition_key, explicit_hash_key, dry_run } =
            protocol.read(body)?;
        let entry = Entry { data, partition_key, explicit_hash_key };
        Self::of(Named { name: stream_name, arn: stream_arn }, dry_run, vec![entry])
    }

    /// Those of a `PutRecords`.
    pub(super) fn of_many(protocol: Protocol, body: &[u8]) -> Result<Self, AwsError> {
        let PutRecords { stream_name, stream_arn, records, dry_run } = protocol.read(body)?;
        Self::of(Named { name: stream_name, arn: stream_arn }, dry_run, records.members("Records")?)
    }

    fn of(stream: Named, is_dry_run: Option<bool>, entries: Vec<Entry>) -> Result<Self, AwsError> {
        let sent: usize = entries.iter().map(|entry| entry.data.0.len() + entry.partition_key.len()).sum();
        if sent > BYTES_MAX {
            return Err(AwsError::validation("The records of a request have 10 MiB of data and keys at most."));
        }
        let (mut records, mut lasts) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
        for entry in entries {
            entry.into_records(&mut records)?;
            lasts.push(records.len() - 1);
        }
        let length = |record: &NewRecord| record.key.as_ref().map_or(0, Bytes::len) + record.value.len();
        let bytes = records.iter().map(length).sum();
        Ok(Self { stream, is_dry_run, records, lasts, bytes })
    }
}

impl Entry {
    /// Adds the records of an entry: itself, or those that a producer packed into it.
    fn into_records(self, records: &mut Vec<NewRecord>) -> Result<(), AwsError> {
        let chars = self.partition_key.chars().count();
        if !(1..=PARTITION_KEY_CHARS_MAX).contains(&chars) {
            return Err(AwsError::validation(format!(
                "PartitionKey must have 1 to {PARTITION_KEY_CHARS_MAX} characters."
            )));
        }
        if self.data.0.len() + self.partition_key.len() > RECORD_BYTES_MAX {
            return Err(AwsError::validation("A record has 10 MiB of data and key at most."));
        }
        let hash_key = self.explicit_hash_key.as_deref().map(hash_key).transpose()?;
        // One that would make too many records is kept as it is: consumers can take it apart too.
        let room = EVENTS_MAX.saturating_sub(records.len());
        let Some(packed) = take_apart(&self.data.0, room).filter(|packed| !packed.is_empty()) else {
            let key = Some(Bytes::from(self.partition_key));
            records.push(NewRecord { key, hash_key, ..NewRecord::of(RejectedEvent::unjudged(self.data.0)) });
            return Ok(());
        };
        for record in packed {
            let text = record.explicit_hash_key.as_deref().and_then(|text| std::str::from_utf8(text).ok());
            let hash_key = text.and_then(|text| text.parse().ok());
            let value = RejectedEvent::unjudged(record.data);
            records.push(NewRecord { key: Some(record.partition_key), hash_key, ..NewRecord::of(value) });
        }
        Ok(())
    }
}

fn hash_key(text: &str) -> Result<u128, AwsError> {
    text.parse()
        .map_err(|_| AwsError::invalid("Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]."))
}
