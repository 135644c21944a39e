//! A bus around the real one that counts what it has acknowledged. Reads the headers of each record to do so, which costs
//! what it costs (microseconds a megabyte) and is part of every figure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use weir_bus::{Ack, BusError, Consumer, Log, TopicPartition};
use weir_model::wire::{Frame, Kind, Limits};

/// See the file's first lines.
pub struct Counted {
    inner: Arc<dyn Log>,
    seen: Arc<Seen>,
}

/// What was acknowledged.
#[derive(Default)]
struct Seen {
    /// Log lines, samples or spans, of all topics.
    records: AtomicU64,
    /// The records themselves; they are a tenth of what went in.
    values: Mutex<Vec<Bytes>>,
}

impl Counted {
    /// Around this bus.
    pub fn new(inner: Arc<dyn Log>) -> Arc<Self> {
        Arc::new(Self { inner, seen: Arc::default() })
    }

    /// Log lines, samples or spans acknowledged.
    pub fn records(&self) -> u64 {
        self.seen.records.load(Ordering::Acquire)
    }

    /// Bus records acknowledged, as they are stored.
    pub fn values(&self) -> Vec<Bytes> {
        self.seen.values.lock().clone()
    }

    /// Bytes of them.
    pub fn bytes(&self) -> u64 {
        self.seen.values.lock().iter().map(|value| value.len() as u64).sum()
    }

    /// Records (offsets) of a topic.
    pub async fn end(&self, kind: Kind) -> u64 {
        let mut end = 0;
        for partition in 0..self.partitions(kind.topic()).await.expect("the bus answers") {
            let place = TopicPartition { topic: kind.topic().to_owned(), partition };
            end += self.bounds(&place).await.expect("the bus answers").1;
        }
        end
    }
}

/// What a collector says of itself every few seconds is not what is measured.
fn records_of(value: &[u8]) -> u64 {
    let frame = Frame::read(value, &Limits::default()).expect("what is appended is a record");
    let measured = frame.headers().filter(|section| !section.source.starts_with("self_report:"));
    measured.map(|section| u64::from(section.records)).sum()
}

#[async_trait]
impl Log for Counted {
    async fn partitions(&self, topic: &str) -> Result<u32, BusError> {
        self.inner.partitions(topic).await
    }

    async fn append(&self, place: &TopicPartition, value: Bytes) -> Result<Ack, BusError> {
        let ack = self.inner.append(place, value.clone()).await?;
        let seen = Arc::clone(&self.seen);
        Ok(Box::pin(async move {
            let offset = ack.await?;
            let records = records_of(&value);
            seen.values.lock().push(value);
            seen.records.fetch_add(records, Ordering::AcqRel);
            Ok(offset)
        }))
    }

    async fn consume(&self, topics: &[&str], member: &str) -> Result<Box<dyn Consumer>, BusError> {
        self.inner.consume(topics, member).await
    }

    async fn bounds(&self, place: &TopicPartition) -> Result<(u64, u64), BusError> {
        self.inner.bounds(place).await
    }

    async fn release(&self, place: &TopicPartition, offset: u64) -> Result<(), BusError> {
        self.inner.release(place, offset).await
    }
}
