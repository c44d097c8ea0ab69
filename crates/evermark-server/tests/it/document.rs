//! The OpenAPI document: unchanged unless meant, and within EverOS's.

#![expect(clippy::disallowed_methods, reason = "the snapshot is a file of the checkout, written on request")]

use crate::kit::{Server, read_json, shared};
use serde_json::{Map, Value};
use std::path::Path;

/// The committed document; its version is fixed so that a release does not change it.
const SNAPSHOT: &str = "../../docs/openapi.json";

fn ours() -> Value {
    serde_json::to_value(evermark_server::document("snapshot")).unwrap()
}

/// `EVERMARK_WRITE_OPENAPI=1 cargo test -p evermark-server document` writes it anew.
#[test]
fn the_document_is_the_committed_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SNAPSHOT);
    let text = format!("{}\n", serde_json::to_string_pretty(&ours()).unwrap());
    if std::env::var_os("EVERMARK_WRITE_OPENAPI").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == text,
        "docs/openapi.json differs; if that is meant, run this test with EVERMARK_WRITE_OPENAPI=1"
    );
}

#[tokio::test]
async fn the_document_is_served() {
    let served = Server::new().get("/openapi.json").await.json();
    assert_eq!(served["paths"], ours()["paths"]);
}

#[test]
fn every_reference_leads_somewhere_and_ids_are_unique() {
    let document = ours();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "no schema {name}");
    }
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
        }
    }
}

/// Two documents, each with its own components.
struct Pair {
    theirs: Value,
    ours: Value,
    wrong: Vec<String>,
}

/// Returns the schema behind references and `null` alternatives.
fn resolve<'a>(document: &'a Value, mut schema: &'a Value) -> &'a Value {
    loop {
        if let Some(reference) = schema["$ref"].as_str() {
            schema = &document["components"]["schemas"][reference.rsplit('/').next().unwrap()];
            continue;
        }
        let choices = ["anyOf", "oneOf"].iter().find_map(|key| schema[*key].as_array()).into_iter().flatten();
        let mut real = choices.filter(|choice| choice["type"] != "null");
        let (Some(one), None) = (real.next(), real.next()) else { return schema };
        schema = one;
    }
}

/// Returns an object's properties and required keys, parts joined by `allOf` included.
fn members(document: &Value, schema: &Value) -> (Map<String, Value>, Vec<String>) {
    let schema = resolve(document, schema);
    let mut properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let mut required: Vec<String> = strings(&schema["required"]);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let (more, needed) = members(document, part);
        properties.extend(more);
        required.extend(needed);
    }
    (properties, required)
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Pair {
    /// Checks that whatever EverOS's clients send, we take.
    fn request(&mut self, at: &str, theirs: &Value, ours: &Value) {
        // A filter's nodes hold nodes: once around is enough.
        if at.contains(".AND.AND") {
            return;
        }
        let (their_fields, their_required) = members(&self.theirs, theirs);
        let (our_fields, our_required) = members(&self.ours, ours);
        for field in our_required.iter().filter(|field| !their_required.contains(field)) {
            self.wrong.push(format!("{at}.{field}: we require it, EverOS does not"));
        }
        for (field, theirs) in &their_fields {
            let Some(ours) = our_fields.get(field) else {
                self.wrong.push(format!("{at}.{field}: we do not know it"));
                continue;
            };
            let at = format!("{at}.{field}").replace(".OR", ".AND");
            self.limits(&at, theirs, ours);
            let (items, our_items) =
                (resolve(&self.theirs, theirs)["items"].clone(), resolve(&self.ours, ours)["items"].clone());
            if items.is_object() {
                self.request(&at, &items, &our_items);
            } else {
                self.request(&at, &theirs.clone(), &ours.clone());
            }
        }
    }

    fn limits(&mut self, at: &str, theirs: &Value, ours: &Value) {
        let (theirs, ours) = (resolve(&self.theirs, theirs).clone(), resolve(&self.ours, ours).clone());
        for key in [
            "minLength",
            "maxLength",
            "pattern",
            "minItems",
            "maxItems",
            "enum",
            "maximum",
            "minimum",
            "exclusiveMinimum",
        ] {
            // -1 or 1..100 is told in prose there and as -1..100 here.
            if theirs.get(key).is_some() && !same(&theirs[key], &ours[key]) && !at.ends_with(".top_k") {
                self.wrong.push(format!("{at}: {key} is {} there and {} here", theirs[key], ours[key]));
            }
        }
    }

    /// Checks that whatever EverOS's clients rely on in an answer, we give.
    fn answer(&mut self, at: &str, theirs: &Value, ours: &Value) {
        let (their_fields, their_required) = members(&self.theirs, theirs);
        let (our_fields, our_required) = members(&self.ours, ours);
        for (field, theirs) in &their_fields {
            let Some(ours) = our_fields.get(field) else {
                self.wrong.push(format!("{at}.{field}: we do not give it"));
                continue;
            };
            // In our documents a key that may be `null` counts as optional; the answers themselves are checked elsewhere.
            let nullable = ours.to_string().contains("\"null\"");
            if their_required.contains(field) && !our_required.contains(field) && !nullable {
                self.wrong.push(format!("{at}.{field}: it may be missing here"));
            }
            let (theirs, ours) = (theirs.clone(), ours.clone());
            let (items, our_items) =
                (resolve(&self.theirs, &theirs)["items"].clone(), resolve(&self.ours, &ours)["items"].clone());
            let at = format!("{at}.{field}");
            if items.is_object() {
                self.answer(&at, &items, &our_items);
            } else {
                self.answer(&at, &theirs, &ours);
            }
        }
    }
}

