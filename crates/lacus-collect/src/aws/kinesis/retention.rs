//! For how long records stay: hours, as clients say it.

use lacus_core::units::Millis;
use lacus_stream::StreamInfo;
use serde::Deserialize;

use super::super::Call;
use super::super::wire::AwsError;
use super::Named;

const HOUR_MS: u64 = 3_600_000;
/// Hours that a retention may have: a day to a year.
const HOURS: std::ops::RangeInclusive<u64> = 24..=8_760;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetRetention {
    #[serde(flatten)]
    stream: Named,
    retention_period_hours: u64,
}

/// The retention of a stream.
pub(super) fn retention(call: &Call<'_>, stream: &StreamInfo) -> Millis {
    stream.retention.unwrap_or(call.inner.settings.stream.retention)
}

/// The same as clients are told.
pub(super) fn hours(call: &Call<'_>, stream: &StreamInfo) -> u64 {
    retention(call, stream).0 / HOUR_MS
}

pub(super) async fn increase(call: &Call<'_>, asked: SetRetention) -> Result<(), AwsError> {
    let stream = asked.stream.find(call)?;
    let (before, wanted) = (hours(call, &stream), asked.retention_period_hours);
    if wanted < before {
        return Err(AwsError::invalid(format!(
            "Requested retention period ({wanted} hours) for stream {} can not be shorter than existing retention period ({before} hours). Use DecreaseRetentionPeriod API.",
            stream.name
        )));
    }
    set(call, &stream, wanted).await
}

pub(super) async fn decrease(call: &Call<'_>, asked: SetRetention) -> Result<(), AwsError> {
    let stream = asked.stream.find(call)?;
    let (before, wanted) = (hours(call, &stream), asked.retention_period_hours);
    if wanted > before {
        return Err(AwsError::invalid(format!(
            "Requested retention period ({wanted} hours) for stream {} can not be longer than existing retention period ({before} hours). Use IncreaseRetentionPeriod API.",
            stream.name
        )));
    }
    set(call, &stream, wanted).await
}

async fn set(call: &Call<'_>, stream: &StreamInfo, hours: u64) -> Result<(), AwsError> {
    if !HOURS.contains(&hours) {
        let (least, most) = (HOURS.start(), HOURS.end());
        return Err(AwsError::invalid(format!("A retention period is from {least} to {most} hours, not {hours}.")));
    }
    let (name, retention) = (stream.name.clone(), Millis(hours * HOUR_MS));
    call.change(move |log| log.set_retention(&name, Some(retention))).await.map(drop)
}
