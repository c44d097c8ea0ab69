//! Who reads memories on request: a reranker and a language model. No loop asks them and no search does by itself: only the
//! methods and flags that are made of them.

use crate::status::Judge;
use evermark_core::chat::ChatModel;
use evermark_core::provider::Figures;
use evermark_core::rerank::Reranker;
use std::sync::Arc;
use std::time::Duration;

/// The judges of a root; none unless they are configured.
#[derive(Clone, Default)]
pub struct Judges {
    pub reranker: Option<Arc<dyn Reranker>>,
    pub llm: Option<Arc<dyn ChatModel>>,
    /// Who decides between the rounds of `llm_multiround`; `None`: the language model.
    pub decider: Option<Arc<dyn ChatModel>>,
}

impl Judges {
    pub(crate) fn decider(&self) -> Option<&Arc<dyn ChatModel>> {
        self.decider.as_ref().or(self.llm.as_ref())
    }

    /// Ends all waiting between attempts.
    pub(crate) fn close(&self) {
        self.reranker.iter().for_each(|reranker| reranker.close());
        self.llm.iter().chain(&self.decider).for_each(|llm| llm.close());
    }

    pub(crate) fn rerank_status(&self) -> Judge {
        let reranker = self.reranker.as_ref();
        reranker.map_or_else(Judge::none, |reranker| Judge::of(reranker.model(), reranker.figures()))
    }

    /// Returns how the language models do, their figures added up.
    pub(crate) fn llm_status(&self) -> Judge {
        let models = self.llm.iter().chain(&self.decider);
        let status = models.map(|llm| Judge::of(llm.model(), llm.figures())).reduce(|one, other| Judge {
            model: one.model,
            state: if one.state == "closed" { other.state } else { one.state },
            calls: one.calls + other.calls,
            failures: one.failures + other.failures,
            items: one.items + other.items,
            tokens_in: one.tokens_in + other.tokens_in,
            tokens_out: one.tokens_out + other.tokens_out,
            last_error: one.last_error.or(other.last_error),
        });
        status.unwrap_or_else(Judge::none)
    }
}

impl Judge {
    fn none() -> Self {
        Self { state: "none".to_owned(), ..Self::default() }
    }

    fn of(model: &str, figures: Figures) -> Self {
        Self {
            model: Some(model.to_owned()),
            state: figures.state.to_owned(),
            calls: figures.calls,
            failures: figures.failures,
            items: figures.items,
            tokens_in: figures.tokens_in,
            tokens_out: figures.tokens_out,
            last_error: figures.last_error,
        }
    }
}

/// Bounds of searches that ask judges.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeSettings {
    /// How long such a search goes on asking when the request names no deadline. One answer is bounded by who gives it.
    pub limit: Duration,
    pub decider: DeciderSettings,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self {
            // Below the minute after which a request is answered for good.
            limit: Duration::from_secs(45),
            decider: DeciderSettings::default(),
        }
    }
}

/// How `llm_multiround` goes; the names and values are EverOS's.
#[derive(Clone, Debug, PartialEq)]
pub struct DeciderSettings {
    /// Rounds, the first one included.
    pub max_rounds: usize,
    /// Memories that the question itself brings, and each further question.
    pub seed_topk: usize,
    pub subq_topk: usize,
    /// Further questions of one round.
    pub max_subqueries: usize,
    /// Rounds without a new memory among the core, after which it ends.
    pub no_new_core_patience: usize,
    /// Best memories of each question that are returned whatever was decided.
    pub per_subquery_guarantee: usize,
    /// Further attempts when the decision cannot be understood.
    pub retries: u32,
    /// Return the whole core, even beyond `top_k`.
    pub core_overflow: bool,
    /// Show memories in full (bounded) instead of their beginnings.
    pub full_text: bool,
    /// Memories taken for the core when nothing could be decided.
    pub fallback_core: usize,
    pub max_tokens: u32,
    /// Longest wait for one decision, the attempts of the connection included.
    pub timeout: Duration,
}

impl Default for DeciderSettings {
    fn default() -> Self {
        Self {
            max_rounds: 3,
            seed_topk: 50,
            subq_topk: 20,
            max_subqueries: 3,
            no_new_core_patience: 1,
            per_subquery_guarantee: 1,
            retries: 3,
            core_overflow: false,
            full_text: false,
            fallback_core: 3,
            max_tokens: 512,
            timeout: Duration::from_secs(60),
        }
    }
}
