//! `bench figures`, whole and in parts. No test minds how long anything took.

mod parts;

use crate::kit::Home;
use serde_json::Value;

/// Returns a figure that must be there and above zero.
#[track_caller]
fn above_zero(report: &Value, pointer: &str) -> f64 {
    let number = report.pointer(pointer).and_then(Value::as_f64);
    let number = number.unwrap_or_else(|| panic!("{pointer} is missing in {report:#}"));
    assert!(number > 0.0, "{pointer} is {number}");
    number
}

#[test]
fn everything_is_measured_in_one_run_and_put_away() {
    let home = Home::new();
    let temporary = home.path().join("tmp");
    std::fs::create_dir(&temporary).expect("a folder");
    let (dir, out) = (temporary.to_str().expect("a plain path"), home.path().join("figures.json"));
    let args =
        ["bench", "figures", "--facts", "400", "--users", "4", "--queries", "24", "--edits", "8", "--starts", "2"];
    let rest = [
        "--batch",
        "100",
        "--repeat-seconds",
        "1",
        "--clients",
        "3",
        "--dir",
        dir,
        "--out",
        out.to_str().expect("a plain path"),
    ];
    let ran = home.run(&[&args[..], &rest].concat());
    let said = &ran.ok().stdout;
    for name in
        ["hybrid over HTTP, 3 clients", "files to searchable", "an edited file searchable, idle", "index on disk"]
    {
        assert!(said.contains(name), "{name} is not in the table:\n{said}");
    }
    let report: Value = serde_json::from_slice(&std::fs::read(&out).expect("the report")).expect("JSON");
    let size = &report["sizes"][0];
    assert_eq!(
        (size["facts"].as_u64(), size["episodes"].as_u64(), size["users"].as_u64()),
        (Some(400), Some(80), Some(4))
    );
    for pointer in [
        "/limits/memory_bytes_per_s",
        "/limits/disk_bytes_per_s",
        "/sizes/0/must/vector_bytes",
        "/sizes/0/must/embed_facts_per_s",
        "/sizes/0/ingest/facts_per_s",
        "/sizes/0/during/ingest/facts_per_s",
        "/sizes/0/memory/idle/rss_bytes",
        "/sizes/0/disk/index_bytes",
    ] {
        above_zero(&report, pointer);
    }
    // A hundred facts of one user, 256 components each.
    assert_eq!(above_zero(&report, "/sizes/0/must/vector_bytes"), f64::from(100 * 256));
    assert!(above_zero(&report, "/sizes/0/must/hybrid_bytes") > above_zero(&report, "/sizes/0/must/vector_bytes"));

    // Three methods in the process and over HTTP, by one client and by three.
    let searches = size["search"].as_array().expect("searches");
    assert_eq!(searches.len(), 12);
    for search in searches {
        assert_eq!(search["took"]["n"], 24, "{search}");
        assert_eq!(search["found"], 1.0, "{search}");
    }
    assert_eq!(size["start"]["first_answer"]["n"], 2);
    assert_eq!(size["edits"]["idle"]["n"], 8);
    assert_eq!(size["edits"]["ingest"]["n"], 8);
    for what in ["ingest", "compaction", "rebuild"] {
        above_zero(size, &format!("/during/{what}/took/n"));
        assert_eq!(size["during"][what]["refused"], 0, "{what}");
    }

    // The documents' tables and pictures are made from the report alone.
    let plots = home.path().join("plots");
    let args =
        ["bench", "report", out.to_str().expect("a plain path"), "--plot", plots.to_str().expect("a plain path")];
    let tables = home.run(&args);
    assert!(tables.ok().stdout.contains("| files to searchable |"), "{tables:?}");
    let svg = std::fs::read_to_string(plots.join("latency.svg")).expect("a picture");
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("400 facts"), "{svg}");
    home.run(&["bench", "report", "absent.json"]).fails(1, "cannot read absent.json");

    let left = std::fs::read_dir(&temporary).expect("a folder").count();
    assert_eq!(left, 0, "the roots are removed again");
}

#[test]
fn a_size_that_makes_no_sense_is_refused() {
    let home = Home::new();
    home.run(&["bench", "figures", "--facts", "3"]).fails(2, "eight days");
    home.run(&["bench", "figures", "--users", "0"]).fails(2, "--users needs at least 1");
}

#[test]
fn a_program_that_cannot_be_had_leaves_a_gap_and_says_why() {
    let home = Home::new();
    let temporary = home.path().join("tmp");
    std::fs::create_dir(&temporary).expect("a folder");
    let (dir, out) = (temporary.to_str().expect("a plain path"), home.path().join("peers.json"));
    let out = out.to_str().expect("a plain path");
    let args = ["bench", "peers", "--facts", "100", "--users", "2", "--queries", "8", "--clients", "2", "--dir", dir];
    let rest = ["--only", "evermark,everos", "--python", "absent", "--out", out];
    let ran = home.run(&[&args[..], &rest].concat());
    assert!(ran.ok().stdout.contains("EverOS: not measured: no Python 3.12 or newer is here"), "{ran:?}");
    let report: Value = serde_json::from_slice(&std::fs::read(out).expect("the report")).expect("JSON");
    let ours = &report["programs"][0];
    above_zero(ours, "/facts_per_s");
    above_zero(ours, "/memory/rss_bytes");
    above_zero(ours, "/index_bytes");
    let searches = ours["search"].as_array().expect("searches");
    assert_eq!(searches.len(), 6);
    for search in searches {
        assert_eq!((search["took"]["n"].as_u64(), search["found"].as_f64()), (Some(8), Some(1.0)), "{search}");
    }
    let plots = home.path().join("plots");
    let tables = home.run(&["bench", "report", out, "--plot", plots.to_str().expect("a plain path")]);
    assert!(tables.ok().stdout.contains("| hybrid, 2 clients, searches/s |"), "{tables:?}");
    let svg = std::fs::read_to_string(plots.join("peers.svg")).expect("a picture");
    assert!(svg.contains("not measured") && svg.ends_with("</svg>\n"), "{svg}");
    assert_eq!(std::fs::read_dir(&temporary).expect("a folder").count(), 0, "the roots are removed again");

    let alone = home.run(&["bench", "peers", "--facts", "100", "--only", "everos", "--python", "absent", "--dir", dir]);
    assert_eq!(alone.code(), Some(1), "nothing was measured: {alone:?}");
}
