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
        index: Some(IndexItem { rows: [("episode".to_owned(), 3)].into(), ..IndexItem::default() }),
        embedding: EmbeddingItem { state: "open".to_owned(), model: Some("m".to_owned()), ..Default::default() },
        inbox_messages: 4,
        inbox_sessions: 1,
        watcher: "degraded: too many watches below /r".to_owned(),
        last_sweep_age_ms: Some(10),
    }
}

#[test]
fn a_status_survives_the_wire() {
    let text = serde_json::to_string(&sample()).unwrap();
    assert_eq!(serde_json::from_str::<StatusData>(&text).unwrap(), sample());
}
