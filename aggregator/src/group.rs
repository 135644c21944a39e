//! The group member: one consumer for all topics, an owner for each assigned partition.
//!
//! The poll loop never waits for a seal: a partition whose inbox is full is paused on the bus and goes on when its owner
//! has caught up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_bus::{BusError, Consumer, Event, Log, Record, TopicPartition};
use weir_store::StoreError;
use weir_store::heads::Done;

use crate::commit::Committed;
use crate::measure::measure;
use crate::owner::Ask;

/// Batches that wait in an owner's inbox: enough to keep it busy, few enough to bound memory.
const INBOX: usize = 4;

/// How often paused partitions are looked at.
const CATCH_UP: Duration = Duration::from_millis(5);

/// An owner that was fenced, or could not open its partition, tries again after this long while the bus still says that
/// the partition is its: longer than a member that was away needs to hear that it is not (`heartbeat.interval.ms`).
/// Twice as long each time up to the last.
const REOPEN: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(16));

/// An owner that is ready to begin.
pub(crate) struct Opened {
    /// Where the bus should go on.
    pub next_offset: u64,
    /// Lets readers see it.
    pub show: Box<dyn FnOnce() + Send>,
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
    /// The partition cannot be served: answers say why, until it is opened or closed.
    fn quarantine(&self, partition: u32, reason: String);
    /// How far the bus is, as it said when it was asked then.
    fn measure(&self, partition: u32, on_bus: u64, asked: Instant);
    /// Another owner was first, or the store could not be reached: the partition is not served until it is opened again.
    fn count_interruption(&self, partition: u32);
}

pub(crate) type Openers = BTreeMap<&'static str, Arc<dyn Opener>>;

/// The partitions that are this member's, with the inboxes of the owners that run; `None` while one is opened.
pub(crate) type Inboxes = Arc<Mutex<BTreeMap<TopicPartition, Option<mpsc::Sender<Ask>>>>>;

pub(crate) struct Group {
    pub bus: Arc<dyn Log>,
    pub openers: Openers,
    pub inboxes: Inboxes,
    pub member: String,
    /// The group has answered what is ours, be it nothing. Not so after it has taken the last partition from us, until
    /// it answers again: then we may be no member any more.
    pub joined: AtomicBool,
}

/// An assigned partition.
struct Tenure {
    /// Tells this opening from earlier ones, whose tasks may end later.
    number: u64,
    /// What comes before the next try, should this one end.
    pause: Duration,
    /// Ends the opening; nothing once it is open.
    opening: tokio::task::AbortHandle,
}

type Opening = (TopicPartition, u64, mpsc::Sender<Ask>, Result<Opened, StoreError>);

struct Loop<'a> {
    group: &'a Group,
    consumer: Box<dyn Consumer>,
    tenures: BTreeMap<TopicPartition, Tenure>,
    openings: u64,
    opening: JoinSet<Opening>,
    /// What did not fit into the inbox of a paused partition.
    waiting: BTreeMap<TopicPartition, VecDeque<Ask>>,
    owners: JoinSet<(TopicPartition, u64, Result<(), String>)>,
}

impl Group {
    /// Until told to stop. Errors when the bus fails for good.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), BusError> {
        let topics: Vec<&str> = self.openers.keys().copied().collect();
        let consumer = self.bus.consume(&topics, &self.member).await?;
        let mut state = Loop {
            group: self,
            consumer,
            tenures: BTreeMap::new(),
            openings: 0,
            opening: JoinSet::new(),
            waiting: BTreeMap::new(),
            owners: JoinSet::new(),
        };
        let mut catch_up = tokio::time::interval(CATCH_UP);
        let mut measuring = JoinSet::new();
        measuring.spawn(measure(Arc::clone(&self.bus), self.openers.clone(), Arc::clone(&self.inboxes)));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                event = state.consumer.next() => state.event(event?).await?,
                Some(opened) = state.opening.join_next() => match opened {
                    Ok(opened) => state.opened(opened).await?,
                    // Revoked before it was open.
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => return Err(lost(error)),
                },
                Some(ended) = state.owners.join_next() => state.ended(ended.map_err(lost)?).await?,
                _ = catch_up.tick(), if !state.waiting.is_empty() => state.catch_up().await?,
                Some(lost) = measuring.join_next() => return Err(BusError::Stopped(format!("measuring the bus: {lost:?}"))),
            }
        }
        self.joined.store(false, Ordering::Release);
        self.inboxes.lock().clear();
        state.opening.shutdown().await;
        while state.owners.join_next().await.is_some() {}
        Ok(())
    }
}

