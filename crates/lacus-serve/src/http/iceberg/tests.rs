//! The catalog's answers, by the REST specification.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use lacus_core::TableName;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::testing::TestServer;

const CLICKS: &str = "/iceberg/v1/namespaces/main/tables/clicks";

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    json: Value,
}

async fn ask(server: &TestServer, method: Method, path: &str, known: Option<&str>) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(known) = known {
        request = request.header("if-none-match", known);
    }
    let response = server.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let json = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Reply { status, headers, json }
}

async fn get(server: &TestServer, path: &str) -> Value {
    let reply = ask(server, Method::GET, path, None).await;
    assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.json);
    reply.json
}

async fn with_commits(count: usize) -> TestServer {
    let server = TestServer::start().await;
    for _ in 0..count {
        server.send("clicks", r#"{"a":1}"#).await;
        server.deliveries.flush(&TableName::new("clicks").unwrap()).await.unwrap();
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_those_of_the_specification() {
    let server = with_commits(1).await;
    let cases = [
        (Method::GET, "/iceberg/v1/namespaces/main/tables/nothing", 404, "NoSuchTableException"),
        (Method::GET, "/iceberg/v1/namespaces/main/tables/No%20Name", 404, "NoSuchTableException"),
        (Method::GET, "/iceberg/v1/namespaces/nowhere/tables/clicks", 404, "NoSuchNamespaceException"),
        (Method::GET, "/iceberg/v1/namespaces/main%1Fbelow/tables", 404, "NoSuchNamespaceException"),
        (Method::GET, "/iceberg/v1/namespaces/%FF/tables", 400, "BadRequestException"),
        (Method::GET, "/iceberg/v1/namespaces?parent=nowhere", 404, "NoSuchNamespaceException"),
        (Method::GET, "/iceberg/v1/namespaces?pageToken=&pageSize=x", 400, "BadRequestException"),
        (Method::GET, "/iceberg/v1/nothing", 404, "NotFoundException"),
        (Method::PATCH, CLICKS, 405, "UnsupportedOperationException"),
    ];
    for (method, path, code, kind) in cases {
        let reply = ask(&server, method, path, None).await;
        assert_eq!(reply.status.as_u16(), code, "{path}: {}", reply.json);
        let error = &reply.json["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!(kind), &json!(code)), "{path}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_is_listed_and_loaded() {
    let server = with_commits(3).await;
    assert_eq!(get(&server, "/iceberg/v1/namespaces").await["namespaces"], json!([["main"]]));
    assert_eq!(get(&server, "/iceberg/v1/namespaces?parent=main").await["namespaces"], json!([]));
    assert_eq!(get(&server, "/iceberg/v1/namespaces/main").await["namespace"], json!(["main"]));
    let first = get(&server, "/iceberg/v1/namespaces/main/tables?pageToken=&pageSize=1").await;
    assert_eq!(first["identifiers"], json!([{"namespace": ["main"], "name": "clicks"}]));
    let next = format!("/iceberg/v1/namespaces/main/tables?pageToken={}", first["next-page-token"].as_str().unwrap());
    let next = get(&server, &next).await;
    assert_eq!(next["identifiers"], json!([{"namespace": ["main"], "name": "clicks__quarantine"}]));
    assert_eq!(next["next-page-token"], Value::Null);
    for path in ["/iceberg/v1/namespaces/main", CLICKS] {
        assert_eq!(ask(&server, Method::HEAD, path, None).await.status, StatusCode::NO_CONTENT);
    }
    let all = get(&server, CLICKS).await;
    assert_eq!(all["metadata"]["snapshots"].as_array().unwrap().len(), 3);
    assert_eq!(all["metadata"]["format-version"], 2);
    let current = all["metadata"]["current-snapshot-id"].clone();
    let few = get(&server, &format!("{CLICKS}?snapshots=refs")).await;
    assert_eq!(few["metadata"]["snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(few["metadata"]["snapshots"][0]["snapshot-id"], current);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_did_not_change_is_not_sent_again() {
    let server = with_commits(1).await;
    let first = ask(&server, Method::GET, CLICKS, None).await;
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    let again = ask(&server, Method::GET, CLICKS, Some(&format!("\"other\", {tag}"))).await;
    assert_eq!((again.status, again.json), (StatusCode::NOT_MODIFIED, Value::Null));
    let less = ask(&server, Method::GET, &format!("{CLICKS}?snapshots=refs"), Some(&tag)).await;
    assert_eq!(less.status, StatusCode::OK, "another answer has another tag");
    server.send("clicks", r#"{"a":2}"#).await;
    server.deliveries.flush(&TableName::new("clicks").unwrap()).await.unwrap();
    let changed = ask(&server, Method::GET, CLICKS, Some(&tag)).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.headers["etag"].to_str().unwrap(), tag);
}
