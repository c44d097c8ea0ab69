//! What must be true: always, and at rest.
//!
//! Always, looked at after every call (bytes at every point passed): the index's bytes are within their bound, no byte of
//! anybody's Markdown was changed, descriptors are few, no text was paid for twice. At rest: every memory in a file
//! is found exactly once, nothing else is found, what was acknowledged is written down, health has nothing to say, and what is on
//! the disk is what is needed.

use super::disk;
use super::harness::{Outcome, Run, keys};
use super::model::{AGENT, SCOPE, USERS};
use super::subject::{Subject, Trouble};
use evermark_core::filter::Filter;
use evermark_core::id::{Kind, MemoryKey, Owner, Scope, Track};
use evermark_core::index::{Ask, Index};
use evermark_core::text;
use std::collections::{BTreeMap, BTreeSet};

const KINDS: [Kind; 3] = [Kind::Episode, Kind::AtomicFact, Kind::AgentCase];

/// The bounds of a run: the engine's own, with constants small enough to bite on a few rows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At every instant: index bytes ≤ `live_percent` of live bytes + `slack_bytes`.
    pub live_percent: u64,
    pub slack_bytes: u64,
    /// The same at rest.
    pub rest_live_percent: u64,
    pub rest_slack_bytes: u64,
    pub rest_versions: u64,
    pub descriptors: usize,
}

impl<S: Subject> Run<S> {
    /// Checks what must be true after every call.
    pub(super) fn look(&mut self, name: &str) -> Result<(), String> {
        let disk = self.markdown()?;
        if !self.is_away() {
            self.model.observe(disk).map_err(|what| format!("{name}: {what}"))?;
        }
        let (sent, twice) = self.provider.settle();
        self.report.texts_sent = sent;
        if !twice.is_empty() {
            return Err(format!("{name}: paid for twice: {twice:?}"));
        }
        let before = self.live_bytes;
        if let Some(info) = self.subject.index().and_then(|index| index.info().ok()) {
            self.live_bytes = info.live_bytes;
        }
        let live = before.max(self.live_bytes);
        let peak = self.world.take_peak().max(disk::index_bytes(&self.root));
        let share = live * self.limits.live_percent / 100;
        self.report.slack_bytes = self.report.slack_bytes.max(peak.saturating_sub(share));
        if peak > share + self.limits.slack_bytes {
            return Err(format!(
                "{name}: the index had {peak} bytes, {live} of them live: the bound is {share} + {}",
                self.limits.slack_bytes
            ));
        }
        let (open, _) = disk::descriptors(&self.root);
        self.report.descriptors = self.report.descriptors.max(open);
        if open > self.limits.descriptors {
            return Err(format!("{name}: {open} descriptors are open, and {} may be", self.limits.descriptors));
        }
        Ok(())
    }

    /// Checks what must be true when nothing is left to do.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.model.keep_promises()?;
        let expected = self.model.expected()?;
        let Some(index) = self.subject.index() else { return Err("there is no index".to_owned()) };

