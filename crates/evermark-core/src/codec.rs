//! A memory as bytes: compact, exact, and ours to change, because it never leaves derived data.
//!
//! Layout: a version byte, what a shelf keeps in columns (the head), then the rest: entry, messages, successor, body.
//! Lengths and counts are variable-length integers; texts are UTF-8; lists of texts share beginnings with the text
//! before (message ids differ in their tails). Numbers inside JSON keep their bits, which printing them would not.

#[cfg(test)]
mod tests;

use crate::id::{Kind, Owner, Scope, Track};
use crate::memory::{Body, Memory};
use serde_json::{Map, Number, Value};

/// Raised when the layout changes.
pub const VERSION: u8 = 2;

/// Deepest JSON that is read back: above what serde_json parses (128), below what the stack holds.
const JSON_DEPTH_MAX: u32 = 512;

/// Why bytes are not a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("the bytes of a memory end too early")]
    Short,
    #[error("the bytes of a memory go on after its end")]
    Long,
    #[error("the bytes of a memory hold an impossible {0}")]
    Wrong(&'static str),
    #[error("the bytes of a memory are of version {0}")]
    Version(u8),
}

/// Returns the memory's bytes.
pub fn encode(memory: &Memory) -> Vec<u8> {
    let mut out = Writer { bytes: vec![VERSION] };
    let owner = &memory.owner;
    out.text(&owner.scope.app);
    out.text(&owner.scope.project);
    out.bytes.push(track_tag(owner.track));
    out.text(&owner.id);
    out.text(&memory.id);
    out.text(&memory.path);
    out.option(memory.session_id.as_deref());
    out.option_int(memory.timestamp_us);
    out.option(memory.parent_type.as_deref());
    out.option(memory.parent_id.as_deref());
    out.list(&memory.sender_ids);
    rest(memory, &mut out);
    out.bytes
}

/// Returns the memory that [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Memory, CodecError> {
    let Head {
        app,
        project,
        track,
        owner,
        id,
        path,
        session_id,
        timestamp_us,
        parent_type,
        parent_id,
        sender_ids,
        rest,
    } = head(bytes)?;
    let Rest { entry_id, message_ids, deprecated_by, body } = decode_rest(id, rest)?;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Ok(Memory {
        owner: Owner { scope: Scope::new(app, project), track, id: owner.to_owned() },
        id: id.to_owned(),
        entry_id,
        path: path.to_owned(),
        session_id: owned(session_id),
        timestamp_us,
        parent_type: owned(parent_type),
        parent_id: owned(parent_id),
        sender_ids,
        message_ids,
        deprecated_by,
        body,
    })
}

/// What a shelf keeps in columns, where it lies, and the bytes of everything else.
pub(crate) struct Head<'a> {
    app: &'a str,
    project: &'a str,
    track: Track,
    owner: &'a str,
    pub(crate) id: &'a str,
    pub(crate) path: &'a str,
    pub(crate) session_id: Option<&'a str>,
    pub(crate) timestamp_us: Option<i64>,
    pub(crate) parent_type: Option<&'a str>,
    pub(crate) parent_id: Option<&'a str>,
    pub(crate) sender_ids: Vec<String>,
    /// As [`encode_rest`] writes it.
    pub(crate) rest: &'a [u8],
}

/// Reads the first half of what [`encode`] wrote.
pub(crate) fn head(bytes: &[u8]) -> Result<Head<'_>, CodecError> {
    let mut from = Reader { bytes };
    let version = from.byte()?;
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    Ok(Head {
        app: from.slice()?,
        project: from.slice()?,
        track: track_of(from.byte()?)?,
        owner: from.slice()?,
        id: from.slice()?,
        path: from.slice()?,
        session_id: from.option_slice()?,
        timestamp_us: from.option_int()?,
        parent_type: from.option_slice()?,
        parent_id: from.option_slice()?,
        sender_ids: from.list()?,
        rest: from.bytes,
    })
}

