//! The words of the wire: what HTTP, the OpenAPI document, `--json` and the client all read and write.
//!
//! Requests are read through `read(&Value)`, which checks them as EverOS does; derived deserialising is for trusted
//! text, such as an answer of our own daemon. Answers are made from the engine's and may be read back. Keys that EverOS
//! does not have only ever add to an answer.

pub mod add;
pub mod get;
pub mod health;
pub mod index;
pub mod memory;
pub mod search;
pub mod status;
pub mod work;

pub use crate::check::Invalid;
pub use add::{
    AcceptedData, AddAnswer, AddBody, AddData, Content, ContentPart, FlushAnswer, FlushBody, FlushData, MessageBody,
    ReceiptItem, RoleName, Wait,
};
pub use get::{GetBody, GetData};
pub use health::Health;
pub use index::IndexItem;
pub use memory::{AgentCaseItem, AgentSkillItem, EpisodeItem, FactItem, MemoryItem, ProfileItem, Source};
pub use search::{
    DegradedItem, ExplainItem, JudgedItem, MethodName, PartsItem, RoundItem, SearchBody, SearchData, UnprocessedItem,
    WhyNotItem,
};
pub use status::{Problem, StatusData};
pub use work::{
    CompactData, DryRunBody, InspectData, PlanData, PruneData, RebuildData, SyncBody, SyncData, VerifyData, WorkEvent,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A success: the request's id and what was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Envelope<T> {
    /// 32 hexadecimal digits, also in the `X-Request-Id` header.
    pub request_id: String,
    pub data: T,
}

/// A failure: the request's id and what went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// 32 hexadecimal digits, also in the `X-Request-Id` header.
    pub request_id: String,
    pub error: FailureDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailureDetail {
    pub code: Code,
    /// A sentence for a person; its wording may change, except for validation texts, which are EverOS's.
    pub message: String,
    /// When, in ISO 8601 with an offset.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// The path of the request.
    pub path: String,
}

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    InvalidInput,
    ProviderNotConfigured,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    PayloadTooLarge,
    UnsupportedFormat,
    QueueSaturated,
    ExternalServiceUnavailable,
    CapabilityUnavailable,
    InsufficientStorage,
    ConfigurationError,
    InternalError,
}

impl Code {
    /// Returns the name used on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidInput => "INVALID_INPUT",
            Self::ProviderNotConfigured => "PROVIDER_NOT_CONFIGURED",
            Self::BadRequest => "BAD_REQUEST",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::UnsupportedFormat => "UNSUPPORTED_FORMAT",
            Self::QueueSaturated => "QUEUE_SATURATED",
            Self::ExternalServiceUnavailable => "EXTERNAL_SERVICE_UNAVAILABLE",
            Self::CapabilityUnavailable => "CAPABILITY_UNAVAILABLE",
            Self::InsufficientStorage => "INSUFFICIENT_STORAGE",
            Self::ConfigurationError => "CONFIGURATION_ERROR",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }
}

/// The value of a scope that was not given.
pub(crate) fn default_scope() -> String {
    "default".to_owned()
}
