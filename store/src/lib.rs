//! The store: block files, the manifest that says which of them are real, and the three engines.
//!
//! - [`engine`]: what the aggregator asks of an engine: a head that takes sections and seals itself into blocks.
//! - [`block`]: the container file that all engines write: named sections with checksums. Format: `docs/formats/block.md`.
//! - [`blob`]: reading ranges of a block, with a cache.
//! - [`location`]: an object store by its URL.
//! - [`manifest`]: the numbered versions that make seals atomic. Format: `docs/formats/manifest.md`.
//! - [`segment`]: heads and blocks as a reader sees them, and the one merge of what several give.
//! - [`view`]: one consistent state of a partition (manifest, open blocks, heads), and how readers get at it.
//! - [`heads`]: what a query node in another process asks of an owner's heads. Format: `docs/formats/heads.md`.
//! - `logs/` (the only place that knows tantivy), `metrics/`, `traces/`: the engines.
//!
//! The store never sees a query's text, never consumes the bus, and runs nothing on its
//! own: blocks are opened on threads of whoever asked.

pub mod blob;
pub mod block;
mod columns;
pub mod engine;
mod error;
#[cfg(test)]
mod fuzz_tests;
pub mod heads;
mod limits;
pub mod location;
pub mod logs;
pub mod manifest;
#[cfg(test)]
mod memory_tests;
pub mod metrics;
mod packed;
pub mod segment;
pub mod traces;
pub mod view;

pub use error::StoreError;
