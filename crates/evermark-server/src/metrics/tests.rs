use super::*;

#[test]
fn requests_are_counted_and_timed_by_route() {
    let requests = Requests::default();
    requests.observe("POST", "/a", 200, Duration::from_millis(5));
    requests.observe("POST", "/a", 200, Duration::from_millis(30));
    requests.observe("POST", "/a", 422, Duration::from_secs(11));
    let text = page(&requests, None, "1");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("/a")).collect();
    assert_eq!(
        lines,
        [
            r#"evermark_http_requests_total{method="POST",path="/a",status="200"} 2.0"#,
            r#"evermark_http_requests_total{method="POST",path="/a",status="422"} 1.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="0.005"} 1.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="0.01"} 1.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="0.025"} 1.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="0.05"} 2.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="0.1"} 2.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="0.25"} 2.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="0.5"} 2.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="1.0"} 2.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="2.5"} 2.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="5.0"} 2.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="10.0"} 2.0"#,
            r#"evermark_http_request_duration_seconds_bucket{method="POST",path="/a",le="+Inf"} 3.0"#,
            r#"evermark_http_request_duration_seconds_sum{method="POST",path="/a"} 11.035"#,
            r#"evermark_http_request_duration_seconds_count{method="POST",path="/a"} 3.0"#,
        ]
    );
}

#[test]
fn label_values_cannot_break_out() {
    let mut page = Page::default();
    page.sample("m", &[("l", "a\"b\\c\nd")], 1.5);
    assert_eq!(page.text, "m{l=\"a\\\"b\\\\c\\nd\"} 1.5\n");
}

#[test]
fn every_family_is_announced_once_and_before_its_samples() {
    let status = crate::api::status::tests::sample();
    let text = page(&Requests::default(), Some(&status), "1.0 \"x\"");
    let mut announced = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(announced.insert(rest.split(' ').next().unwrap().to_owned()), "twice: {line}");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(announced.contains(family) || announced.contains(name), "not announced: {line}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.contains("evermark_health{verdict=\"degraded\"} 1.0\n"));
    assert!(text.contains("evermark_index_rows{kind=\"episode\"} 3.0\n"));
}
