//! What the reader of a Kafka consumer sees: events from the poller, without those that a seek or a pause has overtaken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc;

use async_trait::async_trait;
use tokio::sync::mpsc as async_mpsc;

use super::config::KafkaConfig;
use super::diagnosis::Diagnosis;
use super::event::{Command, PollerEvent};
use super::poller::Poller;
use crate::{BusError, BusMetrics, Consumer, Event, Record, TopicPartition};

/// Events between the poller and its reader; beyond it the poller pauses fetching.
const EVENTS_MAX: usize = 4;

#[derive(Default)]
struct Own {
    /// Counts seeks; what was fetched before the last one is dropped.
    generation: u64,
    paused: bool,
    /// Arrived while paused.
    held: VecDeque<Record>,
}

pub(crate) struct KafkaConsumer {
    commands: mpsc::Sender<Command>,
    event: async_mpsc::Receiver<Result<PollerEvent, BusError>>,
    owned: BTreeMap<TopicPartition, Own>,
    /// Records held while paused that flow again.
    ready: VecDeque<Record>,
    metrics: BusMetrics,
}

impl KafkaConsumer {
    /// Starts the poller's thread and subscribes.
    pub(crate) fn start(
        config: &KafkaConfig,
        diagnosis: &Diagnosis,
        metrics: BusMetrics,
        places: &BTreeSet<TopicPartition>,
        member: &str,
    ) -> Result<Self, BusError> {
        let (commands, received) = mpsc::channel();
        let (event, events) = async_mpsc::channel(EVENTS_MAX);
        Poller::start((config, diagnosis, &metrics), places, member, received, event)?;
        Ok(Self { commands, event: events, owned: BTreeMap::new(), ready: VecDeque::new(), metrics })
    }

    fn own(&mut self, place: &TopicPartition) -> Result<&mut Own, BusError> {
        let unknown = || BusError::UnknownPartition { topic: place.topic.clone(), partition: place.partition };
        self.owned.get_mut(place).ok_or_else(unknown)
    }

    fn send(&self, command: Command) -> Result<(), BusError> {
        self.commands.send(command).map_err(|_| BusError::Stopped("the kafka poller is gone".into()))
    }

    /// None when a seek or a pause has overtaken all of it.
    fn filter(&mut self, event: PollerEvent) -> Option<Event> {
        match event {
            PollerEvent::Assigned(places) => {
                places.iter().for_each(|place| {
                    self.owned.insert(place.clone(), Own::default());
                });
                Some(Event::Assigned(places))
            }
            PollerEvent::Revoked(places) => {
                places.iter().for_each(|place| {
                    self.owned.remove(place);
                });
                self.ready.retain(|record| !places.contains(&record.place));
                Some(Event::Revoked(places))
            }
            PollerEvent::OutOfRange { generation, place, wanted, first, next } => {
                let current = self.owned.get(&place).is_some_and(|own| own.generation == generation);
                current.then_some(Event::OutOfRange { place, wanted, first, next })
            }
            PollerEvent::Records(records) => {
                let mut passed = Vec::with_capacity(records.len());
                for (generation, record) in records {
                    match self.owned.get_mut(&record.place) {
                        Some(own) if own.generation != generation => {}
                        Some(own) if own.paused => own.held.push_back(record),
                        Some(_) => passed.push(record),
                        None => {}
                    }
                }
                (!passed.is_empty()).then_some(Event::Records(passed))
            }
        }
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Result<Event, BusError> {
        let event = loop {
            if !self.ready.is_empty() {
                break Event::Records(self.ready.drain(..).collect());
            }
            let event = self.event.recv().await.unwrap_or_else(|| Err(BusError::Stopped("the kafka poller is gone".into())))?;
            if let Some(event) = self.filter(event) {
                break event;
            }
        };
        if let Event::Records(records) = &event {
            self.metrics.consume_records.inc_by(records.len() as u64);
        }
        Ok(event)
    }

    async fn seek(&mut self, place: &TopicPartition, offset: u64) -> Result<(), BusError> {
        let own = self.own(place)?;
        own.generation += 1;
        own.held.clear();
        let generation = own.generation;
        self.ready.retain(|record| record.place != *place);
        self.send(Command::Seek { place: place.clone(), offset, generation })
    }

    async fn pause(&mut self, place: &TopicPartition, paused: bool) -> Result<(), BusError> {
        let own = self.own(place)?;
        own.paused = paused;
        if paused {
            let (held, ready) = std::mem::take(&mut self.ready).into_iter().partition(|record| record.place == *place);
            self.ready = ready;
            // Behind what is held already: whoever is paused twice has nothing that is ready.
            self.own(place)?.held.extend(held);
        } else {
            let held = std::mem::take(&mut own.held);
            self.ready.extend(held);
        }
        self.send(Command::Pause { place: place.clone(), paused })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pausing_twice_drops_nothing() {
        let place = TopicPartition { topic: "weir.logs".into(), partition: 0 };
        let (commands, _orders) = mpsc::channel();
        let (tx, event) = async_mpsc::channel(EVENTS_MAX);
        let (owned, ready, metrics) = (BTreeMap::new(), VecDeque::new(), BusMetrics::default());
        let mut consumer = KafkaConsumer { commands, event, owned, ready, metrics };
        tx.send(Ok(PollerEvent::Assigned(vec![place.clone()]))).await.unwrap();
        consumer.next().await.unwrap();
        consumer.seek(&place, 0).await.unwrap();
        let record = |offset| Record { place: place.clone(), offset, value: Bytes::new() };
        let offsets = |event| match event {
            Event::Records(records) => records.into_iter().map(|record| record.offset).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        consumer.pause(&place, true).await.unwrap();
        for offset in 0..2 {
            tx.send(Ok(PollerEvent::Records(vec![(1, record(offset))]))).await.unwrap();
            // Another's event, so that `next` has an end.
            tx.send(Ok(PollerEvent::Revoked(Vec::new()))).await.unwrap();
            assert!(matches!(consumer.next().await.unwrap(), Event::Revoked(_)));
            consumer.pause(&place, true).await.unwrap();
        }
        consumer.pause(&place, false).await.unwrap();
        // Held back again before they were read.
        consumer.pause(&place, true).await.unwrap();
        consumer.pause(&place, true).await.unwrap();
        consumer.pause(&place, false).await.unwrap();
        let flowing = tokio::time::timeout(std::time::Duration::from_secs(1), consumer.next()).await;
        assert_eq!(offsets(flowing.expect("what was held flows").unwrap()), [0, 1]);
    }
}
