//! The writing half: one scalar a line, quoted wherever a reader of YAML 1.1 or 1.2 would take it for something else.

use serde_json::{Map, Value};

/// Appends `key: value` in block style, each line ended by `newline`.
pub(in crate::markdown) fn write_field(out: &mut String, key: &str, value: &Value, newline: &str) {
    write_pair(out, key, value, 0, newline);
}

fn write_pair(out: &mut String, key: &str, value: &Value, indent: usize, newline: &str) {
    // A key longer than this may not be a "simple key" to every reader: PyYAML itself writes it in the explicit form.
    let key = scalar(key);
    if key.len() > 120 {
        out.push_str("? ");
        out.push_str(&key);
        out.push_str(newline);
        out.extend(std::iter::repeat_n(' ', indent));
        out.push_str(": ");
        out.push_str(&flow(value));
        out.push_str(newline);
        return;
    }
    out.push_str(&key);
    out.push(':');
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push_str(newline);
            write_map(out, map, indent + 2, true, newline);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push_str(newline);
            write_list(out, items, indent, true, newline);
        }
        other => {
            out.push(' ');
            out.push_str(&flow(other));
            out.push_str(newline);
        }
    }
}

fn write_map(out: &mut String, map: &Map<String, Value>, indent: usize, mut at_margin: bool, newline: &str) {
    for (key, value) in map {
        if at_margin {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        at_margin = true;
        write_pair(out, key, value, indent, newline);
    }
}

fn write_list(out: &mut String, items: &[Value], indent: usize, mut at_margin: bool, newline: &str) {
    for item in items {
        if at_margin {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        at_margin = true;
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => write_map(out, map, indent + 2, false, newline),
            Value::Array(inner) if !inner.is_empty() => write_list(out, inner, indent + 2, false, newline),
            other => {
                out.push_str(&flow(other));
                out.push_str(newline);
            }
        }
    }
}

/// Returns a value on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => float_text(float),
            _ => number.to_string(),
        },
        Value::String(text) => scalar(text),
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(flow_inner).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, item)| format!("{}: {}", double_quoted(key), flow_inner(item)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Like [`flow`], for inside brackets, where plain text would need further rules.
fn flow_inner(value: &Value) -> String {
    match value {
        Value::String(text) => double_quoted(text),
        other => flow(other),
    }
}

/// Returns a float that both YAML 1.1 and 1.2 read as a float: with a point, and a sign in the exponent.
fn float_text(float: f64) -> String {
    let text = format!("{float:?}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with('-') { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}")
}

/// Returns a string as a scalar on one line: plain where it is safe, else in single quotes, else in double quotes.
fn scalar(text: &str) -> String {
    if !text.chars().all(is_printable) {
        return double_quoted(text);
    }
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// Tells what may stand outside double quotes.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

fn double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xff => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c if u32::from(c) <= 0xffff => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Tells whether a printable text may be written without quotes in block context, and is read back as text by YAML 1.1
/// and 1.2 readers alike. Errs towards quotes.
fn is_plain(text: &str) -> bool {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return false };
    let second = chars.next();
    let spaced = second.is_none_or(|c| c == ' ');
    let indicator = match first {
        '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' | ' ' | '=' => {
            true
        }
        '-' | '?' | ':' => spaced,
        _ => false,
    };
    !(indicator
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #")
        || text.starts_with("---")
        || text.starts_with("...")
        || text == "<<"
        || means_something_else(text))
}

/// Tells whether YAML 1.1 or 1.2 would read this as a number, a date, a truth value or nothing.
fn means_something_else(text: &str) -> bool {
    if matches!(
        text.to_ascii_lowercase().as_str(),
        "~" | "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | ".inf" | "-.inf" | "+.inf" | ".nan"
    ) {
        return true;
    }
    // Numbers, dates and times of YAML 1.1 start with a digit, a sign or a point, and consist of these characters. An
    // entry id or a version (`1.2b`) may be quoted needlessly; a date never goes unquoted.
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        && text.contains(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| {
            c.is_ascii_hexdigit()
                || matches!(c, '-' | '+' | '.' | ':' | '_' | ' ' | 't' | 'T' | 'z' | 'Z' | 'x' | 'X' | 'o' | 'O')
        })
}
