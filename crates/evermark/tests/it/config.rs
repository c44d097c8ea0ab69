//! Where settings come from, and what is refused.

use crate::kit::Home;
use serde_json::{Value, json};

#[track_caller]
fn shown(home: &Home, env: &[(&str, &str)]) -> Value {
    home.run_with(&["config", "show", "--json"], env).json()
}

#[test]
fn the_best_place_wins_and_is_named() {
    let home = Home::new();
    let port = |env: &[(&str, &str)]| {
        let shown = shown(&home, env);
        let port = shown["values"]["api.port"].clone();
        (port["value"].clone(), port["source"].as_str().expect("a text").to_owned())
    };
    assert_eq!(port(&[]), (json!(8000), "default".to_owned()));
    home.write("everos.toml", "[api]\nport = 7001\n");
    assert_eq!(port(&[]), (json!(7001), format!("{}:2", home.root().join("everos.toml").display())));
    home.write("evermark.toml", "# mine\n[api]\nport = 7002\n");
    assert_eq!(port(&[]), (json!(7002), format!("{}:3", home.root().join("evermark.toml").display())));
    let theirs = ("EVEROS_API__PORT", "7003");
    assert_eq!(port(&[theirs]), (json!(7003), "env EVEROS_API__PORT".to_owned()));
    let ours = ("EVERMARK_API__PORT", "7004");
    assert_eq!(port(&[theirs, ours]), (json!(7004), "env EVERMARK_API__PORT".to_owned()));
    // An empty variable counts as absent.
    assert_eq!(port(&[theirs, ("EVERMARK_API__PORT", "")]).0, json!(7003));
}

#[test]
fn the_root_is_chosen_by_flag_then_variables_then_home() {
    let home = Home::new();
    let root = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = home.command(args);
        command.env_remove("EVERMARK_ROOT").envs(env.iter().copied());
        let ran = command.output().expect("it runs");
        let shown: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        (shown["root"]["value"].as_str().expect("a path").to_owned(), shown["root"]["source"].clone())
    };
    let show = ["config", "show", "--json"];
    let usual = home.path().join(".evermark").display().to_string();
    assert_eq!(root(&show, &[]), (usual, json!("default")));
    assert_eq!(root(&show, &[("EVEROS_ROOT", "/tmp/e")]), ("/tmp/e".to_owned(), json!("env EVEROS_ROOT")));
    let both = [("EVEROS_ROOT", "/tmp/e"), ("EVERMARK_ROOT", "~/m")];
    assert_eq!(root(&show, &both), (home.path().join("m").display().to_string(), json!("env EVERMARK_ROOT")));
    let flagged = ["config", "show", "--json", "--root", "/tmp/f"];
    assert_eq!(root(&flagged, &both), ("/tmp/f".to_owned(), json!("flag --root")));
}

