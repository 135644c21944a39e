//! The aggregator: owns partitions of the bus and turns them into sealed blocks.
//!
//! - [`machine`]: a partition as a pure state machine: what is due, and what the manifest says next.
//! - [`shell`]: a partition's task, which does what its machine says; [`pool`]: where the heavy part of that runs.
//! - [`append`]: records into the head: decode, drop duplicates ([`dedup`]), [`quarantine`].
//! - [`group`]: the consumers, and a task for each assigned partition; [`owners`], [`registry`]: what group and tasks know of each
//!   other; [`watermark`]: how far the bus is, for coverage.
//! - [`budget`]: what all partitions of a process share, so that its memory is bounded; [`runs`]: which blocks are merged;
//!   [`expiry`], [`byte_limit`]: which ones go; [`steady`]: a partition's own time.
//! - [`live`]: what readers see meanwhile; [`heads`]: the same for query nodes in other processes, as routes; [`admin`]: sealing and
//!   merging at once, as routes; [`deletions`]: requests to delete.
//!
//! It never sees a query's text or binds a socket, and there is no write-ahead log here: the bus is it.

pub mod admin;
mod append;
mod backoff;
#[cfg(test)]
mod beyond_bytes;
#[cfg(test)]
mod block_memory;
mod budget;
mod byte_limit;
mod config;
mod dedup;
mod deletions;
mod dependencies;
#[cfg(test)]
mod downsampled;
mod error;
mod expiry;
mod gauges;
mod group;
pub mod heads;
mod live;
mod machine;
mod metrics;
mod open;
mod owners;
mod pool;
mod quarantine;
mod registry;
mod runs;
mod scratch;
mod shell;
#[cfg(test)]
mod simulation;
mod steady;
#[cfg(test)]
mod unsealable;
mod watermark;

pub use config::{AggregatorConfig, Downsampling, Retention};
pub use dependencies::{Clock, Dependencies};
pub use error::{AggregatorError, Refusals};
pub use live::Partitions;
pub use metrics::{Metrics, PartitionLabels, RequestLabels};
pub use open::Aggregator;
pub use scratch::ScratchDirectory;
