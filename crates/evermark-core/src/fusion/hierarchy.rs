//! Episodes and their facts compete for the same places: a fact that says it better stands in for its episode.

use super::{logistic, rrf};
use crate::index::Hit;
use std::collections::{BTreeSet, HashMap};

/// Facts of one episode that are scored, and that may win places. Source: contract B.5.
const FACTS_SCORED: usize = 6;
const FACTS_KEPT: usize = 3;

/// Episodes expanded in a row without any change before the rest is left alone. Source: contract B.5.
const PATIENCE: usize = 10;

/// Facts considered per episode: this many times `top_k`, and at least so many. Source: contract B.5.
const FACTS_PER_EPISODE: (usize, usize) = (2, 20);

/// What the competition is between.
pub struct Hierarchy<'a> {
    /// Episodes by BM25, best first.
    pub sparse: &'a [Hit],
    /// Episodes by cosine in [0, 1], best first.
    pub dense: &'a [Hit],
    /// Returns the ids that facts of this episode name as their parent.
    pub parents_of: &'a dyn Fn(&str) -> Vec<String>,
    /// Facts by cosine in [0, 1], best first, with their parents.
    pub facts: &'a [Hit],
    /// Places to win; facts take places too, so fewer episodes than this may come out.
    pub top_k: usize,
    /// Floor on the final score, in [0, 1].
    pub min_score: Option<f32>,
}

/// An episode that came through, with the facts that did.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    pub id: String,
    /// The chance that it answers: its own, or its best fact's when facts stand in for it.
    pub score: f32,
    /// Best first.
    pub facts: Vec<Hit>,
}

/// One place taken.
#[derive(Debug)]
struct Place<'a> {
    item: Item<'a>,
    score: f32,
}

#[derive(Clone, Copy, Debug)]
enum Item<'a> {
    Episode(&'a str),
    Fact { fact: &'a Hit, episode: &'a str },
}

impl<'a> Item<'a> {
    /// Tells items apart; a fact that two episodes claim is one item.
    fn key(&self) -> (bool, &'a str) {
        match self {
            Self::Episode(id) => (false, id),
            Self::Fact { fact, .. } => (true, &fact.id),
        }
    }
}

/// Ranks episodes and their facts against each other, best first (contract B.5).
///
/// Rank fusion of the two recalls decides which episodes hold the first `top_k` places and in which order episodes are
/// opened. An opened episode's best facts, scored by [`logistic`] of their own cosine and the episode's BM25, take
/// places from whatever scores least; when one does, the episode gives up its own place.
pub fn hierarchy(input: &Hierarchy<'_>) -> Vec<Ranked> {
    let fused = rrf(&[input.sparse, input.dense]);
    if fused.is_empty() || input.top_k == 0 {
        return Vec::new();
    }
    let bm25 = by_id(input.sparse);
    let cosines = by_id(input.dense);
    let score_of = |id: &str| logistic(of(&cosines, id), of(&bm25, id));
    let facts = facts_by_episode(input, &fused);

    let mut places: Vec<Place<'_>> = fused
        .iter()
        .take(input.top_k)
        .map(|hit| Place { item: Item::Episode(&hit.id), score: score_of(&hit.id) })
        .collect();

    // The order of opening breaks ties by id, the order of seeding by appearance: EverOS keeps a heap here.
    let mut opening: Vec<&Hit> = fused.iter().collect();
    opening.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    let mut unchanged = 0;
    for episode in opening {
        if unchanged == PATIENCE {
            break;
        }
        let before = keys(&places);
        let own = facts.get(episode.id.as_str()).map_or(&[][..], Vec::as_slice);
        open(&episode.id, own, of(&bm25, &episode.id), input.top_k, &mut places);
        unchanged = if keys(&places) == before { unchanged + 1 } else { 0 };
    }
    regroup(places, input.min_score)
}

