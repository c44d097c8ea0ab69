use super::*;
use crate::breaker::State;
use crate::testing::TestWorld;
use evermark_core::world::RealWorld;
use evermark_sim::stub_embeddings::{Answer, StubEmbeddings, stub_vector};

const DIMENSION: usize = 16;
const MINUTE: Duration = Duration::from_secs(60);

struct Bench {
    stub: StubEmbeddings,
    world: Arc<TestWorld>,
    embedder: OpenAiEmbedder,
}

fn bench(change: impl FnOnce(&mut Settings)) -> Bench {
    let stub = StubEmbeddings::start(DIMENSION);
    let world = TestWorld::new();
    let mut settings = Settings::new(stub.base_url(), "test-model", DIMENSION);
    settings.api_key = Some("sk-secret-1".to_owned());
    settings.timeout = Duration::from_secs(20);
    change(&mut settings);
    let embedder = OpenAiEmbedder::with_pause(settings, world.clone(), world.clone()).unwrap();
    Bench { stub, world, embedder }
}

impl Bench {
    fn each(&self, texts: &[String]) -> Vec<Outcome> {
        self.embedder.embed_each(texts, Purpose::Passage, MINUTE)
    }

    fn one(&self, text: &str) -> Outcome {
        self.each(&[text.to_owned()]).remove(0)
    }
}

fn texts(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("text number {i}")).collect()
}

/// Compares with the stub's rule.
fn assert_right(texts: &[String], outcomes: &[Outcome]) {
    assert_eq!(texts.len(), outcomes.len());
    for (text, outcome) in texts.iter().zip(outcomes) {
        let vector = outcome.as_ref().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(vector, &stub_vector(text, DIMENSION), "{text}");
    }
}

#[test]
fn sends_what_openai_documents() {
    let bench = bench(|settings| {
        settings.send_dimensions = Some(16);
        settings.base_url.push_str("/?api-version=1");
    });
    assert_right(&texts(2), &bench.each(&texts(2)));
    let request = bench.stub.requests().remove(0);
    assert_eq!(request.path, "/v1/embeddings?api-version=1");
    assert_eq!(request.headers["authorization"], "Bearer sk-secret-1");
    assert_eq!(request.headers["content-type"], "application/json");
    let expected = serde_json::json!({
        "model": "test-model", "input": texts(2), "encoding_format": "base64", "dimensions": 16
    });
    assert_eq!(request.body, expected);
}

#[test]
fn no_key_sends_no_header() {
    let bench = bench(|settings| settings.api_key = Some(" ".to_owned()));
    bench.one("a").unwrap();
    assert!(!bench.stub.requests()[0].headers.contains_key("authorization"));
}

#[test]
fn order_is_the_callers_whatever_the_answers() {
    for answer in [Answer::Good, Answer::Floats, Answer::Shuffled, Answer::Slow(Duration::from_millis(5))] {
        let bench = bench(|settings| settings.batch_size = 7);
        bench.stub.always(Some(answer));
        assert_right(&texts(40), &bench.each(&texts(40)));
        assert_eq!(bench.stub.calls(), 6);
    }
}

#[test]
fn batches_go_out_several_at_once_and_not_more() {
    let bench = bench(|settings| {
        settings.batch_size = 5;
        settings.max_concurrent = 3;
    });
    bench.stub.always(Some(Answer::Slow(Duration::from_millis(20))));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_right(&texts(60), &bench.each(&texts(60))));
        }
    });
    assert_eq!(bench.stub.calls(), 24);
    assert_eq!(bench.stub.busiest(), 3);
    assert!(bench.stub.requests().iter().all(|request| request.texts.len() == 5));
}

#[test]
fn nothing_to_embed_is_no_request() {
    let bench = bench(|_| ());
    assert!(bench.each(&[]).is_empty());
    let error = bench.one(" \n\t").unwrap_err();
    assert_eq!((error.class, error.kind), (class::BLANK, ErrorKind::Invalid));
    assert_eq!(bench.stub.calls(), 0);
    // Neighbours of a blank text are embedded.
    let mixed = ["a".to_owned(), String::new(), "b".to_owned()];
    let outcomes = bench.each(&mixed);
    assert_right(&mixed[..1], &outcomes[..1]);
    assert_right(&mixed[2..], &outcomes[2..]);
    assert!(outcomes[1].is_err());
    assert_eq!(bench.stub.requests()[0].texts, ["a", "b"]);
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let bench = bench(|_| ());
    bench.one(&"记".repeat(TEXT_CHARS_MAX + 5)).unwrap();
    assert_eq!(bench.stub.requests()[0].texts[0].chars().count(), TEXT_CHARS_MAX);
}

