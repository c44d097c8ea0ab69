//! Rows as Lance stores them: the columns, and the way from a memory to a row and back.
//!
//! Someone who opens the table with a LanceDB client finds readable columns to filter by (`app_id`, `owner_id`, `kind`,
//! `timestamp`, `md_path`, …), the `text`, and the `vector`. Nothing is stored twice but `text`, which is `body` made
//! readable. `key` and `owner_key` are fingerprints for the [directory](crate::directory).

use crate::directory::{Entry, key_of, owner_of};
use crate::error::{corrupt, failed};
use arrow_array::builder::{
    FixedSizeBinaryBuilder, FixedSizeListBuilder, Float32Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder, UInt64Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use evermark_core::id::{Kind, MemoryKey, Owner, Scope, Track};
use evermark_core::index::{IndexError, Indexable};
use evermark_core::memory::{Body, Digest32, Memory};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// Raised when the columns or the body's encoding change: an older generation is then rebuilt.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// What the directory is made of.
pub(crate) const DIRECTORY_COLUMNS: [&str; 3] = ["key", "owner_key", "kind"];
/// What [`identities`] reads.
pub(crate) const IDENTITY_COLUMNS: [&str; 8] =
    ["app_id", "project_id", "track", "owner_id", "kind", "id", "md_path", "digest"];
/// What [`memories`] reads.
pub(crate) const MEMORY_COLUMNS: [&str; 16] = [
    "app_id", "project_id", "track", "owner_id", "kind", "id", "entry_id", "md_path", "session_id", "timestamp",
    "parent_type", "parent_id", "sender_ids", "message_ids", "deprecated_by", "body",
];

const DIGEST_BYTES: i32 = 32;

/// Returns the table's columns. `dimension` is fixed for the life of a generation.
pub(crate) fn schema(dimension: Option<usize>) -> Result<SchemaRef, IndexError> {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    // Long texts: LZ4 halves them and costs less than reading the other half.
    let long = |name: &str| {
        text(name, false).with_metadata(HashMap::from([("lance-encoding:compression".to_owned(), "lz4".to_owned())]))
    };
    let list = |name: &str| {
        Field::new(name, DataType::List(Arc::new(Field::new("item", DataType::Utf8, false))), false)
    };
    let mut fields = vec![
        Field::new("key", DataType::UInt64, false),
        Field::new("owner_key", DataType::UInt64, false),
        text("app_id", false),
        text("project_id", false),
        text("track", false),
        text("owner_id", false),
        text("kind", false),
        text("id", false),
        text("entry_id", false),
        text("md_path", false),
        text("session_id", true),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        text("parent_type", true),
        text("parent_id", true),
        list("sender_ids"),
        list("message_ids"),
        text("deprecated_by", true),
        Field::new("digest", DataType::FixedSizeBinary(DIGEST_BYTES), false),
        long("text"),
        long("tokens"),
        long("body"),
    ];
    if let Some(dimension) = dimension {
        let width = i32::try_from(dimension).map_err(|error| failed("make a table with vectors this wide", error))?;
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        fields.push(Field::new("vector", DataType::FixedSizeList(item, width), true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Returns the row's fingerprints.
pub(crate) fn entry(key: &MemoryKey) -> Entry {
    Entry { key: key_of(key), owner: owner_of(&key.owner), kind: key.kind }
}

/// Writes rows as one batch of `schema`.
pub(crate) fn encode(rows: &[(Entry, &Indexable)], schema: &SchemaRef) -> Result<RecordBatch, IndexError> {
    let memories = || rows.iter().map(|(_, row)| &row.memory);
    let strings = |get: &dyn Fn(&Memory) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(memories().map(get)))
    };
    let options = |get: &dyn Fn(&Memory) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(memories().map(get)))
    };
    let mut columns: Vec<ArrayRef> = vec![
        fingerprints(rows.iter().map(|(entry, _)| entry.key)),
        fingerprints(rows.iter().map(|(entry, _)| entry.owner)),
        strings(&|memory| memory.owner.scope.app.clone()),
        strings(&|memory| memory.owner.scope.project.clone()),
        strings(&|memory| memory.owner.track.name().to_owned()),
        strings(&|memory| memory.owner.id.clone()),
        strings(&|memory| memory.kind().name().to_owned()),
        strings(&|memory| memory.id.clone()),
        strings(&|memory| memory.entry_id.clone()),
        strings(&|memory| memory.path.clone()),
        options(&|memory| memory.session_id.clone()),
        times(memories().map(|memory| memory.timestamp_us)),
        options(&|memory| memory.parent_type.clone()),
        options(&|memory| memory.parent_id.clone()),
        lists(memories().map(|memory| memory.sender_ids.as_slice())),
        lists(memories().map(|memory| memory.message_ids.as_slice())),
        options(&|memory| memory.deprecated_by.clone()),
        digests(memories().map(Memory::digest))?,
        strings(&|memory| memory.body.search_text()),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, row)| &row.tokens))),
        strings(&|memory| render_body(&memory.body)),
    ];
    if let Some(field) = schema.fields().find("vector")
        && let DataType::FixedSizeList(_, width) = field.1.data_type()
    {
        columns.push(vectors(rows.iter().map(|(_, row)| row.vector.as_deref()), *width));
    }
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| failed("encode rows", error))
}