        let wanted: Vec<(MemoryKey, String)> =
            expected.iter().map(|(key, memory)| (key.clone(), memory.path.clone())).collect();
        let rows = self.done("scan", |_| keys(index.as_ref(), &mut || {}))?;
        if rows != wanted {
            return Err(differences(&wanted, &rows));
        }
        let differences = self.done("verify", S::verify)?;
        if !differences.is_empty() {
            return Err(format!("verify finds {differences:?}"));
        }
        let found = self.done("find", |_| find_all(index.as_ref()).map_err(Trouble::of))?;
        for word in &self.model.words {
            let holders: BTreeSet<&MemoryKey> =
                expected.iter().filter(|(_, memory)| memory.words.contains(word)).map(|(key, _)| key).collect();
            let terms = text::terms(word);
            for (owner, kind) in owners_and_kinds() {
                let hits = ask(index.as_ref(), &owner, kind, &terms).map_err(|error| error.to_string())?;
                let right: Vec<&str> = holders
                    .iter()
                    .filter(|key| key.owner == owner && key.kind == kind)
                    .map(|key| key.id.as_str())
                    .collect();
                if hits != right {
                    return Err(format!(
                        "{word} of {}'s {kind} is found in {hits:?}, and stands in {right:?}",
                        owner.id
                    ));
                }
            }
        }
        for (owner, kind) in owners_and_kinds() {
            let here = expected.keys().filter(|key| key.owner == owner && key.kind == kind).count();
            let with_vectors = found.get(&(owner.clone(), kind)).copied().unwrap_or(0);
            if here != with_vectors {
                return Err(format!("{with_vectors} of {here} of {}'s {kind}s are found by meaning", owner.id));
            }
        }
        for (key, memory) in expected.iter().filter(|(key, _)| key.kind == Kind::Episode) {
            let Some(word) = memory.words.first() else { continue };
            let hits = self.done("search", |subject| subject.search(&key.owner, word))?;
            if hits.iter().filter(|id| **id == key.id).count() != 1 {
                return Err(format!("a search for {word} finds {hits:?}, not {} once", key.id));
            }
        }
        self.check_disk(index.as_ref())?;
        let health = self.done("health", S::health)?;
        if !health.is_ok {
            return Err(format!("all trouble is over, and health still says {:?}", health.reasons));
        }
        self.report.rows = rows.len();
        self.note(format!("{} rows at rest, {} words", rows.len(), self.model.words.len()));
        Ok(())
    }

    /// Checks that the disk holds what is needed, and the process holds nothing that is gone.
    fn check_disk(&mut self, index: &dyn Index) -> Result<(), String> {
        self.done("upkeep", |_| index.upkeep().map_err(Trouble::of))?;
        let info = self.done("info", |_| index.info().map_err(Trouble::of))?;
        let bytes = disk::index_bytes(&self.root);
        let bound = info.live_bytes * self.limits.rest_live_percent / 100 + self.limits.rest_slack_bytes;
        if bytes > bound {
            return Err(format!(
                "at rest the index has {bytes} bytes, {} of them live: {bound} may be",
                info.live_bytes
            ));
        }
        if info.versions > self.limits.rest_versions {
            return Err(format!("at rest there are {} versions", info.versions));
        }
        let (_, gone) = disk::descriptors(&self.root.join(".index"));
        if !gone.is_empty() {
            return Err(format!("files that are gone are still open: {gone:?}"));
        }
        let is_left_over = |rel: &str| {
            let name = rel.rsplit('/').next().unwrap_or(rel);
            name.starts_with('.') && (name.contains(".tmp.") || name.contains(".swap."))
        };
        let left = disk::listing(&self.root, &self.root.join(SCOPE), &is_left_over);
        // What cannot be removed while the disk fails is removed by the next process.
        if self.is_fresh && !left.is_empty() {
            return Err(format!("files are left over: {:?}", left.keys()));
        }
        let generations = std::fs::read_dir(self.root.join(".index/evermark"))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("gen-"))
            .count();
        if generations != 1 {
            return Err(format!("there are {generations} generations"));
        }
        Ok(())
    }

    /// Calls the subject where nothing may go wrong.
    fn done<T>(&mut self, name: &str, act: impl FnOnce(&mut S) -> Result<T, Trouble>) -> Result<T, String> {
        match self.call(name, act)? {
            Outcome::Done(done) => Ok(done),
            Outcome::Failed(trouble) => Err(format!("{name} fails at rest: {}", trouble.message)),
            Outcome::Killed => Err(format!("{name} was killed at rest")),
        }
    }
}

fn owners_and_kinds() -> Vec<(Owner, Kind)> {
    let users = USERS.iter().map(|user| Owner::user(Scope::default(), *user));
    let owners = users.chain([Owner::agent(Scope::default(), AGENT)]);
    let fits = |owner: &Owner, kind: Kind| (owner.track == Track::Agent) == (kind == Kind::AgentCase);
    owners
        .flat_map(|owner| KINDS.map(|kind| (owner.clone(), kind)))
        .filter(|(owner, kind)| fits(owner, *kind))
        .collect()
}

fn ask(
    index: &dyn Index,
    owner: &Owner,
    kind: Kind,
    terms: &[String],
) -> Result<Vec<String>, evermark_core::index::IndexError> {
    let filter = Filter::everything();
    let ask = Ask { owner, kind, filter: &filter, parents: None, ids: None, deprecated: false, limit: usize::MAX };
    Ok(index.matching(&ask, terms)?.into_iter().map(|hit| hit.id).collect())
}

/// Counts the rows of every owner and kind that have a vector.
fn find_all(index: &dyn Index) -> Result<BTreeMap<(Owner, Kind), usize>, evermark_core::index::IndexError> {
    let filter = Filter::everything();
    let dimension = index.info()?.dimension.unwrap_or(0);
    let anywhere = vec![1.0; dimension];
    let mut found = BTreeMap::new();
    for (owner, kind) in owners_and_kinds() {
        let ask = Ask {
            owner: &owner,
            kind,
            filter: &filter,
            parents: None,
            ids: None,
            deprecated: false,
            limit: usize::MAX,
        };
        let n = index.nearest(&ask, &anywhere)?.len();
        found.insert((owner, kind), n);
    }
    Ok(found)
}

fn differences(wanted: &[(MemoryKey, String)], rows: &[(MemoryKey, String)]) -> String {
    let name = |(key, path): &(MemoryKey, String)| format!("{} {} ({path})", key.kind, key.id);
    let missing: Vec<String> = wanted.iter().filter(|row| !rows.contains(row)).map(name).collect();
    let extra: Vec<String> = rows.iter().filter(|row| !wanted.contains(row)).map(name).collect();
    let twice: Vec<String> = rows.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| name(&pair[0])).collect();
    format!("at rest the index lacks {missing:?}, has {extra:?} that no file holds, and twice {twice:?}")
}
