use super::{FileReading, read_file};
use crate::id::{Kind, Owner, Scope};
use crate::memory::{Body, Memory};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::json;

mod everos;

const EPISODES: &str = "default_app/default_project/users/mira/episodes/episode-2027-02-03.md";
const FACTS: &str = "clinic/zh/users/mira/.atomic_facts/atomic_fact-2027-02-03.md";
const FORESIGHTS: &str = "default_app/default_project/users/mira/.foresights/foresight-2027-02-03.md";
const CASES: &str = "default_app/default_project/agents/bot/.cases/agent_case-2027-02-03.md";
const PROFILE: &str = "default_app/default_project/users/mira/user.md";
const SKILL: &str = "default_app/default_project/agents/bot/skills/skill_x/SKILL.md";
const DOCUMENT: &str = "default_app/default_project/knowledge/Food/Kettle_d_0123456789ab/index.md";
const TOPIC: &str = "default_app/default_project/knowledge/Food/Kettle_d_0123456789ab/1_Setup.md";
const WHEN: i64 = 1_801_642_470_000_000;

fn read(path: &str, text: &str) -> FileReading {
    read_file(path, text.as_bytes(), &TimeZone::UTC, &[])
}

fn codes(reading: &FileReading) -> Vec<(&str, Option<&str>, Option<usize>)> {
    reading.findings.iter().map(|finding| (finding.code, finding.entry.as_deref(), finding.line)).collect()
}

fn ids(reading: &FileReading) -> Vec<&str> {
    reading.memories.iter().map(|memory| memory.id.as_str()).collect()
}

fn one(path: &str, text: &str) -> Memory {
    let mut reading = read(path, text);
    assert_eq!(codes(&reading), [], "{text}");
    assert_eq!(reading.memories.len(), 1);
    reading.memories.remove(0)
}

fn fact(id: &str, inline: &str, text: &str) -> String {
    format!("<!-- entry:{id} -->\n## {id}\n\n{inline}\n\n### Fact\n{text}\n<!-- /entry:{id} -->\n")
}

const TIME: &str = "**timestamp**: 2027-02-03T08:14:30+00:00";