#[test]
fn batches_are_bounded_in_characters() {
    let bench = bench(|settings| settings.batch_size = 1000);
    let long: Vec<String> = (0..60).map(|i| format!("{i} ").repeat(2000)).collect();
    assert!(bench.each(&long).iter().all(Result::is_ok));
    let sizes: Vec<usize> =
        bench.stub.requests().iter().map(|r| r.texts.iter().map(|t| t.chars().count()).sum()).collect();
    assert!(sizes.len() > 1 && sizes.iter().all(|size| *size <= BATCH_CHARS_MAX), "{sizes:?}");
}

/// Each failure when it never ends: class, kind, requests sent, and a word of the message.
#[test]
fn every_failure_has_its_class() {
    let status = Answer::status;
    let check = |answer: Answer, class: &str, calls: usize, word: &str| {
        let bench = bench(|_| ());
        bench.stub.always(Some(answer.clone()));
        let error = bench.one("some text").unwrap_err();
        assert_eq!((error.class, error.kind), (class, ErrorKind::Unavailable), "{answer:?}: {error}");
        assert_eq!(bench.stub.calls(), calls, "{answer:?}");
        assert_eq!(bench.world.take_pauses().len(), calls - 1, "{answer:?}");
        assert!(error.message.contains(word), "{answer:?}: {error}");
        assert!(error.message.contains("127.0.0.1") && error.message.contains("test-model"), "{error}");
        assert!(!error.message.contains("sk-secret"), "{error}");
        let last = bench.embedder.status().last_error.unwrap();
        assert_eq!(last.class, class);
    };
    check(status(401, "bad key sk-secret-1"), class::UNAUTHORIZED, 1, "embedding.api_key (401): bad key …");
    check(status(403, "no"), class::UNAUTHORIZED, 1, "embedding.api_key (403)");
    check(status(402, "no credit"), class::UNAUTHORIZED, 1, "no credit");
    check(status(404, "no such model"), class::NOT_FOUND, 1, "embedding.model");
    check(status(307, ""), class::NOT_FOUND, 1, "embedding.base_url");
    check(status(429, "slow down"), class::RATE_LIMITED, 4, "slow down");
    check(status(500, "oops"), class::SERVER_ERROR, 4, "oops");
    check(status(503, "busy"), class::SERVER_ERROR, 4, "busy");
    check(status(408, "too slow"), class::TIMEOUT, 4, "too slow");
    check(Answer::Garbage, class::BAD_ANSWER, 4, "It works!");
    check(Answer::TooFew, class::BAD_ANSWER, 4, "0 vectors for 1 texts");
    check(Answer::BadBase64, class::BAD_ANSWER, 4, "base64");
    check(Answer::Drop, class::CONNECT, 4, "connection");
    check(Answer::DropInBody, class::CONNECT, 4, "connection");
    check(Answer::EmptyVector(0), class::EMPTY, 2, "without components");
    check(Answer::ZeroVector(0), class::EMPTY, 2, "zeros");
    check(Answer::NotFinite(0), class::NOT_FINITE, 2, "NaN");
    check(Answer::NanLiteral, class::NOT_FINITE, 2, "NaN");
    check(Answer::Dimension(8), class::WRONG_DIMENSION, 1, "8 components, 16 are configured");
}

#[test]
fn equal_indices_are_a_bad_answer() {
    let bench = bench(|settings| settings.max_retries = 0);
    bench.stub.always(Some(Answer::SameIndex));
    assert_eq!(bench.each(&texts(2))[0].as_ref().unwrap_err().class, class::BAD_ANSWER);
    bench.stub.always(Some(Answer::TooFew));
    assert_eq!(bench.each(&texts(2))[1].as_ref().unwrap_err().class, class::BAD_ANSWER);
}

