//! Add, flush, search and get, told as a client sees them.

use crate::kit::{Server, Setup, conversation};
use axum::http::StatusCode;
use serde_json::{Value, json};

const SAID: [(&str, &str); 4] = [
    ("ann", "I moved to Lisbon in March and I work at the harbour museum now."),
    ("helper_bot", "Noted. How do you like it there?"),
    ("ann", "I love it. My sister Clara visits me every second weekend."),
    ("helper_bot", "That sounds lovely."),
];

#[tokio::test]
async fn what_is_added_is_stored_extracted_found_and_listed() {
    let server = Server::new();
    let add = server.post("/api/v1/memory/add", &conversation("s1", &SAID)).await.data();
    assert_eq!((&add["message_count"], &add["status"]), (&json!(4), &json!("accumulated")));
    assert_eq!((&add["receipt"]["stored"], &add["receipt"]["open"]), (&json!(4), &json!(4)));

    // Not extracted yet: shown by the session's filter, in EverOS's shape.
    let pending = json!({ "user_id": "ann", "query": "harbour", "filters": { "session_id": "s1" } });
    let data = server.post("/api/v1/memory/search", &pending).await.data();
    assert_eq!(data["unprocessed_messages"].as_array().unwrap().len(), 4);
    assert_eq!(
        data["unprocessed_messages"][0],
        json!({
            "id": "m_s1_1750000000000_000", "app_id": "default", "project_id": "default", "session_id": "s1",
            "sender_id": "ann", "sender_name": null, "role": "user", "content": SAID[0].1,
            "timestamp": "2025-06-15T15:06:40Z", "tool_calls": null, "tool_call_id": null,
        })
    );

    let flush = server
        .post("/api/v2/memory/flush?wait=indexed&wait_timeout_ms=20000", &json!({ "session_id": "s1" }))
        .await
        .data();
    assert_eq!((&flush["status"], &flush["receipt"]["indexed"]), (&json!("extracted"), &json!(true)));
    let made = &flush["receipt"]["extracted"]["episodes"][0];
    let path = server.dir.path().join(made["path"].as_str().unwrap());
    assert!(path.is_file(), "{}", path.display());

    // The default method without a model: by words, and it says so.
    for method in [json!(null), json!("hybrid")] {
        let mut body = json!({ "user_id": "ann", "query": "harbour museum" });
        if !method.is_null() {
            body["method"] = method;
        }
        let data = server.post("/api/v1/memory/search", &body).await.data();
        assert_eq!(data["method"], "hybrid");
        assert_eq!(data["degraded"][0]["stage"], "vector");
        assert_eq!(data["episodes"][0]["id"], made["id"]);
    }

    let data = server
        .post("/api/v1/memory/search", &json!({ "user_id": "ann", "query": "harbour", "method": "keyword" }))
        .await
        .data();
    assert_eq!(data["degraded"], json!([]));
    let episode = &data["episodes"][0];
    assert_eq!((&episode["type"], &episode["session_id"]), (&json!("Conversation"), &json!("s1")));
    assert_eq!(episode["source"]["path"], made["path"]);
    assert!(made["id"].as_str().unwrap().ends_with(episode["source"]["entry"].as_str().unwrap()));
    assert_eq!(episode["message_ids"][0], "m_s1_1750000000000_000");

    let list = server.post("/api/v1/memory/get", &json!({ "user_id": "ann", "memory_type": "episode" })).await.data();
    assert_eq!((&list["total_count"], &list["count"]), (&json!(1), &json!(1)));
    let listed = list["episodes"][0].as_object().unwrap();
    assert!(!listed.contains_key("score") && !listed.contains_key("atomic_facts"));
    for (key, value) in listed {
        assert_eq!(&episode[key], value, "{key}");
    }
}

#[tokio::test]
async fn with_vectors_the_default_is_hybrid_and_episodes_carry_their_facts() {
    let server = Server::with(Setup { vectors: true, ..Setup::default() });
    server.remember("s1", &SAID).await;
    let data = server
        .post("/api/v1/memory/search", &json!({ "user_id": "ann", "query": "sister Clara visits", "top_k": 5 }))
        .await
        .data();
    assert_eq!((&data["method"], &data["degraded"]), (&json!("hybrid"), &json!([])));
    let fact = &data["episodes"][0]["atomic_facts"][0];
    assert!(fact["content"].as_str().unwrap().contains("Clara"), "{data}");
    assert!(fact["source"]["path"].as_str().unwrap().contains(".atomic_facts/"));
    assert_eq!(fact["message_ids"], json!(["m_s1_1750000060000_002"]));
}

#[tokio::test]
async fn sending_again_stores_nothing_twice() {
    let server = Server::new();
    let body = conversation("s1", &SAID);
    server.post("/api/v1/memory/add", &body).await.data();
    let again = server.post("/api/v1/memory/add", &body).await.data();
    assert_eq!(again["message_count"], 4);
    assert_eq!((&again["receipt"]["stored"], &again["receipt"]["duplicates"]), (&json!(0), &json!(4)));
}

#[tokio::test]
async fn async_adds_are_accepted_with_202() {
    let server = Server::new();
    let mut body = conversation("s1", &SAID);
    body["async_mode"] = json!(true);
    let answer = server.post("/api/v1/memory/add", &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let data = &answer.json()["data"];
    assert_eq!((&data["status"], &data["message_count"], &data["pending"]), (&json!("queued"), &json!(4), &json!(4)));
}

#[tokio::test]
async fn flushing_nothing_is_no_extraction() {
    let server = Server::new();
    let data = server.post("/api/v1/memory/flush", &json!({ "session_id": "nobody" })).await.data();
    assert_eq!((&data["status"], &data["receipt"]["indexed"]), (&json!("no_extraction"), &Value::Null));
}

#[tokio::test]
async fn waiting_may_be_asked_for_in_the_body_or_the_query() {
    let server = Server::new();
    for (query, body) in [
        ("?wait=soon", json!({ "session_id": "s" })),
        ("", json!({ "session_id": "s", "wait": "soon" })),
        ("?wait=soon", json!({ "session_id": "s", "wait": "indexed" })),
    ] {
        let message = server.post(&format!("/api/v1/memory/flush{query}"), &body).await.refused(422, "INVALID_INPUT");
        assert_eq!(message, "Input should be 'indexed': wait");
    }
    let data = server
        .post("/api/v1/memory/flush", &json!({ "session_id": "s", "wait": "indexed", "wait_timeout_ms": 1 }))
        .await;
    assert_eq!(data.data()["status"], "no_extraction");
}

#[tokio::test]
async fn parts_survive_the_inbox() {
    let server = Server::new();
    let mut body = conversation("s1", &[("ann", "x"), ("helper_bot", "y")]);
    let parts = json!([{ "type": "text", "text": "two" }, { "type": "image", "text": "a red house", "uri": "https://x/y.png" }]);
    body["messages"][0]["content"] = parts.clone();
    let calls = json!([{ "id": "c1", "type": "function", "function": { "name": "look", "arguments": "{}" } }]);
    body["messages"][1]["tool_calls"] = calls.clone();
    server.post("/api/v1/memory/add", &body).await.data();
    let search = json!({ "user_id": "ann", "query": "q", "filters": { "session_id": "s1" } });
    let data = server.post("/api/v1/memory/search", &search).await.data();
    assert_eq!(data["unprocessed_messages"][0]["content"], parts);
    assert_eq!(data["unprocessed_messages"][1]["tool_calls"], calls);
}
