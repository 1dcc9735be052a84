//! Verifying the signatures of AWS clients: Signature Version 4 in the `Authorization` header.
//!
//! After "Create a signed AWS API request" of the IAM user guide: a canonical form of the request, hashed with its time and
//! scope, signed with a key derived from the secret. Clients of JSON services don't send the hash of the body; it is always
//! computed here. As at AWS, a request is good for fifteen minutes around its time, however often it comes.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use chrono::{DateTime, NaiveDateTime, TimeDelta};
use hmac::{Hmac, KeyInit, Mac};
use lacus_core::{Error, Timestamp};
use sha2::{Digest, Sha256};

use crate::hex::hex;
use crate::keys::{Key, Keyring};
use crate::request::header_text;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far the time of a request may be from ours.
const SKEW_MAX: TimeDelta = TimeDelta::minutes(15);
/// The services that requests may be signed for.
const SERVICES: [&str; 2] = ["kinesis", "firehose"];
/// What HTTP/2 has in place of the header `host`.
const AUTHORITY: &str = ":authority";
/// Which operation is asked for.
const TARGET: &str = "x-amz-target";
const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// A request whose signature is right.
pub(crate) struct Verified {
    pub(crate) key: Arc<Key>,
    /// The region that the client believes it is talking to: it belongs in the names that it is told.
    pub(crate) region: String,
}

/// Why a signature was not accepted, in the terms of AWS.
#[derive(Debug)]
pub(crate) struct Denial {
    /// The name of the error.
    pub(crate) name: &'static str,
    pub(crate) message: String,
}

/// What the `Authorization` header says.
struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

/// Verifies a request.
///
/// # Errors
/// Why it is not accepted. What is wrong with us is a [`Denial`] too: one that clients retry.
pub(crate) fn verify(head: &Parts, body: &[u8], keyring: &Keyring, now: Timestamp) -> Result<Verified, Denial> {
    let header = header_text(&head.headers, "authorization").ok_or_else(|| {
        Denial::new(
            "MissingAuthenticationTokenException",
            "the request is not signed: set an access key and its secret",
        )
    })?;
    let authorization = Authorization::parse(header)?;
    let time = header_time(&head.headers)?;
    check_scope(&authorization, time)?;
    check_signed_headers(&authorization, &head.headers)?;
    let key = keyring.find_access_key(authorization.access_key_id).ok_or_else(|| {
        Denial::new("UnrecognizedClientException", "The security token included in the request is invalid.")
    })?;
    let secret = key.secret_access_key().map_err(|error| Denial::ours(&error))?;
    check_time(time, now)?;
    let canonical = canonical_request(head, body, &authorization)?;
    let expected = sign(secret, &authorization, time, &canonical);
    if !is_same(&expected, authorization.signature) {
        return Err(Denial::mismatch());
    }
    Ok(Verified { region: authorization.region.to_owned(), key })
}

impl Denial {
    fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, message: message.into() }
    }

    fn incomplete(message: impl Into<String>) -> Self {
        Self::new("IncompleteSignatureException", message)
    }

    fn mismatch() -> Self {
        Self::invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
        )
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidSignatureException", message)
    }

    fn ours(error: &Error) -> Self {
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        Self::new("InternalFailure", format!("{}{hint}", error.message()))
    }
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Result<Self, Denial> {
        let Some(fields) = header.trim().strip_prefix(ALGORITHM) else {
            return Err(Denial::incomplete(format!("the request is not signed with {ALGORITHM}")));
        };
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            match field.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => {}
            }
        }
        let missing = |name| move || Denial::incomplete(format!("Authorization header requires '{name}' parameter."));
        let credential = credential.ok_or_else(missing("Credential"))?;
        let headers = headers.ok_or_else(missing("SignedHeaders"))?;
        let signature = signature.ok_or_else(missing("Signature"))?;
        // Exactly five parts: an access key id has no slash.
        let parts: Vec<&str> = credential.split('/').collect();
        let &[access_key_id, date, region, service, "aws4_request"] = parts.as_slice() else {
            return Err(Denial::incomplete(
                "Credential must have five parts: access key id, date, region, service and aws4_request.",
            ));
        };
        let signed_headers = headers.split(';').collect();
        Ok(Self { access_key_id, date, region, service, signed_headers, signature })
    }
}

/// The time that was signed; the header `date` is a substitute.
fn header_time(headers: &HeaderMap) -> Result<NaiveDateTime, Denial> {
    let compact = |text| NaiveDateTime::parse_from_str(text, TIME_FORMAT).ok();
    let time = match header_text(headers, "x-amz-date") {
        Some(text) => compact(text),
        None => header_text(headers, "date").and_then(|text| {
            compact(text).or_else(|| DateTime::parse_from_rfc2822(text).ok().map(|time| time.naive_utc()))
        }),
    };
    time.ok_or_else(|| {
        Denial::incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header, such as 20261120T193000Z.",
        )
    })
}

fn check_scope(authorization: &Authorization<'_>, time: NaiveDateTime) -> Result<(), Denial> {
    if authorization.date != time.format("%Y%m%d").to_string() {
        return Err(Denial::invalid("Date in Credential scope does not match the date of the request."));
    }
    if !SERVICES.contains(&authorization.service) {
        let message = format!("Credential should be scoped to one of the services: {}.", SERVICES.join(", "));
        return Err(Denial::invalid(message));
    }
    Ok(())
}

