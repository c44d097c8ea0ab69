//! The root that EverOS 1.5.1 wrote: every file comes back byte for byte, and says what EverOS answered.

use crate::id::Scope;
use crate::markdown::{DailyFile, FileKind, FrontMatter, place, read_file};
use crate::memory::{Body, Digest32, Memory};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Fixture {
    dir: PathBuf,
    expected: Value,
    gets: Value,
    files: BTreeMap<String, Vec<u8>>,
}

/// Unpacks the fixture that stands beside the checkout; says so and returns nothing where it does not.
fn fixture(name: &str) -> Option<Fixture> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    let archive = shared.join("everos-root-1.5.1.tar.gz");
    if !archive.is_file() {
        println!("skipped: there is no {}", archive.display());
        return None;
    }
    let json = |name: &str| serde_json::from_slice(&std::fs::read(shared.join(name)).expect("readable")).expect("JSON");
    let dir = std::env::temp_dir().join(format!("evermark-core-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    let done = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&dir).status().expect("tar runs");
    assert!(done.success());
    let expected: Value = json("expected.json");
    let expected = expected["fixtures"]["everos-root-1.5.1"].clone();
    let sums = expected["markdown_sha256"].as_object().expect("sums");
    let files = sums
        .keys()
        .map(|path| (path.clone(), std::fs::read(dir.join("everos-root-1.5.1").join(path)).expect("there")))
        .collect();
    Some(Fixture { dir, gets: json("everos-root-1.5.1.gets.json"), expected, files })
}

impl Drop for Fixture {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).expect("ours to remove");
    }
}

impl Fixture {
    fn memories(&self) -> Vec<Memory> {
        let mut memories = Vec::new();
        for (path, bytes) in self.files.iter().filter(|(path, _)| place(path).is_some()) {
            let reading = read_file(path, bytes, &TimeZone::UTC, &[]);
            assert_eq!(reading.findings, [], "{path}");
            memories.extend(reading.memories);
        }
        memories
    }
}

#[test]
fn every_file_comes_back_byte_for_byte() {
    let Some(fixture) = fixture("bytes") else { return };
    let mut entries: BTreeMap<String, usize> = BTreeMap::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (path, bytes) in &fixture.files {
        let text = std::str::from_utf8(bytes).expect("EverOS writes UTF-8");
        let file = DailyFile::parse(text);
        assert_eq!(
            fixture.expected["markdown_sha256"][path],
            json!(Digest32::of(file.render().as_bytes()).hex()),
            "{path}"
        );
        let (header, start) = FrontMatter::split(text);
        assert_eq!(format!("{}{}", header.render(), &text[start..]), text);
        let Some(place) = place(path) else {
            assert!(path.contains("/_original/"), "{path}");
            continue;
        };
        assert!(header.is_present() && header.fault().is_none(), "{path}");
        let kind = match place.kind {
            FileKind::Taxonomy => "knowledge_taxonomy",
            _ => header.text("type").expect("a type"),
        };
        *kinds.entry(kind.to_owned()).or_default() += 1;
        if kind.ends_with("_daily") {
            *entries.entry(kind.to_owned()).or_default() += file.entry_count();
        }
        // Written anew from its own values, a front matter says the same.
        let fresh = FrontMatter::fresh(
            header.keys().map(|key| (key, header.get(key).expect("a key").clone())),
            header.newline(),
        );
        assert!(header.keys().all(|key| fresh.get(key) == header.get(key)));
    }
    assert_eq!(json!(entries), fixture.expected["markdown_entries"]);
    assert_eq!(json!(kinds), fixture.expected["markdown_files"]);
}

#[test]
fn rows_per_scope_and_kind_are_those_of_everos() {
    let Some(fixture) = fixture("rows") else { return };
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for memory in fixture.memories() {
        let scope = &memory.owner.scope;
        let name = match memory.body {
            Body::Profile { .. } => format!("user_profile/{}/{}/{}", scope.app, scope.project, memory.owner.id),
            Body::KnowledgeTopic { .. } => format!("knowledge_topic/{}/{}", scope.app, scope.project),
            Body::KnowledgeDocument { .. } => continue,
            _ => format!("{}/{}/{}/{}", memory.kind(), scope.app, scope.project, memory.owner.id),
        };
        *rows.entry(name).or_default() += 1;
    }
    assert_eq!(json!(rows), fixture.expected["lance_rows_by_scope"]);
    let deprecated = fixture.memories().iter().filter(|memory| memory.deprecated_by.is_some()).count();
    assert_eq!(deprecated, 3);
}