fn fingerprints(values: impl Iterator<Item = u64>) -> ArrayRef {
    let mut builder = UInt64Builder::new();
    values.for_each(|value| builder.append_value(value));
    Arc::new(builder.finish())
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let mut builder = TimestampMicrosecondBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish().with_timezone("UTC"))
}

fn lists<'a>(values: impl Iterator<Item = &'a [String]>) -> ArrayRef {
    let item = Field::new("item", DataType::Utf8, false);
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(item);
    for list in values {
        list.iter().for_each(|value| builder.values().append_value(value));
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn digests(values: impl Iterator<Item = Digest32>) -> Result<ArrayRef, IndexError> {
    let mut builder = FixedSizeBinaryBuilder::new(DIGEST_BYTES);
    for digest in values {
        builder.append_value(digest.0).map_err(|error| failed("encode a digest", error))?;
    }
    Ok(Arc::new(builder.finish()))
}

fn vectors<'a>(values: impl Iterator<Item = Option<&'a [f32]>>, width: i32) -> ArrayRef {
    let mut builder = FixedSizeListBuilder::new(Float32Builder::new(), width);
    for vector in values {
        match vector {
            Some(vector) => builder.values().append_slice(vector),
            None => (0..width).for_each(|_| builder.values().append_value(0.0)),
        }
        builder.append(vector.is_some());
    }
    Arc::new(builder.finish())
}

/// One batch with its columns looked up by name.
pub(crate) struct Columns<'a> {
    batch: &'a RecordBatch,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(batch: &'a RecordBatch) -> Self {
        Self { batch }
    }

    fn column(&self, name: &str) -> Result<&'a ArrayRef, IndexError> {
        self.batch.column_by_name(name).ok_or_else(|| corrupt(format!("the index has no column `{name}`")))
    }

    pub(crate) fn strings(&self, name: &str) -> Result<&'a StringArray, IndexError> {
        self.column(name)?.as_string_opt().ok_or_else(|| wrong_type(name))
    }

    pub(crate) fn numbers(&self, name: &str) -> Result<&'a [u64], IndexError> {
        let column = self.column(name)?.as_primitive_opt::<UInt64Type>().ok_or_else(|| wrong_type(name))?;
        Ok(column.values())
    }

    pub(crate) fn times(&self) -> Result<Vec<Option<i64>>, IndexError> {
        let column = self.column("timestamp")?.as_primitive_opt::<TimestampMicrosecondType>();
        Ok(column.ok_or_else(|| wrong_type("timestamp"))?.iter().collect())
    }

    pub(crate) fn lists(&self, name: &str) -> Result<Vec<Vec<String>>, IndexError> {
        let column = self.column(name)?.as_list_opt::<i32>().ok_or_else(|| wrong_type(name))?;
        (0..column.len())
            .map(|row| {
                let items = column.value(row);
                let items = items.as_string_opt::<i32>().ok_or_else(|| wrong_type(name))?;
                Ok((0..items.len()).map(|at| items.value(at).to_owned()).collect())
            })
            .collect()
    }

    /// Visits each row's vector, `None` where the row or the table has none.
    pub(crate) fn vectors(&self) -> Result<Vectors<'a>, IndexError> {
        let Some(column) = self.batch.column_by_name("vector") else { return Ok(Vectors { rows: None }) };
        let list = column.as_fixed_size_list_opt().ok_or_else(|| wrong_type("vector"))?;
        let values = list.values().as_primitive_opt::<Float32Type>().ok_or_else(|| wrong_type("vector"))?;
        let width = usize::try_from(list.value_length()).map_err(|_| wrong_type("vector"))?;
        Ok(Vectors { rows: Some((list.nulls().cloned(), values.values(), width)) })
    }
}

/// A batch's vectors.
pub(crate) struct Vectors<'a> {
    rows: Option<(Option<arrow_buffer::NullBuffer>, &'a [f32], usize)>,
}

impl<'a> Vectors<'a> {
    pub(crate) fn get(&self, row: usize) -> Option<&'a [f32]> {
        let (nulls, values, width) = self.rows.as_ref()?;
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        values.get(row * width..(row + 1) * width)
    }
}

