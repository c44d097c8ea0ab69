use super::*;

fn hit(id: &str, score: f32) -> Hit {
    Hit { id: id.to_owned(), parent_id: None, score }
}

fn fact(id: &str, parent: &str, score: f32) -> Hit {
    Hit { id: id.to_owned(), parent_id: Some(parent.to_owned()), score }
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

fn near(found: f32, expected: f64) {
    assert!((f64::from(found) - expected).abs() < 1e-6, "{found} {expected}");
}

#[test]
fn ranks_are_fused() {
    let fused = rrf(&[&[hit("a", 9.0), hit("b", 8.0)][..], &[hit("b", 0.9), hit("c", 0.8)][..]]);
    assert_eq!(ids(&fused), ["b", "a", "c"]);
    near(fused[0].score, 1.0 / 62.0 + 1.0 / 61.0);
    near(fused[1].score, 1.0 / 61.0);
    // Equal scores: the first list first, whatever the ids.
    assert_eq!(ids(&rrf(&[&[hit("z", 1.0)][..], &[hit("a", 1.0)][..]])), ["z", "a"]);
    assert!(rrf::<&[Hit]>(&[]).is_empty());
}

#[test]
fn the_chance_to_answer() {
    // σ(6.27473151675093·0.8 + 0.09395183408310023·12 − 4.858095765012703)
    let logit: f64 = 6.274_731_516_750_93 * 0.8 + 0.093_951_834_083_100_23 * 12.0 - 4.858_095_765_012_703;
    near(logistic(0.8, 12.0), 1.0 / (1.0 + (-logit).exp()));
    near(logistic(0.0, 0.0), 0.007705422);
}

#[test]
fn vectors_anchor_keywords() {
    let blended = vector_anchored(&[hit("a", 5.0), hit("b", 20.0)], &[hit("b", 0.5), hit("c", 0.4)]);
    // Equal scores: the dense list first.
    assert_eq!(ids(&blended), ["b", "c", "a"]);
    near(blended[0].score, 0.7 * 0.5 + 0.3 * 0.8);
    near(blended[1].score, 0.7 * 0.4 + 0.3 * 0.5);
    near(blended[2].score, 0.7 * 0.4 + 0.3 * 0.5);
    let one_leg = vector_anchored(&[hit("a", 5.0), hit("b", 2.0)], &[]);
    assert_eq!(one_leg, [hit("a", 5.0), hit("b", 2.0)]);
    assert_eq!(vector_anchored(&[], &[hit("a", 0.5)]), [hit("a", 0.5)]);
}

#[test]
fn parents_score_as_their_best_child() {
    let facts = [fact("1", "p", 0.4), hit("orphan", 0.9), fact("2", "q", 0.5), fact("3", "p", 0.7), fact("4", "", 1.0)];
    assert_eq!(max_by_parent(&facts), [hit("p", 0.7), hit("q", 0.5)]);
}

#[test]
fn lists_are_united() {
    assert_eq!(
        union(&[hit("a", 1.0), hit("b", 2.0)], &[hit("b", 3.0), hit("c", 4.0)]),
        [hit("a", 1.0), hit("b", 2.0), hit("c", 4.0)]
    );
}

fn compete(sparse: &[Hit], dense: &[Hit], facts: &[Hit], top_k: usize, min_score: Option<f32>) -> Vec<Ranked> {
    let parents_of = |id: &str| vec![format!("entry-{id}"), format!("cell-{id}")];
    hierarchy(&Hierarchy { sparse, dense, parents_of: &parents_of, facts, top_k, min_score })
}

fn shape(ranked: &[Ranked]) -> Vec<(&str, Vec<&str>)> {
    ranked.iter().map(|hit| (hit.id.as_str(), ids(&hit.facts))).collect()
}

#[test]
fn a_better_fact_stands_in_for_its_episode() {
    let found = compete(&[hit("a", 4.0)], &[hit("a", 0.3), hit("b", 0.2)], &[fact("f", "entry-a", 0.9)], 5, None);
    assert_eq!(shape(&found), [("a", vec!["f"]), ("b", vec![])]);
    near(found[0].score, f64::from(logistic(0.9, 4.0)));
    assert_eq!(found[0].facts[0].score, found[0].score);
    near(found[1].score, f64::from(logistic(0.2, 0.0)));
}

#[test]
fn three_facts_at_most_and_none_without_room_or_merit() {
    let facts: Vec<Hit> = (0..8).map(|n| fact(&format!("f{n}"), "cell-a", 0.9 - 0.1 * n as f32)).collect();
    let found = compete(&[], &[hit("a", 0.95), hit("b", 0.5)], &facts, 2, None);
    // Two places: the best fact pushes out `b`, the next one beats neither it nor `a`, which then gives its own place up.
    assert_eq!(shape(&found), [("a", vec!["f0"])]);
    let found = compete(&[], &[hit("a", 0.95), hit("b", 0.5)], &facts, 10, None);
    assert_eq!(shape(&found), [("a", vec!["f0", "f1", "f2"]), ("b", vec![])]);
    let weak = [fact("f", "entry-a", 0.1)];
    let found = compete(&[], &[hit("a", 0.9), hit("b", 0.8)], &weak, 2, None);
    assert_eq!(shape(&found), [("a", vec![]), ("b", vec![])]);
}

#[test]
fn facts_of_episodes_without_a_place_compete_too() {
    let dense = [hit("a", 0.5), hit("b", 0.4), hit("c", 0.3)];
    let found = compete(&[], &dense, &[fact("f", "entry-c", 0.99)], 2, None);
    assert_eq!(shape(&found), [("c", vec!["f"]), ("a", vec![])]);
}

#[test]
fn ten_unchanged_episodes_end_the_competition() {
    let dense: Vec<Hit> = (0..30).map(|n| hit(&format!("e{n:02}"), 0.9 - 0.01 * n as f32)).collect();
    let patient = compete(&[], &dense, &[fact("f", "entry-e09", 0.99)], 5, None);
    assert_eq!(patient[0].id, "e09");
    let too_late = compete(&[], &dense, &[fact("f", "entry-e10", 0.99)], 5, None);
    assert_eq!(too_late[0].id, "e00");
    assert!(too_late.iter().all(|hit| hit.facts.is_empty()));
}

#[test]
fn the_floor_is_on_the_final_score() {
    let dense = [hit("a", 0.9), hit("b", 0.1)];
    assert_eq!(compete(&[], &dense, &[], 5, Some(0.5)).len(), 1);
    assert!(compete(&[], &[], &[], 5, None).is_empty());
    assert!(compete(&[], &dense, &[], 0, None).is_empty());
}
