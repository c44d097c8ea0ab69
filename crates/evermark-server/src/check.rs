//! Reads request bodies as EverOS does: field by field in the order it declares them, first error wins.
//!
//! EverOS validates with pydantic in its lax mode and reports only the first error, so both the order of the checks and
//! the texts are part of the wire. What is lax there is lax here: `"5"`, `5.0` and `true` are integers, `"yes"` is a
//! boolean; strings are never made from anything else. `tests/it/validation.rs` compares us with a table of its answers.

use serde_json::{Map, Value};

/// A request that does not fit, told as EverOS tells it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    message: String,
}

impl Invalid {
    /// Returns the error about the whole body.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    /// Returns the error about the field at `at` (dotted path; empty for the body itself).
    fn at(message: impl Into<String>, at: &str) -> Self {
        // EverOS replaces every text about a field of this name, whatever is wrong with it.
        if at.rsplit('.').next() == Some("query") {
            return Self::new("Search query cannot be empty.");
        }
        let message = message.into();
        Self { message: if at.is_empty() { message } else { format!("{message}: {at}") } }
    }

    /// Returns what the client reads.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A JSON object and where it stands in the body.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    at: String,
}

impl<'a> Fields<'a> {
    /// Returns the fields of `value`, which stands at `at`.
    pub(crate) fn of(value: &'a Value, at: impl Into<String>) -> Result<Self, Invalid> {
        let at = at.into();
        match value.as_object() {
            Some(map) => Ok(Self { map, at }),
            None => Err(Invalid::at("Input should be a valid dictionary or object to extract fields from", &at)),
        }
    }

    /// Returns the field of this name, given or not.
    pub(crate) fn field(&self, name: &str) -> Field<'a> {
        Field { value: self.map.get(name), at: join(&self.at, name) }
    }

    /// Refuses keys other than `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Invalid> {
        match self.map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Invalid::at("Extra inputs are not permitted", &join(&self.at, key))),
            None => Ok(()),
        }
    }

    /// Returns an error about this object as a whole.
    pub(crate) fn wrong(&self, why: &str) -> Invalid {
        Invalid::at(format!("Value error, {why}"), &self.at)
    }
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// A field that may be absent.
pub(crate) struct Field<'a> {
    value: Option<&'a Value>,
    at: String,
}

impl<'a> Field<'a> {
    pub(crate) fn required(self) -> Result<Given<'a>, Invalid> {
        match self.value {
            Some(value) => Ok(Given { value, at: self.at }),
            None => Err(Invalid::at("Field required", &self.at)),
        }
    }

    /// Returns what `read` makes of the field, or `default` when it is absent. `null` is a value here.
    pub(crate) fn or<T>(self, default: T, read: impl FnOnce(Given<'a>) -> Result<T, Invalid>) -> Result<T, Invalid> {
        match self.value {
            Some(value) => read(Given { value, at: self.at }),
            None => Ok(default),
        }
    }

    /// Returns what `read` makes of the field, or `None` when it is absent or `null`.
    pub(crate) fn optional<T>(self, read: impl FnOnce(Given<'a>) -> Result<T, Invalid>) -> Result<Option<T>, Invalid> {
        match self.value {
            Some(value) if !value.is_null() => read(Given { value, at: self.at }).map(Some),
            Some(_) | None => Ok(None),
        }
    }
}

/// A value that is there, and where it stands.
pub(crate) struct Given<'a> {
    pub(crate) value: &'a Value,
    pub(crate) at: String,
}

impl<'a> Given<'a> {
    pub(crate) fn wrong(&self, message: impl Into<String>) -> Invalid {
        Invalid::at(message, &self.at)
    }

