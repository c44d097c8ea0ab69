//! Searches that ask a reranker and a language model, on the command line and through a daemon.

use crate::kit::{Daemon, Home, body};
use evermark_sim::stub_http::Reply;
use evermark_sim::stub_models::{Said, StubModels};
use serde_json::{Value, json};

/// A root with three memories, whose judges are a stub.
fn home(stub: &StubModels) -> Home {
    let mut home = Home::new();
    home.set("EVERMARK_RERANK__PROVIDER", "vllm").set("EVERMARK_RERANK__BASE_URL", &stub.base_url());
    home.set("EVERMARK_LLM__BASE_URL", &stub.base_url()).set("EVERMARK_LLM__MODEL", "stub-llm");
    home.set("EVERMARK_LLM__API_KEY", "sk-judge-0123456789").set("EVERMARK_LLM__MAX_RETRIES", "0");
    let texts = ["I drink oolong tea every morning.", "Jonas sold me the kettle.", "The train to Porto was late."];
    for (n, text) in texts.iter().enumerate() {
        home.pipe(&["add", "--flush", "--wait", "indexed"], &body(&format!("s{n}"), "ana", &[text])).ok();
    }
    home
}

fn stages(answer: &Value) -> Vec<&str> {
    answer["degraded"].as_array().expect("a list").iter().filter_map(|one| one["stage"].as_str()).collect()
}

#[test]
fn judged_searches_work_with_and_without_a_daemon_and_nothing_else_asks() {
    let stub = StubModels::start();
    let home = home(&stub);
    home.search("kettle", "ana");
    home.run(&["status"]).ok();
    home.run(&["doctor"]);
    assert_eq!((stub.chats().len(), stub.reranks().len()), (0, 0));

    let agentic = ["search", "who sold the kettle", "--user", "ana", "--method", "agentic", "--explain"];
    let not_enough = || Said::json(&json!({"is_sufficient": false, "reasoning": "what did Ana drink"}));
    let further = || Said::json(&json!({"queries": ["oolong tea every morning"]}));
    stub.say([not_enough(), further()]);
    let said = home.run(&agentic);
    assert!(said.ok().stdout.contains("round 1: oolong tea every morning"), "{said:?}");
    assert!(said.stdout.contains("reranked") && said.stdout.contains("not enough"), "{said:?}");

    let asked = (stub.chats().len(), stub.reranks().len());
    assert!(asked.0 == 2 && asked.1 >= 1, "{asked:?}");
    let daemon = Daemon::start(&home, &[]);
    assert_eq!((stub.chats().len(), stub.reranks().len()), asked, "a start asks nobody");
    stub.say([not_enough(), further()]);
    let json = home.run(&[&agentic[..], &["--json"]].concat()).json();
    assert_eq!((stages(&json), json["rounds"].as_array().map(Vec::len)), (vec![], Some(2)), "{json}");
    assert!(json["episodes"].as_array().is_some_and(|found| found.len() >= 2), "{json}");
    assert_eq!(stub.chats()[0].headers["authorization"], "Bearer sk-judge-0123456789");

    stub.say([Said::json(&json!({"core": [1], "next_queries": []}))]);
    let rounds = home.run(&["search", "kettle", "-u", "ana", "--method", "llm_multiround", "--json"]).json();
    assert_eq!(rounds["method"], "llm_multiround");
    assert!(rounds["episodes"][0].to_string().contains("kettle"), "{rounds}");

    stub.say([Said::Reply(Reply::status(500, "down"))]);
    let down = home.run(&[&agentic[..], &["--json"]].concat()).json();
    assert!(stages(&down).contains(&"sufficiency") && down["episodes"][0].to_string().contains("kettle"), "{down}");
    let health = daemon.get("/health").expect("it answers");
    assert_eq!((&health["capabilities"]["llm"], &health["capabilities"]["rerank"]), (&json!(true), &json!(true)));
    assert!(home.run(&["status"]).ok().stdout.contains("stub-llm: "));
    daemon.stop();
}

#[test]
fn a_key_goes_to_its_own_address_only() {
    let (stub, other) = (StubModels::start(), StubModels::start());
    let mut home = home(&stub);
    let rounds = ["search", "kettle", "-u", "ana", "--method", "llm_multiround", "--json"];
    home.set("EVERMARK_DECIDER__BASE_URL", &other.base_url());
    home.run(&rounds).ok();
    let asked = other.chats().remove(0);
    assert_eq!((asked.headers.get("authorization"), &asked.body["model"]), (None, &json!("stub-llm")));
    home.set("EVERMARK_DECIDER__API_KEY", "sk-decider-0123456789").set("EVERMARK_DECIDER__MODEL", "stub-decider");
    home.run(&rounds).ok();
    let asked = other.chats().remove(1);
    assert_eq!(asked.headers["authorization"], "Bearer sk-decider-0123456789");
    assert_eq!((&asked.body["model"], stub.chats().len()), (&json!("stub-decider"), 0));
    // Without an address of its own it is the same endpoint, with another model.
    home.set("EVERMARK_DECIDER__BASE_URL", "").set("EVERMARK_DECIDER__API_KEY", "");
    home.run(&rounds).ok();
    let asked = stub.chats().remove(0);
    assert_eq!(asked.headers["authorization"], "Bearer sk-judge-0123456789");
    assert_eq!(asked.body["model"], "stub-decider");
}

#[test]
fn what_is_not_configured_is_told_with_its_name() {
    let home = Home::new();
    home.pipe(&["add", "--flush", "--wait", "indexed"], &body("s", "ana", &["I drink oolong tea."])).ok();
    let refused = |more: &[&str], says: &str| {
        let said = home.run(&[&["search", "tea", "--user", "ana"], more].concat());
        assert!(said.code() != Some(0) && said.stderr.contains(says), "{said:?}");
    };
    refused(&["--method", "agentic"], "rerank, which is not configured");
    refused(&["--method", "llm_multiround"], "llm, which is not configured");
    refused(&["--rerank"], "rerank, which is not configured");
    refused(&["--rerank", "--method", "keyword"], "hybrid");
    let local = [("EVERMARK_RERANK__PROVIDER", "local"), ("EVERMARK_RERANK__MODEL", "cross-encoder/x")];
    assert!(home.run_with(&["doctor", "--offline"], &local).stdout.contains("evermark model fetch cross-encoder/x"));
    // One whose weights are not there is skipped: they may come.
    let answer = home.run_with(&["search", "tea", "--user", "ana", "--rerank", "--json"], &local).json();
    assert!(stages(&answer).contains(&"rerank") && answer["episodes"][0].to_string().contains("oolong"), "{answer}");
}
