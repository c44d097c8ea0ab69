//! What is shipped beside the program names only what is there.

use crate::kit::{Daemon, Home, body};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn checkout(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(checkout(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns every name of a metric of ours in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.match_indices("evermark_")
        .filter(|(at, _)| !text[..*at].ends_with(is_part))
        .map(|(at, _)| text[at..].split(|c| !is_part(c)).next().unwrap_or_default().to_owned())
        .filter(|name| name.len() > "evermark_".len())
        .collect()
}

fn page() -> String {
    let home = Home::new();
    let daemon = Daemon::start(&home, &[]);
    home.pipe(&["add", "--flush", "--wait", "indexed"], &body("s", "ana", &["I drink oolong tea every morning."])).ok();
    let page = ureq::get(format!("{}/metrics", daemon.url)).call().expect("an answer");
    let page = page.into_body().read_to_string().expect("text");
    daemon.stop();
    page
}

#[test]
fn alerts_dashboard_and_docs_name_only_metrics_that_are_there() {
    let page = page();
    let mut there = BTreeSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a kind");
            there.insert(name.to_owned());
            if kind == "histogram" {
                there.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
            }
        }
    }
    for (file, least) in
        [("deploy/prometheus/evermark.rules.yml", 20), ("deploy/grafana/evermark.json", 30), ("docs/operations.md", 15)]
    {
        let named = metrics_in(&read(file));
        assert!(named.len() >= least, "{file} names {} metrics only: is it read right?", named.len());
        let unknown: Vec<_> = named.difference(&there).collect();
        assert!(unknown.is_empty(), "{file} names metrics that are not on the page: {unknown:?}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&read("deploy/grafana/evermark.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert!(panels.len() > 20 && ids.iter().all(Option::is_some));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), panels.len(), "two panels share an id");
}

#[test]
fn prometheus_takes_the_alerts() {
    let rules = checkout("deploy/prometheus/evermark.rules.yml");
    match Command::new("promtool").args(["check", "rules"]).arg(&rules).output() {
        Err(_) => eprintln!("SKIPPED: no promtool here to ask"),
        Ok(said) => assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout)),
    }
}

#[test]
fn every_health_reason_is_in_the_operators_handbook() {
    let handbook = read("docs/operations.md");
    let documented = |code: &str| handbook.contains(&format!("`{code}`"));
    let mut codes = BTreeSet::new();
    // A reason's code stands alone between quotes; sentences have blanks. `half_open` and `absent` are a provider's states.
    let reasons = |literal: &&str| {
        let is_word = literal.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_word && literal.len() > 5 && !matches!(*literal, "half_open" | "absent")
    };
    let of_the_server = |literal: &&str| literal.starts_with("status_");
    type Look<'a> = (&'a str, &'a dyn Fn(&&str) -> bool);
    let files: [Look<'_>; 3] = [
        ("crates/evermark-engine/src/status/reasons.rs", &reasons),
        ("crates/evermark-server/src/health.rs", &of_the_server),
        ("crates/evermark-server/src/health/watch.rs", &of_the_server),
    ];
    for (file, is_code) in files {
        codes.extend(read(file).split('"').skip(1).step_by(2).filter(is_code).map(str::to_owned));
    }
    assert!(codes.len() >= 30 && codes.contains("mass_delete_held"), "{codes:?}");
    let missing: Vec<_> = codes.iter().filter(|code| !documented(code)).collect();
    assert!(missing.is_empty(), "docs/operations.md does not say what to do about {missing:?}");
}

#[test]
fn every_launcher_raises_the_limit_restarts_bounds_its_log_and_is_watched() {
    let check = |file: &str, wanted: &[&str]| {
        let text = read(file);
        for part in wanted {
            assert!(text.contains(part), "{file} lacks `{part}`");
        }
    };
    for unit in ["deploy/systemd/evermark.service", "deploy/systemd/evermark-user.service"] {
        check(unit, &["LimitNOFILE=65536", "Restart=on-failure", "WatchdogSec=", "NoNewPrivileges=yes", "journal"]);
    }
    check("deploy/systemd/evermark.service", &["ProtectSystem=strict", "ReadWritePaths=", "#MemoryMax="]);
    let plist = ["NumberOfFiles", "KeepAlive", "EVERMARK_LOG__FILE", "StandardErrorPath"];
    check("deploy/launchd/io.github.evermark.plist", &plist);
    check("deploy/docker/Dockerfile", &["HEALTHCHECK", "USER 65532", "AS build", "\"status\", \"--daemon\""]);
    let compose =
        ["nofile:", "restart: unless-stopped", "max-size:", "healthcheck:", "read_only: true", "cap_drop: [ALL]"];
    check("deploy/docker/compose.yaml", &compose);
    check("deploy/logrotate/evermark", &["maxsize", "rotate", "copytruncate"]);
}