fn lost(error: tokio::task::JoinError) -> BusError {
    BusError::Stopped(format!("the task of a partition was lost: {error}"))
}

impl Loop<'_> {
    async fn event(&mut self, event: Event) -> Result<(), BusError> {
        match event {
            Event::Assigned(places) => {
                places.into_iter().for_each(|place| self.open(place, Duration::ZERO));
                self.group.joined.store(true, Ordering::Release);
            }
            Event::Revoked(places) => {
                places.iter().for_each(|place| self.revoked(place));
                if self.tenures.is_empty() {
                    self.group.joined.store(false, Ordering::Release);
                }
            }
            Event::Records(records) => {
                for (place, records) in by_place(records) {
                    self.deliver(place, Ask::Take(records)).await?;
                }
            }
            Event::OutOfRange { place, wanted, first, next } => self.out_of_range(place, wanted, first, next).await?,
        }
        Ok(())
    }

    /// Begins to open a partition, beside the loop: reading a manifest and its blocks takes as long as the store takes.
    fn open(&mut self, place: TopicPartition, after: Duration) {
        let Some(opener) = self.group.openers.get(place.topic.as_str()).cloned() else { return };
        self.openings += 1;
        let (number, (tx, rx)) = (self.openings, mpsc::channel(INBOX));
        self.group.inboxes.lock().insert(place.clone(), None);
        let name = place.clone();
        let opening = self.opening.spawn(async move {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            let opened = opener.open(&name, rx).await;
            (name, number, tx, opened)
        });
        let pause = (after * 2).clamp(REOPEN.0, REOPEN.1);
        self.tenures.insert(place, Tenure { number, pause, opening });
    }

    async fn opened(&mut self, (place, number, tx, opened): Opening) -> Result<(), BusError> {
        let Some(pause) = self.current(&place, number) else { return Ok(()) };
        match opened {
            Ok(opened) => {
                (opened.show)();
                self.group.inboxes.lock().insert(place.clone(), Some(tx));
                let name = place.clone();
                self.owners.spawn(async move { (name, number, opened.run.await) });
                self.consumer.seek(&place, opened.next_offset).await?;
                self.consumer.pause(&place, false).await
            }
            Err(error) => {
                tracing::warn!(topic = place.topic, partition = place.partition, %error, ?pause, "a partition could not be opened; trying again");
                self.set_aside(&place, format!("it cannot be opened: {error}"));
                self.open(place, pause);
                Ok(())
            }
        }
    }

    /// The pause before the next try, if this is the newest opening of a partition that is still ours.
    fn current(&self, place: &TopicPartition, number: u64) -> Option<Duration> {
        self.tenures.get(place).filter(|tenure| tenure.number == number).map(|tenure| tenure.pause)
    }

    fn revoked(&mut self, place: &TopicPartition) {
        if let Some(tenure) = self.tenures.remove(place) {
            tenure.opening.abort();
        }
        self.group.inboxes.lock().remove(place);
        self.stop_serving(place);
    }

    fn stop_serving(&mut self, place: &TopicPartition) {
        self.waiting.remove(place);
        if let Some(opener) = self.group.openers.get(place.topic.as_str()) {
            opener.close(place.partition);
        }
    }

    /// An owner that was fenced while the bus says that the partition is ours: either we slept, and will hear of it, or
    /// the other one was mistaken. Opened again in a while, unless it is taken from us until then.
    async fn ended(&mut self, (place, number, ended): (TopicPartition, u64, Result<(), String>)) -> Result<(), BusError> {
        let Some(pause) = self.current(&place, number) else { return Ok(()) };
        let reason = ended.err().unwrap_or_else(|| "its owner ended".to_owned());
        tracing::error!(topic = place.topic, partition = place.partition, reason, "gave a partition up");
        self.give_up(place, pause, reason).await
    }

    /// A partition that is ours and cannot be served is set aside, and opened again in a while: its damage is its own.
    async fn give_up(&mut self, place: TopicPartition, pause: Duration, reason: String) -> Result<(), BusError> {
        self.set_aside(&place, reason);
        self.consumer.pause(&place, true).await?;
        self.open(place, pause);
        Ok(())
    }

    fn set_aside(&mut self, place: &TopicPartition, reason: String) {
        self.waiting.remove(place);
        if let Some(opener) = self.group.openers.get(place.topic.as_str()) {
            opener.count_interruption(place.partition);
            opener.quarantine(place.partition, reason);
        }
    }

    async fn deliver(&mut self, place: TopicPartition, ask: Ask) -> Result<(), BusError> {
        let inbox = self.group.inboxes.lock().get(&place).cloned();
        // While it is opened again, what arrives is dropped here and read anew from where the manifest ends.
        let Some(Some(inbox)) = inbox else { return Ok(()) };
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
            let inbox = self.group.inboxes.lock().get(place).cloned().flatten();
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
            let reason = replaced(&place, wanted, next);
            tracing::error!(topic = place.topic, partition = place.partition, reason, "gave a partition up");
            let Some(pause) = self.tenures.get(&place).map(|tenure| tenure.pause) else { return Ok(()) };
            return self.give_up(place, pause, reason).await;
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
}

