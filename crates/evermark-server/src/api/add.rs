//! `POST /memory/add` and `POST /memory/flush`.

use super::default_scope;
use crate::check::{Fields, Given, Invalid};
use evermark_core::id::Scope;
use evermark_core::memory::{ContentItem, Role};
use evermark_engine::add::{AddRequest, FlushRequest, NewMessage, Progress, Receipt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;
use utoipa::ToSchema;

/// Messages in one request at most: EverOS's limit.
const MESSAGES_MAX: usize = 500;
/// How long `wait` waits when it is not told, and at most. Clients give up on a silent answer after a minute or so.
const WAIT_DEFAULT_MS: i64 = 10_000;
pub(crate) const WAIT_MAX_MS: i64 = 60_000;
/// Timestamps below this are seconds; the last millisecond of the year 9999.
const SECONDS_BELOW: i64 = 1_000_000_000_000;
const TIMESTAMP_MAX_MS: i64 = 253_402_300_799_999;

/// Messages of one session to be remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = MemorizeAddRequest)]
pub struct AddBody {
    /// Any characters.
    #[schema(min_length = 1, max_length = 128)]
    pub session_id: String,
    /// Not `.`, `..` or `default_app`.
    #[serde(default = "default_scope")]
    #[schema(min_length = 1, max_length = 128, pattern = "^[a-zA-Z0-9_.@+-]+$", default = "default")]
    pub app_id: String,
    /// Not `.`, `..` or `default_project`.
    #[serde(default = "default_scope")]
    #[schema(min_length = 1, max_length = 128, pattern = "^[a-zA-Z0-9_.@+-]+$", default = "default")]
    pub project_id: String,
    #[schema(min_items = 1, max_items = 500)]
    pub messages: Vec<MessageBody>,
    /// Keep the messages in the inbox; extract later.
    #[serde(default)]
    #[schema(default = false)]
    pub defer_extraction: bool,
    /// Answer 202 as soon as the messages are durable; extraction follows in the background.
    #[serde(default)]
    #[schema(default = false)]
    pub async_mode: bool,
    /// Answer once what was extracted can be searched. Ours; also a query parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// How long `wait` may take; afterwards the answer says `indexed: false`. Ours; also a query parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 60000, default = 10000)]
    pub wait_timeout_ms: Option<u64>,
}

/// A session whose open messages become memories now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = MemorizeFlushRequest)]
pub struct FlushBody {
    /// Any characters.
    #[schema(min_length = 1, max_length = 128)]
    pub session_id: String,
    /// Not `.`, `..` or `default_app`.
    #[serde(default = "default_scope")]
    #[schema(min_length = 1, max_length = 128, pattern = "^[a-zA-Z0-9_.@+-]+$", default = "default")]
    pub app_id: String,
    /// Not `.`, `..` or `default_project`.
    #[serde(default = "default_scope")]
    #[schema(min_length = 1, max_length = 128, pattern = "^[a-zA-Z0-9_.@+-]+$", default = "default")]
    pub project_id: String,
    /// Answer once what was extracted can be searched. Ours; also a query parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// How long `wait` may take; afterwards the answer says `indexed: false`. Ours; also a query parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 60000, default = 10000)]
    pub wait_timeout_ms: Option<u64>,
}

/// What an add or flush waits for before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    Indexed,
}

/// One message as it was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = MessageItemDTO)]
pub struct MessageBody {
    /// Not `.` or `..`.
    #[schema(min_length = 1, max_length = 128, pattern = "^[a-zA-Z0-9_.@+-]+$")]
    pub sender_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
    pub role: RoleName,
    /// Milliseconds since 1970; below 10^12, seconds.
    #[schema(exclusive_minimum = 0)]
    pub timestamp: i64,
    pub content: Content,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// Required when `role` is `tool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleName {
    User,
    Assistant,
    Tool,
}

const ROLES: [(&str, RoleName); 3] =
    [("user", RoleName::User), ("assistant", RoleName::Assistant), ("tool", RoleName::Tool)];

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::User => Self::User,
            RoleName::Assistant => Self::Assistant,
            RoleName::Tool => Self::Tool,
        }
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Assistant => Self::Assistant,
            Role::Tool => Self::Tool,
        }
    }
}

/// What was said: text, or several parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ContentItemDTO)]
#[serde(deny_unknown_fields)]
pub struct ContentPart {
    #[serde(rename = "type")]
    pub kind: PartKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub extras: Option<Map<String, Value>>,
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    Text,
    Image,
    Audio,
    Doc,
    Pdf,
    Html,
    Email,
}