#[test]
fn unreachable_hosts_are_connect_errors() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [format!("http://{free}/v1"), "http://no-such-host.invalid/v1".to_owned()] {
        let bench = bench(|settings| {
            settings.base_url = address.clone();
            settings.max_retries = 1;
        });
        let error = bench.one("a").unwrap_err();
        assert_eq!((error.class, error.kind), (class::CONNECT, ErrorKind::Unavailable), "{error}");
        assert_eq!(bench.embedder.status().calls, 2);
    }
}

#[test]
fn a_hang_ends_with_the_timeout() {
    for answer in [Answer::Hang, Answer::HangInBody] {
        let bench = bench(|settings| {
            settings.timeout = Duration::from_millis(50);
            settings.max_retries = 1;
        });
        bench.stub.always(Some(answer));
        let error = bench.one("a").unwrap_err();
        assert_eq!((error.class, error.kind), (class::TIMEOUT, ErrorKind::Unavailable), "{error}");
        assert_eq!(bench.stub.calls(), 2);
    }
}

#[test]
fn the_deadline_bounds_the_whole_call() {
    let stub = StubEmbeddings::start(DIMENSION);
    stub.always(Some(Answer::Hang));
    let world = Arc::new(RealWorld::new());
    let settings = Settings::new(stub.base_url(), "m", DIMENSION);
    let embedder = OpenAiEmbedder::new(settings, world.clone()).unwrap();
    let start = world.monotonic();
    let error = embedder.embed(&texts(300), Purpose::Query, Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.class, class::TIMEOUT);
    assert!(world.monotonic() - start < Duration::from_secs(5));
}

#[test]
fn retries_until_it_works() {
    let bench = bench(|_| ());
    bench.stub.script([Answer::status(500, "1"), Answer::Garbage, Answer::Drop]);
    assert_right(&texts(3), &bench.each(&texts(3)));
    let waits: Vec<u128> = bench.world.take_pauses().iter().map(Duration::as_millis).collect();
    assert_eq!(waits, [250, 500, 1000]);
    let status = bench.embedder.status();
    assert_eq!((status.calls, status.failures, status.texts, status.state), (4, 3, 3, State::Closed));
}

#[test]
fn retry_after_is_honoured() {
    let bench = bench(|_| ());
    bench.stub.script([Answer::rate_limited("7"), Answer::rate_limited("Tue, 14 Nov 2023 22:13:40 GMT")]);
    bench.one("a").unwrap();
    // The world starts at 22:13:20; seven seconds are gone when the date is read.
    assert_eq!(bench.world.take_pauses(), [Duration::from_secs(7), Duration::from_secs(13)]);

    // A wait past the deadline is not begun, and told to the caller; others are held back as well, without a request.
    bench.stub.script([Answer::rate_limited("300")]);
    let error = bench.one("b").unwrap_err();
    assert_eq!((error.class, error.retry_after), (class::RATE_LIMITED, Some(Duration::from_secs(300))));
    let calls = bench.stub.calls();
    bench.world.advance(Duration::from_secs(100));
    let error = bench.one("c").unwrap_err();
    assert_eq!((error.class, error.retry_after), (class::RATE_LIMITED, Some(Duration::from_secs(200))));
    assert_eq!(bench.stub.calls(), calls);
    bench.world.advance(Duration::from_secs(200));
    bench.one("d").unwrap();
}

#[test]
fn keeps_its_own_rate() {
    let bench = bench(|settings| {
        settings.requests_per_minute = Some(60);
        settings.batch_size = 1;
        settings.max_concurrent = 1;
    });
    assert_right(&texts(30), &bench.each(&texts(30)));
    let waited: Duration = bench.world.take_pauses().iter().sum();
    assert_eq!(waited, Duration::from_secs(20));
}

#[test]
fn a_refused_text_costs_only_itself() {
    let bench = bench(|settings| settings.batch_size = 8);
    bench.stub.refuse_texts_with("number 5");
    bench.stub.refuse_texts_with("number 17");
    let all = texts(32);
    let outcomes = bench.each(&all);
    for (text, outcome) in all.iter().zip(&outcomes) {
        if text.ends_with("number 5") || text.ends_with("number 17") {
            let error = outcome.as_ref().unwrap_err();
            assert_eq!((error.class, error.kind), (class::BAD_REQUEST, ErrorKind::Invalid));
        } else {
            assert_eq!(outcome.as_ref().unwrap(), &stub_vector(text, DIMENSION));
        }
    }
    // Four batches, two of them halved three times, and at most one control text.
    assert!(bench.stub.calls() <= 4 + 12 + 1, "{}", bench.stub.calls());
    assert_eq!(bench.embedder.status().state, State::Closed);
    assert_eq!(bench.embedder.batch_max.load(Ordering::Relaxed), 8);
}

