//! Embeddings from any endpoint that speaks OpenAI's `/embeddings`.
//!
//! A call's texts are cut into batches, sent by a bounded number of threads, and put back in order. Every text has its own
//! outcome: a refused one is found by halving its batch, a flawed vector costs only itself, and what was paid for before a
//! failure is returned. Flow of one request: breaker → rate → gate → HTTP → classify → breaker; around it the retries,
//! inside the caller's deadline. The guards are in `endpoint`, shared with the other providers.
//!
//! | class | cause | kind | tried again within the call |
//! |---|---|---|---|
//! | `unauthorized` | 401, 402, 403 | unavailable: mend the key or the account, nothing is wrong with the text | no |
//! | `not_found` | 404, 405, 410, 3xx | unavailable: wrong address or model name | no |
//! | `rate_limited` | 429, or our own limit | unavailable; carries `retry_after` | yes |
//! | `bad_request` | any other 4xx | invalid when the provider takes other texts, else unavailable | halved |
//! | `server_error` | 5xx, 425 | unavailable | yes |
//! | `timeout` | no answer in time, 408, the caller's deadline | unavailable | yes |
//! | `connect` | no connection, name, TLS; connection lost | unavailable | yes |
//! | `bad_answer` | not JSON, wrong count or order, bad base64 | unavailable | yes |
//! | `empty` | a vector without components, or only zeros | unavailable | once |
//! | `not_finite` | NaN or infinity in a vector | unavailable | once |
//! | `wrong_dimension` | vectors shorter than configured | unavailable: mend the configuration | no |
//! | `circuit_open` | the breaker is open; carries `retry_after` | unavailable | no |
//! | `blank` | a text without a visible character; never sent | invalid | no |
//! | `closing` | the program is ending | unavailable | no |
//! | `settings` | settings that cannot work | invalid, from [`OpenAiEmbedder::new`] only | no |
//!
//! So only `bad_request` with kind invalid and `blank` say something about a text; everything else may be retried for ever
//! without harm, and ends when the provider or the configuration is mended.

mod wire;

use crate::breaker::{BreakerSettings, Status};
use crate::endpoint::{Address, Endpoint, Read, cut, plain};
use crate::retry::{Gate, Pause, Waiting};
use evermark_core::embed::{EmbedError, Embedder, ModelId, Purpose};
use evermark_core::error::ErrorKind;
use evermark_core::world::World;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Characters of one text that are sent; the rest is cut off. Fits the 8,191 tokens of OpenAI's models in scripts that
/// take a token per character, and is far beyond where one vector still tells parts of a text apart.
pub const TEXT_CHARS_MAX: usize = 8_000;

/// A refused text longer than this is tried again at half its length: models with 512 tokens refuse instead of cutting.
const HALVED_CHARS_MIN: usize = 500;

/// Characters in one request: OpenAI takes at most 300,000 tokens.
const BATCH_CHARS_MAX: usize = 200_000;

/// Bytes of one answer: 2,048 vectors of 4,096 components in base64 are 45 MB.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A text that every model takes: tells a refused text from a refused configuration.
const CONTROL_TEXT: &str = "hello";

pub use crate::endpoint::class;

/// Where and how to ask.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// Address without `/embeddings`, as OpenAI's clients take it: `https://api.openai.com/v1`.
    pub base_url: String,
    pub api_key: Option<String>,
    pub model: String,
    /// Components kept of each vector. Longer vectors are cut to it and scaled to length 1; shorter ones are an error.
    pub dimension: usize,
    /// Sent as `dimensions`, for models that can shorten by themselves.
    pub send_dimensions: Option<usize>,
    /// Texts in one request. Halved by itself when the provider takes only fewer.
    pub batch_size: usize,
    /// Requests on their way at once: so many for passages, and as many again for queries, which wait for nobody's ingest.
    pub max_concurrent: usize,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Further attempts after the first.
    pub max_retries: u32,
    pub requests_per_minute: Option<u32>,
    pub breaker: BreakerSettings,
}

impl Settings {
    /// Returns settings that suit most endpoints: 64 texts a request, 4 requests at once (a local server on one machine
    /// answers them one after the other, within the 30 s), 3 retries.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>, dimension: usize) -> Self {
        Self {
            base_url: base_url.into(),
            api_key: None,
            model: model.into(),
            dimension,
            send_dimensions: None,
            batch_size: 64,
            max_concurrent: 4,
            timeout: Duration::from_secs(30),
            max_retries: 3,
            requests_per_minute: None,
            breaker: BreakerSettings::USUAL,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("base_url", &self.base_url)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("model", &self.model)
            .field("dimension", &self.dimension)
            .field("batch_size", &self.batch_size)
            .finish_non_exhaustive()
    }
}

