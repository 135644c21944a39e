//! The group member: one consumer for each topic, so that the group balances each topic by itself, and a task for each assigned
//! partition.
//!
//! The loop of a topic never waits for a partition: one whose commands are not taken is paused on the bus and goes on when it has
//! caught up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_bus::{BusError, Consumer, Event, Log, Record, TopicPartition};
use weir_heads::AdminResult;

use crate::AggregatorError;
use crate::error::Refusals;
use crate::machine::{Committed, OwnerCommand, Reply};
use crate::shell::{GroupRequest, ToGroup};
use crate::watermark::poll_watermarks;

/// How often paused partitions are looked at.
const CATCH_UP: Duration = Duration::from_millis(5);

/// What the tasks of a topic's partitions may have told and the loop has not yet heard; they wait for it.
const REQUESTS: usize = 16;

/// Owns partitions of one topic.
pub(crate) trait Owners: Send + Sync {
    /// The task of an assigned partition, until it is revoked.
    fn own(&self, group: ToGroup, revoked: CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    /// The partition is no longer this process's.
    fn close(&self, partition: u32);
    /// The partition cannot be served: answers say why, until it is opened or closed.
    fn quarantine(&self, partition: u32, reason: String);
    /// How far the bus is, as it said when it was asked then.
    fn record_watermark(&self, partition: u32, high_watermark: u64, asked: Instant);
}

pub(crate) type AllOwners = BTreeMap<&'static str, Arc<dyn Owners>>;

/// The partitions of all topics that are this process's, and where the open ones take commands.
#[derive(Clone, Default)]
pub(crate) struct OwnerRegistry(Arc<Mutex<Registry>>);

#[derive(Default)]
struct Registry {
    /// `None` while a partition is not open.
    owners: BTreeMap<TopicPartition, Option<mpsc::Sender<OwnerCommand>>>,
    /// Topics whose group has answered at least once.
    answered: BTreeSet<String>,
    /// The last partition was taken, and nothing was said since: then we may be no member any more.
    is_bare: bool,
}

impl OwnerRegistry {
    pub fn places(&self) -> Vec<TopicPartition> {
        self.0.lock().owners.keys().cloned().collect()
    }

    pub(crate) fn set(&self, place: &TopicPartition, commands: Option<mpsc::Sender<OwnerCommand>>) {
        self.0.lock().owners.insert(place.clone(), commands);
    }

    fn answered(&self, topic: &str) {
        let mut registry = self.0.lock();
        registry.answered.insert(topic.to_owned());
        registry.is_bare = false;
    }

    fn remove(&self, places: &[TopicPartition]) {
        let mut registry = self.0.lock();
        places.iter().for_each(|place| drop(registry.owners.remove(place)));
        registry.is_bare = registry.owners.is_empty();
    }

    fn clear(&self, topic: &str) {
        let mut registry = self.0.lock();
        registry.answered.remove(topic);
        registry.owners.retain(|place, _| place.topic != topic);
    }

    /// Partitions that are ours, once the group has answered for so many topics.
    fn assigned(&self, topics: usize) -> Option<usize> {
        let registry = self.0.lock();
        (registry.answered.len() == topics && !registry.is_bare).then_some(registry.owners.len())
    }

    fn commands(&self, place: &TopicPartition) -> Option<mpsc::Sender<OwnerCommand>> {
        self.0.lock().owners.get(place).cloned().flatten()
    }

