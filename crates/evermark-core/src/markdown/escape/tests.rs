use super::{inline, section, uninline, unsection};
use proptest::prelude::*;

#[test]
fn only_grammar_is_escaped() {
    let check = |text: &str, expected: &str| {
        assert_eq!(section(text, "\n"), expected, "{text:?}");
        assert_eq!(unsection(expected), text, "{expected:?}");
    };
    check("", "");
    check("plain text\n\nwith a gap", "plain text\n\nwith a gap");
    check("# One\n## Two\n#### Four\n###none", "# One\n## Two\n#### Four\n###none");
    check("### Three\n###\n\\### x", "\\### Three\n\\###\n\\\\### x");
    check("---\n----\n--- x\n---  ", "\\---\n----\n--- x\n\\---  ");
    check("see <!-- entry:a --> and <!-- /entry:a -->", "see <!-- \\entry:a --> and <!-- \\/entry:a -->");
    check("<!-- \\entry: <!-- comment -->", "<!-- \\\\entry: <!-- comment -->");
    check("a\r\nb\r", "a&#13;\nb&#13;");
    check("a\\\rb &#13; \\&#13; &#1;", "a\\\\&#13;b \\&#13; \\\\\\&#13; &#1;");
    check("\0", "&#0;");
    check("\na\n", "\\\na\n\\");
    check("  \n", "\\  \n\\");
    check("\\\n\n\\\\", "\\\\\n\\\n\\\\\\");
    check("a\n\\\\\nb", "a\n\\\\\nb");
    check("  indented", "  indented");
    check("C:\\results\\new", "C:\\results\\new");
}

#[test]
fn blank_lines_and_carriage_returns_around_are_not_text() {
    assert_eq!(unsection("\n\n  \ntext\n \n\n"), "text");
    assert_eq!(unsection("\r\none\r\n\r\ntwo\r\n"), "one\n\ntwo");
    assert_eq!(unsection(" \n\t"), "");
    assert_eq!(unsection("  a \r\n"), "  a ");
}

#[test]
fn inline_values_are_one_line() {
    let check = |text: &str, expected: &str| {
        assert_eq!(inline(text), expected, "{text:?}");
        assert_eq!(uninline(expected), text, "{expected:?}");
    };
    check("tea 7/zwölf", "tea 7/zwölf");
    check("a\n**owner_id**: b", "a&#10;**owner_id**: b");
    check(" a ", "&#32;a&#32;");
    check("\\ ", "\\\\&#32;");
    check(" ", "&#32;");
    check("\t", "&#9;");
    check("<!-- /entry:x -->", "<!-- \\/entry:x -->");
    check("", "");
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".*",
        proptest::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter),
        proptest::collection::vec(
            proptest::sample::select(vec![
                "\n", "\r", "\0", "\\", "\\\\", "###", "### ", "---", " ", "\t", "<!-- ", "<!--", "entry:", "/entry:",
                "&#", "&#13;", "&#0;", "&#32;", "a", "x -->", "é", ";"
            ]),
            0..14
        )
        .prop_map(|parts| parts.concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn any_text_comes_back(text in text(), newline in prop_oneof![Just("\n"), Just("\r\n")]) {
        let raw = section(&text, newline);
        prop_assert_eq!(unsection(&raw), text.clone(), "{:?}", raw);
        prop_assert_eq!(unsection(&format!("{newline}{raw}{newline}{newline}")), text.clone());
        prop_assert!(!raw.contains("<!-- entry:") && !raw.contains("<!-- /entry:"));
        prop_assert!(raw.lines().all(|line| !line.starts_with("### ") && line.trim_end() != "---"));
        let raw = inline(&text);
        prop_assert_eq!(uninline(&raw).into_owned(), text, "{:?}", raw);
        prop_assert!(!raw.contains(['\n', '\r', '\0']) && raw.trim_matches([' ', '\t']) == raw);
    }
}