#[test]
fn what_cannot_be_meant_is_refused_by_name_value_place_and_rule() {
    let home = Home::new();
    let bad = [
        ("EVERMARK_API__PORT", "65536", "0 to 65535"),
        ("EVERMARK_API__PORT", "-1", "0 to 65535"),
        ("EVERMARK_API__HOST", "example.com", "IP address"),
        ("EVERMARK_API__TOKEN", "short", "16 to 4096"),
        ("EVERMARK_MEMORY__TIMEZONE", "Mars/Olympus", "IANA"),
        ("EVERMARK_SYNC__SWEEP_INTERVAL_SECONDS", "0", "seconds from"),
        ("EVERMARK_SYNC__SWEEP_INTERVAL_SECONDS", "-5", "seconds from"),
        ("EVERMARK_SYNC__SWEEP_INTERVAL_SECONDS", "1e300", "seconds from"),
        ("EVERMARK_SYNC__SWEEP_INTERVAL_SECONDS", "NaN", "seconds from"),
        ("EVERMARK_SYNC__SETTLE_MS", "99999999999", "whole number"),
        ("EVERMARK_SYNC__WATCH", "perhaps", "true or false"),
        ("EVERMARK_EMBEDDING__BATCH_SIZE", "0", "1 to 2048"),
        ("EVERMARK_EMBEDDING__DIM", "0", "1 to 16384"),
        ("EVERMARK_EMBEDDING__TIMEOUT_SECONDS", "inf", "seconds from"),
        ("EVERMARK_EMBEDDING__BASE_URL", "localhost:11434", "http://"),
        ("EVERMARK_EMBEDDING__PROVIDER", "magic", "builtin, none, local, openai"),
        ("EVERMARK_INDEX__FLUSH_ROWS_MAX", "0", "whole number"),
        ("EVERMARK_INDEX__RATIO", "0", "a number from 1"),
        ("EVERMARK_INDEX__RATIO", "-2", "a number from 1"),
        ("EVERMARK_INDEX__SLACK_BYTES", "1000", "whole number"),
        ("EVERMARK_INDEX__BYTES_MAX", "0", "whole number"),
        ("EVERMARK_INDEX__BEAT_AFTER_SECONDS", "0", "seconds from"),
        ("EVERMARK_INDEX__STEP_LIMIT_SECONDS", "-1", "seconds from"),
        ("EVERMARK_SPACE__LOW_PERCENT", "101", "whole number"),
        ("EVERMARK_SPACE__OUT_BYTES", "99999999999", "space is low before it is out"),
        ("EVERMARK_EXTRACT__SEGMENT_GAP_SECONDS", "0.5", "seconds from"),
        ("EVERMARK_RERANK__PROVIDER", "magic", "none, local, deepinfra, vllm, dashscope"),
        ("EVERMARK_DECIDER__MAX_ROUNDS", "0", "1 to 10"),
        ("EVERMARK_SEARCH__JUDGES_TIMEOUT_SECONDS", "0", "seconds from"),
        ("EVERMARK_LOG", "loud=very=", "a level"),
    ];
    for (name, value, rule) in bad {
        let ran = home.run_with(&["config", "show"], &[(name, value)]);
        let said = ran.fails(2, name);
        assert!(said.stderr.contains(rule), "{name}={value}: {}", said.stderr);
        if !name.ends_with("TOKEN") {
            assert!(said.stderr.contains(value), "{name}={value}: {}", said.stderr);
        }
    }
    home.write("evermark.toml", "[api]\nport = \"many\"\n[index]\nflush_age_ms = 0\n");
    let both = home.run(&["config", "show"]);
    both.fails(2, "evermark.toml:2");
    both.fails(2, "evermark.toml:4");
    home.write("evermark.toml", "[api\n");
    home.run(&["config", "show"]).fails(2, "evermark.toml");
}