const PARTS: [(&str, PartKind); 7] = [
    ("text", PartKind::Text),
    ("image", PartKind::Image),
    ("audio", PartKind::Audio),
    ("doc", PartKind::Doc),
    ("pdf", PartKind::Pdf),
    ("html", PartKind::Html),
    ("email", PartKind::Email),
];

impl PartKind {
    pub(crate) fn name(self) -> &'static str {
        PARTS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// A call that an assistant asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ToolCallDTO)]
pub struct ToolCall {
    pub id: String,
    #[serde(rename = "type", default = "function")]
    #[schema(default = "function")]
    pub kind: String,
    pub function: ToolFunction,
}

/// The function of a [`ToolCall`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ToolFunctionDTO)]
pub struct ToolFunction {
    pub name: String,
    /// As the model wrote them; usually a JSON object.
    pub arguments: String,
}

fn function() -> String {
    "function".to_owned()
}

impl AddBody {
    /// Returns the request that `body` is. Unknown keys are ignored, except in content parts.
    pub fn read(body: &Value) -> Result<Self, Invalid> {
        let fields = Fields::of(body, "")?;
        let (session_id, app_id, project_id) = place(&fields)?;
        let messages = fields.field("messages").required()?;
        let too_many = messages.value.as_array().map_or(0, Vec::len);
        if too_many > MESSAGES_MAX {
            return Err(messages
                .wrong(format!("List should have at most {MESSAGES_MAX} items after validation, not {too_many}")));
        }
        let none = messages.wrong("List should have at least 1 item after validation, not 0");
        let messages = messages.list()?.into_iter().map(MessageBody::read).collect::<Result<Vec<_>, _>>()?;
        if messages.is_empty() {
            return Err(none);
        }
        let defer_extraction = fields.field("defer_extraction").or(false, Given::boolean)?;
        let async_mode = fields.field("async_mode").or(false, Given::boolean)?;
        let (wait, wait_timeout_ms) = waiting(&fields)?;
        Ok(Self { session_id, app_id, project_id, messages, defer_extraction, async_mode, wait, wait_timeout_ms })
    }
}

impl FlushBody {
    /// Returns the request that `body` is. Unknown keys are ignored.
    pub fn read(body: &Value) -> Result<Self, Invalid> {
        let fields = Fields::of(body, "")?;
        let (session_id, app_id, project_id) = place(&fields)?;
        let (wait, wait_timeout_ms) = waiting(&fields)?;
        Ok(Self { session_id, app_id, project_id, wait, wait_timeout_ms })
    }
}

fn place(fields: &Fields<'_>) -> Result<(String, String, String), Invalid> {
    Ok((
        fields.field("session_id").required()?.short()?,
        fields.field("app_id").or(default_scope(), |app| app.identifier(Some("default_app")))?,
        fields.field("project_id").or(default_scope(), |project| project.identifier(Some("default_project")))?,
    ))
}

fn waiting(fields: &Fields<'_>) -> Result<(Option<Wait>, Option<u64>), Invalid> {
    let wait = fields.field("wait").optional(|wait| wait.choice(&[("indexed", Wait::Indexed)]))?;
    let timeout = fields.field("wait_timeout_ms").optional(|timeout| timeout.integer_within(1, WAIT_MAX_MS))?;
    Ok((wait, timeout.map(i64::unsigned_abs)))
}

impl MessageBody {
    fn read(message: Given<'_>) -> Result<Self, Invalid> {
        let fields = message.fields()?;
        let sender_id = fields.field("sender_id").required()?.identifier(None)?;
        let sender_name = fields.field("sender_name").optional(Given::string)?;
        let role = fields.field("role").required()?.choice(&ROLES)?;
        let timestamp = fields.field("timestamp").required()?;
        let (early, late) = (
            timestamp.wrong("Input should be greater than 0"),
            timestamp.wrong(format!("Input should be less than or equal to {TIMESTAMP_MAX_MS}")),
        );
        let timestamp = timestamp.integer()?;
        if timestamp <= 0 {
            return Err(early);
        }
        // Seconds are turned into milliseconds further in: what does not fit the calendar then is refused here.
        if timestamp > TIMESTAMP_MAX_MS || (timestamp < SECONDS_BELOW && timestamp > TIMESTAMP_MAX_MS / 1000) {
            return Err(late);
        }
        let content = Content::read(fields.field("content").required()?)?;
        let tool_calls = fields
            .field("tool_calls")
            .optional(|calls| calls.list()?.into_iter().map(ToolCall::read).collect::<Result<Vec<_>, _>>())?;
        let tool_call_id = fields.field("tool_call_id").optional(Given::string)?;
        if role == RoleName::Tool && tool_call_id.as_deref().unwrap_or_default().is_empty() {
            return Err(fields.wrong("tool_call_id is required when role is 'tool'"));
        }
        Ok(Self { sender_id, sender_name, role, timestamp, content, tool_calls, tool_call_id })
    }
}

impl Content {
    fn read(content: Given<'_>) -> Result<Self, Invalid> {
        // Whatever is wrong with a part, the text's own error comes first in EverOS's list of both alternatives.
        let wrong =
            Given { value: content.value, at: format!("{}.str", content.at) }.wrong("Input should be a valid string");
        match content.value {
            Value::String(text) => Ok(Self::Text(text.clone())),
            Value::Array(_) => {
                let parts = content.list()?.into_iter().map(ContentPart::read).collect::<Result<Vec<_>, _>>();
                parts.map(Self::Parts).map_err(|_| wrong)
            }
            _ => Err(wrong),
        }
    }

