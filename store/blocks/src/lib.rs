//! What the engines of logs, metrics and traces stand on: block files, and the manifest that says which of them are real.
//!
//! - [`engine`]: what the aggregator asks of an engine: a head that takes sections and seals itself into blocks.
//! - [`block`]: the container file that all engines write: named sections with checksums. Format: `docs/formats/block.md`.
//! - [`columns`], [`packed`]: the numbers, texts and compressed runs that sections are made of; [`limits`]: how large they may be.
//! - [`blob`]: reading ranges of a block, with a cache.
//! - [`location`]: an object store by its URL.
//! - [`manifest`]: the numbered versions that make seals atomic. Format: `docs/formats/manifest.md`.
//! - [`hidden`]: what readers leave out: what is deleted, and what is past its retention.
//! - [`periods`]: how long records are kept, by tenant and stream.
//! - [`scratch`]: files for what is being built and has no room in memory.
//! - [`segment`]: heads and blocks as a reader sees them, and the one merge of what several give.
//! - [`view`]: one consistent state of a partition (manifest, open blocks, heads), and how readers get at it.
//! - `testing` (feature `testing`): what the tests of the engines share.
//!
//! Not here: what a section of a block holds (`weir-logs`, `weir-metrics`, `weir-traces`), and how heads travel
//! (`weir-heads`). Nothing here knows an engine or consumes the bus, and nothing runs
//! on its own: blocks are opened on threads of whoever asked.

pub mod blob;
pub mod block;
pub mod columns;
pub mod engine;
mod error;
#[cfg(test)]
mod fuzz_tests;
pub mod hidden;
pub mod limits;
pub mod location;
pub mod manifest;
pub mod packed;
pub mod periods;
pub mod resolutions;
pub mod scratch;
pub mod segment;
#[doc(hidden)]
pub mod testing;
pub mod view;

pub use error::StoreError;
