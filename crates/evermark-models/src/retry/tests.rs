use super::*;

#[test]
fn backoff_doubles_and_is_bounded() {
    let waits: Vec<u128> = (0..9).map(|attempt| backoff(attempt, None, 0).as_millis()).collect();
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
    for attempt in 0..40 {
        for chance in [0, 1, 128, 255] {
            let wait = backoff(attempt, None, chance);
            assert!(wait >= BACKOFF / 2 && wait <= BACKOFF_MAX, "{attempt} {chance} {wait:?}");
        }
    }
    assert_eq!(backoff(0, Some(Duration::from_secs(7)), 255), Duration::from_secs(7));
    assert!(backoff(5, Some(Duration::from_secs(1)), 0) > Duration::from_secs(1));
}

#[test]
fn retry_after_in_seconds_and_dates() {
    let now_us = 784_111_777_000_000; // Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110.
    let check = |header: &str, expected: Option<u64>| {
        assert_eq!(retry_after(header, now_us), expected.map(Duration::from_millis), "{header}");
    };
    check("0", Some(0));
    check(" 12 ", Some(12_000));
    check("1.5", Some(1_500));
    check("Sun, 06 Nov 1994 08:49:47 GMT", Some(10_000));
    check("Sun, 06 Nov 1994 08:49:27 GMT", Some(0));
    check("Mon, 07 Nov 1994 08:49:37 GMT", Some(3_600_000));
    check("999999999", Some(3_600_000));
    check("-3", None);
    check("NaN", None);
    check("soon", None);
    check("", None);
}

#[test]
fn closing_ends_a_pause() {
    let waiting = std::sync::Arc::new(Waiting::new());
    let waiter = std::thread::spawn({
        let waiting = std::sync::Arc::clone(&waiting);
        move || waiting.pause(Duration::from_secs(600))
    });
    waiting.close();
    assert!(!waiter.join().unwrap());
    assert!(!waiting.pause(Duration::from_secs(600)));
}

#[test]
fn the_gate_has_as_many_places_as_told() {
    let gate = Gate::new(2);
    let first = gate.enter(Duration::ZERO);
    let second = gate.enter(Duration::ZERO);
    assert!(first.is_some() && second.is_some() && gate.enter(Duration::ZERO).is_none());
    drop(first);
    assert!(gate.enter(Duration::ZERO).is_some());
}
