//! The group member: one consumer for all topics, an owner for each assigned partition.
//!
//! The poll loop never waits for a seal: a partition whose inbox is full is paused on the bus and goes on when its owner
//! has caught up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_bus::{BusError, Consumer, Event, Log, Record, TopicPartition};
use weir_store::StoreError;

use crate::commit::Committed;
use crate::owner::Ask;

/// Batches that wait in an owner's inbox: enough to keep it busy, few enough to bound memory.
const INBOX: usize = 4;

/// How often paused partitions are looked at.
const CATCH_UP: Duration = Duration::from_millis(5);

/// How often the bus is asked how far it is, for coverage.
const MEASURE: Duration = Duration::from_millis(250);

/// An owner that has begun.
pub(crate) struct Opened {
    /// Where the bus should go on.
    pub next_offset: u64,
    /// Its task.
    pub run: std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>,
}

/// Opens partitions of one kind.
#[async_trait]
pub(crate) trait Opener: Send + Sync {
    /// Takes ownership: loads the manifest and publishes it under the next epoch.
    async fn open(&self, place: &TopicPartition, inbox: mpsc::Receiver<Ask>) -> Result<Opened, StoreError>;
    /// The partition is no longer this process's.
    fn close(&self, partition: u32);
    /// How far the bus is.
    fn measure(&self, partition: u32, on_bus: u64);
}

/// Inboxes of the owners that run.
pub(crate) type Inboxes = Arc<Mutex<BTreeMap<TopicPartition, mpsc::Sender<Ask>>>>;

pub(crate) struct Group {
    pub bus: Arc<dyn Log>,
    pub openers: BTreeMap<&'static str, Arc<dyn Opener>>,
    pub inboxes: Inboxes,
    pub member: String,
}

struct Loop<'a> {
    group: &'a Group,
    consumer: Box<dyn Consumer>,
    /// What did not fit into the inbox of a paused partition.
    waiting: BTreeMap<TopicPartition, VecDeque<Ask>>,
    owners: JoinSet<(TopicPartition, Result<(), String>)>,
}

impl Group {
    /// Until told to stop. Errors when the bus fails for good.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), BusError> {
        let topics: Vec<&str> = self.openers.keys().copied().collect();
        let consumer = self.bus.consume(&topics, &self.member).await?;
        let mut state = Loop { group: self, consumer, waiting: BTreeMap::new(), owners: JoinSet::new() };
        let mut catch_up = tokio::time::interval(CATCH_UP);
        let mut measure = tokio::time::interval(MEASURE);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                event = state.consumer.next() => state.event(event?).await?,
                Some(ended) = state.owners.join_next() => state.ended(ended),
                _ = catch_up.tick(), if !state.waiting.is_empty() => state.catch_up().await?,
                _ = measure.tick() => state.measure().await,
            }
        }
        self.inboxes.lock().clear();
        while state.owners.join_next().await.is_some() {}
        Ok(())
    }
}