/// An embedder behind an OpenAI-compatible endpoint.
pub struct OpenAiEmbedder {
    settings: Settings,
    model: ModelId,
    endpoint: Endpoint,
    passages: Gate,
    queries: Gate,
    /// Learned from refusals.
    batch_max: AtomicUsize,
    floats_only: AtomicBool,
}

/// One text on its way.
#[derive(Clone, Copy)]
struct Input<'a> {
    /// Its place among the caller's texts.
    place: usize,
    text: &'a str,
}

type Outcome = Result<Vec<f32>, EmbedError>;

/// What one call's requests share.
struct Call {
    until: Duration,
    purpose: Purpose,
    /// A request of this call succeeded: the provider takes our configuration.
    proved: AtomicBool,
    /// The outcome of the control text, asked for once per call.
    control: Mutex<Option<Result<(), EmbedError>>>,
}

impl OpenAiEmbedder {
    /// Makes an embedder; nothing is sent yet.
    ///
    /// Errors: [`ErrorKind::Invalid`] for an address that is none, an empty model name, a dimension of zero, or a key
    /// that does not fit into a header.
    pub fn new(settings: Settings, world: Arc<dyn World>) -> Result<Self, EmbedError> {
        Self::with_pause(settings, world, Arc::new(Waiting::new()))
    }

    /// Like [`Self::new`], with waiting that the caller can end ([`Waiting::close`]) or replace.
    pub fn with_pause(
        mut settings: Settings,
        world: Arc<dyn World>,
        pause: Arc<dyn Pause>,
    ) -> Result<Self, EmbedError> {
        if settings.dimension == 0 {
            let message = "the embedding dimension is zero".to_owned();
            return Err(plain(class::SETTINGS, ErrorKind::Invalid, message));
        }
        settings.batch_size = settings.batch_size.max(1);
        settings.max_concurrent = settings.max_concurrent.max(1);
        let address = Address {
            section: "embedding",
            noun: "embedding provider",
            base_url: settings.base_url.clone(),
            path: "/embeddings".to_owned(),
            api_key: settings.api_key.clone(),
            model: settings.model.clone(),
            timeout: settings.timeout,
            max_retries: settings.max_retries,
            requests_per_minute: settings.requests_per_minute,
            connections_max: 2 * settings.max_concurrent,
            answer_bytes_max: ANSWER_BYTES_MAX,
            breaker: settings.breaker,
        };
        Ok(Self {
            model: ModelId { name: settings.model.clone(), dimension: settings.dimension },
            endpoint: Endpoint::new(address, world, pause)?,
            passages: Gate::new(settings.max_concurrent),
            queries: Gate::new(settings.max_concurrent),
            batch_max: AtomicUsize::new(settings.batch_size),
            floats_only: AtomicBool::new(false),
            settings,
        })
    }

    /// Returns the host, for people.
    pub fn host(&self) -> &str {
        self.endpoint.host()
    }

    /// Returns the figures that health shows.
    pub fn status(&self) -> Status {
        self.endpoint.status()
    }

    fn error(&self, class: &'static str, detail: impl fmt::Display) -> EmbedError {
        self.endpoint.error(class, detail)
    }

