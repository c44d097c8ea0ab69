//! What `bench retrieval` is made of, by itself: times, data sets, rankings, shares and intervals. The program is not linked a
//! second time for its tests, so its files are taken in here.

#[path = "../../../src/bench/retrieval/dataset.rs"]
mod dataset;
#[path = "../../../src/bench/retrieval/ranking.rs"]
mod ranking;
#[path = "../../../src/bench/retrieval/score.rs"]
mod score;
#[path = "../../../src/bench/retrieval/when.rs"]
mod when;

use self::dataset::{Haystack, Malformed, Speaks, read};
use self::score::{Estimate, bootstrap, differences, places, shares};
use evermark_core::id::{Owner, Scope};
use evermark_core::memory::{Body, Memory};
use evermark_engine::search::{EpisodeHit, Scored, SearchAnswer};
use jiff::tz::{TimeZone, offset};
use serde_json::{Value, json};

/// 8 May 2023, 13:56 UTC.
const MS: i64 = 1_683_554_160_000;

#[test]
fn times_are_read_as_data_sets_write_them() {
    let check = |found: Value, expected: i64| {
        assert_eq!(when::milliseconds(&found, &TimeZone::UTC), Ok(expected), "{found}");
    };
    check(json!("2023-05-08T13:56:00Z"), MS);
    check(json!("2023-05-08T15:56:00+02:00"), MS);
    check(json!("2023-05-08T13:56:00"), MS);
    check(json!(" 2023-05-08 13:56 "), MS);
    check(json!("1:56 pm on 8 May, 2023"), MS);
    check(json!("01:56 PM on 08 May, 2023"), MS);
    check(json!("12:05 am on 1 January, 2024"), 1_704_067_500_000);
    check(json!("2023/05/08 (Mon) 13:56"), MS);
    check(json!("2023/05/08 13:56"), MS);
    check(json!("2023-05-08"), MS - (13 * 60 + 56) * 60_000);
    check(json!(MS), MS);
    check(json!(MS / 1000), MS);
    check(json!(1_683_554_160.25), MS + 250);
    check(json!("1683554160"), MS);
    check(json!(0), 0);
}

#[test]
fn a_time_without_an_offset_is_one_of_the_zone() {
    let zone = TimeZone::fixed(offset(8));
    let hours = 8 * 3_600_000;
    assert_eq!(when::milliseconds(&json!("1:56 pm on 8 May, 2023"), &zone), Ok(MS - hours));
    assert_eq!(when::milliseconds(&json!("2023-05-08T13:56:00Z"), &zone), Ok(MS));
    assert_eq!(when::milliseconds(&json!(MS), &zone), Ok(MS));
}

#[test]
fn what_is_no_time_is_shown() {
    let wrong = [
        json!("yesterday"),
        json!(""),
        json!("1:56 pm on 31 February, 2023"),
        json!("2023/05/08 (Tue) 13:56"),
        json!(1e30),
        json!(null),
        json!(true),
        json!(["2023-05-08"]),
    ];
    for found in wrong {
        let told = when::milliseconds(&found, &TimeZone::UTC).expect_err("no time");
        assert!(told.contains(&found.to_string()) && told.contains("RFC 3339"), "{told}");
    }
}

fn line() -> Value {
    let doc = |id: &str, session: &str, ts: Value, speaker: &str, text: &str| json!({ "id": id, "session": session, "ts": ts, "speaker": speaker, "text": text });
    let mut docs = vec![
        doc("a", "one", json!(MS), "Ada", "The kiln is warm."),
        doc("b", "two", json!(MS + 86_400_000), "Ada", "The glaze ran."),
        doc("c", "one", json!(MS), "Bot", "Noted."),
        doc("d", "one", json!(MS + 60_000), "Ada", "It holds nine bowls."),
        doc("e", "one", json!(MS), "Ada", "And one jug."),
    ];
    docs[2]["role"] = "assistant".into();
    json!({
        "dataset": "kiln", "haystack": "h", "docs": docs,
        "queries": [
            { "id": "q1", "category": 4, "text": "How many bowls?", "answer": { "any": "shape" }, "gold": ["d", "c", "d"] },
            { "id": "q2", "text": "How many plates?", "gold": [] },
            { "id": "q3", "text": "What ran?", "gold": ["b"] },
        ],
    })
}

