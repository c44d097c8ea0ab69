//! Who may call: hosts, origins, tokens.

use crate::kit::{Server, Setup, token};
use axum::http::Method;
use evermark_server::Options;
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");

fn guarded() -> Server {
    Server::with(Setup { options: Options { token: token("s3cret"), ..Options::default() }, ..Setup::default() })
}

#[tokio::test]
async fn every_request_gets_an_id_of_ours() {
    let server = Server::new();
    let mut ids = std::collections::BTreeSet::new();
    for path in ["/health", "/nowhere", "/api/v1/evermark/status"] {
        let answer = server.send(Method::GET, path, &[("x-request-id", "mine")], "").await;
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
        assert!(ids.insert(id));
    }
}

#[tokio::test]
async fn other_peoples_names_for_this_machine_are_refused() {
    let server = Server::new();
    for path in ["/health", "/api/v1/evermark/status", "/nowhere"] {
        let answer = server.send(Method::GET, path, &[("host", "rebound.example:8000")], "").await;
        answer.refused(403, "FORBIDDEN");
    }
    assert_eq!(server.send(Method::GET, "/health", &[("host", "localhost:8000")], "").await.status, 200);
}

#[tokio::test]
async fn pages_from_elsewhere_are_refused_and_ours_may_read() {
    let server = Server::new();
    let body = json!({ "session_id": "s" }).to_string();
    let path = "/api/v1/memory/flush";
    let answer = server.send(Method::POST, path, &[JSON, ("origin", "https://evil.example")], &body).await;
    answer.refused(403, "FORBIDDEN");
    assert_eq!(answer.header("access-control-allow-origin"), None);

    let ours = ("origin", "http://localhost:5173");
    for body in [body.as_str(), "{}"] {
        let answer = server.send(Method::POST, path, &[JSON, ours], body).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(ours.1));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    assert_eq!(server.send(Method::POST, path, &[JSON], &body).await.header("vary"), Some("Origin"));
}

#[tokio::test]
async fn preflights_are_answered_without_the_token() {
    let server = guarded();
    let headers = [
        ("origin", "http://127.0.0.1:3000"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let answer = server.send(Method::OPTIONS, "/api/v2/memory/add", &headers, "").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "OK"));
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization,content-type"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://127.0.0.1:3000"));
}

#[tokio::test]
async fn with_a_token_only_health_is_open() {
    let server = guarded();
    for path in ["/metrics", "/openapi.json", "/api/v1/evermark/status", "/nowhere", "/api/v1/memory/add"] {
        let answer = server.get(path).await;
        answer.refused(401, "UNAUTHORIZED");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let wrong = server.send(Method::GET, path, &[("authorization", "Bearer s3cre")], "").await;
        wrong.refused(401, "UNAUTHORIZED");
        let right = server.send(Method::GET, path, &[("authorization", "Bearer s3cret")], "").await;
        assert_ne!(right.status, 401, "{path}");
    }
    assert_eq!(server.get("/health").await.status, 200);
}
