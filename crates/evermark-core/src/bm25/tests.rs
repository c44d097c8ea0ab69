use super::*;

fn check(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} {expected}");
}

#[test]
fn rare_terms_tell_more() {
    let corpus = Corpus { n_rows: 3, n_terms: 9 };
    check(corpus.idf(1), (1.0 + 2.5 / 1.5_f64).ln());
    check(corpus.idf(3), (1.0 + 0.5 / 3.5_f64).ln());
    check(corpus.idf(0), 8.0_f64.ln());
    assert!(corpus.idf(5) > 0.0);
}

#[test]
fn scores_by_hand() {
    // Rows of 2, 3 and 4 terms; the term is in the first (once) and the last (twice).
    let corpus = Corpus { n_rows: 3, n_terms: 9 };
    let idf = corpus.idf(2);
    check(idf, 1.6_f64.ln());
    // k = 1.2 · (0.25 + 0.75 · 2/3) = 0.9; k = 1.2 · (0.25 + 0.75 · 4/3) = 1.5
    check(corpus.weight(idf, 1, 2), 1.6_f64.ln() * 2.2 / 1.9);
    check(corpus.weight(idf, 2, 4), 1.6_f64.ln() * 4.4 / 3.5);
}

#[test]
fn rows_come_and_go() {
    let mut corpus = Corpus::default();
    corpus.add(4);
    corpus.add(0);
    assert_eq!(corpus, Corpus { n_rows: 2, n_terms: 4 });
    corpus.remove(4);
    assert_eq!(corpus, Corpus { n_rows: 1, n_terms: 0 });
    check(corpus.length_norm(7), K1);
    check(Corpus::default().idf(0), 2.0_f64.ln());
}
