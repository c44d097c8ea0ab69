//! The methods that ask a reranker or a language model, over HTTP.

use crate::kit::{Server, Setup};
use evermark_core::world::{RealWorld, World};
use evermark_engine::judges::Judges;
use evermark_models::chat::{self, OpenAiChat};
use evermark_models::rerank::{self, Dialect, EndpointReranker};
use evermark_sim::stub_http::Reply;
use evermark_sim::stub_models::{Said, StubModels};
use serde_json::{Value, json};
use std::sync::Arc;

fn with_judges(stub: &StubModels) -> Server {
    let world: Arc<dyn World> = Arc::new(RealWorld::new());
    let mut chatting = chat::Settings::new(stub.base_url(), "stub-llm");
    chatting.max_retries = 0;
    let reranking = rerank::Settings::new(Dialect::DashScope, stub.base_url(), "stub-reranker");
    let judges = Judges {
        reranker: Some(Arc::new(EndpointReranker::new(reranking, Arc::clone(&world)).unwrap())),
        llm: Some(Arc::new(OpenAiChat::new(chatting, world).unwrap())),
        decider: None,
    };
    Server::with(Setup { judges, ..Setup::default() })
}

async fn search(server: &Server, more: Value) -> Value {
    let mut body = json!({"user_id": "ann", "query": "which bread does Ann like"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.post("/api/v1/memory/search", &body).await.data()
}

#[tokio::test]
async fn judged_methods_answer_in_the_usual_shape_and_explain_themselves() {
    let stub = StubModels::start();
    let server = with_judges(&stub);
    server.remember("s1", &[("ann", "I like rye bread from the bakery."), ("ann", "The tram was late again.")]).await;
    let first = search(&server, json!({})).await;
    assert_eq!((first["method"].as_str(), first.get("rounds")), (Some("hybrid"), None));
    assert_eq!((stub.chats().len(), stub.reranks().len()), (0, 0));

    stub.say([Said::json(&json!({"is_sufficient": true, "reasoning": "rye"}))]);
    let data = search(&server, json!({"method": "agentic", "explain": true})).await;
    assert_eq!((data["method"].as_str(), data["rounds"][0]["is_sufficient"].as_bool()), (Some("agentic"), Some(true)));
    assert_eq!(data["rounds"][0]["reasoning"], "rye");
    let hit = &data["episodes"][0];
    assert_eq!(hit["explain"]["judged"]["rerank"], hit["score"]);
    assert!(hit["atomic_facts"].as_array().is_some_and(|facts| !facts.is_empty()), "{hit}");

    stub.say([Said::json(&json!({"core": [1], "next_queries": []}))]);
    let data = search(&server, json!({"method": "llm_multiround", "explain": true})).await;
    assert_eq!(data["episodes"][0]["explain"]["judged"]["core"], true);
    assert_eq!(data["rounds"][0]["core"][0], data["episodes"][0]["id"]);

    let data = search(&server, json!({"rerank": true})).await;
    assert!(data["episodes"][0].get("explain").is_none() && data.get("rounds").is_none());

    stub.say([Said::Reply(Reply::status(500, "down"))]);
    let data = search(&server, json!({"method": "agentic"})).await;
    let named: Vec<&str> =
        data["degraded"].as_array().unwrap().iter().filter_map(|one| one["stage"].as_str()).collect();
    assert!(named.contains(&"sufficiency") && !data["episodes"].as_array().unwrap().is_empty(), "{data}");

    let wrong = json!({"user_id": "ann", "query": "q", "method": "vector", "rerank": true});
    server.post("/api/v1/memory/search", &wrong).await.refused(422, "INVALID_INPUT");
}

#[tokio::test]
async fn what_is_configured_is_a_capability_and_what_was_asked_is_counted() {
    let none = Server::new();
    let health = none.get("/health").await.json();
    assert_eq!((&health["capabilities"]["llm"], &health["capabilities"]["rerank"]), (&json!(false), &json!(false)));
    assert!(health["disabled_features"].as_array().unwrap().contains(&json!("agentic_search")));

    let stub = StubModels::start();
    let server = with_judges(&stub);
    let health = server.get("/health").await.json();
    assert_eq!((&health["capabilities"]["llm"], &health["capabilities"]["rerank"]), (&json!(true), &json!(true)));
    assert!(!health["disabled_features"].as_array().unwrap().contains(&json!("agentic_search")));
    // Nobody was asked for that.
    assert_eq!((stub.chats().len(), stub.reranks().len()), (0, 0));

    server.remember("s1", &[("ann", "I like rye bread from the bakery.")]).await;
    search(&server, json!({"method": "agentic"})).await;
    let page = server.get("/metrics").await.text();
    for line in [
        "evermark_llm_calls_total 1.0",
        "evermark_llm_answers_total 1.0",
        "evermark_llm_failures_total 0.0",
        "evermark_llm_tokens_total{direction=\"in\"} 10.0",
        "evermark_rerank_calls_total 1.0",
        "evermark_rerank_documents_total 1.0",
    ] {
        assert!(page.lines().any(|known| known == line), "{line} is not in\n{page}");
    }
    let status = server.get("/api/v1/evermark/status").await.json();
    let status = status.get("data").unwrap_or(&status);
    assert_eq!((&status["llm"]["model"], &status["rerank"]["state"]), (&json!("stub-llm"), &json!("closed")));
}
