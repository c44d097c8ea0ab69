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

#[test]
fn the_index_is_on_the_page_with_its_bound_its_steps_and_its_room() {
    let mut status = crate::api::status::tests::sample();
    let text = page(&Requests::default(), Some(&status), "1");
    for line in [
        "evermark_up 1.0",
        "evermark_status_age_seconds 0.0",
        r#"evermark_index_bytes{state="allocated"} 700.0"#,
        r#"evermark_index_bytes{state="orphan"} 100.0"#,
        "evermark_index_bound_bytes 1000.0",
        "evermark_index_headroom_bytes 300.0",
        r#"evermark_index_table_rows{table="memories",generation="g1"} 3.0"#,
        "evermark_index_to_markdown_ratio 1.5",
        r#"evermark_step_failure_streak{step="compact"} 3.0"#,
        r#"evermark_step_last_success_age_seconds{step="reclaim"} 90.0"#,
        r#"evermark_step_last_error{step="compact",class="no_space"} 1.0"#,
        r#"evermark_disk_level{volume="index",level="low"} 1.0"#,
        r#"evermark_disk_level{volume="index",level="ample"} 0.0"#,
        r#"evermark_index_writes_paused{why="space_out"} 1.0"#,
        r#"evermark_index_writes_paused{why="read_only"} 0.0"#,
        "evermark_descriptors_used 40.0",
        "evermark_quarantine_pieces 1.0",
        r#"evermark_loop_restarts_total{loop="remember"} 2.0"#,
        "evermark_watcher_up 0.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
    }
    assert!(!text.contains(r#"evermark_step_last_success_age_seconds{step="compact"}"#), "it never succeeded");
    // A root that is silent is not taken for one that is well.
    status.age_ms = Some(4200);
    let text = page(&Requests::default(), Some(&status), "1");
    assert!(text.contains("evermark_up 0.0\n") && text.contains("evermark_status_age_seconds 4.2\n"));
}
