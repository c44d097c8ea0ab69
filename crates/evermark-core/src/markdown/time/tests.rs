use super::{parse, render};
use jiff::tz::TimeZone;

#[test]
fn times_are_read_in_every_usual_spelling() {
    let shanghai = TimeZone::get("Asia/Shanghai").expect("bundled");
    let noon = 1_756_717_380_000_000; // 2025-09-01T09:03:00Z
    let check = |text: &str, zone: &TimeZone, expected: Option<i64>| assert_eq!(parse(text, zone), expected, "{text}");
    check("2025-09-01T09:03:00+00:00", &shanghai, Some(noon));
    check("2025-09-01T09:03:00Z", &shanghai, Some(noon));
    check(" 2025-09-01 09:03:00.000 +00:00", &shanghai, None);
    check("2025-09-01 09:03:00.000+00:00", &shanghai, Some(noon));
    check("2025-09-01T17:03:00+08:00", &TimeZone::UTC, Some(noon));
    check("2025-09-01T17:03:00", &shanghai, Some(noon));
    check("2025-09-01 17:03", &shanghai, Some(noon));
    check("2025-09-01T09:03:00.123456+00:00", &shanghai, Some(noon + 123_456));
    check("2025-09-01", &TimeZone::UTC, Some(noon - (9 * 60 + 3) * 60_000_000));
    for text in ["", "yesterday", "2025-13-01T00:00:00Z", "1756717380000", "2025-09-01T25:00:00", "99999-01-01"] {
        check(text, &TimeZone::UTC, None);
    }
}

#[test]
fn times_are_written_as_python_does() {
    assert_eq!(render(1_756_717_380_000_000), "2025-09-01T09:03:00+00:00");
    assert_eq!(render(1_756_717_380_000_007), "2025-09-01T09:03:00.000007+00:00");
    assert_eq!(render(-1), "1969-12-31T23:59:59.999999+00:00");
    for us in [i64::MIN, i64::MAX, 0, -1, 1_756_717_380_123_456] {
        let text = render(us);
        assert!(parse(&text, &TimeZone::UTC).is_some(), "{text}");
    }
}
