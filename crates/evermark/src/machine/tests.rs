use super::*;

#[test]
fn the_total_is_read_and_nothing_else() {
    let text = "MemFree:   100 kB\nMemTotal:       24629312 kB\nMemAvailable:  7 kB\n";
    assert_eq!(total_of(text), Some(24_629_312 * 1024));
    for odd in ["", "MemTotal: many kB", "MemTotal: 12", "MemTotal: 99999999999999999999 kB"] {
        assert_eq!(total_of(odd), None, "{odd}");
    }
}
