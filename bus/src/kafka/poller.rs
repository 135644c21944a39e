//! The thread that polls a Kafka consumer. It polls whatever its reader is doing, so that a reader that is busy sealing
//! stays a member of the group; when the reader falls behind it pauses fetching instead of waiting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::config::KafkaConfig;
use super::diagnosis::{Diagnosis, is_refusal, kafka_error};
use super::event::{Command, PollerEvent, place_of};
use super::rebalance_probe::RebalanceWatcher;
use super::rebalances::Rebalances;
use super::rebootstrap::Rebootstrap;
use crate::{BusError, BusMetrics, Record, TopicPartition};

/// How long a poll waits when nothing is there: the reaction time to seeks and pauses.
const POLL: Duration = Duration::from_millis(5);
/// One question to the brokers, during which nothing is polled: far below the group's poll interval.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// An event is closed at so many bytes, or records.
const EVENT_BYTES: usize = 4 << 20;
const EVENT_RECORDS: usize = 256;
/// A seek is refused while librdkafka starts or has given up fetching; after so many polls it has given up.
const SEEK_TRIES: u32 = 40;
/// Whoever is fenced again within this has a twin that goes on living.
const FENCED_AGAIN: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Flow {
    generation: u64,
    /// Wanted and not yet reached, with the number of tries.
    seeking: Option<(u64, u32)>,
    /// The next record's offset at least; None before a seek and after OutOfRange.
    next: Option<u64>,
    paused: bool,
}

/// How the group is joined.
struct Membership {
    config: KafkaConfig,
    diagnosis: Diagnosis,
    member: String,
    topics: BTreeSet<String>,
    /// When another was let in under its name the last time.
    fenced: Option<Instant>,
}

impl Membership {
    fn join(&self) -> Result<BaseConsumer<Rebalances>, BusError> {
        let wrong = |error: KafkaError| BusError::Config(format!("kafka consumer: {error}"));
        let context = Rebalances::new(&self.diagnosis, &self.config.group, Some(&self.topics));
        let consumer: BaseConsumer<Rebalances> =
            self.config.consumer(&self.member).create_with_context(context).map_err(wrong)?;
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(kafka_error("subscribe"))?;
        Ok(consumer)
    }
}

pub(crate) struct Poller {
    membership: Membership,
    consumer: BaseConsumer<Rebalances>,
    commands: Receiver<Command>,
    event: Sender<Result<PollerEvent, BusError>>,
    flows: BTreeMap<TopicPartition, Flow>,
    /// For the reader, when it has room.
    outbox: VecDeque<Result<PollerEvent, BusError>>,
    /// Fetching is paused because of it.
    held: bool,
    watcher: RebalanceWatcher,
    rebootstrap: Rebootstrap,
}

impl Poller {
    /// Subscribes to the topics of these places and polls on a thread of its own until the reader is gone.
    pub(crate) fn start(
        (config, diagnosis, metrics): (&KafkaConfig, &Diagnosis, &BusMetrics),
        places: &BTreeSet<TopicPartition>,
        member: &str,
        commands: Receiver<Command>,
        event: Sender<Result<PollerEvent, BusError>>,
    ) -> Result<(), BusError> {
        let topics = places.iter().map(|place| place.topic.clone()).collect();
        let rebootstrap = Rebootstrap::new(config, metrics)?;
        let (config, diagnosis) = (config.clone(), diagnosis.clone());
        let watcher = RebalanceWatcher::start(&config, &diagnosis, member, places.clone())?;
        let membership = Membership { config, diagnosis, member: member.to_owned(), topics, fenced: None };
        let consumer = membership.join()?;
        let (flows, outbox) = (BTreeMap::new(), VecDeque::new());
        let poller = Self { membership, consumer, commands, event, flows, outbox, held: false, watcher, rebootstrap };
        let thread = std::thread::Builder::new().name("weir-bus-kafka".into()).spawn(move || poller.run());
        thread.map(|_| ()).map_err(|error| BusError::Stopped(format!("start the kafka poller: {error}")))
    }

    fn run(mut self) {
        while !self.event.is_closed() {
            if !self.apply_commands() {
                return;
            }
            self.rebootstrap.check(self.consumer.client());
            self.try_seeks();
            let records = self.poll();
            let heard = self.consumer.context().take_heard();
            for event in heard {
                self.regroup(&event);
                self.emit(Ok(event));
            }
            if !records.is_empty() {
                self.emit(Ok(PollerEvent::Records(records)));
            }
            self.hand_over();
        }
    }

