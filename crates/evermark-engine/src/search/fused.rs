//! `hybrid`: words and meaning against every fact, and what stands around it (see [`evermark_core::ranking`]).
//!
//! Flow: recall the strongest facts and episodes → open the episodes they belong to (all their facts, and their own rows) →
//! rank facts among their neighbours → add what a named day or a quoted phrase is worth → take the best places → group them
//! by episode. Facts and episodes without facts share the places, so fewer episodes than asked for may come out.

use super::*;
use evermark_core::asked;
use evermark_core::ranking::{DATE_GAIN, Group, PHRASE_GAIN, Place, Scale};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};

/// Facts recalled before episodes are opened.
const FACTS_RECALLED: usize = 256;
/// Episodes opened: as many as results are wanted, within these.
const OPENED: std::ops::RangeInclusive<usize> = 24..=64;
/// Facts read of the opened episodes.
const FACTS_OPENED: usize = 8192;
/// Places whose text is read when the question quotes a phrase.
const PLACES_READ: usize = 128;
/// People tell of a day on that day, or on the next.
const DAY_US: i64 = 86_400_000_000;
/// Floor on the chance of what shares no word with the question, when the request does not say how many it wants.
const CHANCE_IMPLIED: f32 = 0.01;

/// The places won, and what they refer to.
struct Won {
    groups: Vec<Group>,
    /// The entry of each group's episode.
    entries: Vec<String>,
    places: Vec<Place>,
    /// What chances are measured by.
    scale: Scale,
}

impl Won {
    fn evidence(&self, place: &Place) -> Option<&Evidence> {
        let group = self.groups.get(place.group)?;
        match place.fact {
            Some(at) => group.facts.get(at),
            None => group.episode.as_ref(),
        }
    }
}

