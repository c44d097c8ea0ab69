//! Who reads memories on request: `[rerank]`, `[llm]`, `[decider]`, and how long searches may ask them.
//!
//! The names and values are EverOS's where it has them. What its shipped file names without a key is a placeholder, not a wish.

use super::raw::Layers;
use super::{model_dir, shapes, size};
use evermark_engine::judges::{DeciderSettings, JudgeSettings};
use evermark_models::chat;
use evermark_models::rerank::{self, Dialect};
use std::path::Path;
use std::time::Duration;

/// Where EverOS 1.5.1 ships its requests to language models to.
const EVEROS_LLM_URL: &str = "https://openrouter.ai/api/v1";
const LLM_MODEL: &str = "gpt-4.1-mini";
const RERANK_MODEL: &str = "Qwen/Qwen3-Reranker-4B";
/// The one model that EverOS knows there.
const DASHSCOPE_MODEL: &str = "gte-rerank-v2";

/// Who reads memories on request; none unless there is an address and whatever that needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Judges {
    pub(crate) rerank: Option<rerank::Provider>,
    pub(crate) llm: Option<chat::Settings>,
    /// `None`: the language model.
    pub(crate) decider: Option<chat::Settings>,
}

/// Asks for every key of the three sections that says who is asked.
pub(super) fn resolve(layers: &mut Layers, root: &Path) -> Judges {
    let rerank = resolve_rerank(layers, root);
    let llm = resolve_llm(layers);
    let decider = resolve_decider(layers, llm.as_ref());
    Judges { rerank, llm, decider }
}

fn resolve_rerank(layers: &mut Layers, root: &Path) -> Option<rerank::Provider> {
    const PROVIDERS: &[&str] = &["none", "local", "deepinfra", "vllm", "dashscope"];
    let provider = layers.take("rerank.provider", Some("rerank.provider"), &shapes::choice(PROVIDERS), None);
    let base_url = layers.take("rerank.base_url", Some("rerank.base_url"), &shapes::url(), None);
    let api_key = layers.take("rerank.api_key", Some("rerank.api_key"), &shapes::secret(1), None);
    let model = layers.take("rerank.model", Some("rerank.model"), &shapes::text(200), None);
    let timeout =
        layers.take("rerank.timeout_seconds", Some("rerank.timeout_seconds"), &shapes::seconds(0.1, 600.0), 30.0);
    let max_retries = layers.take("rerank.max_retries", Some("rerank.max_retries"), &shapes::whole(0, 20), 3);
    let batch_size = layers.take("rerank.batch_size", Some("rerank.batch_size"), &shapes::whole(1, 1000), 10);
    let max_concurrent = layers.take("rerank.max_concurrent", Some("rerank.max_concurrent"), &shapes::whole(1, 64), 5);

    let dialect = match provider.as_deref() {
        Some("none") => return None,
        Some("local") => {
            let Some(name) = model else {
                layers.errors.push(
                    "`rerank.model` is not set: `local` needs a folder or the id of a model that was fetched"
                        .to_owned(),
                );
                return None;
            };
            let dir = model_dir(root, &name);
            return Some(rerank::Provider::Local { name, dir });
        }
        Some("vllm") => Dialect::Vllm,
        Some("dashscope") => Dialect::DashScope,
        // EverOS's own choice.
        _ => Dialect::DeepInfra,
    };
    let is_usual = match (&base_url, dialect.usual_address()) {
        (Some(set), Some(usual)) => set.trim_end_matches('/') == usual,
        (None, _) => true,
        (Some(_), None) => false,
    };
    if is_usual && api_key.is_none() {
        if provider.is_some() && base_url.is_none() {
            let what = if dialect == Dialect::Vllm { "rerank.base_url" } else { "rerank.api_key" };
            let source = layers.source("rerank.provider");
            layers.warnings.push(format!(
                "`rerank.provider` is \"{}\" ({source}), but `{what}` is not set: nothing is reranked",
                dialect.name()
            ));
        }
        return None;
    }
    let Some(base_url) = base_url.or_else(|| dialect.usual_address().map(str::to_owned)) else {
        let source = layers.source("rerank.api_key");
        layers
            .warnings
            .push(format!("`rerank.api_key` is set ({source}), but `rerank.base_url` is not: nothing is reranked"));
        return None;
    };
    let usual_model = if dialect == Dialect::DashScope { DASHSCOPE_MODEL } else { RERANK_MODEL };
    let mut settings = rerank::Settings::new(dialect, base_url, model.unwrap_or_else(|| usual_model.to_owned()));
    settings.api_key = api_key;
    settings.timeout = Duration::from_secs_f64(timeout);
    settings.max_retries = u32::try_from(max_retries).unwrap_or(u32::MAX);
    settings.batch_size = size(batch_size);
    settings.max_concurrent = size(max_concurrent);
    Some(rerank::Provider::Endpoint(Box::new(settings)))
}