    /// Returns the parts as the engine keeps them.
    fn into_items(self) -> Vec<ContentItem> {
        match self {
            Self::Text(text) => {
                let raw = json!({ "type": "text", "text": text });
                vec![ContentItem { text: Some(text), raw }]
            }
            Self::Parts(parts) => parts.into_iter().map(ContentItem::from).collect(),
        }
    }
}

impl ContentPart {
    fn read(part: Given<'_>) -> Result<Self, Invalid> {
        let fields = part.fields()?;
        let part = Self {
            kind: fields.field("type").required()?.choice(&PARTS)?,
            text: fields.field("text").optional(Given::string)?,
            uri: fields.field("uri").optional(Given::string)?,
            base64: fields.field("base64").optional(Given::string)?,
            ext: fields.field("ext").optional(Given::string)?,
            name: fields.field("name").optional(Given::string)?,
            extras: fields.field("extras").optional(|extras| match extras.value.as_object() {
                Some(map) => Ok(map.clone()),
                None => Err(extras.wrong("Input should be a valid dictionary")),
            })?,
        };
        fields.only(&["type", "text", "uri", "base64", "ext", "name", "extras"])?;
        Ok(part)
    }
}

impl From<ContentPart> for ContentItem {
    fn from(part: ContentPart) -> Self {
        let mut raw = Map::new();
        raw.insert("type".to_owned(), part.kind.name().into());
        let texts = [
            ("text", &part.text),
            ("uri", &part.uri),
            ("base64", &part.base64),
            ("ext", &part.ext),
            ("name", &part.name),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                raw.insert(key.to_owned(), value.as_str().into());
            }
        }
        if let Some(extras) = part.extras {
            raw.insert("extras".to_owned(), Value::Object(extras));
        }
        Self { text: part.text, raw: Value::Object(raw) }
    }
}

impl ToolCall {
    fn read(call: Given<'_>) -> Result<Self, Invalid> {
        let fields = call.fields()?;
        let id = fields.field("id").required()?.string()?;
        let kind = fields.field("type").or(function(), Given::string)?;
        let called = fields.field("function").required()?.fields()?;
        let name = called.field("name").required()?.string()?;
        let arguments = called.field("arguments").required()?.string()?;
        Ok(Self { id, kind, function: ToolFunction { name, arguments } })
    }

    fn into_value(self) -> Value {
        json!({
            "id": self.id,
            "type": self.kind,
            "function": { "name": self.function.name, "arguments": self.function.arguments },
        })
    }
}

fn patience(wait: Option<Wait>, timeout_ms: Option<u64>) -> Option<Duration> {
    wait.map(|Wait::Indexed| Duration::from_millis(timeout_ms.unwrap_or(WAIT_DEFAULT_MS.unsigned_abs())))
}

impl AddBody {
    /// Returns how long the request may wait for the index.
    pub fn patience(&self) -> Option<Duration> {
        patience(self.wait, self.wait_timeout_ms)
    }
}

impl FlushBody {
    /// Returns how long the request may wait for the index.
    pub fn patience(&self) -> Option<Duration> {
        patience(self.wait, self.wait_timeout_ms)
    }
}

impl From<AddBody> for AddRequest {
    fn from(body: AddBody) -> Self {
        Self {
            wait_indexed: body.patience(),
            scope: Scope::new(body.app_id, body.project_id),
            session_id: body.session_id,
            messages: body.messages.into_iter().map(NewMessage::from).collect(),
            defer_extraction: body.defer_extraction,
            queued: body.async_mode,
        }
    }
}

