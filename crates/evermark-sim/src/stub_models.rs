//! A stand-in for providers that are asked on request: a language model (`/chat/completions`) and a reranker, in all of its
//! dialects, on one socket of this machine.
//!
//! Unless told otherwise the reranker scores a document by the share of the question's words that it holds, and the language
//! model says that nothing is missing. Every request is kept for the test to look at.

use crate::stub_http::{Asked, Reply, Site, StubHttp};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a language model does with one question.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Writes this.
    Text(String),
    /// Does not get that far.
    Reply(Reply),
}

impl Said {
    /// Returns an answer that is this object, and nothing else.
    pub fn json(value: &Value) -> Self {
        Self::Text(value.to_string())
    }
}

type Speaker = Box<dyn Fn(&Value) -> Said + Send>;

#[derive(Default)]
struct Script {
    said: VecDeque<Said>,
    speaker: Option<Speaker>,
    reranked: VecDeque<Reply>,
    always_reranked: Option<Reply>,
    logits: bool,
    chats: Vec<Asked>,
    reranks: Vec<Asked>,
}

#[derive(Default)]
struct Models {
    script: Mutex<Script>,
}

impl Models {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site for Models {
    fn reply(&self, asked: &Asked) -> Reply {
        let mut script = self.script();
        if asked.path.contains("/chat/completions") {
            script.chats.push(asked.clone());
            let said = match (script.said.pop_front(), &script.speaker) {
                (Some(said), _) => said,
                (None, Some(speaker)) => speaker(&asked.body),
                (None, None) => {
                    Said::json(&json!({"is_sufficient": true, "reasoning": "", "core": [], "next_queries": []}))
                }
            };
            return match said {
                Said::Reply(reply) => reply,
                Said::Text(text) => Reply::good(
                    json!({
                        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}],
                        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
                    })
                    .to_string(),
                ),
            };
        }
        script.reranks.push(asked.clone());
        if let Some(reply) = script.reranked.pop_front().or_else(|| script.always_reranked.clone()) {
            return reply;
        }
        Reply::good(scored(&asked.body, script.logits).to_string())
    }
}

/// A running stub; ends when dropped.
pub struct StubModels {
    models: Arc<Models>,
    http: StubHttp,
}

impl StubModels {
    /// Starts both on a free port of the loopback interface.
    pub fn start() -> Self {
        let models = Arc::<Models>::default();
        let http = StubHttp::start(Arc::clone(&models) as Arc<dyn Site>);
        Self { models, http }
    }

    /// Returns the address to configure as `base_url` of either.
    pub fn base_url(&self) -> String {
        self.http.base_url()
    }

    /// Answers the next questions to the language model with these, in order.
    pub fn say(&self, said: impl IntoIterator<Item = Said>) {
        self.models.script().said.extend(said);
    }

    /// Answers what [`Self::say`] does not cover by looking at the request's body.
    pub fn say_by(&self, speaker: impl Fn(&Value) -> Said + Send + 'static) {
        self.models.script().speaker = Some(Box::new(speaker));
    }

    /// Answers the next requests to the reranker with these, in order; what follows is scored.
    pub fn rerank(&self, replies: impl IntoIterator<Item = Reply>) {
        self.models.script().reranked.extend(replies);
    }

    /// Answers every request to the reranker with this; `None` scores.
    pub fn always_rerank(&self, reply: Option<Reply>) {
        self.models.script().always_reranked = reply;
    }

    /// Has the reranker send logits instead of chances.
    pub fn send_logits(&self) {
        self.models.script().logits = true;
    }

    /// Returns every question to the language model so far, in order of arrival.
    pub fn chats(&self) -> Vec<Asked> {
        self.models.script().chats.clone()
    }

    /// Returns every request to the reranker so far, in order of arrival.
    pub fn reranks(&self) -> Vec<Asked> {
        self.models.script().reranks.clone()
    }

    /// Returns the largest number of requests that were in work at once.
    pub fn busiest(&self) -> usize {
        self.http.busiest()
    }
}

/// Returns the stub's score: the share of the question's words that the document holds.
pub fn stub_score(query: &str, document: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        let lower = text.to_lowercase();
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let (asked, held) = (words(query), words(document));
    let n_held = asked.iter().filter(|word| held.contains(word)).count();
    n_held as f64 / asked.len().max(1) as f64
}

/// Returns a reranker's answer in the words of who asks. Results come best first, as they do from real ones.
fn scored(body: &Value, logits: bool) -> Value {
    let texts = |value: &Value| -> Vec<String> {
        let texts = value.as_array().cloned().unwrap_or_default();
        texts.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
    };
    let score = |query: &str, document: &str| {
        let score = stub_score(query, document);
        if logits { (score.clamp(0.001, 0.999) / (1.0 - score.clamp(0.001, 0.999))).ln() } else { score }
    };
    if body["queries"].is_array() {
        let query = texts(&body["queries"]).concat();
        let scores: Vec<f64> = texts(&body["documents"]).iter().map(|text| score(&query, text)).collect();
        return json!({ "scores": scores });
    }
    let is_dashscope = body["input"].is_object();
    let input = if is_dashscope { &body["input"] } else { body };
    let query = input["query"].as_str().unwrap_or_default();
    let mut results: Vec<(usize, f64)> =
        texts(&input["documents"]).iter().map(|text| score(query, text)).enumerate().collect();
    results.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let results: Vec<Value> =
        results.into_iter().map(|(index, score)| json!({"index": index, "relevance_score": score})).collect();
    if is_dashscope { json!({"output": {"results": results}}) } else { json!({ "results": results }) }
}
