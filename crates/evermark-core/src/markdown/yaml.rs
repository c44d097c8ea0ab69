//! The YAML of front matter: read into JSON values within fixed limits, written the way PyYAML reads back the same.
//!
//! Reading follows the core schema of YAML 1.2 (`yes` and `2026-11-22` are strings); writing quotes whatever YAML 1.1
//! would take for something else, because EverOS reads with a YAML 1.1 parser.

mod write;

pub(super) use write::write_field;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};
use std::collections::HashMap;

/// Longest block that is parsed, in bytes. A profile of 45 items is 10 KB; the limit only keeps nonsense cheap.
pub(super) const BLOCK_BYTES_MAX: usize = 4 << 20;
/// Deepest nesting that is followed. EverOS nests three levels.
const DEPTH_MAX: usize = 64;
/// How much aliases may copy in all, in bytes plus one per node: bounds "billion laughs".
const ALIAS_COST_MAX: usize = 1 << 20;

/// One top-level key of a block mapping, with where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) key: String,
    pub(super) value: Value,
    /// A scalar's text as written: `007` where `value` is 7. `None` for lists and mappings.
    pub(super) text: Option<String>,
    /// 0-based line of the key within the block.
    pub(super) line: usize,
    /// Whether key and value are one line at column 0 that can be replaced in place: columns (in characters) of the value.
    pub(super) inline: Option<(usize, usize)>,
    /// Whether the key starts its line at column 0.
    pub(super) at_margin: bool,
}

/// What is wrong with a block.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    /// 0-based line within the block.
    pub(super) line: usize,
    pub(super) message: String,
}

fn fault(mark: Marker, message: impl Into<String>) -> Fault {
    Fault { line: mark.line().saturating_sub(1), message: message.into() }
}

enum Frame {
    List { items: Vec<Value>, anchor: usize },
    Map { map: Map<String, Value>, key: Option<String>, anchor: usize },
}

/// Returns the fields of the mapping that `block` is; none when it is empty.
///
/// Errors: bad YAML, anything but one mapping, keys that are not scalars, and what exceeds the limits above.
pub(super) fn parse(block: &str) -> Result<Vec<Field>, Fault> {
    if block.len() > BLOCK_BYTES_MAX {
        return Err(Fault { line: 0, message: format!("longer than {BLOCK_BYTES_MAX} bytes") });
    }
    if let Some(at) = block.find('\0') {
        return Err(Fault { line: block[..at].matches('\n').count(), message: "a NUL byte".to_owned() });
    }
    Reader::default().read(block)
}

#[derive(Default)]
struct Reader {
    frames: Vec<Frame>,
    anchors: HashMap<usize, Value>,
    alias_cost: usize,
    fields: Vec<Field>,
    /// The top-level key whose value is being read, and where it started.
    key_mark: Option<Marker>,
    /// Whether the root mapping has been opened, closed.
    opened: bool,
    closed: bool,
}