    pub(crate) fn string(self) -> Result<String, Invalid> {
        match self.value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(self.wrong("Input should be a valid string")),
        }
    }

    /// Returns a string of at least one character.
    pub(crate) fn non_empty(self) -> Result<String, Invalid> {
        let text = Self { value: self.value, at: self.at.clone() }.string()?;
        if text.is_empty() { Err(self.wrong("String should have at least 1 character")) } else { Ok(text) }
    }

    /// Returns a string of 1 to 128 characters.
    pub(crate) fn short(self) -> Result<String, Invalid> {
        let text = Self { value: self.value, at: self.at.clone() }.non_empty()?;
        if text.chars().count() > 128 {
            return Err(self.wrong("String should have at most 128 characters"));
        }
        Ok(text)
    }

    /// Returns an identifier that may be a folder's name. `reserved` is the one the default scope's folder has.
    pub(crate) fn identifier(self, reserved: Option<&str>) -> Result<String, Invalid> {
        let text = Self { value: self.value, at: self.at.clone() }.short()?;
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.@+-".contains(&byte)) {
            return Err(self.wrong("String should match pattern '^[a-zA-Z0-9_.@+-]+$'"));
        }
        if text == "." || text == ".." {
            return Err(self.wrong("Value error, '.' and '..' are reserved (path traversal)"));
        }
        if reserved == Some(text.as_str()) {
            return Err(
                self.wrong(format!("Value error, '{text}' is the directory name of the default scope; use 'default'"))
            );
        }
        Ok(text)
    }

    pub(crate) fn boolean(self) -> Result<bool, Invalid> {
        let unclear = || self.wrong("Input should be a valid boolean, unable to interpret input");
        match self.value {
            Value::Bool(value) => Ok(*value),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "0" | "off" | "f" | "false" | "n" | "no" => Ok(false),
                "1" | "on" | "t" | "true" | "y" | "yes" => Ok(true),
                _ => Err(unclear()),
            },
            Value::Number(number) => match number.as_f64() {
                Some(0.0) => Ok(false),
                Some(1.0) => Ok(true),
                _ if number.as_i64().is_some() => Err(unclear()),
                // A whole number in other clothes is asked what it means; a fraction is not, nor what is beyond 64 bits.
                Some(float) if float.fract() == 0.0 && float.abs() < i64::MAX as f64 => Err(unclear()),
                _ => Err(self.wrong("Input should be a valid boolean")),
            },
            Value::Null | Value::Array(_) | Value::Object(_) => Err(self.wrong("Input should be a valid boolean")),
        }
    }

    pub(crate) fn integer(self) -> Result<i64, Invalid> {
        const TOO_LARGE: &str = "Unable to parse input string as an integer, exceeded maximum size";
        match self.value {
            Value::Bool(value) => Ok(i64::from(*value)),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Ok(integer),
                // No bound lies beyond 2^63, so the largest number does for those that are.
                (None, _) if number.is_u64() => Ok(i64::MAX),
                (None, Some(float)) if float.fract() != 0.0 => {
                    Err(self.wrong("Input should be a valid integer, got a number with a fractional part"))
                }
                // i64::MAX as f64 is 2^63: everything below converts exactly.
                (None, Some(float)) if float.abs() < i64::MAX as f64 => Ok(float as i64),
                _ => Err(self.wrong(TOO_LARGE)),
            },
            Value::String(text) => integer_in(text)
                .ok_or_else(|| self.wrong("Input should be a valid integer, unable to parse string as an integer")),
            Value::Null | Value::Array(_) | Value::Object(_) => Err(self.wrong("Input should be a valid integer")),
        }
    }

    /// Returns an integer between the bounds, both included.
    pub(crate) fn integer_within(self, min: i64, max: i64) -> Result<i64, Invalid> {
        let value = Self { value: self.value, at: self.at.clone() }.integer()?;
        if value < min {
            return Err(self.wrong(format!("Input should be greater than or equal to {min}")));
        }
        if value > max {
            return Err(self.wrong(format!("Input should be less than or equal to {max}")));
        }
        Ok(value)
    }

    /// Returns a number between 0 and 1.
    pub(crate) fn share(self) -> Result<f64, Invalid> {
        let value = match self.value {
            Value::Bool(value) => f64::from(u8::from(*value)),
            Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
            Value::String(text) => {
                let unclear = || self.wrong("Input should be a valid number, unable to parse string as a number");
                ungrouped(text.trim()).and_then(|text| text.parse().ok()).ok_or_else(unclear)?
            }
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(self.wrong("Input should be a valid number"));
            }
        };
        if value < 0.0 {
            return Err(self.wrong("Input should be greater than or equal to 0"));
        }
        // Asked this way round, NaN is refused too.
        if value <= 1.0 { Ok(value) } else { Err(self.wrong("Input should be less than or equal to 1")) }
    }

    /// Returns the choice with this name; the order of `choices` is the order of the error's list.
    pub(crate) fn choice<T: Copy>(self, choices: &[(&str, T)]) -> Result<T, Invalid> {
        let found = self.value.as_str().and_then(|text| choices.iter().find(|(name, _)| *name == text));
        found.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("'{name}'")).collect();
            let listed = match names.split_last() {
                Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
                Some((last, _)) => last.clone(),
                None => String::new(),
            };
            self.wrong(format!("Input should be {listed}"))
        })
    }

    /// Returns the items of a list, each with its place.
    pub(crate) fn list(self) -> Result<Vec<Self>, Invalid> {
        match self.value.as_array() {
            Some(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(index, value)| Self { value, at: format!("{}.{index}", self.at) })
                .collect()),
            None => Err(self.wrong("Input should be a valid list")),
        }
    }

    pub(crate) fn fields(self) -> Result<Fields<'a>, Invalid> {
        Fields::of(self.value, self.at)
    }
}

/// Returns the integer a string spells: blanks around it, a sign, single underscores and a `.000` are allowed.
fn integer_in(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = match digits.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        Some(_) => return None,
        None => digits,
    };
    let digits = ungrouped(digits)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    format!("{sign}{digits}").parse().ok()
}

/// Returns a number's text without the single underscores that may group its digits.
fn ungrouped(text: &str) -> Option<String> {
    let stray = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    (!stray).then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests;
