//! The HTTP reference tells the truth: its examples of `/v1/events` are run, and their answers compared.

use axum::body::Body;
use axum::http::Request;

use super::Door;

const REFERENCE: &str = include_str!("../../../../docs/reference/http.md");

/// A `curl` line of the reference: the address after the host, a header, the body.
fn request(curl: &str) -> Request<Body> {
    let mut quoted = curl.split('\'').skip(1).step_by(2);
    let path = quoted.next().unwrap().strip_prefix("http://127.0.0.1:8484").unwrap();
    let mut request = Request::post(path);
    if curl.contains(" -H ") {
        let (name, value) = quoted.next().unwrap().split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let body = quoted.next().unwrap();
    let body = if curl.contains(" $'") { body.replace("\\n", "\n") } else { body.to_owned() };
    request.body(body.into()).unwrap()
}

#[tokio::test]
async fn the_examples_of_the_reference_answer_as_written() {
    let door = Door::new();
    let mut lines = REFERENCE.lines();
    let mut examples = 0;
    while let Some(line) = lines.next() {
        let Some(curl) = line.strip_prefix("$ ").filter(|curl| curl.contains("/v1/events")) else { continue };
        let reply = door.send(request(curl)).await;
        assert_eq!(reply.text, lines.next().unwrap(), "{curl}");
        examples += 1;
    }
    assert_eq!(examples, 8, "every example is found");
}

#[test]
fn the_webhooks_of_the_reference_are_settings() {
    let toml = REFERENCE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let secrets = ["GITHUB", "STRIPE", "SHOPIFY", "SLACK"]
        .map(|source| (format!("LACUS__SOURCES__{source}__WEBHOOK__SECRET"), "hush".to_owned()));
    let settings = lacus_core::Settings::load(toml, secrets).unwrap();
    assert!(settings.sources.len() == 4 && settings.sources.values().all(|source| source.webhook.is_some()));
}