#[test]
fn a_single_refused_text_is_told_from_a_refused_configuration() {
    let check = |prepare: &dyn Fn(&StubEmbeddings), kind: ErrorKind, calls: usize| {
        let bench = bench(|_| ());
        prepare(&bench.stub);
        let error = bench.one("odd").unwrap_err();
        assert_eq!((error.class, error.kind), (class::BAD_REQUEST, kind), "{error}");
        assert_eq!(bench.stub.calls(), calls);
    };
    check(&|stub| stub.refuse_texts_with("odd"), ErrorKind::Invalid, 2);
    check(&|stub| stub.always(Some(Answer::status(400, "unknown model"))), ErrorKind::Unavailable, 3);
    // A batch of 64 refused by configuration costs no 127 requests.
    let bench = bench(|_| ());
    bench.stub.always(Some(Answer::status(422, "unknown field")));
    let outcomes = bench.each(&texts(64));
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap_err().kind == ErrorKind::Unavailable));
    assert_eq!(bench.stub.calls(), 3);
}

#[test]
fn learns_how_many_texts_a_request_may_hold() {
    let bench = bench(|settings| settings.max_concurrent = 1);
    bench.stub.refuse_batches_over(10);
    assert_right(&texts(64), &bench.each(&texts(64)));
    bench.stub.forget();
    assert_right(&texts(64), &bench.each(&texts(64)));
    assert_eq!(bench.stub.calls(), 8);
}

#[test]
fn learns_that_a_provider_knows_no_base64() {
    let bench = bench(|_| ());
    bench.stub.refuse_base64();
    assert_right(&texts(4), &bench.each(&texts(4)));
    bench.stub.forget();
    assert_right(&texts(4), &bench.each(&texts(4)));
    assert_eq!(bench.stub.calls(), 1);
}

#[test]
fn texts_too_long_for_the_model_are_shortened() {
    let bench = bench(|_| ());
    bench.stub.refuse_texts_over(1500);
    let mixed = vec!["short".to_owned(), "long ".repeat(900), "small".to_owned()];
    let outcomes = bench.each(&mixed);
    assert!(outcomes.iter().all(Result::is_ok));
    assert_right(&mixed[..1], &outcomes[..1]);
    assert_right(&mixed[2..], &outcomes[2..]);
}

#[test]
fn a_flawed_vector_costs_only_itself() {
    for (answer, class) in [(Answer::NotFinite(2), class::NOT_FINITE), (Answer::EmptyVector(2), class::EMPTY)] {
        let bench = bench(|_| ());
        // The second attempt asks for the flawed one alone.
        bench.stub.script([answer.clone(), Answer::Good]);
        assert_right(&texts(4), &bench.each(&texts(4)));
        assert_eq!(bench.stub.requests()[1].texts, ["text number 2"]);

        let again = match answer {
            Answer::NotFinite(_) => Answer::NotFinite(0),
            _ => Answer::EmptyVector(0),
        };
        bench.stub.script([answer, again]);
        let outcomes = bench.each(&texts(4));
        let error = outcomes[2].as_ref().unwrap_err();
        assert_eq!((error.class, error.kind), (class, ErrorKind::Unavailable));
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3);
    }
}

#[test]
fn longer_vectors_are_cut_and_scaled() {
    let bench = bench(|_| ());
    bench.stub.always(Some(Answer::Dimension(24)));
    let vector = bench.one("one two three").unwrap();
    assert_eq!(vector.len(), DIMENSION);
    let length: f32 = vector.iter().map(|value| value * value).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
}

#[test]
fn what_was_paid_for_survives_a_later_failure() {
    let bench = bench(|settings| {
        settings.batch_size = 4;
        settings.max_concurrent = 1;
        settings.max_retries = 0;
    });
    bench.stub.script([Answer::Good, Answer::status(500, "x"), Answer::Good]);
    let outcomes = bench.each(&texts(12));
    assert_right(&texts(12)[..4], &outcomes[..4]);
    assert!(outcomes[4..8].iter().all(|outcome| outcome.as_ref().unwrap_err().class == class::SERVER_ERROR));
    assert_right(&texts(12)[8..], &outcomes[8..]);
    assert!(bench.embedder.embed(&texts(1), Purpose::Query, MINUTE).is_ok());
}