fn parse(text: &str, limit: Option<usize>) -> Result<Vec<Haystack>, Malformed> {
    read(text.as_bytes(), &TimeZone::UTC, limit)
}

#[test]
fn a_haystack_is_sorted_into_sessions_with_times_that_increase() {
    let haystacks = parse(&format!("\n{}\n\n", line()), None).expect("a data set");
    let [haystack] = haystacks.as_slice() else { panic!("{haystacks:?}") };
    assert_eq!((haystack.dataset.as_str(), haystack.name.as_str(), haystack.n_messages()), ("kiln", "h", 5));
    let turns =
        |i: usize| haystack.sessions[i].turns.iter().map(|turn| (turn.doc, turn.at_ms - MS)).collect::<Vec<_>>();
    assert_eq!(turns(0), [(0, 0), (2, 1000), (3, 60_000), (4, 61_000)]);
    assert_eq!(turns(1), [(1, 86_400_000)]);
    let bot = &haystack.sessions[0].turns[1];
    assert_eq!((bot.role, bot.speaker.as_str(), bot.text.as_str()), (Speaks::Assistant, "Bot", "Noted."));
    assert_eq!(haystack.sessions[0].turns[0].role, Speaks::User);
}

#[test]
fn questions_keep_their_gold_once_and_those_without_are_counted() {
    let haystack = parse(&line().to_string(), None).expect("a data set").remove(0);
    let questions =
        haystack.questions.iter().map(|q| (q.id.as_str(), q.category.as_str(), q.text.as_str(), q.gold.clone()));
    let expected = [("q1", "4", "How many bowls?", vec![2, 3]), ("q3", "-", "What ran?", vec![1])];
    assert_eq!(questions.collect::<Vec<_>>(), expected);
    assert_eq!(haystack.n_without_gold, 1);
}

#[test]
fn only_as_many_lines_are_read_as_are_wanted() {
    let text = format!("{0}\n{0}\nnonsense\n", line());
    assert_eq!(parse(&text, Some(2)).expect("two haystacks").len(), 2);
    assert_eq!(parse(&text, None).expect_err("the third is none").line, 3);
}

#[test]
fn a_malformed_line_is_named_with_what_is_wrong() {
    let check = |change: &dyn Fn(&mut Value), says: &str| {
        let mut changed = line();
        change(&mut changed);
        let told = parse(&format!("{}\n{changed}", line()), None).expect_err(says);
        assert_eq!(told.line, 2, "{told}");
        assert!(told.what.contains(says), "`{says}` is not in: {told}");
        assert!(told.to_string().starts_with("line 2: "), "{told}");
    };
    check(&|line| line["queries"][0]["gold"] = json!(["z"]), "query `q1` has the gold `z`, which is no doc");
    check(&|line| line["queries"][0]["text"] = " ".into(), "query `q1` has no text");
    check(&|line| line["docs"][1]["id"] = "a".into(), "two docs have the id `a`");
    check(&|line| line["docs"][1]["ts"] = "soon".into(), "doc `b`: `ts` is \"soon\"");
    check(&|line| line["docs"][1]["role"] = "robot".into(), "unknown variant `robot`");
    check(&|line| line["docs"][1]["text"] = Value::Null, "expected a string");
    check(&|line| drop(line.as_object_mut().map(|line| line.remove("haystack"))), "missing field `haystack`");
    let nobody = |line: &mut Value| {
        line["docs"].as_array_mut().expect("docs").iter_mut().for_each(|doc| doc["role"] = "assistant".into());
    };
    check(&nobody, "no doc with the role `user`");
    let told = parse("{}\n", None).expect_err("no haystack");
    assert_eq!(told.line, 1);
    let told = read(&b"\xff\xfe\n"[..], &TimeZone::UTC, None).expect_err("no text");
    assert!(told.what.contains("cannot be read"), "{told}");
}

