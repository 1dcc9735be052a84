//! Registered consumers: remembered and told, as clients register before they read. Records are read with `GetRecords`.

use lacus_core::{Error, Kind, Timestamp};
use lacus_stream::StreamInfo;
use serde::{Deserialize, Serialize};

use super::super::wire::{AwsError, Time, shortened};
use super::super::{Call, aws_name};
use super::stream_arn;
use crate::stats::Reason;

/// What the attribute of a consumer begins with; its value is when it was registered, µs since the epoch.
const CONSUMER: &str = "aws.consumer.";
const CONSUMERS_MAX: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Asked {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(rename = "ConsumerARN")]
    consumer_arn: Option<String>,
    consumer_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Consumer {
    consumer_name: String,
    #[serde(rename = "ConsumerARN")]
    consumer_arn: String,
    consumer_status: &'static str,
    consumer_creation_timestamp: Time,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConsumerDescription {
    #[serde(flatten)]
    consumer: Consumer,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Registered {
    consumer: Consumer,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described {
    consumer_description: ConsumerDescription,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    consumers: Vec<Consumer>,
}

/// How many consumers a stream has.
pub(super) fn count(stream: &StreamInfo) -> usize {
    stream.attributes.keys().filter(|name| name.starts_with(CONSUMER)).count()
}

pub(super) async fn register(call: &Call<'_>, asked: Asked) -> Result<Registered, AwsError> {
    let (stream, name) = asked.find(call)?;
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    if name.is_empty() || name.len() > 128 || !name.chars().all(letters) {
        return Err(AwsError::invalid(
            "ConsumerName must have 1 to 128 letters, digits, underscores, dots and hyphens.",
        ));
    }
    if stream.attributes.contains_key(&attribute(&name)) {
        let message = format!("Consumer {name} under stream {} already exists.", aws_name(&stream));
        return Err(AwsError::new("ResourceInUseException", message, Reason::Parameter));
    }
    let now = call.inner.clock.now();
    let key = attribute(&name);
    call.remember(&stream, move |attributes| {
        attributes.insert(key.clone(), now.as_micros().to_string());
        if attributes.keys().filter(|name| name.starts_with(CONSUMER)).count() > CONSUMERS_MAX {
            return Err(Error::new(Kind::Limited, format!("a stream has {CONSUMERS_MAX} consumers at most")));
        }
        Ok(())
    })
    .await?;
    Ok(Registered { consumer: consumer(call, &stream, &name, now) })
}

pub(super) async fn deregister(call: &Call<'_>, asked: Asked) -> Result<(), AwsError> {
    let (stream, name) = asked.find(call)?;
    registered_at(&stream, &name)?;
    call.remember(&stream, move |attributes| {
        attributes.remove(&attribute(&name));
        Ok(())
    })
    .await
}

pub(super) fn describe(call: &Call<'_>, asked: &Asked) -> Result<Described, AwsError> {
    let (stream, name) = asked.find(call)?;
    let consumer = consumer(call, &stream, &name, registered_at(&stream, &name)?);
    let stream_arn = stream_arn(call, &stream);
    Ok(Described { consumer_description: ConsumerDescription { consumer, stream_arn } })
}

pub(super) fn list(call: &Call<'_>, asked: &Asked) -> Result<Listed, AwsError> {
    let (stream, _) = asked.find(call)?;
    let names = stream.attributes.keys().filter_map(|name| name.strip_prefix(CONSUMER));
    let consumers = names.map(|name| Ok(consumer(call, &stream, name, registered_at(&stream, name)?)));
    Ok(Listed { consumers: consumers.collect::<Result<_, AwsError>>()? })
}

impl Asked {
    /// The stream and the name of the consumer that are meant.
    fn find(&self, call: &Call<'_>) -> Result<(StreamInfo, String), AwsError> {
        let arn = self.consumer_arn.as_deref().or(self.stream_arn.as_deref()).unwrap_or_default();
        let path = arn.split_once(":stream/").map(|(_, path)| path);
        let path = path.ok_or_else(|| AwsError::invalid("a StreamARN or a ConsumerARN must be provided"))?;
        let (stream, consumer) = path.split_once("/consumer/").unwrap_or((path, ""));
        let consumer = consumer.split_once(':').map_or(consumer, |(name, _)| name);
        let name = self.consumer_name.clone().unwrap_or_else(|| consumer.to_owned());
        Ok((call.find(stream)?, name))
    }
}

fn attribute(name: &str) -> String {
    format!("{CONSUMER}{name}")
}

fn registered_at(stream: &StreamInfo, name: &str) -> Result<Timestamp, AwsError> {
    let found = stream.attributes.get(&attribute(name)).and_then(|micros| micros.parse().ok());
    found.map(Timestamp::from_micros).ok_or_else(|| {
        let message = format!("Consumer {} under stream {} not found.", shortened(name), aws_name(stream));
        AwsError::not_found(message)
    })
}

fn consumer(call: &Call<'_>, stream: &StreamInfo, name: &str, at: Timestamp) -> Consumer {
    Consumer {
        consumer_name: name.to_owned(),
        consumer_arn: format!("{}/consumer/{name}:{}", stream_arn(call, stream), at.as_millis() / 1_000),
        consumer_status: "ACTIVE",
        consumer_creation_timestamp: Time(at),
    }
}
