//! Questions asked by searching.

use super::dataset::{Haystack, Question};
use super::load::Loaded;
use super::{ranking, score};
use crate::clock;
use anyhow::bail;
use evermark_core::id::Owner;
use evermark_core::ranking::Stages;
use evermark_engine::Engine;
use evermark_engine::search::{Method, SearchRequest};
use evermark_server::api::{MethodName, SearchBody};
use std::time::Duration;

/// A way to search that is measured.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) method: MethodName,
    /// Parts of the ranking at work.
    pub(super) stages: Stages,
}

impl Variant {
    pub(super) fn new(method: MethodName) -> Self {
        Self { name: Method::from(method).name().to_owned(), method, stages: Stages::ALL }
    }

    /// Returns `hybrid` with its parts put to work one after the other.
    pub(super) fn ablation(has_model: bool) -> Vec<Self> {
        let words = Stages { meaning: false, ..Stages::OWN };
        let meaning = Stages { words: false, ..Stages::OWN };
        let own = Stages::OWN;
        let neighbours = Stages { neighbours: true, ..own };
        let siblings = Stages { siblings: true, ..neighbours };
        let steps = [
            ("words of facts", words, false),
            ("meaning of facts", meaning, true),
            ("words + meaning", own, true),
            ("+ neighbours", neighbours, false),
            ("+ siblings", siblings, false),
            ("+ episode", Stages::ALL, false),
        ];
        let steps = steps.into_iter().filter(|(_, _, needs_model)| has_model || !needs_model);
        steps.map(|(name, stages, _)| Self { name: name.to_owned(), method: MethodName::Hybrid, stages }).collect()
    }

    /// Returns what is asked.
    fn request(&self, owner: &Owner, question: &Question, top_k: u8) -> SearchRequest {
        let body = SearchBody {
            user_id: Some(owner.id.clone()),
            app_id: owner.scope.app.clone(),
            project_id: owner.scope.project.clone(),
            query: question.text.clone(),
            method: Some(self.method),
            top_k: top_k.into(),
            ..SearchBody::default()
        };
        SearchRequest { stages: self.stages, ..body.into() }
    }
}

/// What came of a question.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Where each message that answers it was ranked, from 0; `None`: nowhere.
    pub(super) places: Vec<Option<usize>>,
    pub(super) n_ranked: usize,
    pub(super) took: Duration,
    /// Whether something was left out, such as vectors.
    pub(super) is_degraded: bool,
}

/// Asks all of a haystack's questions.
pub(super) fn ask(
    engine: &Engine,
    haystack: &Haystack,
    loaded: &Loaded,
    variant: &Variant,
    top_k: u8,
) -> anyhow::Result<Vec<Asked>> {
    // Not counted: the first search of a user builds what is kept in memory for that user.
    if let Some(first) = haystack.questions.first() {
        engine.search(variant.request(&loaded.owner, first, top_k))?;
    }
    let one = |question: &Question| {
        let request = variant.request(&loaded.owner, question, top_k);
        let started = clock::now();
        let answer = engine.search(request)?;
        let took = started.elapsed();
        let mut ranked = Vec::new();
        for id in ranking::messages(&answer) {
            let Some(doc) = loaded.docs.get(id) else {
                bail!("a memory of haystack `{}` names the message `{id}`, which was not sent", haystack.name)
            };
            ranked.push(*doc);
        }
        Ok(Asked {
            places: score::places(&question.gold, &ranked),
            n_ranked: ranked.len(),
            took,
            is_degraded: !answer.degraded.is_empty(),
        })
    };
    haystack.questions.iter().map(one).collect()
}
