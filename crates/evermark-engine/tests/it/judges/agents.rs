//! What agents know, searched with a reranker or a language model.

use super::{Court, down, enough, search, stages};
use crate::kit::Kit;
use evermark_core::id::{Kind, Owner, Scope};
use evermark_engine::search::{Method, Scored, SearchRequest};
use evermark_sim::stub_models::Said;
use serde_json::{Value, json};

/// Writes cases and a skill made from the second of them.
fn agent_files(kit: &Kit) {
    let case = |n: u32, intent: &str| {
        format!(
            "<!-- entry:ac_20270203_0000000{n} -->\n## ac_20270203_0000000{n}\n\n**owner_id**: bot\n**session_id**: s\n\
             **timestamp**: 2027-02-03T08:14:30+00:00\n**parent_type**: memcell\n**parent_id**: mc_0a1b2c3d4e5f\n\
             **quality_score**: 0.75\n\n### TaskIntent\n{intent}\n\n### Approach\nsteps of {n}\n<!-- /entry:ac_20270203_0000000{n} -->\n"
        )
    };
    let head = "---\nid: agent_case_log_bot_2027-02-03\ntype: agent_case_daily\nfile_type: agent_case_daily\nschema_version: 1\n\
                agent_id: bot\ntrack: agent\ndate: '2027-02-03'\nentry_count: 2\n---\n";
    let text = format!("{head}{}{}", case(1, "Deploy the website"), case(2, "Deploy the billing service"));
    kit.write("default_app/default_project/agents/bot/.cases/agent_case-2027-02-03.md", &text);
    let skill = |name: &str, description: &str, from: &str| {
        let text = format!(
            "---\nid: bot_{name}\ntype: agent_skill\nschema_version: 1\nagent_id: bot\ntrack: agent\nname: {name}\n\
             description: {description}\nconfidence: 0.6\nmaturity_score: 1.0\nsource_case_ids:\n- {from}\ncluster_id: null\n---\n## Steps\n1. {description}\n"
        );
        kit.write(&format!("default_app/default_project/agents/bot/skills/skill_{name}/SKILL.md"), &text);
    };
    skill("rollback", "Undo a release quickly", "ac_20270203_00000002");
    skill("deploy", "Deploy anything at all", "ac_20270203_00000009");
}

fn of_bot(query: &str, method: Method) -> SearchRequest {
    SearchRequest {
        method: Some(method),
        explain: true,
        ..SearchRequest::new(Owner::agent(Scope::default(), "bot"), query)
    }
}

#[test]
fn a_language_model_orders_an_agents_memories_and_cases_bring_their_skills() {
    let court = Court::new();
    agent_files(&court.kit);
    let engine = court.kit.open();
    engine.quiesce().expect("indexed");
    // By the words of what it is shown: billing first, rolling back useful, deploying anything not.
    court.stub.say_by(|body| {
        let user: Value = serde_json::from_str(body["messages"][1]["content"].as_str().unwrap()).unwrap();
        let ranked: Vec<Value> = user["notes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|note| {
                let text = note["text"].as_str().unwrap();
                let score = if text.contains("billing") {
                    0.9
                } else if text.contains("Undo") {
                    0.8
                } else {
                    0.2
                };
                json!({"id": note["n"], "score": score})
            })
            .collect();
        Said::json(&json!({ "ranked": ranked }))
    });
    let request = SearchRequest { enable_llm_rerank: true, ..of_bot("deploy", Method::Hybrid) };
    let answer = search(&engine, request.clone());
    assert_eq!(stages(&answer), []);
    let ids =
        |rows: &[Scored]| -> Vec<(String, f32)> { rows.iter().map(|row| (row.memory.id.clone(), row.score)).collect() };
    assert_eq!(
        ids(&answer.agent_cases),
        [("bot_ac_20270203_00000002".into(), 0.9), ("bot_ac_20270203_00000001".into(), 0.2)]
    );
    // No word of the question is in the first; it came with its case. The second is below the floor.
    assert_eq!(ids(&answer.agent_skills), [("bot_rollback".into(), 0.8)]);
    assert_eq!((court.stub.chats().len(), court.stub.reranks().len()), (2, 0));

    court.stub.say([down(500), down(500)]);
    let answer = search(&engine, request);
    assert_eq!(stages(&answer), [("llm_rerank", "server_error")]);
    assert_eq!((answer.agent_cases.len(), ids(&answer.agent_skills)[0].0.as_str()), (2, "bot_deploy"));
}

#[test]
fn agents_are_searched_by_every_method() {
    let court = Court::new();
    agent_files(&court.kit);
    let engine = court.kit.open();
    engine.quiesce().expect("indexed");
    court.stub.say([enough(), Said::json(&json!({"core": [2], "next_queries": []}))]);
    for method in [Method::Agentic, Method::LlmMultiround] {
        let answer = search(&engine, of_bot("deploy billing", method));
        assert_eq!(stages(&answer), [], "{method:?}");
        assert_eq!((answer.agent_cases.len(), answer.agent_skills.len()), (2, 1), "{method:?}");
        assert!(answer.agent_cases.iter().chain(&answer.agent_skills).all(|row| row.memory.kind() != Kind::Episode));
    }
    assert_eq!(court.stub.chats().len(), 2);
}
