//! A member's view of the simulated log.

use std::sync::Arc;

use async_trait::async_trait;

use super::group::Flow;
use super::state::{Inner, State};
use crate::{BusError, Consumer, Event, Record, TopicPartition};

pub(super) struct SimConsumer {
    inner: Arc<Inner>,
    id: u64,
}

impl SimConsumer {
    pub(super) fn new(inner: Arc<Inner>, id: u64) -> Self {
        Self { inner, id }
    }

    fn poll(&self, state: &mut State) -> Result<Option<Event>, BusError> {
        if let Some(event) = state.group.hear(self.id) {
            return Ok(Some(event));
        }
        let flowing =
            |(place, flow): (&TopicPartition, &Flow)| flow.offset.filter(|_| !flow.paused).map(|offset| (place.clone(), offset));
        let mut flows: Vec<_> =
            state.group.members.get(&self.id).into_iter().flat_map(|member| &member.owned).filter_map(flowing).collect();
        while !flows.is_empty() {
            let (place, offset) = flows.swap_remove(state.chance.below(flows.len()));
            // Nobody waits for ever for what has been appended, whatever became of the acks.
            state.partition(&place)?.replicate();
            if let Some(event) = self.read(state, &place, offset)? {
                self.moved(state, &place, &event);
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn read(&self, state: &mut State, place: &TopicPartition, offset: u64) -> Result<Option<Event>, BusError> {
        let count = 1 + state.chance.below(self.inner.config.batch_records) as u64;
        let partition = state.partition(place)?;
        let (first, next) = partition.bounds();
        if offset < first || offset > next {
            return Ok(Some(Event::OutOfRange { place: place.clone(), wanted: offset, first, next }));
        }
        let record = |offset| partition.get(offset).map(|value| Record { place: place.clone(), offset, value: value.clone() });
        let records: Vec<_> = (offset..offset + count).map_while(record).collect();
        Ok((!records.is_empty()).then_some(Event::Records(records)))
    }

    fn moved(&self, state: &mut State, place: &TopicPartition, event: &Event) {
        let flow = state.group.members.get_mut(&self.id).and_then(|member| member.owned.get_mut(place));
        if let Some(flow) = flow {
            flow.offset = match event {
                Event::Records(records) => records.last().map(|record| record.offset + 1),
                _ => None,
            };
        }
    }

    fn flow(&self, place: &TopicPartition, change: impl FnOnce(&mut Flow)) -> Result<(), BusError> {
        let mut state = self.inner.state.lock();
        let flow = state.group.members.get_mut(&self.id).and_then(|member| member.owned.get_mut(place));
        let flow = flow.ok_or_else(|| BusError::UnknownPartition { topic: place.topic.clone(), partition: place.partition })?;
        change(flow);
        Ok(())
    }
}

impl Drop for SimConsumer {
    fn drop(&mut self) {
        self.inner.state.lock().group.leave(self.id);
        self.inner.changed.notify_waiters();
    }
}

#[async_trait]
impl Consumer for SimConsumer {
    async fn next(&mut self) -> Result<Event, BusError> {
        loop {
            let inner = self.inner.clone();
            let changed = inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let event = self.poll(&mut inner.state.lock())?;
            if let Some(event) = event {
                // Others may wait for what we have just heard: a handover, a replication.
                inner.changed.notify_waiters();
                return Ok(event);
            }
            changed.await;
        }
    }

    async fn seek(&mut self, place: &TopicPartition, offset: u64) -> Result<(), BusError> {
        self.flow(place, |flow| flow.offset = Some(offset))
    }

    async fn pause(&mut self, place: &TopicPartition, paused: bool) -> Result<(), BusError> {
        self.flow(place, |flow| flow.paused = paused)
    }
}
