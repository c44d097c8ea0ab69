use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn no_limit_never_waits() {
    for limit in [None, Some(0)] {
        let mut bucket = Bucket::new(limit);
        assert!((0..10_000).all(|_| bucket.take(SECOND).is_zero()));
    }
}

#[test]
fn a_burst_then_the_pace() {
    let mut bucket = Bucket::new(Some(60));
    let now = 100 * SECOND;
    let burst = (0..100).filter(|_| bucket.take(now).is_zero()).count();
    assert_eq!(burst, 10);
    assert_eq!(bucket.take(now), SECOND);
    assert_eq!(bucket.take(now + SECOND), Duration::ZERO);
    assert_eq!(bucket.take(now + SECOND), SECOND);
}

/// Whoever waits as told gets no more than the limit in any long stretch, and no less.
#[test]
fn keeps_the_limit_over_minutes() {
    for limit in [1u32, 7, 60, 600] {
        let mut bucket = Bucket::new(Some(limit));
        let (mut now, mut taken) = (Duration::ZERO, 0);
        while now < 600 * SECOND {
            match bucket.take(now) {
                Duration::ZERO => taken += 1,
                wait => now += wait,
            }
        }
        let burst = (limit / 6).max(1);
        assert!((limit * 10..=limit * 10 + burst).contains(&taken), "{limit}: {taken}");
    }
}

#[test]
fn a_hold_stops_everything_until_it_ends() {
    let mut bucket = Bucket::new(None);
    bucket.hold(5 * SECOND);
    bucket.hold(3 * SECOND);
    assert_eq!(bucket.take(SECOND), 4 * SECOND);
    assert_eq!(bucket.take(5 * SECOND), Duration::ZERO);
}
