use super::*;

/// Returns a status with something in every corner.
pub(crate) fn sample() -> StatusData {
    StatusData {
        verdict: VerdictName::Degraded,
        reasons: vec![ReasonItem {
            verdict: VerdictName::Degraded,
            code: "provider_down".to_owned(),
            message: Some("the provider does not answer".to_owned()),
            hint: Some("check embedding.base_url".to_owned()),
        }],
        root: "/r".to_owned(),
        root_id: "0123".to_owned(),
        generation: "g1".to_owned(),
        rebuilding: false,
        uptime_ms: 1500,
        files: 2,
        entries: [("episode".to_owned(), 3)].into(),
        findings: vec![],
        findings_total: 0,
        queue: QueueItem {
            pending: 1,
            failing: 1,
            errors: vec![QueueError { class: "external".to_owned(), count: 1, message: "a.md".to_owned() }],
            ..QueueItem::default()
        },
        index: Some(index()),
        embedding: EmbeddingItem { state: "open".to_owned(), model: Some("m".to_owned()), ..Default::default() },
        rerank: JudgeItem { state: "none".to_owned(), ..Default::default() },
        llm: JudgeItem {
            model: Some("chatty".to_owned()),
            state: "closed".to_owned(),
            calls: 3,
            tokens_in: 40,
            ..Default::default()
        },
        inbox_messages: 4,
        inbox_sessions: 1,
        watcher: "degraded: too many watches below /r".to_owned(),
        last_sweep_age_ms: Some(10),
        age_ms: None,
    }
}

/// Returns an index that has seen better days.
fn index() -> IndexItem {
    use crate::api::index::{
        BudgetItem, DescriptorsItem, LoopItem, PauseItem, QuarantineItem, StepErrorItem, StepItem, TableItem,
        VolumeItem,
    };
    let error = StepErrorItem { class: "no_space".to_owned(), message: "cannot write /r/x".to_owned(), age_ms: 2000 };
    let table = TableItem { name: "memories".to_owned(), generation: "g1".to_owned(), rows: 3, ..TableItem::default() };
    IndexItem {
        answers: true,
        rows: [("episode".to_owned(), 3)].into(),
        allocated_bytes: 700,
        live_bytes: 300,
        orphan_bytes: 100,
        budget: BudgetItem {
            ratio: 2.0,
            slack_bytes: 400,
            bound_bytes: 1000,
            headroom_bytes: 300,
            ..BudgetItem::default()
        },
        tables: vec![table.clone()],
        total: table,
        index_to_markdown_ratio: Some(1.5),
        steps: vec![
            StepItem { step: "reclaim".to_owned(), runs: 9, last_success_age_ms: Some(90_000), ..StepItem::default() },
            StepItem {
                step: "compact".to_owned(),
                runs: 7,
                failures: 4,
                streak: 3,
                last_error: Some(error),
                ..StepItem::default()
            },
        ],
        volumes: vec![VolumeItem {
            role: "index".to_owned(),
            path: "/r/.index".to_owned(),
            level: "low".to_owned(),
            ..VolumeItem::default()
        }],
        paused: Some(PauseItem { why: "space_out".to_owned(), message: "no room on /r".to_owned(), since_ms: 5 }),
        descriptors: DescriptorsItem { used: Some(40), limit: Some(256) },
        quarantine: vec![QuarantineItem {
            name: "data/a.lance".to_owned(),
            reason: "/r is damaged".to_owned(),
            rows: 2,
            ..QuarantineItem::default()
        }],
        loops: vec![LoopItem { name: "remember".to_owned(), restarts: 2, ..LoopItem::default() }],
        ..IndexItem::default()
    }
}

#[test]
fn a_status_survives_the_wire() {
    let text = serde_json::to_string(&sample()).unwrap();
    assert_eq!(serde_json::from_str::<StatusData>(&text).unwrap(), sample());
}
