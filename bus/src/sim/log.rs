//! The simulated log and its mishaps.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::consumer::SimConsumer;
use super::state::{Inner, SimConfig, State, Unreplicated, kafka};
use crate::{Ack, BusError, Consumer, Log, TopicPartition};

/// The simulated log; clones are the same log, as processes see one broker.
#[derive(Clone)]
pub struct Sim(Arc<Inner>);

impl Sim {
    /// An empty log.
    pub fn new(config: SimConfig) -> Self {
        Self(Arc::new(Inner::new(config)))
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
