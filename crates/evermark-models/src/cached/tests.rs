use super::*;
use crate::openai::{OpenAiEmbedder, Settings};
use crate::testing::TestWorld;
use evermark_sim::stub_embeddings::{Answer, StubEmbeddings, stub_vector};

const DIMENSION: usize = 16;
const MINUTE: Duration = Duration::from_secs(60);
const ENOSPC: i32 = 28;

struct Bench {
    dir: tempfile::TempDir,
    stub: StubEmbeddings,
    world: Arc<TestWorld>,
}

impl Bench {
    fn new() -> Self {
        let (stub, world) = (StubEmbeddings::start(DIMENSION), TestWorld::new());
        Self { dir: tempfile::tempdir().unwrap(), stub, world }
    }

    /// As a new process has it.
    fn embedder(&self) -> CachedEmbedder {
        let mut settings = Settings::new(self.stub.base_url(), "m", DIMENSION);
        settings.max_retries = 0;
        let inner = OpenAiEmbedder::with_pause(settings, self.world.clone(), self.world.clone()).unwrap();
        CachedEmbedder::new(Arc::new(inner), &Cache::open(self.dir.path(), self.world.clone()))
    }
}

fn texts(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("text number {i}")).collect()
}

fn assert_right(texts: &[String], vectors: &[Vec<f32>]) {
    assert_eq!(texts.len(), vectors.len());
    texts.iter().zip(vectors).for_each(|(text, vector)| assert_eq!(*vector, stub_vector(text, DIMENSION), "{text}"));
}

#[test]
fn a_rebuild_asks_for_nothing() {
    let bench = Bench::new();
    let all = texts(0..100);
    assert_right(&all, &bench.embedder().embed(&all, Purpose::Passage, MINUTE).unwrap());
    assert_eq!(bench.stub.texts(), 100);
    bench.stub.forget();
    bench.stub.always(Some(Answer::status(500, "must not be asked")));
    let embedder = bench.embedder();
    assert_right(&all, &embedder.embed(&all, Purpose::Passage, MINUTE).unwrap());
    assert_eq!(bench.stub.calls(), 0);
    assert_eq!(embedder.uses(), Uses { texts_spared: 100, ..Uses::default() });
    assert_eq!(embedder.shelf().unwrap().stats().hits, 100);
}

#[test]
fn only_new_texts_are_sent_and_each_once() {
    let bench = Bench::new();
    let embedder = bench.embedder();
    embedder.embed(&texts(0..10), Purpose::Passage, MINUTE).unwrap();
    bench.stub.forget();
    let mixed = [texts(8..12), texts(10..14), texts(0..1)].concat();
    assert_right(&mixed, &embedder.embed(&mixed, Purpose::Passage, MINUTE).unwrap());
    assert_eq!(bench.stub.requests()[0].texts, texts(10..14));
    let uses = embedder.uses();
    assert_eq!((uses.calls, uses.texts_sent, uses.texts_spared), (2, 14, 5));
}

#[test]
fn what_is_paid_for_before_an_error_is_kept() {
    let bench = Bench::new();
    let embedder = bench.embedder();
    bench.stub.refuse_texts_with("number 150");
    let all = texts(0..200);
    let error = embedder.embed(&all, Purpose::Passage, MINUTE).unwrap_err();
    assert_eq!((error.class, error.kind), ("bad_request", ErrorKind::Invalid));
    assert_eq!(embedder.shelf().unwrap().stats().entries, 199);

    // Down for most of a large call: what came through stays.
    let bench = Bench::new();
    bench.stub.script([Answer::Good]);
    bench.stub.always(Some(Answer::status(503, "down")));
    let outcomes = bench.embedder().embed_each(&texts(0..1300), Purpose::Passage, MINUTE);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 64);
    bench.stub.always(None);
    bench.stub.forget();
    let embedder = bench.embedder();
    assert_right(&texts(0..1300), &embedder.embed(&texts(0..1300), Purpose::Passage, MINUTE).unwrap());
    assert_eq!(bench.stub.texts(), 1300 - 64);
}

