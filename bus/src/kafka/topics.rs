//! Topics: found, made when absent, and held against what weir needs of them. Called by the log when it first hears of a topic, and by
//! `weir check config --connect`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{Producer, ThreadedProducer};

use super::config::KafkaConfig;
use super::diagnosis::{Diagnosis, is_refusal};
use super::producer::Deliveries;
use crate::BusError;

/// One question to the brokers; beyond it the caller hears that they do not answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks at whether a topic that was made is there.
const TOPIC_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The first try of a question; each further one takes twice as long, and between them is seen whether the brokers have said no.
const FIRST_TRY: Duration = Duration::from_secs(1);
/// Records have to outlive an outage of the aggregators or of the object store; an hour is far too little for most.
const RETENTION_MIN: Duration = Duration::from_secs(3600);

/// A topic as the brokers have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) partitions: u32,
    /// Of the partition that has the fewest.
    pub(crate) replicas: u32,
}

/// A topic's settings, as the brokers tell them.
pub(crate) type Settings = BTreeMap<String, String>;

/// A setting of a topic that is weaker than what weir is told to rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weakness {
    setting: &'static str,
    has: String,
    needs: String,
}

impl fmt::Display for Weakness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is {}, and {}", self.setting, self.has, self.needs)
    }
}

/// What of a topic is weaker than configured; pure.
pub(crate) fn weaknesses(config: &KafkaConfig, found: Found, settings: &Settings) -> Vec<Weakness> {
    let mut weak = Vec::new();
    let mut least = |setting: &'static str, has: Option<u64>, needs: u64, key: &str| {
        if let Some(has) = has.filter(|has| *has < needs) {
            weak.push(Weakness { setting, has: has.to_string(), needs: format!("{key} asks for {needs}") });
        }
    };
    let number = |key: &str| settings.get(key).and_then(|value| value.parse().ok());
    least("partitions", Some(found.partitions.into()), config.partitions.into(), "bus.kafka.partitions");
    least("replication", Some(found.replicas.into()), config.replication.into(), "bus.kafka.replication");
    least("min.insync.replicas", number("min.insync.replicas"), config.in_sync().into(), "bus.kafka.min_insync_replicas");
    let bytes = config.message_bytes() as u64;
    least("max.message.bytes", number("max.message.bytes"), bytes, "bus.kafka.record_max and what goes around a record");
    if let Some(policy) = settings.get("cleanup.policy").filter(|policy| policy.contains("compact")) {
        let needs = "weir needs \"delete\": compaction refuses or deletes records without a key".to_owned();
        weak.push(Weakness { setting: "cleanup.policy", has: format!("{policy:?}"), needs });
    }
    weak
}

/// Why records may be gone before they are sealed; no reason to refuse a topic.
pub(crate) fn short_retention(settings: &Settings) -> Option<String> {
    let milliseconds: i64 = settings.get("retention.ms")?.parse().ok()?;
    let retention = Duration::from_millis(u64::try_from(milliseconds).ok()?);
    (retention < RETENTION_MIN).then(|| {
        format!("retention.ms is {milliseconds}: what is not sealed {} s after it was written is gone", retention.as_secs())
    })
}

/// Asks for the metadata of all topics, because asking for one can make it. Returns early when the brokers have said no. Blocks.
pub(crate) fn metadata(producer: &ThreadedProducer<Deliveries>, diagnosis: &Diagnosis) -> Result<Metadata, KafkaError> {
    let (begun, mut timeout) = (Instant::now(), FIRST_TRY);
    loop {
        let (asked, tried) = (Instant::now(), timeout.min(ANSWER_TIMEOUT.saturating_sub(begun.elapsed())));
        match producer.client().fetch_metadata(None, tried) {
            Ok(metadata) => {
                diagnosis.connected();
                return Ok(metadata);
            }
            Err(error) if begun.elapsed() >= ANSWER_TIMEOUT || diagnosis.is_hopeless() => return Err(error),
            // Answered long before its time: nobody is there. Why not is heard on another thread, a moment later.
            Err(error) if asked.elapsed() * 2 < tried => {
                if begun.elapsed() >= FIRST_TRY {
                    return Err(error);
                }
                std::thread::park_timeout(TOPIC_POLL_INTERVAL);
            }
            // At most four times: each took its time.
            Err(_) => timeout *= 2,
        }
    }
}

/// None when there is no such topic, or none that this client may see, or none with leaders yet.
pub(crate) fn find(metadata: &Metadata, name: &str) -> Option<Found> {
    let topic = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none())?;
    let led = topic.partitions().iter().all(|partition| partition.leader() >= 0);
    let replicas = topic.partitions().iter().map(|partition| partition.replicas().len() as u32).min()?;
    led.then_some(Found { partitions: topic.partitions().len() as u32, replicas })
}

/// What the brokers are asked about topics.
pub(crate) struct Topics<'a> {
    pub(crate) config: &'a KafkaConfig,
    pub(crate) diagnosis: &'a Diagnosis,
    pub(crate) producer: ThreadedProducer<Deliveries>,
}

