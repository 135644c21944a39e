//! The traces engine: spans in, whole traces out. Format of its blocks: `docs/formats/traces_block.md`.
//!
//! - [`schema`]: what a block is made of: section names, limits, directory entries.
//! - `content`: attributes, values and origins as bytes, and the hash that tells a repetition from a new span.
//! - `state`: how far a trace has come: open, quiescent, sealed, reopened.
//! - `placed`, [`head`]: unsealed spans by trace; `memory`: what they take.
//! - `attributes`, `strings`, `group`, `filter`: the codecs: attribute lists as columns, texts with numbers, neighbouring traces,
//!   membership of ids.
//! - `writer`, [`block`]: traces into a block, and out again.
//! - `plan`, `search`, `parts`: heads and blocks as segments: of a search, compiled once, and of traces as a whole.
//! - `merge`: several blocks into one.
//! - [`reader`], `tags`: what queries see; `visible`: what a scope leaves of it.
//! - `engine`: what the aggregator is given.
//! - [`counters`]: what was dropped, and why.
//!
//! It never sees TraceQL, never corrects a clock, and never drops a span that is not the repetition of another.

mod attributes;
pub mod block;
mod content;
pub mod counters;
mod engine;
mod filter;
#[cfg(test)]
mod fuzz_tests;
mod group;
pub mod head;
#[cfg(test)]
mod limits_tests;
mod memory;
#[cfg(test)]
mod memory_tests;
mod merge;
mod parts;
mod placed;
mod plan;
pub mod reader;
mod schema;
mod search;
mod state;
mod strings;
mod tags;
mod visible;
mod writer;

#[cfg(test)]
mod tests;

pub use block::TracesBlock;
pub use content::{KnownOrigin, OriginSpan};
pub use counters::TracesCounters;
pub use engine::TracesEngine;
pub use head::{HeadTrace, TracesHead};
pub use reader::TracesReader;
pub use schema::KINDS;
pub use state::{Arrival, Clock};
pub use tags::Operations;
