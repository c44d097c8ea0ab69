//! `bench retrieval`, whole: small data sets of which it is known what must be found.

mod parts;

use crate::kit::Home;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A home whose temporary files are its own, so that what is left behind is seen.
fn home() -> (Home, PathBuf) {
    let mut home = Home::new();
    let temporary = home.path().join("tmp");
    std::fs::create_dir(&temporary).expect("a folder");
    let name = temporary.to_str().expect("a plain path").to_owned();
    home.set("TMPDIR", &name);
    (home, temporary)
}

/// Conversations of two people, a dozen turns each. In all of them somebody tells the price of a boat.
fn haystacks() -> Vec<Value> {
    let talks: [(&str, [&str; 12]); 3] = [
        (
            "harbour",
            [
                "Hello! How was your week?",
                "I bought a wooden dinghy for 900 crowns, it leaks a little.",
                "My sister repairs dinghies in Marstal, she uses hemp and tar.",
                "The harbour master raised the fee for berth nineteen.",
                "I painted the hull green because blue was sold out.",
                "On Sunday we sail to Birkholm if the wind turns west.",
                "The compass was dropped and points to the kitchen now.",
                "Our neighbour keeps eleven geese on her houseboat.",
                "I lost the anchor near the ferry channel last night.",
                "A diver called Rasmus found the anchor and wanted only coffee.",
                "The new sail has the number D-417 on it.",
                "Thanks, see you!",
            ],
        ),
        (
            "boatyard",
            [
                "Good morning.",
                "The steel barge costs 70000 crowns, said the broker.",
                "We need a crane for lifting the engine.",
                "The insurance asks for a survey of the keel.",
                "My cousin welds for a living and owes me a favour.",
                "The engine is a Bolinder from 1931 and starts with a blowtorch.",
                "Sixteen portholes have cracked glass.",
                "A family of swallows nests in the wheelhouse.",
                "We moved the launch to Ascension Day.",
                "The bank wants two signatures for the loan.",
                "I keep the plans in plans/barge_v3.dwg.",
                "Bye.",
            ],
        ),
        (
            "regatta",
            [
                "Hi there.",
                "A used catamaran for 32000 crowns is too dear for our club.",
                "The club elected Henrike as commodore.",
                "Training is on Tuesdays at six, whatever the weather.",
                "The start gun was stolen from the clubhouse.",
                "Our youngest helmsman is thirteen and fearless.",
                "The rescue boat needs a new outboard before June.",
                "Lunch was fish soup with saffron, cooked by the juniors.",
                "We came second because the buoy drifted.",
                "The protest committee met until midnight.",
                "The trophy is a silver ladle with a dent.",
                "See you soon.",
            ],
        ),
    ];
    let haystack = |(name, talk): (&str, [&str; 12])| {
        let doc = |(i, text): (usize, &&str)| {
            json!({
                "id": format!("{name}-{i}"), "session": format!("day {}", i / 6), "ts": format!("2024-05-0{}T10:00:00Z", 1 + i / 6),
                "speaker": if i % 2 == 0 { "Ane" } else { "Bo" }, "role": "user", "text": text,
            })
        };
        json!({ "haystack": name, "docs": talk.iter().enumerate().map(doc).collect::<Vec<_>>(), "queries": [] })
    };
    let mut all = talks.into_iter().map(haystack).collect::<Vec<_>>();
    let ask = |haystack: &mut Value, category: &str, text: &str, gold: &[usize]| {
        let name = haystack["haystack"].as_str().expect("a name").to_owned();
        let gold = gold.iter().map(|i| format!("{name}-{i}")).collect::<Vec<_>>();
        let queries = haystack["queries"].as_array_mut().expect("queries");
        let id = format!("{name}-q{}", queries.len());
        // The answer holds a word that is nowhere else.
        queries.push(json!({ "id": id, "category": category, "text": text, "answer": "zyzzyva", "gold": gold }));
    };
    ask(&mut all[0], "words", "wooden dinghy crowns", &[1]);
    ask(&mut all[0], "words", "Who found the anchor near the ferry channel?", &[8, 9]);
    ask(&mut all[0], "words", "sail number D-417", &[10]);
    ask(&mut all[0], "nothing", "What is the parrot's name?", &[]);
    ask(&mut all[1], "words", "crowns", &[1]);
    ask(&mut all[1], "words", "plans/barge_v3.dwg", &[10]);
    ask(&mut all[1], "secret", "zyzzyva", &[3]);
    ask(&mut all[2], "words", "crowns", &[1]);
    ask(&mut all[2], "words", "Who is commodore of the club?", &[2]);
    all
}

