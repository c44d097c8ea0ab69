//! Times as files spell them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Returns `2027-02-03T08:14:30+00:00`, with six digits of a second where they are not zero. Times outside the calendar
/// are moved to its edge.
pub(super) fn render(us: i64) -> String {
    let edge = if us < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let time = Timestamp::from_microsecond(us).unwrap_or(edge).to_zoned(TimeZone::UTC).datetime();
    let second = format!("{}T{:02}:{:02}:{:02}", time.date(), time.hour(), time.minute(), time.second());
    match time.subsec_nanosecond() / 1000 {
        0 => format!("{second}+00:00"),
        fraction => format!("{second}.{fraction:06}+00:00"),
    }
}

/// Returns microseconds since 1970 (UTC). A time without offset is one of `zone`.
pub(super) fn parse(text: &str, zone: &TimeZone) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_microsecond());
    }
    let time: DateTime = text.parse().ok()?;
    zone.to_timestamp(time).ok().map(|time| time.as_microsecond())
}

#[cfg(test)]
mod tests;
