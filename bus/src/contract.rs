//! The test that every implementation of [`Log`] passes; what the rest of weir relies on is here or it is not promised.
//! Called from the tests of `disk` and `sim` and, against a real broker, from the workspace's `tests/`. Panics with what
//! was broken. Not for production code.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::{Ack, BusError, Consumer, Event, Log, Record, TopicPartition};

/// What the checks need to know about the log under test.
pub struct Contract<'a> {
    pub log: &'a dyn Log,
    /// A topic that nothing else uses, with at least two partitions once it is made.
    pub topic: &'a str,
    /// The largest record that it takes.
    pub record_bytes: usize,
    /// After this long without an event, none is coming.
    pub quiet: Duration,
}

/// How long anything may take that has to happen: a broker's rebalance on a busy machine is the slowest. Nothing waits for it.
const PATIENCE: Duration = Duration::from_secs(180);

impl Contract<'_> {
    /// All of it. Leaves the topic with records in its first two partitions.
    pub async fn check(&self) {
        let partitions = self.log.partitions(self.topic).await.expect("partitions");
        assert!(partitions >= 2, "the contract needs two partitions");
        assert_eq!(self.log.partitions(self.topic).await.expect("partitions"), partitions, "partitions do not change");
        self.check_refusals(partitions).await;
        let (first, second) = (self.place(0), self.place(1));
        let one = self.append_many(&first, "one", 60).await;
        let two = self.append_many(&second, "two", 40).await;
        assert_eq!(self.log.bounds(&first).await.expect("bounds").1, one.last().expect("60 of them").0 + 1);
        let mut consumer = self.log.consume(&[self.topic], "member-1").await.expect("consume");
        self.assigned(&mut *consumer, partitions).await;
        self.check_seek(&mut *consumer, &first, &one).await;
        self.check_pause(&mut *consumer, &first, &one, &second, &two).await;
        self.check_tail(&mut *consumer, &first).await;
        self.check_out_of_range(&mut *consumer, &second, &two).await;
        self.check_release(&mut *consumer, &first, &one).await;
    }

    fn place(&self, partition: u32) -> TopicPartition {
        TopicPartition { topic: self.topic.to_owned(), partition }
    }

    async fn check_refusals(&self, partitions: u32) {
        let nowhere = self.place(partitions);
        let error = self.log.append(&nowhere, Bytes::from_static(b"x")).await.err().expect("no such partition");
        assert!(matches!(error, BusError::UnknownPartition { .. }), "{error}");
        let error = self.log.bounds(&nowhere).await.expect_err("no such partition");
        assert!(matches!(error, BusError::UnknownPartition { .. }), "{error}");
        let large = Bytes::from(vec![7; self.record_bytes + 1]);
        let error = self.log.append(&self.place(0), large).await.err().expect("too large");
        assert!(matches!(error, BusError::TooLarge { .. }), "{error}");
    }

    /// Appends in one go, then waits for the acks: order is that of the appends, acks are the offsets. Half of the acks are
    /// dropped unseen, which changes nothing.
    async fn append_many(&self, place: &TopicPartition, name: &str, count: usize) -> Vec<(u64, Bytes)> {
        let (_, next) = self.log.bounds(place).await.expect("bounds");
        let values: Vec<_> = (0..count).map(|i| Bytes::from(format!("{name}-{i}-{}", "x".repeat(i)))).collect();
        let mut acks: Vec<(usize, Ack)> = Vec::new();
        for (i, value) in values.iter().enumerate() {
            let ack = self.log.append(place, value.clone()).await.expect("append");
            if i % 2 == 0 || i + 1 == count {
                acks.push((i, ack));
            }
        }
        let mut offsets = BTreeMap::new();
        for (i, ack) in acks {
            offsets.insert(i, patient(ack).await.expect("ack"));
        }
        let mut all = Vec::new();
        for (i, value) in values.into_iter().enumerate() {
            let offset = next + i as u64;
            assert_eq!(*offsets.get(&i).unwrap_or(&offset), offset, "offsets follow the order of the appends");
            all.push((offset, value));
        }
        all
    }

    /// Waits until all partitions are ours; no record arrives before a seek.
    async fn assigned(&self, consumer: &mut dyn Consumer, partitions: u32) {
        let mut ours = Vec::new();
        while ours.len() < partitions as usize {
            match patient(news(consumer)).await {
                Event::Assigned(places) => ours.extend(places),
                Event::Revoked(places) => ours.retain(|place| !places.contains(place)),
                other => panic!("nothing flows before a seek, but {other:?}"),
            }
        }
        ours.sort();
        assert_eq!(ours, (0..partitions).map(|partition| self.place(partition)).collect::<Vec<_>>());
        self.nothing(consumer, "before a seek").await;
    }

    async fn nothing(&self, consumer: &mut dyn Consumer, when: &str) {
        if let Ok(event) = tokio::time::timeout(self.quiet, news(consumer)).await {
            panic!("nothing flows {when}, but {event:?}");
        }
    }

    /// Reads exactly `wanted` of one partition, in order.
    async fn expect(&self, consumer: &mut dyn Consumer, place: &TopicPartition, wanted: &[(u64, Bytes)]) {
        let mut got: Vec<Record> = Vec::new();
        while got.len() < wanted.len() {
            match patient(news(consumer)).await {
                Event::Records(records) => got.extend(records),
                other => panic!("expected records of {place:?}, got {other:?}"),
            }
        }
        let got: Vec<_> = got.into_iter().map(|record| (record.place, record.offset, record.value)).collect();
        let wanted: Vec<_> = wanted.iter().map(|(offset, value)| (place.clone(), *offset, value.clone())).collect();
        assert_eq!(got, wanted, "what was appended is read, in order, at the offsets of the acks");
    }

    async fn check_seek(&self, consumer: &mut dyn Consumer, place: &TopicPartition, all: &[(u64, Bytes)]) {
        for from in [0, 10, all.len() - 1, 3] {
            consumer.seek(place, all[from].0).await.expect("seek");
            self.expect(consumer, place, &all[from..]).await;
        }
        self.nothing(consumer, "after the last record").await;
    }

    async fn check_pause(
        &self,
        consumer: &mut dyn Consumer,
        held: &TopicPartition,
        held_all: &[(u64, Bytes)],
        free: &TopicPartition,
        free_all: &[(u64, Bytes)],
    ) {
        consumer.pause(held, true).await.expect("pause");
        consumer.seek(held, held_all[5].0).await.expect("seek");
        consumer.seek(free, free_all[0].0).await.expect("seek");
        self.expect(consumer, free, free_all).await;
        self.nothing(consumer, "of a paused partition").await;
        consumer.pause(held, false).await.expect("pause");
        self.expect(consumer, held, &held_all[5..]).await;
        // With records on their way; holding back what is held back changes nothing.
        consumer.seek(held, held_all[7].0).await.expect("seek");
        tokio::time::sleep(self.quiet).await;
        for _ in 0..3 {
            consumer.pause(held, true).await.expect("pause");
            self.nothing(consumer, "of a paused partition").await;
        }
        consumer.pause(held, false).await.expect("pause");
        self.expect(consumer, held, &held_all[7..]).await;
    }

    /// What is appended while a consumer waits arrives; calls of `next` that are dropped lose nothing.
    async fn check_tail(&self, consumer: &mut dyn Consumer, place: &TopicPartition) {
        // Polled once and dropped: nothing is there yet.
        assert!(news(consumer).now_or_never().is_none(), "nothing flows after the last record");
        let fresh = self.append_many(place, "fresh", 8).await;
        self.expect(consumer, place, &fresh).await;
    }

    async fn check_out_of_range(&self, consumer: &mut dyn Consumer, place: &TopicPartition, all: &[(u64, Bytes)]) {
        let (_, next) = self.log.bounds(place).await.expect("bounds");
        consumer.seek(place, next + 1000).await.expect("seek");
        match patient(news(consumer)).await {
            Event::OutOfRange { place: own, wanted, first, next: end } => {
                assert_eq!((&own, wanted, end), (place, next + 1000, next));
                assert!(first <= all[0].0);
            }
            other => panic!("expected OutOfRange, got {other:?}"),
        }
        self.nothing(consumer, "after OutOfRange and before a seek").await;
        consumer.seek(place, all[30].0).await.expect("seek");
        self.expect(consumer, place, &all[30..]).await;
    }

    async fn check_release(&self, consumer: &mut dyn Consumer, place: &TopicPartition, all: &[(u64, Bytes)]) {
        let (_, next) = self.log.bounds(place).await.expect("bounds");
        self.log.release(place, all[20].0).await.expect("release");
        self.log.release(place, all[10].0).await.expect("releasing less than before changes nothing");
        let (first, after) = self.log.bounds(place).await.expect("bounds");
        assert!(first <= all[20].0 && after == next, "only what is released may go");
        consumer.seek(place, all[20].0).await.expect("seek");
        match patient(news(consumer)).await {
            Event::Records(records) => assert_eq!((records[0].offset, &records[0].value), (all[20].0, &all[20].1)),
            other => panic!("expected records, got {other:?}"),
        }
    }

    /// Appends records of `record_bytes` until one has to wait, then calls `relieve` and sees it go on. Only for logs whose cap
    /// is small; a log that drops or grows instead never comes back from the loop. Returns how many went in before the wait.
    pub async fn check_back_pressure(&self, relieve: impl AsyncFnOnce()) -> usize {
        self.log.partitions(self.topic).await.expect("partitions");
        let place = self.place(0);
        let value = Bytes::from(vec![9; self.record_bytes]);
        let mut acks = Vec::new();
        let waiting = loop {
            let mut append = self.log.append(&place, value.clone());
            match tokio::time::timeout(self.quiet, &mut append).await {
                Ok(ack) => acks.push(ack.expect("append")),
                Err(_) => break append,
            }
        };
        let before = acks.len();
        relieve().await;
        acks.push(patient(waiting).await.expect("append"));
        let mut last = None;
        for ack in acks {
            let offset = patient(ack).await.expect("nothing that was taken in is dropped");
            assert!(last.is_none_or(|last| last < offset));
            last = Some(offset);
        }
        before
    }
}

/// What a consumer hears next. That the group has given out its partitions again, and none of them to it, is no news.
async fn news(consumer: &mut dyn Consumer) -> Event {
    loop {
        match consumer.next().await.expect("next") {
            Event::Assigned(places) if places.is_empty() => {}
            event => return event,
        }
    }
}

async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the bus answers within three minutes")
}
