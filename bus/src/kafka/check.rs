//! What `weir check config --connect` finds out about Kafka: whether the brokers answer this user, and topics and group are as weir needs
//! them. Writes nothing and makes nothing; every question has an end.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::diagnosis::is_refusal;
use super::log::KafkaLog;
use super::topics::{ANSWER_TIMEOUT, Found, find, metadata, short_retention, weaknesses};
use crate::BusError;

/// Between two questions to a group that has no coordinator yet.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub subject: String,
    /// How it is, or what is wrong with it.
    pub outcome: Result<String, String>,
}

impl KafkaLog {
    /// Tries the brokers, then these topics, then the group. Topics that are not there are not made: the brokers say whether they
    /// would be.
    pub async fn examine(&self, topics: &[&str]) -> Vec<Finding> {
        let subject = format!("bus.kafka.brokers = {:?}", self.config.brokers);
        let (producer, diagnosis) = (self.producer.any(), self.diagnosis.clone());
        let names: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let asked = tokio::task::spawn_blocking(move || {
            metadata(&producer, &diagnosis).map(|all| {
                let found = names.iter().map(|name| find(&all, name)).collect::<Vec<_>>();
                (all.brokers().len(), found)
            })
        });
        let (brokers, found) = match asked.await {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => {
                let error = self.diagnosis.error("fetch metadata", &error);
                return vec![Finding { subject, outcome: Err(error.to_string()) }];
            }
            Err(error) => return vec![Finding { subject, outcome: Err(error.to_string()) }],
        };
        let answer = if brokers == 1 { "answers" } else { "answer" };
        let mut findings = vec![Finding { subject, outcome: Ok(format!("{brokers} {answer} {}", self.diagnosis.user())) }];
        for (topic, found) in topics.iter().zip(&found) {
            match found {
                Some(found) => self.examine_topic(topic, *found, &mut findings).await,
                None => findings.push(self.examine_absent(topic).await),
            }
        }
        if let Some((topic, _)) = topics.iter().zip(&found).find(|(_, found)| found.is_some()) {
            findings.push(self.examine_group(topic).await);
        }
        findings
    }

    async fn examine_topic(&self, topic: &str, found: Found, findings: &mut Vec<Finding>) {
        let mut add = |outcome| findings.push(Finding { subject: format!("topic {topic}"), outcome });
        let accepted = self.config.accept_weaker_topics.iter().any(|accepted| accepted == topic);
        let settings = match self.topics().settings(topic).await {
            Ok(settings) => settings,
            Err(error) => return add(Err(format!("its settings cannot be checked: {error}"))),
        };
        let weak = weaknesses(&self.config, found, &settings);
        let mut fine = true;
        for weakness in weak.iter().map(ToString::to_string).chain(short_retention(&settings)) {
            fine = false;
            add(if accepted { Ok(format!("{weakness}; accepted by bus.kafka.accept_weaker_topics")) } else { Err(weakness) });
        }
        if fine {
            let Found { partitions, replicas } = found;
            add(Ok(format!("partitions: {partitions}, replicas: {replicas}; settings fine")));
        }
    }

    async fn examine_absent(&self, topic: &str) -> Finding {
        let made = self.topics().make(topic, self.config.partitions, true).await;
        let (partitions, replicas) = (self.config.partitions, self.config.replication);
        let outcome = made.map(|_| format!("not there yet; can be made with partitions: {partitions}, replicas: {replicas}"));
        Finding { subject: format!("topic {topic}"), outcome: outcome.map_err(|error: BusError| error.to_string()) }
    }

    /// Asks the group's coordinator for an offset, which takes a right that reading the group includes.
    async fn examine_group(&self, topic: &str) -> Finding {
        let subject = format!("group {}", self.config.group);
        let (client, topic) = (self.config.ephemeral_member("check"), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client.create()?;
            let mut places = TopicPartitionList::new();
            places.add_partition(&topic, 0);
            let begun = Instant::now();
            loop {
                match consumer.committed_offsets(places.clone(), ANSWER_TIMEOUT) {
                    // The first question about a group makes the brokers choose who coordinates it.
                    Err(error) if is_being_chosen(&error) && begun.elapsed() < ANSWER_TIMEOUT => {
                        std::thread::park_timeout(ASK_AGAIN);
                    }
                    asked => return asked.map(|_| ()),
                }
            }
        });
        let outcome = match asked.await {
            Ok(Ok(())) => Ok("its coordinator answers".to_owned()),
            Ok(Err(error)) => Err(self.group_error(&error)),
            Err(error) => Err(error.to_string()),
        };
        Finding { subject, outcome }
    }

    fn group_error(&self, error: &KafkaError) -> String {
        match error.rdkafka_error_code() {
            Some(code) if is_refusal(code) => {
                format!("{} may not read group {}: {code}", self.diagnosis.user(), self.config.group)
            }
            _ => self.diagnosis.error("ask the group's coordinator", error).to_string(),
        }
    }
}

fn is_being_chosen(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| {
        matches!(code, Code::NotCoordinator | Code::CoordinatorNotAvailable | Code::CoordinatorLoadInProgress)
    })
}
