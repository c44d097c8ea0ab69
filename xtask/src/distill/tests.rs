use super::*;

#[test]
fn functions_agree_with_what_is_known_of_them() {
    let near = |a: f64, b: f64| assert!((a - b).abs() <= 1e-14 * b.abs().max(1e-300), "{a} is not {b}");
    near(math::exp(0.0), 1.0);
    near(math::exp(1.0), std::f64::consts::E);
    near(math::exp(-20.5), (-20.5f64).exp());
    near(math::exp(12.25), 12.25f64.exp());
    assert_eq!(math::exp(-800.0), 0.0);
    let normal = math::Normal::new();
    // Source: x · Φ(x) to ten digits, by Python's math.erf.
    for (x, expected) in [(0.0, 0.0), (1.0, 0.841_344_746), (-1.0, -0.158_655_254), (2.5, 2.484_475_838), (-9.0, 0.0)] {
        assert!((f64::from(normal.gelu(x)) - expected).abs() < 1e-7, "gelu({x}) is {}", normal.gelu(x));
    }
    assert_eq!(normal.gelu(9.0), 9.0);
}

#[test]
fn directions_are_those_of_the_longest_axes() {
    // Eigenvalues 3 along (1, 1), 1 along (1, -1), and 2 along the third axis.
    let matrix = [2.0, 1.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 2.0];
    let found = eigen::largest(&matrix, 3, 2);
    let half = 0.5f64.sqrt();
    for (found, expected) in found.iter().zip([[half, half, 0.0], [0.0, 0.0, 1.0]]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
    }
}

#[test]
fn tokens_of_other_scripts_are_not_read() {
    for (token, expected) in
        [("##ing", true), ("the", true), ("42", true), ("!", true), ("##", true), ("[", true), ("##é", true)]
            .into_iter()
            .chain([("[CLS]", false), ("[unused7]", false), ("我", false), ("##и", false), ("α", false)])
    {
        assert_eq!(table::is_readable(token), expected, "{token}");
    }
}

#[test]
fn a_file_holds_what_was_given() {
    let vocabulary = ["[PAD]", "cat", "##s"].map(str::to_owned);
    let file = table::write(&vocabulary, &[None, Some(vec![1.0, -2.0]), Some(vec![0.5, 0.25])]);
    let word = |at: usize| u32::from_le_bytes(*file[at..].first_chunk().unwrap());
    assert_eq!(&file[..8], b"EVMTABLE");
    assert_eq!([word(8), word(12), word(16), word(20), word(28)], [1, 3, 2, 2, 9]);
    assert_eq!(file[40..64], [0, 0, 0, 0, 5, 0, 255, 255, 5, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 1, 1, 1, 0]);
    assert_eq!(file[file.len() - 4..].iter().map(|byte| *byte as i8).collect::<Vec<_>>(), [64, -127, 127, 64]);
}
