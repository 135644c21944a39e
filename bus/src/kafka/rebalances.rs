//! What a consumer's client is called for by librdkafka: rebalances, carried out and remembered for the poller, and errors.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

use super::diagnosis::Diagnosis;
use super::event::{PollerEvent, place_of};

/// Does what the group says and remembers it for the poll loop, on whose thread it is called.
pub(crate) struct Rebalances {
    heard: Mutex<Vec<PollerEvent>>,
    diagnosis: Diagnosis,
    /// Complete "may not".
    read_group: String,
    /// None for an ephemeral member, to whom nothing comes that would show that it may after all.
    read_topics: Option<String>,
}

impl Rebalances {
    pub(crate) fn new(diagnosis: &Diagnosis, group: &str, topics: Option<&BTreeSet<String>>) -> Self {
        let names = |topics: &BTreeSet<String>| topics.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let read_topics = topics.map(|topics| format!("read topics {}", names(topics)));
        Self { heard: Mutex::default(), diagnosis: diagnosis.clone(), read_group: format!("read group {group}"), read_topics }
    }

    /// What was heard since the last call.
    pub(crate) fn take_heard(&self) -> Vec<PollerEvent> {
        std::mem::take(&mut *self.heard.lock())
    }

    /// What is refused as long as no records come; `None` for an ephemeral member.
    pub(crate) fn read_topics(&self) -> Option<&str> {
        self.read_topics.as_deref()
    }

    /// Whether the group has said what its share is, be it nothing.
    pub(crate) fn has_answered(&self) -> bool {
        self.heard.lock().iter().any(|event| matches!(event, PollerEvent::Assigned(_)))
    }
}

impl ClientContext for Rebalances {
    fn error(&self, error: KafkaError, reason: &str) {
        match (error.rdkafka_error_code(), &self.read_topics) {
            (Some(code @ RDKafkaErrorCode::GroupAuthorizationFailed), _) => drop(self.diagnosis.refused(&self.read_group, code)),
            (Some(code @ RDKafkaErrorCode::TopicAuthorizationFailed), Some(what)) => drop(self.diagnosis.refused(what, code)),
            _ => self.diagnosis.connection_failed(&error, reason),
        }
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let places = list.elements().iter().map(|own| place_of(own.topic(), own.partition())).collect();
        let assigned = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        self.diagnosis.allowed(&self.read_group);
        let done = if assigned {
            // Paused: nothing flows before the reader has said where to begin. At an offset that needs no look-up: librdkafka
            // repeats one that a seek has overtaken, and would go there after the seek.
            list.set_all_offsets(Offset::Offset(0))
                .and_then(|()| consumer.incremental_assign(list))
                .and_then(|()| consumer.pause(list))
        } else {
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            tracing::warn!(error = %error, assigned, "a rebalance was not carried out");
        }
        self.heard.lock().push(if assigned { PollerEvent::Assigned(places) } else { PollerEvent::Revoked(places) });
    }
}