    /// False when the reader is gone.
    fn apply_commands(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Seek { place, offset, generation }) => {
                    if let Some(flow) = self.flows.get_mut(&place) {
                        *flow = Flow { generation, seeking: Some((offset, 0)), next: None, paused: flow.paused };
                    }
                }
                Ok(Command::Pause { place, paused }) => {
                    if let Some(flow) = self.flows.get_mut(&place) {
                        flow.paused = paused;
                        self.apply_pause(&place);
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn apply_pause(&self, place: &TopicPartition) {
        let Some(flow) = self.flows.get(place) else { return };
        let list = list_of(place, Offset::Invalid);
        let done = if flow.paused || self.held || flow.next.is_none() {
            self.consumer.pause(&list)
        } else {
            self.consumer.resume(&list)
        };
        if let Err(error) = done {
            tracing::warn!(error = %error, topic = place.topic, partition = place.partition, "pause or resume failed");
        }
    }

    fn try_seeks(&mut self) {
        let wanted =
            self.flows.iter().filter_map(|(place, flow)| flow.seeking.map(|(offset, tries)| (place.clone(), offset, tries)));
        for (place, offset, tries) in wanted.collect::<Vec<_>>() {
            match self.bounds(&place) {
                Some((first, next)) if offset < first || offset > next => self.out_of_range(&place, offset, first, next),
                Some(_) => self.try_seek(&place, offset, tries),
                None => {}
            }
        }
    }

    /// None when the brokers do not answer now: there will be another time.
    fn bounds(&self, place: &TopicPartition) -> Option<(u64, u64)> {
        match self.consumer.fetch_watermarks(&place.topic, place.partition as i32, ANSWER_TIMEOUT) {
            Ok((first, next)) => Some((first.max(0) as u64, next.max(0) as u64)),
            Err(error) => {
                tracing::warn!(error = %error, topic = place.topic, partition = place.partition, "watermarks are not known");
                None
            }
        }
    }

    fn try_seek(&mut self, place: &TopicPartition, offset: u64, tries: u32) {
        let list = list_of(place, Offset::Offset(offset as i64));
        let sought = self.consumer.seek_partitions(list, ANSWER_TIMEOUT);
        let sought = sought.and_then(|list| list.elements().iter().try_for_each(|own| own.error()));
        let sought = match sought {
            Err(error) if tries >= SEEK_TRIES => {
                tracing::warn!(error = %error, "a seek is refused; assigning the partition anew");
                let list = list_of(place, Offset::Offset(offset as i64));
                self.consumer.incremental_unassign(&list).and_then(|()| self.consumer.incremental_assign(&list))
            }
            other => other,
        };
        let Some(flow) = self.flows.get_mut(place) else { return };
        if sought.is_ok() {
            flow.seeking = None;
            flow.next = Some(offset);
            self.apply_pause(place);
        } else {
            flow.seeking = Some((offset, tries + 1));
        }
    }

    fn out_of_range(&mut self, place: &TopicPartition, wanted: u64, first: u64, next: u64) {
        let Some(flow) = self.flows.get_mut(place) else { return };
        flow.seeking = None;
        flow.next = None;
        let generation = flow.generation;
        self.apply_pause(place);
        self.emit(Ok(PollerEvent::OutOfRange { generation, place: place.clone(), wanted, first, next }));
    }

    fn regroup(&mut self, event: &PollerEvent) {
        match event {
            PollerEvent::Assigned(places) => {
                // It has just come, or come back.
                if self.flows.is_empty() && !places.is_empty() {
                    self.watcher.check();
                }
                self.flows.extend(places.iter().map(|place| (place.clone(), Flow::default())));
            }
            PollerEvent::Revoked(places) => places.iter().for_each(|place| {
                self.flows.remove(place);
            }),
            PollerEvent::Records(_) | PollerEvent::OutOfRange { .. } => {}
        }
    }

    fn poll(&mut self) -> Vec<(u64, Record)> {
        let (mut records, mut bytes, mut wait) = (Vec::new(), 0, POLL);
        while records.len() < EVENT_RECORDS && bytes < EVENT_BYTES {
            let polled =
                self.consumer.poll(wait).map(|polled| polled.map(|message| (self.generation(&message), record_of(&message))));
            wait = Duration::ZERO;
            match polled {
                None => break,
                Some(Ok((Some(generation), record))) => {
                    bytes += record.value.len();
                    if let Some(flow) = self.flows.get_mut(&record.place) {
                        flow.next = Some(record.offset + 1);
                    }
                    records.push((generation, record));
                }
                // Before a seek, or overtaken by one.
                Some(Ok((None, _))) => {}
                Some(Err(error)) => {
                    self.handle_error(error);
                    break;
                }
            }
        }
        if let (false, Some(what)) = (records.is_empty(), self.consumer.context().read_topics()) {
            self.membership.diagnosis.allowed(what);
        }
        records
    }

    /// None when the reader has not asked for this message.
    fn generation(&self, message: &BorrowedMessage<'_>) -> Option<u64> {
        let flow = self.flows.get(&place_of(message.topic(), message.partition()))?;
        let wanted = flow.seeking.is_none() && flow.next.is_some_and(|next| message.offset() >= next as i64);
        wanted.then_some(flow.generation)
    }

    fn handle_error(&mut self, error: KafkaError) {
        let code = error.rdkafka_error_code();
        if self.consumer.client().fatal_error().is_some_and(|(code, _)| code == RDKafkaErrorCode::FencedInstanceId) {
            self.fenced();
            return;
        }
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_)) || self.consumer.client().fatal_error().is_some();
        if fatal || code == Some(RDKafkaErrorCode::BadMessage) {
            self.emit(Err(kafka_error("consume")(error)));
            return;
        }
        if matches!(code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) {
            // The error does not say where; the brokers do.
            let flows: Vec<_> = self.flows.iter().filter_map(|(place, flow)| Some((place.clone(), flow.next?))).collect();
            for (place, next) in flows {
                if let Some((first, end)) = self.bounds(&place)
                    && (next < first || next > end)
                {
                    self.out_of_range(&place, next, first, end);
                }
            }
            return;
        }
        // Refusals have been told by the client's context.
        if !code.is_some_and(is_refusal) {
            tracing::warn!(error = %error, "kafka reported an error; librdkafka goes on trying");
        }
    }

