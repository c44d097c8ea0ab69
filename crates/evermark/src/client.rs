//! Speaks to the daemon that has the root open, in the same words as every other client of its API.

use crate::exit::{Exit, Failure};
use anyhow::{Context, anyhow};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;
use ureq::Agent;
use ureq::http::Response;

/// One line of progress or of a report; a memory is far smaller, an answer is read another way.
const LINE_MAX: u64 = 64 << 20;
const ANSWER_MAX: u64 = 256 << 20;

/// A daemon at an address.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    /// Speaks to the daemon at `base`, for example `http://127.0.0.1:8000`. Nothing is sent yet.
    pub(crate) fn new(base: &str, token: Option<&str>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // The daemon is on this machine or one we were told of: a proxy meant for the web has no business here.
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(3)))
            .build();
        Self { agent: config.into(), base: base.trim_end_matches('/').to_owned(), token: token.map(str::to_owned) }
    }

    /// Like [`Self::new`], but an answer that takes longer than `limit` is none.
    pub(crate) fn patient(base: &str, limit: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(limit))
            .build();
        Self { agent: config.into(), base: base.trim_end_matches('/').to_owned(), token: None }
    }

    pub(crate) fn address(&self) -> &str {
        &self.base
    }

    /// Tells whether a daemon answers there.
    pub(crate) fn is_there(&self) -> bool {
        let asked = self
            .agent
            .get(format!("{}/health", self.base))
            .config()
            .timeout_global(Some(Duration::from_secs(3)))
            .build();
        self.authorize(asked).call().is_ok()
    }

    /// Returns what a `GET` of `path` answers.
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let asked = self.agent.get(format!("{}{path}", self.base));
        self.answer(self.authorize(asked).call())
    }

    /// Returns what a `POST` of `body` to `path` answers.
    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let asked = self.agent.post(format!("{}{path}", self.base));
        self.answer(self.authorize(asked).send_json(body))
    }

    /// Sends `body` to `path` and hands every line of the answer, as JSON, to `each`.
    pub(crate) fn post_lines(
        &self,
        path: &str,
        body: &Value,
        mut each: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let asked = self.agent.post(format!("{}{path}", self.base));
        let mut response = self.reached(self.authorize(asked).send_json(body))?;
        if !response.status().is_success() {
            return Err(refusal(&mut response));
        }
        let mut lines = BufReader::new(response.body_mut().as_reader());
        let mut line = Vec::new();
        loop {
            line.clear();
            let n = lines
                .by_ref()
                .take(LINE_MAX)
                .read_until(b'\n', &mut line)
                .with_context(|| format!("the daemon at {} stopped answering", self.base))?;
            if n == 0 {
                return Ok(());
            }
            if !line.trim_ascii().is_empty() {
                each(serde_json::from_slice(&line).with_context(|| format!("cannot read a line from {}", self.base))?)?;
            }
        }
    }

    fn authorize<B>(&self, asked: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => asked.header("authorization", format!("Bearer {token}")),
            None => asked,
        }
    }

    fn reached(&self, response: Result<Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Response<ureq::Body>> {
        response.map_err(|error| {
            let failure = Failure::new(Exit::Held, format!("the daemon at {} does not answer", self.base));
            anyhow!(error).context(failure)
        })
    }

    fn answer(&self, response: Result<Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Value> {
        let mut response = self.reached(response)?;
        if !response.status().is_success() {
            return Err(refusal(&mut response));
        }
        let answer = response.body_mut().with_config().limit(ANSWER_MAX).read_json();
        answer.with_context(|| format!("cannot read the answer of {}", self.base))
    }
}

/// Returns the error that the daemon's answer stands for.
fn refusal(response: &mut Response<ureq::Body>) -> anyhow::Error {
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(1 << 20).read_to_string().unwrap_or_default();
    let said = serde_json::from_str::<Value>(&body).ok();
    let message = said.as_ref().and_then(|said| said.pointer("/error/message")).and_then(Value::as_str);
    refused(status, message.map_or_else(|| format!("the daemon answered {status}"), str::to_owned)).into()
}

/// Returns the failure that a status and a message stand for.
pub(crate) fn refused(status: u16, message: String) -> Failure {
    let failure = Failure::new(exit_of(status), message);
    if status == 401 {
        return failure.hint("set the daemon's token: `api.token` in evermark.toml, or EVERMARK_API__TOKEN");
    }
    failure
}

fn exit_of(status: u16) -> Exit {
    match status {
        404 => Exit::NotFound,
        408 | 409 | 429 | 503 | 504 | 507 => Exit::Temporary,
        400..=499 => Exit::Usage,
        _ => Exit::Failed,
    }
}
