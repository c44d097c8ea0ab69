//! `GET /metrics`: Prometheus text. What is said of the index is in [`upkeep`].
//!
//! Request series have the shape of EverOS's (`…_http_requests_total{method,path,status}` and
//! `…_http_request_duration_seconds{method,path}` with its buckets) under our own name: a dashboard made for EverOS needs
//! one prefix changed, and nobody mistakes one program's numbers for the other's.

mod upkeep;

use crate::api::status::{StatusData, VerdictName};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds in seconds: EverOS's.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Requests counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    series: Mutex<BTreeMap<(&'static str, &'static str), Series>>,
}

#[derive(Debug, Default)]
struct Series {
    statuses: BTreeMap<u16, u64>,
    /// Observations per bucket, not cumulated; the last is what exceeds every bound.
    buckets: [u64; BUCKETS.len() + 1],
    seconds: f64,
}

impl Requests {
    /// Counts one request. `path` is the route's, so the number of series is bounded by the routes.
    pub(crate) fn observe(&self, method: &'static str, path: &'static str, status: u16, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series = all.entry((method, path)).or_default();
        *series.statuses.entry(status).or_default() += 1;
        series.buckets[bucket] += 1;
        series.seconds += seconds;
    }

    fn render(&self, page: &mut Page) {
        let all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        page.family("evermark_http_requests_total", "counter", "HTTP requests answered.");
        for ((method, path), series) in all.iter() {
            for (status, count) in &series.statuses {
                let labels = [("method", *method), ("path", *path), ("status", &status.to_string())];
                page.sample("evermark_http_requests_total", &labels, *count as f64);
            }
        }
        let name = "evermark_http_request_duration_seconds";
        page.family(name, "histogram", "Time from the request's head to the answer's.");
        for ((method, path), series) in all.iter() {
            let mut below = 0;
            for (bound, count) in BUCKETS.iter().zip(series.buckets) {
                below += count;
                let labels = [("method", *method), ("path", *path), ("le", &number(*bound))];
                page.sample(&format!("{name}_bucket"), &labels, below as f64);
            }
            let count: u64 = series.buckets.iter().sum();
            let labels = [("method", *method), ("path", *path)];
            let infinite = [labels[0], labels[1], ("le", "+Inf")];
            page.sample(&format!("{name}_bucket"), &infinite, count as f64);
            page.sample(&format!("{name}_sum"), &labels, series.seconds);
            page.sample(&format!("{name}_count"), &labels, count as f64);
        }
    }
}

/// Returns the page. `status` is `None` when the root did not answer in time.
pub(crate) fn page(requests: &Requests, status: Option<&StatusData>, version: &str) -> String {
    let mut page = Page::default();
    page.gauge("evermark_build_info", "Always 1; the version is the label.", &[(&[("version", version)], 1.0)]);
    requests.render(&mut page);
    // What was said last is shown while nothing new is said; this tells the two apart.
    let answered = status.is_some_and(|status| status.age_ms.is_none());
    page.gauge("evermark_up", "Whether the root answered in time.", &[(&[], flag(answered))]);
    if let Some(status) = status {
        let age = status.age_ms.unwrap_or(0) as f64 / 1000.0;
        page.single(
            "evermark_status_age_seconds",
            "gauge",
            "How old the figures of the root are; 0 when it answered.",
            age,
        );
        root(&mut page, status);
    }
    page.text
}

