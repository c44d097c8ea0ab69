//! Any text with a front matter: bytes are kept, a key set is read back, the others keep their values.

#![no_main]

use evermark_core::markdown::FrontMatter;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|input: (&str, &str)| {
    let (text, value) = input;
    let (header, body) = FrontMatter::split(text);
    assert_eq!(format!("{}{}", header.render(), &text[body..]), text);
    assert!(header.fault().is_none() || header.keys().next().is_none());

    // Written anew from what was read, it says the same.
    let fields: Vec<(&str, serde_json::Value)> = header.keys().map(|key| (key, header.get(key).expect("a key").clone())).collect();
    let fresh = FrontMatter::fresh(fields, header.newline());
    assert_eq!(fresh.fault(), None, "{}", fresh.render());
    for key in header.keys() {
        assert_eq!(fresh.get(key), header.get(key), "{key:?}");
    }

    let first = header.keys().next().unwrap_or("new").to_owned();
    for (key, value) in [(first.as_str(), json!(value)), ("entry_count", json!(7)), (value, json!([value, {"a": value}]))] {
        let mut edited = header.clone();
        if edited.set(key, &value).is_err() {
            assert_eq!(edited, header);
            continue;
        }
        let again = format!("{}{}", edited.render(), &text[body..]);
        let (again, start) = FrontMatter::split(&again);
        assert_eq!((&again, start), (&edited, edited.render().len()));
        assert_eq!(again.get(key), Some(&value));
        for other in header.keys().filter(|other| *other != key) {
            assert_eq!(again.get(other), header.get(other), "{other:?}");
        }
    }
    let mut removed = header.clone();
    if removed.remove(&first) == Ok(true) {
        for other in header.keys().filter(|other| **other != first) {
            assert_eq!(removed.get(other), header.get(other));
        }
    }
});
