//! Ranking: from what speaks for single rows to an order of facts and episodes, and to scores that mean something.
//!
//! A fact's *own* strength is its BM25 plus a constant times how far its cosine lies above that of unrelated rows. Rows are
//! not alone, though: a fact said next to a strong one, or in an episode that is strong as a whole, is more likely meant.
//! So the strength of its neighbours, of its episode's strongest facts and of the episode's own row is added, in parts. The
//! sum orders the answer; a logistic curve turns it into the chance that the hit answers. Scores are fused, not ranks: the
//! distance between the first and the second hit is what tells a find from a guess.
//!
//! Pure functions over [`Evidence`]. How the constants were found, and what each part gains: docs/retrieval.md.

use crate::index::Evidence;

#[cfg(test)]
mod tests;

/// What a cosine of 1 is worth beside BM25. Anything from 4 to 10 gives the same answers to a point in a hundred.
pub const COSINE_WEIGHT: f32 = 8.0;

/// What a fact gains from each of the two facts said next to it in the same episode.
const NEIGHBOUR: f32 = 0.25;
/// What it gains from the mean of its episode's strongest facts, and how many those are.
const SIBLINGS: f32 = 0.5;
const SIBLINGS_TAKEN: usize = 3;
/// What it gains from its episode's own row.
const EPISODE: f32 = 0.8;

/// Where unrelated cosines lie before any row was looked at, and how many rows that guess counts for.
const CENTRE: (f32, f32) = (0.2, 20.0);

/// Slope and intercept of the chance to answer, over the sum divided by the root of how much was asked (plus a floor).
const CHANCE: (f32, f32) = (1.3, -5.3);
const ASKED_FLOOR: f32 = 10.0;

/// What a time that was asked for, and a phrase that was quoted, add to a row that has it: as much as a rare word.
pub const DATE_GAIN: f32 = 6.0;
pub const PHRASE_GAIN: f32 = 8.0;

/// Which parts of the ranking are at work: all, but for measuring what each is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stages {
    pub words: bool,
    pub meaning: bool,
    pub neighbours: bool,
    pub siblings: bool,
    pub episode: bool,
}

impl Stages {
    pub const ALL: Self = Self { words: true, meaning: true, neighbours: true, siblings: true, episode: true };

    /// Rows by themselves.
    pub const OWN: Self = Self { neighbours: false, siblings: false, episode: false, ..Self::ALL };
}

impl Default for Stages {
    fn default() -> Self {
        Self::ALL
    }
}

/// What the rows of one kind are measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scale {
    /// Cosine of unrelated rows.
    centre: f32,
    /// BM25 of a row that holds all that was asked.
    words_max: f32,
}

impl Scale {
    /// Makes the scale of a kind from what a recall over all its rows found. Few rows say little about what is unrelated, so
    /// a guess stands in for the rest.
    pub fn of(words_max: f32, mean_cosine: f32, n_vectors: u64) -> Self {
        let (guess, weight) = CENTRE;
        let n = n_vectors as f32;
        Self { centre: (n * mean_cosine + weight * guess) / (n + weight), words_max }
    }
}

/// What a hit's place comes from; the parts add up to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// Its own BM25.
    pub words: f32,
    /// Its own cosine above that of unrelated rows, weighted.
    pub meaning: f32,
    /// From the facts said right before and after.
    pub neighbours: f32,
    /// From the strongest facts of the same episode.
    pub siblings: f32,
    /// From the episode as a whole.
    pub episode: f32,
    /// From a date or a quoted phrase in the question.
    pub precise: f32,
    pub total: f32,
}

impl Parts {
    fn own(evidence: &Evidence, scale: &Scale, stages: Stages) -> Self {
        let words = if stages.words { evidence.words } else { 0.0 };
        let meaning = match evidence.cosine {
            Some(cosine) if stages.meaning => COSINE_WEIGHT * (cosine - scale.centre),
            _ => 0.0,
        };
        Self { words, meaning, ..Self::default() }.summed()
    }

    fn summed(mut self) -> Self {
        self.total = self.words + self.meaning + self.neighbours + self.siblings + self.episode + self.precise;
        self
    }