#[test]
fn the_breaker_spares_a_provider_that_is_down() {
    let bench = bench(|_| ());
    bench.stub.always(Some(Answer::status(503, "down")));
    // Four attempts, and one more until the fifth failure opens it; what is reported is the failure itself.
    assert_eq!(bench.one("a").unwrap_err().class, class::SERVER_ERROR);
    let error = bench.one("b").unwrap_err();
    assert_eq!(error.class, class::SERVER_ERROR);
    assert_eq!(bench.stub.calls(), 5);
    assert_eq!(bench.embedder.status().state, State::Open);

    let error = bench.one("c").unwrap_err();
    assert_eq!((error.class, error.kind), (class::CIRCUIT_OPEN, ErrorKind::Unavailable));
    assert!(error.retry_after.is_some() && error.message.contains("server_error"), "{error}");
    assert_eq!(bench.stub.calls(), 5);

    // A failed trial keeps it open for longer; a good one closes it.
    bench.world.advance(Duration::from_secs(5));
    assert_eq!(bench.one("d").unwrap_err().class, class::SERVER_ERROR);
    assert_eq!(bench.stub.calls(), 6);
    bench.world.advance(Duration::from_secs(5));
    assert_eq!(bench.one("d").unwrap_err().class, class::CIRCUIT_OPEN);
    bench.stub.always(None);
    bench.world.advance(Duration::from_secs(5));
    bench.one("d").unwrap();
    assert_eq!(bench.embedder.status().state, State::Closed);
    assert_right(&texts(9), &bench.each(&texts(9)));
}

#[test]
fn a_whole_day_down_hurts_no_text() {
    let bench = bench(|_| ());
    bench.stub.always(Some(Answer::status(503, "down")));
    let mut rounds = 0;
    while bench.world.monotonic() < Duration::from_secs(24 * 3600) {
        let error = bench.one("a").unwrap_err();
        assert!(error.kind.is_transient());
        bench.world.advance(error.retry_after.unwrap_or(Duration::from_secs(10)));
        rounds += 1;
    }
    // The breaker asks every five minutes in the end.
    assert!(bench.stub.calls() < 320, "{} calls in {rounds} rounds", bench.stub.calls());
    bench.stub.always(None);
    bench.world.advance(Duration::from_secs(300));
    bench.one("a").unwrap();
}

#[test]
fn closing_ends_the_retries() {
    let stub = StubEmbeddings::start(DIMENSION);
    stub.always(Some(Answer::status(500, "x")));
    let waiting = Arc::new(Waiting::new());
    waiting.close();
    let settings = Settings::new(stub.base_url(), "m", DIMENSION);
    let embedder = OpenAiEmbedder::with_pause(settings, Arc::new(RealWorld::new()), waiting).unwrap();
    assert!(embedder.embed(&texts(1), Purpose::Passage, MINUTE).is_err());
    assert_eq!(stub.calls(), 1);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let check = |change: &dyn Fn(&mut Settings), word: &str| {
        let mut settings = Settings::new("http://localhost:1/v1", "m", 4);
        change(&mut settings);
        let error = OpenAiEmbedder::new(settings, TestWorld::new()).err().expect("must be refused");
        assert_eq!((error.class, error.kind), (class::SETTINGS, ErrorKind::Invalid));
        assert!(error.message.contains(word), "{error}");
    };
    check(&|settings| settings.base_url = "api.openai.com/v1".to_owned(), "http://");
    check(&|settings| settings.base_url = "ftp://x/v1".to_owned(), "http://");
    check(&|settings| settings.base_url = "http://a b".to_owned(), "not an address");
    check(&|settings| settings.model = " ".to_owned(), "no name");
    check(&|settings| settings.dimension = 0, "zero");
    check(&|settings| settings.api_key = Some("a\nb".to_owned()), "api_key");
    let mut settings = Settings::new("http://localhost:1/v1", "m", 4);
    settings.api_key = Some("sk-1".to_owned());
    assert!(!format!("{settings:?}").contains("sk-1"));
}