    /// Commands every owner, and adds up what they did. Errors with every refusal, and every partition that is not open.
    pub async fn command_all(
        &self,
        mut command: impl FnMut(&TopicPartition, Reply) -> OwnerCommand,
    ) -> Result<AdminResult, AggregatorError> {
        let owners: Vec<_> = self.0.lock().owners.iter().map(|(place, owner)| (place.clone(), owner.clone())).collect();
        let (mut replies, mut refusals) = (Vec::new(), Vec::new());
        for (place, owner) in owners {
            let (tx, rx) = oneshot::channel();
            match owner {
                Some(owner) if owner.send(command(&place, tx)).await.is_ok() => replies.push((place, rx)),
                _ => refusals.push((place.clone(), AggregatorError::NotOpen { place })),
            }
        }
        let (mut sum, mut partitions) = (Committed::default(), Vec::with_capacity(replies.len()));
        for (place, reply) in replies {
            match reply.await {
                Ok(Ok(committed)) => {
                    sum += committed;
                    partitions.push(place);
                }
                Ok(Err(error)) => refusals.push((place, error)),
                Err(_) => refusals.push((place.clone(), AggregatorError::Moved { place })),
            }
        }
        let Committed { blocks, records } = sum;
        let done = AdminResult { blocks, records, partitions };
        if refusals.is_empty() { Ok(done) } else { Err(AggregatorError::Partitions(Refusals(refusals))) }
    }
}

pub(crate) struct Group {
    pub bus: Arc<dyn Log>,
    pub owners: AllOwners,
    pub registry: OwnerRegistry,
    /// Static identity of this process.
    pub member: String,
}

impl Group {
    /// Until told to stop. Errors when the bus fails for good.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), AggregatorError> {
        let loops = self.owners.iter().map(|(topic, owners)| Box::pin(self.run_topic(topic, owners, &shutdown)));
        let watermarks = poll_watermarks(Arc::clone(&self.bus), self.owners.clone(), self.registry.clone());
        tokio::select! {
            ended = futures_util::future::try_join_all(loops) => ended.map(drop),
            source = watermarks => Err(AggregatorError::TaskLost { task: "asking the bus how far it is", source }),
        }
    }

    async fn run_topic(
        &self,
        topic: &'static str,
        owners: &Arc<dyn Owners>,
        shutdown: &CancellationToken,
    ) -> Result<(), AggregatorError> {
        let consumer = self.bus.consume(&[topic], &member_of(&self.member, topic)).await?;
        let (requests_tx, mut requests) = mpsc::channel(REQUESTS);
        let mut group = GroupLoop {
            topic,
            owners: Arc::clone(owners),
            registry: self.registry.clone(),
            consumer,
            requests_tx,
            assignments: BTreeMap::new(),
            numbers: 0,
            waiting: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        let mut catch_up = tokio::time::interval(CATCH_UP);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                event = group.consumer.next() => group.event(event?).await?,
                Some((place, number, request)) = requests.recv() => group.requested(place, number, request).await?,
                Some(ended) = group.tasks.join_next() => ended.map_err(lost)?,
                _ = catch_up.tick(), if !group.waiting.is_empty() => group.catch_up().await?,
            }
        }
        self.registry.clear(topic);
        group.assignments.clear();
        requests.close();
        while let Some(ended) = group.tasks.join_next().await {
            ended.map_err(lost)?;
        }
        Ok(())
    }

    /// Partitions that the bus has assigned to this process, open or not; `None` until the group has answered, and after
    /// it has taken the last one until it answers again.
    pub fn assigned(&self) -> Option<usize> {
        self.registry.assigned(self.owners.len())
    }
}

/// What a process is called in the group of a topic.
pub(crate) fn member_of(process: &str, topic: &str) -> String {
    format!("{process}/{topic}")
}

fn lost(source: JoinError) -> AggregatorError {
    AggregatorError::TaskLost { task: "the task of a partition", source }
}

/// A partition that the group has given to this process.
struct Assignment {
    /// Tells it from earlier ones of the same partition, whose tasks may end later.
    number: u64,
    /// Ends its task.
    revoked: CancellationToken,
}

impl Drop for Assignment {
    fn drop(&mut self) {
        self.revoked.cancel();
    }
}

/// One topic's.
struct GroupLoop {
    topic: &'static str,
    owners: Arc<dyn Owners>,
    registry: OwnerRegistry,
    consumer: Box<dyn Consumer>,
    requests_tx: mpsc::Sender<(TopicPartition, u64, GroupRequest)>,
    assignments: BTreeMap<TopicPartition, Assignment>,
    numbers: u64,
    /// What a paused partition has not taken yet.
    waiting: BTreeMap<TopicPartition, VecDeque<OwnerCommand>>,
    tasks: JoinSet<()>,
}

