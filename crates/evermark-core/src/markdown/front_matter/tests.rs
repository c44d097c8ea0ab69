use super::{FrontMatter, Newline};
use proptest::prelude::*;
use serde_json::{Value, json};

const DAILY: &str = "---\nid: x # the id\n# about the type\ntype: episode_daily\n\nentry_count: 3   # high water\nlast: '2026-11-22'\nextra: |\n  # not a comment\n\n  text\n\n# tail\nmap:\n  a: 1 # inner\n  b: 2\n---\nbody\n";

fn split(text: &str) -> FrontMatter {
    let (header, body) = FrontMatter::split(text);
    assert_eq!(format!("{}{}", header.render(), &text[body..]), text);
    header
}

#[test]
fn a_block_is_found_at_byte_zero_only() {
    let check = |text: &str, present: bool, code: Option<&str>| {
        let header = split(text);
        assert_eq!((header.is_present(), header.fault().map(|fault| fault.code)), (present, code), "{text:?}");
    };
    check("", false, None);
    check("---", false, Some("front_matter_unterminated"));
    check("---\n", false, Some("front_matter_unterminated"));
    check("---\n---", true, None);
    check("---\n---\n", true, None);
    check("\n---\n---\n", false, None);
    check("---x\n---\n", false, None);
    check("----\n---\n", false, None);
    check("\u{feff}---\na: 1\n---\n", true, None);
    check("---\r\na: 1\r\n---\r\nbody", true, None);
    check("--- \na: 1\n---\t\n", true, None);
    check("---\n- a\n---\n", true, Some("front_matter_invalid"));
    check("---\na: [\n---\n", true, Some("front_matter_invalid"));
    check("---\n# nothing\n---\n", true, None);
    check("---\nid: 1\n<!-- entry:a -->\n", false, Some("front_matter_unterminated"));
}

#[test]
fn values_text_and_lines_are_read() {
    let header = split("---\nuser_id: 007\nnone:\ndate: 2026-11-22\nuser_id: 008\n---\n");
    assert_eq!(header.get("user_id"), Some(&json!(8)));
    assert_eq!(header.text("user_id"), Some("008"));
    assert_eq!(header.line("user_id"), Some(5));
    assert_eq!((header.text("none"), header.text("absent"), header.text("date")), (None, None, Some("2026-11-22")));
    let broken = split("---\na: 1\nb: [\n---\n");
    assert!((2..=4).contains(&broken.fault().expect("broken").line));
}

#[test]
fn set_changes_only_the_keys_own_lines() {
    let check = |key: &str, value: Value, from: &str, to: &str| {
        let mut header = split(DAILY);
        header.set(key, &value).expect("editable");
        assert_eq!(header.get(key), Some(&value));
        assert_eq!(header.render(), DAILY.replacen(from, to, 1).strip_suffix("body\n").expect("ends with the body"));
    };
    check("id", json!("z"), "id: x #", "id: z #");
    check("entry_count", json!(44), "entry_count: 3   #", "entry_count: 44   #");
    check("last", json!("2026-11-23"), "'2026-11-22'", "'2026-11-23'");
    check("extra", json!("short"), "extra: |\n  # not a comment\n\n  text\n", "extra: short\n");
    check("map", json!({"c": 3}), "map:\n  a: 1 # inner\n  b: 2\n", "map:\n  c: 3\n");
    check("id", json!(["a"]), "id: x # the id\n", "id:\n- a\n");
    check("fresh", json!("今天"), "  b: 2\n", "  b: 2\nfresh: 今天\n");
    check("id", json!("a: b"), "id: x #", "id: 'a: b' #");
}

#[test]
fn remove_takes_only_the_keys_own_lines() {
    let mut header = split(DAILY);
    assert_eq!(header.remove("extra"), Ok(true));
    assert_eq!(header.remove("extra"), Ok(false));
    assert_eq!(
        header.render(),
        DAILY.replacen("extra: |\n  # not a comment\n\n  text\n", "", 1).strip_suffix("body\n").expect("body")
    );
}

#[test]
fn what_cannot_be_edited_alone_is_left_alone() {
    for text in [
        "",
        "body",
        "---\n",
        "---\n- a\n---\n",
        "---\n{a: 1, b: 2}\n---\n",
        "---\n  a: 1\n---\n",
        "---\n? a\n: 1\n---\n",
        "---\na: &x [1]\nb: *x\n---\n",
        "---\nb: 2\r\r\na: 1\n---\n",
        "---\na: [\n---\n",
    ] {
        let mut header = split(text);
        let before = header.render().to_owned();
        assert!(header.set("a", &json!("new")).is_err(), "{text:?}");
        assert_eq!(header.render(), before);
    }
}

#[test]
fn empty_values_and_crlf_are_edited() {
    let check = |text: &str, key: &str, value: Value, expected: &str| {
        let mut header = split(text);
        header.set(key, &value).expect("editable");
        assert_eq!(header.render(), expected);
    };
    check("---\na:\nb: 1\n---\n", "a", json!(2), "---\na: 2\nb: 1\n---\n");
    check("---\r\na: 1 # x\r\n---\r\n", "a", json!(2), "---\r\na: 2 # x\r\n---\r\n");
    check("---\r\na: 1\r\n---\r\n", "b", json!([1]), "---\r\na: 1\r\nb:\r\n- 1\r\n---\r\n");
    check("---\n---\n", "a", json!(1), "---\na: 1\n---\n");
    check("\u{feff}---\n今: 天 # x\n---", "今", json!("明"), "\u{feff}---\n今: 明 # x\n---");
    check("---\n\"a\": 'it''s'\n---\n", "a", json!("x"), "---\n\"a\": x\n---\n");
    check("---\na: one\n  two\nb: 1\n---\n", "a", json!("x"), "---\na: x\nb: 1\n---\n");
}

#[test]
fn a_fresh_block_reads_back() {
    let header =
        FrontMatter::fresh([("id", json!("a")), ("date", json!("2027-02-03")), ("num", json!(1))], Newline::CrLf);
    assert_eq!(header.render(), "---\r\nid: a\r\ndate: '2027-02-03'\r\nnum: 1\r\n---\r\n");
    assert_eq!(split(header.render()).text("date"), Some("2027-02-03"));
}

proptest! {
    #[test]
    fn any_text_splits_and_renders(text in "(\u{feff})?(---\r?\n)?[a-c:\\- \n\r'\"#\\[\\]]{0,40}(---\n)?.{0,10}") {
        split(&text);
    }

    #[test]
    fn a_key_set_is_read_back_and_the_others_stay(text in ".*", count in 0i64..1_000_000) {
        let mut header = split(DAILY);
        header.set("summary", &json!(text)).expect("editable");
        header.set("entry_count", &json!(count)).expect("editable");
        header.set("id", &json!(text)).expect("editable");
        let again = split(&format!("{}body", header.render()));
        prop_assert_eq!(again.get("summary"), Some(&json!(text)));
        prop_assert_eq!(again.get("entry_count"), Some(&json!(count)));
        prop_assert_eq!(again.text("id"), Some(text.as_str()));
        prop_assert_eq!(again.get("map"), Some(&json!({"a": 1, "b": 2})));
        prop_assert!(again.render().contains("# about the type\n"));
        prop_assert!(again.render().contains("   # high water\n"));
    }
}