/// What a shelf does not keep in columns.
pub(crate) struct Rest {
    pub(crate) entry_id: String,
    pub(crate) message_ids: Vec<String>,
    pub(crate) deprecated_by: Option<String>,
    pub(crate) body: Body,
}

/// Appends the rest of a memory to `bytes`.
pub(crate) fn encode_rest(memory: &Memory, bytes: &mut Vec<u8>) {
    let mut out = Writer { bytes: std::mem::take(bytes) };
    rest(memory, &mut out);
    *bytes = out.bytes;
}

/// Reads what [`encode_rest`] wrote for the memory with this id.
pub(crate) fn decode_rest(id: &str, bytes: &[u8]) -> Result<Rest, CodecError> {
    let mut from = Reader { bytes };
    let rest = from.rest(id)?;
    from.end()?;
    Ok(rest)
}

fn rest(memory: &Memory, out: &mut Writer) {
    // The entry is nearly always the tail of the id; then its length says it all.
    let entry = memory.entry_id.as_str();
    if memory.id.ends_with(entry) {
        out.size(entry.len() * 2);
    } else {
        out.size(entry.len() * 2 + 1);
        out.bytes.extend_from_slice(entry.as_bytes());
    }
    out.list(&memory.message_ids);
    out.option(memory.deprecated_by.as_deref());
    body(&memory.body, out);
}

fn body(body: &Body, out: &mut Writer) {
    let tag = Kind::ALL.iter().position(|&kind| kind == body.kind()).unwrap_or_default();
    out.size(tag);
    match body {
        Body::Episode { subject, summary, content } => {
            out.option(subject.as_deref());
            out.option(summary.as_deref());
            out.text(content);
        }
        Body::AtomicFact { fact, context } => {
            out.text(fact);
            out.option(context.as_deref());
        }
        Body::Foresight { foresight, evidence, start_time, end_time, duration_days } => {
            out.text(foresight);
            out.text(evidence);
            out.option(start_time.as_deref());
            out.option(end_time.as_deref());
            out.option_int(*duration_days);
        }
        Body::Profile { summary, explicit_info, implicit_traits, profile_timestamp_ms } => {
            out.text(summary);
            out.json(explicit_info);
            out.json(implicit_traits);
            out.int(*profile_timestamp_ms);
        }
        Body::AgentCase { task_intent, approach, key_insight, quality_score } => {
            out.text(task_intent);
            out.text(approach);
            out.option(key_insight.as_deref());
            out.float(*quality_score);
        }
        Body::AgentSkill { name, description, content, confidence, maturity_score, source_case_ids, cluster_id } => {
            out.text(name);
            out.text(description);
            out.text(content);
            out.float(*confidence);
            out.float(*maturity_score);
            out.list(source_case_ids);
            out.option(cluster_id.as_deref());
        }
        Body::KnowledgeDocument { category_id, title, summary, source_name, source_type } => {
            out.text(category_id);
            out.text(title);
            out.text(summary);
            out.option(source_name.as_deref());
            out.option(source_type.as_deref());
        }
        Body::KnowledgeTopic {
            doc_id,
            category_id,
            topic_index,
            topic_name,
            topic_path,
            summary,
            depth,
            parent_node_id,
            children_node_ids,
            content_labels,
            content,
        } => {
            out.text(doc_id);
            out.text(category_id);
            out.int(*topic_index);
            out.text(topic_name);
            out.text(topic_path);
            out.text(summary);
            out.int(*depth);
            out.option(parent_node_id.as_deref());
            out.list(children_node_ids);
            out.list(content_labels);
            out.text(content);
        }
    }
}

fn track_tag(track: Track) -> u8 {
    match track {
        Track::User => 0,
        Track::Agent => 1,
        Track::Knowledge => 2,
    }
}

