//! The Kafka bus as a [`Log`]: producing, topics, watermarks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::{Notify, oneshot};

use super::config::KafkaConfig;
use super::consumer::KafkaConsumer;
use super::visit;
use crate::{Ack, BusError, BusMetrics, Consumer, Log, TopicPartition};

/// One question to the brokers; beyond it the caller hears that they do not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// A leader that does not answer within it may have died: it is looked up again.
const LEADER_PATIENCE: Duration = Duration::from_secs(2);
/// A new leader is asked for again after this long; elections take a few hundred milliseconds.
const LEADER_LOOK: Duration = Duration::from_millis(50);
/// Between two looks at whether a topic that was made is there.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

type Answer = oneshot::Sender<Result<u64, BusError>>;

pub(crate) fn kafka_error(operation: &'static str) -> impl Fn(KafkaError) -> BusError {
    move |error| BusError::Kafka { operation, message: error.to_string() }
}

/// Hears of deliveries, on the producer's thread.
struct Deliveries {
    /// The queue has room again, perhaps.
    delivered: Notify,
    metrics: BusMetrics,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Answer>;

    fn delivery(&self, result: &DeliveryResult<'_>, answer: Box<Answer>) {
        let answered = match result {
            Ok(message) => {
                self.metrics.append_records.inc();
                self.metrics.append_bytes.inc_by(message.payload_len() as u64);
                u64::try_from(message.offset())
                    .map_err(|_| BusError::Kafka { operation: "append", message: "no offset in the answer".into() })
            }
            Err((error, _)) => {
                self.metrics.append_errors.inc();
                Err(kafka_error("append")(error.clone()))
            }
        };
        // Nobody waits for an ack that was dropped.
        let _ = answer.send(answered);
        self.delivered.notify_waiters();
    }
}

/// The Kafka bus. Dropping it gives up what was not acknowledged: await the acks first.
pub struct KafkaLog {
    config: KafkaConfig,
    metrics: BusMetrics,
    producer: ThreadedProducer<Deliveries>,
    /// Partitions of the topics seen; a topic's number does not change while weir runs.
    topics: Mutex<BTreeMap<String, u32>>,
}

impl KafkaLog {
    /// Makes the clients; does not wait for the brokers. Errors with `Config`, naming the key, when a setting cannot work.
    pub fn open(config: KafkaConfig, metrics: BusMetrics) -> Result<Self, BusError> {
        config.validate()?;
        let deliveries = Deliveries { delivered: Notify::new(), metrics: metrics.clone() };
        let producer = config
            .producer()
            .create_with_context(deliveries)
            .map_err(|error| BusError::Config(format!("kafka producer: {error}")))?;
        Ok(Self { config, metrics, producer, topics: Mutex::default() })
    }

    /// None when there is no such topic. Asks for all topics, because asking for one can make it.
    async fn look_up(&self, topic: &str) -> Result<Option<u32>, BusError> {
        let (producer, name) = (self.producer.clone(), topic.to_owned());
        let metadata = tokio::task::spawn_blocking(move || {
            let metadata = producer.client().fetch_metadata(None, ANSWER_TIMEOUT)?;
            let found = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
            let led = found.filter(|topic| topic.partitions().iter().all(|partition| partition.leader() >= 0));
            Ok(led.map(|topic| topic.partitions().len() as u32).filter(|partitions| *partitions > 0))
        });
        metadata.await.map_err(|error| BusError::Stopped(format!("metadata: {error}")))?.map_err(kafka_error("fetch metadata"))
    }

