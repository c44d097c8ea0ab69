use super::*;

fn check(micros: i64, zone: &str, expected: [&str; 2]) {
    let zone = TimeZone::get(zone).unwrap();
    assert_eq!([payload(micros, &zone), envelope(micros, &zone)], expected);
}

#[test]
fn instants_are_written_as_everos_writes_them() {
    check(0, "UTC", ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00+00:00"]);
    check(1_773_655_200_000_000, "UTC", ["2026-03-16T10:00:00Z", "2026-03-16T10:00:00+00:00"]);
    check(1_773_655_200_123_000, "UTC", ["2026-03-16T10:00:00.123000Z", "2026-03-16T10:00:00.123000+00:00"]);
    check(1_773_655_200_000_001, "Asia/Shanghai", ["2026-03-16T18:00:00.000001+08:00"; 2]);
    check(1_773_655_200_000_000, "America/St_Johns", ["2026-03-16T07:30:00-02:30"; 2]);
    check(-1, "UTC", ["1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999+00:00"]);
}