impl Search<'_> {
    pub(super) fn fused_episodes(&self, degraded: &mut Vec<Degraded>) -> Result<Vec<EpisodeHit>, Error> {
        let mut won = self.places(degraded)?;
        won.places.retain(|place| self.is_wanted(place, &won.scale, won.groups.get(place.group)));
        let mut hits: Vec<EpisodeHit> = Vec::new();
        let mut at_episode: HashMap<String, usize> = HashMap::new();
        let mut left = self.limit;
        let mut places = won.places.iter();
        while left > 0 && !places.as_slice().is_empty() {
            let taken: Vec<&Place> = places.by_ref().take(left).collect();
            let episodes = self.episodes_of(taken.iter().map(|place| won.entries[place.group].as_str()))?;
            let id_of = |place: &&Place| won.evidence(place).filter(|_| place.fact.is_some()).map(|row| row.id.clone());
            let mut facts = self.fetch(Kind::AtomicFact, taken.iter().filter_map(id_of).collect())?;
            for place in taken {
                let Some(episode) = episodes.get(won.entries[place.group].as_str()) else { continue };
                let Some(evidence) = won.evidence(place) else { continue };
                let score = place.parts.chance(&won.scale);
                let explain = self.explained_by(evidence, place);
                let fact = match place.fact {
                    Some(_) => match facts.remove(&evidence.id) {
                        Some(memory) => Some(Scored { memory, score, explain }),
                        // Gone since it was ranked.
                        None => continue,
                    },
                    None => None,
                };
                let at = *at_episode.entry(episode.id.clone()).or_insert_with(|| {
                    // An episode scores as its best place.
                    hits.push(EpisodeHit {
                        episode: Scored { memory: episode.clone(), score, explain },
                        facts: Vec::new(),
                    });
                    hits.len() - 1
                });
                hits[at].facts.extend(fact);
                left -= 1;
            }
        }
        Ok(hits)
    }

    /// An agent's cases or skills, each by itself.
    pub(super) fn fused_rows(&self, kind: Kind) -> Result<Vec<Scored>, Error> {
        let terms = self.wanted(&[kind])?;
        let recall = self.recall(self.ask(kind, self.limit * 2), &terms)?;
        let scale = Scale::of(recall.words_max, recall.mean_cosine, recall.n_vectors);
        let mut ranked: Vec<(Parts, &Evidence)> =
            recall.rows.iter().map(|row| (Parts::alone(row, &scale, self.request.stages), row)).collect();
        ranked.sort_by(|(a, _), (b, _)| b.total.total_cmp(&a.total));
        let mut memories = self.fetch(kind, ranked.iter().map(|(_, row)| row.id.clone()).collect())?;
        let mut found = Vec::new();
        for (parts, row) in ranked {
            let place = Place { group: 0, fact: None, parts };
            let group = Group { episode: Some(row.clone()), facts: Vec::new() };
            if found.len() == self.limit || !self.is_wanted(&place, &scale, Some(&group)) {
                continue;
            }
            if let Some(memory) = memories.remove(&row.id) {
                found.push(Scored { memory, score: parts.chance(&scale), explain: self.explained_by(row, &place) });
            }
        }
        Ok(found)
    }

    fn places(&self, degraded: &mut Vec<Degraded>) -> Result<Won, Error> {
        let terms = self.wanted(&[Kind::AtomicFact, Kind::Episode])?;
        let opened = self.limit.clamp(*OPENED.start(), *OPENED.end());
        let mut facts = self.recall(self.ask(Kind::AtomicFact, FACTS_RECALLED), &terms)?;
        let mut episodes = self.recall(self.ask(Kind::Episode, opened), &terms)?;
        let fact_scale = Scale::of(facts.words_max, facts.mean_cosine, facts.n_vectors);
        let episode_scale = Scale::of(episodes.words_max, episodes.mean_cosine, episodes.n_vectors);
        let scale = if facts.words_max > 0.0 || facts.n_vectors > 0 { fact_scale } else { episode_scale };
        let time = asked::time(&self.request.query, &self.inner.settings.timezone);
        if let Some(time) = time {
            self.recall_of(time, Kind::AtomicFact, &terms, &mut facts)?;
            self.recall_of(time, Kind::Episode, &terms, &mut episodes)?;
        }

        // The episodes to open: those of the strongest facts, and the strongest by themselves.
        let mut entries: Vec<String> = Vec::new();
        let mut known: HashSet<&str> = HashSet::new();
        let parents = facts.rows.iter().filter_map(|row| row.parent_id.as_deref());
        for parent in parents.filter(|parent| !parent.is_empty()) {
            if entries.len() < opened && known.insert(parent) {
                entries.push(parent.to_owned());
            }
        }
        let prefix = self.row_id("");
        for entry in episodes.rows.iter().filter_map(|row| row.id.strip_prefix(&prefix)) {
            if known.insert(entry) {
                entries.push(entry.to_owned());
            }
        }

        let mut stages = self.request.stages;
        let is_late = self.until.is_some_and(|until| self.inner.world.monotonic() >= until);
        let groups = if is_late {
            stages = Stages { neighbours: false, siblings: false, episode: false, ..stages };
            degraded.push(Degraded {
                stage: "context",
                code: "deadline",
                reason: "the time allowed was over before episodes were opened: facts are ranked by themselves".into(),
            });
            self.closed(&entries, facts.rows, episodes.rows)
        } else {
            self.open(&entries, &terms, facts.rows, episodes.rows)?
        };
        let mut won =
            Won { places: ranking::rank(&groups, &fact_scale, &episode_scale, stages), groups, entries, scale };
        self.add_precise(time, &mut won)?;
        Ok(won)
    }

    /// Adds the rows of a time that the question names, which neither words nor meaning may have found.
    fn recall_of(&self, time: (i64, i64), kind: Kind, terms: &[Wanted], into: &mut Recall) -> Result<(), Error> {
        let seconds = |us: i64| us / 1_000_000;
        let mut clauses = vec![json!({"timestamp": {"gte": seconds(time.0), "lt": seconds(time.1 + DAY_US)}})];
        clauses.extend(self.request.filters.clone());
        let filter = Filter::parse(&json!({ "AND": clauses }), &self.inner.settings.timezone)?;
        let ask = Ask { filter: &filter, ..self.ask(kind, *OPENED.start()) };
        let mut found = self.recall(ask.clone(), terms)?.rows;
        if found.len() < ask.limit {
            // Nothing but its time may speak for a row.
            let listing = self.index.list(&ask, Order { descending: false }, 0)?;
            let silent = |memory: Memory| Evidence {
                id: memory.id,
                parent_id: memory.parent_id,
                timestamp_us: memory.timestamp_us,
                words: 0.0,
                cosine: None,
            };
            let known: HashSet<String> = found.iter().map(|row| row.id.clone()).collect();
            found.extend(listing.memories.into_iter().map(silent).filter(|row| !known.contains(&row.id)));
        }
        let known: HashSet<String> = into.rows.iter().map(|row| row.id.clone()).collect();
        into.rows.splice(0..0, found.into_iter().filter(|row| !known.contains(&row.id)));
        Ok(())
    }

    /// Returns the episodes with all their facts, in the order in which these were said, and their own rows.
    fn open(
        &self,
        entries: &[String],
        terms: &[Wanted],
        recalled: Vec<Evidence>,
        rows: Vec<Evidence>,
    ) -> Result<Vec<Group>, Error> {
        let ask = Ask { parents: Some(entries), ..self.ask(Kind::AtomicFact, FACTS_OPENED) };
        let mut facts = if entries.is_empty() { Vec::new() } else { self.recall(ask, terms)?.rows };
        let known: HashSet<String> = facts.iter().map(|fact| fact.id.clone()).collect();
        facts.extend(recalled.into_iter().filter(|fact| !known.contains(&fact.id)));
        let ids: Vec<String> = entries.iter().map(|entry| self.row_id(entry)).collect();
        let missing: Vec<String> = {
            let known: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
            ids.iter().filter(|id| !known.contains(id.as_str())).cloned().collect()
        };
        let mut rows = rows;
        if !missing.is_empty() {
            let ask = Ask { ids: Some(&missing), ..self.ask(Kind::Episode, missing.len()) };
            rows.extend(self.recall(ask, terms)?.rows);
        }
        Ok(self.closed(entries, facts, rows))
    }

    /// Puts facts and rows under their episodes.
    fn closed(&self, entries: &[String], facts: Vec<Evidence>, rows: Vec<Evidence>) -> Vec<Group> {
        let mut by_parent: BTreeMap<String, Vec<Evidence>> = BTreeMap::new();
        for fact in facts {
            by_parent.entry(fact.parent_id.clone().unwrap_or_default()).or_default().push(fact);
        }
        let mut by_id: HashMap<String, Evidence> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        let group = |entry: &String| {
            let mut facts = by_parent.remove(entry).unwrap_or_default();
            // Entries are numbered as they are written down.
            facts.sort_by(|a, b| a.id.cmp(&b.id));
            Group { episode: by_id.remove(&self.row_id(entry)), facts }
        };
        entries.iter().map(group).collect()
    }

    /// Adds what being of a named time, or holding a quoted phrase, is worth.
    fn add_precise(&self, time: Option<(i64, i64)>, won: &mut Won) -> Result<(), Error> {
        let phrases = asked::phrases(&self.request.query);
        if time.is_none() && phrases.is_empty() {
            return Ok(());
        }
        let mut places = std::mem::take(&mut won.places);
        if let Some((start, end)) = time {
            for place in &mut places {
                match won.evidence(place).and_then(|row| row.timestamp_us) {
                    Some(us) if (start..end).contains(&us) => place.parts.add_precise(DATE_GAIN),
                    Some(us) if (end..end + DAY_US).contains(&us) => place.parts.add_precise(DATE_GAIN / 2.0),
                    _ => {}
                }
            }
        }
        if !phrases.is_empty() {
            ranking::sort(&mut places);
            let (facts, episodes): (Vec<&Place>, Vec<&Place>) =
                places.iter().take(PLACES_READ).partition(|place| place.fact.is_some());
            let ids =
                |places: &[&Place]| places.iter().filter_map(|place| Some(won.evidence(place)?.id.clone())).collect();
            let mut read = self.fetch(Kind::AtomicFact, ids(&facts))?;
            read.extend(self.fetch(Kind::Episode, ids(&episodes))?);
            for place in places.iter_mut().take(PLACES_READ) {
                let memory = won.evidence(place).and_then(|row| read.get(&row.id));
                let Some(text) = memory.map(|memory| asked::unified(&memory.body.search_text())) else { continue };
                for _ in phrases.iter().filter(|phrase| text.contains(phrase.as_str())) {
                    place.parts.add_precise(PHRASE_GAIN);
                }
            }
        }
        ranking::sort(&mut places);
        won.places = places;
        Ok(())
    }

    /// Returns the episodes of these entries that may be shown, by entry. One that was merged into another is that one.
    fn episodes_of<'a>(&self, entries: impl Iterator<Item = &'a str>) -> Result<HashMap<&'a str, Memory>, Error> {
        let entries: HashSet<&str> = entries.collect();
        let mut found = self.fetch(Kind::Episode, entries.iter().map(|entry| self.row_id(entry)).collect())?;
        let merged: Vec<String> = found
            .values()
            .filter_map(|episode| episode.deprecated_by.as_deref().filter(|entry| !entry.is_empty()))
            .map(|entry| self.row_id(entry))
            .collect();
        let merged = if merged.is_empty() { HashMap::new() } else { self.fetch(Kind::Episode, merged)? };
        let mut shown = HashMap::new();
        for entry in entries {
            let Some(episode) = found.remove(&self.row_id(entry)) else { continue };
            let episode = match &episode.deprecated_by {
                None => Some(episode),
                Some(by) => merged.get(&self.row_id(by)).cloned(),
            };
            if let Some(episode) =
                episode.filter(|episode| episode.deprecated_by.is_none() && self.filter.matches(episode))
            {
                shown.insert(entry, episode);
            }
        }
        Ok(shown)
    }

    /// Tells whether the request's floors let a place through.
    fn is_wanted(&self, place: &Place, scale: &Scale, group: Option<&Group>) -> bool {
        let Some(group) = group else { return false };
        let Some(row) = place.fact.map_or(group.episode.as_ref(), |at| group.facts.get(at)) else { return false };
        let chance = place.parts.chance(scale);
        let by_words = row.words > 0.0 || place.parts.precise > 0.0;
        let is_near = |radius: f32| by_words || row.cosine.is_none_or(|cosine| cosine >= radius);
        self.request.min_score.is_none_or(|floor| chance >= floor)
            && self.radius.is_none_or(is_near)
            && (by_words || self.request.top_k.is_some() || chance >= CHANCE_IMPLIED)
    }

    fn explained_by(&self, row: &Evidence, place: &Place) -> Option<Explain> {
        let explain = Explain { words: Some(row.words), cosine: row.cosine, parts: Some(place.parts), judged: None };
        self.request.explain.then_some(explain)
    }

    fn recall(&self, ask: Ask<'_>, terms: &[Wanted]) -> Result<Recall, Error> {
        let vector = self.vector.as_deref().filter(|_| self.request.stages.meaning);
        let terms = if self.request.stages.words { terms } else { &[] };
        Ok(self.index.recall(&ask, &Question { terms, vector, cosine_weight: COSINE_WEIGHT })?)
    }

    /// Returns the terms to look for: those asked, and other spellings of a word that no row of these kinds holds.
    fn wanted(&self, kinds: &[Kind]) -> Result<Vec<Wanted>, Error> {
        let mut wanted: Vec<Wanted> =
            self.terms.iter().map(|term| Wanted { term: term.clone(), weight: 1.0 }).collect();
        let owner = &self.request.owner;
        let held = |terms: &[String]| -> Result<Option<Vec<u64>>, Error> {
            let mut sums = vec![0; terms.len()];
            for kind in kinds {
                let Some(held) = self.index.holding(owner, *kind, terms)? else { return Ok(None) };
                sums.iter_mut().zip(held).for_each(|(sum, held)| *sum += held);
            }
            Ok(Some(sums))
        };
        let Some(counts) = held(&self.terms)? else { return Ok(wanted) };
        let unheld: HashSet<&String> =
            self.terms.iter().zip(counts).filter(|(_, count)| *count == 0).map(|(term, _)| term).collect();
        if unheld.is_empty() {
            return Ok(wanted);
        }
        for word in text::words_of(&self.request.query) {
            if !matches!(text::query_terms(word).as_slice(), [term] if unheld.contains(term)) {
                continue;
            }
            let spellings = text::spellings(word);
            let Some(counts) = held(&spellings)? else { break };
            let mut known: Vec<(u64, String)> =
                counts.into_iter().zip(spellings).filter(|(count, _)| *count > 0).collect();
            known.sort_by(|(a, left), (b, right)| b.cmp(a).then_with(|| left.cmp(right)));
            known.truncate(RESPELLED_MAX);
            for (_, term) in known {
                if wanted.iter().all(|wanted| wanted.term != term) {
                    wanted.push(Wanted { term, weight: RESPELLED_WEIGHT });
                }
            }
        }
        Ok(wanted)
    }
}