fn track_of(tag: u8) -> Result<Track, CodecError> {
    match tag {
        0 => Ok(Track::User),
        1 => Ok(Track::Agent),
        2 => Ok(Track::Knowledge),
        _ => Err(CodecError::Wrong("track")),
    }
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn size(&mut self, size: usize) {
        self.number(size as u64);
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// Small numbers of either sign stay short.
    fn int(&mut self, int: i64) {
        self.number((int.wrapping_shl(1) ^ (int >> 63)).cast_unsigned());
    }

    fn option_int(&mut self, int: Option<i64>) {
        self.bytes.push(u8::from(int.is_some()));
        int.into_iter().for_each(|int| self.int(int));
    }

    fn float(&mut self, float: f64) {
        self.bytes.extend_from_slice(&float.to_bits().to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.size(text.len());
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn option(&mut self, text: Option<&str>) {
        match text {
            None => self.size(0),
            Some(text) => {
                self.size(text.len() + 1);
                self.bytes.extend_from_slice(text.as_bytes());
            }
        }
    }

    fn list(&mut self, list: &[String]) {
        self.size(list.len());
        let mut before = "";
        for text in list {
            let same = before.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
            let same = text.floor_char_boundary(same);
            self.size(same);
            self.text(&text[same..]);
            before = text;
        }
    }

    fn json(&mut self, value: &Value) {
        match value {
            Value::Null => self.bytes.push(0),
            Value::Bool(false) => self.bytes.push(1),
            Value::Bool(true) => self.bytes.push(2),
            Value::Number(number) => {
                if let Some(int) = number.as_i64() {
                    self.bytes.push(3);
                    self.int(int);
                } else if let Some(int) = number.as_u64() {
                    self.bytes.push(4);
                    self.number(int);
                } else {
                    self.bytes.push(5);
                    self.float(number.as_f64().unwrap_or_default());
                }
            }
            Value::String(text) => {
                self.bytes.push(6);
                self.text(text);
            }
            Value::Array(values) => {
                self.bytes.push(7);
                self.size(values.len());
                values.iter().for_each(|value| self.json(value));
            }
            Value::Object(map) => {
                self.bytes.push(8);
                self.size(map.len());
                for (key, value) in map {
                    self.text(key);
                    self.json(value);
                }
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n_bytes: usize) -> Result<&'a [u8], CodecError> {
        let (taken, left) = self.bytes.split_at_checked(n_bytes).ok_or(CodecError::Short)?;
        self.bytes = left;
        Ok(taken)
    }

    fn end(&self) -> Result<(), CodecError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(CodecError::Long) }
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u64, CodecError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(CodecError::Wrong("number"))
    }

    fn size(&mut self) -> Result<usize, CodecError> {
        usize::try_from(self.number()?).map_err(|_| CodecError::Wrong("size"))
    }

    fn int(&mut self) -> Result<i64, CodecError> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn option_int(&mut self) -> Result<Option<i64>, CodecError> {
        match self.byte()? {
            0 => Ok(None),
            1 => self.int().map(Some),
            _ => Err(CodecError::Wrong("option")),
        }
    }

    fn float(&mut self) -> Result<f64, CodecError> {
        let bits = self.take(8)?.try_into().map_err(|_| CodecError::Short)?;
        Ok(f64::from_bits(u64::from_le_bytes(bits)))
    }

    fn utf8(&mut self, n_bytes: usize) -> Result<&'a str, CodecError> {
        std::str::from_utf8(self.take(n_bytes)?).map_err(|_| CodecError::Wrong("text"))
    }

    fn slice(&mut self) -> Result<&'a str, CodecError> {
        let n_bytes = self.size()?;
        self.utf8(n_bytes)
    }

    fn text(&mut self) -> Result<String, CodecError> {
        self.slice().map(str::to_owned)
    }

    fn option_slice(&mut self) -> Result<Option<&'a str>, CodecError> {
        match self.size()? {
            0 => Ok(None),
            more => self.utf8(more - 1).map(Some),
        }
    }

    fn option(&mut self) -> Result<Option<String>, CodecError> {
        Ok(self.option_slice()?.map(str::to_owned))
    }

    fn list(&mut self) -> Result<Vec<String>, CodecError> {
        let n_texts = self.size()?;
        // Every text takes two bytes at least: a wrong count cannot reserve much.
        let mut list: Vec<String> = Vec::with_capacity(n_texts.min(self.bytes.len() / 2));
        for _ in 0..n_texts {
            let same = self.size()?;
            let n_bytes = self.size()?;
            let tail = self.utf8(n_bytes)?;
            let before = list.last().map_or("", String::as_str);
            let head = before.get(..same).ok_or(CodecError::Wrong("prefix"))?;
            list.push([head, tail].concat());
        }
        Ok(list)
    }

    fn json(&mut self, depth: u32) -> Result<Value, CodecError> {
        let depth = depth.checked_sub(1).ok_or(CodecError::Wrong("depth"))?;
        Ok(match self.byte()? {
            0 => Value::Null,
            1 => Value::Bool(false),
            2 => Value::Bool(true),
            3 => self.int()?.into(),
            4 => self.number()?.into(),
            5 => Value::Number(Number::from_f64(self.float()?).ok_or(CodecError::Wrong("number"))?),
            6 => Value::String(self.text()?),
            7 => {
                let n_values = self.size()?;
                let mut values = Vec::with_capacity(n_values.min(self.bytes.len()));
                for _ in 0..n_values {
                    values.push(self.json(depth)?);
                }
                Value::Array(values)
            }
            8 => {
                let n_values = self.size()?;
                let mut map = Map::new();
                for _ in 0..n_values {
                    let key = self.text()?;
                    map.insert(key, self.json(depth)?);
                }
                Value::Object(map)
            }
            _ => return Err(CodecError::Wrong("JSON value")),
        })
    }

    fn rest(&mut self, id: &str) -> Result<Rest, CodecError> {
        let entry = self.size()?;
        let entry_id = if entry % 2 == 1 {
            self.utf8(entry / 2)?.to_owned()
        } else {
            let start = id.len().checked_sub(entry / 2);
            start.and_then(|start| id.get(start..)).ok_or(CodecError::Wrong("entry"))?.to_owned()
        };
        Ok(Rest { entry_id, message_ids: self.list()?, deprecated_by: self.option()?, body: self.body()? })
    }

    fn body(&mut self) -> Result<Body, CodecError> {
        let tag = self.size()?;
        Ok(match Kind::ALL.get(tag).ok_or(CodecError::Wrong("kind"))? {
            Kind::Episode => Body::Episode { subject: self.option()?, summary: self.option()?, content: self.text()? },
            Kind::AtomicFact => Body::AtomicFact { fact: self.text()?, context: self.option()? },
            Kind::Foresight => Body::Foresight {
                foresight: self.text()?,
                evidence: self.text()?,
                start_time: self.option()?,
                end_time: self.option()?,
                duration_days: self.option_int()?,
            },
            Kind::Profile => Body::Profile {
                summary: self.text()?,
                explicit_info: self.json(JSON_DEPTH_MAX)?,
                implicit_traits: self.json(JSON_DEPTH_MAX)?,
                profile_timestamp_ms: self.int()?,
            },
            Kind::AgentCase => Body::AgentCase {
                task_intent: self.text()?,
                approach: self.text()?,
                key_insight: self.option()?,
                quality_score: self.float()?,
            },
            Kind::AgentSkill => Body::AgentSkill {
                name: self.text()?,
                description: self.text()?,
                content: self.text()?,
                confidence: self.float()?,
                maturity_score: self.float()?,
                source_case_ids: self.list()?,
                cluster_id: self.option()?,
            },
            Kind::KnowledgeDocument => Body::KnowledgeDocument {
                category_id: self.text()?,
                title: self.text()?,
                summary: self.text()?,
                source_name: self.option()?,
                source_type: self.option()?,
            },
            Kind::KnowledgeTopic => Body::KnowledgeTopic {
                doc_id: self.text()?,
                category_id: self.text()?,
                topic_index: self.int()?,
                topic_name: self.text()?,
                topic_path: self.text()?,
                summary: self.text()?,
                depth: self.int()?,
                parent_node_id: self.option()?,
                children_node_ids: self.list()?,
                content_labels: self.list()?,
                content: self.text()?,
            },
        })
    }
}
