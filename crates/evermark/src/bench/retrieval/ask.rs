//! Questions asked by searching.

use super::dataset::{Haystack, Question};
use super::load::Loaded;
use super::{ranking, score};
use crate::clock;
use anyhow::bail;
use evermark_core::id::Owner;
use evermark_engine::Engine;
use evermark_engine::search::{Method, SearchRequest};
use evermark_server::api::{MethodName, SearchBody};
use std::time::Duration;

/// A way to search that is measured.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) method: MethodName,
}

impl Variant {
    pub(super) fn new(method: MethodName) -> Self {
        Self { name: Method::from(method).name().to_owned(), method }
    }

    /// Returns what is asked. A stage that is to be left out, to see what it is worth, is told to the request here, and nowhere
    /// else; a variant without it needs a name of its own.
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
        body.into()
    }
}

/// What came of a question.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Where each message that answers it was ranked, from 0; `None`: nowhere.
    pub(super) places: Vec<Option<usize>>,
    pub(super) n_ranked: usize,
    pub(super) took: Duration,
    /// Whether it was answered by another method than the one that was asked for.
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
            is_degraded: answer.method != Some(variant.method.into()),
        })
    };
    haystack.questions.iter().map(one).collect()
}