#[test]
fn unknown_keys_are_told_with_what_may_have_been_meant() {
    let home = Home::new();
    home.write("evermark.toml", "[api]\nprot = 1\n[embeddings]\nmodel = \"m\"\n[wholly]\nother = 1\n");
    let warnings = shown(&home, &[("EVERMARK_SYNC__WACH", "true")])["warnings"].to_string();
    for part in
        ["did you mean `api.port`", "did you mean `embedding.model`", "did you mean `sync.watch`", "wholly.other"]
    {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
}

#[test]
fn an_everos_toml_is_read_for_what_we_share() {
    let home = Home::new();
    let text = "[memory]\ntimezone = \"Asia/Shanghai\"\n[embedding]\nmodel = \"m\"\napi_key = \"sk-0123456789abcdef\"\n\
        base_url = \"http://127.0.0.1:9/v1\"\ndim = 8\nbatch_size = 10\nquery_max_concurrent = 16\n\
        [cascade]\nscan_interval_seconds = 12.5\n[llm]\nmodel = \"x\"\n";
    home.write("everos.toml", text);
    let found = shown(&home, &[]);
    let value = |name: &str| found["values"][name]["value"].clone();
    assert_eq!(value("memory.timezone"), "Asia/Shanghai");
    assert_eq!(value("embedding.dim"), 8);
    assert_eq!(value("sync.sweep_interval_seconds"), 12.5);
    assert_eq!(value("embedding.api_key"), "****cdef");
    assert_eq!(found["warnings"], json!([]), "keys that only EverOS has are not our business");
    // EverOS may allow what we do not: then its root still opens, and we say what we left out.
    home.write("everos.toml", "[embedding]\nbatch_size = 100000\n");
    let found = shown(&home, &[]);
    assert_eq!(found["values"]["embedding.batch_size"]["source"], "default");
    assert!(found["warnings"][0].as_str().is_some_and(|warning| warning.contains("batch_size")));
}

#[test]
fn secrets_are_never_shown() {
    let home = Home::new();
    let env = [("EVERMARK_API__TOKEN", "swordfish-swordfish"), ("EVERMARK_EMBEDDING__API_KEY", "k-tiny")];
    let all = format!("{}{}", shown(&home, &env), home.run_with(&["config", "show"], &env).stdout);
    assert!(!all.contains("swordfish-swordfish") && !all.contains("k-tiny"));
    assert!(home.run_with(&["status"], &[("EVERMARK_API__TOKEN", "bad\ttoken")]).stderr.contains("api.token"));
}

#[test]
fn everos_own_placeholder_is_no_provider() {
    let home = Home::new();
    home.run(&["init"]).ok();
    let theirs = "[embedding]\nmodel = \"Qwen/Qwen3-Embedding-4B\"\napi_key = \"\"\nbase_url = \"https://api.deepinfra.com/v1/openai\"\n";
    home.write("everos.toml", theirs);
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["embedding"]["model"], "builtin-en-256-v1");
    let keyed = home
        .run_with(&["status", "--json"], &[("EVEROS_EMBEDDING__API_KEY", "sk-1"), ("EVERMARK_EMBEDDING__DIM", "8")]);
    assert_eq!(keyed.json()["embedding"]["model"], "Qwen/Qwen3-Embedding-4B");
}

#[test]
fn rerankers_and_language_models_are_there_when_they_are_meant() {
    let home = Home::new();
    home.run(&["init"]).ok();
    // As EverOS ships it: addresses without keys.
    let theirs = "[llm]\nmodel = \"openai/gpt-4.1-mini\"\napi_key = \"\"\nbase_url = \"https://openrouter.ai/api/v1\"\n\
        [rerank]\nprovider = \"deepinfra\"\nmodel = \"Qwen/Qwen3-Reranker-4B\"\napi_key = \"\"\nbase_url = \"https://api.deepinfra.com/v1/inference\"\n\
        [decider]\nmodel = \"\"\nmax_rounds = 2\n";
    home.write("everos.toml", theirs);
    let models = |env: &[(&str, &str)]| {
        let status = home.run_with(&["status", "--json"], env).json();
        (status["rerank"]["model"].clone(), status["llm"]["model"].clone())
    };
    assert_eq!(models(&[]), (Value::Null, Value::Null));
    let keys = [("EVEROS_LLM__API_KEY", "sk-llm-0123456789"), ("EVEROS_RERANK__API_KEY", "sk-rr-0123456789")];
    assert_eq!(models(&keys), (json!("Qwen/Qwen3-Reranker-4B"), json!("openai/gpt-4.1-mini")));
    let off = [keys[0], keys[1], ("EVERMARK_LLM__PROVIDER", "none"), ("EVERMARK_RERANK__PROVIDER", "none")];
    assert_eq!(models(&off), (Value::Null, Value::Null));
    let ours = [
        ("EVERMARK_RERANK__PROVIDER", "vllm"),
        ("EVERMARK_RERANK__BASE_URL", "http://127.0.0.1:9/v1"),
        ("EVERMARK_RERANK__MODEL", "r"),
        ("EVERMARK_LLM__BASE_URL", "http://127.0.0.1:9/v1"),
        ("EVERMARK_LLM__MODEL", "m"),
    ];
    assert_eq!(models(&ours), (json!("r"), json!("m")));
    let local = [("EVERMARK_RERANK__PROVIDER", "local"), ("EVERMARK_RERANK__MODEL", "cross-encoder/x")];
    assert_eq!(models(&local).0, json!("cross-encoder/x"));

    let found = shown(&home, &keys);
    assert_eq!(found["values"]["decider.max_rounds"]["value"], 2);
    assert_eq!((&found["values"]["llm.api_key"]["value"], &found["warnings"]), (&json!("****6789"), &json!([])));
    let text = home.run_with(&["config", "show"], &keys).stdout;
    assert!(!text.contains("sk-llm-0123456789") && !text.contains("sk-rr-0123456789"));
    // What is half said is told.
    let half = [("EVERMARK_LLM__API_KEY", "sk-llm-0123456789"), ("EVERMARK_RERANK__PROVIDER", "vllm")];
    std::fs::remove_file(home.root().join("everos.toml")).expect("it was there");
    let warnings = shown(&home, &half)["warnings"].to_string();
    assert!(warnings.contains("llm.base_url") && warnings.contains("rerank.base_url"), "{warnings}");
    home.run_with(&["status"], &[("EVERMARK_RERANK__PROVIDER", "local")]).fails(2, "rerank.model");
}