impl GroupLoop {
    async fn event(&mut self, event: Event) -> Result<(), BusError> {
        match event {
            Event::Assigned(places) => {
                places.into_iter().for_each(|place| self.assign(place));
                self.registry.answered(self.topic);
            }
            Event::Revoked(places) => {
                for place in &places {
                    self.assignments.remove(place);
                    self.waiting.remove(place);
                    self.owners.close(place.partition);
                }
                self.registry.remove(&places);
            }
            Event::Records(records) => {
                for (place, records) in by_place(records) {
                    self.deliver(place, OwnerCommand::Append(records)).await?;
                }
            }
            Event::OutOfRange { place, wanted, first, next } => {
                self.deliver(place, OwnerCommand::OutOfRange { wanted, first, next }).await?;
            }
        }
        Ok(())
    }

    fn assign(&mut self, place: TopicPartition) {
        self.numbers += 1;
        self.registry.set(&place, None);
        let group = ToGroup { place: place.clone(), number: self.numbers, tx: self.requests_tx.clone() };
        let revoked = CancellationToken::new();
        self.tasks.spawn(self.owners.own(group, revoked.clone()));
        self.assignments.insert(place, Assignment { number: self.numbers, revoked });
    }

    /// A request of an assignment that is over is history.
    async fn requested(&mut self, place: TopicPartition, number: u64, request: GroupRequest) -> Result<(), BusError> {
        if self.assignments.get(&place).is_none_or(|assignment| assignment.number != number) {
            return Ok(());
        }
        match request {
            GroupRequest::Open { next_offset, commands, show } => {
                show();
                self.registry.set(&place, Some(commands));
                self.consumer.seek(&place, next_offset).await?;
                self.consumer.pause(&place, false).await
            }
            GroupRequest::Seek(offset) => self.consumer.seek(&place, offset).await,
            // Either another owner was first and we will hear of it, or the damage is the partition's own: it is opened again in a
            // while, unless it is taken from us until then.
            GroupRequest::Close { reason, pause } => {
                tracing::error!(
                    topic = place.topic,
                    partition = place.partition,
                    reason,
                    ?pause,
                    "a partition is not served; trying again"
                );
                self.waiting.remove(&place);
                self.registry.set(&place, None);
                self.owners.quarantine(place.partition, reason);
                self.consumer.pause(&place, true).await
            }
        }
    }

    async fn deliver(&mut self, place: TopicPartition, command: OwnerCommand) -> Result<(), BusError> {
        // While it is not open, what arrives is dropped here and read anew from where the manifest ends.
        let Some(commands) = self.registry.commands(&place) else { return Ok(()) };
        if let Some(queue) = self.waiting.get_mut(&place) {
            queue.push_back(command);
            return Ok(());
        }
        match commands.try_send(command) {
            // Closed: the group will hear why; the next opening reads again what this one did not seal.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(command)) => {
                self.consumer.pause(&place, true).await?;
                self.waiting.entry(place).or_default().push_back(command);
                Ok(())
            }
        }
    }

    async fn catch_up(&mut self) -> Result<(), BusError> {
        let mut resumed = Vec::new();
        for (place, queue) in &mut self.waiting {
            let commands = self.registry.commands(place);
            while let (Some(commands), Some(command)) = (&commands, queue.pop_front()) {
                if let Err(mpsc::error::TrySendError::Full(command)) = commands.try_send(command) {
                    queue.push_front(command);
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
}

fn by_place(records: Vec<Record>) -> BTreeMap<TopicPartition, Vec<Record>> {
    let mut places: BTreeMap<TopicPartition, Vec<Record>> = BTreeMap::new();
    for record in records {
        places.entry(record.place.clone()).or_default().push(record);
    }
    places
}