impl Reader {
    fn read(mut self, block: &str) -> Result<Vec<Field>, Fault> {
        let mut parser = Parser::new_from_str(block);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| fault(*error.marker(), error.info()))?;
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) => {
                    if self.opened {
                        return Err(fault(span.start, "more than one document"));
                    }
                }
                Event::SequenceStart(anchor, _) => {
                    self.open(Frame::List { items: Vec::new(), anchor }, span.start)?;
                }
                Event::MappingStart(anchor, _) => {
                    self.open(Frame::Map { map: Map::new(), key: None, anchor }, span.start)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span.end)?,
                Event::Alias(anchor) => {
                    let value = self.alias(anchor, span.start)?;
                    self.add(value, None, span.start, span.end, false)?;
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let as_text = tag.is_some_and(|tag| tag.suffix == "str");
                    let value = if style == ScalarStyle::Plain && !as_text {
                        resolve(&text)
                    } else {
                        Value::String(text.to_string())
                    };
                    if anchor > 0 {
                        self.anchors.insert(anchor, value.clone());
                    }
                    let plain =
                        matches!(style, ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted)
                            && anchor == 0;
                    self.add(value, Some(text.into_owned()), span.start, span.end, plain)?;
                }
            }
        }
        Ok(self.fields)
    }

    fn open(&mut self, frame: Frame, at: Marker) -> Result<(), Fault> {
        if self.frames.len() >= DEPTH_MAX {
            return Err(fault(at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        if !self.opened && matches!(frame, Frame::List { .. }) {
            return Err(fault(at, "a list where a mapping belongs"));
        }
        if let Some(Frame::Map { key: None, .. }) = self.frames.last() {
            return Err(fault(at, "a key that is not a scalar"));
        }
        self.opened = true;
        self.frames.push(frame);
        Ok(())
    }

    fn close(&mut self, at: Marker) -> Result<(), Fault> {
        let Some(frame) = self.frames.pop() else { return Err(fault(at, "unbalanced brackets")) };
        let (value, anchor) = match frame {
            Frame::List { items, anchor } => (Value::Array(items), anchor),
            Frame::Map { map, anchor, .. } => (Value::Object(map), anchor),
        };
        if self.frames.is_empty() {
            self.closed = true;
            return Ok(());
        }
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        self.add(value, None, at, at, false)
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<Value, Fault> {
        let Some(value) = self.anchors.get(&anchor) else {
            return Err(fault(at, "an alias to something that is not complete"));
        };
        self.alias_cost =
            self.alias_cost.saturating_add(cost(value, ALIAS_COST_MAX - self.alias_cost.min(ALIAS_COST_MAX)));
        if self.alias_cost > ALIAS_COST_MAX {
            return Err(fault(at, "aliases copy too much"));
        }
        Ok(value.clone())
    }

    /// Adds a finished value to the innermost frame. `replaceable`: a plain or quoted scalar without anchor.
    fn add(
        &mut self,
        value: Value,
        text: Option<String>,
        start: Marker,
        end: Marker,
        replaceable: bool,
    ) -> Result<(), Fault> {
        let depth = self.frames.len();
        match self.frames.last_mut() {
            None if value.is_null() && !self.opened => {
                // An empty document: a mapping without keys.
                self.opened = true;
                Ok(())
            }
            None => Err(fault(start, "not a mapping")),
            Some(Frame::List { items, .. }) => {
                items.push(value);
                Ok(())
            }
            Some(Frame::Map { map, key: slot, .. }) => {
                let Some(key) = slot.take() else {
                    let Some(text) = text else { return Err(fault(start, "a key that is not a scalar")) };
                    *slot = Some(text);
                    if depth == 1 {
                        self.key_mark = Some(start);
                    }
                    return Ok(());
                };
                if depth == 1 {
                    let key_mark = self.key_mark.take().unwrap_or(start);
                    let same_line = key_mark.line() == start.line() && start.line() == end.line();
                    self.fields.push(Field {
                        key,
                        value,
                        inline: (replaceable && same_line && start.index() < end.index())
                            .then_some((start.col(), end.col())),
                        text,
                        line: key_mark.line().saturating_sub(1),
                        at_margin: key_mark.col() == 0,
                    });
                } else {
                    map.insert(key, value);
                }
                Ok(())
            }
        }
    }
}

/// Returns the size of a value in bytes plus one per node, or something above `limit` as soon as it is exceeded.
fn cost(value: &Value, limit: usize) -> usize {
    let mut total = 1usize;
    match value {
        Value::String(text) => total += text.len(),
        Value::Array(items) => {
            for item in items {
                total += cost(item, limit.saturating_sub(total));
                if total > limit {
                    break;
                }
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                total += key.len() + cost(item, limit.saturating_sub(total));
                if total > limit {
                    break;
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    total
}

/// Returns what a plain scalar means under the core schema.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let signed = text.strip_prefix('+').unwrap_or(text);
        if let Ok(number) = signed.parse::<i64>() {
            return number.into();
        }
        if let Ok(number) = signed.parse::<u64>() {
            return number.into();
        }
        return Value::String(text.to_owned());
    }
    let radix =
        |prefix: &str, radix: u32| text.strip_prefix(prefix).and_then(|rest| i64::from_str_radix(rest, radix).ok());
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return number.into();
    }
    let looks_like_float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    if looks_like_float
        && let Ok(number) = text.parse::<f64>()
        && let Some(number) = Number::from_f64(number)
    {
        return Value::Number(number);
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests;
