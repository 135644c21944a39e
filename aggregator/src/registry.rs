//! The partitions that are this process's, and the way to the tasks that own them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use weir_bus::TopicPartition;
use weir_heads::AdminResult;

use crate::AggregatorError;
use crate::error::Refusals;
use crate::machine::{Committed, OwnerCommand, Reply};

/// Opening takes some requests to the object store.
const OPEN_POLL_INTERVAL: Duration = Duration::from_millis(50);

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

    pub fn set(&self, place: &TopicPartition, commands: Option<mpsc::Sender<OwnerCommand>>) {
        self.0.lock().owners.insert(place.clone(), commands);
    }

    /// The group has said what this process has of a topic.
    pub fn set_answered(&self, topic: &str) {
        let mut registry = self.0.lock();
        registry.answered.insert(topic.to_owned());
        registry.is_bare = false;
    }

    pub fn remove(&self, places: &[TopicPartition]) {
        let mut registry = self.0.lock();
        places.iter().for_each(|place| drop(registry.owners.remove(place)));
        registry.is_bare = registry.owners.is_empty();
    }

    pub fn clear(&self, topic: &str) {
        let mut registry = self.0.lock();
        registry.answered.remove(topic);
        registry.owners.retain(|place, _| place.topic != topic);
    }

    /// Partitions that are ours, once the group has answered for so many topics.
    pub fn assigned(&self, topics: usize) -> Option<usize> {
        let registry = self.0.lock();
        (registry.answered.len() == topics && !registry.is_bare).then_some(registry.owners.len())
    }

    pub fn commands(&self, place: &TopicPartition) -> Option<mpsc::Sender<OwnerCommand>> {
        self.0.lock().owners.get(place).cloned().flatten()
    }

    /// Waits until so many of the partitions that are meant are ours and open, and all that are ours are open; no longer than `within`.
    pub async fn wait_open(&self, is_meant: impl Fn(&TopicPartition) -> bool, count: usize, within: Duration) {
        let is_open = || {
            let registry = self.0.lock();
            let mut meant = registry.owners.iter().filter(|(place, _)| is_meant(place)).map(|(_, owner)| owner);
            meant.clone().count() >= count && meant.all(Option::is_some)
        };
        let opening = async {
            while !is_open() {
                tokio::time::sleep(OPEN_POLL_INTERVAL).await;
            }
        };
        // What is not open then is named by the command that follows.
        let _late = tokio::time::timeout(within, opening).await;
    }

    /// Commands every owner, and adds up what they did. Errors with every refusal, and every partition that is not open.
    pub async fn command_all(
        &self,
        command: impl FnMut(&TopicPartition, Reply) -> OwnerCommand,
    ) -> Result<AdminResult, AggregatorError> {
        self.command_some(|_| true, command).await
    }

    /// The same for those that are meant.
    pub async fn command_some(
        &self,
        is_meant: impl Fn(&TopicPartition) -> bool,
        mut command: impl FnMut(&TopicPartition, Reply) -> OwnerCommand,
    ) -> Result<AdminResult, AggregatorError> {
        let owners: Vec<_> = {
            let registry = self.0.lock();
            let meant = registry.owners.iter().filter(|(place, _)| is_meant(place));
            meant.map(|(place, owner)| (place.clone(), owner.clone())).collect()
        };
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