#[test]
fn a_local_model_that_is_not_there_is_named_and_words_find_all_the_same() {
    let mut home = Home::new();
    home.run(&["add", "--sender", "ana", "--message", "I like oolong", "--flush", "--wait", "indexed"]).ok();
    home.set("EVERMARK_EMBEDDING__PROVIDER", "local").set("EVERMARK_EMBEDDING__MODEL", "someone/e5-small");
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["embedding"]["state"], "absent", "{status}");
    let reasons = status["reasons"].to_string();
    assert!(reasons.contains("model_missing") && reasons.contains("someone/e5-small"), "{reasons}");
    let found = home.search("oolong", "ana");
    assert!(found["episodes"][0].to_string().contains("oolong"), "{found}");
    assert_eq!(found["degraded"][0]["code"], "model_missing", "{found}");
    home.run(&["model", "fetch", "no-slash"]).fails(2, "owner/name");
    home.run(&["model", "fetch", "someone/e5-small", "--endpoint", "http://127.0.0.1:9"]).fails(75, "127.0.0.1:9");
}

#[test]
fn init_is_repeatable_and_its_file_changes_nothing() {
    let home = Home::new();
    let before = shown(&home, &[])["values"].clone();
    let first = home.run(&["init", "--json"]).json();
    assert_eq!((&first["identity"], &first["settings"]["did"]), (&json!("created"), &json!("created")));
    assert_eq!(shown(&home, &[])["values"], before, "the file that init writes holds comments only");
    home.write("evermark.toml", "[api]\nport = 7002\n");
    let again = home.run(&["init", "--json"]).json();
    assert_eq!((&again["identity"], &again["settings"]["did"]), (&json!("kept"), &json!("kept")));
    assert_eq!(again["root_id"], first["root_id"]);
    let forced = home.run(&["init", "--force", "--json"]).json();
    assert_eq!(forced["settings"]["did"], "replaced");
    assert_eq!(shown(&home, &[])["values"], before);
}

#[test]
fn init_adopts_what_everos_left() {
    let home = Home::new();
    home.write("everos.toml", "[memory]\ntimezone = \"UTC\"\n");
    home.write("ome.toml", "");
    let said = home.run(&["init"]);
    assert!(said.ok().stdout.contains("adopting"));
    assert_eq!(
        std::fs::read_to_string(home.root().join("everos.toml")).expect("a file"),
        "[memory]\ntimezone = \"UTC\"\n"
    );
}
