//! The simulated log and its mishaps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::chance::Chance;
use super::consumer::SimConsumer;
use super::group::Group;
use crate::{Ack, BusError, Consumer, Log, TopicPartition};

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
struct Unreplicated {
    ticket: u64,
    value: Bytes,
    /// None for the second copy of a duplicate.
    ack: Option<oneshot::Sender<Result<u64, BusError>>>,
    fail_ack: bool,
}

#[derive(Default)]
pub(super) struct Partition {
    first: u64,
    records: VecDeque<Bytes>,
    unreplicated: VecDeque<Unreplicated>,
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
    fn release(&mut self, offset: u64) -> usize {
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

fn kafka(message: &str) -> BusError {
    BusError::Kafka { operation: "append", message: message.to_owned() }
}

pub(super) struct State {
    pub(super) chance: Chance,
    topics: BTreeMap<String, Vec<Partition>>,
    pub(super) group: Group,
    tickets: u64,
    /// Stored or on the way, and not released.
    unreleased_bytes: usize,
}

impl State {
    pub(super) fn partition(&mut self, place: &TopicPartition) -> Result<&mut Partition, BusError> {
        let unknown = || BusError::UnknownPartition { topic: place.topic.clone(), partition: place.partition };
        self.topics.get_mut(&place.topic).and_then(|topic| topic.get_mut(place.partition as usize)).ok_or_else(unknown)
    }
}

pub(super) struct Inner {
    config: SimConfig,
    pub(super) state: Mutex<State>,
    /// Something changed: an append, a release, an assignment.
    pub(super) changed: Notify,
}

impl Inner {
    pub(super) fn batch_records(&self) -> usize {
        self.config.batch_records
    }

    fn make(&self, state: &mut State, topic: &str) {
        let partitions = self.config.partitions as usize;
        state.topics.entry(topic.to_owned()).or_insert_with(|| (0..partitions).map(|_| Partition::default()).collect());
    }

    fn replicate_through(&self, place: &TopicPartition, ticket: u64) {
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

/// The simulated log; clones are the same log, as processes see one broker.
#[derive(Clone)]
pub struct Sim(Arc<Inner>);

impl Sim {
    /// An empty log.
    pub fn new(config: SimConfig) -> Self {
        let state = State {
            chance: Chance::new(config.seed),
            topics: BTreeMap::new(),
            group: Group::default(),
            tickets: 0,
            unreleased_bytes: 0,
        };
        Self(Arc::new(Inner { config, state: Mutex::new(state), changed: Notify::new() }))
    }

    /// The leader of a partition dies: what it alone had is gone, never acknowledged and never seen; its acks fail. Returns how
    /// many records that were.
    pub fn lose_tail(&self, place: &TopicPartition) -> Result<usize, BusError> {
        let mut state = self.0.state.lock();
        let lost = std::mem::take(&mut state.partition(place)?.unreplicated);
        state.unreleased_bytes -= lost.iter().map(|record| record.value.len()).sum::<usize>();
        drop(state);
        self.0.changed.notify_waiters();
        let count = lost.len();
        for ack in lost.into_iter().filter_map(|record| record.ack) {
            let _ = ack.send(Err(kafka("the leader died before it had replicated the record")));
        }
        Ok(count)
    }

    /// Retention passes: everything below `first` is gone, released or not.
    pub fn expire(&self, place: &TopicPartition, first: u64) -> Result<(), BusError> {
        let mut state = self.0.state.lock();
        let partition = state.partition(place)?;
        let freed = partition.release(first);
        while partition.first < first && partition.records.pop_front().is_some() {
            partition.first += 1;
        }
        state.unreleased_bytes -= freed;
        drop(state);
        self.0.changed.notify_waiters();
        Ok(())
    }

    /// Every partition gets an owner picked by the seed. An owner that loses one hears it before the new one hears of it.
    pub fn rebalance(&self) {
        let mut state = self.0.state.lock();
        let State { chance, group, .. } = &mut *state;
        group.shuffle(chance);
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// A partition goes to `member` at once, while its owner so far is believed dead: it goes on seeing records until it polls
    /// `late` times more and hears that it was revoked. Errors with `Config` when there is no such member.
    pub fn usurp(&self, place: &TopicPartition, member: &str, late: usize) -> Result<(), BusError> {
        let done = self.0.state.lock().group.usurp(place, member, late);
        self.0.changed.notify_waiters();
        if done { Ok(()) } else { Err(BusError::Config(format!("no member {member:?}"))) }
    }
}

#[async_trait]
impl Log for Sim {
    async fn partitions(&self, topic: &str) -> Result<u32, BusError> {
        self.0.make(&mut self.0.state.lock(), topic);
        Ok(self.0.config.partitions)
    }

    async fn append(&self, place: &TopicPartition, value: Bytes) -> Result<Ack, BusError> {
        let limit = self.0.config.record_bytes;
        if value.len() > limit {
            return Err(BusError::TooLarge { bytes: value.len(), limit });
        }
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(ack) = self.try_append(place, &value)? {
                return Ok(ack);
            }
            changed.await;
        }
    }

    async fn consume(&self, topics: &[&str], member: &str) -> Result<Box<dyn Consumer>, BusError> {
        let mut state = self.0.state.lock();
        let mut places = Vec::new();
        for topic in topics {
            self.0.make(&mut state, topic);
            places
                .extend((0..self.0.config.partitions).map(|partition| TopicPartition { topic: (*topic).to_owned(), partition }));
        }
        let id = state.group.join(member, places);
        drop(state);
        self.0.changed.notify_waiters();
        Ok(Box::new(SimConsumer::new(self.0.clone(), id)))
    }

    async fn bounds(&self, place: &TopicPartition) -> Result<(u64, u64), BusError> {
        let mut state = self.0.state.lock();
        self.0.make(&mut state, &place.topic);
        Ok(state.partition(place)?.bounds())
    }

    async fn release(&self, place: &TopicPartition, offset: u64) -> Result<(), BusError> {
        let mut state = self.0.state.lock();
        let freed = state.partition(place)?.release(offset);
        state.unreleased_bytes -= freed;
        drop(state);
        self.0.changed.notify_waiters();
        Ok(())
    }
}

impl Sim {
    /// None while there is no room.
    fn try_append(&self, place: &TopicPartition, value: &Bytes) -> Result<Option<Ack>, BusError> {
        let mut state = self.0.state.lock();
        self.0.make(&mut state, &place.topic);
        state.partition(place)?;
        if state.unreleased_bytes + value.len() > self.0.config.bytes_max {
            return Ok(None);
        }
        let config = &self.0.config;
        state.tickets += 1;
        let ticket = state.tickets;
        let fail_ack = state.chance.percent(config.fail_ack_percent);
        let twice = state.chance.percent(config.duplicate_percent);
        let delay = state.chance.below(4);
        let (ack, answer) = oneshot::channel();
        let waiting = &mut state.partition(place)?.unreplicated;
        waiting.push_back(Unreplicated { ticket, value: value.clone(), ack: Some(ack), fail_ack });
        if twice {
            waiting.push_back(Unreplicated { ticket, value: value.clone(), ack: None, fail_ack: false });
        }
        state.unreleased_bytes += value.len() * if twice { 2 } else { 1 };
        drop(state);
        self.0.changed.notify_waiters();
        let (inner, place) = (self.0.clone(), place.clone());
        Ok(Some(Box::pin(async move {
            for _ in 0..delay {
                tokio::task::yield_now().await;
            }
            inner.replicate_through(&place, ticket);
            answer.await.unwrap_or_else(|_| Err(kafka("the simulation is gone")))
        })))
    }
}