#[test]
fn shares_count_gold_among_the_first_k() {
    let ranking = (100..160).collect::<Vec<_>>();
    let found = places(&[100, 104, 105, 119, 150, 7], &ranking);
    assert_eq!(found, [Some(0), Some(4), Some(5), Some(19), Some(50), None]);
    assert_eq!(shares(&found), [1, 2, 3, 4, 4].map(|n| f64::from(n) / 6.0));
    assert_eq!(shares(&places(&[1], &[])), [0.0; 5]);
    assert_eq!(shares(&places(&[1], &[2, 1])), [0.0, 1.0, 1.0, 1.0, 1.0]);
}

fn assert_near(found: f64, expected: f64, by: f64) {
    assert!((found - expected).abs() <= by, "{found} is not {expected} ± {by}");
}

#[test]
fn intervals_are_those_that_are_known() {
    let sure = |mean| Estimate { mean, low: mean, high: mean };
    // What never varies is sure.
    assert_eq!(bootstrap(&vec![[0.25; 5]; 40]), [sure(0.25); 5]);
    assert_eq!(bootstrap(&[[0.0, 0.5, 1.0, 1.0, 1.0]]), [0.0, 0.5, 1.0, 1.0, 1.0].map(sure));
    assert_eq!(bootstrap(&[]), [sure(0.0); 5]);
    // Of two, each half of all resamplings holds one twice a quarter of the time: far more than the tails.
    assert_eq!(bootstrap(&[[0.0; 5], [1.0; 5]]), [Estimate { mean: 0.5, low: 0.0, high: 1.0 }; 5]);
    // Of 400 coins the mean has a standard error of 0.025; 95 % are within 1.96 of them.
    let coins = (0..400).map(|i| [f64::from(i % 2); 5]).collect::<Vec<_>>();
    let [estimate, ..] = bootstrap(&coins);
    assert_near(estimate.mean, 0.5, 1e-12);
    assert_near(estimate.low, 0.5 - 1.96 * 0.025, 0.006);
    assert_near(estimate.high, 0.5 + 1.96 * 0.025, 0.006);
    assert_eq!(bootstrap(&coins), bootstrap(&coins), "a run repeats exactly");
}

#[test]
fn a_paired_difference_is_surer_than_the_two_by_themselves() {
    // One finds what the other finds, and every tenth more.
    let less = (0..400).map(|i| [f64::from(u8::from(i % 2 == 0)); 5]).collect::<Vec<_>>();
    let more = (0..400).map(|i| [f64::from(u8::from(i % 2 == 0 || i % 10 == 1)); 5]).collect::<Vec<_>>();
    let [difference, ..] = bootstrap(&differences(&more, &less));
    assert_near(difference.mean, 0.1, 1e-12);
    // sqrt(0.1 × 0.9 / 400) = 0.015.
    assert_near(difference.low, 0.1 - 1.96 * 0.015, 0.005);
    assert_near(difference.high, 0.1 + 1.96 * 0.015, 0.005);
}

fn scored(messages: &[&str], score: f32) -> Scored {
    let memory = Memory {
        owner: Owner::user(Scope::default(), "ada"),
        id: "ada_x".to_owned(),
        entry_id: "x".to_owned(),
        path: String::new(),
        session_id: None,
        timestamp_us: None,
        parent_type: None,
        parent_id: None,
        sender_ids: Vec::new(),
        message_ids: messages.iter().map(|id| (*id).to_owned()).collect(),
        deprecated_by: None,
        body: Body::AtomicFact { fact: String::new(), context: None },
    };
    Scored { memory, score, explain: None }
}

#[test]
fn an_answer_is_one_ranking_of_messages() {
    let hit = |episode: Scored, facts: Vec<Scored>| EpisodeHit { episode, facts };
    let answer = SearchAnswer {
        episodes: vec![
            // Its facts speak for it, not its own score.
            hit(scored(&["m1", "m2", "m3"], 9.0), vec![scored(&["m2"], 0.5), scored(&["m1"], 0.2)]),
            hit(scored(&["m4", "m2", "m5"], 0.3), vec![]),
            hit(scored(&["m6", "m7"], 0.1), vec![scored(&["m7"], 0.5), scored(&["m7", "m6"], 0.25)]),
        ],
        ..SearchAnswer::default()
    };
    // Equal scores keep the answer's order, and no message is counted twice.
    assert_eq!(ranking::messages(&answer), ["m2", "m7", "m4", "m5", "m6", "m1"]);
    assert!(ranking::messages(&SearchAnswer::default()).is_empty());
}
