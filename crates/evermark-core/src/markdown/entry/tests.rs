use super::{Entry, FLAWS_MAX, scan, sequence};
use proptest::prelude::*;

fn check(body: &str, ids: &[&str], flaws: &[(&str, usize)]) {
    let scan = scan(body);
    let found: Vec<&str> = scan.slots.iter().map(|slot| &body[slot.id.clone()]).collect();
    assert_eq!(found, ids, "{body:?}");
    let told: Vec<(&str, usize)> = scan.flaws.iter().map(|flaw| (flaw.code, flaw.line)).collect();
    assert_eq!(told, flaws, "{body:?}");
}

#[test]
fn whole_entries_are_found_whatever_stands_around_them() {
    check("", &[], &[]);
    check("free text\n", &[], &[]);
    check("<!-- entry:a -->\nx\n<!-- /entry:a -->", &["a"], &[]);
    check("x <!-- entry:a -->y<!-- /entry:a --> z <!-- entry:B_-9 --><!-- /entry:B_-9 -->", &["a", "B_-9"], &[]);
    check("<!-- entry:a -->\r\nx\r\n<!-- /entry:a -->\r\n", &["a"], &[]);
    // Near misses are text.
    check("<!--entry:a--> <!-- entry: --> <!-- entry:a b --> <!-- entry:é --> <!-- entry:a-->", &[], &[]);
}

#[test]
fn one_bad_marker_costs_one_entry() {
    let a = "<!-- entry:a -->\nx\n<!-- /entry:a -->\n";
    let b = "<!-- entry:b -->\ny\n<!-- /entry:b -->\n";
    check(&format!("<!-- entry:c -->\n{a}{b}"), &["a", "b"], &[("entry_unterminated", 0)]);
    check(&format!("{a}<!-- entry:c -->\nlost\n{b}"), &["a", "b"], &[("entry_unterminated", 3)]);
    check(&format!("{a}{b}<!-- entry:c -->"), &["a", "b"], &[("entry_unterminated", 6)]);
    check(&format!("<!-- entry:c -->\nx\n<!-- /entry:d -->\n{a}"), &["a"], &[("entry_mismatched", 0)]);
    check(&format!("{a}<!-- /entry:z -->\n{b}"), &["a", "b"], &[("entry_not_opened", 3)]);
    check(&format!("{a}{b}{a}"), &["a", "b"], &[("entry_duplicate", 6)]);
    check(&format!("<!-- entry:a -->\nlost\n{a}"), &["a"], &[("entry_unterminated", 0)]);
}

#[test]
fn entries_inside_an_entry_are_its_text() {
    check("<!-- entry:a -->\n<!-- entry:b -->\n<!-- /entry:b -->\n<!-- /entry:a -->\n", &["a"], &[("entry_nested", 0)]);
    check(
        "<!-- entry:a -->\n<!-- entry:b -->\n<!-- /entry:a -->\n<!-- /entry:b -->\n",
        &["a"],
        &[("entry_nested", 0), ("entry_not_opened", 3)],
    );
}

#[test]
fn the_highest_sequence_counts_even_in_what_is_damaged() {
    let check = |id: &str, expected: Option<u64>| assert_eq!(sequence(id), expected, "{id}");
    check("ep_20270203_00000001", Some(1));
    check("ep_20270203_7", Some(7));
    check("a_b_20270203_00000900", Some(900));
    check("ep_20270203_123456789012", Some(123_456_789_012));
    for id in [
        "",
        "af_hand_0001",
        "ep_2027020_1",
        "_20270203_1",
        "20270203_1",
        "ep_20270203_",
        "ep_20270203_x",
        "ep_20270203_99999999999999999999",
    ] {
        check(id, None);
    }
    assert_eq!(scan("<!-- entry:ep_20270203_00000005 --> <!-- /entry:ep_20270203_00000009 -->").sequence, 9);
    assert_eq!(scan("<!-- entry:a --><!-- entry:ep_20270203_00000005 --><!-- /entry:a -->").sequence, 5);
}

#[test]
fn findings_of_one_file_are_bounded() {
    let body: String = (0..100_000).map(|n| format!("<!-- entry:e{n} -->\n")).collect();
    let scan = scan(&body);
    assert_eq!((scan.slots.len(), scan.flaws.len()), (0, FLAWS_MAX + 1));
    assert_eq!(scan.flaws.last().map(|flaw| flaw.code), Some("more_findings"));
}

fn read(inner: &str) -> Entry<'_> {
    Entry::read("a", 1, 0..inner.len(), inner)
}

#[test]
fn inline_pairs_end_at_the_first_section() {
    let entry = read(
        "\n## a\n\n**owner_id**: mira\n**Note**:  two words \n**empty**:\n text **not**: one\n**owner_id**: lin\n\n### Subject\n**timestamp**: x\n",
    );
    let inline = |key: &str| entry.inline(key).map(|value| value.into_owned());
    assert_eq!(entry.inline_keys().collect::<Vec<_>>(), ["owner_id", "Note", "empty", "owner_id"]);
    assert_eq!(inline("owner_id").as_deref(), Some("lin"));
    assert_eq!(inline("Note").as_deref(), Some("two words"));
    assert_eq!(inline("empty").as_deref(), Some(""));
    assert_eq!(inline("timestamp"), None);
    assert_eq!(entry.section("Subject").as_deref(), Some("**timestamp**: x"));
}

#[test]
fn sections_run_to_the_next_heading() {
    let entry = read("### One\n\n a\r\n\r\nb\r\n\n### Two\n#### not\n###not\n###\t Three \n### One\nlast");
    assert_eq!(entry.section_names().collect::<Vec<_>>(), ["One", "Two", "Three", "One"]);
    assert_eq!(entry.section("One").as_deref(), Some("last"));
    assert_eq!(entry.section("Two").as_deref(), Some("#### not\n###not"));
    assert_eq!(entry.section("Three").as_deref(), Some(""));
    assert_eq!(entry.section("Four"), None);
}

proptest! {
    #[test]
    fn nothing_panics_and_spans_are_in_order(parts in proptest::collection::vec(proptest::sample::select(vec![
        "<!-- entry:a -->", "<!-- /entry:a -->", "<!-- entry:b -->", "<!-- /entry:b -->", "<!-- ", "entry:", " -->", "\n", "\r\n", "### ", "### S\n", "**k**: v\n", "x", "é",
    ]), 0..24)) {
        let body = parts.concat();
        let scan = scan(&body);
        let mut end = 0;
        for slot in &scan.slots {
            prop_assert!(end <= slot.span.start && slot.span.start < slot.id.start && slot.inner.end < slot.span.end);
            prop_assert_eq!(slot.line, body[..slot.span.start].matches('\n').count());
            end = slot.span.end;
            let entry = Entry::read("x", 1, slot.span.clone(), &body[slot.inner.clone()]);
            for name in entry.section_names() {
                prop_assert!(entry.section(name).is_some());
            }
            for key in entry.inline_keys() {
                prop_assert!(entry.inline(key).is_some());
            }
        }
        prop_assert_eq!(scan.lines, body.matches('\n').count());
    }
}
