//! Sees that the group has given out every partition. A static member that comes back within its session is given what it was last
//! told to have, and nobody is asked again, even when some partitions were just then on their way from one member to another: these
//! would be nobody's until something else happens to the group. So whoever comes looks at the group, and when partitions are
//! missing from it, sends a guest, whose coming makes the group give them out. See `docs/decisions/0098-rebalance-probe.md`.

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

/// What only guests subscribe to, since whoever subscribes to nothing is not let in. One partition, nothing in it.
pub(crate) const TOPIC: &str = "weir.visits";

/// Between two looks at the group. Partitions that move are nobody's for less.
const LOOK: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The group lets nobody in while it waits for a member that died, which is for a session.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// Of a topic's name, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;

/// Looks when it is told that its member has come; ends with it.
pub(crate) struct Host(SyncSender<()>);

impl Host {
    /// `places`: all that the group has to give out.
    pub(crate) fn start(
        config: &KafkaConfig,
        diagnosis: &Diagnosis,
        member: &str,
        places: BTreeSet<TopicPartition>,
    ) -> Result<Self, BusError> {
        let (host, told) = sync_channel(1);
        let (group, diagnosis) = (config.group.clone(), diagnosis.clone());
        let looking = Looking { group, guest: config.guest(member), diagnosis, places };
        let thread = std::thread::Builder::new().name("weir-bus-group".into()).spawn(move || looking.run(&told));
        thread.map(|_| Self(host)).map_err(|error| BusError::Stopped(format!("start a thread for the group: {error}")))
    }

    /// Looks soon, until nothing is missing.
    pub(crate) fn look(&self) {
        let _looking_already = self.0.try_send(());
    }
}

struct Looking {
    group: String,
    guest: ClientConfig,
    diagnosis: Diagnosis,
    places: BTreeSet<TopicPartition>,
}

impl Looking {
    fn run(&self, told: &Receiver<()>) {
        while told.recv().is_ok() {
            let mut missed = false;
            while !matches!(told.recv_timeout(LOOK), Err(RecvTimeoutError::Disconnected)) {
                match self.missing() {
                    Ok(Some(0)) => break,
                    // Twice in a row, so it is not on its way.
                    Ok(Some(missing)) if missed => {
                        tracing::warn!(
                            missing,
                            "the group has left out partitions; sending a guest, so that it counts them again"
                        );
                        missed = false;
                        if let Err(error) = self.visit() {
                            tracing::warn!(%error, "the group did not let the guest in; trying again");
                        }
                    }
                    Ok(missing) => missed = missing.is_some(),
                    Err(error) => tracing::debug!(%error, "the group cannot be looked at; trying again"),
                }
            }
        }
    }

    /// Partitions that nobody has; `None` while the group gives them out.
    fn missing(&self) -> Result<Option<usize>, KafkaError> {
        let asker: BaseConsumer = self.guest.create()?;
        let groups = asker.client().fetch_group_list(Some(&self.group), ANSWER_TIMEOUT)?;
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
    fn visit(&self) -> Result<(), KafkaError> {
        let context = Rebalances::new(&self.diagnosis, &self.group, None);
        let guest: BaseConsumer<Rebalances> = self.guest.create_with_context(context)?;
        guest.subscribe(&[TOPIC])?;
        let (begun, mut last) = (Instant::now(), KafkaError::Canceled);
        while !guest.context().has_answered() {
            if begun.elapsed() > PATIENCE {
                return Err(last);
            }
            if let Some(Err(error)) = guest.poll(POLL) {
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
