//! The Kafka bus as a [`Log`]: producing, topics, watermarks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use tokio::sync::oneshot;

use super::config::KafkaConfig;
use super::consumer::KafkaConsumer;
use super::diagnosis::Diagnosis;
use super::producer::{Deliveries, ReplaceableProducer};
use super::rebalance_probe;
use super::topics::{ANSWER_TIMEOUT, Topics};
use crate::{Ack, BusError, BusMetrics, Consumer, Log, TopicPartition};

/// A leader that does not answer within it may have died: it is looked up again.
const LEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// A new leader is asked for again after this long; elections take a few hundred milliseconds.
const LEADER_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The Kafka bus. Dropping it gives up what was not acknowledged: await the acks first.
pub struct KafkaLog {
    pub(super) config: KafkaConfig,
    metrics: BusMetrics,
    pub(super) diagnosis: Diagnosis,
    pub(super) producer: ReplaceableProducer,
    /// Partitions of the topics seen; a topic's number does not change while weir runs.
    pub(super) topics: Mutex<BTreeMap<String, u32>>,
}

impl KafkaLog {
    /// Makes the clients; does not wait for the brokers. Errors with `Config`, naming the key, when a setting cannot work.
    pub fn open(config: KafkaConfig, metrics: BusMetrics) -> Result<Self, BusError> {
        config.validate()?;
        let diagnosis = Diagnosis::new(&config);
        let producer = ReplaceableProducer::new(&config, &diagnosis, &metrics)?;
        Ok(Self { config, metrics, diagnosis, producer, topics: Mutex::default() })
    }

