use super::*;

fn host(name: &str) -> bool {
    let request = Request::builder().uri("/health").header("host", name).body(Body::empty()).unwrap();
    host_is_ours(&request, &["memory.lan".to_owned()])
}

#[test]
fn only_names_of_this_machine_are_answered_on_loopback() {
    for name in
        ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "127.8.8.8", "[::1]", "[::1]:8000", "memory.lan:80"]
    {
        assert!(host(name), "{name}");
    }
    for name in [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.0.1",
        "[::2]:1",
        ":80",
        "a@localhost",
    ] {
        assert!(!host(name), "{name}");
    }
}

#[test]
fn only_pages_of_this_machine_may_call() {
    let allowed = |origin: &'static str| {
        origin_is_allowed(&HeaderValue::from_static(origin), &["https://console.example".to_owned()])
    };
    for origin in ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:3000", "https://console.example"] {
        assert!(allowed(origin), "{origin}");
    }
    for origin in
        ["null", "https://evil.example", "http://localhost.evil.example", "file://", "https://console.example:444"]
    {
        assert!(!allowed(origin), "{origin}");
    }
}

#[test]
fn the_scheme_of_a_token_may_be_spelled_anyhow() {
    let shown = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        bearer(&headers).map(str::to_owned)
    };
    assert_eq!(shown("Bearer abc").as_deref(), Some("abc"));
    assert_eq!(shown("bearer  abc ").as_deref(), Some("abc"));
    assert_eq!(shown("Basic abc"), None);
    assert_eq!(shown("abc"), None);
}

#[test]
fn a_panic_says_nothing_to_the_client() {
    let response = panicked(Box::new("the secret path".to_owned()));
    let refusal = response.extensions().get::<Refusal>().unwrap();
    assert_eq!((refusal.status.as_u16(), refusal.message.as_str()), (500, "Internal server error"));
    assert_eq!(refusal.detail.as_deref(), Some("panic: the secret path"));
}