fn wrong_type(name: &str) -> IndexError {
    corrupt(format!("the index's column `{name}` has another type"))
}

fn owner(columns: &Columns<'_>, row: usize) -> Result<Owner, IndexError> {
    let track = columns.strings("track")?.value(row);
    Ok(Owner {
        scope: Scope::new(columns.strings("app_id")?.value(row), columns.strings("project_id")?.value(row)),
        track: Track::from_name(track).ok_or_else(|| corrupt(format!("a row's track is `{track}`")))?,
        id: columns.strings("owner_id")?.value(row).to_owned(),
    })
}

pub(crate) fn kind(name: &str) -> Result<Kind, IndexError> {
    Kind::from_name(name).ok_or_else(|| corrupt(format!("a row's kind is `{name}`")))
}

/// Reads [`DIRECTORY_COLUMNS`].
pub(crate) fn entries(batch: &RecordBatch) -> Result<Vec<Entry>, IndexError> {
    let columns = Columns::of(batch);
    let (keys, owners, kinds) = (columns.numbers("key")?, columns.numbers("owner_key")?, columns.strings("kind")?);
    (0..batch.num_rows())
        .map(|row| Ok(Entry { key: keys[row], owner: owners[row], kind: kind(kinds.value(row))? }))
        .collect()
}

/// Reads [`IDENTITY_COLUMNS`].
pub(crate) fn identities(batch: &RecordBatch) -> Result<Vec<(MemoryKey, String, Digest32)>, IndexError> {
    let columns = Columns::of(batch);
    let (kinds, ids, paths) = (columns.strings("kind")?, columns.strings("id")?, columns.strings("md_path")?);
    let digests = columns.column("digest")?.as_fixed_size_binary_opt().ok_or_else(|| wrong_type("digest"))?;
    (0..batch.num_rows())
        .map(|row| {
            let key = MemoryKey { owner: owner(&columns, row)?, kind: kind(kinds.value(row))?, id: ids.value(row).to_owned() };
            let digest = <[u8; 32]>::try_from(digests.value(row)).map_err(|_| wrong_type("digest"))?;
            Ok((key, paths.value(row).to_owned(), Digest32(digest)))
        })
        .collect()
}

/// Reads [`MEMORY_COLUMNS`].
pub(crate) fn memories(batch: &RecordBatch) -> Result<Vec<Memory>, IndexError> {
    let columns = Columns::of(batch);
    let kinds = columns.strings("kind")?;
    let (ids, entries, paths) = (columns.strings("id")?, columns.strings("entry_id")?, columns.strings("md_path")?);
    let (sessions, replaced) = (columns.strings("session_id")?, columns.strings("deprecated_by")?);
    let (parent_types, parents) = (columns.strings("parent_type")?, columns.strings("parent_id")?);
    let times = columns.times()?;
    let mut senders = columns.lists("sender_ids")?;
    let mut messages = columns.lists("message_ids")?;
    let bodies = columns.strings("body")?;
    (0..batch.num_rows())
        .map(|row| {
            let kind = kind(kinds.value(row))?;
            Ok(Memory {
                owner: owner(&columns, row)?,
                id: ids.value(row).to_owned(),
                entry_id: entries.value(row).to_owned(),
                path: paths.value(row).to_owned(),
                session_id: option(sessions, row),
                timestamp_us: times[row],
                parent_type: option(parent_types, row),
                parent_id: option(parents, row),
                sender_ids: std::mem::take(&mut senders[row]),
                message_ids: std::mem::take(&mut messages[row]),
                deprecated_by: option(replaced, row),
                body: parse_body(kind, bodies.value(row))?,
            })
        })
        .collect()
}

fn option(column: &StringArray, row: usize) -> Option<String> {
    column.is_valid(row).then(|| column.value(row).to_owned())
}

/// Returns the body as JSON, fields named as in [`Body`].
pub(crate) fn render_body(body: &Body) -> String {
    let value = match body {
        Body::Episode { subject, summary, content } => {
            json!({"subject": subject, "summary": summary, "content": content})
        }
        Body::AtomicFact { fact } => json!({"fact": fact}),
        Body::Foresight { foresight, evidence, start_time, end_time, duration_days } => json!({
            "foresight": foresight, "evidence": evidence, "start_time": start_time, "end_time": end_time,
            "duration_days": duration_days,
        }),
        Body::Profile { summary, explicit_info, implicit_traits, profile_timestamp_ms } => json!({
            "summary": summary, "explicit_info": explicit_info, "implicit_traits": implicit_traits,
            "profile_timestamp_ms": profile_timestamp_ms,
        }),
        Body::AgentCase { task_intent, approach, key_insight, quality_score } => json!({
            "task_intent": task_intent, "approach": approach, "key_insight": key_insight,
            "quality_score": number(*quality_score),
        }),
        Body::AgentSkill { name, description, content, confidence, maturity_score, source_case_ids, cluster_id } => json!({
            "name": name, "description": description, "content": content, "confidence": number(*confidence),
            "maturity_score": number(*maturity_score), "source_case_ids": source_case_ids, "cluster_id": cluster_id,
        }),
        Body::KnowledgeDocument { category_id, title, summary, source_name, source_type } => json!({
            "category_id": category_id, "title": title, "summary": summary, "source_name": source_name,
            "source_type": source_type,
        }),
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
        } => json!({
            "doc_id": doc_id, "category_id": category_id, "topic_index": topic_index, "topic_name": topic_name,
            "topic_path": topic_path, "summary": summary, "depth": depth, "parent_node_id": parent_node_id,
            "children_node_ids": children_node_ids, "content_labels": content_labels, "content": content,
        }),
    };
    value.to_string()
}