#[test]
fn queries_are_remembered_in_memory_only() {
    let bench = Bench::new();
    let embedder = bench.embedder();
    for _ in 0..3 {
        assert_right(&texts(0..2), &embedder.embed(&texts(0..2), Purpose::Query, MINUTE).unwrap());
    }
    assert_eq!((bench.stub.calls(), embedder.shelf().unwrap().stats().entries), (1, 0));
    // A passage may be prefixed differently by a model, so that its vector is no query's.
    embedder.embed(&texts(0..2), Purpose::Passage, MINUTE).unwrap();
    assert_eq!(bench.stub.calls(), 2);
    // Bounded, and the oldest goes first.
    embedder.embed(&texts(2..QUERIES_MAX), Purpose::Query, MINUTE).unwrap();
    embedder.embed(&texts(0..1), Purpose::Query, MINUTE).unwrap();
    embedder.embed(&texts(900..901), Purpose::Query, MINUTE).unwrap();
    assert_eq!(embedder.queries().vectors.len(), QUERIES_MAX);
    bench.stub.forget();
    embedder.embed(&texts(0..1), Purpose::Query, MINUTE).unwrap();
    assert_eq!(bench.stub.calls(), 0);
    embedder.embed(&texts(1..2), Purpose::Query, MINUTE).unwrap();
    assert_eq!(bench.stub.calls(), 1);
}

#[test]
fn a_full_disk_costs_no_vector() {
    let bench = Bench::new();
    bench.world.arm(Some(("cache.append", ENOSPC)));
    let embedder = bench.embedder();
    assert_right(&texts(0..5), &embedder.embed(&texts(0..5), Purpose::Passage, MINUTE).unwrap());
    let uses = embedder.uses();
    assert_eq!(uses.write_errors, 1);
    let (kind, message) = uses.last_write_error.unwrap();
    assert_eq!(kind, ErrorKind::NoSpace);
    assert!(message.contains("cannot keep embeddings") && message.to_lowercase().contains("no space"), "{message}");
    bench.world.arm(None);
    embedder.embed(&texts(0..5), Purpose::Passage, MINUTE).unwrap();
    assert_eq!(embedder.shelf().unwrap().stats().entries, 5);
}

#[test]
fn the_provider_may_be_down_for_what_is_kept() {
    let bench = Bench::new();
    bench.embedder().embed(&texts(0..3), Purpose::Passage, MINUTE).unwrap();
    bench.stub.always(Some(Answer::Drop));
    let outcomes = bench.embedder().embed_each(&texts(2..5), Purpose::Passage, MINUTE);
    assert!(outcomes[0].is_ok());
    assert!(outcomes[1..].iter().all(|outcome| outcome.as_ref().unwrap_err().class == "connect"));
}

/// A cheap embedder: nothing is kept.
struct Cheap(ModelId);

impl Embedder for Cheap {
    fn model(&self) -> &ModelId {
        &self.0
    }

    fn embed(&self, texts: &[String], _: Purpose, _: Duration) -> Result<Vec<Vec<f32>>, EmbedError> {
        Ok(texts.iter().map(|text| stub_vector(text, DIMENSION)).collect())
    }

    fn is_costly(&self) -> bool {
        false
    }
}

#[test]
fn cheap_vectors_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cache"), TestWorld::new());
    let inner = Cheap(ModelId { name: "cheap".to_owned(), dimension: DIMENSION });
    let embedder = CachedEmbedder::new(Arc::new(inner), &cache);
    for purpose in [Purpose::Passage, Purpose::Query, Purpose::Passage] {
        assert_right(&texts(0..4), &embedder.embed(&texts(0..4), purpose, MINUTE).unwrap());
    }
    assert!(embedder.shelf().is_none() && !cache.dir().exists());
    assert_eq!(embedder.uses().texts_sent, 12);
}
