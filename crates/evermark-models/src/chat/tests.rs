use super::*;
use crate::testing::TestWorld;
use evermark_core::error::ErrorKind;
use evermark_sim::stub_http::Reply;
use evermark_sim::stub_models::{Said, StubModels};

const MINUTE: Duration = Duration::from_secs(60);

struct Bench {
    stub: StubModels,
    world: Arc<TestWorld>,
    chat: OpenAiChat,
}

fn bench(change: impl FnOnce(&mut Settings)) -> Bench {
    let stub = StubModels::start();
    let world = TestWorld::new();
    let mut settings = Settings::new(stub.base_url(), "test-chat");
    settings.api_key = Some("sk-secret-1".to_owned());
    settings.timeout = Duration::from_secs(20);
    change(&mut settings);
    let chat = OpenAiChat::with_pause(settings, world.clone(), world.clone()).unwrap();
    Bench { stub, world, chat }
}

fn asked() -> ChatRequest {
    ChatRequest { system: "be brief".into(), user: "hello \"}".into(), temperature: 0.0, tokens_max: Some(64) }
}

#[test]
fn sends_what_openai_documents_and_reads_the_text() {
    let bench = bench(|settings| settings.base_url.push_str("/?api-version=1"));
    bench.stub.say([Said::Text("hi".into())]);
    assert_eq!(bench.chat.chat(&asked(), MINUTE).unwrap(), "hi");
    let request = bench.stub.chats().remove(0);
    assert_eq!(request.path, "/v1/chat/completions?api-version=1");
    assert_eq!(request.headers["authorization"], "Bearer sk-secret-1");
    let expected = json!({
        "model": "test-chat",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello \"}"}],
        "temperature": 0.0, "max_tokens": 64,
    });
    assert_eq!(request.body, expected);
    let figures = bench.chat.figures();
    assert_eq!((figures.calls, figures.items, figures.failures), (1, 1, 0));
    assert_eq!((figures.tokens_in, figures.tokens_out, figures.state), (10, 5, "closed"));
}

#[test]
fn parameters_that_a_model_refuses_are_learned_once() {
    let bench = bench(|_| ());
    let refused = |message: &str| Said::Reply(Reply::status(400, message));
    bench.stub.say([
        refused("Unsupported parameter: 'max_tokens' is not supported; use 'max_completion_tokens' instead."),
        refused("Unsupported value: 'temperature' does not support 0.0 with this model."),
        Said::Text("hi".into()),
        Said::Text("again".into()),
    ]);
    assert_eq!(bench.chat.chat(&asked(), MINUTE).unwrap(), "hi");
    assert_eq!(bench.chat.chat(&asked(), MINUTE).unwrap(), "again");
    let bodies: Vec<Value> = bench.stub.chats().into_iter().map(|asked| asked.body).collect();
    assert_eq!(bodies.len(), 4);
    for body in &bodies[2..] {
        assert_eq!(body["max_completion_tokens"], 64);
        assert!(body.get("max_tokens").is_none() && body.get("temperature").is_none(), "{body}");
    }
    // What it refuses for good is an error.
    bench.stub.say([refused("temperature again"), refused("temperature again")]);
    assert_eq!(bench.chat.chat(&asked(), MINUTE).unwrap_err().class, class::BAD_REQUEST);
}

#[test]
fn failures_have_their_class_and_are_retried_when_that_helps() {
    let check = |reply: Reply, class: &str, calls: usize| {
        let bench = bench(|settings| settings.timeout = Duration::from_millis(300));
        bench.stub.say(std::iter::repeat_n(Said::Reply(reply), 4));
        let error = bench.chat.chat(&asked(), MINUTE).unwrap_err();
        assert_eq!((error.class, error.kind), (class, ErrorKind::Unavailable), "{error}");
        assert_eq!(bench.stub.chats().len(), calls, "{error}");
        assert!(!error.message.contains("sk-secret-1"), "{error}");
        assert!(error.message.starts_with("language model 127.0.0.1"), "{error}");
        assert_eq!(bench.chat.figures().failures, calls as u64);
    };
    check(Reply::status(401, "bad key sk-secret-1"), class::UNAUTHORIZED, 1);
    check(Reply::status(404, "no such model"), class::NOT_FOUND, 1);
    check(Reply::status(400, "no"), class::BAD_REQUEST, 1);
    check(Reply::status(429, "slow down"), class::RATE_LIMITED, 2);
    check(Reply::status(500, "oops"), class::SERVER_ERROR, 2);
    check(Reply::Drop, class::CONNECT, 2);
    check(Reply::Hang, class::TIMEOUT, 2);
    check(Reply::good("<html>"), class::BAD_ANSWER, 2);
    check(Reply::good(r#"{"choices": []}"#), class::BAD_ANSWER, 2);
    check(Reply::good(r#"{"choices": [{"message": {"content": null, "refusal": "no"}}]}"#), class::BAD_ANSWER, 2);
}

#[test]
fn text_in_parts_is_joined() {
    let bench = bench(|_| ());
    let parts =
        r#"{"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}]}"#;
    bench.stub.say([Said::Reply(Reply::good(parts))]);
    assert_eq!(bench.chat.chat(&asked(), MINUTE).unwrap(), "ab");
}

#[test]
fn one_that_fails_is_left_alone_for_a_while() {
    let bench = bench(|settings| settings.max_retries = 0);
    bench.stub.say_by(|_| Said::Reply(Reply::status(503, "down")));
    for _ in 0..5 {
        assert_eq!(bench.chat.chat(&asked(), MINUTE).unwrap_err().class, class::SERVER_ERROR);
    }
    assert_eq!(bench.chat.chat(&asked(), MINUTE).unwrap_err().class, class::CIRCUIT_OPEN);
    assert_eq!((bench.stub.chats().len(), bench.chat.figures().state), (5, "open"));
    bench.stub.say_by(|_| Said::Text("back".into()));
    bench.world.advance(Duration::from_secs(10));
    assert_eq!(bench.chat.chat(&asked(), MINUTE).unwrap(), "back");
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let refused = |change: fn(&mut Settings), word: &str| {
        let mut settings = Settings::new("http://127.0.0.1:1/v1", "m");
        change(&mut settings);
        let error = OpenAiChat::new(settings, TestWorld::new()).err().unwrap();
        assert!(error.kind == ErrorKind::Invalid && error.message.contains(word), "{error}");
    };
    refused(|settings| settings.base_url = "ftp://x".into(), "llm base_url");
    refused(|settings| settings.model = " ".into(), "llm model");
    refused(|settings| settings.api_key = Some("a b".into()), "llm api_key");
}
