//! The collector: turns node facts and pushed telemetry into batches and ships them to the bus.
//!
//! - [`Collector`]: starts everything, hands out the push routes, drains.
//! - [`ship`]: sections in, acknowledged records out. The only part that appends to the bus.
//! - [`tail`]: log files. `node`: who runs here, and this node's samples; `deaths`: how they ended.
//! - [`loki_push`], [`otlp`]: what clients push; the answer is given after the acknowledgement.
//! - [`scrape`]: Prometheus targets; [`exposition`]: what they answer.
//! - `body`: bounded reading and decompression of what clients send; `admission`: bytes in memory, `proto_size`: before they are.
//! - `bounds`: which timestamps a push may carry.
//! - `metadata`: structured metadata of a line; `proto`: protobuf read where it lies.
//! - [`severity`] and [`enrich`]: how severe a line is, and which trace and span it names.
//! - `pulse`: the collector about itself, as samples.
//! - [`epoch`]: epochs that grow whatever the clock does; `private`: files that nobody else reads.
//! - [`config`], [`metrics`], [`error`]: keys, counters, errors.
//!
//! An input is acknowledged (checkpoint moved, 200 sent) only when the bus has acknowledged. Nothing here reads the bus,
//! and nothing here knows how records are stored.

mod collector;
pub mod config;
pub mod enrich;
pub mod epoch;
pub mod error;
pub mod exposition;
pub mod loki_push;
pub mod metrics;
pub mod otlp;
pub mod scrape;
pub mod severity;
pub mod ship;
pub mod tail;

mod deaths;
mod metadata;
mod node;
mod private;
mod proto;
mod proto_size;
mod pulse;

pub mod push;

mod admission;
mod body;
mod bounds;
#[cfg(test)]
mod bus_tests;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod push_tests;
#[cfg(test)]
mod testing;

pub use bounds::Retention;
pub use collector::{Collector, Deps};
pub use config::CollectorConfig;

/// A longer line is split, its parts but the last carrying [`weir_model::log::FLAG_CONTINUED`].
pub const LINE_BYTES_MAX: usize = 256 << 10;
