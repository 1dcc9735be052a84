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

async fn send(server: &TestServer, path: &str, body: &Value) -> Reply {
    let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
    let response = server.router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let json = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Reply { status, headers, json }
}

fn pets() -> Value {
    json!({
        "name": "pets",
        "schema": {"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "id", "required": true, "type": "long"},
            {"id": 2, "name": "born", "required": false, "type": "date"}
        ]}
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_namespace_at_the_same_time_all_stay() {
    let server = TestServer::start().await;
    let names: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
    let bodies: Vec<Value> = names.iter().map(|name| json!({"updates": {(name): "here"}})).collect();
    let path = "/iceberg/v1/namespaces/main/properties";
    for reply in futures::future::join_all(bodies.iter().map(|body| send(&server, path, body))).await {
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.json);
    }
    let main = get(&server, "/iceberg/v1/namespaces/main").await;
    for name in &names {
        assert_eq!(main["properties"][name], "here", "{name}: {main}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_staged_made_by_a_transaction_and_dropped() {
    let server = TestServer::start().await;
    let made = send(&server, "/iceberg/v1/namespaces", &json!({"namespace": ["zoo"], "properties": {"a": "b"}})).await;
    assert_eq!((made.status, &made.json["properties"]), (StatusCode::OK, &json!({"a": "b"})));
    let mut staged = pets();
    staged["stage-create"] = json!(true);
    let staged = send(&server, "/iceberg/v1/namespaces/zoo/tables", &staged).await;
    assert_eq!(staged.status, StatusCode::OK, "{}", staged.json);
    assert_eq!(staged.json.get("metadata-location"), None);
    let table = "/iceberg/v1/namespaces/zoo/tables/pets";
    assert_eq!(ask(&server, Method::HEAD, table, None).await.status, StatusCode::NOT_FOUND);
    let metadata = &staged.json["metadata"];
    let change = json!({
        "identifier": {"namespace": ["zoo"], "name": "pets"},
        "requirements": [{"type": "assert-create"}],
        "updates": [
            {"action": "assign-uuid", "uuid": metadata["table-uuid"]},
            {"action": "upgrade-format-version", "format-version": 2},
            {"action": "add-schema", "schema": metadata["schemas"][0]},
            {"action": "set-current-schema", "schema-id": -1},
            {"action": "add-spec", "spec": metadata["partition-specs"][0]},
            {"action": "set-default-spec", "spec-id": -1},
            {"action": "set-location", "location": metadata["location"]}
        ]
    });
    let transaction = json!({"table-changes": [change]});
    let done = send(&server, "/iceberg/v1/transactions/commit", &transaction).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT, "{}", done.json);
    assert_eq!(get(&server, table).await["metadata"]["table-uuid"], metadata["table-uuid"]);
    let again = send(&server, "/iceberg/v1/transactions/commit", &transaction).await;
    assert_eq!((again.status, &again.json["error"]["type"]), (StatusCode::CONFLICT, &json!("CommitFailedException")));
    let dropped = ask(&server, Method::DELETE, &format!("{table}?purgeRequested=true"), None).await;
    assert_eq!(dropped.status, StatusCode::NO_CONTENT);
    let dropped = ask(&server, Method::DELETE, "/iceberg/v1/namespaces/zoo", None).await;
    assert_eq!(dropped.status, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_its_reason() {
    let server = with_commits(1).await;
    let tables = "/iceberg/v1/namespaces/main/tables";
    assert_eq!(send(&server, tables, &pets()).await.status, StatusCode::OK);
    let with = |key: &str, value: Value| {
        let mut wanted = pets();
        wanted[key] = value;
        wanted
    };
    let offsets = json!({"requirements": [], "updates": [
        {"action": "remove-properties", "removals": ["lacus.offsets"]}]});
    let uuid = json!({"requirements": [
        {"type": "assert-table-uuid", "uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1"}], "updates": []});
    let cases = [
        (tables, pets(), 409, "AlreadyExistsException"),
        (tables, with("name", json!("My Pets")), 400, "BadRequestException"),
        (tables, with("name", json!("p2")).clone(), 200, ""),
        (tables, json!({"name": "p3"}), 400, "BadRequestException"),
        (tables, with("location", json!("file:///tmp/elsewhere")), 409, "AlreadyExistsException"),
        (CLICKS, offsets, 403, "ForbiddenException"),
        (CLICKS, uuid, 409, "CommitFailedException"),
        (CLICKS, json!({"requirements": [], "updates": [{"action": "vanish"}]}), 400, "BadRequestException"),
        ("/iceberg/v1/namespaces", json!({"namespace": ["a", "b"]}), 400, "BadRequestException"),
        ("/iceberg/v1/namespaces", json!({"namespace": ["main"]}), 409, "AlreadyExistsException"),
        (
            "/iceberg/v1/namespaces",
            json!({"namespace": ["other"], "properties": {"lacus.stands-for": "main"}}),
            400,
            "BadRequestException",
        ),
        (
            "/iceberg/v1/namespaces/main/properties",
            json!({"updates": {"lacus.stands-for": "other"}}),
            400,
            "BadRequestException",
        ),
        (
            "/iceberg/v1/namespaces/main/properties",
            json!({"removals": ["a"], "updates": {"a": "b"}}),
            422,
            "UnprocessableEntityException",
        ),
    ];
    for (path, body, code, kind) in cases {
        let reply = send(&server, path, &body).await;
        assert_eq!(reply.status.as_u16(), code, "{path} {body}: {}", reply.json);
        assert!(code == 200 || reply.json["error"]["type"] == kind, "{path} {body}: {}", reply.json);
    }
    let clicks = ask(&server, Method::DELETE, CLICKS, None).await;
    assert_eq!((clicks.status.as_u16(), &clicks.json["error"]["type"]), (403, &json!("ForbiddenException")));
}

fn cities(sql: &str) -> Value {
    json!({
        "name": "cities",
        "schema": {"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "city", "required": false, "type": "string"}
        ]},
        "view-version": version(sql, 0),
        "properties": {"owner": "them"}
    })
}

fn version(sql: &str, schema: i64) -> Value {
    json!({
        "version-id": 1, "timestamp-ms": 1_795_219_200_000_i64, "schema-id": schema, "summary": {},
        "default-namespace": ["main"], "representations": [{"type": "sql", "sql": sql, "dialect": "trino"}]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_made_replaced_renamed_registered_and_dropped() {
    let server = with_commits(1).await;
    let views = "/iceberg/v1/namespaces/main/views";
    let made = send(&server, views, &cities("SELECT 1")).await;
    assert_eq!((made.status, &made.json["metadata"]["properties"]), (StatusCode::OK, &json!({"owner": "them"})));
    let view = format!("{views}/cities");
    assert_eq!(ask(&server, Method::HEAD, &view, None).await.status, StatusCode::NO_CONTENT);
    let uuid = &made.json["metadata"]["view-uuid"];
    let replace = |uuid: &Value| {
        json!({
            "requirements": [{"type": "assert-view-uuid", "uuid": uuid}],
            "updates": [
                {"action": "add-view-version", "view-version": version("SELECT 2", 0)},
                {"action": "set-current-view-version", "view-version-id": -1}
            ]
        })
    };
    let other = send(&server, &view, &replace(&json!("9c12d441-03fe-4693-9a96-a0705ddf69c1"))).await;
    assert_eq!((other.status, &other.json["error"]["type"]), (StatusCode::CONFLICT, &json!("CommitFailedException")));
    let replaced = send(&server, &view, &replace(uuid)).await;
    assert_eq!((replaced.status, &replaced.json["metadata"]["current-version-id"]), (StatusCode::OK, &json!(2)));
    let to = json!({"source": {"namespace": ["main"], "name": "cities"}, "destination": {"namespace": ["main"], "name": "towns"}});
    assert_eq!(send(&server, "/iceberg/v1/views/rename", &to).await.status, StatusCode::NO_CONTENT);
    assert_eq!(get(&server, views).await["identifiers"], json!([{"namespace": ["main"], "name": "towns"}]));
    let tables = get(&server, "/iceberg/v1/namespaces/main/tables").await;
    assert_eq!(tables["identifiers"].as_array().map(Vec::len), Some(2));
    let location = get(&server, &format!("{views}/towns")).await["metadata-location"].clone();
    let dropped = ask(&server, Method::DELETE, &format!("{views}/towns"), None).await;
    assert_eq!(dropped.status, StatusCode::NO_CONTENT);
    let again = json!({"name": "again", "metadata-location": location});
    let again = send(&server, "/iceberg/v1/namespaces/main/register-view", &again).await;
    assert_eq!((again.status, &again.json["metadata"]["view-uuid"]), (StatusCode::OK, uuid));
    for (path, body, code, kind) in [
        (views.to_owned(), json!({"name": "x"}), 400, "BadRequestException"),
        (views.to_owned(), cities("SELECT 1"), 200, ""),
        (views.to_owned(), cities("SELECT 1"), 409, "AlreadyExistsException"),
        (format!("{views}/nothing"), replace(uuid), 404, "NoSuchViewException"),
        ("/iceberg/v1/namespaces/nowhere/views".to_owned(), cities("SELECT 1"), 404, "NoSuchNamespaceException"),
        (
            "/iceberg/v1/namespaces/main/register-view".to_owned(),
            json!({"name": "r", "metadata-location": "file:///etc/passwd"}),
            400,
            "BadRequestException",
        ),
    ] {
        let reply = send(&server, &path, &body).await;
        assert_eq!(reply.status.as_u16(), code, "{path} {body}: {}", reply.json);
        assert!(code == 200 || reply.json["error"]["type"] == kind, "{path} {body}: {}", reply.json);
    }
    let missing = ask(&server, Method::GET, &format!("{views}/nothing"), None).await;
    assert_eq!((missing.status.as_u16(), &missing.json["error"]["type"]), (404, &json!("NoSuchViewException")));
}
