use super::*;
use crate::api::status::tests::sample;

#[test]
fn strangers_see_that_something_is_wrong_but_no_names() {
    let health = Health::of(sample(), "9", true, Audience::Anybody);
    assert_eq!(health.status, VerdictName::Degraded);
    assert_eq!((health.reasons[0].code.as_str(), &health.reasons[0].message), ("provider_down", &None));
    let text = serde_json::to_string(&health).unwrap();
    assert!(!text.contains("/r") && !text.contains("a.md"), "{text}");

    let health = Health::of(sample(), "9", true, Audience::Trusted);
    assert!(health.reasons[0].message.is_some());
    assert!(health.evermark.unwrap().watcher.contains("/r"));
}

#[test]
fn disabled_features_follow_the_providers() {
    let mut status = sample();
    let all = [
        "vector_search",
        "hybrid_search",
        "reflection",
        "skill_extraction",
        "agentic_search",
        "knowledge",
        "multimodal_upload",
    ];
    let health = Health::of(status.clone(), "9", true, Audience::Trusted);
    assert_eq!(health.disabled_features, all[2..]);
    assert!(health.capabilities.llm && !health.capabilities.rerank);
    status.rerank.model = Some("reader".to_owned());
    let health = Health::of(status.clone(), "9", true, Audience::Trusted);
    assert!(health.capabilities.rerank && !health.disabled_features.contains(&"agentic_search".to_owned()));
    status.rerank.model = None;
    status.embedding.model = None;
    let health = Health::of(status, "9", false, Audience::Trusted);
    assert_eq!(health.disabled_features, all);
    assert!(!health.capabilities.embed && !health.memorize_queue.unwrap().accepting);
}

#[test]
fn figures_of_upkeep_are_true_under_the_names_of_everos() {
    let health = Health::of(sample(), "9", true, Audience::Trusted);
    let cascade = health.cascade.unwrap();
    assert_eq!((cascade.optimize_failure_streak, cascade.prune_stale_seconds), (3, 90.0));
    assert!(!cascade.index_emptied);
    assert_eq!(health.memorize_queue.unwrap().loop_restarts, 2);

    let mut status = sample();
    let index = status.index.as_mut().unwrap();
    index.orphan_bytes = 0;
    index.rows.clear();
    index.steps.iter_mut().for_each(|step| step.streak = 0);
    let cascade = Health::of(status, "9", true, Audience::Trusted).cascade.unwrap();
    assert_eq!((cascade.optimize_failure_streak, cascade.prune_stale_seconds), (0, 0.0));
    assert!(cascade.index_emptied, "files hold memories and the index answers that it has none");
}
