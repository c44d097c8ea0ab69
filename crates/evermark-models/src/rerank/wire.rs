//! How rerankers are asked, and what they answer.

use crate::endpoint::complaint;
use serde_json::{Value, json};

/// Whose words an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `POST {base}/{model}`: `{queries, documents}` → `{scores}`.
    DeepInfra,
    /// `POST {base}/rerank`: `{model, query, documents}` → `{results: [{index, relevance_score}]}`; Jina's and Cohere's too.
    Vllm,
    /// `POST {base}/services/rerank/text-rerank/text-rerank`: the same inside `input` and `output`.
    DashScope,
}

/// Where DashScope's service is, below its API.
const DASHSCOPE: &str = "/services/rerank/text-rerank/text-rerank";

impl Dialect {
    /// Returns the word of the setting `rerank.provider`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeepInfra => "deepinfra",
            Self::Vllm => "vllm",
            Self::DashScope => "dashscope",
        }
    }

    /// Returns the address that is meant when none is set.
    pub fn usual_address(self) -> Option<&'static str> {
        match self {
            Self::DeepInfra => Some("https://api.deepinfra.com/v1/inference"),
            Self::Vllm => None,
            Self::DashScope => Some("https://dashscope.aliyuncs.com/api/v1"),
        }
    }

    /// Returns what is appended to the address. One that already leads all the way is left as it is.
    pub(super) fn path(self, base_url: &str, model: &str) -> String {
        let base = base_url.trim().split('?').next().unwrap_or_default().trim_end_matches('/');
        let path = match self {
            Self::DeepInfra => format!("/{model}"),
            Self::Vllm => "/rerank".to_owned(),
            Self::DashScope => DASHSCOPE.to_owned(),
        };
        if base.ends_with(&path) { String::new() } else { path }
    }
}

/// The form that the Qwen3 rerankers were taught with; endpoints that pass text on as it comes need it. Source: their model card.
const QWEN_BEFORE: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
const QWEN_AFTER: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
const QWEN_TASK: &str = "Find the memory that answers the question";

/// Returns the body of a request.
pub(super) fn request(dialect: Dialect, model: &str, query: &str, documents: &[&str]) -> Vec<u8> {
    let body = match dialect {
        Dialect::DeepInfra if model.contains("Qwen3-Reranker") => {
            // Marks of the form inside a text would end it early.
            let plain = |text: &str| text.replace("<|im_start|>", "").replace("<|im_end|>", "");
            let query = format!("{QWEN_BEFORE}<Instruct>: {QWEN_TASK}\n<Query>: {}\n", plain(query));
            let documents = documents.iter().map(|text| format!("<Document>: {}{QWEN_AFTER}", plain(text)));
            json!({"queries": [query], "documents": documents.collect::<Vec<_>>()})
        }
        Dialect::DeepInfra => json!({"queries": [query], "documents": documents}),
        Dialect::Vllm => json!({"model": model, "query": query, "documents": documents}),
        Dialect::DashScope => json!({
            "model": model,
            "input": {"query": query, "documents": documents},
            "parameters": {"return_documents": false, "top_n": documents.len()},
        }),
    };
    body.to_string().into_bytes()
}

/// Returns the scores of an answer in the order of the documents, or what is wrong with it.
pub(super) fn scores(dialect: Dialect, bytes: &[u8], n: usize) -> Result<Vec<f32>, String> {
    let answer: Value = serde_json::from_slice(bytes).map_err(|_| format!("answered no JSON{}", complaint(bytes)))?;
    let scores = match dialect {
        Dialect::DeepInfra => answer["scores"].as_array().map(|scores| scores.iter().map(number).collect()),
        Dialect::Vllm => numbered(&answer["results"], n)?,
        Dialect::DashScope => numbered(&answer["output"]["results"], n)?,
    };
    let scores: Vec<Option<f32>> = scores.ok_or_else(|| format!("answered no scores{}", complaint(bytes)))?;
    if scores.len() != n {
        return Err(format!("answered {} scores for {n} documents", scores.len()));
    }
    scores.into_iter().collect::<Option<_>>().ok_or_else(|| "answered a score that is no number".to_owned())
}

fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|score| score as f32).filter(|score| score.is_finite())
}

/// Returns results by their index; `None` when there are none.
fn numbered(results: &Value, n: usize) -> Result<Option<Vec<Option<f32>>>, String> {
    let Some(results) = results.as_array() else { return Ok(None) };
    if results.len() != n {
        return Err(format!("answered {} scores for {n} documents", results.len()));
    }
    let mut scores: Vec<Option<Option<f32>>> = vec![None; n];
    for result in results {
        let index = result["index"].as_u64().and_then(|index| usize::try_from(index).ok());
        // Some servers call it `score`.
        let score = number(&result["relevance_score"]).or_else(|| number(&result["score"]));
        match index.and_then(|index| scores.get_mut(index)) {
            Some(empty @ None) => *empty = Some(score),
            Some(Some(_)) => return Err("answered two scores for one document".to_owned()),
            None => return Err("answered a score for no document".to_owned()),
        }
    }
    Ok(Some(scores.into_iter().map(Option::flatten).collect()))
}
