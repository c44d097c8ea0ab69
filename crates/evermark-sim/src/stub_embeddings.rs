//! A stand-in for an OpenAI-compatible embedding provider, on a real socket of this machine.
//!
//! Vectors follow the rule `stub-hash-1024` that wrote the fixture root `everos-root-1.5.1`, so that an adopted fixture
//! can be searched by meaning; [`stub_vector`] is that rule. Answers can be scripted one by one ([`Answer`]), and every
//! request is kept for the test to look at.

mod md5;

use crate::stub_http::{Asked, Reply, Site, StubHttp};
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How one request is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Right vectors, base64 when the request asks for it.
    Good,
    /// Right vectors as arrays of numbers, whatever was asked for.
    Floats,
    /// Right vectors with `index` set, items in reverse order.
    Shuffled,
    /// Right vectors, after a while.
    Slow(Duration),
    /// Vectors of this many components: the rule's, cut or padded with a small number.
    Dimension(usize),
    /// The item at this position has no components.
    EmptyVector(usize),
    /// The item at this position has only zeros.
    ZeroVector(usize),
    /// The item at this position holds a NaN, in base64.
    NotFinite(usize),
    /// The first item is an array with the literal `NaN`, as Python's encoder writes it.
    NanLiteral,
    /// One item fewer than texts.
    TooFew,
    /// Two items with the index 0.
    SameIndex,
    /// Text in place of base64.
    BadBase64,
    /// A web page with status 200.
    Garbage,
    /// A status with a body and headers.
    Status(u16, String, Vec<(String, String)>),
    /// Nothing is answered until the client leaves or the stub ends.
    Hang,
    /// Headers and half of the body, then nothing until the client leaves or the stub ends.
    HangInBody,
    /// The connection is closed without an answer.
    Drop,
    /// The connection is closed in the middle of the body.
    DropInBody,
}

impl Answer {
    /// Returns an error answer in OpenAI's form.
    pub fn status(code: u16, message: &str) -> Self {
        Self::Status(code, json!({"error": {"message": message}}).to_string(), Vec::new())
    }

    /// Returns a 429 that names a time to wait: seconds or an HTTP date.
    pub fn rate_limited(retry_after: &str) -> Self {
        let body = json!({"error": {"message": "too many requests"}}).to_string();
        Self::Status(429, body, vec![("Retry-After".to_owned(), retry_after.to_owned())])
    }
}

/// One request as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub path: String,
    /// Header names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Value,
    pub texts: Vec<String>,
}

#[derive(Default)]
struct Script {
    answers: VecDeque<Answer>,
    rest: Option<Answer>,
    refused: Vec<String>,
    batch_max: Option<usize>,
    chars_max: Option<usize>,
    floats_only: bool,
    requests: Vec<Request>,
}

struct Provider {
    dimension: usize,
    script: Mutex<Script>,
}

impl Provider {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site for Provider {
    fn reply(&self, asked: &Asked) -> Reply {
        let texts = match &asked.body["input"] {
            Value::String(text) => vec![text.clone()],
            Value::Array(items) => items.iter().map(|item| item.as_str().unwrap_or_default().to_owned()).collect(),
            _ => Vec::new(),
        };
        let Asked { path, headers, body } = asked.clone();
        let request = Request { path, headers, body, texts };
        let answer = {
            let mut script = self.script();
            let answer = script.choose(&request);
            script.requests.push(request.clone());
            answer
        };
        let body = || body_of(self.dimension, &request, &answer).to_string();
        match &answer {
            Answer::Hang => Reply::Hang,
            Answer::Drop => Reply::Drop,
            Answer::HangInBody => Reply::HangInBody(body()),
            Answer::DropInBody => Reply::DropInBody(body()),
            Answer::Slow(delay) => Reply::Slow(*delay, body()),
            Answer::Garbage => Reply::good("<html><body>It works!</body></html>"),
            Answer::Status(code, body, headers) => Reply::Send(*code, headers.clone(), body.clone()),
            // The encoder here cannot write the bare word that Python's writes.
            Answer::NanLiteral => Reply::good(body().replacen("\"NaN\"", "NaN", 1)),
            Answer::Good
            | Answer::Floats
            | Answer::Shuffled
            | Answer::Dimension(_)
            | Answer::EmptyVector(_)
            | Answer::ZeroVector(_)
            | Answer::NotFinite(_)
            | Answer::TooFew
            | Answer::SameIndex
            | Answer::BadBase64 => Reply::good(body()),
        }
    }
}

/// A running stub; ends when dropped.
pub struct StubEmbeddings {
    provider: Arc<Provider>,
    http: StubHttp,
}

impl StubEmbeddings {
    /// Starts a provider of vectors with `dimension` components on a free port of the loopback interface.
    pub fn start(dimension: usize) -> Self {
        let provider = Arc::new(Provider { dimension, script: Mutex::default() });
        let http = StubHttp::start(Arc::clone(&provider) as Arc<dyn Site>);
        Self { provider, http }
    }

    /// Returns the address to configure as `base_url`.
    pub fn base_url(&self) -> String {
        self.http.base_url()
    }

    /// Answers the next requests with these, in order; what follows is answered well.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.provider.script().answers.extend(answers);
    }

