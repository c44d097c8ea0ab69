//! Listing an owner's memories.

use evermark_core::id::{Kind, Owner};
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
