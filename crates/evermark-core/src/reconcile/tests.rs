use super::*;

const SECOND: i64 = 1_000_000;
/// An arbitrary now.
const NOW: i64 = 1_000 * SECOND;

fn stamp(at_us: i64) -> Stamp {
    Stamp { size: 10, mtime_ns: at_us * 1000, inode: 7, ctime_ns: at_us * 1000 }
}

fn known(at_us: i64) -> Known {
    Known {
        stamp: stamp(at_us),
        digest: Digest32::of(b"x"),
        verified_at_us: at_us + 10 * SECOND,
        missing_since_us: None,
    }
}

fn check(known: Option<Known>, seen: Seen, expected: Decision) {
    assert_eq!(decide(known.as_ref(), seen, &Policy::default(), NOW), expected, "{known:?} {seen:?}");
}

#[test]
fn the_table() {
    let old = NOW - 100 * SECOND;
    let same = known(old);
    let gone = Known { missing_since_us: Some(NOW - SECOND), ..same };
    let long_gone = Known { missing_since_us: Some(NOW - 3 * SECOND), ..same };
    let gone_later = Known { missing_since_us: Some(NOW + SECOND), ..same };
    let at = |change: fn(&mut Stamp)| {
        let mut stamp = stamp(old);
        change(&mut stamp);
        Seen::Present(stamp)
    };
    let fresh = Seen::Present(stamp(NOW - SECOND / 10));
    let absent = Seen::Absent { parent_listed: true };
    let unlisted = Seen::Absent { parent_listed: false };

    // Present and unknown.
    check(None, Seen::Present(stamp(old)), Decision::Enqueue);
    check(None, fresh, Decision::Settle(NOW - SECOND / 10 + 300_000));
    check(None, Seen::Present(stamp(NOW - 300_000)), Decision::Enqueue);
    check(None, Seen::Present(stamp(NOW + 10 * SECOND)), Decision::Enqueue);
    // Present and known.
    check(Some(same), at(|_| {}), Decision::Unchanged);
    check(Some(same), at(|s| s.size = 11), Decision::Enqueue);
    check(Some(same), at(|s| s.mtime_ns += 1), Decision::Hash);
    check(Some(same), at(|s| s.inode += 1), Decision::Hash);
    check(Some(same), at(|s| s.ctime_ns += 1), Decision::Hash);
    check(Some(same), fresh, Decision::Settle(NOW - SECOND / 10 + 300_000));
    // Back again, with the very stamp it had.
    check(Some(gone), at(|_| {}), Decision::Enqueue);
    // Absent.
    check(None, absent, Decision::Unchanged);
    check(Some(same), absent, Decision::SuspectGone);
    check(Some(gone), absent, Decision::Keep);
    check(Some(long_gone), absent, Decision::ConfirmGone);
    check(Some(gone_later), absent, Decision::SuspectGone);
    // No evidence.
    for known in [None, Some(same), Some(gone), Some(long_gone)] {
        check(known, unlisted, Decision::Keep);
        check(known, Seen::Unknown, Decision::Keep);
    }
}

#[test]
fn a_future_time_is_handled_once() {
    let ahead = stamp(NOW + 365 * 86_400 * SECOND);
    check(None, Seen::Present(ahead), Decision::Enqueue);
    let done = Known { stamp: ahead, verified_at_us: NOW, ..known(NOW) };
    check(Some(done), Seen::Present(ahead), Decision::Unchanged);
}

#[test]
fn a_read_too_close_to_the_edit_is_repeated_once() {
    let edited = stamp(NOW - 5 * SECOND);
    let hasty = Known { stamp: edited, verified_at_us: NOW - 4 * SECOND, ..known(NOW) };
    check(Some(hasty), Seen::Present(edited), Decision::Hash);
    check(Some(Known { verified_at_us: NOW, ..hasty }), Seen::Present(edited), Decision::Unchanged);
    let just_now = Known { stamp: stamp(NOW - SECOND), verified_at_us: NOW - SECOND / 2, ..known(NOW) };
    check(Some(just_now), Seen::Present(just_now.stamp), Decision::Unchanged);
}

#[test]
fn every_file_is_read_again_once_a_day() {
    let day = 86_400 * SECOND;
    let old = NOW - 10 * day;
    for verified_at_us in [NOW - day, NOW + day] {
        check(Some(Known { verified_at_us, ..known(old) }), Seen::Present(stamp(old)), Decision::Hash);
    }
    let audit_off = Policy { audit: None, ..Policy::default() };
    let seen = Seen::Present(stamp(old));
    assert_eq!(decide(Some(&known(old)), seen, &audit_off, NOW), Decision::Unchanged);
}

#[test]
fn the_guard() {
    let check = |known, gone, identity, confirmed: Option<u64>, expected| {
        let confirmed = confirmed.map(|files| Confirmed { files });
        assert_eq!(
            guard(known, gone, identity, confirmed, &Policy::default()),
            expected,
            "{known} {gone} {identity:?}"
        );
    };
    let proceed = Guard::Proceed { confirmation_used: false };
    let hold = |reason| Guard::Hold { reason };
    check(0, 0, RootIdentity::Same, None, proceed);
    check(9, 9, RootIdentity::Same, None, proceed);
    check(10, 10, RootIdentity::Same, None, hold(Hold::TooMany { gone: 10, known: 10 }));
    check(100, 49, RootIdentity::Same, None, proceed);
    check(100, 50, RootIdentity::Same, None, hold(Hold::TooMany { gone: 50, known: 100 }));
    check(100, 50, RootIdentity::Same, Some(50), Guard::Proceed { confirmation_used: true });
    check(100, 51, RootIdentity::Same, Some(50), hold(Hold::TooMany { gone: 51, known: 100 }));
    check(100, 1, RootIdentity::Same, Some(50), proceed);
    check(100, 0, RootIdentity::Missing, Some(100), hold(Hold::RootMissing));
    check(100, 1, RootIdentity::Different, Some(100), hold(Hold::RootDifferent));
}