    /// Adds what a date or a quoted phrase is worth.
    pub fn add_precise(&mut self, gain: f32) {
        self.precise += gain;
        *self = self.summed();
    }

    /// Returns the parts of a row that has nothing around it: what it says counts for its surroundings, too.
    pub fn alone(evidence: &Evidence, scale: &Scale, stages: Stages) -> Self {
        let own = Self::own(evidence, scale, stages);
        let share = |at_work: bool, share: f32| if at_work { share * own.total } else { 0.0 };
        let (siblings, episode) = (share(stages.siblings, SIBLINGS), share(stages.episode, EPISODE));
        Self { siblings, episode, ..own }.summed()
    }

    /// Returns the chance that the hit answers, 0 to 1.
    ///
    /// A half means: as likely as not. Comparable between questions, owners and models, but for what the model's cosines
    /// say; see docs/retrieval.md for how well it keeps that.
    pub fn chance(&self, scale: &Scale) -> f32 {
        let (slope, intercept) = CHANCE;
        let logit = slope * self.total / (scale.words_max + ASKED_FLOOR).sqrt() + intercept;
        1.0 / (1.0 + (-logit).exp())
    }
}

/// An episode's facts, and its own row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// `None` when nothing speaks for the episode's row.
    pub episode: Option<Evidence>,
    /// In the order in which they were said.
    pub facts: Vec<Evidence>,
}

/// One hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Its group, by position.
    pub group: usize,
    /// Its position among the group's facts; `None` for the episode itself.
    pub fact: Option<usize>,
    pub parts: Parts,
}

/// Orders facts, and episodes that have none, best first; ties in the order of the groups.
pub fn rank(groups: &[Group], facts: &Scale, episodes: &Scale, stages: Stages) -> Vec<Place> {
    let mut places = Vec::new();
    for (position, group) in groups.iter().enumerate() {
        let episode = group.episode.as_ref().filter(|_| stages.episode);
        let episode = episode.map_or(0.0, |row| EPISODE * Parts::own(row, episodes, stages).total);
        let own: Vec<Parts> = group.facts.iter().map(|fact| Parts::own(fact, facts, stages)).collect();
        let siblings = if stages.siblings { SIBLINGS * strongest(&own) } else { 0.0 };
        for (at, parts) in own.iter().enumerate() {
            let total = |at: Option<usize>| at.and_then(|at| own.get(at)).map_or(0.0, |parts| parts.total);
            let beside = total(at.checked_sub(1)) + total(Some(at + 1));
            let neighbours = if stages.neighbours { NEIGHBOUR * beside } else { 0.0 };
            let parts = Parts { neighbours, siblings, episode, ..*parts }.summed();
            places.push(Place { group: position, fact: Some(at), parts });
        }
        if let (true, Some(row)) = (group.facts.is_empty(), &group.episode) {
            let parts = Parts::alone(row, episodes, stages);
            places.push(Place { group: position, fact: None, parts });
        }
    }
    sort(&mut places);
    places
}

/// Puts the best first; stable.
pub fn sort(places: &mut [Place]) {
    places.sort_by(|a, b| b.parts.total.total_cmp(&a.parts.total));
}

/// Returns the mean of the strongest few.
fn strongest(own: &[Parts]) -> f32 {
    let mut totals: Vec<f32> = own.iter().map(|parts| parts.total).collect();
    totals.sort_unstable_by(|a, b| b.total_cmp(a));
    totals.truncate(SIBLINGS_TAKEN);
    if totals.is_empty() { 0.0 } else { totals.iter().sum::<f32>() / totals.len() as f32 }
}

/// Returns one score per parent, that of its best child, best first; ties in order of appearance.
///
/// Children without a parent are left out.
pub fn max_by_parent<'a>(children: impl IntoIterator<Item = (Option<&'a str>, f32)>) -> Vec<(String, f32)> {
    let mut parents: Vec<(String, f32)> = Vec::new();
    let mut places: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for (parent, score) in children {
        let Some(parent) = parent.filter(|parent| !parent.is_empty()) else { continue };
        let place = *places.entry(parent).or_insert_with(|| {
            parents.push((parent.to_owned(), score));
            parents.len() - 1
        });
        parents[place].1 = parents[place].1.max(score);
    }
    parents.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    parents
}