fn resolve_llm(layers: &mut Layers) -> Option<chat::Settings> {
    let provider = layers.take("llm.provider", None, &shapes::choice(&["none", "openai"]), None);
    let base_url = layers.take("llm.base_url", Some("llm.base_url"), &shapes::url(), None);
    let api_key = layers.take("llm.api_key", Some("llm.api_key"), &shapes::secret(1), None);
    let model = layers.take("llm.model", Some("llm.model"), &shapes::text(200), None);
    let timeout = layers.take("llm.timeout_seconds", Some("llm.timeout_seconds"), &shapes::seconds(0.1, 600.0), 60.0);
    let max_retries = layers.take("llm.max_retries", None, &shapes::whole(0, 20), 1);
    let max_concurrent = layers.take("llm.max_concurrent", None, &shapes::whole(1, 64), 4);
    if provider.as_deref() == Some("none") {
        return None;
    }
    let Some(base_url) = base_url else {
        if api_key.is_some() {
            let source = layers.source("llm.api_key");
            layers.warnings.push(format!(
                "`llm.api_key` is set ({source}) but no endpoint is: no language model is asked until `llm.base_url` is set"
            ));
        }
        return None;
    };
    if base_url.trim_end_matches('/') == EVEROS_LLM_URL && api_key.is_none() {
        return None;
    }
    let mut settings = chat::Settings::new(base_url, model.unwrap_or_else(|| LLM_MODEL.to_owned()));
    settings.api_key = api_key;
    settings.timeout = Duration::from_secs_f64(timeout);
    settings.max_retries = u32::try_from(max_retries).unwrap_or(u32::MAX);
    settings.max_concurrent = size(max_concurrent);
    Some(settings)
}

/// What the decider does not say of itself it has from the language model. Its key goes to its own address only.
fn resolve_decider(layers: &mut Layers, llm: Option<&chat::Settings>) -> Option<chat::Settings> {
    let base_url = layers.take("decider.base_url", Some("decider.base_url"), &shapes::url(), None);
    let api_key = layers.take("decider.api_key", Some("decider.api_key"), &shapes::secret(1), None);
    let model = layers.take("decider.model", Some("decider.model"), &shapes::text(200), None);
    if base_url.is_none() && api_key.is_none() && model.is_none() {
        return None;
    }
    let mut settings = match (base_url, llm) {
        (Some(base_url), llm) => {
            let same = llm.filter(|llm| llm.base_url.trim_end_matches('/') == base_url.trim_end_matches('/'));
            let key = same.and_then(|llm| llm.api_key.clone());
            let usual = llm.cloned().unwrap_or_else(|| chat::Settings::new(&base_url, LLM_MODEL));
            chat::Settings { base_url, api_key: key, ..usual }
        }
        (None, Some(llm)) => llm.clone(),
        (None, None) => return None,
    };
    settings.section = "decider";
    settings.api_key = api_key.or(settings.api_key);
    settings.model = model.unwrap_or(settings.model);
    Some(settings)
}

/// Asks for the bounds of searches that ask judges.
pub(super) fn bounds(layers: &mut Layers, usual: &JudgeSettings) -> JudgeSettings {
    let limit =
        layers.take("search.judges_timeout_seconds", None, &shapes::seconds(0.1, 600.0), usual.limit.as_secs_f64());
    let known = &usual.decider;
    let timeout = layers.take(
        "decider.timeout_seconds",
        Some("decider.timeout_seconds"),
        &shapes::seconds(0.1, 600.0),
        known.timeout.as_secs_f64(),
    );
    let mut number = |name: &'static str, min: u64, max: u64, usual: usize| {
        size(layers.take(name, Some(name), &shapes::whole(min, max), usual as u64))
    };
    let max_rounds = number("decider.max_rounds", 1, 10, known.max_rounds);
    let seed_topk = number("decider.seed_topk", 1, 100, known.seed_topk);
    let subq_topk = number("decider.subq_topk", 1, 100, known.subq_topk);
    let max_subqueries = number("decider.max_subqueries", 1, 10, known.max_subqueries);
    let no_new_core_patience = number("decider.no_new_core_patience", 1, 10, known.no_new_core_patience);
    let per_subquery_guarantee = number("decider.per_subquery_guarantee", 0, 10, known.per_subquery_guarantee);
    let retries = number("decider.retries", 0, 10, known.retries as usize);
    let fallback_core = number("decider.fallback_core", 0, 100, known.fallback_core);
    let max_tokens = number("decider.max_tokens", 16, 100_000, known.max_tokens as usize);
    let mut flag = |name: &'static str, usual: bool| layers.take(name, Some(name), &shapes::flag(), usual);
    let core_overflow = flag("decider.core_overflow", known.core_overflow);
    let full_text = flag("decider.full_text", known.full_text);
    JudgeSettings {
        limit: Duration::from_secs_f64(limit),
        decider: DeciderSettings {
            max_rounds,
            seed_topk,
            subq_topk,
            max_subqueries,
            no_new_core_patience,
            per_subquery_guarantee,
            retries: u32::try_from(retries).unwrap_or(u32::MAX),
            core_overflow,
            full_text,
            fallback_core,
            max_tokens: u32::try_from(max_tokens).unwrap_or(u32::MAX),
            timeout: Duration::from_secs_f64(timeout),
        },
    }
}