    pub(super) fn topics(&self) -> Topics<'_> {
        Topics { config: &self.config, diagnosis: &self.diagnosis, producer: self.producer.any() }
    }

    /// The partitions that a topic has; made with so many when it is absent.
    async fn ensure(&self, topic: &str, partitions: u32) -> Result<u32, BusError> {
        if let Some(known) = self.topics.lock().get(topic) {
            return Ok(*known);
        }
        let topics = self.topics();
        let partitions = match topics.look_up(topic).await? {
            Some(found) => {
                // Nothing lies in it, so that nothing can be lost in it.
                if topic != rebalance_probe::TOPIC {
                    topics.hold_against(topic, found).await?;
                }
                found.partitions
            }
            None => topics.make(topic, partitions, false).await?,
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
        let limit = self.config.record_max.to_usize();
        if value.len() > limit {
            return Err(BusError::TooLarge { bytes: value.len(), limit });
        }
        self.check_place(place).await?;
        let (answer, acked) = oneshot::channel();
        let mut answer = Box::new(answer);
        let began = Instant::now();
        loop {
            let producer = self.producer.usable()?;
            let context = producer.context().clone();
            let delivered = context.delivered.notified();
            tokio::pin!(delivered);
            delivered.as_mut().enable();
            let record: BaseRecord<'_, (), [u8], _> = BaseRecord::with_opaque_to(&place.topic, answer);
            match producer.send(record.partition(place.partition as i32).payload(&value)) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => answer = record.delivery_opaque,
                Err((error, _)) => return Err(self.diagnosis.error("append", &error)),
            }
            drop(producer);
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
        self.ensure(rebalance_probe::TOPIC, 1).await?;
        Ok(Box::new(KafkaConsumer::start(&self.config, &self.diagnosis, self.metrics.clone(), &places, member)?))
    }

    async fn bounds(&self, place: &TopicPartition) -> Result<(u64, u64), BusError> {
        self.check_place(place).await?;
        let (producer, place) = (self.producer.any(), place.clone());
        let fetched = tokio::task::spawn_blocking(move || fetch_watermarks(&producer, &place));
        let bounds = fetched.await.map_err(|error| BusError::Stopped(format!("watermarks: {error}")))?;
        let (first, next) = bounds.map_err(|error| self.diagnosis.error("fetch watermarks", &error))?;
        self.diagnosis.connected();
        Ok((first.max(0) as u64, next.max(0) as u64))
    }

    fn obstacles(&self) -> Option<String> {
        self.diagnosis.obstacles()
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
        let fetched = producer.client().fetch_watermarks(&place.topic, place.partition as i32, LEADER_TIMEOUT);
        if fetched.is_ok() || begun.elapsed() > ANSWER_TIMEOUT {
            return fetched;
        }
        std::thread::park_timeout(LEADER_POLL_INTERVAL);
        if let Err(error) = producer.client().fetch_metadata(None, LEADER_TIMEOUT) {
            tracing::debug!(topic = place.topic, partition = place.partition, %error, "the brokers do not say who leads");
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::bindings::rd_kafka_test_fatal_error;
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    use rdkafka::message::Message;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::RDKafkaRespErr;
    use rdkafka::{Offset, TopicPartitionList};

    use super::*;

    const TOPIC: &str = "weir.logs";

    /// What the brokers have, without what is there twice.
    fn stored(config: &KafkaConfig, count: usize) -> Vec<String> {
        let consumer: BaseConsumer = config.ephemeral_member("reader").create().unwrap();
        let mut places = TopicPartitionList::new();
        places.add_partition_offset(TOPIC, 0, Offset::Beginning).unwrap();
        consumer.assign(&places).unwrap();
        let (mut values, begun) = (Vec::new(), Instant::now());
        while values.len() < count {
            assert!(begun.elapsed() < Duration::from_secs(60), "only {values:?} are stored");
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    #[test]
    fn a_mechanism_that_is_not_built_in_is_refused_by_name() {
        let open = |mechanism: &str| {
            let properties = [("security.protocol", "sasl_ssl"), ("sasl.mechanism", mechanism), ("sasl.username", "u")];
            let properties = properties.iter().chain(&[("sasl.password", "p")]);
            let properties = properties.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            KafkaLog::open(KafkaConfig { properties, ..KafkaConfig::default() }, BusMetrics::default())
        };
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] {
            assert!(open(mechanism).is_ok(), "{mechanism}");
        }
        let said = open("GSSAPI").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.starts_with("bus configuration: kafka producer:") && said.contains("GSSAPI"), "{said}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_producer_that_is_given_up_is_replaced_and_nothing_is_lost() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 1, 1).unwrap();
        let config = KafkaConfig { brokers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
        let metrics = BusMetrics::default();
        let log = KafkaLog::open(config.clone(), metrics.clone()).unwrap();
        // The mock knows no settings of topics.
        log.topics.lock().insert(TOPIC.into(), 1);
        let place = TopicPartition { topic: TOPIC.into(), partition: 0 };
        // As a lane does: one record at a time, the same one until it is acknowledged.
        let mut errors = 0;
        for i in 0..40 {
            let fatal = [10, 20, 30].contains(&i);
            for again in 0.. {
                let ack = log.append(&place, Bytes::from(i.to_string())).await;
                if fatal && again == 0 {
                    let client = log.producer.any();
                    // SAFETY: the client outlives the call, and the text ends in a zero.
                    let done = unsafe {
                        let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
                        rd_kafka_test_fatal_error(client.client().native_ptr(), code, c"out of order".as_ptr())
                    };
                    assert_eq!(done, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
                }
                let acknowledged = match ack {
                    Ok(ack) => tokio::time::timeout(Duration::from_secs(60), ack).await.expect("an answer"),
                    Err(error) => Err(error),
                };
                if acknowledged.is_ok() {
                    break;
                }
                errors += 1;
                assert!(again < 600, "append {i}: {acknowledged:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert_eq!(metrics.producer_replacements.get(), 3);
        assert_eq!(stored(&config, 40), (0..40).map(|i| i.to_string()).collect::<Vec<_>>(), "after {errors} errors");
    }
}
