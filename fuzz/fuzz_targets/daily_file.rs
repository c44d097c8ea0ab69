//! Any text as a daily file, edited: bytes are kept, what was written is read back, and nothing else changes.

#![no_main]

use evermark_core::id::{Kind, Owner, Scope};
use evermark_core::markdown::{DailyFile, EntryDraft};
use evermark_core::memory::Body;
use jiff::civil::date;
use libfuzzer_sys::fuzz_target;

fn fact(text: &str) -> EntryDraft {
    EntryDraft {
        owner_id: "u".into(),
        session_id: Some(text.into()),
        timestamp_us: 0,
        parent_type: None,
        parent_id: None,
        sender_ids: vec![text.into()],
        message_ids: vec![text.into()],
        body: Body::AtomicFact { fact: text.into() },
    }
}

/// What every entry says, by id.
fn says(file: &DailyFile, except: &str) -> Vec<(String, String)> {
    file.entries().filter(|entry| entry.id != except).map(|entry| (entry.id.to_owned(), entry.raw().to_owned())).collect()
}

fuzz_target!(|input: (&str, &str)| {
    let (text, value) = input;
    let file = DailyFile::parse(text);
    assert_eq!(file.render(), text);
    for entry in file.entries() {
        assert!(text[entry.span.clone()].starts_with(&format!("<!-- entry:{} -->", entry.id)));
        assert_eq!(entry.line, 1 + text[..entry.span.start].matches('\n').count());
    }

    let mut grown = DailyFile::open(Some(text), &Owner::user(Scope::default(), "u"), Kind::AtomicFact, date(2027, 2, 3));
    let before = says(&grown, "");
    let ids = grown.append(date(2027, 2, 3), &[fact(value), fact("x")], 0).expect("facts are entries");
    assert_eq!(grown, DailyFile::parse(&grown.render()));
    assert_eq!(grown.entry(&ids[0]).expect("appended").section("Fact").as_deref(), Some(value));
    let after = says(&grown, "");
    assert_eq!(after[..before.len()], before);
    assert_eq!(after.len(), before.len() + 2);
    let session = grown.entry(&ids[0]).expect("appended").inline("session_id").map(String::from);
    assert_eq!(session.as_deref(), Some(value).filter(|value| !value.is_empty()));

    // Then one entry after another is edited and removed.
    let Some(id) = file.entry_ids().next().map(str::to_owned) else { return };
    for edit in 0..4 {
        let mut edited = file.clone();
        match edit {
            0 => edited.set_section(&id, "Fact", value),
            1 => edited.set_inline(&id, "timestamp", value),
            2 => edited.replace_entry(&id, &fact(value)),
            _ => edited.remove_entry(&id),
        }
        .expect("there");
        let span = file.entry(&id).expect("there").span;
        let text_after = edited.render();
        assert!(text_after.starts_with(&text[..span.start]));
        assert_eq!(edited, DailyFile::parse(&text_after));
        if edit < 3 {
            assert!(text_after.ends_with(&text[span.end..]));
            let entry = edited.entry(&id).expect("still there");
            match edit {
                1 => assert_eq!(entry.inline("timestamp").map(String::from).as_deref(), Some(value)),
                _ => assert_eq!(entry.section("Fact").as_deref(), Some(value)),
            }
        }
    }
});