impl Loop<'_> {
    async fn event(&mut self, event: Event) -> Result<(), BusError> {
        match event {
            Event::Assigned(places) => {
                for place in places {
                    self.open(place).await?;
                }
            }
            Event::Revoked(places) => places.iter().for_each(|place| self.close(place)),
            Event::Records(records) => {
                for (place, records) in by_place(records) {
                    self.deliver(place, Ask::Take(records)).await?;
                }
            }
            Event::OutOfRange { place, wanted, first, next } => self.out_of_range(place, wanted, first, next).await?,
        }
        Ok(())
    }

    async fn open(&mut self, place: TopicPartition) -> Result<(), BusError> {
        let Some(opener) = self.group.openers.get(place.topic.as_str()) else { return Ok(()) };
        let (tx, rx) = mpsc::channel(INBOX);
        let opened = match opener.open(&place, rx).await {
            Ok(opened) => opened,
            Err(error) => {
                return Err(BusError::Config(format!("{} partition {} cannot be opened: {error}", place.topic, place.partition)));
            }
        };
        self.group.inboxes.lock().insert(place.clone(), tx);
        let (name, run) = (place.clone(), opened.run);
        self.owners.spawn(async move { (name, run.await) });
        self.consumer.seek(&place, opened.next_offset).await
    }

    fn close(&mut self, place: &TopicPartition) {
        self.group.inboxes.lock().remove(place);
        self.waiting.remove(place);
        if let Some(opener) = self.group.openers.get(place.topic.as_str()) {
            opener.close(place.partition);
        }
    }

    fn ended(&mut self, ended: Result<(TopicPartition, Result<(), String>), tokio::task::JoinError>) {
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((place, Err(reason))) => {
                tracing::error!(topic = place.topic, partition = place.partition, reason, "gave a partition up");
                self.close(&place);
            }
            Err(error) => tracing::error!(%error, "the owner of a partition was lost"),
        }
    }

    async fn deliver(&mut self, place: TopicPartition, ask: Ask) -> Result<(), BusError> {
        let inbox = self.group.inboxes.lock().get(&place).cloned();
        let Some(inbox) = inbox else { return Ok(()) };
        if let Some(queue) = self.waiting.get_mut(&place) {
            queue.push_back(ask);
            return Ok(());
        }
        match inbox.try_send(ask) {
            Ok(()) => Ok(()),
            // The owner has ended; the next assignment replays what it did not seal.
            Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(ask)) => {
                self.consumer.pause(&place, true).await?;
                self.waiting.entry(place).or_default().push_back(ask);
                Ok(())
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), BusError> {
        let mut resumed = Vec::new();
        for (place, queue) in &mut self.waiting {
            let inbox = self.group.inboxes.lock().get(place).cloned();
            while let (Some(inbox), Some(ask)) = (&inbox, queue.pop_front()) {
                if let Err(mpsc::error::TrySendError::Full(ask)) = inbox.try_send(ask) {
                    queue.push_front(ask);
                    break;
                }
            }
            if queue.is_empty() {
                resumed.push(place.clone());
            }
        }
        for place in resumed {
            self.waiting.remove(&place);
            self.consumer.pause(&place, false).await?;
        }
        Ok(())
    }

    /// The bus begins after what was wanted: declared as a loss. It ends before it: then it is not the bus that the
    /// manifest was written against, and going on would store other records under offsets that are taken.
    async fn out_of_range(&mut self, place: TopicPartition, wanted: u64, first: u64, next: u64) -> Result<(), BusError> {
        if wanted > next {
            return Err(BusError::Config(format!(
                "{} partition {} is sealed up to offset {wanted}, but the bus ends at {next}: it was replaced or truncated. \
                 Bring the bus back, or start with an empty store",
                place.topic, place.partition
            )));
        }
        tracing::error!(
            topic = place.topic,
            partition = place.partition,
            wanted,
            first,
            "the bus no longer has offsets that were not sealed"
        );
        self.deliver(place.clone(), Ask::Lose(first)).await?;
        self.consumer.seek(&place, first).await
    }

    async fn measure(&mut self) {
        let places: Vec<TopicPartition> = self.group.inboxes.lock().keys().cloned().collect();
        for place in places {
            if let (Ok((_, next)), Some(opener)) =
                (self.group.bus.bounds(&place).await, self.group.openers.get(place.topic.as_str()))
            {
                opener.measure(place.partition, next);
            }
        }
    }
}

fn by_place(records: Vec<Record>) -> BTreeMap<TopicPartition, Vec<Record>> {
    let mut places: BTreeMap<TopicPartition, Vec<Record>> = BTreeMap::new();
    for record in records {
        places.entry(record.place.clone()).or_default().push(record);
    }
    places
}

/// Asks every owner, and adds up what they did. Errors with the first refusal.
pub(crate) async fn ask_all(
    inboxes: &Inboxes,
    mut ask: impl FnMut(&TopicPartition, oneshot::Sender<Result<Committed, String>>) -> Ask,
) -> Result<Committed, String> {
    let owners: Vec<_> = inboxes.lock().iter().map(|(place, inbox)| (place.clone(), inbox.clone())).collect();
    let mut replies = Vec::new();
    for (place, inbox) in owners {
        let (tx, rx) = oneshot::channel();
        if inbox.send(ask(&place, tx)).await.is_ok() {
            replies.push(rx);
        }
    }
    let mut sum = Committed::default();
    for reply in replies {
        sum += reply.await.map_err(|_| "a partition moved meanwhile".to_owned())??;
    }
    Ok(sum)
}
