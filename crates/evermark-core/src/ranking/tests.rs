use super::*;

fn row(id: &str, words: f32, cosine: Option<f32>) -> Evidence {
    Evidence { id: id.to_owned(), parent_id: None, timestamp_us: None, words, cosine }
}

fn facts(words: &[f32]) -> Vec<Evidence> {
    words.iter().enumerate().map(|(at, &words)| row(&format!("f{at}"), words, None)).collect()
}

fn near(found: f32, expected: f32) {
    assert!((found - expected).abs() < 1e-4, "{found} {expected}");
}

fn order(groups: &[Group], stages: Stages) -> Vec<(usize, Option<usize>)> {
    rank(groups, &Scale::default(), &Scale::default(), stages).iter().map(|place| (place.group, place.fact)).collect()
}

#[test]
fn words_and_meaning_add_up() {
    let scale = Scale { centre: 0.3, words_max: 0.0 };
    let parts = Parts::own(&row("a", 2.0, Some(0.8)), &scale, Stages::ALL);
    near(parts.words, 2.0);
    near(parts.meaning, 8.0 * 0.5);
    near(parts.total, 6.0);
    // Without a vector nothing is known of its meaning: that speaks neither for nor against it.
    near(Parts::own(&row("a", 2.0, None), &scale, Stages::ALL).total, 2.0);
    near(Parts::own(&row("a", 2.0, Some(0.1)), &scale, Stages::ALL).total, 0.4);
}

#[test]
fn a_neighbour_of_a_strong_fact_gains() {
    let group = Group { episode: None, facts: facts(&[0.0, 0.0, 10.0, 0.0]) };
    let places = rank(&[group], &Scale::default(), &Scale::default(), Stages { siblings: false, ..Stages::ALL });
    let totals: Vec<(Option<usize>, f32)> = places.iter().map(|place| (place.fact, place.parts.total)).collect();
    assert_eq!(totals, [(Some(2), 10.0), (Some(1), 2.5), (Some(3), 2.5), (Some(0), 0.0)]);
}

#[test]
fn a_strong_episode_lifts_its_facts() {
    let plain = Group { episode: Some(row("e0", 0.0, None)), facts: facts(&[3.0]) };
    let strong = Group { episode: Some(row("e1", 9.0, None)), facts: facts(&[2.0]) };
    assert_eq!(order(&[plain.clone(), strong.clone()], Stages::ALL), [(1, Some(0)), (0, Some(0))]);
    assert_eq!(order(&[plain, strong], Stages { episode: false, ..Stages::ALL }), [(0, Some(0)), (1, Some(0))]);
}

#[test]
fn strong_siblings_lift_a_fact() {
    let alone = Group { episode: None, facts: facts(&[4.0]) };
    let among = Group { episode: None, facts: facts(&[3.5, 0.0, 0.0, 20.0]) };
    assert_eq!(order(&[alone, among], Stages::ALL)[..2], [(1, Some(3)), (1, Some(2))]);
    near(strongest(&[]), 0.0);
}

#[test]
fn an_episode_without_facts_takes_a_place_of_its_own() {
    let bare = Group { episode: Some(row("e", 5.0, None)), facts: Vec::new() };
    let same = Group { episode: Some(row("e", 5.0, None)), facts: facts(&[5.0]) };
    let places = rank(&[bare, same, Group::default()], &Scale::default(), &Scale::default(), Stages::ALL);
    assert_eq!(places.len(), 2);
    // It says what a single fact would say, and scores the same.
    near(places[0].parts.total, places[1].parts.total);
    assert_eq!((places[0].fact, places[1].fact), (None, Some(0)));
}

#[test]
fn the_scale_learns_where_unrelated_rows_lie() {
    near(Scale::of(0.0, 0.9, 0).centre, 0.2);
    near(Scale::of(0.0, 0.6, 20).centre, 0.4);
    assert!((Scale::of(0.0, 0.6, 100_000).centre - 0.6).abs() < 0.001);
}

#[test]
fn chances_rise_with_the_sum_and_fall_with_what_was_asked() {
    let chance = |total: f32, words_max: f32| {
        Parts { words: total, ..Parts::default() }.summed().chance(&Scale { centre: 0.0, words_max })
    };
    assert!(chance(0.0, 20.0) < 0.01);
    assert!(chance(60.0, 20.0) > 0.99);
    assert!(chance(20.0, 20.0) > chance(15.0, 20.0));
    // A long question finds more words by accident.
    assert!(chance(20.0, 20.0) > chance(20.0, 80.0));
    near(chance(5.3 / 1.3 * 5.0, 15.0), 0.5);
}

#[test]
fn what_is_precise_adds_to_the_sum() {
    let mut parts = Parts::alone(&row("a", 1.0, None), &Scale::default(), Stages::ALL);
    let before = parts.total;
    parts.add_precise(DATE_GAIN);
    parts.add_precise(PHRASE_GAIN);
    near(parts.total, before + DATE_GAIN + PHRASE_GAIN);
    near(parts.precise, DATE_GAIN + PHRASE_GAIN);
}

#[test]
fn stages_can_be_left_out() {
    let group = Group { episode: Some(row("e", 4.0, Some(0.9))), facts: vec![row("f", 2.0, Some(0.7))] };
    let total =
        |stages| rank(std::slice::from_ref(&group), &Scale::default(), &Scale::default(), stages)[0].parts.total;
    near(total(Stages { meaning: false, ..Stages::OWN }), 2.0);
    near(total(Stages { words: false, ..Stages::OWN }), 5.6);
    near(total(Stages::OWN), 7.6);
    near(total(Stages { siblings: true, ..Stages::OWN }), 7.6 * 1.5);
    near(total(Stages { episode: true, ..Stages::OWN }), 7.6 + 0.8 * 11.2);
}

#[test]
fn parents_score_as_their_best_child() {
    let children = [(Some("p"), 0.4), (None, 0.9), (Some("q"), 0.5), (Some("p"), 0.7), (Some(""), 1.0)];
    assert_eq!(max_by_parent(children), [("p".to_owned(), 0.7), ("q".to_owned(), 0.5)]);
}
