//! Remote write out: what the collector puts onto the bus of the tenants' metrics goes on to other receivers, as Prometheus'
//! `remote_write` has it. At least once, and of each series in order, over restarts of either side.
//!
//! A lane of the shipper gives each record of metrics to the receivers' queues before its sources are told "stored" (decision 0164). A
//! queue is an embedded log of its own, so a receiver that is away costs disk up to `queue_max` and nobody's time.
//!
//! - [`config`]: `[[collector.remote_write]]`. [`metrics`]: what is counted. [`status`]: how far each receiver is.
//! - [`queue`]: records in; the oldest out where there are too many. [`position`]: what has been sent of it.
//! - [`shard`]: the task of a part of a queue: gathers, has it encoded, sends it until it is taken or refused.
//! - [`outage`]: when the log says so.
//! - [`encoder`]: records as requests. [`series`]: labels as they are sent, known from before. [`request`]: the two messages.
//! - [`halves`]: a request that is refused for what is in it. [`client`]: one attempt, and what the receiver's answer means.
//!
//! What weir is sent by remote write is read in `remote_write`.
//! Specifications: <https://prometheus.io/docs/specs/prw/>. Formats: `docs/formats/remote_write_queue.md`.

mod client;
pub mod config;
mod encoder;
mod halves;
mod metrics;
mod outage;
mod position;
mod queue;
mod request;
mod series;
mod shard;
mod status;
#[cfg(test)]
mod tests;

pub(crate) use queue::{Queues, Senders};
pub use status::ReceiverWatch;
