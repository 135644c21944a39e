//! The collector: turns what runs on a node and what clients push into batches and ships them to the bus.
//!
//! - [`Collector`]: starts everything, hands out the push routes, drains.
//! - [`ship`]: sections in, acknowledged records out. The only part that appends to the bus.
//! - [`tail`]: log files. `node`: who runs here, and this node's samples; `deaths`: how they ended.
//! - [`loki_push`], [`otlp`], [`elasticsearch`], [`influx`], [`push_gateway`], [`remote_write`]: what clients push; the answer is given after
//!   the acknowledgement.
//! - [`remote_write_out`]: metrics that go on to other receivers, beside the bus.
//! - [`scrape`]: Prometheus targets; [`exposition`]: what they answer.
//! - `body`: bounded reading and decompression of what clients send; `admission`: bytes in memory, `json_size`: before they are.
//! - `quota`: what each tenant may send; `shares`: what none of them can have for itself.
//! - `bounds`: which timestamps a push may carry. `push_error`: why one is not taken.
//! - `fingerprint`: texts that are known again without being kept.
//! - `lines`: pushed lines on their way into a batch; `metadata`: structured metadata of one. `proto`: protobuf read where it lies.
//! - [`severity`] and [`enrich`]: how severe a line is, and which trace and span it names.
//! - `self_report`: the collector about itself, as samples.
//! - [`epoch`]: epochs that grow whatever the clock does; `private`: files that nobody else reads.
//! - [`config`], [`metrics`], [`error`]: keys, counters, errors.
//!
//! An input is acknowledged (checkpoint moved, 200 sent) only when the bus has acknowledged. Nothing here reads the bus,
//! and nothing here knows how records are stored.

mod collector;
pub mod config;
pub mod elasticsearch;
pub mod enrich;
pub mod epoch;
pub mod error;
pub mod exposition;
pub mod influx;
pub mod loki_push;
pub mod metrics;
pub mod otlp;
pub mod remote_write;
pub mod remote_write_out;
pub mod scrape;
pub mod severity;
pub mod ship;
pub mod tail;

mod deaths;
mod fingerprint;
mod json_size;
mod lines;
mod metadata;
mod node;
mod private;
mod proto;
mod self_report;

pub mod push;
pub mod push_gateway;

mod admission;
mod body;
mod bounds;
#[cfg(test)]
mod bus_tests;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod limit_tests;
mod push_error;
#[cfg(test)]
mod push_tests;
mod quota;
mod shares;
#[cfg(test)]
mod testing;

pub use bounds::Retention;
pub use collector::{Collector, Deps};
pub use config::CollectorConfig;

/// A longer line is split, its parts but the last carrying [`weir_model::log::FLAG_CONTINUED`].
pub const LINE_BYTES_MAX: usize = 256 << 10;
