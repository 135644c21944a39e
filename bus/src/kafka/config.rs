//! What can be set about the Kafka bus.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use serde::{Deserialize, Serialize};
use weir_model::config::ByteSize;

use crate::{BusError, QUEUE_MAX};

/// The Kafka bus's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `host:port,…` of some brokers.
    pub brokers: String,
    /// The consumer group.
    pub group: String,
    /// Partitions of a topic when it is made, and the least of one that exists.
    pub partitions: u32,
    /// Replicas of a topic when it is made, and the least of one that exists.
    pub replication: u16,
    /// Replicas that must have a record before it is acknowledged, of a topic when it is made, and the least of one that exists; never
    /// more than `replication`.
    pub min_insync_replicas: u16,
    /// Largest record. A topic that was not made by weir has to allow it (`max.message.bytes`).
    pub record_max: ByteSize,
    /// Topics that are used although they exist with weaker settings than these, or are compacted.
    pub accept_weaker_topics: Vec<String>,
    /// Appends wait while more than this waits for the brokers.
    pub queue_max: ByteSize,
    /// Further properties of librdkafka: TLS, SASL, timeouts.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            group: "weir".into(),
            partitions: 16,
            replication: 3,
            min_insync_replicas: 2,
            record_max: ByteSize::mib(1),
            accept_weaker_topics: Vec::new(),
            queue_max: ByteSize::mib(32),
            properties: BTreeMap::new(),
        }
    }
}

/// A record batch's own bytes beside the record: 61 of the batch, and the record's varints.
const OVERHEAD_BYTES: usize = 1024;

/// Properties on which the bus's promises rest, and those that have a key of their own.
const OURS: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "queue.buffering.max.kbytes",
    "request.required.acks",
    "retries",
    "transactional.id",
];

/// How fast a member that died is noticed; whoever sets one of them sets both.
const SESSION: [&str; 2] = ["session.timeout.ms", "heartbeat.interval.ms"];

impl KafkaConfig {
    /// Errors with `Config`, naming the key.
    pub(crate) fn validate(&self) -> Result<(), BusError> {
        let wrong = |text: String| Err(BusError::Config(text));
        if let Some(key) = self.properties.keys().find(|key| OURS.contains(&key.as_str())) {
            return wrong(format!("properties.{key}: weir sets it itself, because what it promises rests on it"));
        }
        if self.brokers.is_empty() || self.group.is_empty() {
            return wrong("brokers and group: neither may be empty".into());
        }
        if self.partitions == 0 || self.partitions > 10_000 || self.replication == 0 {
            return wrong(format!("partitions: {}, replication: {}", self.partitions, self.replication));
        }
        if self.min_insync_replicas == 0 {
            return wrong("min_insync_replicas: 0".into());
        }
        if self.record_max < ByteSize::kib(1) || self.record_max > ByteSize::mib(64) {
            return wrong(format!("record_max: {} is not between 1KiB and 64MiB", self.record_max));
        }
        if self.queue_max.to_u64() < 2 * self.record_max.to_u64() || self.queue_max > QUEUE_MAX {
            return wrong(format!("queue_max: {} is not between two records of record_max and {QUEUE_MAX}", self.queue_max));
        }
        Ok(())
    }

    /// All that the clients would refuse when they are made: [`KafkaConfig::validate`], properties that librdkafka does not know or
    /// cannot use, files that it cannot read. No broker is waited for. Errors with `Config`.
    pub fn check(&self) -> Result<(), BusError> {
        self.validate()?;
        // librdkafka says what OpenSSL says, and not of which file. "probe" has it look for the system's.
        for (key, path) in self.properties.iter().filter(|(key, path)| key.ends_with(".location") && *path != "probe") {
            std::fs::metadata(path).map_err(|error| BusError::Config(format!("properties.{key} = {path:?}: {error}")))?;
        }
        let wrong = |error: KafkaError| BusError::Config(format!("properties: {error}"));
        self.producer().create::<BaseProducer>().map_err(wrong)?;
        self.consumer("weir-check").create::<BaseConsumer>().map_err(wrong)?;
        Ok(())
    }

    /// What a topic has to allow.
    pub(crate) fn message_bytes(&self) -> usize {
        self.record_max.to_usize() + OVERHEAD_BYTES
    }

    /// What a topic has to have in sync for an acknowledgement.
    pub(crate) fn in_sync(&self) -> u16 {
        self.min_insync_replicas.min(self.replication)
    }

    fn common(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config.set("message.max.bytes", self.message_bytes().to_string());
        config
    }

    /// Idempotent, acknowledged by all in-sync replicas, never giving up.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.common();
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set("message.timeout.ms", "0");
        // Records are compressed already.
        config.set("compression.type", "none");
        config.set("queue.buffering.max.kbytes", (self.queue_max.to_u64() / 1024).to_string());
        config
    }

    /// A static member that moves only what has to move, and never decides by itself where to begin.
    pub(crate) fn consumer(&self, member: &str) -> ClientConfig {
        let mut config = self.common();
        config.set("group.id", &self.group);
        config.set("group.instance.id", member);
        config.set("group.protocol", "classic");
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("check.crcs", "true");
        // A member that died is replaced within seconds (librdkafka waits 45 s). The least that brokers allow by default.
        if !SESSION.iter().any(|key| self.properties.contains_key(*key)) {
            config.set(SESSION[0], "6000");
            config.set(SESSION[1], "1500");
        }
        config
    }

    /// A member of the same group that is not static: its going is noticed at once.
    pub(crate) fn ephemeral_member(&self, member: &str) -> ClientConfig {
        let mut config = self.consumer(member);
        config.remove("group.instance.id");
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_break_the_contract_are_refused_by_name() {
        for key in OURS {
            let properties = [((*key).to_owned(), "x".to_owned())].into();
            let error = KafkaConfig { properties, ..KafkaConfig::default() }.validate().unwrap_err().to_string();
            assert!(error.contains(&format!("properties.{key}:")), "{error}");
        }
        let properties = [("security.protocol".to_owned(), "ssl".to_owned())].into();
        assert!(KafkaConfig { properties, ..KafkaConfig::default() }.validate().is_ok());
    }

    #[test]
    fn what_librdkafka_refuses_is_known_before() {
        let check = |key: &str, value: &str, expected: &str| {
            let properties = [(key.to_owned(), value.to_owned())].into();
            let error = KafkaConfig { properties, ..KafkaConfig::default() }.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{key} = {value}: {error}");
        };
        check("no.such.property", "x", "no.such.property");
        check("session.timeout.ms", "soon", "session.timeout.ms");
        check("ssl.ca.location", "/nowhere/ca.pem", "properties.ssl.ca.location = \"/nowhere/ca.pem\"");
        assert!(KafkaConfig::default().check().is_ok());
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        let check = |config: KafkaConfig, key: &str| assert!(config.validate().unwrap_err().to_string().contains(key));
        check(KafkaConfig { brokers: String::new(), ..KafkaConfig::default() }, "brokers");
        check(KafkaConfig { partitions: 0, ..KafkaConfig::default() }, "partitions");
        check(KafkaConfig { record_max: ByteSize::bytes(0), ..KafkaConfig::default() }, "record_max");
        check(KafkaConfig { queue_max: ByteSize::bytes(0), ..KafkaConfig::default() }, "queue_max");
        check(KafkaConfig { queue_max: ByteSize::gib(4), ..KafkaConfig::default() }, "queue_max");
    }
}
