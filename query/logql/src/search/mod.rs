//! What people type into a search box, as LogQL. Pure; called by the page's API and by `weir logs`.
//!
//! - [`parse`]: words, phrases, fields, `-`, `OR` and brackets, as a tree;
//! - [`write`]: the tree as LogQL, with what the store's index can use in front.
//!
//! docs/logql.md has the language. What begins with `{`, and a metric query, is LogQL already and comes back as it is.

mod parse;
#[cfg(test)]
mod tests;
mod write;

pub use write::{Search, to_logql};