impl From<FlushBody> for FlushRequest {
    fn from(body: FlushBody) -> Self {
        Self {
            wait_indexed: body.patience(),
            scope: Scope::new(body.app_id, body.project_id),
            session_id: body.session_id,
        }
    }
}

impl From<MessageBody> for NewMessage {
    fn from(message: MessageBody) -> Self {
        Self {
            sender_id: message.sender_id,
            sender_name: message.sender_name,
            role: message.role.into(),
            timestamp: message.timestamp,
            items: message.content.into_items(),
            tool_calls: message.tool_calls.map(|calls| calls.into_iter().map(ToolCall::into_value).collect()),
            tool_call_id: message.tool_call_id,
        }
    }
}

/// The answer to an add that was carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AddResponseData)]
pub struct AddData {
    /// Messages in the request.
    pub message_count: usize,
    pub status: AddStatus,
    pub receipt: ReceiptItem,
}

/// How far an add has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddStatus {
    /// Durable in the inbox; nothing extracted yet.
    Accumulated,
    /// At least one episode is on disk.
    Extracted,
}

/// The answer to a flush that was carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = FlushResponseData)]
pub struct FlushData {
    pub status: FlushStatus,
    pub receipt: ReceiptItem,
}

/// What a flush did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlushStatus {
    /// At least one episode is on disk.
    Extracted,
    /// There was nothing to extract.
    NoExtraction,
}

/// The answer to a request whose messages are durable and whose extraction follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AcceptedResponseData)]
pub struct AcceptedData {
    pub status: QueuedStatus,
    /// Messages in the request; 0 for a flush.
    pub message_count: usize,
    /// Messages of the session that wait for extraction.
    pub pending: usize,
    pub receipt: ReceiptItem,
}

/// The one status of [`AcceptedData`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueuedStatus {
    Queued,
}

/// What is true of a request when it is answered. Ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Receipt)]
pub struct ReceiptItem {
    /// Messages written to the inbox by this request.
    pub stored: usize,
    /// Messages of this request that were there already, or had been extracted.
    pub duplicates: usize,
    /// Messages of the session still waiting in the inbox.
    pub open: usize,
    pub extracted: ExtractedItem,
    /// Whether everything this request wrote can be searched now; `null` when it wrote nothing.
    pub indexed: Option<bool>,
}

/// What a request made. Ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Extracted)]
pub struct ExtractedItem {
    pub episodes: Vec<ExtractedEpisode>,
    /// How many atomic facts.
    pub facts: usize,
}

/// An episode that a request made. Ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExtractedEpisode {
    pub id: String,
    pub owner_id: String,
    /// Markdown file, relative to the root.
    pub path: String,
}

impl From<Receipt> for ReceiptItem {
    fn from(receipt: Receipt) -> Self {
        Self {
            stored: receipt.stored,
            duplicates: receipt.duplicates,
            open: receipt.open,
            extracted: ExtractedItem {
                episodes: receipt
                    .episodes
                    .into_iter()
                    .map(|made| ExtractedEpisode { id: made.id, owner_id: made.owner_id, path: made.path })
                    .collect(),
                facts: receipt.facts,
            },
            indexed: receipt.indexed,
        }
    }
}

/// Either answer to an add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AddAnswer {
    Accepted(AcceptedData),
    Done(AddData),
}

/// Either answer to a flush.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FlushAnswer {
    Accepted(AcceptedData),
    Done(FlushData),
}

impl From<Receipt> for AddAnswer {
    fn from(receipt: Receipt) -> Self {
        let message_count = receipt.message_count;
        let status = match receipt.progress {
            Progress::Queued => return Self::Accepted(AcceptedData::new(message_count, receipt)),
            Progress::Accumulated | Progress::NothingToExtract => AddStatus::Accumulated,
            Progress::Extracted => AddStatus::Extracted,
        };
        Self::Done(AddData { message_count, status, receipt: receipt.into() })
    }
}

impl From<Receipt> for FlushAnswer {
    fn from(receipt: Receipt) -> Self {
        let status = match receipt.progress {
            Progress::Queued => return Self::Accepted(AcceptedData::new(0, receipt)),
            Progress::Accumulated | Progress::NothingToExtract => FlushStatus::NoExtraction,
            Progress::Extracted => FlushStatus::Extracted,
        };
        Self::Done(FlushData { status, receipt: receipt.into() })
    }
}

impl AcceptedData {
    fn new(message_count: usize, receipt: Receipt) -> Self {
        Self { status: QueuedStatus::Queued, message_count, pending: receipt.open, receipt: receipt.into() }
    }
}