/// The operation has to be signed: a signature for one is none for another. No header may be signed twice, so what is signed
/// is never longer than the request.
fn check_signed_headers(authorization: &Authorization<'_>, headers: &HeaderMap) -> Result<(), Denial> {
    let mut signed: Vec<String> = authorization.signed_headers.iter().map(|name| name.to_ascii_lowercase()).collect();
    let is_signed = |name: &str| signed.iter().any(|signed| signed == name);
    if !is_signed("host") && !is_signed(AUTHORITY) {
        return Err(Denial::invalid("'Host' must be a signed header."));
    }
    if headers.contains_key(TARGET) && !is_signed(TARGET) {
        return Err(Denial::invalid("'X-Amz-Target' must be a signed header."));
    }
    let count = signed.len();
    signed.sort_unstable();
    signed.dedup();
    if signed.len() < count {
        return Err(Denial::incomplete("'SignedHeaders' names a header twice."));
    }
    Ok(())
}

/// Worded as clients expect it: some set their clock by the time in brackets.
fn check_time(time: NaiveDateTime, now: Timestamp) -> Result<(), Denial> {
    let now = DateTime::from_timestamp_micros(now.as_micros()).unwrap_or_default().naive_utc();
    let shown = |time: NaiveDateTime| time.format(TIME_FORMAT).to_string();
    if now - time > SKEW_MAX {
        let (time, limit, now) = (shown(time), shown(now - SKEW_MAX), shown(now));
        return Err(Denial::invalid(format!(
            "Signature expired: {time} is now earlier than {limit} ({now} - 15 min.)"
        )));
    }
    if time - now > SKEW_MAX {
        let (time, limit, now) = (shown(time), shown(now + SKEW_MAX), shown(now));
        let message = format!("Signature not yet current: {time} is still later than {limit} ({now} + 15 min.)");
        return Err(Denial::invalid(message));
    }
    Ok(())
}

fn canonical_request(head: &Parts, body: &[u8], authorization: &Authorization<'_>) -> Result<String, Denial> {
    let mut text = format!("{}\n{}\n{}\n", head.method, encode(head.uri.path(), b"/"), query(head.uri.query()));
    for name in &authorization.signed_headers {
        let value = signed_header(head, name)?;
        text.push_str(&format!("{}:{value}\n", name.to_ascii_lowercase()));
    }
    let body_hash = hex(&Sha256::digest(body));
    // A hash that the client sends is a claim about the body, and signed as such.
    match header_text(&head.headers, "x-amz-content-sha256") {
        Some(sent) if !sent.eq_ignore_ascii_case(&body_hash) => return Err(Denial::mismatch()),
        _ => {}
    }
    text.push_str(&format!("\n{}\n{body_hash}", authorization.signed_headers.join(";").to_ascii_lowercase()));
    Ok(text)
}

/// All values of a header, without redundant spaces. HTTP/2 has the host in the request's address, and some clients sign it
/// under the name it has there.
fn signed_header(head: &Parts, name: &str) -> Result<String, Denial> {
    let missing = || Denial::invalid("a signed header is missing from the request");
    let authority = || head.uri.authority().map(|authority| authority.as_str().to_owned());
    if name == AUTHORITY {
        return authority().ok_or_else(missing);
    }
    let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| missing())?;
    let values = head.headers.get_all(&name).iter().map(|value| std::str::from_utf8(value.as_bytes()).map(trimmed));
    let values: Vec<String> = values.collect::<Result<_, _>>().map_err(|_| Denial::mismatch())?;
    if !values.is_empty() {
        return Ok(values.join(","));
    }
    authority().filter(|_| name == "host").ok_or_else(missing)
}

/// Without space around it, and with one space wherever there are more.
fn trimmed(value: &str) -> String {
    value.trim().split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The query parameters, decoded, encoded again uniformly, and sorted.
fn query(query: Option<&str>) -> String {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode_bytes(&decode(name), b""), encode_bytes(&decode(value), b""))
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match digits.filter(|_| byte == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

fn encode(text: &str, also: &[u8]) -> String {
    encode_bytes(text.as_bytes(), also)
}

fn encode_bytes(bytes: &[u8], also: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn sign(secret: &str, authorization: &Authorization<'_>, time: NaiveDateTime, canonical: &str) -> String {
    let Authorization { date, region, service, .. } = authorization;
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let hash = hex(&Sha256::digest(canonical.as_bytes()));
    let text = format!("{ALGORITHM}\n{}\n{scope}\n{hash}", time.format(TIME_FORMAT));
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [date, region, service, "aws4_request"] {
        key = keyed_hash(&key, part.as_bytes());
    }
    hex(&keyed_hash(&key, text.as_bytes()))
}

fn keyed_hash(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    hmac.update(text);
    hmac.finalize().into_bytes().to_vec()
}

/// Compares in a time that does not depend on where they differ.
pub(crate) fn is_same(expected: &str, given: &str) -> bool {
    let differences = expected.bytes().zip(given.bytes()).fold(0, |all, (one, other)| all | (one ^ other));
    expected.len() == given.len() && std::hint::black_box(differences) == 0
}
