//! What passes between the thread that polls a consumer and its reader.

use crate::{Record, TopicPartition};

/// What the reader wants.
pub(crate) enum Command {
    /// Go on there.
    Seek { place: TopicPartition, offset: u64, generation: u64 },
    /// Hold back, or let flow.
    Pause { place: TopicPartition, paused: bool },
}

/// What the reader hears; records carry the generation of the seek that led to them.
pub(crate) enum PollerEvent {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Records(Vec<(u64, Record)>),
    OutOfRange { generation: u64, place: TopicPartition, wanted: u64, first: u64, next: u64 },
}

pub(super) fn place_of(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition: partition.max(0) as u32 }
}
