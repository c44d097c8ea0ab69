use super::*;
use crate::wordpiece::Pieces;
use evermark_core::filter::Filter;
use evermark_core::id::Kind;
use evermark_core::index::{Ask, Indexable};
use evermark_core::memory::Memory;
use evermark_core::shelf::{Payloads, Shelf, ShelfRow};
use evermark_sim::generate;
use std::collections::HashMap;

const LONG: Duration = Duration::from_secs(60);

fn cosine(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

fn vector(text: &str) -> Vec<f32> {
    let mut vectors = BuiltinEmbedder::new().embed(&[text.to_owned()], Purpose::Passage, LONG).unwrap();
    vectors.pop().unwrap()
}

#[test]
fn the_table_is_whole() {
    let table = Table::of(BYTES).unwrap();
    assert_eq!(table.shape(), (30_522, 28_062, DIMENSION));
    let (named, found) = table::checksums(BYTES);
    assert_eq!(named, found);
    assert!(BYTES.len() <= 16 << 20);
}

#[test]
fn every_token_is_found_by_what_it_says() {
    let table = Table::of(BYTES).unwrap();
    let tags = table.tags();
    let vocabulary = Vocabulary { table, tags: &tags };
    let (n_tokens, ..) = table.shape();
    for token in 0..u16::try_from(n_tokens).unwrap() {
        let (text, mark) = table.token(token);
        let text = std::str::from_utf8(text).unwrap();
        assert_eq!(vocabulary.longest(text, mark == 1), Some((token, text.len())), "{text}");
    }
}

#[test]
fn bytes_that_are_no_table_are_refused() {
    assert!(Table::of(&BYTES[..BYTES.len() - 1]).is_none());
    assert!(Table::of(&BYTES[..20]).is_none());
    let mut other = BYTES.to_vec();
    other[8] = 9;
    assert!(Table::of(&other).is_none());
}

#[test]
fn texts_are_cut_as_the_model_was_taught() {
    let table = Table::of(BYTES).unwrap();
    let tags = table.tags();
    for (text, expected) in CASES {
        let mut found = Vec::new();
        Cutter::new(Vocabulary { table, tags: &tags }, Case::Folded).words(text, &mut |_, pieces| match pieces {
            [] => found.push(UNKNOWN),
            pieces => found.extend_from_slice(pieces),
        });
        assert_eq!(found, *expected, "{text:?}");
    }
}

#[test]
fn what_is_meant_alike_lies_near() {
    let question = vector("What pets does Anna have?");
    let near = cosine(&question, &vector("Anna adopted two kittens and a puppy"));
    let far = cosine(&question, &vector("The invoice for March was paid on time"));
    assert!(near > far + 0.2, "{near} against {far}");
}

#[test]
fn vectors_have_length_one_and_do_not_depend_on_the_call() {
    let embedder = BuiltinEmbedder::new();
    let texts = ["A short text.", "another", "Ünïcödé wörds are read without their marks"].map(str::to_owned);
    let together = embedder.embed(&texts, Purpose::Query, LONG).unwrap();
    for (text, found) in texts.iter().zip(&together) {
        assert_eq!(found.len(), embedder.model().dimension);
        assert!((cosine(found, found) - 1.0).abs() < 1e-5);
        assert_eq!(*found, vector(text));
    }
    assert_eq!(vector("naïve CAFÉ"), vector("naive cafe"));
    assert_ne!(vector("naive"), vector("cafe"));
}

#[test]
fn a_word_repeated_says_little_more() {
    let (once, often) = (vector("the red kite"), vector("the red red red red kite"));
    assert!(cosine(&once, &often) > 0.9, "{}", cosine(&once, &often));
    assert_ne!(once, often);
}

#[test]
fn what_cannot_be_read_gets_no_vector() {
    let texts = [
        "昨天我们去了北京",
        "Сегодня хорошая погода",
        "สวัสดีตอนเช้า",
        "🎉🎉",
        "?!",
        "",
        "ok, сегодня хорошая погода",
        "We met Юрий at the station",
        "42",
    ];
    let outcomes = BuiltinEmbedder::new().embed_each(&texts.map(str::to_owned), Purpose::Query, LONG);
    let is_read: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(is_read, [false, false, false, false, false, false, false, true, true]);
    let error = outcomes[0].as_ref().unwrap_err();
    assert_eq!((error.kind, error.is_unreadable()), (ErrorKind::Invalid, true));
    // What can be read of a mixed text is all that counts.
    assert_eq!(*outcomes[7].as_ref().unwrap(), vector("We met at the station"));
}

#[test]
fn words_that_mean_alike_are_near() {
    let near = cosine(&vector("kitten"), &vector("cat"));
    let far = cosine(&vector("kitten"), &vector("invoice"));
    assert!(near > far + 0.2, "{near} against {far}");
}

/// The piece for what has no piece.
const UNKNOWN: u16 = 100;

/// Our own texts, with what `tokenizers` 0.23 makes of them with all-MiniLM-L6-v2's tokenizer.json, special tokens left out.
#[rustfmt::skip]
const CASES: &[(&str, &[u16])] = &[
    ("", &[]),
    ("   \t\n", &[]),
    ("The garden gate squeaks.", &[1996, 3871, 4796, 29552, 2015, 1012]),
    ("She WON'T re-open it (yet)!", &[2016, 2180, 1005, 1056, 2128, 1011, 2330, 2009, 1006, 2664, 1007, 999]),
    ("naïve café, Ångström & Đorđe", &[15743, 7668, 1010, 17076, 15687, 1004, 1102, 2953, 29671, 2063]),
    ("e\u{301}te\u{301} = été", &[3802, 2063, 1027, 3802, 2063]),
    ("unaffable antidisestablishmentarianism", &[14477, 20961, 3468, 3424, 10521, 4355, 7875, 13602, 3672, 12199, 2964]),
    ("3.14159 is not 22/7; 1,000,000 is.", &[1017, 1012, 15471, 28154, 2003, 2025, 2570, 1013, 1021, 1025, 1015, 1010, 2199, 1010, 2199, 2003, 1012]),
    ("file_name-v2.tar.gz → ~/backup", &[5371, 1035, 2171, 1011, 1058, 2475, 1012, 16985, 1012, 1043, 2480, 1585, 1066, 1013, 10200]),
    ("mail: a.b+c@example.org", &[5653, 1024, 1037, 1012, 1038, 1009, 1039, 1030, 2742, 1012, 8917]),
    ("İstanbul ISTANBUL ıstanbul", &[9960, 9960, 1104, 12693, 8569, 2140]),
    ("Straße STRASSE", &[2358, 27807, 2358, 8180, 3366]),
    ("ﬁne ﬂour", &[1984, 2638, 1985, 8162]),
    ("x\u{ad}ray zero\u{200b}width \u{feff}mark", &[1060, 9447, 5717, 9148, 11927, 2232, 2928]),
    ("tab\tnew\nline\r\nend", &[21628, 2047, 2240, 2203]),
    ("form\u{c}feed bell\u{7} nel\u{85}x", &[2433, 7959, 2098, 4330, 11265, 2140, 2595]),
    ("日本語とrust", &[1864, 1876, 1950, 1666, 7946, 2102]),
    ("我们在北京吃了烤鸭。", &[1855, 100, 100, 1781, 1755, 100, 100, 100, 100, 1636]),
    ("中文abc中文123", &[1746, 1861, 5925, 1746, 1861, 13138]),
    ("привет мир", &[1194, 16856, 10325, 25529, 15290, 22919, 1191, 10325, 16856]),
    ("Ελληνικά ΣΊΣΥΦΟΣ", &[1159, 29727, 29727, 24824, 16177, 18199, 29726, 14608, 1173, 18199, 29733, 29735, 29736, 29730, 29733]),
    ("שָׁלוֹם", &[1266, 29799, 29792, 29800]),
    ("مرحبا", &[1295, 17149, 29820, 29816, 25573]),
    ("สวัสดี", &[100]),
    ("한국어 말", &[1469, 30006, 30021, 29991, 30014, 30020, 29999, 30008, 1459, 30006, 30022]),
    ("🎉 party 🎉🎉", &[100, 2283, 100]),
    ("👩\u{200d}👩\u{200d}👧 family", &[100, 2155]),
    ("a“quoted”word—with…marks", &[1037, 1523, 9339, 1524, 2773, 1517, 2007, 1529, 6017]),
    ("¿Qué? ¡Sí!", &[1094, 10861, 1029, 1067, 9033, 999]),
    ("«guillemets»", &[1077, 26458, 6216, 11368, 2015, 1090]),
    ("100%$5€20£", &[2531, 1003, 1002, 1019, 30102, 11387, 29646]),
    ("C++ & C# and F*", &[1039, 1009, 1009, 1004, 1039, 1001, 1998, 1042, 1008]),
    ("[UNK", &[1031, 4895, 2243]),
    ("<html>&amp;</html>", &[1026, 16129, 1028, 1004, 23713, 1025, 1026, 1013, 16129, 1028]),
    ("ALLCAPSWORDTHATISLONG", &[2035, 17695, 26760, 8551, 8322, 7315, 10052]),
    ("wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww", &[7479, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860, 2860]),
    ("wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww", &[100]),
    ("née O’Neill O'Neill", &[7663, 1051, 1521, 11511, 1051, 1005, 11511]),
    ("\u{a0}nbsp\u{3000}wide\u{2009}thin", &[1050, 5910, 2361, 2898, 4857]),
    ("½ ² ③ Ⅳ", &[1092, 1082, 100, 100]),
    ("ａｂｃ１２３", &[100]),
    ("𝔘𝔫𝔦 𝟙𝟚", &[100, 100]),
    ("豈更", &[100, 100]),
    ("ḍṛṣṭi", &[2852, 16643]),
    ("Ω Ω Å", &[1179, 1179, 1037]),
    ("don’t canʼt", &[2123, 1521, 1056, 2064, 29712, 2102]),
    ("a\u{300}\u{316}b", &[11113]),
    ("quick##brown ##fox", &[4248, 1001, 1001, 2829, 1001, 1001, 4419]),
    ("\u{0}null\u{fffd}bad", &[19701, 9024]),
    ("___", &[1035, 1035, 1035]),
    ("hyphen-ated- -word", &[1044, 22571, 10222, 1011, 8823, 2094, 1011, 1011, 2773]),
    ("ǅungla ŉ", &[100, 100]),
    ("ǆ ﷺ", &[100, 100]),
];

#[test]
fn many_texts_are_read_as_few_are() {
    let embedder = BuiltinEmbedder::new();
    let texts: Vec<String> = (0..WORTH_A_THREAD * 2 + 1)
        .map(|n| if n % 7 == 0 { "我下周三去上海".to_owned() } else { format!("The kettle number {n} whistles.") })
        .collect();
    let together = embedder.embed_each(&texts, Purpose::Passage, Duration::from_secs(1));
    assert_eq!(together.len(), texts.len());
    for (text, outcome) in texts.iter().zip(together) {
        let alone = embedder.embed_each(std::slice::from_ref(text), Purpose::Passage, Duration::from_secs(1)).remove(0);
        assert_eq!(outcome.ok(), alone.ok(), "{text}");
    }
}

/// A view passes over vectors in 8 bits a component first: what it finds must be what full precision finds.
#[test]
fn a_view_finds_what_full_precision_finds() {
    let embedder = BuiltinEmbedder::new();
    let spec = generate::Spec::of_facts(11, 4000, 1);
    let vector_of = |text: &str| embedder.embed(&[text.to_owned()], Purpose::Query, LONG).ok()?.pop();
    // A few are in Chinese, which the table cannot read.
    let row = |memory: Memory| {
        let vector = vector_of(&memory.body.embed_text()?)?;
        Some(Indexable { memory, tokens: String::new(), vector: Some(vector) })
    };
    let rows: Vec<Indexable> =
        generate::memories(&spec).filter(|memory| memory.kind() == Kind::AtomicFact).filter_map(row).collect();
    assert!(rows.len() > 3000, "{}", rows.len());
    let vectors: Vec<&[f32]> = rows.iter().filter_map(|row| row.vector.as_deref()).collect();
    let owner = generate::owner(0);
    let shelf = Shelf::build(owner.clone(), Some(DIMENSION), Payloads::LeaveOut, rows.iter().map(ShelfRow::of))
        .expect("valid rows");
    let everything = Filter::everything();
    let (kind, filter) = (Kind::AtomicFact, &everything);
    let ask = Ask { owner: &owner, kind, filter, parents: None, ids: None, deprecated: false, limit: 10 };
    let (mut found, mut wanted, mut worst) = (0, 0, 0.0_f32);
    for question in generate::questions(12, 200).iter().filter_map(|question| vector_of(question)) {
        let mut exact: Vec<f32> = vectors.iter().map(|vector| cosine(vector, &question)).collect();
        let by_id: HashMap<&str, f32> =
            rows.iter().zip(&exact).map(|(row, cosine)| (row.memory.id.as_str(), *cosine)).collect();
        let hits = shelf.nearest(&ask, &question).expect("right width");
        exact.sort_by(|a, b| b.total_cmp(a));
        // Rows as near as the tenth are as good as it.
        found += hits.iter().filter(|hit| by_id[hit.id.as_str()] >= exact[9] - 1e-6).count();
        wanted += 10;
        worst = hits.iter().map(|hit| (hit.score - by_id[hit.id.as_str()]).abs()).fold(worst, f32::max);
    }
    assert!(found * 1000 >= wanted * 998, "{found} of {wanted}");
    assert!(worst < 1e-4, "{worst}");
}
