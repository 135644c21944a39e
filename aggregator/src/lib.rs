//! The aggregator: owns partitions of the bus and turns them into sealed blocks.
//!
//! - [`group`]: one consumer, an owner for each assigned partition.
//! - [`measure`]: how far the bus is, for coverage.
//! - [`owner`]: a partition's task: when to take, seal, compact, expire.
//! - [`partition`]: records into the head: decode, drop duplicates ([`dedup`]), put poison aside ([`poison`]).
//! - [`commit`]: the head into blocks and a manifest version, and the readers' view swapped with it.
//! - [`budget`]: what all partitions of a process share, so that its memory is bounded; [`runs`]: which blocks are merged; [`expiry`]: which ones go.
//! - [`shared`]: what readers see meanwhile; [`heads`]: the same for query nodes in other processes, as routes; [`admin`]: sealing and
//!   merging at once, as routes.
//!
//! It never sees a query's text or binds a socket, and there is no write-ahead log here: the bus is it.

pub mod admin;
#[cfg(test)]
mod block_memory;
mod budget;
mod commit;
mod config;
mod dedup;
mod expiry;
mod gauges;
mod group;
pub mod heads;
mod measure;
mod metrics;
mod open;
mod owner;
mod partition;
mod poison;
mod runs;
mod shared;
#[cfg(test)]
mod simulation;
mod steady;
#[cfg(test)]
mod unsealable;

use std::sync::Arc;

pub use config::{AggregatorConfig, Retention};
pub use metrics::{AskLabels, Metrics, PartitionLabels};
pub use open::{Aggregator, Dependencies};
pub use shared::Partitions;
use weir_model::time::UnixNanos;

/// Wall clock, passed in.
pub type Clock = Arc<dyn Fn() -> UnixNanos + Send + Sync>;