#[test]
fn an_episode_is_read_whole() {
    let text = "---
id: episode_log_mira_2027-02-03
type: episode_daily
user_id: mira
deprecated_entries:
  ep_20270203_00000001: ep_20270203_00000009
---
<!-- entry:ep_20270203_00000001 -->
## ep_20270203_00000001

**owner_id**: mira
**session_id**: tea 7
**timestamp**: 2027-02-03T09:14:30+01:00
**parent_type**: memcell
**parent_id**: mc_0a1b2c3d4e5f
**sender_ids**: [mira, helper]
**message_ids**: [\"m_tea 7, a_1_000\"]

### Subject
Tea order

### Content
Mira asked.

Twice.
<!-- /entry:ep_20270203_00000001 -->
";
    let memory = one(EPISODES, text);
    let expected = Memory {
        owner: Owner::user(Scope::default(), "mira"),
        id: "mira_ep_20270203_00000001".into(),
        entry_id: "ep_20270203_00000001".into(),
        path: EPISODES.into(),
        session_id: Some("tea 7".into()),
        timestamp_us: Some(WHEN),
        parent_type: Some("memcell".into()),
        parent_id: Some("mc_0a1b2c3d4e5f".into()),
        sender_ids: vec!["mira".into(), "helper".into()],
        message_ids: vec!["m_tea 7, a_1_000".into()],
        deprecated_by: Some("ep_20270203_00000009".into()),
        body: Body::Episode {
            subject: Some("Tea order".into()),
            summary: None,
            content: "Mira asked.\n\nTwice.".into(),
        },
    };
    assert_eq!(memory, expected);
    assert_eq!(one(EPISODES, &text.replace('\n', "\r\n")), expected);
    assert_eq!(one(EPISODES, &format!("\u{feff}{text}")), expected);
}

#[test]
fn the_other_daily_kinds_are_read() {
    let fact = one(
        FACTS,
        &format!("---\nuser_id: other\n---\n{}", fact("af_hand", &format!("{TIME}\n**speaker**: lin"), "Tea.")),
    );
    assert_eq!((fact.id.as_str(), &fact.owner), ("other_af_hand", &Owner::user(Scope::new("clinic", "zh"), "other")));
    assert_eq!(
        (fact.sender_ids.as_slice(), fact.body),
        (["lin".to_owned()].as_slice(), Body::AtomicFact { fact: "Tea.".into(), context: None })
    );

    let text = format!(
        "---\nuser_id: mira\n---\n<!-- entry:f -->\n{TIME}\n**start_time**: 2027-02-03\n**duration_days**: 2\n### Foresight\nTea.\n### Evidence\nFriday.\n<!-- /entry:f -->"
    );
    let body = Body::Foresight {
        foresight: "Tea.".into(),
        evidence: "Friday.".into(),
        start_time: Some("2027-02-03".into()),
        end_time: None,
        duration_days: Some(2),
    };
    assert_eq!(one(FORESIGHTS, &text).body, body);

    let text = format!(
        "---\nagent_id: bot\n---\n<!-- entry:c -->\n{TIME}\n**quality_score**: 0.75\n### TaskIntent\nOrder.\n### Approach\n1. find\n<!-- /entry:c -->"
    );
    let body = Body::AgentCase {
        task_intent: "Order.".into(),
        approach: "1. find".into(),
        key_insight: None,
        quality_score: 0.75,
    };
    let case = one(CASES, &text);
    assert_eq!((case.id.as_str(), case.owner, case.body), ("bot_c", Owner::agent(Scope::default(), "bot"), body));
}

#[test]
fn a_bad_entry_costs_only_itself() {
    let head = "---\nuser_id: mira\n---\n";
    let good = fact("g1", TIME, "Good.") + &fact("g2", "**timestamp**: 2027-02-03T08:14:30", "Good.");
    let check = |bad: &str, code: &str, entry: Option<&str>, line: usize| {
        let reading = read(FACTS, &format!("{head}{bad}{good}"));
        assert_eq!(ids(&reading), ["mira_g1", "mira_g2"], "{bad:?}");
        assert_eq!(codes(&reading), [(code, entry, Some(line))], "{bad:?}");
    };
    check(&fact("b", "**owner_id**: mira", "Bad."), "inline_missing", Some("b"), 4);
    check(&fact("b", "**timestamp**:", "Bad."), "inline_missing", Some("b"), 4);
    check(&fact("b", "**timestamp**: yesterday", "Bad."), "inline_invalid", Some("b"), 4);
    check(&fact("b", TIME, " \n"), "section_missing", Some("b"), 4);
    check(&fact("b", TIME, "Bad.").replace("### Fact", "### Other"), "section_missing", Some("b"), 4);
    check(&format!("<!-- entry:b -->\n{TIME}\n### Fact\nBad.\n"), "entry_unterminated", Some("b"), 4);
    check(&fact("b", TIME, "Bad.").replace("/entry:b", "/entry:x"), "entry_mismatched", Some("b"), 4);
    check("<!-- /entry:b -->\n", "entry_not_opened", Some("b"), 4);
    check(&fact("b", TIME, "a\0c"), "nul", Some("b"), 10);
    check("text \0\n", "nul", None, 4);
    let reading = read(FACTS, &format!("{head}{}{}{good}", fact("g1", TIME, "First."), fact("g1", TIME, "Second.")));
    assert_eq!(ids(&reading), ["mira_g1", "mira_g2"]);
    assert_eq!(reading.memories[0].body, Body::AtomicFact { fact: "First.".into(), context: None });
    assert_eq!(codes(&reading), [("entry_duplicate", Some("g1"), Some(12)), ("entry_duplicate", Some("g1"), Some(20))]);
}

#[test]
fn bytes_that_are_no_text_cost_only_their_entry() {
    let mut bytes = b"---\nuser_id: mira\n---\n".to_vec();
    bytes.extend(fact("a", TIME, "Good.").into_bytes());
    bytes.extend(fact("b", TIME, "caf\u{e9}").chars().map(|c| c as u8));
    bytes.extend(fact("c", TIME, "Good.").into_bytes());
    let reading = read_file(FACTS, &bytes, &TimeZone::UTC, &[]);
    assert_eq!(ids(&reading), ["mira_a", "mira_c"]);
    assert_eq!(codes(&reading), [("not_utf8", Some("b"), Some(18))]);
    // A file that lost its end to a crash: NULs behind what was written.
    let text = format!("---\nuser_id: mira\n---\n{}<!-- entry:b -->\n{}", fact("a", TIME, "Good."), "\0".repeat(4096));
    let reading = read(FACTS, &text);
    assert_eq!(ids(&reading), ["mira_a"]);
    assert_eq!(codes(&reading), [("entry_unterminated", Some("b"), Some(12)), ("nul", None, Some(13))]);
    assert_eq!(codes(&read_file(FACTS, b"\xff\xfe-\0-\0", &TimeZone::UTC, &[]))[0].0, "owner_missing");
}

#[test]
fn a_bad_head_leaves_the_entries() {
    let entry = fact("a", TIME, "Good.");
    let check = |head: &str, expected: &[(&str, Option<usize>)], owner: &str| {
        let reading = read(FACTS, &format!("{head}{entry}"));
        assert_eq!(ids(&reading), [format!("{owner}_a")], "{head:?}");
        let told: Vec<_> = reading.findings.iter().map(|finding| (finding.code, finding.line)).collect();
        assert_eq!(told, expected, "{head:?}");
    };
    check("", &[("owner_missing", Some(1))], "mira");
    check("---\nuser_id: lin\n", &[("front_matter_unterminated", Some(1))], "mira");
    check("---\nuser_id: [\n---\n", &[("front_matter_invalid", Some(3))], "mira");
    check("---\n- lin\n---\n", &[("front_matter_invalid", Some(2))], "mira");
    check("---\nuser_id:\n---\n", &[("owner_missing", Some(2))], "mira");
    check("---\nuser_id: 007\n---\n", &[], "007");
    check("---\nuser_id: a b/c\n---\n", &[], "a b/c");
    check("---\nuser_id: x\ndeprecated_entries: [a]\n---\n", &[("deprecated_invalid", Some(3))], "x");
    check("---\nuser_id: x\ndeprecated_entries:\n  a: [1]\n---\n", &[("deprecated_invalid", Some(3))], "x");
    let reading = read(FACTS, &format!("---\nuser_id: x\ntype: episode_daily\n---\n{entry}"));
    assert_eq!(
        (ids(&reading).len(), reading.entry_count, codes(&reading)),
        (0, 1, vec![("wrong_type", None, Some(3))])
    );
}

#[test]
fn numbers_that_are_none_are_told() {
    let text = format!(
        "---\nagent_id: bot\n---\n<!-- entry:c -->\n{TIME}\n**quality_score**: good\n### TaskIntent\nOrder.\n<!-- /entry:c -->\n<!-- entry:d -->\n{TIME}\n**quality_score**: nan\n### TaskIntent\nOrder.\n<!-- /entry:d -->"
    );
    assert_eq!(
        codes(&read(CASES, &text)),
        [("inline_invalid", Some("c"), Some(4)), ("inline_invalid", Some("d"), Some(10))]
    );
    let text = format!(
        "---\nuser_id: mira\n---\n<!-- entry:f -->\n{TIME}\n**duration_days**: two\n### Foresight\nTea.\n<!-- /entry:f -->"
    );
    let reading = read(FORESIGHTS, &text);
    assert_eq!((reading.memories.len(), codes(&reading)), (1, vec![("inline_invalid", Some("f"), Some(4))]));
}

#[test]
fn a_profile_is_its_front_matter() {
    let memory = one(
        PROFILE,
        "---\ntype: user_profile\nuser_id: mira\nsummary: Drinks oolong\nexplicit_info:\n- category: Food\n  evidence: 7\nimplicit_traits: []\nprofile_timestamp_ms: 1801642470000\n---\nignored",
    );
    let body = Body::Profile {
        summary: "Drinks oolong".into(),
        explicit_info: json!([{"category": "Food", "evidence": 7}]),
        implicit_traits: json!([]),
        profile_timestamp_ms: 1_801_642_470_000,
    };
    assert_eq!((memory.id.as_str(), memory.kind(), memory.body), ("mira", Kind::Profile, body));
    let check = |text: &str, code: &str| assert_eq!(codes(&read(PROFILE, text))[0].0, code, "{text:?}");
    check("no head", "front_matter_missing");
    check("---\nuser_id: [\n---\n", "front_matter_invalid");
    check("---\nuser_id: mira\n", "front_matter_unterminated");
    check("---\ntype: agent_skill\nuser_id: mira\n---\n", "wrong_type");
    check("---\nuser_id: mi\0ra\n---\n", "nul");
    check("---\nuser_id: mira\nprofile_timestamp_ms: soon\n---\n", "field_invalid");
    check("---\nsummary: x\n---\n", "owner_missing");
}

#[test]
fn a_skill_takes_its_references_along() {
    let text = "---\ntype: agent_skill\nagent_id: bot\nname: reorder\ndescription: Repeat\nconfidence: 0.6\nmaturity_score: 1\nsource_case_ids:\n- ac_1\ncluster_id: null\n---\n## Steps\n1. open\n\n";
    let references = [
        ("b.md".to_owned(), "second\n".to_owned()),
        ("a.md".to_owned(), "first\n\n".to_owned()),
        ("c.md".to_owned(), "\n".to_owned()),
    ];
    let reading = read_file(SKILL, text.as_bytes(), &TimeZone::UTC, &references);
    let body = Body::AgentSkill {
        name: "reorder".into(),
        description: "Repeat".into(),
        content: "## Steps\n1. open\n\nfirst\n\nsecond".into(),
        confidence: 0.6,
        maturity_score: 1.0,
        source_case_ids: vec!["ac_1".into()],
        cluster_id: None,
    };
    assert_eq!((ids(&reading), &reading.memories[0].body), (vec!["bot_reorder"], &body));
    let check = |from: &str, to: &str, code: &str| {
        assert_eq!(codes(&read(SKILL, &text.replacen(from, to, 1)))[0].0, code, "{to:?}")
    };
    check("name: reorder", "name: ../x", "name_unsafe");
    check("name: reorder", "name: ..", "name_unsafe");
    check("name: reorder", "name:", "field_missing");
    check("confidence: 0.6", "confidence: high", "field_invalid");
}

#[test]
fn knowledge_is_the_projects_own() {
    let memory = one(
        DOCUMENT,
        "---\ntype: knowledge_document\nid: d_0\ndoc_id: d_0123456789ab\ncategory_id: Food\ntitle: 'Kettle: manual'\nsource_name: kettle.md\n---\nHow to use it.\n",
    );
    let body = Body::KnowledgeDocument {
        category_id: "Food".into(),
        title: "Kettle: manual".into(),
        summary: "How to use it.".into(),
        source_name: Some("kettle.md".into()),
        source_type: None,
    };
    assert_eq!(
        (memory.id.as_str(), memory.owner, memory.body),
        ("d_0123456789ab", Owner::knowledge(Scope::default()), body)
    );
    let memory = one(
        TOPIC,
        "---\ntype: knowledge_topic\nid: d_0123456789ab_1\nnode_id: d_0123456789ab_1\ndoc_id: d_0123456789ab\ncategory_id: Food\ntopic_index: 1\ntopic_name: Setup\ntopic_path: Kettle > Setup\nsummary: First use\ndepth: 1\nparent_node_id: null\nchildren_node_ids: [d_0123456789ab_2]\ncontent_labels: []\n---\nFill to the line.\n",
    );
    let body = Body::KnowledgeTopic {
        doc_id: "d_0123456789ab".into(),
        category_id: "Food".into(),
        topic_index: 1,
        topic_name: "Setup".into(),
        topic_path: "Kettle > Setup".into(),
        summary: "First use".into(),
        depth: 1,
        parent_node_id: None,
        children_node_ids: vec!["d_0123456789ab_2".into()],
        content_labels: vec![],
        content: "Fill to the line.\n".into(),
    };
    assert_eq!((memory.id.as_str(), memory.body), ("d_0123456789ab_1", body));
    assert_eq!(codes(&read(DOCUMENT, "---\ndoc_id: d_0\n---\n"))[0].0, "wrong_type");
    assert_eq!(codes(&read(DOCUMENT, "---\ntype: knowledge_topic\n---\n"))[0].0, "wrong_type");
    assert_eq!(codes(&read(TOPIC, "---\ntype: knowledge_topic\n---\n"))[0].0, "field_missing");
    assert_eq!(codes(&read("notes.md", ""))[0].0, "not_ours");
}

#[test]
fn a_huge_entry_is_told_and_left_out() {
    let text = format!(
        "---\nuser_id: mira\n---\n{}{}",
        fact("a", TIME, &"x".repeat(super::ENTRY_BYTES_MAX)),
        fact("b", TIME, "Good.")
    );
    let reading = read(FACTS, &text);
    assert_eq!((ids(&reading), codes(&reading)), (vec!["mira_b"], vec![("entry_too_large", Some("a"), Some(4))]));
}

#[test]
fn findings_are_bounded() {
    let text =
        format!("---\nuser_id: mira\n---\n{}", (0..5000).map(|n| fact(&format!("e{n}"), "", "x")).collect::<String>());
    let reading = read(FACTS, &text);
    assert_eq!((reading.entry_count, reading.findings.len()), (5000, super::FINDINGS_MAX + 1));
}

proptest! {
    #[test]
    fn nothing_panics_on_bytes(kind in 0usize..8, bytes in proptest::collection::vec(any::<u8>(), 0..64), parts in proptest::collection::vec(proptest::sample::select(vec![
        "---\n", "user_id: a\n", "type: x\n", "<!-- entry:a -->\n", "<!-- /entry:a -->\n", "**timestamp**: 2027-02-03\n", "### Fact\n", "x\n", "\0", "name: a\n", "\u{feff}",
    ]), 0..16)) {
        let path = [EPISODES, FACTS, FORESIGHTS, CASES, PROFILE, SKILL, DOCUMENT, TOPIC][kind];
        let mixed = [parts.concat().as_bytes(), &bytes].concat();
        let _reading = read_file(path, &mixed, &TimeZone::UTC, &[]);
    }
}
