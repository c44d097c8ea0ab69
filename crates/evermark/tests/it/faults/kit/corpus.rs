//! Memories to try things on: each has a word of its own by which it is found.

use crate::kit::{Daemon, Home, post};
use evermark_core::id::{Kind, Owner, Scope};
use evermark_core::markdown::{DailyFile, EntryDraft, path_for};
use evermark_core::memory::Body;
use jiff::ToSpan;
use jiff::civil::{Date, date};
use serde_json::json;
use std::path::Path;

const FIRST_DAY: Date = date(2026, 3, 1);

/// Returns `n` words that are one term each and occur nowhere else.
pub(crate) fn words(prefix: &str, n: usize) -> Vec<String> {
    let letter = |digit: usize| char::from(b"bcdfghjklm"[digit % 10]);
    (0..n)
        .map(|i| format!("{prefix}q{}{}{}{}q", letter(i / 1000), letter(i / 100), letter(i / 10), letter(i)))
        .collect()
}

/// The owner of a user's memories.
pub(crate) fn owner(user: &str) -> Owner {
    Owner::user(Scope::default(), user)
}

/// Returns where a user's episodes and facts of a day are, relative to the root.
pub(crate) fn paths(owner: &Owner, day: i64) -> [String; 2] {
    let day = FIRST_DAY.saturating_add(day.days());
    [Kind::Episode, Kind::AtomicFact].map(|kind| path_for(owner, kind, day).expect("a plain name"))
}

/// Returns the two files that hold an episode and a fact for each word, with their paths.
pub(crate) fn day_files(owner: &Owner, day: i64, words: &[String], padding: &str) -> [(String, String); 2] {
    let [episodes_path, facts_path] = paths(owner, day);
    let date = FIRST_DAY.saturating_add(day.days());
    let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).expect("a date of this century").timestamp().as_microsecond();
    let draft = |i: usize, parent: (&str, String), body: Body| EntryDraft {
        owner_id: owner.id.clone(),
        session_id: Some(format!("s-{date}-{i}")),
        timestamp_us: midnight + 60_000_000 * i64::try_from(i % 1400).expect("small"),
        parent_type: Some(parent.0.to_owned()),
        parent_id: Some(parent.1),
        sender_ids: vec![owner.id.clone()],
        message_ids: Vec::new(),
        body,
    };
    let episodes = words.iter().enumerate().map(|(i, word)| {
        let body = Body::Episode {
            subject: Some(format!("About {word}")),
            summary: None,
            content: format!("{}: the word of the hour is {word}. {padding}", owner.id),
        };
        draft(i, ("memcell", format!("mc_{day}_{i}")), body)
    });
    let mut file = DailyFile::open(None, owner, Kind::Episode, date);
    let ids = file.append(date, &episodes.collect::<Vec<_>>(), midnight).expect("episodes are entries");
    let facts = words.iter().zip(ids).enumerate();
    let facts = facts.map(|(i, (word, id))| {
        draft(i, ("episode", id), Body::AtomicFact { fact: format!("The word is {word}."), context: None })
    });
    let mut other = DailyFile::open(None, owner, Kind::AtomicFact, date);
    other.append(date, &facts.collect::<Vec<_>>(), midnight).expect("facts are entries");
    [(episodes_path, file.render()), (facts_path, other.render())]
}

/// Writes an episode and a fact for each word, as files of one day.
pub(crate) fn write_day(home: &Home, user: &str, day: i64, words: &[String]) {
    for (path, text) in day_files(&owner(user), day, words, "") {
        save(&home.root().join(path), &text);
    }
}

/// Saves a file whole, by rename, as good editors do.
pub(crate) fn save(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    let temporary = path.with_extension("part");
    std::fs::write(&temporary, text).expect("a file");
    std::fs::rename(&temporary, path).expect("renamed");
}

/// Returns how many episodes of a user a search by words finds for `word`; `None` when there was no answer.
pub(crate) fn hits(url: &str, user: &str, word: &str) -> Option<usize> {
    let ask = json!({"user_id": user, "query": word, "method": "keyword", "top_k": 20}).to_string();
    let (status, answer) = post(url, "/api/v1/memory/search", &ask)?;
    (status == 200).then(|| answer["data"]["episodes"].as_array().map_or(0, Vec::len))
}

/// Adds one message that holds `word` and ends its session. Returns the statuses of the answers.
pub(crate) fn tell(daemon: &Daemon, user: &str, session: &str, word: &str) -> [Option<u16>; 2] {
    let text = format!("The word of the day is {word}.");
    let add = crate::kit::body(session, user, &[&text]);
    let flush = json!({"session_id": session}).to_string();
    let status = |path: &str, body: &str| daemon.post(path, body).map(|(status, _)| status);
    [status("/api/v1/memory/add", &add), status("/api/v1/memory/flush", &flush)]
}

/// Saves a day again with one other word in every entry, there in even rounds and back in odd ones.
pub(crate) fn reword(home: &Home, user: &str, day: i64, round: usize) {
    for path in paths(&owner(user), day) {
        let path = home.root().join(path);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let text = match round % 2 {
            0 => text.replace("the word of the hour", "a word of the hour").replace("The word is", "A word is"),
            _ => text.replace("a word of the hour", "the word of the hour").replace("A word is", "The word is"),
        };
        save(&path, &text);
    }
}

/// Text that does not compress away.
pub(crate) fn padding(seed: usize, chars: usize) -> String {
    let mut state = seed as u64 * 2 + 1;
    let mut text = String::with_capacity(chars);
    while text.len() < chars {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let letter = char::from(b'a' + u8::try_from((state >> 33) % 26).expect("a letter"));
        text.push(if (state >> 40).is_multiple_of(7) { ' ' } else { letter });
    }
    text
}
