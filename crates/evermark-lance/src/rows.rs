//! Rows as Lance stores them: the columns, and the way from a memory to a row and back.
//!
//! Someone who opens the table with a LanceDB client finds readable columns to filter by (`app_id`, `owner_id`, `kind`,
//! `timestamp`, `md_path`, …), the `text`, and the `vector`. Evermark itself reads few columns: `payload` is the whole
//! memory in core's encoding, `tokens` its analysed terms, `key` and `owner_key` are fingerprints for the
//! [directory](crate::directory). One wide column read beats ten narrow ones: see decision 0004.

use crate::directory::{Entry, key_of, owner_of};
use crate::error::{corrupt, failed};
use arrow_array::builder::{
    BinaryBuilder, FixedSizeBinaryBuilder, FixedSizeListBuilder, Float32Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder, UInt64Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use evermark_core::codec;
use evermark_core::id::{Kind, MemoryKey, Owner, Scope, Track};
use evermark_core::index::{IndexError, Indexable};
use evermark_core::memory::{Digest32, Memory};
use evermark_core::shelf::{Checked, Encoded};
use std::sync::Arc;

/// Raised when the columns change, or what is in them: an older generation is then rebuilt.
pub(crate) const SCHEMA_VERSION: u32 = 3;

/// What the directory is made of.
pub(crate) const DIRECTORY_COLUMNS: [&str; 3] = ["key", "owner_key", "kind"];
/// What [`identities`] reads.
pub(crate) const IDENTITY_COLUMNS: [&str; 8] =
    ["app_id", "project_id", "track", "owner_id", "kind", "id", "md_path", "digest"];
/// What [`memories`] reads.
pub(crate) const MEMORY_COLUMNS: [&str; 1] = ["payload"];
/// What a view is made of.
pub(crate) const VIEW_COLUMNS: [&str; 3] = ["tokens", "payload", "vector"];

const DIGEST_BYTES: i32 = 32;

/// Returns the table's columns. `dimension` is fixed for the life of a generation.
pub(crate) fn schema(dimension: Option<usize>) -> Result<SchemaRef, IndexError> {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let long = |name: &str| text(name, false);
    let list =
        |name: &str| Field::new(name, DataType::List(Arc::new(Field::new("item", DataType::Utf8, false))), false);
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
        text("deprecated_by", true),
        Field::new("digest", DataType::FixedSizeBinary(DIGEST_BYTES), false),
        long("text"),
        long("tokens"),
        Field::new("payload", DataType::Binary, false),
        Field::new("checksum", DataType::UInt64, false),
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
    let strings =
        |get: &dyn Fn(&Memory) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(memories().map(get))) };
    let options =
        |get: &dyn Fn(&Memory) -> Option<&str>| -> ArrayRef { Arc::new(StringArray::from_iter(memories().map(get))) };
    let encoded: Vec<Vec<u8>> = memories().map(codec::encode).collect();
    let mut columns: Vec<ArrayRef> = vec![
        fingerprints(rows.iter().map(|(entry, _)| entry.key)),
        fingerprints(rows.iter().map(|(entry, _)| entry.owner)),
        strings(&|memory| &memory.owner.scope.app),
        strings(&|memory| &memory.owner.scope.project),
        strings(&|memory| memory.owner.track.name()),
        strings(&|memory| &memory.owner.id),
        strings(&|memory| memory.kind().name()),
        strings(&|memory| &memory.id),
        strings(&|memory| &memory.entry_id),
        strings(&|memory| &memory.path),
        options(&|memory| memory.session_id.as_deref()),
        times(memories().map(|memory| memory.timestamp_us)),
        options(&|memory| memory.parent_type.as_deref()),
        options(&|memory| memory.parent_id.as_deref()),
        lists(memories().map(|memory| memory.sender_ids.as_slice())),
        options(&|memory| memory.deprecated_by.as_deref()),
        digests(encoded.iter().map(|bytes| Digest32::of(bytes)))?,
        Arc::new(StringArray::from_iter_values(memories().map(|memory| memory.body.search_text()))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, row)| &row.tokens))),
        payloads(&encoded),
        fingerprints(rows.iter().map(|(_, row)| checksum(&row.tokens, row.vector.as_deref()))),
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

