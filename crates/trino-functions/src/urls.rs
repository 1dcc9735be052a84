//! Parts of URLs. What is no URL has none: null.

use datafusion::arrow::array::ArrayRef;
use datafusion::error::Result;

use crate::catalog::{Family::Urls, Function, scalar};
use crate::scalar::{Body, Call, INT, Int, TEXT, Text, bad, exactly, map1, map2};

pub(crate) const FUNCTIONS: &[Function] = &[
    scalar(
        Urls,
        &["url_extract_protocol"],
        "url_extract_protocol(url) → varchar",
        "`https`",
        Body::new(|g| exactly(g, &[TEXT], 1, TEXT), |call| part(call, |url| url.scheme)),
    ),
    scalar(
        Urls,
        &["url_extract_host"],
        "url_extract_host(url) → varchar",
        "The name of the machine",
        Body::new(|g| exactly(g, &[TEXT], 1, TEXT), |call| part(call, |url| url.host)),
    ),
    scalar(
        Urls,
        &["url_extract_port"],
        "url_extract_port(url) → bigint",
        "The port, if there is one",
        Body::new(
            |g| exactly(g, &[TEXT], 1, INT),
            |call| {
                map1::<Text, Int>(call, |text| {
                    Ok(Url::read(text).and_then(|url| url.port.and_then(|port| port.parse().ok())))
                })
            },
        ),
    ),
    scalar(
        Urls,
        &["url_extract_path"],
        "url_extract_path(url) → varchar",
        "The path, decoded",
        Body::new(
            |g| exactly(g, &[TEXT], 1, TEXT),
            |call| map1::<Text, Text>(call, |text| Url::read(text).map(|url| decoded(url.path, false)).transpose()),
        ),
    ),
    scalar(
        Urls,
        &["url_extract_query"],
        "url_extract_query(url) → varchar",
        "What is behind the question mark",
        Body::new(|g| exactly(g, &[TEXT], 1, TEXT), |call| part(call, |url| url.query)),
    ),
    scalar(
        Urls,
        &["url_extract_fragment"],
        "url_extract_fragment(url) → varchar",
        "What is behind the #",
        Body::new(|g| exactly(g, &[TEXT], 1, TEXT), |call| part(call, |url| url.fragment)),
    ),
    scalar(
        Urls,
        &["url_extract_parameter"],
        "url_extract_parameter(url, name) → varchar",
        "The first value of a parameter, decoded",
        Body::new(|g| exactly(g, &[TEXT, TEXT], 2, TEXT), parameter),
    ),
    scalar(
        Urls,
        &["url_encode"],
        "url_encode(text) → varchar",
        "Written so that it may stand in a query",
        Body::new(|g| exactly(g, &[TEXT], 1, TEXT), |call| map1::<Text, Text>(call, |text| Ok(Some(encoded(text))))),
    ),
    scalar(
        Urls,
        &["url_decode"],
        "url_decode(text) → varchar",
        "Undoes url_encode",
        Body::new(
            |g| exactly(g, &[TEXT], 1, TEXT),
            |call| map1::<Text, Text>(call, |text| decoded(text, true).map(Some)),
        ),
    ),
];

/// The parts of a URL as RFC 3986 (appendix B) splits it; an absent host or query is an empty text, as Trino has it.
#[derive(Default)]
struct Url<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<&'a str>,
    path: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Url<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let is_bad = |letter: char| letter.is_whitespace() || letter.is_control() || "\"<>\\^`{|}".contains(letter);
        if text.contains(is_bad) {
            return None;
        }
        let mut url = Self::default();
        let (mut rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        url.fragment = fragment;
        if let Some((scheme, after)) = rest.split_once(':')
            && scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
        {
            (url.scheme, rest) = (scheme, after);
        }
        (rest, url.query) = rest.split_once('?').unwrap_or((rest, ""));
        let Some(after) = rest.strip_prefix("//") else {
            url.path = rest;
            return Some(url);
        };
        let end = after.find('/').unwrap_or(after.len());
        url.path = &after[end..];
        let machine = after[..end].rsplit_once('@').map_or(&after[..end], |(_, machine)| machine);
        match machine.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (url.host, url.port) = (host, Some(port)),
            _ => url.host = machine,
        }
        Some(url)
    }
}

fn part(call: &Call, get: for<'a> fn(&Url<'a>) -> &'a str) -> Result<ArrayRef> {
    map1::<Text, Text>(call, |text| Ok(Url::read(text).map(|url| get(&url).to_owned())))
}

fn parameter(call: &Call) -> Result<ArrayRef> {
    map2::<Text, Text, Text>(call, |text, name| {
        let Some(url) = Url::read(text) else { return Ok(None) };
        for pair in url.query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if decoded(key, true).is_ok_and(|key| key == name) {
                return decoded(value, true).map(Some);
            }
        }
        Ok(None)
    })
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn decoded(text: &str, plus_is_space: bool) -> Result<String> {
    let wrong = || bad(format!("\"{text}\" is not encoded as URLs are"));
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' if plus_is_space => out.push(b' '),
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(wrong);
                out.push((digit()? * 16 + digit()?) as u8);
            }
            other => out.push(other),
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}
