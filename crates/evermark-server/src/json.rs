//! Reads JSON text, and says where it stops being JSON the way EverOS does.

use crate::check::Invalid;
use serde_json::Value;

/// Returns the value that `bytes` spell.
///
/// Errors carry the offset, in characters, at which Python's `json` gives up: it is part of EverOS's answer.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, Invalid> {
    if bytes.is_empty() {
        return Err(Invalid::new("Field required"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Invalid::new("JSON decode error: the body is not UTF-8");
        };
        match Scan::new(bytes).document() {
            Err(at) => Invalid::new(format!("JSON decode error: {}", text.get(..at).unwrap_or(text).chars().count())),
            // Something that only we refuse: nesting beyond 128 levels, lone surrogates, NaN.
            Ok(()) => Invalid::new(format!("JSON decode error: {error}")),
        }
    })
}

/// Walks JSON text; every error is the byte offset that Python's decoder would name.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

/// What a container still expects.
#[derive(Clone, Copy)]
enum Open {
    Object,
    Array,
}

impl<'a> Scan<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Reads one value and nothing after it. The stack is ours, so depth costs no recursion.
    fn document(mut self) -> Result<(), usize> {
        let mut open = Vec::new();
        self.blanks();
        loop {
            // Here a value begins, unless it opens a container that is not empty.
            let opened = match self.peek() {
                Some(b'{') => Some(Open::Object),
                Some(b'[') => Some(Open::Array),
                _ => {
                    self.scalar()?;
                    None
                }
            };
            if let Some(container) = opened {
                self.at += 1;
                self.blanks();
                let end = match container {
                    Open::Object => b'}',
                    Open::Array => b']',
                };
                if self.peek() == Some(end) {
                    self.at += 1;
                } else {
                    self.name(container)?;
                    open.push(container);
                    continue;
                }
            }
            // Here a value has ended.
            loop {
                self.blanks();
                let Some(container) = open.last().copied() else {
                    return if self.at == self.text.len() { Ok(()) } else { Err(self.at) };
                };
                match (self.peek(), container) {
                    (Some(b'}'), Open::Object) | (Some(b']'), Open::Array) => {
                        self.at += 1;
                        open.pop();
                    }
                    (Some(b','), _) => {
                        self.at += 1;
                        self.blanks();
                        self.name(container)?;
                        break;
                    }
                    _ => return Err(self.at),
                }
            }
        }
    }

    /// Reads the name and colon that stand before a value in an object.
    fn name(&mut self, container: Open) -> Result<(), usize> {
        match container {
            Open::Array => Ok(()),
            Open::Object => {
                if self.peek() != Some(b'"') {
                    return Err(self.at);
                }
                self.string()?;
                self.blanks();
                if self.peek() != Some(b':') {
                    return Err(self.at);
                }
                self.at += 1;
                self.blanks();
                Ok(())
            }
        }
    }

    fn scalar(&mut self) -> Result<(), usize> {
        const WORDS: [&[u8]; 6] = [b"null", b"true", b"false", b"NaN", b"Infinity", b"-Infinity"];
        if self.peek() == Some(b'"') {
            return self.string();
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        if let Some(word) = WORDS.into_iter().find(|word| rest.starts_with(word)) {
            self.at += word.len();
            return Ok(());
        }
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(start),
        }
        // A fraction or exponent without digits is not part of the number.
        let whole = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            let digits = self.at;
            self.digits();
            if self.at == digits {
                self.at = whole;
                return Ok(());
            }
        }
        let mantissa = self.at;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            let digits = self.at;
            self.digits();
            if self.at == digits {
                self.at = mantissa;
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), usize> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(start),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => match self.text.get(self.at + 1) {
                    None => return Err(start),
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
                    Some(b'u') => {
                        let digits = self.text.get(self.at + 2..self.at + 6).unwrap_or_default();
                        if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                            return Err(self.at + 1);
                        }
                        self.at += 6;
                    }
                    Some(_) => return Err(self.at),
                },
                Some(0..=0x1f) => return Err(self.at),
                Some(_) => self.at += 1,
            }
        }
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests;
