//! The error table of contract A.2, as far as requests can provoke it.

use crate::kit::{Server, Setup, conversation};
use axum::http::Method;
use evermark_engine::settings::Settings;
use evermark_server::Options;
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn what_is_not_routed_is_not_enveloped() {
    let server = Server::new();
    for path in ["/", "/api/v1/memory", "/api/v3/memory/add", "/api/v2/evermark/status"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (404, r#"{"detail":"Not Found"}"#), "{path}");
        assert_eq!(answer.header("x-request-id").unwrap().len(), 32);
    }
    let answer = server.get("/api/v1/memory/add").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (405, r#"{"detail":"Method Not Allowed"}"#));
    assert_eq!(answer.header("allow"), Some("POST"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn validation_says_what_and_where() {
    let server = Server::new();
    for version in ["v1", "v2"] {
        let path = |route: &str| format!("/api/{version}/memory/{route}");
        let message = server.post(&path("add"), &json!({ "session_id": "s" })).await.refused(422, "INVALID_INPUT");
        assert_eq!(message, "Field required: messages");
        let message = server.post(&path("search"), &json!({ "user_id": "u" })).await.refused(422, "INVALID_INPUT");
        assert_eq!(message, "Search query cannot be empty.");
        let message = server.post(&path("flush"), &json!([])).await.refused(422, "INVALID_INPUT");
        assert_eq!(message, "Input should be a valid dictionary or object to extract fields from");
        let answer = server.post(&path("get"), &json!({ "user_id": "u", "memory_type": "agent_case" })).await;
        let message = answer.refused(422, "INVALID_INPUT");
        assert_eq!(message, "Value error, memory_type 'agent_case' is not valid when user_id is set");
        assert_eq!(answer.json()["error"]["path"], path("get"));
    }
}

#[tokio::test]
async fn only_json_that_says_so_is_read() {
    let server = Server::new();
    let path = "/api/v1/memory/flush";
    let text = r#"{"session_id":"s"}"#;
    for kind in ["application/json", "application/JSON; charset=utf-8", "application/vnd.x+json"] {
        assert_eq!(server.send(Method::POST, path, &[("content-type", kind)], text).await.status, 200, "{kind}");
    }
    for headers in
        [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/x-www-form-urlencoded")]]
    {
        let message = server.send(Method::POST, path, headers, text).await.refused(422, "INVALID_INPUT");
        assert_eq!(message, "Input should be a valid dictionary or object to extract fields from");
    }
    let message =
        server.send(Method::POST, path, &[JSON], r#"{"session_id":"s",}"#).await.refused(422, "INVALID_INPUT");
    assert_eq!(message, "JSON decode error: 18");
    let message = server.send(Method::POST, path, &[JSON], "").await.refused(422, "INVALID_INPUT");
    assert_eq!(message, "Field required");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let server =
        Server::with(Setup { options: Options { body_bytes_max: 1000, ..Options::default() }, ..Setup::default() });
    let long = conversation("s", &[("ann", &"x".repeat(1000))]);
    let message = server.post("/api/v1/memory/add", &long).await.refused(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(message, "the body exceeds 1000 bytes; send it in several requests");
}

#[tokio::test]
async fn parts_that_nobody_can_read_are_refused_before_anything_is_stored() {
    let server = Server::new();
    let add = |part: serde_json::Value| {
        let mut body = conversation("s", &[("ann", "hello")]);
        body["messages"][0]["content"] = json!([{ "type": "text", "text": "look" }, part]);
        body
    };
    let path = "/api/v1/memory/add";
    server.post(path, &add(json!({ "type": "image" }))).await.refused(415, "UNSUPPORTED_FORMAT");
    server
        .post(path, &add(json!({ "type": "image", "uri": "https://x/y.png" })))
        .await
        .refused(503, "CAPABILITY_UNAVAILABLE");
    let search = json!({ "user_id": "ann", "query": "look", "filters": { "session_id": "s" } });
    let data = server.post("/api/v1/memory/search", &search).await.data();
    assert_eq!(data["unprocessed_messages"], json!([]));
}

#[tokio::test]
async fn methods_without_their_provider_are_422_and_a_bad_filter_wins() {
    let server = Server::new();
    for owner in ["user_id", "agent_id"] {
        for method in ["vector", "agentic", "llm_multiround"] {
            let answer =
                server.post("/api/v1/memory/search", &json!({ owner: "x", "query": "q", "method": method })).await;
            answer.refused(422, "PROVIDER_NOT_CONFIGURED");
            let bad = json!({ owner: "x", "query": "q", "method": method, "filters": { "owner_id": "y" } });
            let message = server.post("/api/v1/memory/search", &bad).await.refused(422, "INVALID_INPUT");
            assert!(message.contains("owner_id"), "{message}");
        }
    }
}

#[tokio::test]
async fn filters_on_fields_a_kind_has_not_are_422_and_name_the_field() {
    let server = Server::new();
    let get =
        |kind: &str, filters: serde_json::Value| json!({ "agent_id": "bot", "memory_type": kind, "filters": filters });
    for (kind, field) in [("agent_skill", "session_id"), ("agent_skill", "timestamp"), ("agent_case", "sender_id")] {
        let value = if field == "timestamp" { json!({ "gt": 1 }) } else { json!("x") };
        let answer = server.post("/api/v1/memory/get", &get(kind, json!({ field: value }))).await;
        let message = answer.refused(422, "INVALID_INPUT");
        assert!(message.contains(field), "{message}");
    }
    let search = json!({ "agent_id": "bot", "query": "q", "method": "keyword", "filters": { "sender_id": "x" } });
    let message = server.post("/api/v1/memory/search", &search).await.refused(422, "INVALID_INPUT");
    assert!(message.contains("sender_id"), "{message}");
}

#[tokio::test]
async fn a_full_inbox_is_429_and_keeps_nothing() {
    let settings = Settings { inbox_session_max: 2, ..Settings::default() };
    let server = Server::with(Setup { settings, ..Setup::default() });
    let said = [("ann", "one"), ("ann", "two"), ("ann", "three")];
    let mut body = conversation("s", &said);
    body["defer_extraction"] = json!(true);
    let answer = server.post("/api/v1/memory/add", &body).await;
    answer.refused(429, "QUEUE_SATURATED");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_closed_engine_is_unavailable_and_health_still_answers() {
    let server = Server::new();
    server.engine.close().unwrap();
    let answer = server.post("/api/v1/memory/search", &json!({ "user_id": "u", "query": "q" })).await;
    assert!(matches!(answer.status.as_u16(), 429 | 503), "{}", answer.text());
    assert_eq!(server.get("/health").await.status, 200);
}
