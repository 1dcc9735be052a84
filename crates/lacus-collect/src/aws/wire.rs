//! The two forms of a body, and errors as AWS clients read them.

use std::borrow::Cow;

use axum::http::{HeaderMap, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use ciborium::Value as Cbor;
use lacus_core::{Error, Kind, Timestamp};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::refusal::Refusal;
use crate::sigv4::Denial;
use crate::stats::Reason;

/// The CBOR tag of a time since the epoch.
const TIME_TAG: u64 = 1;

/// How bodies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Json,
    Cbor,
}

/// An error with the name that clients know it by.
#[derive(Debug)]
pub(super) struct AwsError {
    pub(super) status: StatusCode,
    pub(super) name: &'static str,
    pub(super) message: String,
    pub(super) reason: Reason,
}

#[derive(Serialize)]
struct WireError<'a> {
    #[serde(rename = "__type")]
    name: &'a str,
    message: &'a str,
}

impl Protocol {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if content_type.starts_with("application/x-amz-cbor") { Self::Cbor } else { Self::Json }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/x-amz-cbor-1.1",
        }
    }

    /// Reads a body; an empty one has no member.
    pub(super) fn read<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, AwsError> {
        let read = match self {
            Self::Json if body.is_empty() => serde_json::from_slice(b"{}").map_err(|error| error.to_string()),
            Self::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
            Self::Cbor if body.is_empty() => Self::Json.read(body).map_err(|error: AwsError| error.message),
            Self::Cbor => {
                let value = ciborium::from_reader(body).map_err(|error| error.to_string());
                value.and_then(as_json).and_then(|json| serde_json::from_value(json).map_err(|error| error.to_string()))
            }
        };
        read.map_err(|error| AwsError::new("SerializationException", error, Reason::Malformed))
    }

    pub(super) fn write<T: Serialize>(self, value: &T) -> Result<Vec<u8>, AwsError> {
        let mut bytes = Vec::new();
        let written = match self {
            Self::Json => serde_json::to_writer(&mut bytes, value).map_err(|error| error.to_string()),
            Self::Cbor => ciborium::into_writer(value, &mut bytes).map_err(|error| error.to_string()),
        };
        written.map_err(|error| Error::internal(error).into()).map(|()| bytes)
    }

    pub(super) fn error(self, error: &AwsError) -> Vec<u8> {
        self.write(&WireError { name: error.name, message: &error.message }).unwrap_or_default()
    }
}

/// CBOR as the JSON that says the same to AWS clients: bytes as base64, times as seconds.
fn as_json(value: Cbor) -> Result<Value, String> {
    Ok(match value {
        Cbor::Null => Value::Null,
        Cbor::Bool(value) => value.into(),
        Cbor::Text(text) => text.into(),
        Cbor::Bytes(bytes) => BASE64.encode(bytes).into(),
        Cbor::Float(number) => number.into(),
        Cbor::Integer(number) => i64::try_from(number)
            .map(Value::from)
            .or_else(|_| u64::try_from(number).map(Value::from))
            .map_err(|_| "a number is too large")?,
        Cbor::Array(values) => values.into_iter().map(as_json).collect::<Result<_, _>>()?,
        Cbor::Map(members) => {
            let member = |(name, value)| match name {
                Cbor::Text(name) => Ok((name, as_json(value)?)),
                _ => Err("the name of a member is no text".to_owned()),
            };
            members.into_iter().map(member).collect::<Result<serde_json::Map<_, _>, _>>()?.into()
        }
        Cbor::Tag(TIME_TAG, millis) => match *millis {
            Cbor::Integer(millis) => seconds(i64::try_from(millis).map_err(|_| "a time is too large")?).into(),
            Cbor::Float(millis) => (millis / 1e3).into(),
            _ => return Err("a time is no number".to_owned()),
        },
        _ => return Err("this kind of value is not understood here".to_owned()),
    })
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of this age are exact in a double")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1e3
}

impl AwsError {
    /// An error of the client.
    pub(super) fn new(name: &'static str, message: impl Into<String>, reason: Reason) -> Self {
        Self { status: StatusCode::BAD_REQUEST, name, message: message.into(), reason }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidArgumentException", message, Reason::Parameter)
    }

    pub(super) fn unknown_operation(target: &str) -> Self {
        let target = shortened(target);
        let message = format!(
            "there is no operation \"{target}\" here; docs/reference/kinesis.md and firehose.md list those there are"
        );
        Self::new("UnknownOperationException", message, Reason::Parameter)
    }

    /// What is wrong with lacus is a matter for its log.
    pub(super) fn report(&self) {
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = %self.message, "a request of an AWS client failed");
        }
    }
}

/// Clients retry the 5xx, and what is named a throttling error.
impl From<Error> for AwsError {
    fn from(error: Error) -> Self {
        let (status, name) = match error.kind() {
            Kind::Invalid | Kind::Conflict => (StatusCode::BAD_REQUEST, "InvalidArgumentException"),
            Kind::NotFound => (StatusCode::BAD_REQUEST, "ResourceNotFoundException"),
            Kind::Exists => (StatusCode::BAD_REQUEST, "ResourceInUseException"),
            Kind::Limited => (StatusCode::BAD_REQUEST, "ProvisionedThroughputExceededException"),
            Kind::Denied | Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Kind::Corrupt | Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
        };
        let message = match error.hint() {
            Some(hint) => format!("{} ({hint})", error.chain()),
            None => error.chain(),
        };
        let reason = Refusal::from(error).reason;
        Self { status, name, message, reason }
    }
}

impl From<Refusal> for AwsError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, error, reason } = refusal;
        let mut mapped = Self::from(error);
        mapped.reason = reason;
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            mapped.status = status;
            mapped.name = "RequestEntityTooLargeException";
        }
        mapped
    }
}

impl From<Denial> for AwsError {
    fn from(denial: Denial) -> Self {
        let Denial { name, message } = denial;
        let status = match name {
            "InternalFailure" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { status, name, message, reason: Reason::Denied }
    }
}

/// Bytes: base64 in JSON, a byte string in CBOR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob(pub(super) Bytes);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&BASE64.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'a> Deserialize<'a> for Blob {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'_, str>>::deserialize(deserializer)?;
        BASE64
            .decode(text.as_bytes())
            .map(|bytes| Self(bytes.into()))
            .map_err(|_| D::Error::custom("data is no base64"))
    }
}

/// A time: seconds since the epoch in JSON; in CBOR milliseconds with the tag of a time, as the Java clients have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Time(pub(super) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = self.0.as_millis();
        if serializer.is_human_readable() {
            serializer.serialize_f64(seconds(millis))
        } else {
            ciborium::tag::Required::<i64, TIME_TAG>(millis).serialize(serializer)
        }
    }
}

impl<'a> Deserialize<'a> for Time {
    #[expect(clippy::cast_possible_truncation, reason = "a cast of a double saturates")]
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Timestamp::from_micros((f64::deserialize(deserializer)? * 1e6) as i64)))
    }
}

/// What a client sent, short enough to be told back.
pub(super) fn shortened(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(130).collect()
}
