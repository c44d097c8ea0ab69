use super::*;

/// The query vectors of the fixture's vector searches, as the software that wrote the fixture saw them.
#[test]
fn the_rule_gives_the_fixtures_vectors() {
    let Some(path) = fixture("everos-root-1.5.1.searches.json") else { return };
    let text = std::fs::read_to_string(path).expect("the fixture can be read");
    let fixture: Value = serde_json::from_str(&text).expect("the fixture is JSON");
    let searches = fixture["vector"].as_array().expect("a list of searches");
    assert_eq!(searches.len(), 8);
    for search in searches {
        let vector = stub_vector(search["request"]["query"].as_str().expect("a query"), 1024);
        let expected = search["query_vector_nonzero"].as_object().expect("components");
        for (place, value) in vector.iter().enumerate() {
            let expected = expected.get(&place.to_string()).and_then(Value::as_f64).unwrap_or(0.0);
            assert!((f64::from(*value) - expected).abs() < 1e-6, "{} at {place}", search["name"]);
        }
    }
}

/// The same without the fixture: one of its queries with its components.
#[test]
fn the_rule_knows_latin_and_chinese_words() {
    let places = |text: &str| {
        let vector = stub_vector(text, 1024);
        (0..1024).filter(|&i| vector[i] != 0.0).map(|i| (i, (vector[i] * 10.0).round() / 10.0)).collect::<Vec<_>>()
    };
    assert_eq!(
        places("老花镜 琵琶盒子"),
        [
            (281, 0.2),
            (344, 0.2),
            (380, 0.4),
            (616, 0.4),
            (670, 0.4),
            (672, 0.2),
            (743, 0.4),
            (840, 0.2),
            (927, 0.2),
            (966, 0.4)
        ]
    );
    assert_eq!(
        places("Mutianyu section two weeks ahead"),
        [
            (311, 0.2),
            (423, 0.4),
            (564, 0.4),
            (609, 0.4),
            (627, 0.2),
            (631, 0.2),
            (804, 0.2),
            (895, 0.4),
            (916, 0.2),
            (977, 0.4)
        ]
    );
    assert!(stub_vector("!?", 16).iter().any(|value| *value != 0.0));
}

fn fixture(name: &str) -> Option<std::path::PathBuf> {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = manifest.ancestors().nth(3)?.join("shared/fixtures").join(name);
    path.exists().then_some(path)
}
