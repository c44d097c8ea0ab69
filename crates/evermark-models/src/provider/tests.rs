use super::*;
use crate::testing::TestWorld;
use evermark_core::embed::{Embedder, Purpose};
use evermark_core::error::ErrorKind;
use evermark_sim::stub_embeddings::{StubEmbeddings, stub_vector};
use std::time::Duration;

#[test]
fn a_choice_becomes_an_embedder() {
    let dir = tempfile::tempdir().unwrap();
    let world = TestWorld::new();
    let cache = Cache::open(dir.path(), world.clone());
    assert!(Provider::None.connect(&cache, world.clone()).unwrap().is_none());
    assert_eq!((Provider::None.name(), Provider::None.model()), (NAMES[0], None));

    assert_eq!((Provider::BuiltIn.name(), Provider::BuiltIn.model()), (NAMES[1], Some(builtin::model())));
    let embedding = Provider::BuiltIn.connect(&cache, world.clone()).unwrap().unwrap();
    assert_eq!(*embedding.embedder.model(), builtin::model());
    let vectors = embedding.embedder.embed(&["a b".to_owned()], Purpose::Query, Duration::ZERO).unwrap();
    let own = BuiltinEmbedder::new().embed(&["a b".to_owned()], Purpose::Query, Duration::ZERO).unwrap();
    assert_eq!(vectors, own);
    assert!(embedding.status().is_none() && embedding.embedder.shelf().is_none());

    let absent = Provider::Local { name: "a/b".to_owned(), dir: dir.path().join("nothing") };
    assert_eq!((absent.name(), absent.model()), (NAMES[2], None));
    let error = absent.connect(&cache, world.clone()).err().unwrap();
    assert_eq!((error.class, error.kind), (MODEL_MISSING, ErrorKind::Unavailable));
    assert!(error.message.contains("a/b") && error.message.contains("nothing"), "{error}");

    let stub = StubEmbeddings::start(8);
    let provider = Provider::OpenAi(Box::new(Settings::new(stub.base_url(), "m", 8)));
    assert_eq!(provider.name(), NAMES[3]);
    let model = provider.model().unwrap();
    let embedding = provider.connect(&cache, world.clone()).unwrap().unwrap();
    assert_eq!(*embedding.embedder.model(), model);
    let vectors = embedding.embedder.embed(&["a b".to_owned()], Purpose::Passage, Duration::from_secs(60)).unwrap();
    assert_eq!(vectors, [stub_vector("a b", 8)]);
    assert_eq!((embedding.status().unwrap().calls, embedding.embedder.uses().calls), (1, 1));
    assert!(stub.base_url().contains(embedding.place()));
    embedding.close();

    let wrong = Provider::OpenAi(Box::new(Settings::new("nowhere", "m", 8)));
    assert_eq!(wrong.connect(&cache, world).err().unwrap().kind, ErrorKind::Invalid);
}
