//! Health, metrics and the long work of an operator.

#![expect(clippy::disallowed_methods, reason = "tests write the files that people and other programs would write")]

use crate::kit::{Answer, Server, Setup, token};
use axum::http::Method;
use evermark_server::Options;
use evermark_server::api::work::{CompactData, InspectData, PruneData, RebuildData, SyncData, VerifyData, WorkEvent};
use serde::de::DeserializeOwned;
use serde_json::json;

const SAID: [(&str, &str); 2] = [("ann", "I keep bees on the roof of the old brewery."), ("helper_bot", "Noted.")];

/// Returns the report at the end of the stream.
fn report<R: DeserializeOwned>(answer: &Answer) -> R {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let text = answer.text();
    let mut events: Vec<WorkEvent<R>> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    match events.pop() {
        Some(WorkEvent::Done { report }) => {
            let early = events.iter().all(|event| matches!(event, WorkEvent::Progress { .. } | WorkEvent::Alive));
            assert!(early, "{text}");
            report
        }
        _ => panic!("no report at the end of {text}"),
    }
}

#[tokio::test]
async fn long_work_ends_with_its_report() {
    let server = Server::new();
    server.remember("s1", &SAID).await;
    let verify: VerifyData = report(&server.post("/api/v1/evermark/verify", &json!({})).await);
    assert!(verify.clean && verify.memories > 0, "{verify:?}");
    let rebuild: RebuildData = report(&server.send(Method::POST, "/api/v1/evermark/index/rebuild", &[], "").await);
    assert_eq!(rebuild.rows, verify.rows);
    let sync: SyncData = report(&server.send(Method::POST, "/api/v1/evermark/sync", &[], "").await);
    assert_eq!(sync.held, None);
    let message = server.post("/api/v1/evermark/sync", &json!({ "force": true })).await.refused(422, "INVALID_INPUT");
    assert_eq!(message, "Extra inputs are not permitted: force");
    let data = server.post("/api/v1/memory/search", &json!({ "user_id": "ann", "query": "bees" })).await.data();
    assert_eq!(data["episodes"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_index_is_planned_pruned_merged_and_inspected() {
    let server = Server::new();
    server.remember("s1", &SAID).await;
    let plan = server.get("/api/v1/evermark/index/plan").await.data();
    assert!(["ample", "low", "out"].contains(&plan["level"].as_str().unwrap()), "{plan}");
    for planned in plan["steps"].as_array().unwrap().iter().chain(plan["held"].as_array().unwrap()) {
        assert!(!planned["step"].as_str().unwrap().is_empty() && !planned["reason"].as_str().unwrap().is_empty());
    }
    for dry_run in [true, false] {
        let body = json!({ "dry_run": dry_run });
        let prune: PruneData = report(&server.post("/api/v1/evermark/index/prune", &body).await);
        assert_eq!((prune.dry_run, prune.failures), (dry_run, vec![]));
        let compact: CompactData = report(&server.post("/api/v1/evermark/index/compact", &body).await);
        assert_eq!((compact.dry_run, compact.failures), (dry_run, vec![]));
    }
    let prune: PruneData = report(&server.send(Method::POST, "/api/v1/evermark/index/prune", &[], "").await);
    assert!(!prune.dry_run, "without a body it is done");
    let inspect: InspectData = report(&server.post("/api/v1/evermark/index/inspect", &json!({})).await);
    assert_eq!(inspect.quarantined, []);
    let wrong = json!({ "dry-run": true });
    server.post("/api/v1/evermark/index/prune", &wrong).await.refused(422, "INVALID_INPUT");
    let data = server.post("/api/v1/memory/search", &json!({ "user_id": "ann", "query": "bees" })).await.data();
    assert_eq!(data["episodes"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn status_and_health_tell_the_same() {
    let server = Server::new();
    server.remember("s1", &SAID).await;
    let status = server.get("/api/v1/evermark/status").await.data();
    assert_eq!((&status["verdict"], &status["entries"]["episode"]), (&json!("ok"), &json!(1)));
    assert_eq!(status["root"], server.dir.path().canonicalize().unwrap().display().to_string());
    let health = server.get("/health").await.json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["evermark"]["root_id"], status["root_id"]);
    assert_eq!(health["cascade"]["index_rows"]["episode"], 1);
    assert_eq!(health["version"], Options::default().version);
    assert_eq!(health["memorize_queue"]["accepting"], true);
    assert_eq!(health["reasons"], json!([]));
    let index = &health["evermark"]["index"];
    let allocated = index["allocated_bytes"].as_u64().unwrap();
    assert!(allocated > 0 && allocated <= index["budget"]["bound_bytes"].as_u64().unwrap(), "{index}");
    let steps: Vec<_> = index["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    let names = ["release", "janitor", "reclaim", "compact", "ledger", "repair", "ballast", "measure", "rebuild"];
    assert_eq!(steps, names);
    assert!(index["volumes"][0]["free_bytes"].as_u64().unwrap() > 0, "{index}");
    assert_eq!((&index["paused"], &health["evermark"]["age_ms"]), (&json!(null), &json!(null)));
}

#[tokio::test]
async fn strangers_learn_from_health_no_more_than_the_verdict() {
    let options = Options { token: token("s3cret"), ..Options::default() };
    let server = Server::with(Setup { options, ..Setup::default() });
    let health = server.get("/health").await;
    assert!(!health.text().contains(server.dir.path().to_str().unwrap()));
    assert_eq!(health.json()["evermark"]["inbox_messages"], 0);
}

#[tokio::test]
async fn metrics_count_requests_by_route() {
    let server = Server::new();
    server.post("/api/v1/memory/flush", &json!({ "session_id": "s" })).await.data();
    server.get("/some/path/nobody/knows").await;
    server.get("/health").await;
    let answer = server.get("/metrics").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    for line in [
        r#"evermark_http_requests_total{method="POST",path="/api/v1/memory/flush",status="200"} 1.0"#,
        r#"evermark_http_requests_total{method="GET",path="{unmatched}",status="404"} 1.0"#,
        r#"evermark_health{verdict="ok"} 1.0"#,
        "evermark_up 1.0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("path=\"/health\"") && !text.contains("nobody"));
}

#[tokio::test]
async fn a_file_written_by_hand_is_found_after_a_sync() {
    let server = Server::new();
    server.remember("s1", &SAID).await;
    let list = server.post("/api/v1/memory/get", &json!({ "user_id": "ann", "memory_type": "episode" })).await.data();
    let path = server.dir.path().join(list["episodes"][0]["source"]["path"].as_str().unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("brewery", "observatory")).unwrap();
    let sync: SyncData = report(&server.post("/api/v1/evermark/sync", &json!({ "allow_mass_delete": false })).await);
    assert!(sync.problems.is_empty(), "{sync:?}");
    let search = json!({ "user_id": "ann", "query": "observatory", "method": "keyword" });
    let data = server.post("/api/v1/memory/search", &search).await.data();
    assert_eq!(data["episodes"].as_array().unwrap().len(), 1);
}
