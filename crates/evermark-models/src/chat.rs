//! A language model behind any endpoint that speaks OpenAI's `/chat/completions`.
//!
//! One request is one system and one user message; the answer is text. Models differ in which parameters they take: one that
//! refuses `temperature`, or wants `max_completion_tokens`, says so, and is asked without, or with, from then on.

use crate::breaker::{BreakerSettings, Status};
use crate::endpoint::{Address, Endpoint, Read, class};
use crate::retry::{Gate, Pause, Waiting};
use evermark_core::chat::{ChatModel, ChatRequest};
use evermark_core::provider::{Figures, ProviderError};
use evermark_core::world::World;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of one answer: a model that thinks aloud writes some ten thousand tokens.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Where and how to ask.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// Address without `/chat/completions`.
    pub base_url: String,
    pub api_key: Option<String>,
    pub model: String,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Further attempts after the first, within a call's deadline.
    pub max_retries: u32,
    pub max_concurrent: usize,
    pub requests_per_minute: Option<u32>,
    pub breaker: BreakerSettings,
    /// The section of the configuration that says all this, for messages.
    pub section: &'static str,
}

impl Settings {
    /// Returns settings that suit most endpoints. An answer takes seconds, so one retry is as long as most will wait.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key: None,
            model: model.into(),
            timeout: Duration::from_secs(60),
            max_retries: 1,
            max_concurrent: 4,
            requests_per_minute: None,
            breaker: BreakerSettings::USUAL,
            section: "llm",
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("base_url", &self.base_url)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// A language model behind an endpoint.
pub struct OpenAiChat {
    endpoint: Endpoint,
    gate: Gate,
    /// Ends the waiting between attempts; `None` when the caller does that.
    waiting: Option<Arc<Waiting>>,
    /// Learned from refusals.
    no_temperature: AtomicBool,
    new_limit: AtomicBool,
    tokens_in: AtomicU64,
    tokens_out: AtomicU64,
}

impl OpenAiChat {
    /// Makes a client; nothing is sent yet.
    ///
    /// Errors: `Invalid` for an address that is none, an empty model name, or a key that does not fit into a header.
    pub fn new(settings: Settings, world: Arc<dyn World>) -> Result<Self, ProviderError> {
        let waiting = Arc::new(Waiting::new());
        let chat = Self::with_pause(settings, world, Arc::clone(&waiting) as Arc<dyn Pause>)?;
        Ok(Self { waiting: Some(waiting), ..chat })
    }

    /// Like [`Self::new`], with waiting that the caller replaces.
    pub fn with_pause(settings: Settings, world: Arc<dyn World>, pause: Arc<dyn Pause>) -> Result<Self, ProviderError> {
        let max_concurrent = settings.max_concurrent.max(1);
        let address = Address {
            section: settings.section,
            noun: "language model",
            base_url: settings.base_url,
            path: "/chat/completions".to_owned(),
            api_key: settings.api_key,
            model: settings.model,
            timeout: settings.timeout,
            max_retries: settings.max_retries,
            requests_per_minute: settings.requests_per_minute,
            connections_max: max_concurrent,
            answer_bytes_max: ANSWER_BYTES_MAX,
            breaker: settings.breaker,
        };
        Ok(Self {
            endpoint: Endpoint::new(address, world, pause)?,
            gate: Gate::new(max_concurrent),
            waiting: None,
            no_temperature: AtomicBool::new(false),
            new_limit: AtomicBool::new(false),
            tokens_in: AtomicU64::new(0),
            tokens_out: AtomicU64::new(0),
        })
    }

    /// Returns the figures of its breaker.
    pub fn status(&self) -> Status {
        self.endpoint.status()
    }

    fn body(&self, request: &ChatRequest) -> Vec<u8> {
        let mut body = json!({
            "model": self.endpoint.model,
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": request.user},
            ],
        });
        if !self.no_temperature.load(Ordering::Relaxed) {
            body["temperature"] = json!(request.temperature);
        }
        if let Some(most) = request.tokens_max {
            let name = if self.new_limit.load(Ordering::Relaxed) { "max_completion_tokens" } else { "max_tokens" };
            body[name] = json!(most);
        }
        body.to_string().into_bytes()
    }

    fn read(&self, bytes: &[u8]) -> Result<Read<String>, ProviderError> {
        let bad = |what: &str| self.endpoint.error(class::BAD_ANSWER, what);
        let answer: Value = serde_json::from_slice(bytes).map_err(|_| bad("answered no JSON"))?;
        let said = &answer["choices"][0]["message"]["content"];
        let text = match said {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => return Err(bad("answered without a message")),
        };
        for (name, counter) in [("prompt_tokens", &self.tokens_in), ("completion_tokens", &self.tokens_out)] {
            counter.fetch_add(answer["usage"][name].as_u64().unwrap_or(0), Ordering::Relaxed);
        }
        Ok(Read::whole(text, 1))
    }

    /// Tells whether a refusal was of a parameter that can be left out, or named otherwise.
    fn learned(&self, error: &ProviderError) -> bool {
        if error.class != class::BAD_REQUEST {
            return false;
        }
        let learn =
            |word: &str, known: &AtomicBool| error.message.contains(word) && !known.swap(true, Ordering::Relaxed);
        learn("max_tokens", &self.new_limit) || learn("temperature", &self.no_temperature)
    }
}

impl ChatModel for OpenAiChat {
    fn model(&self) -> &str {
        &self.endpoint.model
    }

    fn chat(&self, request: &ChatRequest, deadline: Duration) -> Result<String, ProviderError> {
        let until = self.endpoint.world.monotonic().saturating_add(deadline);
        loop {
            match self.endpoint.request(until, &self.gate, &self.body(request), |bytes| self.read(bytes)) {
                // Each thing is learned once, so this ends.
                Err(error) if self.learned(&error) => {}
                outcome => return outcome,
            }
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            tokens_in: self.tokens_in.load(Ordering::Relaxed),
            tokens_out: self.tokens_out.load(Ordering::Relaxed),
            ..self.endpoint.figures()
        }
    }

    fn close(&self) {
        if let Some(waiting) = &self.waiting {
            waiting.close();
        }
    }
}

#[cfg(test)]
mod tests;
