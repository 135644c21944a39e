//! The members of the consumer group, and a task for each assigned partition.
//!
//! A topic of several partitions has a member of its own, because the group evens out partitions and not topics (decision 0125).
//! Topics of one partition share a member: each alone would count as even, and the first process would keep all of them.
//!
//! The loop of a member never waits for a partition: one whose commands are not taken is paused on the bus and goes on when it has
//! caught up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use weir_bus::{BusError, Consumer, Event, Log, Record, TopicPartition};

use crate::AggregatorError;
use crate::machine::OwnerCommand;
use crate::owners::{AllOwners, GroupRequest, Owners, ToGroup};
use crate::registry::OwnerRegistry;
use crate::watermark::poll_watermarks;

/// How often paused partitions are looked at.
const CATCH_UP: Duration = Duration::from_millis(5);

/// What the tasks of a member's partitions may have told and the loop has not yet heard; they wait for it.
const REQUESTS: usize = 16;

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
        let members = self.members().await?;
        let loops = members.into_iter().map(|owners| Box::pin(self.run_member(owners, &shutdown)));
        let watermarks = poll_watermarks(Arc::clone(&self.bus), self.owners.clone(), self.registry.clone());
        tokio::select! {
            ended = try_join_all(loops) => ended.map(drop),
            source = watermarks => Err(AggregatorError::TaskLost { task: "asking the bus how far it is", source }),
        }
    }

    /// What each member consumes.
    async fn members(&self) -> Result<Vec<AllOwners>, BusError> {
        let partitions = try_join_all(self.owners.keys().map(|topic| self.bus.partitions(topic))).await?;
        let (mut members, mut shared) = (Vec::new(), AllOwners::new());
        for ((topic, owners), partitions) in self.owners.iter().zip(partitions) {
            let own = (*topic, Arc::clone(owners));
            if partitions == 1 {
                shared.extend([own]);
            } else {
                members.push(AllOwners::from([own]));
            }
        }
        members.extend((!shared.is_empty()).then_some(shared));
        Ok(members)
    }

    async fn run_member(&self, owners: AllOwners, shutdown: &CancellationToken) -> Result<(), AggregatorError> {
        let topics: Vec<&str> = owners.keys().copied().collect();
        let consumer = self.bus.consume(&topics, &member_of(&self.member, &topics)).await?;
        let (requests_tx, mut requests) = mpsc::channel(REQUESTS);
        let mut group = GroupLoop {
            owners,
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
        topics.iter().for_each(|topic| self.registry.clear(topic));
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

/// What a process is called in the group as the consumer of these topics.
pub(crate) fn member_of(process: &str, topics: &[&str]) -> String {
    match topics {
        [topic] => format!("{process}/{topic}"),
        _ => process.to_owned(),
    }
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

/// One member's.
struct GroupLoop {
    owners: AllOwners,
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
    fn owners(&self, place: &TopicPartition) -> &dyn Owners {
        &**self.owners.get(place.topic.as_str()).expect("invariant: a consumer tells of the topics that it consumes")
    }

    async fn event(&mut self, event: Event) -> Result<(), BusError> {
        match event {
            Event::Assigned(places) => {
                places.into_iter().for_each(|place| self.assign(place));
                self.owners.keys().for_each(|topic| self.registry.set_answered(topic));
            }
            Event::Revoked(places) => {
                for place in &places {
                    self.assignments.remove(place);
                    self.waiting.remove(place);
                    self.owners(place).close(place.partition);
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
        let task = self.owners(&place).own(group, revoked.clone());
        self.tasks.spawn(task);
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
            // Either another owner was first and we will hear of it, or the store is away, or the damage is the partition's own: it is
            // opened again in a while, unless it is taken from us until then.
            GroupRequest::Close { reason } => {
                self.waiting.remove(&place);
                self.registry.set(&place, None);
                self.owners(&place).quarantine(place.partition, reason);
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