/// Tells whether two limits are the same number or value.
fn same(theirs: &Value, ours: &Value) -> bool {
    match (theirs.as_f64(), ours.as_f64()) {
        (Some(theirs), Some(ours)) => theirs == ours,
        _ => theirs == ours,
    }
}

/// Returns the shapes of a JSON answer: one, or each of several.
fn shapes<'a>(document: &'a Value, content: &'a Value) -> Vec<&'a Value> {
    let schema = &content["content"]["application/json"]["schema"];
    match schema["anyOf"].as_array() {
        Some(choices) => choices.iter().map(|choice| resolve(document, choice)).collect(),
        None => vec![resolve(document, schema)],
    }
}

#[test]
fn the_document_holds_everything_of_everos_that_we_serve() {
    let Some(path) = shared("contract/openapi-1.5.1.json") else { return };
    let mut pair = Pair { theirs: read_json(&path), ours: ours(), wrong: Vec::new() };
    let mut routes = 0;
    for version in ["v1", "v2"] {
        for route in ["add", "flush", "search", "get"] {
            let path = format!("/api/{version}/memory/{route}");
            let (theirs, ours) =
                (pair.theirs["paths"][&path]["post"].clone(), pair.ours["paths"][&path]["post"].clone());
            assert_eq!(theirs["operationId"], ours["operationId"]);
            let body = |operation: &Value| operation["requestBody"]["content"]["application/json"]["schema"].clone();
            pair.request(&path, &body(&theirs), &body(&ours));
            for (status, content) in theirs["responses"].as_object().unwrap() {
                // EverOS documents a validation error that it does not send; 413 and 429 are bare there.
                if status == "422" || content.get("content").is_none() {
                    continue;
                }
                let document = pair.theirs.clone();
                // 202 is listed among the shapes of 200 there.
                let shape = shapes(&document, content)[0].clone();
                let ours = ours["responses"][status]["content"]["application/json"]["schema"].clone();
                pair.answer(&format!("{path} {status}"), &shape, &ours);
            }
            routes += 1;
        }
    }
    let health = "/health";
    let shape = |document: &Value| {
        document["paths"][health]["get"]["responses"]["200"]["content"]["application/json"]["schema"].clone()
    };
    pair.answer(health, &shape(&pair.theirs), &shape(&pair.ours));
    assert_eq!(pair.theirs["paths"][health]["get"]["operationId"], pair.ours["paths"][health]["get"]["operationId"]);
    assert_eq!(routes, 8);
    assert!(pair.wrong.is_empty(), "{}", pair.wrong.join("\n"));
}