    /// Cuts inputs into batches that the provider takes.
    fn batches<'a>(&self, inputs: &'a [Input<'a>]) -> Vec<&'a [Input<'a>]> {
        let texts_max = self.batch_max.load(Ordering::Relaxed).max(1);
        let mut batches = Vec::new();
        let (mut start, mut chars) = (0, 0);
        for (at, input) in inputs.iter().enumerate() {
            let more = input.text.chars().count();
            if at > start && (at - start >= texts_max || chars + more > BATCH_CHARS_MAX) {
                batches.push(&inputs[start..at]);
                (start, chars) = (at, 0);
            }
            chars += more;
        }
        if start < inputs.len() {
            batches.push(&inputs[start..]);
        }
        batches
    }

    /// Embeds all batches, several at once, and returns the outcomes with their places.
    fn run(&self, call: &Call, batches: &[&[Input<'_>]]) -> Vec<(usize, Outcome)> {
        let workers = self.settings.max_concurrent.min(batches.len());
        if workers <= 1 {
            return batches.iter().flat_map(|batch| self.solve(call, batch)).collect();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut outcomes = Vec::new();
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                outcomes.extend(self.solve(call, batch));
            }
            outcomes
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let mut outcomes = work();
            for thread in threads {
                // A thread that panicked leaves its places without an outcome; the caller fills them.
                outcomes.extend(thread.join().unwrap_or_default());
            }
            outcomes
        })
    }

    /// Embeds one batch; texts the provider refuses are singled out.
    fn solve(&self, call: &Call, inputs: &[Input<'_>]) -> Vec<(usize, Outcome)> {
        match self.request(call, inputs) {
            Ok(outcomes) => inputs.iter().map(|input| input.place).zip(outcomes).collect(),
            Err(error) if error.class == class::BAD_REQUEST => self.isolate(call, inputs, &error),
            Err(error) => inputs.iter().map(|input| (input.place, Err(error.clone()))).collect(),
        }
    }

    /// Finds out what of a refused batch is at fault.
    fn isolate(&self, call: &Call, inputs: &[Input<'_>], refusal: &EmbedError) -> Vec<(usize, Outcome)> {
        let floats_before = self.floats_only.load(Ordering::Relaxed);
        if let Err(error) = self.control(call, refusal) {
            return inputs.iter().map(|input| (input.place, Err(error.clone()))).collect();
        }
        if !floats_before && self.floats_only.load(Ordering::Relaxed) {
            return self.solve(call, inputs);
        }
        if let [Input { place, text }] = *inputs {
            let chars = text.chars().count();
            if chars > HALVED_CHARS_MIN {
                return self.solve(call, &[Input { place, text: cut(text, chars / 2) }]);
            }
            let error = EmbedError { kind: ErrorKind::Invalid, ..refusal.clone() };
            return vec![(place, Err(error))];
        }
        let (left, right) = inputs.split_at(inputs.len() / 2);
        let mut outcomes = self.solve(call, left);
        outcomes.extend(self.solve(call, right));
        if outcomes.iter().all(|(_, outcome)| outcome.is_ok()) {
            // No text was at fault, so the batch was too large.
            self.batch_max.fetch_min(right.len(), Ordering::Relaxed);
        }
        outcomes
    }

    /// Tells whether the provider takes anything at all; learns on the way whether it knows base64.
    fn control(&self, call: &Call, refusal: &EmbedError) -> Result<(), EmbedError> {
        if call.proved.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut control = call.control.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*control {
            return known.clone();
        }
        let ask = || self.request(call, &[Input { place: 0, text: CONTROL_TEXT }]);
        let mut outcome = ask();
        if outcome.as_ref().is_err_and(|error| error.class == class::BAD_REQUEST)
            && !self.floats_only.swap(true, Ordering::Relaxed)
        {
            outcome = ask();
            if outcome.is_err() {
                self.floats_only.store(false, Ordering::Relaxed);
            }
        }
        let known = match outcome {
            Ok(_) => Ok(()),
            Err(error) if error.class == class::BAD_REQUEST => Err(EmbedError {
                message: format!("{}; it refuses every text: check the model and its settings", refusal.message),
                ..error
            }),
            Err(error) => Err(error),
        };
        *control = Some(known.clone());
        known
    }

    /// Sends one batch until it is answered, the retries are used up, or the time is.
    fn request(&self, call: &Call, inputs: &[Input<'_>]) -> Result<Vec<Outcome>, EmbedError> {
        let mut outcomes: Vec<Option<Outcome>> = inputs.iter().map(|_| None).collect();
        let mut pending: Vec<usize> = (0..inputs.len()).collect();
        let mut last: Option<EmbedError> = None;
        let mut attempt = 0;
        loop {
            let texts: Vec<&str> = pending.iter().map(|&at| inputs[at].text).collect();
            let error = match self.exchange(call, &texts) {
                Ok(answered) => {
                    for (&at, outcome) in pending.iter().zip(answered) {
                        outcomes[at] = Some(outcome);
                    }
                    pending.retain(|&at| !matches!(outcomes[at], Some(Ok(_))));
                    match pending.first().map(|&at| &outcomes[at]) {
                        Some(Some(Err(error))) => error.clone(),
                        _ => break,
                    }
                }
                // What was wrong before the breaker opened tells more than that it did.
                Err(EmbedError { class: class::CIRCUIT_OPEN | class::CLOSING, retry_after, .. }) if last.is_some() => {
                    last = last.map(|last| EmbedError { retry_after, ..last });
                    break;
                }
                Err(error) => error,
            };
            let retries = self.endpoint.retries(error.class);
            let delay = self.endpoint.backoff(attempt, error.retry_after);
            last = Some(error);
            if attempt >= retries || self.endpoint.wait(call.until, delay).is_err() {
                break;
            }
            attempt += 1;
        }
        match last {
            Some(error) if pending.len() == inputs.len() => Err(error),
            last => {
                let unknown = || self.error(class::BAD_ANSWER, "no vector for this text");
                let error = last.unwrap_or_else(unknown);
                Ok(outcomes
                    .into_iter()
                    .map(|outcome| outcome.filter(Result::is_ok).unwrap_or_else(|| Err(error.clone())))
                    .collect())
            }
        }
    }

    /// Sends one request and reads its answer. The outer error concerns the request, the inner ones single vectors.
    fn exchange(&self, call: &Call, texts: &[&str]) -> Result<Vec<Outcome>, EmbedError> {
        let gate = match call.purpose {
            Purpose::Query => &self.queries,
            Purpose::Passage => &self.passages,
        };
        let format = if self.floats_only.load(Ordering::Relaxed) { "float" } else { "base64" };
        let body = wire::request(&self.model.name, texts, format, self.settings.send_dimensions);
        let read = self.endpoint.exchange(call.until, gate, body, |bytes| {
            let vectors = wire::vectors(bytes, texts.len()).map_err(|detail| self.error(class::BAD_ANSWER, detail))?;
            let value = vectors.into_iter().map(|vector| self.accept(vector)).collect::<Result<Vec<_>, _>>()?;
            let n_good = value.iter().filter(|outcome| outcome.is_ok()).count();
            let flaw = value.iter().find_map(|outcome| outcome.as_ref().err()).cloned();
            Ok(Read { value, n_good, flaw })
        })?;
        if read.n_good > 0 {
            call.proved.store(true, Ordering::Relaxed);
        }
        Ok(read.value)
    }

    /// Checks one vector and cuts it to our dimension.
    fn accept(&self, mut vector: Vec<f32>) -> Result<Outcome, EmbedError> {
        let (found, wanted) = (vector.len(), self.model.dimension);
        if found == 0 {
            return Ok(Err(self.error(class::EMPTY, "answered a vector without components")));
        }
        if found < wanted {
            let hint = "set embedding.dimension to what the model makes";
            let detail = format!("answered {found} components, {wanted} are configured; {hint}");
            return Err(self.error(class::WRONG_DIMENSION, detail));
        }
        vector.truncate(wanted);
        if vector.iter().any(|value| !value.is_finite()) {
            return Ok(Err(self.error(class::NOT_FINITE, "answered a vector with NaN or infinity")));
        }
        let length = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
        if length == 0.0 {
            return Ok(Err(self.error(class::EMPTY, "answered a vector of zeros")));
        }
        if found > wanted {
            // Cosine does not care, and what compares by dot product may rely on it.
            vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
        }
        Ok(Ok(vector))
    }
}

impl Embedder for OpenAiEmbedder {
    fn model(&self) -> &ModelId {
        &self.model
    }

    fn embed(&self, texts: &[String], purpose: Purpose, deadline: Duration) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.embed_each(texts, purpose, deadline).into_iter().collect()
    }

    fn embed_each(&self, texts: &[String], purpose: Purpose, deadline: Duration) -> Vec<Result<Vec<f32>, EmbedError>> {
        let call = Call {
            until: self.endpoint.world.monotonic().saturating_add(deadline),
            purpose,
            proved: AtomicBool::new(false),
            control: Mutex::new(None),
        };
        let inputs: Vec<Input<'_>> = texts
            .iter()
            .enumerate()
            .filter(|(_, text)| !text.trim().is_empty())
            .map(|(place, text)| Input { place, text: cut(text, TEXT_CHARS_MAX) })
            .collect();
        let mut outcomes: Vec<Option<Outcome>> = texts.iter().map(|_| None).collect();
        for (place, outcome) in self.run(&call, &self.batches(&inputs)) {
            outcomes[place] = Some(outcome);
        }
        outcomes
            .into_iter()
            .zip(texts)
            .map(|(outcome, text)| match outcome {
                Some(outcome) => outcome,
                None if text.trim().is_empty() => {
                    Err(plain(class::BLANK, ErrorKind::Invalid, "a blank text has no meaning to embed".to_owned()))
                }
                None => Err(plain("panic", ErrorKind::Internal, "embedding this text panicked".to_owned())),
            })
            .collect()
    }

    fn is_costly(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
