use super::{Admission, Budget};

const MIB: u64 = 1 << 20;

fn budget(ratio: f64, slack_bytes: u64, cap_bytes: Option<u64>) -> Budget {
    Budget { ratio, slack_bytes, cap_bytes }
}

#[test]
fn the_bound_is_a_multiple_of_what_is_live_plus_slack_but_never_above_the_cap() {
    assert_eq!(budget(2.0, 192 * MIB, None).bound(0), 192 * MIB);
    assert_eq!(budget(2.0, 192 * MIB, None).bound(100 * MIB), 392 * MIB);
    assert_eq!(budget(2.0, 192 * MIB, Some(300 * MIB)).bound(100 * MIB), 300 * MIB);
    assert_eq!(budget(1.3, 16 * MIB, None).bound(10 * MIB), 29 * MIB);
    assert_eq!(Budget::UNBOUNDED.bound(u64::MAX), u64::MAX);
}

#[test]
fn what_does_not_fit_names_the_limit() {
    let tight = budget(1.0, MIB, Some(10 * MIB));
    assert_eq!(tight.admit(5 * MIB, 5 * MIB, MIB), Admission::Fits);
    assert_eq!(tight.admit(5 * MIB, 5 * MIB, MIB + 1), Admission::OverBound { wanted: 6 * MIB + 1, bound: 6 * MIB });
    assert_eq!(tight.admit(9 * MIB, 9 * MIB, 2 * MIB), Admission::OverCap { wanted: 11 * MIB, cap: 10 * MIB });
    assert_eq!(tight.admit(9 * MIB, u64::MAX, 1), Admission::OverCap { wanted: u64::MAX, cap: 10 * MIB });
}