fn write(folder: &Path, name: &str, lines: &[Value]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("a file");
    path.to_str().expect("a plain path").to_owned()
}

#[track_caller]
fn group<'a>(report: &'a Value, category: &str) -> &'a Value {
    let mut groups = report["categories"].as_array().expect("categories").iter();
    groups.find(|group| group["category"] == category).unwrap_or_else(|| panic!("no {category} in {report}"))
}

#[test]
fn what_answers_a_question_is_found_and_counted() {
    let (home, temporary) = home();
    let dataset = write(home.path(), "boats.jsonl", &haystacks());
    let out = home.path().join("figures.json");
    let out = out.to_str().expect("a plain path");
    let args = ["--json", "bench", "retrieval", "--dataset", &dataset, "--model", "hash", "--out", out];
    let report = home.run(&args).json();
    assert_eq!(report["bench"], "retrieval");
    assert_eq!(report["dataset"], "boats");
    let counts = ["haystacks", "messages", "questions", "without_gold"].map(|key| report[key].as_u64());
    assert_eq!(counts, [3, 36, 8, 1].map(Some), "{report}");
    assert_eq!(report["model"], "hash-1024 (1024)");
    assert_eq!(report["load"]["unextracted"], 0);
    let names = report["methods"].as_array().expect("methods").iter().map(|method| method["method"].as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["keyword", "vector", "hybrid"].map(Some));

    let keyword = &report["methods"][0];
    let words = group(keyword, "words");
    assert_eq!(words["n"], 7);
    assert_eq!(words["at"]["5"], json!({ "mean": 1.0, "low": 1.0, "high": 1.0 }), "{keyword}");
    // Only who reads answers can find what shares no word with the question.
    assert_eq!(group(keyword, "secret")["at"]["50"]["mean"], 0.0);
    assert_eq!(keyword["overall"]["n"], 8);
    assert_eq!(keyword["overall"]["at"]["5"]["mean"], 0.875);
    for method in report["methods"].as_array().expect("methods") {
        assert_eq!(method["degraded"], 0, "{method}");
        assert_eq!(method["took"]["n"], 8, "{method}");
        let at = &method["overall"]["at"];
        let means = ["1", "5", "10", "20", "50"].map(|k| at[k]["mean"].as_f64().expect("a share"));
        assert!(means.is_sorted() && means[0] > 0.0, "{method}");
        assert!(
            at["10"]["low"].as_f64() <= at["10"]["mean"].as_f64()
                && at["10"]["mean"].as_f64() <= at["10"]["high"].as_f64()
        );
    }
    let hybrid = &report["differences"][1];
    assert_eq!((hybrid["of"].as_str(), hybrid["to"].as_str()), (Some("hybrid"), Some("keyword")));
    let gained = report["methods"][2]["overall"]["at"]["10"]["mean"].as_f64().expect("a share")
        - keyword["overall"]["at"]["10"]["mean"].as_f64().expect("a share");
    let told = hybrid["overall"]["at"]["10"]["mean"].as_f64().expect("a difference");
    assert!((gained - told).abs() < 1e-4, "{gained} is not {told}");

    let written: Value = serde_json::from_slice(&std::fs::read(out).expect("a file")).expect("JSON");
    assert_eq!(written["methods"][0]["overall"], keyword["overall"]);
    let each = written["each"].as_array().expect("questions");
    assert_eq!(each.len(), 8);
    let ask = |id: &str| each.iter().find(|question| question["id"] == id).unwrap_or_else(|| panic!("no {id}"));
    // All three speak of crowns; each is searched alone, and so finds its own first.
    for id in ["harbour-q0", "boatyard-q0", "regatta-q0"] {
        assert_eq!(ask(id)["methods"]["keyword"]["places"], json!([1]), "{id}");
    }
    assert_eq!(ask("boatyard-q2")["methods"]["keyword"], json!({ "places": [null], "ranked": 0 }));
    assert!(std::fs::read_dir(&temporary).expect("a folder").next().is_none(), "nothing is left behind");
    assert!(!home.root().exists(), "the user's root is not touched");
}

