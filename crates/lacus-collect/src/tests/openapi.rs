//! What docs/reference/openapi.json says of these doors is answered: methods, and what can't be read.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use super::{Door, Reply};

const OPENAPI: &str = include_str!("../../../../docs/reference/openapi.json");
/// The tags of operations whose routes are here.
const OURS: [&str; 4] = ["events", "segment", "firehose", "keys"];
const METHODS: [&str; 6] = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"];

async fn ask(door: &Door, method: &str, path: &str) -> Reply {
    door.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
}

/// The methods of a path; what can be got has a head.
fn documented(operations: &Value) -> BTreeSet<&'static str> {
    let is_there = |method: &str| {
        let method = if method == "HEAD" { "GET" } else { method };
        operations.get(method.to_ascii_lowercase()).is_some()
    };
    METHODS.into_iter().filter(|method| is_there(method)).collect()
}

#[tokio::test]
async fn every_other_method_is_answered_with_those_there_are() {
    let (door, document) = (Door::new(), serde_json::from_str::<Value>(OPENAPI).unwrap());
    let is_ours = |operation: &Value| operation["tags"][0].as_str().is_some_and(|tag| OURS.contains(&tag));
    let mut paths = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        if !operations.as_object().unwrap().values().any(is_ours) {
            continue;
        }
        paths += 1;
        let (path, documented) = (path.replace(['{', '}'], ""), documented(operations));
        for method in METHODS.into_iter().chain(["OPTIONS"]).filter(|method| !documented.contains(method)) {
            let reply = ask(&door, method, &path).await;
            assert_eq!(reply.status, 405, "{method} {path}");
            let allowed: BTreeSet<&str> = reply.headers["allow"].to_str().unwrap().split(',').collect();
            assert_eq!(allowed, documented, "{method} {path}");
            assert!(method == "HEAD" || reply.json()["error"]["message"].is_string(), "{method} {path}");
        }
    }
    assert_eq!(paths, 29, "every path is found");
}

#[tokio::test]
async fn a_path_that_is_no_text_is_answered_as_any_error() {
    let door = Door::new();
    let reply = ask(&door, "GET", "/v1/projects/%FF/settings").await;
    assert!(reply.status == 400 && reply.json()["error"]["message"].is_string(), "{}", reply.text);
    let reply = ask(&door, "POST", "/v1/firehose/%FF").await;
    assert!(reply.status == 400 && reply.json()["errorMessage"].is_string(), "{}", reply.text);
    let reply = ask(&door, "DELETE", "/v1/keys/%FF").await;
    assert!(reply.status == 400 && reply.json()["error"]["message"].is_string(), "{}", reply.text);
}
