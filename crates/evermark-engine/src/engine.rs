//! The handle: opens a root, runs its loops, closes it.

use crate::add::{AddRequest, FlushRequest, Receipt};
use crate::error::Error;
use crate::get::{GetAnswer, GetRequest};
use crate::search::{SearchAnswer, SearchRequest};
use crate::status::{ProgressMark, RebuildReport, Status, SyncReport, VerifyReport};

/// A root that is open. Cheap to clone; all clones are the same root.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    pub fn add(&self, _request: AddRequest) -> Result<Receipt, Error> {
        todo!()
    }
    pub fn flush(&self, _request: FlushRequest) -> Result<Receipt, Error> {
        todo!()
    }
    pub fn search(&self, _request: SearchRequest) -> Result<SearchAnswer, Error> {
        todo!()
    }
    pub fn get(&self, _request: GetRequest) -> Result<GetAnswer, Error> {
        todo!()
    }
    pub fn status(&self) -> Result<Status, Error> {
        todo!()
    }
    /// Brings the index up to date with the Markdown now. `allow_mass_delete` lets held removals proceed once.
    pub fn sync(&self, _allow_mass_delete: bool, _progress: &mut dyn FnMut(ProgressMark)) -> Result<SyncReport, Error> {
        todo!()
    }
    pub fn verify(&self, _progress: &mut dyn FnMut(ProgressMark)) -> Result<VerifyReport, Error> {
        todo!()
    }
    /// Builds a new generation beside the live one and swaps, while searches go on.
    pub fn rebuild(&self, _progress: &mut dyn FnMut(ProgressMark)) -> Result<RebuildReport, Error> {
        todo!()
    }
}