#[test]
fn less_can_be_measured_and_is_shown_in_tables() {
    let (home, _) = home();
    let dataset = write(home.path(), "boats.jsonl", &haystacks());
    let args = ["bench", "retrieval", "--dataset", &dataset, "--model", "none", "--limit", "2", "--queries", "1"];
    let ran = home.run(&args);
    ran.ok();
    assert!(ran.stderr.contains("only keyword search is measured"), "{ran:?}");
    assert!(
        ran.stdout.starts_with("boats: 2 haystacks, 24 messages, 2 questions (1 without gold left out)\n"),
        "{ran:?}"
    );
    let rows = ran.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| matches!(row.as_slice(), ["all" | "words", "2", "100.0", "[100.0", "100.0]", ..]));
    assert_eq!(rows.count(), 2, "{ran:?}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let (home, _) = home();
    let dataset = write(home.path(), "boats.jsonl", &haystacks());
    let run = |args: &[&str]| home.run(&[&["bench", "retrieval", "--dataset"], args].concat());
    run(&["absent.jsonl"]).fails(2, "cannot read the data set absent.jsonl").fails(2, "docs/retrieval.md");
    run(&[&dataset, "--model", "frob"]).fails(2, "`embedding.provider` cannot be \"frob\" (flag --model)");
    run(&[&dataset, "--model", "none", "--method", "keyword,vector"]).fails(2, "there is no embedding model");
    let mut broken = haystacks();
    broken[1]["docs"][3]["ts"] = "soon".into();
    let broken = write(home.path(), "broken.jsonl", &broken);
    run(&[&broken]).fails(2, "broken.jsonl, line 2: doc `boatyard-3`: `ts` is \"soon\"");
    let mut unasked = haystacks();
    unasked.iter_mut().for_each(|haystack| haystack["queries"] = json!([]));
    let unasked = write(home.path(), "unasked.jsonl", &unasked);
    run(&[&unasked]).fails(2, "no question with gold");
}

/// Talk at work, in three languages, of our own making: what a gain on a public set is checked with.
#[test]
fn words_names_ids_files_and_quotes_are_found_at_work() {
    let (home, _) = home();
    let dataset = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/work.jsonl");
    let dataset = dataset.to_str().expect("a plain path");
    let report = home.run(&["--json", "bench", "retrieval", "--dataset", dataset, "--model", "none"]).json();
    assert_eq!((report["questions"].as_u64(), report["without_gold"].as_u64()), (Some(92), Some(3)));
    assert_eq!(report["load"]["unextracted"], 0);
    let keyword = &report["methods"][0];
    for category in ["exact", "id", "oneword", "quote"] {
        assert_eq!(group(keyword, category)["at"]["5"]["mean"], 1.0, "{category} in {keyword}");
    }
    // One of the messages about a file does not name it.
    assert!(group(keyword, "file")["at"]["5"]["mean"].as_f64() > Some(0.9), "{keyword}");
}

