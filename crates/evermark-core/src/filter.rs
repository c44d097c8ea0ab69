//! Which rows a question may see: the filter grammar of `/memory/search` and `/memory/get`.

/// A compiled filter.
#[derive(Clone, Debug, Default)]
pub struct Filter;