/// Of a bus that is not the one that the manifest was written against.
pub(crate) fn replaced(place: &TopicPartition, sealed: u64, next: u64) -> String {
    format!(
        "{place} is sealed up to offset {sealed}, but the bus ends at {next}: it was replaced or truncated. \
         Bring the bus back, or start with an empty store"
    )
}

fn by_place(records: Vec<Record>) -> BTreeMap<TopicPartition, Vec<Record>> {
    let mut places: BTreeMap<TopicPartition, Vec<Record>> = BTreeMap::new();
    for record in records {
        places.entry(record.place.clone()).or_default().push(record);
    }
    places
}

/// Asks every owner, and adds up what they did. Errors with every refusal, and every partition that is not open.
pub(crate) async fn ask_all(
    inboxes: &Inboxes,
    mut ask: impl FnMut(&TopicPartition, oneshot::Sender<Result<Committed, String>>) -> Ask,
) -> Result<Done, String> {
    let owners: Vec<_> = inboxes.lock().iter().map(|(place, inbox)| (place.clone(), inbox.clone())).collect();
    let (mut replies, mut refusals) = (Vec::new(), Vec::new());
    for (place, inbox) in owners {
        let (tx, rx) = oneshot::channel();
        match inbox {
            Some(inbox) if inbox.send(ask(&place, tx)).await.is_ok() => replies.push((place, rx)),
            _ => refusals.push(format!("{place} is not open; try again")),
        }
    }
    let (mut sum, mut done) = (Committed::default(), Vec::with_capacity(replies.len()));
    for (place, reply) in replies {
        match reply.await {
            Ok(Ok(committed)) => {
                sum += committed;
                done.push(place);
            }
            Ok(Err(error)) => refusals.push(format!("{place}: {error}")),
            Err(_) => refusals.push(format!("{place} moved meanwhile")),
        }
    }
    let done = Done { blocks: sum.blocks, records: sum.records, partitions: done };
    if refusals.is_empty() { Ok(done) } else { Err(refusals.join("; ")) }
}
