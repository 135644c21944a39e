//! Kafka, through rdkafka: the only place that knows it.
//!
//! - [`check`]: tries what is configured, for `weir check config --connect`.
//! - [`config`]: what can be set, and which of librdkafka's properties may not.
//! - [`diagnosis`]: what stands between weir and the brokers, in words.
//! - [`log`]: appends, watermarks.
//! - [`producer`]: the idempotent producer, made anew after a fatal error.
//! - [`rebalances`]: what the group says, carried out on the poller's thread.
//! - [`rebootstrap`]: gives a client its brokers back when it has forgotten all of them.
//! - [`topics`]: found, made, held against what weir needs of them.
//! - [`poller`]: the thread that polls a consumer, whatever its reader is doing; [`event`]: what passes between the two.
//! - [`consumer`]: what the reader sees.
//! - [`rebalance_probe`]: sees that the group has given out every partition.
//!
//! Tested against a real broker by the workspace's `tests/`; why it is set up as it is: `docs/decisions/0012-kafka.md`.

mod check;
mod config;
mod consumer;
mod diagnosis;
mod event;
mod log;
mod poller;
mod producer;
mod rebalance_probe;
mod rebalances;
mod rebootstrap;
mod topics;

pub use check::Finding;
pub use config::KafkaConfig;
pub use log::KafkaLog;
