//! Foreign tables: those that real programs left behind, and variants of the same kinds made here.

mod damage;
mod fixtures;
mod generations;
mod groups;
mod kit;
mod refusals;
mod shapes;