fn root(page: &mut Page, status: &StatusData) {
    let verdicts = [VerdictName::Ok, VerdictName::Degraded, VerdictName::Failing];
    page.family("evermark_health", "gauge", "1 for the current verdict, 0 for the others.");
    for verdict in verdicts {
        let is = f64::from(u8::from(verdict == status.verdict));
        page.sample("evermark_health", &[("verdict", verdict.name())], is);
    }
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    for reason in &status.reasons {
        *reasons.entry(&reason.code).or_default() += 1;
    }
    page.family("evermark_health_reasons", "gauge", "Things that are wrong, by code.");
    for (code, count) in reasons {
        page.sample("evermark_health_reasons", &[("code", code)], count as f64);
    }
    page.single("evermark_uptime_seconds", "gauge", "Since the root was opened.", status.uptime_ms as f64 / 1000.0);
    page.single("evermark_files", "gauge", "Markdown files known.", status.files as f64);
    page.family("evermark_entries", "gauge", "Entries in the Markdown, by kind.");
    for (kind, count) in &status.entries {
        page.sample("evermark_entries", &[("kind", kind)], *count as f64);
    }
    page.single("evermark_findings", "gauge", "Problems of files and entries.", status.findings_total as f64);

    let queue = &status.queue;
    page.family("evermark_queue_files", "gauge", "Files on their way into the index, by state.");
    let states =
        [("pending", queue.pending), ("leased", queue.leased), ("failing", queue.failing), ("parked", queue.parked)];
    for (state, count) in states {
        page.sample("evermark_queue_files", &[("state", state)], count as f64);
    }
    let age = queue.oldest_age_ms.unwrap_or(0) as f64 / 1000.0;
    page.single("evermark_queue_oldest_age_seconds", "gauge", "Age of the oldest file waiting; 0 without one.", age);
    page.family("evermark_queue_errors", "gauge", "Files that fail now, by class of error.");
    for error in &queue.errors {
        page.sample("evermark_queue_errors", &[("class", &error.class)], error.count as f64);
    }

    page.single(
        "evermark_rebuilding",
        "gauge",
        "Whether an index is being rebuilt.",
        f64::from(u8::from(status.rebuilding)),
    );
    if let Some(index) = &status.index {
        upkeep::render(page, index);
    }
    page.single("evermark_inbox_messages", "gauge", "Messages accepted, not extracted.", status.inbox_messages as f64);
    page.single("evermark_inbox_sessions", "gauge", "Sessions those messages belong to.", status.inbox_sessions as f64);

    let embedding = &status.embedding;
    page.single(
        "evermark_embedding_calls_total",
        "counter",
        "Calls of the embedding provider.",
        embedding.calls as f64,
    );
    page.single("evermark_embedding_texts_total", "counter", "Texts sent to it.", embedding.texts as f64);
    page.single("evermark_embedding_failures_total", "counter", "Calls that failed.", embedding.failures as f64);
    page.single("evermark_embedding_cache_entries", "gauge", "Vectors in the cache.", embedding.cache_entries as f64);
    page.single("evermark_embedding_cache_bytes", "gauge", "Bytes of the cache.", embedding.cache_bytes as f64);
    judges(page, status);
    let sweep = status.last_sweep_age_ms.unwrap_or(status.uptime_ms) as f64 / 1000.0;
    page.single(
        "evermark_sweep_age_seconds",
        "gauge",
        "Since all files were last looked at, or since the start.",
        sweep,
    );
    if status.watcher != "off" {
        let help = "Whether edits are seen at once; 0: by sweeping only.";
        page.single("evermark_watcher_up", "gauge", help, flag(status.watcher == "watching"));
    }
}

/// What was asked of the reranker and the language model, and what it cost.
fn judges(page: &mut Page, status: &StatusData) {
    let (rerank, llm) = (&status.rerank, &status.llm);
    let counters = [
        ("evermark_rerank_calls_total", "Calls of the reranker.", rerank.calls),
        ("evermark_rerank_documents_total", "Memories it read.", rerank.items),
        ("evermark_rerank_failures_total", "Calls that failed.", rerank.failures),
        ("evermark_llm_calls_total", "Calls of the language model.", llm.calls),
        ("evermark_llm_answers_total", "Answers of it.", llm.items),
        ("evermark_llm_failures_total", "Calls that failed.", llm.failures),
    ];
    for (name, help, value) in counters {
        page.single(name, "counter", help, value as f64);
    }
    page.family("evermark_llm_tokens_total", "counter", "Tokens of the language model, as far as it says.");
    for (direction, tokens) in [("in", llm.tokens_in), ("out", llm.tokens_out)] {
        page.sample("evermark_llm_tokens_total", &[("direction", direction)], tokens as f64);
    }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// Text in the making.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
        let value = number(value);
        if labels.is_empty() {
            self.line(format_args!("{name} {value}"));
        } else {
            self.line(format_args!("{name}{{{}}} {value}", labels.join(",")));
        }
    }

    fn gauge(&mut self, name: &str, help: &str, samples: &[(&[(&str, &str)], f64)]) {
        self.family(name, "gauge", help);
        for (labels, value) in samples {
            self.sample(name, labels, *value);
        }
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a string does not fail");
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Returns a number as Prometheus's own clients write it: whole numbers below 10^15 with `.0`.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.1}") } else { format!("{value}") }
}

#[cfg(test)]
mod tests;
