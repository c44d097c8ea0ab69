use super::{Scenario, complaints, has_test, is_covered, places, scenarios};

const ROWS: &str = "\
| # | Trigger | What we do | Tests | Result |
|---|---|---|---|---|
| 1 | a fault | waits | `evermark::faults::space::it_waits`, `evermark-store::ledger::too` | passes |
| 2 | another | | | not covered: no machine |
| x | none | `evermark::a::b` | | |
";

#[test]
fn rows_are_those_with_a_number() {
    let rows = scenarios(ROWS);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].tests, ["evermark::faults::space::it_waits", "evermark-store::ledger::too"]);
    assert!(is_covered(&rows[0]) && !is_covered(&rows[1]));
}

#[test]
fn every_number_has_one_row_and_a_test_or_a_reason() {
    let found = complaints(ROWS, &scenarios(ROWS));
    assert!(found.contains(&"scenario 3 has 0 rows".to_owned()), "{found:?}");
    assert!(!found.iter().any(|text| text.starts_with("scenario 2 ")), "{found:?}");
    let silent = [Scenario { number: 7, tests: Vec::new(), result: "passes" }];
    assert!(complaints("", &silent).iter().any(|text| text.starts_with("scenario 7 names no test")));
}

#[test]
fn the_count_in_the_text_is_that_of_the_table() {
    let says = |text: &str| complaints(text, &scenarios(ROWS)).iter().any(|text| text.contains("does not say"));
    assert!(says("**2 of 88** are covered"));
    assert!(!says("**1 of 88** are covered"));
}

#[test]
fn a_test_is_looked_for_where_its_module_is() {
    let found: Vec<String> =
        places("evermark-core::shelf::codec::tests::damage").into_iter().map(|(file, _)| file).collect();
    assert!(found.contains(&"crates/evermark-core/src/shelf/codec/tests.rs".to_owned()), "{found:?}");
    let text = "#[test]\nfn one() {}\nfn two() {}\n    #[tokio::test]\n    async fn three() {}\n#[test]\n#[ignore]\nfn four() {}\n";
    assert!(has_test(text, "one") && has_test(text, "three"));
    assert!(!has_test(text, "two") && !has_test(text, "four") && !has_test(text, "on"));
}