    /// The coordinator has let somebody in under this member's name. Mostly that was the member itself: after its session had ended
    /// while the brokers were away, librdkafka joins anew, and then repeats a heartbeat of before (0102). So it comes again, once.
    fn fenced(&mut self) {
        let Membership { member, fenced, .. } = &self.membership;
        if fenced.is_some_and(|at| at.elapsed() < FENCED_AGAIN) {
            let message = format!("another member of the group has the identity {member:?} too");
            return self.emit(Err(BusError::Kafka { operation: "consume", message }));
        }
        tracing::warn!(member, "the group has let somebody in under this member's name; joining it again");
        match self.membership.join() {
            Ok(consumer) => {
                self.consumer = consumer;
                self.membership.fenced = Some(Instant::now());
                let places: Vec<_> = std::mem::take(&mut self.flows).into_keys().collect();
                if !places.is_empty() {
                    self.emit(Ok(PollerEvent::Revoked(places)));
                }
            }
            Err(error) => self.emit(Err(error)),
        }
    }

    fn emit(&mut self, event: Result<PollerEvent, BusError>) {
        self.outbox.push_back(event);
    }

    /// Hands over what the reader has room for. While some is left, fetching is paused and polling goes on: what librdkafka
    /// had already fetched may still come and is kept, which bounds the outbox.
    fn hand_over(&mut self) {
        while let Some(event) = self.outbox.pop_front() {
            if let Err(TrySendError::Full(event)) = self.event.try_send(event) {
                self.outbox.push_front(event);
                break;
            }
        }
        if self.held == self.outbox.is_empty() {
            self.held = !self.held;
            self.flows.keys().for_each(|place| self.apply_pause(place));
        }
    }
}

fn list_of(place: &TopicPartition, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    // Only an offset that librdkafka cannot represent is refused, and an offset of a partition is none of these.
    let _ = list.add_partition_offset(&place.topic, place.partition as i32, offset);
    list
}

fn record_of(message: &BorrowedMessage<'_>) -> Record {
    let value = Bytes::copy_from_slice(message.payload().unwrap_or_default());
    Record { place: place_of(message.topic(), message.partition()), offset: message.offset().max(0) as u64, value }
}