/// Lets an episode's facts compete.
fn open<'a>(episode: &'a str, facts: &[&'a Hit], bm25: f32, top_k: usize, places: &mut Vec<Place<'a>>) {
    let mut scored: Vec<(f32, &Hit)> =
        facts.iter().take(FACTS_SCORED).map(|fact| (logistic(fact.score, bm25), *fact)).collect();
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut entered = false;
    for (score, fact) in scored.into_iter().take(FACTS_KEPT) {
        let worst = places.iter().map(|place| place.score).fold(f32::INFINITY, f32::min);
        if score <= 0.0 || (places.len() >= top_k && score <= worst) {
            continue;
        }
        entered = true;
        let item = Item::Fact { fact, episode };
        match places.iter_mut().find(|place| place.item.key() == item.key()) {
            Some(place) => *place = Place { item, score },
            None => places.push(Place { item, score }),
        }
        if places.len() > top_k {
            // The first of the worst leaves.
            let worst = (0..places.len()).min_by(|&a, &b| places[a].score.total_cmp(&places[b].score));
            worst.map(|worst| places.remove(worst));
        }
    }
    if entered {
        places.retain(|place| !matches!(place.item, Item::Episode(id) if id == episode));
    }
}

/// Puts facts back under their episodes.
fn regroup(mut places: Vec<Place<'_>>, min_score: Option<f32>) -> Vec<Ranked> {
    places.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut ranked: Vec<Ranked> = Vec::new();
    let mut at: HashMap<&str, usize> = HashMap::new();
    let mut place_of = |id, ranked: &mut Vec<Ranked>| {
        *at.entry(id).or_insert_with(|| {
            ranked.push(Ranked { id: str::to_owned(id), score: 0.0, facts: Vec::new() });
            ranked.len() - 1
        })
    };
    // Episodes that kept their place come first among equals, as in EverOS.
    for place in &places {
        if let Item::Episode(id) = place.item {
            let at = place_of(id, &mut ranked);
            ranked[at].score = place.score;
        }
    }
    let n_episodes = ranked.len();
    for place in &places {
        if let Item::Fact { fact, episode } = place.item {
            let at = place_of(episode, &mut ranked);
            if at >= n_episodes {
                ranked[at].score = ranked[at].score.max(place.score);
            }
            ranked[at].facts.push(Hit { score: place.score, ..fact.clone() });
        }
    }
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    ranked.retain(|hit| min_score.is_none_or(|floor| hit.score >= floor));
    ranked
}

fn facts_by_episode<'a>(input: &Hierarchy<'a>, fused: &[Hit]) -> HashMap<String, Vec<&'a Hit>> {
    let mut episodes_of: HashMap<String, Vec<&str>> = HashMap::new();
    for hit in fused {
        let parents: BTreeSet<String> = (input.parents_of)(&hit.id).into_iter().filter(|id| !id.is_empty()).collect();
        for parent in parents {
            episodes_of.entry(parent).or_default().push(&hit.id);
        }
    }
    let (times, least) = FACTS_PER_EPISODE;
    let most = (times * input.top_k).max(least);
    let mut facts: HashMap<String, Vec<&Hit>> = HashMap::new();
    for fact in input.facts {
        let parents = fact.parent_id.as_ref().and_then(|parent| episodes_of.get(parent));
        for &episode in parents.into_iter().flatten() {
            let own = facts.entry(episode.to_owned()).or_default();
            if own.len() < most {
                own.push(fact);
            }
        }
    }
    facts
}

fn by_id(hits: &[Hit]) -> HashMap<&str, f32> {
    hits.iter().map(|hit| (hit.id.as_str(), hit.score)).collect()
}

fn of(scores: &HashMap<&str, f32>, id: &str) -> f32 {
    scores.get(id).copied().unwrap_or_default()
}

fn keys<'a>(places: &[Place<'a>]) -> BTreeSet<(bool, &'a str)> {
    places.iter().map(|place| place.item.key()).collect()
}