#[test]
fn memories_say_what_everos_answered() {
    let Some(fixture) = fixture("gets") else { return };
    let memories = fixture.memories();
    let find = |scope: &Scope, id: &Value| {
        let id = id.as_str().expect("an id");
        memories.iter().find(|memory| memory.owner.scope == *scope && memory.id == id).unwrap_or_else(|| panic!("{id}"))
    };
    let mut compared = 0;
    for answer in fixture.gets["memory_get"].as_array().expect("answers") {
        let data = &answer["response"]["data"];
        for list in ["episodes", "profiles", "agent_cases", "agent_skills"] {
            for item in data[list].as_array().into_iter().flatten() {
                let text = |key: &str| item[key].as_str().unwrap_or_default();
                let memory = find(&Scope::new(text("app_id"), text("project_id")), &item["id"]);
                compared += 1;
                if let Some(session) = item.get("session_id") {
                    assert_eq!(json!(memory.session_id), *session);
                    let time: jiff::Timestamp = text("timestamp").parse().expect("a time");
                    assert_eq!(memory.timestamp_us, Some(time.as_microsecond()));
                }
                match &memory.body {
                    Body::Episode { subject, summary, content } => {
                        assert_eq!(
                            (json!(subject), json!(summary), json!(content)),
                            (item["subject"].clone(), item["summary"].clone(), item["episode"].clone())
                        );
                        assert_eq!(json!(memory.sender_ids), item["sender_ids"]);
                    }
                    Body::Profile { summary, explicit_info, implicit_traits, .. } => {
                        let data = &item["profile_data"];
                        assert_eq!(
                            (&json!(summary), explicit_info, implicit_traits),
                            (&data["summary"], &data["explicit_info"], &data["implicit_traits"])
                        );
                    }
                    Body::AgentCase { task_intent, approach, key_insight, quality_score } => {
                        assert_eq!((task_intent.as_str(), approach.as_str()), (text("task_intent"), text("approach")));
                        assert_eq!(
                            (json!(key_insight), item["quality_score"].as_f64()),
                            (item["key_insight"].clone(), Some(*quality_score))
                        );
                    }
                    Body::AgentSkill { name, description, content, confidence, source_case_ids, .. } => {
                        assert_eq!(
                            (name.as_str(), description.as_str(), content.as_str()),
                            (text("name"), text("description"), text("content"))
                        );
                        assert_eq!(
                            (item["confidence"].as_f64(), &item["source_case_ids"]),
                            (Some(*confidence), &json!(source_case_ids))
                        );
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert!(compared > 180, "{compared}");
    for answer in fixture.gets["knowledge"]["topics"].as_array().expect("topics") {
        let item = &answer["data"];
        let memory = find(&Scope::default(), &item["topic_id"]);
        let Body::KnowledgeTopic {
            doc_id,
            category_id,
            topic_name,
            topic_path,
            summary,
            depth,
            parent_node_id,
            children_node_ids,
            content,
            ..
        } = &memory.body
        else {
            panic!("{memory:?}")
        };
        let ours = json!([
            doc_id,
            category_id,
            topic_name,
            topic_path,
            summary,
            depth,
            parent_node_id,
            children_node_ids,
            content
        ]);
        let keys = [
            "doc_id",
            "category_id",
            "topic_name",
            "topic_path",
            "summary",
            "depth",
            "parent_topic_id",
            "children_topic_ids",
            "content",
        ];
        assert_eq!(ours, Value::Array(keys.iter().map(|key| item[*key].clone()).collect()));
    }
    let item = &fixture.gets["knowledge"]["document"]["data"];
    let Body::KnowledgeDocument { title, summary, source_name, .. } = &find(&Scope::default(), &item["doc_id"]).body
    else {
        panic!()
    };
    assert_eq!(json!([title, summary, source_name]), json!([item["title"], item["summary"], item["source_name"]]));
}
