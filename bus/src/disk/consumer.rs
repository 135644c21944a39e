//! The one consumer of a topic of the disk log: all partitions at once, from the tail cache or by `pread`.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::index::{Lookup, Read};
use super::partition::Partition;
use super::shared::Shared;
use crate::{BusError, Consumer, Event, Record, TopicPartition};

struct Place {
    partition: Arc<Partition>,
    /// None before a seek.
    offset: Option<u64>,
    paused: bool,
}

pub(crate) struct DiskConsumer {
    shared: Arc<Shared>,
    topics: Vec<String>,
    /// In the order of their next turn.
    places: VecDeque<Place>,
    assigned: bool,
    published: watch::Receiver<u64>,
}

impl DiskConsumer {
    /// Errors with `Config` when a topic has a consumer already.
    pub(crate) fn new(shared: Arc<Shared>, topics: Vec<String>, partitions: Vec<Arc<Partition>>) -> Result<Self, BusError> {
        let mut consumed = shared.consumed.lock();
        if let Some(topic) = topics.iter().find(|topic| consumed.contains(*topic)) {
            return Err(BusError::Config(format!("{topic} has a consumer already; the disk log serves one a topic")));
        }
        consumed.extend(topics.iter().cloned());
        drop(consumed);
        let published = shared.published.subscribe();
        let places = partitions.into_iter().map(|partition| Place { partition, offset: None, paused: false }).collect();
        Ok(Self { shared, topics, places, assigned: false, published })
    }

    fn place(&mut self, place: &TopicPartition) -> Result<&mut Place, BusError> {
        let unknown = || BusError::UnknownPartition { topic: place.topic.clone(), partition: place.partition };
        self.places.iter_mut().find(|own| own.partition.place == *place).ok_or_else(unknown)
    }

    /// One lookup in each partition that flows, beginning with the one whose turn it is.
    async fn poll(&mut self) -> Result<Option<Event>, BusError> {
        for turn in 0..self.places.len() {
            let place = &self.places[turn];
            let Some(offset) = place.offset.filter(|_| !place.paused) else { continue };
            let partition = place.partition.clone();
            let name = partition.place.clone();
            let read = match partition.lookup(offset) {
                Lookup::Found(read) => read,
                Lookup::OnDisk(wanted) => {
                    let read = tokio::task::spawn_blocking(move || partition.fetch(&wanted));
                    read.await.map_err(|error| BusError::Stopped(format!("read: {error}")))??
                }
            };
            // From here on nothing waits, so a dropped call has changed nothing.
            let event = match read {
                Read::Empty => continue,
                Read::Absent { first, next } => Event::OutOfRange { place: name, wanted: offset, first, next },
                Read::Records(records) => self.records(name, records),
            };
            let mut place = self.places.remove(turn).ok_or_else(|| BusError::Stopped("no such turn".into()))?;
            place.offset = match &event {
                Event::Records(records) => records.last().map(|record| record.offset + 1),
                _ => None,
            };
            self.places.push_back(place);
            return Ok(Some(event));
        }
        Ok(None)
    }

    fn records(&self, place: TopicPartition, records: Vec<(u64, bytes::Bytes)>) -> Event {
        self.shared.metrics.consume_records.inc_by(records.len() as u64);
        Event::Records(records.into_iter().map(|(offset, value)| Record { place: place.clone(), offset, value }).collect())
    }
}

impl Drop for DiskConsumer {
    fn drop(&mut self) {
        let mut consumed = self.shared.consumed.lock();
        self.topics.iter().for_each(|topic| {
            consumed.remove(topic);
        });
    }
}

#[async_trait]
impl Consumer for DiskConsumer {
    async fn next(&mut self) -> Result<Event, BusError> {
        if !self.assigned {
            self.assigned = true;
            return Ok(Event::Assigned(self.places.iter().map(|place| place.partition.place.clone()).collect()));
        }
        loop {
            self.shared.check()?;
            self.published.borrow_and_update();
            if let Some(event) = self.poll().await? {
                return Ok(event);
            }
            // The sender lives as long as `shared`, which is ours too.
            let _ = self.published.changed().await;
        }
    }

    async fn seek(&mut self, place: &TopicPartition, offset: u64) -> Result<(), BusError> {
        self.place(place)?.offset = Some(offset);
        Ok(())
    }

    async fn pause(&mut self, place: &TopicPartition, paused: bool) -> Result<(), BusError> {
        self.place(place)?.paused = paused;
        Ok(())
    }
}
