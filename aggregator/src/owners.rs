//! What the group and the tasks of its partitions know of each other.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_bus::TopicPartition;

use crate::machine::OwnerCommand;

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

/// By topic.
pub(crate) type AllOwners = BTreeMap<&'static str, Arc<dyn Owners>>;

/// What a partition's task tells its group, which knows the consumer and who is served.
pub(crate) enum GroupRequest {
    /// Readers may see it, the bus goes on at the offset, and commands go here.
    Open { next_offset: u64, commands: mpsc::Sender<OwnerCommand>, show: Box<dyn FnOnce() + Send> },
    /// The bus goes on at this offset.
    Seek(u64),
    /// The partition is not served, and why.
    Close { reason: String },
}

/// Where a partition's task tells its group; by the number of the assignment the group knows what is history.
#[derive(Clone)]
pub(crate) struct ToGroup {
    pub place: TopicPartition,
    pub number: u64,
    pub tx: mpsc::Sender<(TopicPartition, u64, GroupRequest)>,
}

impl ToGroup {
    /// When the process ends nobody need hear it.
    pub async fn send(&self, request: GroupRequest) {
        let _process_ends = self.tx.send((self.place.clone(), self.number, request)).await;
    }
}
