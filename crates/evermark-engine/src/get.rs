//! Listing an owner's memories.

use crate::engine::Inner;
use crate::error::Error;
use evermark_core::filter::Filter;
use evermark_core::id::{Kind, Owner, Track};
use evermark_core::index::{Ask, Order};
use evermark_core::memory::Memory;
use serde_json::Value;

/// One page of an owner's memories of one kind: episode, profile, agent case or agent skill.
#[derive(Clone, Debug)]
pub struct GetRequest {
    pub owner: Owner,
    pub kind: Kind,
    /// From 1.
    pub page: usize,
    pub page_size: usize,
    pub descending: bool,
    /// The wire's filter object, uncompiled.
    pub filters: Option<Value>,
}

/// One page, and how many there are in all.
#[derive(Clone, Debug, PartialEq)]
pub struct GetAnswer {
    pub memories: Vec<Memory>,
    pub total: usize,
}

impl Inner {
    pub(crate) fn get(&self, request: &GetRequest) -> Result<GetAnswer, Error> {
        let fits = match request.kind {
            Kind::Episode | Kind::AtomicFact | Kind::Foresight | Kind::Profile => request.owner.track == Track::User,
            Kind::AgentCase | Kind::AgentSkill => request.owner.track == Track::Agent,
            Kind::KnowledgeDocument | Kind::KnowledgeTopic => request.owner.track == Track::Knowledge,
        };
        if !fits {
            return Err(Error::Invalid(format!("a {} has no {}", request.owner.track.name(), request.kind)));
        }
        let filter = match &request.filters {
            // A profile is one per owner: a filter is accepted and has nothing to do, as on the wire.
            Some(_) if request.kind == Kind::Profile => Filter::everything(),
            Some(value) => Filter::parse(value, &self.settings.timezone)?,
            None => Filter::everything(),
        };
        filter.check_kind(request.kind)?;
        let ask = Ask {
            owner: &request.owner,
            kind: request.kind,
            filter: &filter,
            parents: None,
            ids: None,
            deprecated: false,
            limit: request.page_size,
        };
        let offset = request.page.saturating_sub(1).saturating_mul(request.page_size);
        let listing = self.live().index.list(&ask, Order { descending: request.descending }, offset)?;
        Ok(GetAnswer { memories: listing.memories, total: listing.total })
    }
}
