use super::*;
use crate::local::tests::tiny_with;
use crate::testing::TestWorld;

const LONG: Duration = Duration::from_secs(600);
const HEAD: [(&str, &[usize]); 4] = [
    ("pooler.dense.weight", &[8, 8]),
    ("pooler.dense.bias", &[8]),
    ("classifier.weight", &[1, 8]),
    ("classifier.bias", &[1]),
];

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn open(dir: &Path) -> LocalReranker {
    LocalReranker::new(dir, "tiny", TestWorld::new())
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 2e-5, "{found:?} is not {expected:?}"));
}

/// Source: plain loops over 64-bit floats in Python, with the weights of the same formula and the error function of its library.
#[test]
fn scores_are_those_of_the_same_model_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    tiny_with(dir.path(), &[], &HEAD);
    let reranker = open(dir.path());
    // Of different lengths, in one call; the order is kept. Words of no piece are read as unknown, long texts are cut.
    let long = "dog ".repeat(12);
    let documents = texts(&["dog ran", "the cat sat", "dog", "zebra sat dog", &long]);
    let found = reranker.rerank("the cats", &documents, LONG).unwrap();
    assert_near(&found, &[0.429_194_3, 0.436_681_45, 0.430_968_83, 0.478_190_58, 0.460_738_4]);
    // A question takes half of the room at most.
    let found = reranker.rerank(&"cat ".repeat(9), &texts(&[&"dog ".repeat(9)]), LONG).unwrap();
    assert_near(&found, &[0.434_281_8]);
    let figures = reranker.figures();
    assert_eq!((figures.state, figures.calls, figures.items, figures.failures), ("closed", 2, 6, 0));
}

/// A world whose clock goes on by a second each time it is read.
struct Slow(Mutex<Duration>);

impl World for Slow {
    fn now_us(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        let mut now = self.0.lock().unwrap();
        *now += Duration::from_secs(1);
        *now
    }

    fn random(&self) -> [u8; 16] {
        [0; 16]
    }

    fn reach(&self, _: &'static str) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn work_that_would_not_be_done_in_time_is_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    tiny_with(dir.path(), &[], &HEAD);
    let reranker = LocalReranker::new(dir.path(), "tiny", Arc::new(Slow(Mutex::default())));
    let many = texts(&["the dog ran"; 200]);
    // How fast it is is not known before the first call.
    assert!(reranker.rerank("the cats", &texts(&["dog"]), LONG).is_ok());
    let error = reranker.rerank("the cats", &many, Duration::from_secs(9)).unwrap_err();
    assert_eq!((error.class, error.kind), (ProviderError::DEADLINE, ErrorKind::Unavailable), "{error}");
    assert!(reranker.rerank("the cats", &many, Duration::from_secs(10_000)).is_ok());
}

#[test]
fn many_documents_come_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    tiny_with(dir.path(), &[], &HEAD);
    let reranker = open(dir.path());
    let words = ["dog", "cat sat", "the dog ran", "cats"];
    let documents: Vec<String> = (0..400).map(|n| words[n % 4].to_owned()).collect();
    let found = reranker.rerank("the cats", &documents, LONG).unwrap();
    let one_by_one: Vec<f32> =
        (0..4).map(|n| reranker.rerank("the cats", &texts(&[words[n]]), LONG).unwrap()[0]).collect();
    found.iter().enumerate().for_each(|(n, score)| assert!((score - one_by_one[n % 4]).abs() < 1e-6, "{n}"));
    assert!(reranker.rerank("the cats", &[], LONG).unwrap().is_empty());
}

#[test]
fn a_model_is_looked_for_when_it_is_needed_and_again_when_it_was_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let reranker = open(dir.path());
    let error = reranker.rerank("dog", &texts(&["dog"]), LONG).unwrap_err();
    assert_eq!((error.class, error.kind), (ProviderError::MODEL_MISSING, ErrorKind::Unavailable));
    tiny_with(dir.path(), &[], &HEAD);
    assert_eq!(reranker.rerank("dog", &texts(&["dog"]), LONG).unwrap().len(), 1);
    assert_eq!(reranker.figures().failures, 1);
}

#[test]
fn what_cannot_be_used_or_read_or_done_in_time_is_told_apart() {
    // An embedding model has no classifier.
    let dir = tempfile::tempdir().unwrap();
    tiny_with(dir.path(), &[], &[]);
    let error = open(dir.path()).load().unwrap_err();
    assert!(
        error.kind() == ErrorKind::Invalid && error.to_string().contains("`pooler.dense.weight` is missing"),
        "{error}"
    );
    // One with two labels is no reranker.
    let dir = tempfile::tempdir().unwrap();
    let mut head = HEAD;
    (head[2].1, head[3].1) = (&[2, 8], &[2]);
    tiny_with(dir.path(), &[], &head);
    assert!(open(dir.path()).load().unwrap_err().to_string().contains("classifier.weight` has another size"));

    let dir = tempfile::tempdir().unwrap();
    tiny_with(dir.path(), &[], &HEAD);
    let reranker = open(dir.path());
    assert!(reranker.rerank("xylophone", &texts(&["dog"]), LONG).unwrap_err().is_unreadable());
    let late = reranker.rerank("dog", &texts(&["dog"]), Duration::ZERO).unwrap_err();
    assert_eq!((late.class, late.kind), (ProviderError::TIMEOUT, ErrorKind::Unavailable));
}
