//! Sees that the group has assigned every partition. A static member that comes back within its session gets the assignment that it
//! had, without a rebalance, even when some partitions were just then moving from one member to another: these would have no
//! owner until something else makes the group rebalance. So a member that joins checks the group, and when partitions have no owner, an
//! ephemeral member joins for a moment: its coming makes the group assign them. See `docs/decisions/0098-*.md`.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::config::KafkaConfig;
use super::diagnosis::Diagnosis;
use super::rebalances::Rebalances;
use crate::{BusError, TopicPartition};

/// What only ephemeral members subscribe to: a group admits nobody without a subscription. One partition, empty.
pub(crate) const TOPIC: &str = "weir.rebalance_probe";

/// Between two checks of the group. Partitions that move have no owner for less.
const POLL_INTERVAL: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The group admits nobody while it waits for a member that died, which is for a session.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_TIMEOUT: Duration = Duration::from_millis(50);
/// Of a topic's name, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;

/// Checks the group after its member has joined; ends with the member.
pub(crate) struct RebalanceWatcher(SyncSender<()>);

impl RebalanceWatcher {
    /// `places`: all that the group has to give out.
    pub(crate) fn start(
        config: &KafkaConfig,
        diagnosis: &Diagnosis,
        member: &str,
        places: BTreeSet<TopicPartition>,
    ) -> Result<Self, BusError> {
        let (watcher, joined) = sync_channel(1);
        let (group, diagnosis) = (config.group.clone(), diagnosis.clone());
        let watch = Watch { group, member: config.ephemeral_member(member), diagnosis, places };
        let thread = std::thread::Builder::new().name("weir-bus-group".into()).spawn(move || watch.run(&joined));
        thread.map(|_| Self(watcher)).map_err(|error| BusError::Stopped(format!("start a thread for the group: {error}")))
    }

    /// Checks soon, and again until no partition is without an owner.
    pub(crate) fn check(&self) {
        let _checking_already = self.0.try_send(());
    }
}

struct Watch {
    group: String,
    member: ClientConfig,
    diagnosis: Diagnosis,
    places: BTreeSet<TopicPartition>,
}

impl Watch {
    fn run(&self, joined: &Receiver<()>) {
        while joined.recv().is_ok() {
            let mut missed = false;
            while !matches!(joined.recv_timeout(POLL_INTERVAL), Err(RecvTimeoutError::Disconnected)) {
                match self.missing() {
                    Ok(Some(0)) => break,
                    // Twice in a row, so it is not on its way.
                    Ok(Some(missing)) if missed => {
                        tracing::warn!(
                            missing,
                            "partitions have no owner in the group; an ephemeral member joins, so that the group assigns them"
                        );
                        missed = false;
                        if let Err(error) = self.probe() {
                            tracing::warn!(%error, "the ephemeral member could not join the group; trying again");
                        }
                    }
                    Ok(missing) => missed = missing.is_some(),
                    Err(error) => tracing::debug!(%error, "the group cannot be described; trying again"),
                }
            }
        }
    }

    /// How many partitions have no owner; `None` while the group rebalances.
    fn missing(&self) -> Result<Option<usize>, KafkaError> {
        let client: BaseConsumer = self.member.create()?;
        let groups = client.client().fetch_group_list(Some(&self.group), ANSWER_TIMEOUT)?;
        let Some(group) = groups.groups().iter().find(|group| group.name() == self.group && group.state() == "Stable") else {
            return Ok(None);
        };
        let mut missing = self.places.clone();
        for given in group.members().iter().filter_map(|member| given(member.assignment()?)).flatten() {
            missing.remove(&given);
        }
        Ok(Some(missing.len()))
    }

    /// Joins the group and leaves it again.
    fn probe(&self) -> Result<(), KafkaError> {
        let context = Rebalances::new(&self.diagnosis, &self.group, None);
        let member: BaseConsumer<Rebalances> = self.member.create_with_context(context)?;
        member.subscribe(&[TOPIC])?;
        let (begun, mut last) = (Instant::now(), KafkaError::Canceled);
        while !member.context().has_answered() {
            if begun.elapsed() > JOIN_TIMEOUT {
                return Err(last);
            }
            if let Some(Err(error)) = member.poll(POLL_TIMEOUT) {
                last = error;
            }
        }
        Ok(())
    }
}

/// What a member has been given: `ConsumerProtocolAssignment` of Kafka's protocol, of any version.
fn given(mut bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    let bytes = &mut bytes;
    let _version = i16::from_be_bytes(take(bytes)?);
    let mut places = Vec::new();
    for _ in 0..i32::from_be_bytes(take(bytes)?) {
        let length = usize::try_from(i16::from_be_bytes(take(bytes)?)).ok()?;
        let (topic, rest) = bytes.split_at_checked(length)?;
        // Each partition holds its own copy of the name; Kafka's own limit keeps that small, whoever wrote this.
        let topic = std::str::from_utf8(topic).ok().filter(|topic| topic.len() <= TOPIC_BYTES_MAX)?;
        *bytes = rest;
        for _ in 0..i32::from_be_bytes(take(bytes)?) {
            let partition = u32::try_from(i32::from_be_bytes(take(bytes)?)).ok()?;
            places.push(TopicPartition { topic: topic.to_owned(), partition });
        }
    }
    Some(places)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use weir_model::fuzz::{Fuzz, MemoryLimit};

    use super::*;

    #[test]
    fn what_a_member_has_been_given_is_read() {
        let bytes = b"\x00\x03\x00\x00\x00\x02\x00\x01a\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x05\x00\x02bc\x00\x00\x00\x00\xff\xff";
        let places = [0, 5].map(|partition| TopicPartition { topic: "a".into(), partition });
        assert_eq!(given(bytes), Some(places.to_vec()));
        assert_eq!(given(b"\x00\x00\x00\x00\x00\x00"), Some(Vec::new()));
        for end in 0..bytes.len() - 2 {
            assert_eq!(given(&bytes[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn fuzz_any_bytes_are_an_assignment_or_none() {
        let bytes = b"\x00\x03\x00\x00\x00\x02\x00\x01a\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x05\x00\x02bc\x00\x00\x00\x00\xff\xff";
        let limit = MemoryLimit { bytes: 64 << 10, per_input_byte: 256 };
        Fuzz::new("kafka_assignment").seed(bytes).words(&["\0\0\0\x01", "\x7f", "\0\x01a"]).memory(limit).run(|input| {
            let places = given(input).into_iter().flatten();
            assert!(places.count() <= input.len() / 4);
        });
    }
}
