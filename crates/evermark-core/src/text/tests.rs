use super::*;

fn check(text: &str, expected: &str) {
    assert_eq!(joined(text), expected, "{text:?}");
    assert_eq!(terms(text).join(" "), expected);
}

/// Checks that a question finds a row: that they share a term.
fn finds(question: &str, row: &str) {
    let row_terms = terms(row);
    let asked = query_terms(question);
    assert!(asked.iter().any(|term| row_terms.contains(term)), "{question:?} {asked:?} / {row:?} {row_terms:?}");
}

fn misses(question: &str, row: &str) {
    let row_terms = terms(row);
    let asked = query_terms(question);
    assert!(!asked.iter().any(|term| row_terms.contains(term)), "{question:?} {asked:?} / {row:?} {row_terms:?}");
}

#[test]
fn english_is_folded_and_stemmed() {
    check("The cats were running with Renée's naïve Friends!", "cat run rene naiv friend");
    check("Ærøskøbing, Straße, Łódź, İstanbul", "aeroskob strass lodz istanbul");
    check("didn't can't won't we'll it's I'm", "can will we");
    check("ﬁle Ｆｕｌｌ ｗｉｄｔｈ", "file full width");
    check("x 7 42 I", "7 42");
    check("", "");
    check(" \n\t…!? -- '' \u{200b}", "");
}

#[test]
fn other_alphabets_are_folded_with_care() {
    check("Ёлка МОЙ Αθήνα Οδός", "елка мой αθηνα οδοσ");
    check("हिन्दी में नमस्ते", "हिन्दी में नमस्ते");
    check("مُحَمَّد ٢٠٢٥", "محمد 2025");
    check("שָׁלוֹם", "שלום");
}

#[test]
fn identifiers_are_found_whole_and_by_part() {
    check("snake_case_name", "snake_case_name snake case name");
    check("camelCase", "camelcas camel case");
    check("HTTPServer2", "httpserver2 httpserver http server");
    check("kebab-case", "kebab-case kebab case");
    check("src/foo_bar.rs", "src/foo_bar.rs src foo_bar.rs foo bar rs");
    check("v1.2.3 1.20.3", "v1.2.3 1.2.3 v1 1.20.3 20");
    check("std::fs::File", "std::fs::file std fs file");
    check("jane.doe@example.com", "jane.doe@example.com jane.doe jane doe example.com exampl com");
    check("10.0.12.7:8080", "10.0.12.7:8080 10.0.12.7 10 12 8080");
    check("C++ and C#, F#", "c++ c# f#");
    check("U.S.A. e.g. R&D", "usa eg rd");
    check("PDFs iPhone15 gpt4o", "pdfs iphone15 iphon phone 15 gpt4o gpt");
    check("e-mails Wi-Fi state-of-the-art", "email mail wifi wi fi state-of-the-art state art");
    check("wait...what a--b", "wait what");
    check("http://a.example/x?q=5", "http://a.example/x http a.example exampl 5");
}

#[test]
fn dates_and_numbers_have_one_spelling() {
    for date in ["2025-12-01", "2025/12/1", "2025.12.01"] {
        check(date, "2025-12-01 2025-12 2025 12 01");
    }
    check("2025-12-01T10:30:00Z", "2025-12-01 2025-12 2025 12 01 10:30:00z 10 30 00z 00");
    check("1,234,567.89 3.14 10,20", "1234567.89 3.14 10 20");
    check("2025-13-01", "2025-13-01 2025 13 01");
}

#[test]
fn questions_find_what_was_written_another_way() {
    finds("emails", "She sent an e-mail");
    finds("bar.rs", "see src/foo/bar.rs:12");
    finds("server", "HTTPServer2 is up");
    finds("config", "my_config_file");
    finds("running", "he runs");
    finds("cafe", "the Café");
    finds("2025-12", "on 2025-12-01 we met");
    finds("iphone", "my iPhone15");
    finds("192.168.1.10", "ssh root@192.168.1.10");
    misses("cat", "category");
}

