//! What clients say about where a delivery stream should go, as it is kept and told back.

use serde_json::{Map, Value, json};

use super::super::wire::AwsError;
use super::invalid;

/// What a destination without hints has.
const HINT_MB: u64 = 5;
const HINT_SECONDS: u64 = 300;
/// What a request says goes by other names in the description.
const RENAMED: [(&str, &str); 4] = [
    ("S3Configuration", "S3DestinationDescription"),
    ("S3Update", "S3DestinationDescription"),
    ("S3BackupConfiguration", "S3BackupDescription"),
    ("S3BackupUpdate", "S3BackupDescription"),
];
/// Nothing here needs them, so that they are not kept.
const SECRETS: [&str; 5] = ["Password", "AccessKey", "HECToken", "PrivateKey", "KeyPassphrase"];
/// The destination whose hints are those of a destination that has none of its own.
const STAGING: &str = "S3DestinationDescription";

/// The one destination of a request: its kind (`ExtendedS3Destination`), and its description.
pub(super) fn of(asked: &Map<String, Value>, ending: &str) -> Result<(String, Value), AwsError> {
    let kind = |name: &str| name.strip_suffix(ending).filter(|kind| kind.ends_with("Destination")).map(str::to_owned);
    let mut found = asked.iter().filter_map(|(name, value)| Some((kind(name)?, value)));
    let (Some((kind, value)), None) = (found.next(), found.next()) else {
        return Err(invalid(format!("the request must have one destination, such as ExtendedS3Destination{ending}")));
    };
    if !value.is_object() {
        return Err(invalid(format!("{kind}{ending} is no object")));
    }
    Ok((kind, described(value)))
}

/// What a request says, as a description says it.
fn described(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !SECRETS.contains(&name.as_str()));
            let renamed =
                |name: &str| RENAMED.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| *new).to_owned();
            kept.map(|(name, value)| (renamed(name), described(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(values) => values.iter().map(described).collect(),
        value => value.clone(),
    }
}

/// Changes what an update names, and leaves the rest.
pub(super) fn merge(description: &mut Value, update: Value) {
    match (description, update) {
        (Value::Object(members), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(members.entry(name).or_insert(Value::Null), change);
            }
        }
        (description, update) => *description = update,
    }
}

/// Adds what every description of a bucket has.
pub(super) fn complete(kind: &str, description: &mut Value) {
    let bucket = if kind.ends_with("S3Destination") { Some(description) } else { description.get_mut(STAGING) };
    let Some(Value::Object(bucket)) = bucket else { return };
    let hints = json!({"SizeInMBs": HINT_MB, "IntervalInSeconds": HINT_SECONDS});
    let encryption = json!({"NoEncryptionConfig": "NoEncryption"});
    let defaults = [
        ("BufferingHints", hints),
        ("CompressionFormat", "UNCOMPRESSED".into()),
        ("EncryptionConfiguration", encryption),
    ];
    for (name, value) in defaults {
        bucket.entry(name).or_insert(value);
    }
}

/// The mebibytes and the seconds after which a destination is written to.
pub(super) fn hints(description: &Value) -> Result<(u64, u64), AwsError> {
    let own = description.get("BufferingHints");
    let hints = own.or_else(|| description.get(STAGING).and_then(|bucket| bucket.get("BufferingHints")));
    let hint = |name, default| hints.and_then(|hints| hints.get(name)).map_or(Some(default), Value::as_u64);
    match (hint("SizeInMBs", HINT_MB), hint("IntervalInSeconds", HINT_SECONDS)) {
        (Some(megabytes @ 1..=128), Some(seconds @ 0..=900)) => Ok((megabytes, seconds)),
        _ => Err(invalid("BufferingHints have 1 to 128 SizeInMBs and 0 to 900 IntervalInSeconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(text: &str) -> Result<(String, Value), AwsError> {
        of(&serde_json::from_str(text).unwrap(), "Configuration")
    }

    #[test]
    fn a_description_has_no_secrets_and_its_own_names() {
        let (kind, told) = destination(
            r#"{"DeliveryStreamName":"x","KinesisStreamSourceConfiguration":{},"RedshiftDestinationConfiguration":
                {"Username":"u","Password":"secret","S3Configuration":{"BucketARN":"b","BufferingHints":{"SizeInMBs":7}}}}"#,
        )
        .unwrap();
        assert_eq!(kind, "RedshiftDestination");
        let expected =
            json!({"Username":"u","S3DestinationDescription":{"BucketARN":"b","BufferingHints":{"SizeInMBs":7}}});
        assert_eq!(told, expected);
        assert_eq!(hints(&told).unwrap(), (7, 300));
        let (_, told) = destination(
            r#"{"HttpEndpointDestinationConfiguration":{"EndpointConfiguration":{"Url":"https://a","AccessKey":"k"}}}"#,
        )
        .unwrap();
        assert_eq!(told, json!({"EndpointConfiguration":{"Url":"https://a"}}));
    }

    #[test]
    fn there_is_one_destination_and_its_hints_can_be() {
        for text in [
            "{}",
            r#"{"S3DestinationConfiguration":1}"#,
            r#"{"S3DestinationConfiguration":{},"ExtendedS3DestinationConfiguration":{}}"#,
        ] {
            assert_eq!(destination(text).unwrap_err().name, "InvalidArgumentException", "{text}");
        }
        for (text, expected) in [
            (r#"{}"#, Some((5, 300))),
            (r#"{"BufferingHints":{"SizeInMBs":128,"IntervalInSeconds":0}}"#, Some((128, 0))),
            (r#"{"BufferingHints":{"SizeInMBs":129}}"#, None),
            (r#"{"BufferingHints":{"IntervalInSeconds":901}}"#, None),
            (r#"{"BufferingHints":{"IntervalInSeconds":-1}}"#, None),
        ] {
            assert_eq!(hints(&serde_json::from_str(text).unwrap()).ok(), expected, "{text}");
        }
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let mut told = json!({"BucketARN":"b","BufferingHints":{"SizeInMBs":7,"IntervalInSeconds":60},"Prefix":"p"});
        merge(&mut told, json!({"BufferingHints":{"SizeInMBs":9},"Prefix":"q"}));
        assert_eq!(told, json!({"BucketARN":"b","BufferingHints":{"SizeInMBs":9,"IntervalInSeconds":60},"Prefix":"q"}));
    }
}
