//! What `bench figures` is made of, by itself: percentiles, limits, tables, and the client that searches.

#[path = "../../../src/bench/aims.rs"]
mod aims;
#[path = "../../../src/bench/peers/base64.rs"]
mod base64;
#[path = "../../../src/bench/latency.rs"]
mod latency;
#[path = "../../../src/bench/peers/notes.rs"]
mod notes;
#[path = "../../../src/bench/table.rs"]
mod table;
#[path = "../../../src/bench/wire.rs"]
mod wire;

use self::aims::{Good, Line};
use self::wire::Wire;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

#[test]
fn percentiles_are_values_that_were_measured() {
    let of = |n: u64| latency::latencies((1..=n).rev().map(Duration::from_millis).collect());
    assert_eq!(of(100), json!({ "n": 100, "p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0, "max_ms": 100.0 }));
    assert_eq!(of(3), json!({ "n": 3, "p50_ms": 2.0, "p95_ms": 3.0, "p99_ms": 3.0, "max_ms": 3.0 }));
    assert_eq!(of(0)["n"], 0);
    assert_eq!(latency::ms(Duration::from_nanos(1_234_567)), 1.235);
}

fn line(measured: &[f64], aims: &[f64], good: Good, limit: f64) -> Line {
    let limit = Some((limit, "something".to_owned()));
    Line { name: "it".to_owned(), measured: measured.to_vec(), unit: "ms", good, aims: aims.to_vec(), limit }
}

#[test]
fn every_value_must_meet_its_aim() {
    let check = |measured: &[f64], aims: &[f64], good, expected| {
        assert_eq!(line(measured, aims, good, 1.0).is_met(), expected, "{measured:?} {aims:?}");
    };
    check(&[1.9, 9.9], &[2.0, 10.0], Good::AtMost, Some(true));
    check(&[1.9, 10.1], &[2.0, 10.0], Good::AtMost, Some(false));
    check(&[2.1, 3.0], &[2.0, 10.0], Good::AtMost, Some(false));
    check(&[4.0, 300.0], &[5.0], Good::AtMost, Some(true));
    check(&[1000.0], &[1000.0], Good::AtLeast, Some(true));
    check(&[999.0], &[1000.0], Good::AtLeast, Some(false));
    check(&[1.0], &[], Good::AtMost, None);
}

#[test]
fn the_distance_to_a_limit_is_above_one_whichever_way_is_good() {
    assert_eq!(line(&[6.0], &[], Good::AtMost, 2.0).times_limit(), Some(3.0));
    assert_eq!(line(&[6.0], &[], Good::AtLeast, 12.0).times_limit(), Some(2.0));
    assert_eq!(line(&[6.0], &[], Good::AtMost, 0.0).times_limit(), None);
}

fn limits() -> Value {
    json!({
        "memory_bytes_per_s": 1e10, "memory_bytes_per_s_all": 1.5e10, "hash_bytes_per_s": 2e9, "disk_bytes_per_s": 1e9,
    })
}

fn size(facts: u64) -> Value {
    let took = |p50: f64, p99: f64| json!({ "n": 9, "p50_ms": p50, "p99_ms": p99 });
    json!({
        "facts": facts, "markdown_bytes": facts * 500, "settle_ms": 300,
        "must": { "vector_bytes": 5e6, "keyword_bytes": 600.0, "embed_facts_per_s": 90_000 },
        "read": { "bytes_per_s": 5e9 },
        "disk": { "live_bytes": facts * 2000, "index_bytes": 120e6, "text_bytes": 40e6, "vector_bytes": 60e6 },
        "ingest": { "facts_per_s": 15_000.0 },
        "search": [
            { "over": "http", "method": "vector", "clients": 1, "per_s": 900.0, "took": took(1.5, 4.0) },
            { "over": "process", "method": "vector", "clients": 8, "per_s": 2000.0, "took": took(3.0, 9.0) },
            { "over": "http", "method": "keyword", "clients": 1, "per_s": 900.0, "took": took(0.2, 0.4) },
        ],
        "start": { "first_answer": took(150.0, 210.0) },
        "memory": { "idle": { "rss_bytes": 61e6 } },
        "edits": { "idle": took(301.0, 320.0), "ingest": { "n": 0, "p50_ms": 0.0, "p99_ms": 0.0 } },
        "during": { "rebuild": { "took": took(2.0, 49.0) } },
    })
}

/// Returns the cells of the line of this name.
#[track_caller]
fn cells(facts: u64, name: &str) -> [String; 7] {
    let lines = aims::lines(&size(facts), &limits());
    let line = lines.iter().find(|line| line.name == name);
    aims::cells(line.unwrap_or_else(|| panic!("no {name} in {lines:#?}")))
}

#[test]
fn each_figure_stands_beside_its_aim_and_its_limit() {
    let check = |name: &str, expected: [&str; 6]| assert_eq!(cells(20_000, name)[1..], expected, "{name}");
    check(
        "vector over HTTP, one client",
        ["1.50 / 4.00 ms", "≤ 2.00 / 10.0", "yes", "0.500 ms", "3.00 x", "5.0 MB of memory"],
    );
    check(
        "vector in the process, 8 clients",
        ["2,000 /s", "≥ 1,000", "yes", "3,000 /s", "1.50 x", "5.0 MB of memory each"],
    );
    check(
        "keyword over HTTP, one client",
        ["0.200 / 0.400 ms", "≤ 2.00 / 10.0", "yes", "60.0 ns", "3,333 x", "600 B of memory"],
    );
    check("files to searchable", ["15,000 facts/s", "≥ 20,000", "no", "90,000 facts/s", "6.00 x", "embedding"]);
    check(
        "an edited file searchable, idle, p50 / p99",
        ["301 / 320 ms", "≤ 300", "no", "300 ms", "1.00 x", "until a file counts as saved"],
    );
    check("searches during rebuild, p50 / p99", ["2.00 / 49.0 ms", "≤ 50.0", "yes", "", "", ""]);
    check("memory, idle after start", ["61.0 MB", "≤ 60.0", "no", "", "", ""]);
    check("start to first answer, p50 / p99", ["150 / 210 ms", "≤ 200", "no", "", "", ""]);
    check("index on disk", ["120 MB", "≤ 150", "yes", "100 MB", "1.20 x", "40.0 MB of text, 60.0 MB of vectors"]);
}

#[test]
fn aims_follow_the_size() {
    assert_eq!(cells(1_000_000, "vector over HTTP, one client")[2], "≤ 5.00");
    assert_eq!(cells(1_000_000, "memory, idle after start")[2], "≤ 250");
    assert_eq!(cells(1_000_000, "start to first answer, p50 / p99")[2], "");
    assert_eq!(cells(100_000, "memory, idle after start")[2], "");
}

#[test]
fn the_table_says_everything_of_a_line() {
    let rows = aims::lines(&size(20_000), &limits()).iter().map(aims::cells).collect::<Vec<_>>();
    let lines = table::text(aims::HEADINGS, &rows);
    assert_eq!(lines.len(), 1 + rows.len());
    let squeezed = lines[1].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        squeezed,
        "vector over HTTP, one client 1.50 / 4.00 ms ≤ 2.00 / 10.0 yes 0.500 ms 3.00 x 5.0 MB of memory"
    );
}

#[test]
fn what_was_not_measured_has_no_line() {
    let names = aims::lines(&size(20_000), &limits()).into_iter().map(|line| line.name).collect::<Vec<_>>();
    for absent in
        ["an edited file searchable, full ingest, p50 / p99", "searches during ingest, p50 / p99", "memory, at most"]
    {
        assert!(!names.iter().any(|name| name == absent), "{absent}");
    }
    assert_eq!(aims::lines(&json!({}), &json!({})), []);
}

#[test]
fn the_least_part_is_what_limits_ingest() {
    let parts = aims::ingest_limits(&size(20_000), &limits());
    let expected =
        [("reading the Markdown", 1e7), ("hashing it", 4e6), ("embedding", 90_000.0), ("writing the index", 500_000.0)];
    assert_eq!(parts, expected);
}

#[test]
fn programs_stand_side_by_side_and_gaps_are_gaps() {
    let took = json!({ "n": 300, "p50_ms": 0.5, "p99_ms": 2.25 });
    let search =
        |clients| json!({ "method": "vector", "clients": clients, "per_s": 2000.0, "found": 1.0, "took": took });
    let report = json!({ "clients": 8, "programs": [
        { "name": "Ours", "version": "1.0", "facts_per_s": 12_345.6, "search": [search(1), search(8)], "index_bytes": 5_000_000 },
        { "name": "Theirs", "failed": "it is not to be had" },
    ]});
    let (headings, rows) = aims::beside(&report);
    assert_eq!(headings, ["", "Ours 1.0", "Theirs", ""]);
    let row = |name: &str| rows.iter().find(|row| row[0] == name).expect("a row")[1..].to_vec();
    assert_eq!(row("files to searchable, facts/s"), ["12,346", "–", "–"]);
    assert_eq!(row("vector, one client, p50 / p99"), ["0.500 / 2.25 ms", "–", "–"]);
    assert_eq!(row("vector, 8 clients, searches/s"), ["2,000", "–", "–"]);
    assert_eq!(row("keyword, one client, p50 / p99"), ["–", "–", "–"]);
    assert_eq!(row("index on disk"), ["5.0 MB", "–", "–"]);
}

#[test]
fn vectors_travel_as_base64_of_their_bytes() {
    assert_eq!(base64::base64(&[]), "");
    // 1.0 is 00 00 80 3f, -2.0 is 00 00 00 c0, 0.5 is 00 00 00 3f.
    assert_eq!(base64::base64(&[1.0]), "AACAPw==");
    assert_eq!(base64::base64(&[1.0, -2.0]), "AACAPwAAAMA=");
    assert_eq!(base64::base64(&[1.0, -2.0, 0.5]), "AACAPwAAAMAAAAA/");
}

#[test]
fn an_episode_and_its_facts_become_one_note() {
    let folder = tempfile::tempdir().expect("a folder");
    let head = |kind: &str| {
        format!("---\nid: x\ntype: {kind}_daily\nfile_type: {kind}_daily\nuser_id: lin\ntrack: user\n---\n")
    };
    let entry = |id: &str, parent: &str, sections: &str| {
        let inline = format!("**owner_id**: lin\n**timestamp**: 2027-02-03T08:14:30+00:00\n{parent}");
        format!("<!-- entry:{id} -->\n## {id}\n\n{inline}\n{sections}<!-- /entry:{id} -->\n")
    };
    let episode = entry("ep_20270203_00000001", "", "### Subject\nTea order\n\n### Content\nLin orders oolong.\n");
    let of = "**parent_type**: episode\n**parent_id**: ep_20270203_00000001\n";
    let facts = [("af_20270203_00000001", "Lin likes oolong."), ("af_20270203_00000002", "It comes on Friday.")];
    let facts = facts.map(|(id, fact)| entry(id, of, &format!("### Fact\n{fact}\n"))).concat();
    let below = "default_app/default_project/users/lin";
    let files = [
        (format!("{below}/episodes/episode-2027-02-03.md"), head("episode") + &episode),
        (format!("{below}/.atomic_facts/atomic_fact-2027-02-03.md"), head("atomic_fact") + &facts),
    ];
    let files = files.map(|(path, text)| (path.into(), text.into_bytes()));
    assert_eq!(notes::write(&files, folder.path()).expect("notes"), 1);
    let note = std::fs::read_to_string(folder.path().join("lin/ep_20270203_00000001.md")).expect("a note");
    let title = "Tea order (ep_20270203_00000001)";
    assert_eq!(
        note,
        format!(
            "---\ntitle: {title}\ntype: note\n---\n\n# {title}\n\nLin orders oolong.\n## Observations\n\
             - [fact] Lin likes oolong.\n- [fact] It comes on Friday.\n"
        )
    );
}

#[test]
fn numbers_have_three_digits_that_say_something() {
    let check = |number, expected| assert_eq!(aims::digits(number), expected);
    check(0.0, "0");
    check(0.1234, "0.123");
    check(9.876, "9.88");
    check(12.34, "12.3");
    check(999.5, "1,000");
    check(1_234_567.0, "1,234,567");
    assert_eq!(aims::count(80.0), "80");
    assert_eq!(aims::count(4000.0), "4,000");
}

#[test]
fn a_table_is_aligned_and_its_markdown_is_safe() {
    let rows =
        [["a".to_owned(), "1".to_owned(), "x|y".to_owned()], ["long".to_owned(), "µ 200".to_owned(), String::new()]];
    let headings = ["", "figure", "why"];
    assert_eq!(table::text(headings, &rows), ["         figure   why", "  a           1   x|y", "  long    µ 200"]);
    let expected = ["|  | figure | why |", "| --- | ---: | --- |", "| a | 1 | x\\|y |", "| long | µ 200 |  |"];
    assert_eq!(table::markdown(headings, &rows), expected);
}

/// Answers requests one after the other, each on the connection it comes on, closing where `closes` says so.
fn serve(listener: TcpListener, answers: Vec<(&'static str, bool)>) -> Vec<String> {
    let mut asked = Vec::new();
    let mut stream = None;
    for (answer, closes) in answers {
        let mut lines = match stream.take() {
            Some(lines) => lines,
            None => BufReader::new(listener.accept().expect("a client").0),
        };
        let mut length = 0;
        let mut line = String::new();
        while lines.read_line(&mut line).expect("a request") > 2 {
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().expect("a length");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).expect("a body");
        asked.push(String::from_utf8(body).expect("text"));
        lines.get_mut().write_all(answer.as_bytes()).expect("the client reads");
        stream = (!closes).then_some(lines);
    }
    asked
}

#[test]
fn answers_are_read_however_they_come_and_a_lost_connection_is_made_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answers = vec![
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false),
        ("HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false),
    ];
    let server = std::thread::spawn(move || serve(listener, answers));
    let mut wire = Wire::connect(&url).expect("it listens");
    assert_eq!(wire.send("POST", "/a", "one").expect("an answer"), (200, &b"hello"[..]));
    assert_eq!(wire.send("POST", "/b", "two").expect("an answer"), (503, &b"abcde"[..]));
    assert_eq!(wire.send("POST", "/c", "three").expect("an answer"), (200, &b""[..]));
    assert_eq!(server.join().expect("no panic"), ["one", "two", "three"]);
}
