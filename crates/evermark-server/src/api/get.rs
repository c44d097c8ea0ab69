//! `POST /memory/get`.

use super::default_scope;
use super::memory::{AgentCaseItem, AgentSkillItem, EpisodeItem, MemoryItem, ProfileItem};
use super::search::{FilterNode, filter, one_owner, owner, owners};
use crate::check::{Fields, Given, Invalid};
use evermark_core::id::Kind;
use evermark_engine::get::{GetAnswer, GetRequest};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Pages beyond this are empty like this one; it keeps `page * page_size` within bounds.
const PAGE_MAX: i64 = 1 << 40;

/// One page of an owner's memories of one kind. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = GetRequest)]
#[serde(deny_unknown_fields)]
pub struct GetBody {
    /// Whose memories: exactly one of this and `agent_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub agent_id: Option<String>,
    #[serde(default = "default_scope")]
    #[schema(default = "default")]
    pub app_id: String,
    #[serde(default = "default_scope")]
    #[schema(default = "default")]
    pub project_id: String,
    /// `episode` and `profile` for users, `agent_case` and `agent_skill` for agents.
    pub memory_type: MemoryType,
    #[serde(default = "first")]
    #[schema(minimum = 1, default = 1)]
    pub page: u64,
    #[serde(default = "twenty")]
    #[schema(minimum = 1, maximum = 100, default = 20)]
    pub page_size: u64,
    /// Accepted for EverOS's clients; the order is always by `timestamp`.
    #[serde(default)]
    pub sort_by: SortBy,
    #[serde(default)]
    pub sort_order: SortOrder,
    /// As in search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<FilterNode>)]
    pub filters: Option<Value>,
}

/// The kinds that can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = GetMemoryType)]
#[serde(rename_all = "snake_case")]
pub enum MemoryType {
    Episode,
    Profile,
    AgentCase,
    AgentSkill,
}

const TYPES: [(&str, MemoryType); 4] = [
    ("episode", MemoryType::Episode),
    ("profile", MemoryType::Profile),
    ("agent_case", MemoryType::AgentCase),
    ("agent_skill", MemoryType::AgentSkill),
];

impl MemoryType {
    /// Returns the name used on the wire.
    pub fn name(self) -> &'static str {
        Kind::from(self).name()
    }

    fn is_of_users(self) -> bool {
        match self {
            Self::Episode | Self::Profile => true,
            Self::AgentCase | Self::AgentSkill => false,
        }
    }
}

impl From<MemoryType> for Kind {
    fn from(kind: MemoryType) -> Self {
        match kind {
            MemoryType::Episode => Self::Episode,
            MemoryType::Profile => Self::Profile,
            MemoryType::AgentCase => Self::AgentCase,
            MemoryType::AgentSkill => Self::AgentSkill,
        }
    }
}

/// What a listing is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SortBy {
    #[default]
    Timestamp,
    UpdatedAt,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SortOrder {
    Asc,
    #[default]
    Desc,
}

fn first() -> u64 {
    1
}

fn twenty() -> u64 {
    20
}

impl GetBody {
    /// Returns the request that `body` is.
    pub fn read(body: &Value) -> Result<Self, Invalid> {
        let fields = Fields::of(body, "")?;
        let (user_id, agent_id) = owners(&fields)?;
        let read = Self {
            user_id,
            agent_id,
            app_id: fields.field("app_id").or(default_scope(), Given::string)?,
            project_id: fields.field("project_id").or(default_scope(), Given::string)?,
            memory_type: fields.field("memory_type").required()?.choice(&TYPES)?,
            page: fields.field("page").or(1, |page| page.integer_within(1, i64::MAX))?.min(PAGE_MAX).unsigned_abs(),
            page_size: fields.field("page_size").or(20, |size| size.integer_within(1, 100))?.unsigned_abs(),
            sort_by: fields.field("sort_by").or(SortBy::default(), |by| {
                by.choice(&[("timestamp", SortBy::Timestamp), ("updated_at", SortBy::UpdatedAt)])
            })?,
            sort_order: fields.field("sort_order").or(SortOrder::default(), |order| {
                order.choice(&[("asc", SortOrder::Asc), ("desc", SortOrder::Desc)])
            })?,
            filters: fields.field("filters").optional(filter)?,
        };
        fields.only(&[
            "user_id",
            "agent_id",
            "app_id",
            "project_id",
            "memory_type",
            "page",
            "page_size",
            "sort_by",
            "sort_order",
            "filters",
        ])?;
        one_owner(&fields, &read.user_id, &read.agent_id)?;
        let kind = read.memory_type;
        if kind.is_of_users() != read.user_id.is_some() {
            let owner = if read.user_id.is_some() { "user_id" } else { "agent_id" };
            return Err(fields.wrong(&format!("memory_type '{}' is not valid when {owner} is set", kind.name())));
        }
        Ok(read)
    }
}

impl From<GetBody> for GetRequest {
    fn from(body: GetBody) -> Self {
        Self {
            owner: owner(body.app_id, body.project_id, body.user_id, body.agent_id),
            kind: body.memory_type.into(),
            page: usize::try_from(body.page).unwrap_or(usize::MAX),
            page_size: usize::try_from(body.page_size).unwrap_or(usize::MAX),
            descending: body.sort_order == SortOrder::Desc,
            filters: body.filters,
        }
    }
}

/// One page; only the list of the kind asked for is filled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GetData {
    pub episodes: Vec<EpisodeItem>,
    pub profiles: Vec<ProfileItem>,
    pub agent_cases: Vec<AgentCaseItem>,
    pub agent_skills: Vec<AgentSkillItem>,
    /// How many there are in all.
    pub total_count: usize,
    /// How many are on this page.
    pub count: usize,
}

impl GetData {
    /// Returns the engine's answer as the wire shows it, its times in `zone`.
    pub fn of(answer: GetAnswer, zone: &TimeZone) -> Self {
        let mut data = Self { total_count: answer.total, count: answer.memories.len(), ..Self::default() };
        for memory in answer.memories {
            match MemoryItem::of(memory, zone) {
                Some(MemoryItem::Episode(item)) => data.episodes.push(item),
                Some(MemoryItem::Profile(item)) => data.profiles.push(item),
                Some(MemoryItem::AgentCase(item)) => data.agent_cases.push(item),
                Some(MemoryItem::AgentSkill(item)) => data.agent_skills.push(item),
                None => data.count -= 1,
            }
        }
        data
    }
}