    /// Answers every request that the script does not cover with this; `None` is [`Answer::Good`].
    pub fn always(&self, answer: Option<Answer>) {
        self.provider.script().rest = answer;
    }

    /// Refuses requests (400) in which a text contains `part`.
    pub fn refuse_texts_with(&self, part: &str) {
        self.provider.script().refused.push(part.to_owned());
    }

    /// Refuses requests (422) with more texts than this.
    pub fn refuse_batches_over(&self, texts_max: usize) {
        self.provider.script().batch_max = Some(texts_max);
    }

    /// Refuses requests (413) with a text of more characters than this.
    pub fn refuse_texts_over(&self, chars_max: usize) {
        self.provider.script().chars_max = Some(chars_max);
    }

    /// Refuses requests (400) that ask for base64.
    pub fn refuse_base64(&self) {
        self.provider.script().floats_only = true;
    }

    /// Returns how many requests came in.
    pub fn calls(&self) -> usize {
        self.provider.script().requests.len()
    }

    /// Returns how many texts came in, over all requests.
    pub fn texts(&self) -> usize {
        self.provider.script().requests.iter().map(|request| request.texts.len()).sum()
    }

    /// Returns every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.provider.script().requests.clone()
    }

    /// Returns the largest number of requests that were in work at once.
    pub fn busiest(&self) -> usize {
        self.http.busiest()
    }

    /// Forgets the requests seen so far; the script stays.
    pub fn forget(&self) {
        self.provider.script().requests.clear();
        self.http.forget();
    }
}

impl Script {
    fn choose(&mut self, request: &Request) -> Answer {
        if let Some(answer) = self.answers.pop_front() {
            return answer;
        }
        if self.floats_only && request.body["encoding_format"] == "base64" {
            return Answer::status(400, "unsupported encoding_format");
        }
        if self.batch_max.is_some_and(|most| request.texts.len() > most) {
            return Answer::status(422, "batch is too large");
        }
        if self.chars_max.is_some_and(|most| request.texts.iter().any(|text| text.chars().count() > most)) {
            return Answer::status(413, "input is too long");
        }
        if request.texts.iter().any(|text| self.refused.iter().any(|part| text.contains(part.as_str()))) {
            return Answer::status(400, "input is not acceptable");
        }
        self.rest.clone().unwrap_or(Answer::Good)
    }
}

fn body_of(dimension: usize, request: &Request, answer: &Answer) -> Value {
    let base64 = request.body["encoding_format"] == "base64" && !matches!(answer, Answer::Floats | Answer::NanLiteral);
    let width = match answer {
        Answer::Dimension(width) => *width,
        _ => request.body["dimensions"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(dimension),
    };
    let mut items: Vec<Value> = request
        .texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let mut vector = stub_vector(text, dimension);
            vector.resize(width, 0.001);
            match answer {
                Answer::EmptyVector(at) if *at == index => vector.clear(),
                Answer::ZeroVector(at) if *at == index => vector.fill(0.0),
                Answer::NotFinite(at) if *at == index => vector[0] = f32::NAN,
                _ => {}
            }
            let mut embedding = if base64 { base64_of(&vector) } else { json!(vector) };
            match answer {
                Answer::BadBase64 => embedding = json!("this is not base64!"),
                Answer::NanLiteral if index == 0 => embedding[0] = json!("NaN"),
                _ => {}
            }
            let index = if *answer == Answer::SameIndex { 0 } else { index };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    match answer {
        Answer::Shuffled => items.reverse(),
        Answer::TooFew => drop(items.pop()),
        _ => {}
    }
    json!({"object": "list", "data": items, "model": request.body["model"], "usage": {"total_tokens": 1}})
}

fn base64_of(vector: &[f32]) -> Value {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    json!(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// Returns the fixture's vector for a text: every word, and every pair of neighbours in a Chinese run, adds 1.0 and 0.5 at
/// two places its MD5 names; scaled to length 1.
///
/// A text without any such word is hashed whole, so that no vector is zero (the fixture has no such text).
pub fn stub_vector(text: &str, dimension: usize) -> Vec<f32> {
    let mut vector = vec![0f64; dimension];
    let lower = text.to_lowercase();
    let mut words = words(&lower);
    if words.is_empty() {
        words.push(lower.clone());
    }
    for word in &words {
        let hash = u128::from_be_bytes(md5::digest(word.as_bytes()));
        let place = |hash: u128| usize::try_from(hash % dimension.max(1) as u128).unwrap_or(0);
        vector[place(hash)] += 1.0;
        vector[place(hash >> 40)] += 0.5;
    }
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    vector.iter().map(|value| (value / length) as f32).collect()
}

fn words(lower: &str) -> Vec<String> {
    let mut words = Vec::new();
    let chars: Vec<char> = lower.chars().collect();
    let is_word = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_';
    let is_han = |c: &char| ('\u{4e00}'..='\u{9fff}').contains(c);
    words.extend(chars.split(|c| !is_word(c)).filter(|run| !run.is_empty()).map(String::from_iter));
    for run in chars.split(|c| !is_han(c)) {
        words.extend(run.windows(2).map(String::from_iter));
    }
    words
}

#[cfg(test)]
mod tests;