/// As text: JSON has no infinities, and its reader rounds the last digit.
fn number(value: f64) -> Value {
    Value::String(value.to_string())
}

/// Reads what [`render_body`] wrote.
pub(crate) fn parse_body(kind: Kind, text: &str) -> Result<Body, IndexError> {
    let mut fields = match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Fields(map),
        Ok(_) => return Err(corrupt("a row's body is not a JSON object")),
        Err(error) => return Err(IndexError { source: Some(Box::new(error)), ..corrupt("a row's body is not JSON") }),
    };
    Ok(match kind {
        Kind::Episode => Body::Episode {
            subject: fields.option("subject"),
            summary: fields.option("summary"),
            content: fields.text("content")?,
        },
        Kind::AtomicFact => Body::AtomicFact { fact: fields.text("fact")? },
        Kind::Foresight => Body::Foresight {
            foresight: fields.text("foresight")?,
            evidence: fields.text("evidence")?,
            start_time: fields.option("start_time"),
            end_time: fields.option("end_time"),
            duration_days: fields.take("duration_days").as_i64(),
        },
        Kind::Profile => Body::Profile {
            summary: fields.text("summary")?,
            explicit_info: fields.take("explicit_info"),
            implicit_traits: fields.take("implicit_traits"),
            profile_timestamp_ms: fields.whole("profile_timestamp_ms")?,
        },
        Kind::AgentCase => Body::AgentCase {
            task_intent: fields.text("task_intent")?,
            approach: fields.text("approach")?,
            key_insight: fields.option("key_insight"),
            quality_score: fields.number("quality_score")?,
        },
        Kind::AgentSkill => Body::AgentSkill {
            name: fields.text("name")?,
            description: fields.text("description")?,
            content: fields.text("content")?,
            confidence: fields.number("confidence")?,
            maturity_score: fields.number("maturity_score")?,
            source_case_ids: fields.texts("source_case_ids")?,
            cluster_id: fields.option("cluster_id"),
        },
        Kind::KnowledgeDocument => Body::KnowledgeDocument {
            category_id: fields.text("category_id")?,
            title: fields.text("title")?,
            summary: fields.text("summary")?,
            source_name: fields.option("source_name"),
            source_type: fields.option("source_type"),
        },
        Kind::KnowledgeTopic => Body::KnowledgeTopic {
            doc_id: fields.text("doc_id")?,
            category_id: fields.text("category_id")?,
            topic_index: fields.whole("topic_index")?,
            topic_name: fields.text("topic_name")?,
            topic_path: fields.text("topic_path")?,
            summary: fields.text("summary")?,
            depth: fields.whole("depth")?,
            parent_node_id: fields.option("parent_node_id"),
            children_node_ids: fields.texts("children_node_ids")?,
            content_labels: fields.texts("content_labels")?,
            content: fields.text("content")?,
        },
    })
}

struct Fields(Map<String, Value>);

impl Fields {
    fn take(&mut self, name: &str) -> Value {
        self.0.get_mut(name).map(Value::take).unwrap_or_default()
    }

    fn option(&mut self, name: &str) -> Option<String> {
        match self.take(name) {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    fn text(&mut self, name: &str) -> Result<String, IndexError> {
        self.option(name).ok_or_else(|| missing(name))
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, IndexError> {
        let Value::Array(items) = self.take(name) else { return Err(missing(name)) };
        items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(missing(name)),
            })
            .collect()
    }

    fn whole(&mut self, name: &str) -> Result<i64, IndexError> {
        self.take(name).as_i64().ok_or_else(|| missing(name))
    }

    fn number(&mut self, name: &str) -> Result<f64, IndexError> {
        self.text(name)?.parse().map_err(|_| missing(name))
    }
}

fn missing(name: &str) -> IndexError {
    corrupt(format!("a row's body lacks `{name}`"))
}
