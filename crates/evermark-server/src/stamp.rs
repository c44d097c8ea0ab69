//! How instants are written on the wire.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns a payload's instant: `2026-03-16T10:00:00Z`, six digits of fraction only when there is one, and the zone's
/// offset (`+08:00`) in place of `Z` outside UTC.
pub fn payload(micros: i64, zone: &TimeZone) -> String {
    let (text, offset) = render(micros, zone);
    if offset == "+00:00" { format!("{text}Z") } else { format!("{text}{offset}") }
}

/// Returns an envelope's instant: like [`payload`], but UTC is `+00:00`.
pub fn envelope(micros: i64, zone: &TimeZone) -> String {
    let (text, offset) = render(micros, zone);
    format!("{text}{offset}")
}

fn render(micros: i64, zone: &TimeZone) -> (String, String) {
    // Beyond jiff's calendar there is nothing to write; the nearest instant it knows is still in order.
    let instant =
        Timestamp::from_microsecond(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX });
    let local = instant.to_zoned(zone.clone());
    let fraction = local.subsec_nanosecond() / 1000;
    let text = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let text = if fraction == 0 { text } else { format!("{text}.{fraction:06}") };
    // Historic zones have seconds in their offsets; ISO 8601 on this wire has none.
    (text, local.strftime("%:z").to_string())
}

#[cfg(test)]
mod tests;
