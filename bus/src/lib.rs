//! The bus: partitioned logs with offsets, behind one trait.
//!
//! - [`Log`], [`Consumer`]: the contract. Shaped so that Kafka fits it without leaks.
//! - [`kafka`]: the only place that knows rdkafka.
//! - [`contract`]: the test that each implementation passes.
//! - [`disk`]: the embedded durable log of a single machine. Format: `docs/formats/disk_log.md`.
//! - [`metrics`]: what all of them count.
//! - [`sim`]: in-memory and seeded, with truncation, duplication and rebalance, for tests.
//!
//! Nothing here knows what a record means: values are bytes.

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;

pub mod contract;
pub mod disk;
mod error;
pub mod kafka;
pub mod metrics;
pub mod sim;

pub use error::BusError;
pub use metrics::BusMetrics;
use weir_model::config::ByteSize;
pub use weir_model::id::TopicPartition;

/// The most that may wait in a bus: permits are counted in 32 bits.
const QUEUE_MAX: ByteSize = ByteSize::mib(4095);

/// One record as consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it lies.
    pub place: TopicPartition,
    /// Its offset; offsets of a partition grow, and may leave gaps (Kafka's transaction markers, compaction).
    pub offset: u64,
    /// What was appended.
    pub value: Bytes,
}

/// Resolves to the record's offset once it is durable (all in-sync replicas, or fsync).
pub type Ack = Pin<Box<dyn Future<Output = Result<u64, BusError>> + Send>>;

/// A partitioned log with offsets.
#[async_trait]
pub trait Log: Send + Sync {
    /// Partitions of a topic, which is created with the configured number when absent.
    async fn partitions(&self, topic: &str) -> Result<u32, BusError>;

    /// Appends. Waits while the queue is full (that is the back-pressure), then enqueues and returns: records of one
    /// partition are stored in the order in which their `append` returned. The record counts only once its [`Ack`]
    /// resolves. An error of the ack means "not known to be stored": append again, the reader drops duplicates.
    async fn append(&self, place: &TopicPartition, value: Bytes) -> Result<Ack, BusError>;

    /// Joins the group of consumers that share the topics among them. `member` is the static identity.
    async fn consume(&self, topics: &[&str], member: &str) -> Result<Box<dyn Consumer>, BusError>;

    /// First offset still stored, and the offset that the next record will get.
    async fn bounds(&self, place: &TopicPartition) -> Result<(u64, u64), BusError>;

    /// What stands in the way of using the bus, as its clients have heard it and go on hearing it: a password that is refused, a right
    /// that is missing. None when nothing is known to.
    fn obstacles(&self) -> Option<String> {
        None
    }

    /// Everything below `offset` is sealed and will never be asked for again. The disk log deletes by it; Kafka has
    /// a retention of its own.
    async fn release(&self, place: &TopicPartition, offset: u64) -> Result<(), BusError>;
}

/// What a consumer sees next.
#[derive(Debug)]
pub enum Event {
    /// These are now ours. Nothing of them arrives before [`Consumer::seek`] has said where to begin. The group's first
    /// answer to a new member is one of these, empty when there is nothing for it (yet). Later ones may be empty too: the group
    /// has given out its partitions again, and there is nothing more for this member.
    Assigned(Vec<TopicPartition>),
    /// These are no longer ours. Nothing of them arrives after this.
    Revoked(Vec<TopicPartition>),
    /// Records, in offset order per partition.
    Records(Vec<Record>),
    /// The wanted offset does not exist: the partition now begins at `first` and ends at `next`. Nothing of it arrives
    /// before another seek. It never resets by itself.
    OutOfRange {
        place: TopicPartition,
        /// What was wanted.
        wanted: u64,
        /// First offset stored.
        first: u64,
        /// Offset of the next record to come.
        next: u64,
    },
}

/// A member of the group.
#[async_trait]
pub trait Consumer: Send {
    /// The next event; waits for one. Cancel-safe: a dropped call loses nothing.
    async fn next(&mut self) -> Result<Event, BusError>;

    /// Where to go on with a partition that is ours.
    async fn seek(&mut self, place: &TopicPartition, offset: u64) -> Result<(), BusError>;

    /// Holds back a partition (its head is full) or lets it flow again. Others are not affected.
    async fn pause(&mut self, place: &TopicPartition, paused: bool) -> Result<(), BusError>;
}

/// The partition of a key: the same on every bus and in every version.
pub fn partition_of(key_hash: u64, partitions: u32) -> u32 {
    (key_hash % u64::from(partitions.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use weir_model::fuzz::CountingAllocator;

    use super::*;

    #[global_allocator]
    static ALLOCATOR: CountingAllocator = CountingAllocator;

    #[test]
    fn the_partition_of_a_key_never_changes() {
        for (key, partitions, expected) in
            [(0, 16, 0), (0xa989_cbc7_e033_36ab, 16, 11), (0xf1f0_e07b_31e1_a3da, 4, 2), (u64::MAX, 7, 1)]
        {
            assert_eq!(partition_of(key, partitions), expected, "{key:x} of {partitions}");
        }
        assert_eq!((partition_of(5, 1), partition_of(5, 0)), (0, 0));
    }
}
