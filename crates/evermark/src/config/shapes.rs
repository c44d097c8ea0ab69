//! What keys may hold.

use super::raw::{Found, Shape};
use std::net::IpAddr;

/// A whole number within bounds. Environment variables and flags are text, so digits in a text count.
pub(crate) fn whole(min: u64, max: u64) -> Shape<u64> {
    Shape {
        allowed: format!("a whole number from {min} to {max}"),
        read: Box::new(move |found| {
            let number = match found {
                Found::Whole(number) => u64::try_from(*number).ok()?,
                Found::Text(text) => text.trim().parse().ok()?,
                Found::Real(_) | Found::Flag(_) | Found::List(_) | Found::Other(_) => return None,
            };
            (min..=max).contains(&number).then_some(number)
        }),
    }
}

/// The same, where absence means something.
pub(crate) fn maybe_whole(min: u64, max: u64) -> Shape<Option<u64>> {
    let inner = whole(min, max);
    Shape { allowed: inner.allowed.clone(), read: Box::new(move |found| (inner.read)(found).map(Some)) }
}

/// A number of seconds within bounds, fractions allowed.
pub(crate) fn seconds(min: f64, max: f64) -> Shape<f64> {
    Shape { allowed: format!("a number of seconds from {min} to {max}"), ..real(min, max) }
}

/// A number within bounds, fractions allowed.
pub(crate) fn real(min: f64, max: f64) -> Shape<f64> {
    Shape {
        allowed: format!("a number from {min} to {max}"),
        read: Box::new(move |found| {
            let number = match found {
                #[expect(clippy::cast_precision_loss, reason = "what is compared is far below 2^53")]
                Found::Whole(number) => *number as f64,
                Found::Real(number) => *number,
                Found::Text(text) => text.trim().parse().ok()?,
                Found::Flag(_) | Found::List(_) | Found::Other(_) => return None,
            };
            (min..=max).contains(&number).then_some(number)
        }),
    }
}

pub(crate) fn flag() -> Shape<bool> {
    Shape {
        allowed: "true or false".to_owned(),
        read: Box::new(|found| match found {
            Found::Flag(flag) => Some(*flag),
            Found::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            Found::Whole(_) | Found::Real(_) | Found::List(_) | Found::Other(_) => None,
        }),
    }
}

/// A text on one line, or nothing.
pub(crate) fn text(max_chars: usize) -> Shape<Option<String>> {
    one_line(format!("a text of at most {max_chars} characters on one line"), move |text| {
        text.chars().count() <= max_chars
    })
}

/// The path of a file, from the top: a daemon has no place that a relative one could start from.
pub(crate) fn file() -> Shape<Option<String>> {
    one_line("a path that begins with /".to_owned(), |text| text.starts_with('/') && !text.ends_with('/'))
}

/// One of a few words.
pub(crate) fn choice(words: &'static [&'static str]) -> Shape<Option<String>> {
    one_line(format!("one of {}", words.join(", ")), |text| words.contains(&text))
}

/// The address of an HTTP endpoint.
pub(crate) fn url() -> Shape<Option<String>> {
    one_line("an address that begins with http:// or https://".to_owned(), |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !text.contains(char::is_whitespace))
    })
}

/// A secret that goes into an HTTP header.
pub(crate) fn secret(min_chars: usize) -> Shape<Option<String>> {
    one_line(format!("{min_chars} to 4096 printable ASCII characters without spaces"), move |text| {
        (min_chars..=4096).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    })
}

/// A few names; in a text, commas stand between them.
pub(crate) fn names(what: &str) -> Shape<Vec<String>> {
    Shape {
        allowed: format!("a list of {what}"),
        read: Box::new(|found| {
            let names = match found {
                Found::List(names) => names.clone(),
                Found::Text(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
                Found::Whole(_) | Found::Real(_) | Found::Flag(_) | Found::Other(_) => return None,
            };
            let is_name = |name: &String| {
                !name.is_empty() && name.len() <= 300 && name.bytes().all(|byte| byte.is_ascii_graphic())
            };
            names.iter().all(is_name).then_some(names)
        }),
    }
}

/// The name of a time zone.
pub(crate) fn zone() -> Shape<String> {
    Shape {
        allowed: "a name from the IANA time zone database, such as UTC or Asia/Shanghai".to_owned(),
        read: Box::new(|found| match found {
            Found::Text(text) => jiff::tz::TimeZone::get(text).is_ok().then(|| text.clone()),
            _ => None,
        }),
    }
}

/// An address to listen on. Names other than `localhost` are refused: one may turn into any number of addresses.
pub(crate) fn host() -> Shape<String> {
    Shape {
        allowed: "an IP address or `localhost`".to_owned(),
        read: Box::new(|found| match found {
            Found::Text(text) if text == "localhost" || text.parse::<IpAddr>().is_ok() => Some(text.clone()),
            _ => None,
        }),
    }
}

/// What to log, in the syntax of `RUST_LOG`.
pub(crate) fn log_filter() -> Shape<String> {
    Shape {
        allowed: "a level (error, warn, info, debug, trace) or a filter such as `info,evermark_engine=debug`"
            .to_owned(),
        read: Box::new(|found| match found {
            Found::Text(text) => tracing_subscriber::EnvFilter::try_new(text).is_ok().then(|| text.clone()),
            _ => None,
        }),
    }
}

fn one_line(allowed: String, is_allowed: impl Fn(&str) -> bool + 'static) -> Shape<Option<String>> {
    Shape {
        allowed,
        read: Box::new(move |found| match found {
            Found::Text(text) if !text.contains(['\n', '\r', '\0']) && is_allowed(text) => Some(Some(text.clone())),
            _ => None,
        }),
    }
}
