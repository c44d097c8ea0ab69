//! The times that data sets write, as milliseconds.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

/// Below this a number is taken for seconds (the wire's rule).
const SECONDS_BELOW: f64 = 1e12;

/// Ways to write a time besides RFC 3339 and ISO 8601: LoCoMo's, LongMemEval's, and its without the weekday.
const FORMATS: [&str; 3] = ["%I:%M %p on %d %B, %Y", "%Y/%m/%d (%a) %H:%M", "%Y/%m/%d %H:%M"];

/// Returns milliseconds since 1970.
///
/// A number is milliseconds, or seconds when below 10^12; a time without an offset is one of `zone`.
/// Errors: a sentence that shows what was found and what is understood.
pub(crate) fn milliseconds(found: &Value, zone: &TimeZone) -> Result<i64, String> {
    let wrong = || {
        format!(
            "`ts` is {found}, which is no time: RFC 3339 (2023-05-08T13:56:00Z), seconds or milliseconds since 1970, \
             `1:56 pm on 8 May, 2023` and `2023/05/08 (Mon) 13:56` are understood"
        )
    };
    let at = match found {
        Value::Number(number) => number.as_f64().and_then(of_number),
        Value::String(text) => of_text(text.trim(), zone),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    at.ok_or_else(wrong)
}

fn of_number(number: f64) -> Option<i64> {
    let ms = if number.abs() < SECONDS_BELOW { number * 1000.0 } else { number };
    #[expect(clippy::cast_possible_truncation, reason = "a float beyond all times becomes a number beyond all times")]
    let ms = ms as i64;
    Some(Timestamp::from_millisecond(ms).ok()?.as_millisecond())
}

fn of_text(text: &str, zone: &TimeZone) -> Option<i64> {
    if let Ok(number) = text.parse() {
        return of_number(number);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let written = || FORMATS.iter().find_map(|format| DateTime::strptime(format, text).ok());
    let naive = text.parse::<DateTime>().ok().or_else(written)?;
    Some(zone.to_ambiguous_timestamp(naive).compatible().ok()?.as_millisecond())
}
