//! One HTTP endpoint of a provider, and everything that keeps its failures from spreading.
//!
//! Flow of one exchange: breaker → rate → gate → HTTP → classify → breaker. What is sent and how answers are read is the
//! caller's: [`crate::openai`] for embeddings, [`crate::chat`], [`crate::rerank`]. The classes of failures are told in
//! [`crate::openai`].

use crate::breaker::{Breaker, BreakerSettings, Status};
use crate::rate::Bucket;
use crate::retry::{Gate, Pause, RETRY_AFTER_MAX, backoff, retry_after};
use evermark_core::error::ErrorKind;
use evermark_core::provider::{Figures, ProviderError};
use evermark_core::world::World;
use serde_json::Value;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use ureq::http::Uri;

/// Longest part of a provider's own words that is repeated to people.
const COMPLAINT_CHARS_MAX: usize = 300;

/// Classes of failures, as the table in [`crate::openai`] tells them.
pub mod class {
    pub const UNAUTHORIZED: &str = "unauthorized";
    pub const NOT_FOUND: &str = "not_found";
    pub const RATE_LIMITED: &str = "rate_limited";
    pub const BAD_REQUEST: &str = "bad_request";
    pub const SERVER_ERROR: &str = "server_error";
    pub const TIMEOUT: &str = "timeout";
    pub const CONNECT: &str = "connect";
    pub const BAD_ANSWER: &str = "bad_answer";
    pub const EMPTY: &str = "empty";
    pub const NOT_FINITE: &str = "not_finite";
    pub const WRONG_DIMENSION: &str = "wrong_dimension";
    pub const CIRCUIT_OPEN: &str = "circuit_open";
    pub const BLANK: &str = "blank";
    pub const CLOSING: &str = "closing";
    pub const SETTINGS: &str = "settings";
}

/// Where to ask, and how often.
pub(crate) struct Address {
    /// The section of the configuration that says all this, for messages: `embedding`, `llm`, `rerank`.
    pub(crate) section: &'static str,
    /// What people call it: `embedding provider`, `language model`, `reranker`.
    pub(crate) noun: &'static str,
    pub(crate) base_url: String,
    /// What is appended to the address, before its query.
    pub(crate) path: String,
    pub(crate) api_key: Option<String>,
    pub(crate) model: String,
    /// Longest wait for one answer.
    pub(crate) timeout: Duration,
    pub(crate) max_retries: u32,
    pub(crate) requests_per_minute: Option<u32>,
    pub(crate) connections_max: usize,
    pub(crate) answer_bytes_max: u64,
    pub(crate) breaker: BreakerSettings,
}

/// An endpoint.
pub(crate) struct Endpoint {
    section: &'static str,
    noun: &'static str,
    pub(crate) model: String,
    url: String,
    /// Host and port, for messages: the address itself may carry secrets.
    host: String,
    api_key: Option<String>,
    timeout: Duration,
    pub(crate) max_retries: u32,
    answer_bytes_max: u64,
    agent: ureq::Agent,
    pub(crate) world: Arc<dyn World>,
    pause: Arc<dyn Pause>,
    breaker: Mutex<Breaker>,
    bucket: Mutex<Bucket>,
}

/// What an answer came to.
pub(crate) struct Read<T> {
    pub(crate) value: T,
    /// Things in it that can be used, and what is wrong with one that cannot. None at all is a failure of the provider.
    pub(crate) n_good: usize,
    pub(crate) flaw: Option<ProviderError>,
}

impl<T> Read<T> {
    pub(crate) fn whole(value: T, n_good: usize) -> Self {
        Self { value, n_good, flaw: None }
    }
}

