//! Answers of ours against the shapes of EverOS's document: every key its clients may rely on is there, with its type.

use crate::kit::{Server, Setup, conversation, read_json, shared};
use serde_json::{Value, json};

/// Where we answer `null` and EverOS's document has no `null`: it answers 500 there (contract I.1), or never has none.
const NULLS: [&str; 2] = [".session_id", ".timestamp"];

struct Shapes {
    document: Value,
    wrong: Vec<String>,
}

impl Shapes {
    fn load() -> Option<Self> {
        Some(Self { document: read_json(&shared("contract/openapi-1.5.1.json")?), wrong: Vec::new() })
    }

    /// Checks the answer of a route, as its document has it for this status.
    fn answer(&mut self, path: &str, method: &str, status: u16, answer: &Value) {
        let schema = self.document["paths"][path][method]["responses"][status.to_string()]["content"]["application/json"]
            ["schema"]
            .clone();
        assert!(schema.is_object(), "{method} {path} has no {status}");
        self.check(&format!("{path} {status}"), &schema, answer);
    }

    fn check(&mut self, at: &str, schema: &Value, value: &Value) {
        let found = self.problems(at, schema, value);
        self.wrong.extend(found);
    }

    fn problems(&self, at: &str, schema: &Value, value: &Value) -> Vec<String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap();
            return self.problems(at, &self.document["components"]["schemas"][name], value);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let each: Vec<_> = choices.iter().map(|choice| self.problems(at, choice, value)).collect();
            return if each.iter().any(Vec::is_empty) { Vec::new() } else { each.into_iter().flatten().collect() };
        }
        let mut found = Vec::new();
        if value.is_null() && schema["type"] != "null" && NULLS.iter().any(|end| at.ends_with(end)) {
            return found;
        }
        let fits = match schema["type"].as_str() {
            None => true,
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("null") => value.is_null(),
            Some(other) => panic!("unknown type {other}"),
        };
        if !fits {
            return vec![format!("{at}: {value} is no {}", schema["type"])];
        }
        if schema.get("const").is_some_and(|only| only != value) {
            found.push(format!("{at}: {value} is not {}", schema["const"]));
        }
        if schema["enum"].as_array().is_some_and(|choices| !choices.contains(value)) {
            found.push(format!("{at}: {value} is none of {}", schema["enum"]));
        }
        if let Some(object) = value.as_object() {
            for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !object.contains_key(key) {
                    found.push(format!("{at}.{key} is missing"));
                }
            }
            for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
                match object.get(key) {
                    Some(value) => found.extend(self.problems(&format!("{at}.{key}"), schema, value)),
                    // EverOS writes every key of a response model, required or not.
                    None => found.push(format!("{at}.{key} is missing")),
                }
            }
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            found.extend(self.problems(&format!("{at}[{index}]"), &schema["items"], item));
        }
        found
    }
}

const SAID: [(&str, &str); 4] = [
    ("ann", "I started to learn the cello in spring, with a teacher called Marek."),
    ("helper_bot", "How often do you practise?"),
    ("ann", "I practise every morning before work."),
    ("helper_bot", "Good habit."),
];

#[tokio::test]
async fn answers_have_the_shape_of_everos() {
    let Some(mut shapes) = Shapes::load() else { return };
    let server = Server::with(Setup { vectors: true, ..Setup::default() });
    for version in ["v1", "v2"] {
        let path = |route: &str| format!("/api/{version}/memory/{route}");
        let session = format!("s-{version}");
        let mut calls = vec![
            ("add", 200, conversation(&session, &SAID)),
            ("search", 200, json!({ "user_id": "ann", "query": "cello", "filters": { "session_id": session } })),
            ("flush", 200, json!({ "session_id": session, "wait": "indexed", "wait_timeout_ms": 20_000 })),
            ("flush", 200, json!({ "session_id": session })),
            ("search", 200, json!({ "user_id": "ann", "query": "cello teacher", "include_profile": true })),
            ("get", 200, json!({ "user_id": "ann", "memory_type": "episode" })),
            ("get", 200, json!({ "user_id": "ann", "memory_type": "profile" })),
            ("get", 200, json!({ "agent_id": "helper_bot", "memory_type": "agent_case" })),
            ("get", 200, json!({ "agent_id": "helper_bot", "memory_type": "agent_skill" })),
        ];
        let mut queued = conversation(&format!("{session}-queued"), &SAID);
        queued["async_mode"] = json!(true);
        calls.push(("add", 202, queued));
        for (route, status, body) in calls {
            let answer = server.post(&path(route), &body).await;
            assert_eq!(answer.status, status, "{route} {body}: {}", answer.text());
            shapes.answer(&path(route), "post", status, &answer.json());
        }
    }
    shapes.answer("/health", "get", 200, &server.get("/health").await.json());
    assert!(shapes.wrong.is_empty(), "{}", shapes.wrong.join("\n"));
}
