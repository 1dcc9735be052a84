//! Requests through the router.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use futures::{StreamExt, poll, stream};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::testing::TestServer;

mod altering;

async fn ask(server: &TestServer, request: Request<Body>) -> (StatusCode, String) {
    let response = server.router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn sql(body: impl Into<Body>) -> Request<Body> {
    Request::post("/v1/sql").body(body.into()).unwrap()
}

fn json_sql(body: &Value) -> Request<Body> {
    Request::post("/v1/sql").header("content-type", "application/json").body(body.to_string().into()).unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn parse(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_columns_rows_and_stats() {
    let server = TestServer::with_clicks().await;
    let question = "select event_name, additional_data, tags from clicks order by _offset";
    let (status, body) = ask(&server, sql(question)).await;
    assert_eq!(status, StatusCode::OK);
    let answer = parse(&body);
    assert_eq!(answer["columns"][0], json!({"name": "event_name", "type": "text"}));
    assert_eq!(answer["rows"][0], json!(["Search", {"query": "shoes"}, null]));
    assert_eq!(answer["rows"][1][2], json!(["x", "y z"]));
    assert_eq!(answer["stats"]["rows"], 3);
    assert!(answer["stats"]["bytes_scanned"].as_u64().unwrap() > 0);
    assert!(answer["stats"]["elapsed_ms"].as_f64().unwrap() > 0.0);
    let (_, empty) = ask(&server, sql("select 1 where false")).await;
    assert_eq!(parse(&empty)["rows"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_questions_have_parameters_and_a_dialect() {
    let server = TestServer::with_clicks().await;
    let question = json!({"sql": "select event_name from clicks where user_id = $1 and event_name <> $2", "params": [1, "Search"]});
    assert_eq!(parse(&ask(&server, json_sql(&question)).await.1)["rows"], json!([["Purchase"]]));
    let question = json!({"sql": "show dialect", "dialect": "athena"});
    assert_eq!(parse(&ask(&server, json_sql(&question)).await.1)["rows"], json!([["athena"]]));
    for wrong in [
        json!({"sql": "select 1", "dialect": "oracle"}),
        json!({"slq": "select 1"}),
        json!({"sql": "select $1", "params": [[1]]}),
    ] {
        assert_eq!(ask(&server, json_sql(&wrong)).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_no_calendar_has_is_an_error_with_a_status() {
    let server = TestServer::start().await;
    for value in [
        "arrow_cast(9223372036854775807, 'Timestamp(Microsecond, None)')",
        "arrow_cast(86400000001, 'Time64(Microsecond)')",
        "[arrow_cast(9223372036854775807, 'Timestamp(Microsecond, Some(\"+00:00\"))')]",
    ] {
        let question = format!("select 1 as one, {value} as x");
        let (status, body) = ask(&server, sql(question.clone())).await;
        assert_eq!(
            (status, parse(&body)["error"]["sqlstate"].as_str()),
            (StatusCode::BAD_REQUEST, Some("22008")),
            "{body}"
        );
        let lines = Request::post("/v1/sql").header("accept", "application/x-ndjson").body(question.into()).unwrap();
        let (status, body) = ask(&server, lines).await;
        assert_eq!(
            (status, parse(&body)["error"]["sqlstate"].as_str()),
            (StatusCode::BAD_REQUEST, Some("22008")),
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_one_object_for_each_row() {
    let server = TestServer::with_clicks().await;
    let request = Request::post("/v1/sql")
        .header("accept", "application/x-ndjson")
        .body("select user_id, tags from clicks order by _offset".into())
        .unwrap();
    let (_, body) = ask(&server, request).await;
    let lines: Vec<Value> = body.lines().map(parse).collect();
    assert_eq!(lines[0], json!({"user_id": 1, "tags": null}));
    assert_eq!(lines[1], json!({"user_id": 2, "tags": ["x", "y z"]}));
    assert_eq!(lines.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_end_with_what_they_cost_if_that_is_asked_for() {
    let server = TestServer::with_clicks().await;
    let lines = async |sql: &'static str| -> Vec<Value> {
        let accept = "application/x-ndjson; stats=last";
        let request = Request::post("/v1/sql").header("accept", accept).body(sql.into()).unwrap();
        ask(&server, request).await.1.lines().map(parse).collect()
    };
    let told = lines("select user_id from clicks where user_id = 2").await;
    assert_eq!(told[0], json!({"user_id": 2}));
    assert_eq!((told.len(), &told[1]["stats"]["rows"]), (2, &json!(1)));
    assert!(told[1]["stats"]["elapsed_ms"].is_f64(), "{told:?}");
    let none = lines("select user_id from clicks where user_id < 0").await;
    assert_eq!((none.len(), &none[0]["stats"]["rows"]), (1, &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_where_and_what_to_do() {
    let server = TestServer::with_clicks().await;
    let (status, body) = ask(&server, sql("select event_nam from clicks")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(
        parse(&body),
        json!({"error": {"kind": "invalid", "message": "column \"event_nam\" does not exist",
            "hint": "did you mean \"event_name\"?", "sqlstate": "42703", "position": 8}})
    );
    assert_eq!(ask(&server, sql("select * from nothing")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&server, sql("select 1 / (user_id - user_id) from clicks")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&server, sql("insert into clicks values (1)")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&server, sql("")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&server, sql(vec![0xff, 0xfe])).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&server, sql(vec![b' '; 3 << 20])).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_the_first_rows_ends_the_answer() {
    let server = TestServer::start().await;
    let late = "select 10 / (200000 - value) as x from generate_series(1, 200000)";
    let (status, body) = ask(&server, sql(late)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(parse(&body)["error"]["sqlstate"], "22012", "{}", &body[body.len() - 200..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_as_they_are_found() {
    let server = TestServer::start().await;
    let response =
        server.router.clone().oneshot(sql("select value from generate_series(1, 1000000000000)")).await.unwrap();
    let mut pieces = response.into_body().into_data_stream();
    assert!(pieces.next().await.unwrap().unwrap().starts_with(b"{\"columns\":"));
}

/// A request whose body has this many bytes and no end.
fn endless(path: &str, bytes: usize) -> Request<Body> {
    let piece = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b' '; bytes]))]);
    Request::post(path).body(Body::from_stream(piece.chain(stream::pending()))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_all_requests_have_a_bound_together() {
    let server = TestServer::start().await;
    let mut others = Vec::new();
    for _ in 0..super::BODIES_BYTES_MAX / (16 << 20) {
        let mut asking = Box::pin(server.router.clone().oneshot(endless("/iceberg/v1/namespaces", 16 << 20)));
        assert!(poll!(&mut asking).is_pending());
        others.push(asking);
    }
    let doors = [
        ("/v1/sql", 429, "kind", json!("limited")),
        ("/v1/streams", 429, "kind", json!("limited")),
        ("/iceberg/v1/namespaces", 503, "type", json!("SlowDownException")),
    ];
    for (path, status, member, says) in &doors {
        let request = Request::post(*path).header("content-type", "application/json").body(Body::from("{}")).unwrap();
        let response = server.router.clone().oneshot(request).await.unwrap();
        let retry_after = response.headers().get("retry-after").and_then(|seconds| seconds.to_str().ok());
        assert_eq!((response.status().as_u16(), retry_after), (*status, Some("1")), "{path}");
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let error = parse(std::str::from_utf8(&body).unwrap())["error"].clone();
        assert_eq!(error[member], *says, "{path}: {error}");
        assert!(error["message"].as_str().unwrap().starts_with("too many requests are being read at once"), "{error}");
    }
    assert_eq!(ask(&server, get("/v1/status")).await.0, StatusCode::OK, "what has no body needs no room");
    others.truncate(1);
    assert_eq!(ask(&server, sql("select 1")).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_is_in_no_list() {
    let server = TestServer::start().await;
    let made =
        Request::post("/v1/streams").header("content-type", "application/json").body(r#"{"name":"gone"}"#.into());
    assert_eq!(ask(&server, made.unwrap()).await.0, StatusCode::OK);
    assert!(ask(&server, get("/v1/streams")).await.1.contains("\"gone\""));
    let deleted = Request::delete("/v1/streams/gone").body(Body::empty());
    assert_eq!(ask(&server, deleted.unwrap()).await.0, StatusCode::OK);
    let listed = ask(&server, get("/v1/streams")).await.1;
    assert!(!listed.contains("\"gone\""), "{listed}");
    let missing = parse(&ask(&server, get("/v1/streams/gone")).await.1);
    assert_eq!(missing["error"]["hint"], "lacus stream list shows all");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_events_is_not_ready() {
    let server = TestServer::start().await;
    assert_eq!(ask(&server, get("/readyz")).await.0, StatusCode::OK);
    server.log.close().await.unwrap();
    let (status, body) = ask(&server, get("/readyz")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert_eq!(ask(&server, get("/livez")).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_commits_and_status_shows_it() {
    let server = TestServer::with_clicks().await;
    assert_eq!(ask(&server, get("/readyz")).await.0, StatusCode::OK);
    assert_eq!(ask(&server, get("/livez")).await.0, StatusCode::OK);
    let before = parse(&ask(&server, get("/v1/status")).await.1);
    assert_eq!((&before["streams"][0]["stream"], &before["streams"][0]["files"]), (&json!("clicks"), &json!(0)));
    let flush = |table: &str| Request::post(format!("/v1/tables/{table}/flush")).body(Body::empty()).unwrap();
    let (status, body) = ask(&server, flush("clicks")).await;
    assert_eq!((status, &parse(&body)["rows"]), (StatusCode::OK, &json!(3)));
    let after = parse(&ask(&server, get("/v1/status")).await.1);
    assert_eq!(after["streams"][0]["committed"], 3);
    assert_eq!(after["streams"][0]["files"], 1);
    assert_eq!(after["lake"]["rows"], 3);
    assert_eq!(after["log"]["records"], 3);
    let (_, body) = ask(&server, sql("select sum(additional_data.price) from clicks")).await;
    assert_eq!(parse(&body)["rows"], json!([[12.0]]));
    assert_eq!(parse(&body)["stats"]["files_scanned"], 1);
    assert_eq!(ask(&server, flush("nothing")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&server, flush("No%20Name")).await.0, StatusCode::BAD_REQUEST);
}