fn payloads(values: &[Vec<u8>]) -> ArrayRef {
    let mut builder = BinaryBuilder::new();
    values.iter().for_each(|value| builder.append_value(value));
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

/// Returns the checksum of what a row is searched by. What it says has one already: the digest.
fn checksum(tokens: &str, vector: Option<&[f32]>) -> u64 {
    let mut bytes = Vec::with_capacity(tokens.len() + 4 * vector.map_or(0, <[f32]>::len));
    bytes.extend_from_slice(tokens.as_bytes());
    for component in vector.unwrap_or_default() {
        bytes.extend_from_slice(&component.to_le_bytes());
    }
    let digest = Digest32::of(&bytes).0;
    u64::from_le_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}

/// Checks that a batch of all columns says the same everywhere: Lance has no checksums, and reads flipped bits as numbers.
///
/// Errors: [`evermark_core::error::ErrorKind::Corrupt`] naming the first column that does not fit.
pub(crate) fn check(batch: &RecordBatch) -> Result<(), IndexError> {
    let columns = Columns::of(batch);
    let (texts, tokens, vectors) = (columns.strings("text")?, columns.strings("tokens")?, columns.vectors()?);
    let (checksums, keys, owners) =
        (columns.numbers("checksum")?, columns.numbers("key")?, columns.numbers("owner_key")?);
    let identities = identities(batch)?;
    let rows = memories(batch)?.into_iter().zip(identities).enumerate();
    for (row, (memory, (key, path, digest))) in rows {
        let unlike = |what: &str| Err(corrupt(format!("the index's column `{what}` is damaged at row {row}")));
        if memory.digest() != digest {
            return unlike("payload");
        }
        if memory.key() != key || memory.path != path {
            return unlike("id");
        }
        if memory.body.search_text() != texts.value(row) {
            return unlike("text");
        }
        let entry = entry(&key);
        if entry.key != keys[row] || entry.owner != owners[row] {
            return unlike("key");
        }
        if checksum(tokens.value(row), vectors.get(row)) != checksums[row] {
            return unlike("tokens` or `vector");
        }
    }
    Ok(())
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
            let key = MemoryKey {
                owner: owner(&columns, row)?,
                kind: kind(kinds.value(row))?,
                id: ids.value(row).to_owned(),
            };
            let digest = <[u8; 32]>::try_from(digests.value(row)).map_err(|_| wrong_type("digest"))?;
            Ok((key, paths.value(row).to_owned(), Digest32(digest)))
        })
        .collect()
}

/// Reads [`MEMORY_COLUMNS`].
pub(crate) fn memories(batch: &RecordBatch) -> Result<Vec<Memory>, IndexError> {
    payloads_of(batch, |_, bytes| codec::decode(bytes))
}

/// Checks that [`memories`] could read them.
pub(crate) fn checked(batch: &RecordBatch) -> Result<Vec<Checked>, IndexError> {
    payloads_of(batch, |_, bytes| Checked::of(bytes))
}

/// The same as [`memories`], only as far as a view wants it, of a batch that was checked.
pub(crate) fn encoded<'a>(batch: &'a RecordBatch, checked: &[Checked]) -> Result<Vec<Encoded<'a>>, IndexError> {
    payloads_of(batch, |row, bytes| Encoded::of(bytes, checked[row]))
}

fn payloads_of<'a, T>(
    batch: &'a RecordBatch,
    read: impl Fn(usize, &'a [u8]) -> Result<T, codec::CodecError>,
) -> Result<Vec<T>, IndexError> {
    let payloads = Columns::of(batch).column("payload")?.as_binary_opt::<i32>().ok_or_else(|| wrong_type("payload"))?;
    let damaged = |error| IndexError { source: Some(Box::new(error)), ..corrupt("a row's payload is damaged") };
    (0..batch.num_rows()).map(|row| read(row, payloads.value(row)).map_err(damaged)).collect()
}