impl Endpoint {
    /// Makes an endpoint; nothing is sent yet.
    ///
    /// Errors: [`ErrorKind::Invalid`] for an address that is none, an empty model name, or a key that does not fit into a header.
    pub(crate) fn new(address: Address, world: Arc<dyn World>, pause: Arc<dyn Pause>) -> Result<Self, ProviderError> {
        let section = address.section;
        let invalid = |message: String| plain(class::SETTINGS, ErrorKind::Invalid, message);
        let api_key = address.api_key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        let base_url = address.base_url.trim();
        let uri: Uri = base_url.parse().map_err(|error| {
            invalid(format!("the {section} base_url is not an address that starts with http:// or https://: {error}"))
        })?;
        let host = match (uri.scheme_str(), uri.host(), uri.port_u16()) {
            (Some("http" | "https"), Some(host), None) => host.to_owned(),
            (Some("http" | "https"), Some(host), Some(port)) => format!("{host}:{port}"),
            _ => return Err(invalid(format!("the {section} base_url must start with http:// or https://"))),
        };
        if address.model.trim().is_empty() {
            return Err(invalid(format!("the {section} model has no name")));
        }
        if api_key.as_ref().is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(invalid(format!("the {section} api_key holds characters that no key has")));
        }
        let (path, query) = match base_url.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (base_url, String::new()),
        };
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would send the key to an address nobody configured.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Libraries read no environment; ureq would look for proxies there.
            .proxy(None)
            .user_agent(concat!("evermark/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(address.connections_max)
            .max_idle_connections_per_host(address.connections_max)
            .build()
            .into();
        Ok(Self {
            section,
            noun: address.noun,
            url: format!("{}{}{query}", path.trim_end_matches('/'), address.path),
            host,
            api_key,
            model: address.model,
            timeout: address.timeout,
            max_retries: address.max_retries,
            answer_bytes_max: address.answer_bytes_max,
            agent,
            breaker: Mutex::new(Breaker::new(address.breaker, world.monotonic())),
            bucket: Mutex::new(Bucket::new(address.requests_per_minute)),
            world,
            pause,
        })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn status(&self) -> Status {
        self.breaker().status(self.world.monotonic())
    }

    /// Returns what status shows of a provider that is asked on request.
    pub(crate) fn figures(&self) -> Figures {
        let status = self.status();
        Figures {
            state: status.state.name(),
            calls: status.calls,
            failures: status.failures,
            items: status.texts,
            tokens_in: 0,
            tokens_out: 0,
            last_error: status.last_error.map(|error| format!("{}: {}", error.class, error.message)),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn error(&self, class: &'static str, detail: impl fmt::Display) -> ProviderError {
        let mut message = format!("{} {} (model `{}`): {detail}", self.noun, self.host, self.model);
        // Some providers repeat the key they refuse.
        if let Some(key) = &self.api_key {
            message = message.replace(key.as_str(), "…");
        }
        plain(class, ErrorKind::Unavailable, message)
    }

    pub(crate) fn remaining(&self, until: Duration) -> Result<Duration, ProviderError> {
        match until.saturating_sub(self.world.monotonic()) {
            Duration::ZERO => Err(self.error(class::TIMEOUT, "the time given for this call is over")),
            left => Ok(left),
        }
    }

    /// Waits, unless that would pass the call's end.
    pub(crate) fn wait(&self, until: Duration, delay: Duration) -> Result<(), ProviderError> {
        if delay >= self.remaining(until)? {
            return Err(self.error(class::TIMEOUT, "the time given for this call does not suffice"));
        }
        if self.pause.pause(delay) { Ok(()) } else { Err(self.error(class::CLOSING, "the program is closing")) }
    }

    /// Returns how often a request is sent again after a failure of this class.
    pub(crate) fn retries(&self, class: &str) -> u32 {
        match class {
            class::EMPTY | class::NOT_FINITE => self.max_retries.min(1),
            class::RATE_LIMITED | class::SERVER_ERROR | class::TIMEOUT | class::CONNECT | class::BAD_ANSWER => {
                self.max_retries
            }
            _ => 0,
        }
    }

    /// Returns the wait before the next attempt.
    pub(crate) fn backoff(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        backoff(attempt, asked, self.world.random()[0])
    }

    /// Sends one request until it is answered, the retries are used up, or the time is.
    pub(crate) fn request<T>(
        &self,
        until: Duration,
        gate: &Gate,
        body: &[u8],
        read: impl Fn(&[u8]) -> Result<Read<T>, ProviderError>,
    ) -> Result<T, ProviderError> {
        let mut last: Option<ProviderError> = None;
        let mut attempt = 0;
        loop {
            let error = match self.exchange(until, gate, body.to_vec(), &read) {
                Ok(read) => return Ok(read.value),
                // What was wrong before the breaker opened tells more than that it did.
                Err(error) if matches!(error.class, class::CIRCUIT_OPEN | class::CLOSING) => match last {
                    Some(last) => return Err(ProviderError { retry_after: error.retry_after, ..last }),
                    None => return Err(error),
                },
                Err(error) => error,
            };
            let delay = self.backoff(attempt, error.retry_after);
            if attempt >= self.retries(error.class) || self.wait(until, delay).is_err() {
                return Err(error);
            }
            last = Some(error);
            attempt += 1;
        }
    }

    /// Sends one request and reads its answer.
    pub(crate) fn exchange<T>(
        &self,
        until: Duration,
        gate: &Gate,
        body: Vec<u8>,
        read: impl FnOnce(&[u8]) -> Result<Read<T>, ProviderError>,
    ) -> Result<Read<T>, ProviderError> {
        let open = |wait: Duration, status: &Status| {
            let last = status.last_error.as_ref().map_or("unknown", |last| last.class);
            let detail = format!(
                "left alone after {} failures in a row (last: {last}); next try in {} s",
                status.failures_in_a_row,
                wait.as_secs_f64().ceil()
            );
            ProviderError { retry_after: Some(wait), ..self.error(class::CIRCUIT_OPEN, detail) }
        };
        let shut_for = self.breaker().shut_for(self.world.monotonic());
        if let Some(wait) = shut_for {
            return Err(open(wait, &self.status()));
        }
        loop {
            let wait = self.bucket().take(self.world.monotonic());
            if wait.is_zero() {
                break;
            }
            self.wait(until, wait).map_err(|error| match error.class {
                class::TIMEOUT => ProviderError {
                    retry_after: Some(wait),
                    ..self.error(class::RATE_LIMITED, format!("the rate allows no request for {wait:.1?}"))
                },
                _ => error,
            })?;
        }
        let pass = gate
            .enter(self.remaining(until)?)
            .ok_or_else(|| self.error(class::TIMEOUT, "too many requests are on their way"))?;
        let limit = self.remaining(until)?.min(self.timeout).max(Duration::from_millis(1));
        let start = self.world.monotonic();
        let admitted = self.breaker().admit(start);
        if let Err(wait) = admitted {
            return Err(open(wait, &self.status()));
        }
        let result = self.send(body, limit).and_then(|bytes| read(&bytes));
        drop(pass);
        let now = self.world.monotonic();
        let took = now.saturating_sub(start);
        match &result {
            Ok(Read { n_good: 0, flaw: Some(error), .. }) => self.breaker().failed(now, took, error),
            Ok(read) => self.breaker().succeeded(now, took, read.n_good),
            Err(error) if error.class == class::BAD_REQUEST => self.breaker().refused(now, took, error),
            Err(error) => {
                if let (class::RATE_LIMITED, Some(wait)) = (error.class, error.retry_after) {
                    self.bucket().hold(now + wait);
                }
                self.breaker().failed(now, took, error);
            }
        }
        result
    }

    fn send(&self, body: Vec<u8>, limit: Duration) -> Result<Vec<u8>, ProviderError> {
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = &self.api_key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let failed = |error| self.transport(limit, error);
        let response = request.config().timeout_global(Some(limit)).build().send(body).map_err(failed)?;
        let (parts, body) = response.into_parts();
        let bytes = body.into_with_config().limit(self.answer_bytes_max).read_to_vec().map_err(failed)?;
        if !parts.status.is_success() {
            let asked = parts.headers.get("retry-after").and_then(|value| value.to_str().ok());
            let asked = asked.and_then(|value| retry_after(value, self.world.now_us()));
            return Err(self.status_error(parts.status.as_u16(), &bytes, asked));
        }
        Ok(bytes)
    }

    fn transport(&self, limit: Duration, error: ureq::Error) -> ProviderError {
        match error {
            ureq::Error::Timeout(_) => self.error(class::TIMEOUT, format!("no answer within {limit:.1?}")),
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                self.error(class::TIMEOUT, format!("no answer within {limit:.1?}"))
            }
            ureq::Error::HostNotFound => {
                self.error(class::CONNECT, format!("no such host; check {}.base_url", self.section))
            }
            ureq::Error::Io(error) => self.error(class::CONNECT, format!("connection failed: {error}")),
            error @ (ureq::Error::ConnectionFailed
            | ureq::Error::Tls(_)
            | ureq::Error::Rustls(_)
            | ureq::Error::TlsRequired
            | ureq::Error::BodyStalled) => self.error(class::CONNECT, format!("connection failed: {error}")),
            error => self.error(class::BAD_ANSWER, format!("does not speak HTTP as expected: {error}")),
        }
    }

    fn status_error(&self, status: u16, body: &[u8], asked: Option<Duration>) -> ProviderError {
        let said = complaint(body);
        let section = self.section;
        let with = |class, text: &str| self.error(class, format!("{text} ({status}){said}"));
        let error = match status {
            401 | 403 => with(class::UNAUTHORIZED, &format!("refused the key; check {section}.api_key")),
            402 => with(class::UNAUTHORIZED, "wants to be paid first"),
            300..400 | 404 | 405 | 410 => {
                let text = format!("has no such model or address; check {section}.model and {section}.base_url");
                with(class::NOT_FOUND, &text)
            }
            429 => with(class::RATE_LIMITED, "is asked too often"),
            408 => with(class::TIMEOUT, "gave up waiting"),
            425 | 500.. => with(class::SERVER_ERROR, "is in trouble"),
            400..500 => with(class::BAD_REQUEST, "refused the request"),
            _ => with(class::BAD_ANSWER, "answered with an unexpected status"),
        };
        ProviderError { retry_after: asked.map(|wait| wait.min(RETRY_AFTER_MAX)), ..error }
    }
}

pub(crate) fn plain(class: &'static str, kind: ErrorKind, message: String) -> ProviderError {
    ProviderError { kind, class, message, retry_after: None }
}

/// Returns the first `chars_max` characters.
pub(crate) fn cut(text: &str, chars_max: usize) -> &str {
    text.char_indices().nth(chars_max).map_or(text, |(at, _)| &text[..at])
}

/// Returns what the provider says about a failure as `: text`, or nothing.
pub(crate) fn complaint(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(value) => {
            let said = [&value["error"]["message"], &value["error"], &value["message"], &value["detail"]];
            match said.into_iter().find(|said| !said.is_null()) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            }
        }
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(4 * COMPLAINT_CHARS_MAX)]).into_owned(),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(COMPLAINT_CHARS_MAX) {
        _ if text.is_empty() => text,
        Some((at, _)) => format!(": {}…", &text[..at]),
        None => format!(": {text}"),
    }
}
