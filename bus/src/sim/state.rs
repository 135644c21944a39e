//! What the simulated log holds: partitions with what only a leader has, topics, the group.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::chance::Chance;
use super::group::Group;
use crate::{BusError, TopicPartition};

/// Sizes and odds. The default has no mishaps but the order in which partitions are delivered.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Everything random comes from it.
    pub seed: u64,
    /// Of every topic.
    pub partitions: u32,
    /// Largest record.
    pub record_bytes: usize,
    /// Appends wait while more is not released.
    pub bytes_max: usize,
    /// In a hundred appends: stored twice, as by a producer's retry. The ack names the first.
    pub duplicate_percent: u8,
    /// In a hundred appends: the ack fails although the record is stored.
    pub fail_ack_percent: u8,
    /// An event holds at most this many records.
    pub batch_records: usize,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            partitions: 4,
            record_bytes: 1 << 20,
            bytes_max: 64 << 20,
            duplicate_percent: 0,
            fail_ack_percent: 0,
            batch_records: 16,
        }
    }
}

/// A record that its leader has and nobody else: not acknowledged, not visible.
pub(super) struct Unreplicated {
    pub(super) ticket: u64,
    pub(super) value: Bytes,
    /// None for the second copy of a duplicate.
    pub(super) ack: Option<oneshot::Sender<Result<u64, BusError>>>,
    pub(super) fail_ack: bool,
}

#[derive(Default)]
pub(super) struct Partition {
    pub(super) first: u64,
    pub(super) records: VecDeque<Bytes>,
    pub(super) unreplicated: VecDeque<Unreplicated>,
    released: u64,
}

impl Partition {
    pub(super) fn bounds(&self) -> (u64, u64) {
        (self.first, self.first + self.records.len() as u64)
    }

    pub(super) fn get(&self, offset: u64) -> Option<&Bytes> {
        self.records.get(usize::try_from(offset.checked_sub(self.first)?).ok()?)
    }

    /// Returns the bytes that this set free.
    pub(super) fn release(&mut self, offset: u64) -> usize {
        let mut freed = 0;
        while self.released < offset.min(self.bounds().1) {
            freed += self.get(self.released).map_or(0, Bytes::len);
            self.released += 1;
        }
        freed
    }

    /// The oldest record that only the leader has gets replicated, visible and acknowledged.
    fn replicate_one(&mut self) {
        let Some(record) = self.unreplicated.pop_front() else { return };
        let offset = self.bounds().1;
        self.records.push_back(record.value);
        if let Some(ack) = record.ack {
            // A dropped ack is nobody's loss: the record is stored.
            let _ = ack.send(if record.fail_ack { Err(kafka("the answer was lost")) } else { Ok(offset) });
        }
    }

    pub(super) fn replicate(&mut self) {
        while !self.unreplicated.is_empty() {
            self.replicate_one();
        }
    }
}

pub(super) fn kafka(message: &str) -> BusError {
    BusError::Kafka { operation: "append", message: message.to_owned() }
}

pub(super) struct State {
    pub(super) chance: Chance,
    topics: BTreeMap<String, Vec<Partition>>,
    pub(super) group: Group,
    pub(super) tickets: u64,
    /// Stored or on the way, and not released.
    pub(super) unreleased_bytes: usize,
}

impl State {
    pub(super) fn partition(&mut self, place: &TopicPartition) -> Result<&mut Partition, BusError> {
        let unknown = || BusError::UnknownPartition { topic: place.topic.clone(), partition: place.partition };
        self.topics.get_mut(&place.topic).and_then(|topic| topic.get_mut(place.partition as usize)).ok_or_else(unknown)
    }
}

pub(super) struct Inner {
    pub(super) config: SimConfig,
    pub(super) state: Mutex<State>,
    /// Something changed: an append, a release, an assignment.
    pub(super) changed: Notify,
}

impl Inner {
    pub(super) fn new(config: SimConfig) -> Self {
        let state = State {
            chance: Chance::new(config.seed),
            topics: BTreeMap::new(),
            group: Group::default(),
            tickets: 0,
            unreleased_bytes: 0,
        };
        Self { config, state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn make(&self, state: &mut State, topic: &str) {
        let partitions = self.config.partitions as usize;
        state.topics.entry(topic.to_owned()).or_insert_with(|| (0..partitions).map(|_| Partition::default()).collect());
    }

    pub(super) fn replicate_through(&self, place: &TopicPartition, ticket: u64) {
        let mut state = self.state.lock();
        if let Ok(partition) = state.partition(place) {
            while partition.unreplicated.iter().any(|record| record.ticket == ticket) {
                partition.replicate_one();
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }
}
