//! Which rows a question may see: the filter grammar of `/memory/search` and `/memory/get`.
//!
//! ```text
//! node   := { "AND": [node…]?, "OR": [node…]?, <field>: clause … }     the keys of one node are ANDed
//! clause := scalar | { op: value, … }                                  a scalar means eq; several ops are ANDed
//! op     := eq ne gt gte lt lte in
//! ```
//! A filter is checked in full when it is parsed: evaluation cannot fail. A row without a value never matches a clause
//! on it, `ne` included, as in SQL. Texts are ordered by their bytes.

mod parse;

#[cfg(test)]
mod tests;

use crate::error::ErrorKind;
use crate::id::Kind;
use crate::memory::Memory;
use jiff::tz::TimeZone;
use serde_json::Value;

/// Deepest nesting of AND and OR. Ours: people write two levels, programs a few more.
pub const DEPTH_MAX: usize = 32;

/// Most clauses and listed values in one filter. Ours: each is compared with each row.
pub const VALUES_MAX: usize = 4096;

/// A field that a filter may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    SessionId,
    Timestamp,
    ParentType,
    ParentId,
    SenderId,
}

impl Field {
    pub const ALL: [Self; 5] = [Self::SessionId, Self::Timestamp, Self::ParentType, Self::ParentId, Self::SenderId];

    /// Returns the name used in requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::SessionId => "session_id",
            Self::Timestamp => "timestamp",
            Self::ParentType => "parent_type",
            Self::ParentId => "parent_id",
            Self::SenderId => "sender_id",
        }
    }

    /// Returns the field with this [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Tells whether memories of this kind have such a column. Source: contract D.3.
    pub fn is_of(self, kind: Kind) -> bool {
        match kind {
            Kind::Episode | Kind::AtomicFact | Kind::Foresight => true,
            Kind::AgentCase => self != Self::SenderId,
            Kind::Profile | Kind::AgentSkill | Kind::KnowledgeDocument | Kind::KnowledgeTopic => false,
        }
    }
}

/// Why a filter was refused. Every variant is the caller's mistake: [`ErrorKind::Invalid`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("{at} must be {expected}")]
    Shape { at: String, expected: &'static str },
    #[error("filter field `{field}` is set by the request itself (owner, app, project) and cannot be filtered on")]
    Reserved { field: String },
    #[error("unsupported filter field: `{field}`")]
    UnknownField { field: String },
    #[error("unsupported operator `{op}` on filter field `{field}`")]
    UnknownOperator { field: String, op: String },
    #[error("empty operator map for filter field `{field}`")]
    NoOperator { field: String },
    #[error("value for filter field `{field}` must be {expected}")]
    Value { field: String, expected: &'static str },
    #[error("filters nest deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("filters hold more than {VALUES_MAX} clauses and values")]
    TooLarge,
    #[error("memories of kind `{kind}` have no field `{field}` to filter on")]
    NotOfKind { field: &'static str, kind: Kind },
}

impl FilterError {
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    /// Returns the field at fault, where there is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Reserved { field }
            | Self::UnknownField { field }
            | Self::UnknownOperator { field, .. }
            | Self::NoOperator { field }
            | Self::Value { field, .. } => Some(field),
            Self::NotOfKind { field, .. } => Some(field),
            Self::Shape { .. } | Self::TooDeep | Self::TooLarge => None,
        }
    }
}

/// The columns that filters read.
pub trait Row {
    fn session_id(&self) -> Option<&str>;
    /// Microseconds since 1970 (UTC).
    fn timestamp_us(&self) -> Option<i64>;
    fn parent_type(&self) -> Option<&str>;
    fn parent_id(&self) -> Option<&str>;
    fn sender_ids(&self) -> impl Iterator<Item = &str>;
}

impl Row for Memory {
    fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    fn timestamp_us(&self) -> Option<i64> {
        self.timestamp_us
    }

    fn parent_type(&self) -> Option<&str> {
        self.parent_type.as_deref()
    }

    fn parent_id(&self) -> Option<&str> {
        self.parent_id.as_deref()
    }

    fn sender_ids(&self) -> impl Iterator<Item = &str> {
        self.sender_ids.iter().map(String::as_str)
    }
}

/// A compiled filter. The default lets everything through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    root: Option<Node>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Text {
        field: Field,
        op: Compare,
        value: String,
    },
    TextIn {
        field: Field,
        values: Vec<String>,
    },
    Time {
        op: Compare,
        us: i64,
    },
    TimeIn {
        us: Vec<i64>,
    },
    /// Any of these among the senders.
    Sender {
        ids: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
}

impl Filter {
    /// Returns the filter that lets everything through.
    pub fn everything() -> Self {
        Self { root: None }
    }

    /// Compiles the `filters` of a request; `null` lets everything through.
    ///
    /// `zone` reads times that name no zone. Numbers from 1e12 on are milliseconds, smaller ones seconds, since 1970.
    pub fn parse(filters: &Value, zone: &TimeZone) -> Result<Self, FilterError> {
        parse::filter(filters, zone).map(|root| Self { root })
    }

    /// Returns the session a filter names at its top level as a plain text, the form that asks for waiting messages.
    pub fn top_level_session(filters: &Value) -> Option<&str> {
        filters.get("session_id")?.as_str()
    }

    /// Tells whether no row can fail it.
    pub fn is_everything(&self) -> bool {
        self.root.is_none()
    }

    /// Returns the fields it reads, each once, in a fixed order.
    pub fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        if let Some(root) = &self.root {
            root.collect(&mut fields);
        }
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// Refuses a filter on a field that memories of this kind do not have.
    pub fn check_kind(&self, kind: Kind) -> Result<(), FilterError> {
        match self.fields().into_iter().find(|field| !field.is_of(kind)) {
            Some(field) => Err(FilterError::NotOfKind { field: field.name(), kind }),
            None => Ok(()),
        }
    }

    /// Tells whether a row passes.
    pub fn matches<R: Row + ?Sized>(&self, row: &R) -> bool {
        self.root.as_ref().is_none_or(|root| root.matches(row))
    }
}

impl Node {
    fn collect(&self, fields: &mut Vec<Field>) {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.collect(fields)),
            Self::Text { field, .. } | Self::TextIn { field, .. } => fields.push(*field),
            Self::Time { .. } | Self::TimeIn { .. } => fields.push(Field::Timestamp),
            Self::Sender { .. } => fields.push(Field::SenderId),
        }
    }

    fn matches<R: Row + ?Sized>(&self, row: &R) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.matches(row)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(row)),
            Self::Text { field, op, value } => {
                text(row, *field).is_some_and(|found| op.holds(found.cmp(value.as_str())))
            }
            Self::TextIn { field, values } => {
                text(row, *field).is_some_and(|found| values.iter().any(|value| value == found))
            }
            Self::Time { op, us } => row.timestamp_us().is_some_and(|found| op.holds(found.cmp(us))),
            Self::TimeIn { us } => row.timestamp_us().is_some_and(|found| us.contains(&found)),
            Self::Sender { ids } => row.sender_ids().any(|sender| ids.iter().any(|id| id == sender)),
        }
    }
}

fn text<R: Row + ?Sized>(row: &R, field: Field) -> Option<&str> {
    match field {
        Field::SessionId => row.session_id(),
        Field::ParentType => row.parent_type(),
        Field::ParentId => row.parent_id(),
        Field::Timestamp | Field::SenderId => None,
    }
}

impl Compare {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Gt => order.is_gt(),
            Self::Gte => order.is_ge(),
            Self::Lt => order.is_lt(),
            Self::Lte => order.is_le(),
        }
    }
}