impl Topics<'_> {
    pub(crate) async fn look_up(&self, topic: &str) -> Result<Option<Found>, BusError> {
        let (producer, diagnosis, name) = (self.producer.clone(), self.diagnosis.clone(), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || metadata(&producer, &diagnosis).map(|metadata| find(&metadata, &name)));
        let asked = asked.await.map_err(|error| BusError::Stopped(format!("metadata: {error}")))?;
        asked.map_err(|error| self.diagnosis.error("fetch metadata", &error))
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, BusError> {
        // The producer's settings fit the admin client, but for what only producers know.
        self.config.producer().create().map_err(|error| self.diagnosis.error("make an admin client", &error))
    }

    /// Makes a topic and waits for its leaders; with `only_try` the brokers say whether they would.
    pub(crate) async fn make(&self, topic: &str, partitions: u32, only_try: bool) -> Result<u32, BusError> {
        let (admin, what) = (self.admin()?, format!("create topic {topic}"));
        let replication = TopicReplication::Fixed(i32::from(self.config.replication));
        let bytes = self.config.message_bytes().to_string();
        let in_sync = self.config.in_sync().to_string();
        let new = NewTopic::new(topic, partitions as i32, replication)
            .set("max.message.bytes", &bytes)
            .set("min.insync.replicas", &in_sync);
        let options = options().operation_timeout(Some(ANSWER_TIMEOUT)).validate_only(only_try);
        let results = admin.create_topics(&[new], &options).await;
        let results = results.map_err(|error| self.diagnosis.error("create a topic", &error))?;
        let failed = |message| Err(BusError::Kafka { operation: "create a topic", message });
        match results.into_iter().next() {
            Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => self.diagnosis.allowed(&what),
            Some(Err((_, code))) if is_refusal(code) => {
                let told = self.diagnosis.refused(&what, code);
                return failed(format!("{told} (if it exists: may not describe it)"));
            }
            Some(Err((name, code))) => return failed(format!("{name}: {code}")),
            None => return failed("no answer".into()),
        }
        if only_try {
            return Ok(partitions);
        }
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(found) = self.look_up(topic).await? {
                return Ok(found.partitions);
            }
            tokio::time::sleep(TOPIC_POLL_INTERVAL).await;
        }
        failed(format!("{topic} has no leaders yet"))
    }

    /// Errors with the refusal of brokers that do not let this user see settings.
    pub(crate) async fn settings(&self, topic: &str) -> Result<Settings, BusError> {
        let (admin, what) = (self.admin()?, format!("describe the settings of topic {topic}"));
        let described = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options()).await;
        let described = described.map_err(|error| self.diagnosis.error("describe a topic", &error))?;
        let failed = |message| Err(BusError::Kafka { operation: "describe a topic", message });
        match described.into_iter().next() {
            Some(Ok(resource)) => {
                let entries = resource.entries.into_iter();
                Ok(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect())
            }
            Some(Err(code)) if is_refusal(code) => failed(format!("{} may not {what}: {code}", self.diagnosis.user())),
            Some(Err(code)) => failed(format!("{topic}: {code}")),
            None => failed("no answer".into()),
        }
    }

    /// Errors with `Config` when a topic that exists is weaker than configured and not named in `accept_weaker_topics`.
    pub(crate) async fn hold_against(&self, topic: &str, found: Found) -> Result<(), BusError> {
        let settings = match self.settings(topic).await {
            Ok(settings) => settings,
            Err(error) => {
                tracing::warn!(topic, %error, "the settings of a topic are not known, so they are not held against the configuration");
                Settings::new()
            }
        };
        let weak = weaknesses(self.config, found, &settings);
        if weak.is_empty() {
            return Ok(());
        }
        let weak = weak.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if self.config.accept_weaker_topics.iter().any(|accepted| accepted == topic) {
            tracing::warn!(topic, weak, "a topic is weaker than configured, and accepted");
            return Ok(());
        }
        Err(BusError::Config(format!(
            "topic {topic} is weaker than configured: {weak}. Mend the topic or the key, or name it in bus.kafka.accept_weaker_topics"
        )))
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: Found = Found { partitions: 16, replicas: 3 };

    fn settings(changed: &[(&str, &str)]) -> Settings {
        let stock = [("min.insync.replicas", "2"), ("max.message.bytes", "1049600"), ("cleanup.policy", "delete")];
        stock.iter().chain(changed).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn check(found: Found, changed: &[(&str, &str)], expected: &[&str]) {
        let weak = weaknesses(&KafkaConfig::default(), found, &settings(changed));
        assert_eq!(weak.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_weaker_topic_is_told_with_both_values_and_the_key() {
        check(FOUND, &[], &[]);
        check(Found { partitions: 99, replicas: 5 }, &[("min.insync.replicas", "4"), ("max.message.bytes", "9999999")], &[]);
        check(Found { partitions: 15, ..FOUND }, &[], &["partitions is 15, and bus.kafka.partitions asks for 16"]);
        check(Found { replicas: 2, ..FOUND }, &[], &["replication is 2, and bus.kafka.replication asks for 3"]);
        let in_sync = "min.insync.replicas is 1, and bus.kafka.min_insync_replicas asks for 2";
        check(FOUND, &[("min.insync.replicas", "1")], &[in_sync]);
        let bytes = "max.message.bytes is 1049599, and bus.kafka.record_max and what goes around a record asks for 1049600";
        check(FOUND, &[("max.message.bytes", "1049599")], &[bytes]);
        let policy = "cleanup.policy is \"compact,delete\", and weir needs \"delete\": compaction refuses or deletes records without a key";
        check(FOUND, &[("cleanup.policy", "compact,delete")], &[policy]);
    }

    #[test]
    fn settings_that_are_not_known_are_no_weakness() {
        assert_eq!(weaknesses(&KafkaConfig::default(), FOUND, &Settings::new()), []);
    }

    #[test]
    fn a_retention_below_an_hour_is_told() {
        for (value, short) in [("-1", false), ("604800000", false), ("3600000", false), ("3599999", true)] {
            assert_eq!(short_retention(&settings(&[("retention.ms", value)])).is_some(), short, "{value}");
        }
    }
}
