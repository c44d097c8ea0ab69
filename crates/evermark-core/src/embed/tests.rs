use super::*;
use crate::vector::cosine;

#[test]
fn shared_words_point_the_same_way() {
    let embedder = HashEmbedder::new(256);
    let vector = |text: &str| embedder.vector(text);
    assert!((cosine(&vector("Hot pot!"), &vector("pot, hot")) - 1.0).abs() < 1e-6);
    assert!(cosine(&vector("四川火锅"), &vector("吃火锅")) > 0.3);
    assert!(cosine(&vector("hot pot"), &vector("quiet river bank")) < 0.3);
    assert_eq!(vector("…"), vec![0.0; 256]);
    let length: f32 = vector("one two three").iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5);
}

#[test]
fn it_names_itself_and_costs_nothing() {
    let embedder = HashEmbedder::new(8);
    assert_eq!(embedder.model(), &ModelId { name: "hash-8".into(), dimension: 8 });
    let vectors = embedder.embed(&["a b".into(), "c".into()], Purpose::Passage, Duration::ZERO).expect("offline");
    assert_eq!(vectors.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8]);
    assert!(!embedder.is_costly());
    assert_eq!(HashEmbedder::new(0).vector("x").len(), 1);
}