    async fn make(&self, topic: &str, partitions: u32) -> Result<u32, BusError> {
        // The producer's settings fit the admin client, but for what only producers know.
        let admin: AdminClient<DefaultClientContext> =
            self.config.producer().create().map_err(kafka_error("make an admin client"))?;
        let replication = TopicReplication::Fixed(i32::from(self.config.replication));
        let bytes = self.config.message_bytes().to_string();
        let in_sync = self.config.min_insync_replicas.min(self.config.replication).to_string();
        let new = NewTopic::new(topic, partitions as i32, replication)
            .set("max.message.bytes", &bytes)
            .set("min.insync.replicas", &in_sync);
        let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT)).operation_timeout(Some(ANSWER_TIMEOUT));
        let results = admin.create_topics(&[new], &options).await.map_err(kafka_error("create a topic"))?;
        match results.into_iter().next() {
            Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {}
            Some(Err((name, code))) => {
                return Err(BusError::Kafka { operation: "create a topic", message: format!("{name}: {code}") });
            }
            None => return Err(BusError::Kafka { operation: "create a topic", message: "no answer".into() }),
        }
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(partitions) = self.look_up(topic).await? {
                return Ok(partitions);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(BusError::Kafka { operation: "create a topic", message: format!("{topic} has no leaders yet") })
    }

    /// The partitions that a topic has; made with so many when it is absent.
    async fn ensure(&self, topic: &str, partitions: u32) -> Result<u32, BusError> {
        if let Some(known) = self.topics.lock().get(topic) {
            return Ok(*known);
        }
        let partitions = match self.look_up(topic).await? {
            Some(found) => found,
            None => self.make(topic, partitions).await?,
        };
        self.topics.lock().insert(topic.to_owned(), partitions);
        Ok(partitions)
    }

    async fn check_place(&self, place: &TopicPartition) -> Result<(), BusError> {
        if place.partition < self.partitions(&place.topic).await? {
            return Ok(());
        }
        Err(BusError::UnknownPartition { topic: place.topic.clone(), partition: place.partition })
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn partitions(&self, topic: &str) -> Result<u32, BusError> {
        self.ensure(topic, self.config.partitions).await
    }

    async fn append(&self, place: &TopicPartition, value: Bytes) -> Result<Ack, BusError> {
        let limit = self.config.record_bytes;
        if value.len() > limit {
            return Err(BusError::TooLarge { bytes: value.len(), limit });
        }
        self.check_place(place).await?;
        let (answer, acked) = oneshot::channel();
        let mut answer = Box::new(answer);
        let began = Instant::now();
        loop {
            let context = self.producer.context().clone();
            let delivered = context.delivered.notified();
            tokio::pin!(delivered);
            delivered.as_mut().enable();
            let record: BaseRecord<'_, (), [u8], _> = BaseRecord::with_opaque_to(&place.topic, answer);
            match self.producer.send(record.partition(place.partition as i32).payload(&value)) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => answer = record.delivery_opaque,
                Err((error, _)) => return Err(kafka_error("append")(error)),
            }
            delivered.await;
        }
        self.metrics.append_wait_seconds.inc_by(began.elapsed().as_secs_f64());
        Ok(Box::pin(async move { acked.await.unwrap_or_else(|_| Err(BusError::Stopped("the kafka producer is gone".into()))) }))
    }

    async fn consume(&self, topics: &[&str], member: &str) -> Result<Box<dyn Consumer>, BusError> {
        let mut places = BTreeSet::new();
        for topic in topics {
            let partitions = self.partitions(topic).await?;
            places.extend((0..partitions).map(|partition| TopicPartition { topic: (*topic).to_owned(), partition }));
        }
        self.ensure(visit::TOPIC, 1).await?;
        Ok(Box::new(KafkaConsumer::start(&self.config, self.metrics.clone(), &places, member)?))
    }

    async fn bounds(&self, place: &TopicPartition) -> Result<(u64, u64), BusError> {
        self.check_place(place).await?;
        let (producer, place) = (self.producer.clone(), place.clone());
        let fetched = tokio::task::spawn_blocking(move || fetch_watermarks(&producer, &place));
        let bounds = fetched.await.map_err(|error| BusError::Stopped(format!("watermarks: {error}")))?;
        let (first, next) = bounds.map_err(kafka_error("fetch watermarks"))?;
        Ok((first.max(0) as u64, next.max(0) as u64))
    }

    /// The brokers' retention deletes; nothing is committed to the group (see `docs/decisions/0094-no-offsets-in-the-group.md`).
    async fn release(&self, place: &TopicPartition, _offset: u64) -> Result<(), BusError> {
        self.check_place(place).await
    }
}

/// Asks again while the partition has no leader that answers, as just after the topic was made or a broker went away. A client
/// that produces nothing hears of new leaders only when it asks.
fn fetch_watermarks(producer: &ThreadedProducer<Deliveries>, place: &TopicPartition) -> Result<(i64, i64), KafkaError> {
    let begun = Instant::now();
    loop {
        let fetched = producer.client().fetch_watermarks(&place.topic, place.partition as i32, LEADER_PATIENCE);
        if fetched.is_ok() || begun.elapsed() > ANSWER_TIMEOUT {
            return fetched;
        }
        std::thread::park_timeout(LEADER_LOOK);
        if let Err(error) = producer.client().fetch_metadata(None, LEADER_PATIENCE) {
            tracing::debug!(topic = place.topic, partition = place.partition, %error, "the brokers do not say who leads");
        }
    }
}
