use super::{Category, parse_taxonomy, render_taxonomy, render_whole};
use crate::id::{Owner, Scope};
use crate::markdown::{NotEditable, read_file};
use crate::memory::{Body, Memory};
use jiff::tz::TimeZone;
use serde_json::json;

const PROFILE: &str = "default_app/default_project/users/mira/user.md";
const SKILL: &str = "default_app/default_project/agents/mira/skills/skill_x/SKILL.md";
const DOCUMENT: &str = "default_app/default_project/knowledge/Food/Kettle_d_0/index.md";
const TOPIC: &str = "default_app/default_project/knowledge/Food/Kettle_d_0/1_Setup.md";

fn memory(owner: Owner, id: &str, path: &str, body: Body) -> Memory {
    Memory {
        owner,
        id: id.into(),
        entry_id: String::new(),
        path: path.into(),
        session_id: None,
        timestamp_us: None,
        parent_type: None,
        parent_id: None,
        sender_ids: vec![],
        message_ids: vec![],
        deprecated_by: None,
        body,
    }
}

fn profile(summary: &str) -> Memory {
    let body = Body::Profile {
        summary: summary.into(),
        explicit_info: json!([{"category": "Food", "description": "Drinks oolong", "evidence": "ordered it"}]),
        implicit_traits: json!([]),
        profile_timestamp_ms: 1_801_642_470_000,
    };
    memory(Owner::user(Scope::default(), "mira"), "mira", PROFILE, body)
}

fn render(memory: &Memory, existing: Option<&str>) -> String {
    render_whole(memory, existing).expect("fills a file").expect("editable")
}

#[test]
fn a_profile_is_written_as_everos_writes_it() {
    let expected = "---
id: profile_mira
type: user_profile
schema_version: 1
user_id: mira
track: user
summary: Drinks oolong
explicit_info:
- category: Food
  description: Drinks oolong
  evidence: ordered it
implicit_traits: []
profile_timestamp_ms: 1801642470000
---
Drinks oolong
";
    assert_eq!(render(&profile("Drinks oolong"), None), expected);
    let edited = expected.replace("track: user\n", "track: user # me\nmood: good\n").replace('\n', "\r\n");
    let changed = render(&profile("Drinks sencha"), Some(&edited));
    assert_eq!(
        changed,
        edited
            .replace("summary: Drinks oolong", "summary: Drinks sencha")
            .replace("---\r\nDrinks oolong", "---\r\nDrinks sencha")
    );
    assert_eq!(render(&profile("Drinks oolong"), Some(&edited)), edited);
    assert_eq!(render_whole(&profile("x"), Some("---\nbroken: [\n---\n")), Some(Err(NotEditable)));
    assert!(render(&profile("x"), Some("\u{feff}loose")).starts_with("\u{feff}---\nid: profile_mira\n"));
}

#[test]
fn every_kind_comes_back() {
    let knowledge = Owner::knowledge(Scope::default());
    let skill = Body::AgentSkill {
        name: "reorder".into(),
        description: "Repeat: an earlier order".into(),
        content: "## Steps\n1. open".into(),
        confidence: 0.6,
        maturity_score: 1.0,
        source_case_ids: vec!["ac_1".into()],
        cluster_id: None,
    };
    let document = Body::KnowledgeDocument {
        category_id: "Food".into(),
        title: "Kettle: manual".into(),
        summary: "How to use it.".into(),
        source_name: Some("kettle.md".into()),
        source_type: None,
    };
    let topic = Body::KnowledgeTopic {
        doc_id: "d_0".into(),
        category_id: "Food".into(),
        topic_index: 1,
        topic_name: "Setup".into(),
        topic_path: "Kettle > Setup".into(),
        summary: "First\nuse".into(),
        depth: 1,
        parent_node_id: None,
        children_node_ids: vec!["d_0_2".into()],
        content_labels: vec![],
        content: "---\nFill to the line.\n".into(),
    };
    for memory in [
        profile("Drinks oolong"),
        memory(Owner::agent(Scope::default(), "mira"), "mira_reorder", SKILL, skill),
        memory(knowledge.clone(), "d_0", DOCUMENT, document),
        memory(knowledge, "d_0_1", TOPIC, topic),
    ] {
        let text = render(&memory, None);
        let reading = read_file(&memory.path, text.as_bytes(), &TimeZone::UTC, &[]);
        assert_eq!((reading.memories, reading.findings), (vec![memory], vec![]), "{text}");
    }
    let fact =
        memory(Owner::user(Scope::default(), "u"), "f", "p", Body::AtomicFact { fact: "x".into(), context: None });
    assert_eq!(render_whole(&fact, None), None);
}

#[test]
fn a_taxonomy_comes_back() {
    let categories = vec![
        Category { id: "Kitchen".into(), description: "Appliance papers".into() },
        Category { id: "Other: things".into(), description: String::new() },
    ];
    let text = render_taxonomy(&categories);
    assert!(
        text.starts_with(
            "---\nkind: knowledge_taxonomy\ncategories:\n- id: Kitchen\n  description: Appliance papers\n"
        )
    );
    assert_eq!(parse_taxonomy("p", text.as_bytes()), Ok(categories));
    let check = |text: &str, code: &str| assert_eq!(parse_taxonomy("p", text.as_bytes()).expect_err(code).code, code);
    check("", "wrong_type");
    check("---\nkind: knowledge_taxonomy\n---\n", "field_missing");
    check("---\nkind: [\n---\n", "front_matter_invalid");
    check("---\nkind: knowledge_taxonomy\0\n---\n", "nul");
}