#[test]
fn published_sets_are_converted() {
    let (home, _) = home();
    let locomo = json!([{
        "sample_id": "conv-1",
        "conversation": {
            "speaker_a": "Ane", "speaker_b": "Bo",
            "session_10_date_time": "9:00 am on 2 June, 2023",
            "session_10": [{ "speaker": "Bo", "dia_id": "D10:1", "text": "The kiln exploded." }],
            "session_2_date_time": "1:56 pm on 8 May, 2023",
            "session_2": [
                { "speaker": "Ane", "dia_id": "D2:1", "text": "I made a bowl.", "blip_caption": "a blue bowl", "img_url": ["x"] },
                { "speaker": "Bo", "dia_id": "D2:2", "text": "It is lovely." },
            ],
            "session_11_date_time": "9:00 am on 3 June, 2023",
        },
        "qa": [
            { "question": "What did Ane make?", "answer": "a bowl", "category": 4, "evidence": ["D2:1; D2:2", "D9:9"] },
            { "question": "Where is it?", "adversarial_answer": "here", "category": 5, "evidence": [] },
        ],
    }]);
    let converted = convert(&home, "locomo", &locomo, 1);
    let doc = |id: &str, session: &str, ts: &str, speaker: &str, text: &str| json!({ "id": id, "session": session, "ts": ts, "speaker": speaker, "role": "user", "text": text });
    let expected = json!([
        doc("D2:1", "D2", "1:56 pm on 8 May, 2023", "Ane", "I made a bowl. [image: a blue bowl]"),
        doc("D2:2", "D2", "1:56 pm on 8 May, 2023", "Bo", "It is lovely."),
        doc("D10:1", "D10", "9:00 am on 2 June, 2023", "Bo", "The kiln exploded."),
    ]);
    assert_eq!(converted["docs"], expected);
    let queries = json!([
        { "id": "conv-1_q0", "category": "4", "text": "What did Ane make?", "gold": ["D2:1", "D2:2"] },
        { "id": "conv-1_q1", "category": "5", "text": "Where is it?", "gold": [] },
    ]);
    assert_eq!(converted["queries"], queries);

    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let mut told = turn("user", "My bike is a red Velorbis.");
    told["has_answer"] = true.into();
    let instance = |id: &str| {
        json!({
            "question_id": id, "question_type": "single-session-user", "question": "Which bike do I ride?", "answer": "x",
            "question_date": "2023/05/30 (Tue) 23:40", "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 03:00"],
            "haystack_session_ids": ["filler_1", "answer_1"], "answer_session_ids": ["answer_1"],
            "haystack_sessions": [[turn("user", "Hello, what is rye?"), turn("assistant", "A grain.")], [told.clone()]],
        })
    };
    let converted = convert(&home, "longmemeval", &json!([instance("e47b"), instance("e47b_abs")]), 2);
    assert_eq!(converted["haystack"], "e47b");
    let ids = converted["docs"].as_array().expect("docs").iter().map(|doc| doc["id"].as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["0:filler_1:0", "0:filler_1:1", "1:answer_1:0"].map(Some));
    assert_eq!(converted["docs"][1]["role"], "assistant");
    assert_eq!(converted["docs"][2]["ts"], "2023/05/21 (Sun) 03:00");
    let query = json!({ "id": "e47b", "category": "single-session-user", "text": "Which bike do I ride?", "gold": ["1:answer_1:0"] });
    assert_eq!(converted["queries"], json!([query]));
    home.run(&["bench", "retrieval-convert", "locomo", "absent.json"]).fails(1, "cannot read absent.json");
}

/// Converts, measures what came of it, and returns its first line.
#[track_caller]
fn convert(home: &Home, format: &str, published: &Value, n_haystacks: u64) -> Value {
    let file = home.path().join(format!("{format}.json"));
    std::fs::write(&file, published.to_string()).expect("a file");
    let ran = home.run(&["bench", "retrieval-convert", format, file.to_str().expect("a plain path")]);
    ran.ok();
    let lines = ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>();
    let converted = write(home.path(), &format!("{format}.jsonl"), &lines);
    let report = home.run(&["--json", "bench", "retrieval", "--dataset", &converted, "--model", "none"]).json();
    assert_eq!(report["haystacks"], n_haystacks, "{report}");
    assert_eq!((report["questions"].as_u64(), report["without_gold"].as_u64()), (Some(1), Some(1)), "{report}");
    assert_eq!(
        report["methods"][0]["overall"]["at"]["5"]["mean"].as_f64().map(|share| share > 0.0),
        Some(true),
        "{report}"
    );
    lines.into_iter().next().expect("a haystack")
}

/// The first two conversations of a public set, where it lies beside the checkout; it is never part of it.
#[test]
fn locomo_is_read_and_its_answers_are_found() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/locomo.jsonl");
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return;
    }
    let (home, _) = home();
    let path = path.to_str().expect("a plain path");
    let report =
        home.run(&["--json", "bench", "retrieval", "--dataset", path, "--model", "none", "--limit", "2"]).json();
    let counts = ["haystacks", "messages", "questions", "without_gold"].map(|key| report[key].as_u64());
    assert_eq!(counts, [2, 788, 302, 2].map(Some), "{report}");
    let found = report["methods"][0]["overall"]["at"]["10"]["mean"].as_f64();
    assert!(found > Some(0.5), "{report}");
}