#[test]
fn chinese_is_cut_by_the_dictionary() {
    check("我喜欢吃四川火锅", "喜欢 吃 四川 火锅 四川火锅");
    check("中华人民共和国", "中华 华人 人民 共和 共和国 中华人民共和国");
    finds("火锅", "昨天我们去吃了火锅。");
    finds("体重 腰围", "他的体重下降了");
    finds("iPhone手机", "新手机");
    misses("猫 狗", "我喜欢火锅");
}

#[test]
fn japanese_korean_and_thai_are_found_by_pairs() {
    check("東京に行く", "東京 京に に行 行く 行");
    finds("東京都", "昨日は東京都へ行きました");
    finds("東京", "昨日は東京都へ行きました");
    finds("データ", "データベースを作る");
    finds("ﾃﾞｰﾀ", "データ");
    misses("が", "はな");
    check("서울에서 밥", "서울에서 서울 울에 에서 밥");
    finds("서울", "나는 서울에서 산다");
    finds("กรุงเทพ", "ฉันอยู่ที่กรุงเทพมหานคร");
    finds("ភ្នំពេញ", "ខ្ញុំរស់នៅភ្នំពេញ");
    finds("ရန်ကုန်", "ကျွန်တော်ရန်ကုန်မှာနေတယ်");
    finds("ລາວ", "ພາສາລາວ");
}

#[test]
fn questions_without_content_have_no_terms() {
    for question in ["", "   ", "the", "was it the", "的", "我 的", "a", "7", "猫", "…", "it's"] {
        assert_eq!(query_terms(question), Vec::<String>::new(), "{question:?}");
    }
}

#[test]
fn questions_repeat_no_term_and_are_bounded() {
    assert_eq!(query_terms("hot HOT hots pot"), ["hot", "pot"]);
    let page: String = (0..2000).map(|n| format!("w{n} ")).collect();
    assert_eq!(query_terms(&page).len(), QUERY_TERMS_MAX);
}

#[test]
fn hostile_text_is_bounded() {
    let long = "x".repeat(1_000_000);
    assert_eq!(terms(&long), [&long[..64]]);
    for text in [
        "a.".repeat(500_000),
        "a'".repeat(500_000),
        "aB".repeat(500_000),
        "1,000".repeat(200_000),
        "/".repeat(1_000_000),
        "e\u{301}".repeat(400_000),
        "\u{301}".repeat(400_000),
        "ก\u{e49}".repeat(200_000),
        "龘".repeat(200_000),
        "가".repeat(200_000),
        "ア".repeat(200_000),
        "\u{fdfa}".repeat(100_000),
        "2025-01-01T".repeat(80_000),
        "a@b:c/".repeat(100_000),
    ] {
        let mut n_terms = 0;
        analyse(&text, Side::Row, &mut |term| {
            n_terms += 1;
            assert!(!term.is_empty() && term.len() <= TERM_BYTES_MAX && !term.contains(char::is_whitespace));
        });
        assert!(n_terms <= TERMS_MAX);
    }
}

proptest::proptest! {
    #[test]
    fn remembered_stems_are_the_stemmers(words in proptest::collection::vec("[a-z]{3,26}(ing|ed|ies|ational|y|s|)", 40)) {
        let stemmer = rust_stemmers::Stemmer::create(rust_stemmers::Algorithm::English);
        for word in words.iter().chain(&words) {
            let mut stemmed = word.clone();
            stem::stem(&mut stemmed);
            assert_eq!(stemmed, stemmer.stem(word));
        }
    }

    #[test]
    fn any_text_gives_clean_terms(text in "\\PC{0,80}") {
        for term in terms(&text) {
            assert!(!term.is_empty() && term.len() <= TERM_BYTES_MAX && !term.contains(char::is_whitespace), "{term:?}");
        }
    }

    #[test]
    fn a_word_is_found_by_itself(word in "[a-zA-Z0-9_.-]{2,30}") {
        let row = terms(&word);
        for term in query_terms(&word) {
            assert!(row.contains(&term));
        }
    }
}
