//! Deletions where nothing is owned: told to the owners of all partitions, and listed as the newest manifests say.

use std::sync::Arc;

use weir_blocks::engine::Engine;
use weir_blocks::manifest::PendingDeletion;
use weir_heads::{APPLY_DELETIONS_PATH, DELETIONS_PATH};
use weir_model::deletion::{DeletionError, DeletionFuture, DeletionOrder, DeletionStatus, Deletions, sum_statuses};
use weir_model::id::TopicPartition;
use weir_model::wire::Kind;

use super::admin::{AdminClient, Command};
use super::registry::PartitionRegistry;
use super::start::Shared;

pub(super) struct DeletionClient(pub AdminClient);

impl DeletionClient {
    pub(super) fn new(shared: Arc<Shared>, places: Vec<TopicPartition>) -> Self {
        Self(AdminClient { shared, places })
    }

    async fn command(&self, command: Command<'_>) -> Result<(), DeletionError> {
        let (_, undone) = self.0.command(command).await;
        match undone.sentences.join("; ") {
            _ if undone.sentences.is_empty() => Ok(()),
            error if undone.is_refused => Err(DeletionError::Refused(error)),
            error => Err(DeletionError::Incomplete(error)),
        }
    }

    async fn listed<E: Engine>(&self, known: &PartitionRegistry<E>, tenant: &str) -> Result<Vec<DeletionStatus>, DeletionError> {
        let store = &self.0.shared.heads.store;
        let incomplete = |error: weir_blocks::StoreError| DeletionError::Incomplete(error.to_string());
        store.wait(known.discover()).await.map_err(incomplete)?;
        let mut versions = Vec::new();
        for part in known.known() {
            versions.extend(store.wait(part.refresh_manifest()).await.map_err(incomplete)?);
        }
        let all = versions.iter().flat_map(|version| &version.manifest.deletions);
        let own = all.filter(|known| known.request.said().tenant == tenant);
        let partitions = self.0.places.iter().filter(|place| place.topic == E::KIND.topic()).count();
        Ok(sum_statuses((E::KIND, partitions as u32), own.map(PendingDeletion::known)))
    }
}

impl Deletions for DeletionClient {
    fn change(&self, order: DeletionOrder) -> DeletionFuture<'_, ()> {
        Box::pin(async move { self.command(Command { path: DELETIONS_PATH, kinds: &order.kinds, order: Some(&order) }).await })
    }

    fn list<'a>(&'a self, kind: Kind, tenant: &'a str) -> DeletionFuture<'a, Vec<DeletionStatus>> {
        Box::pin(async move {
            let shared = &self.0.shared;
            match kind {
                Kind::Logs => self.listed(&shared.logs, tenant).await,
                Kind::Metrics => self.listed(&shared.samples, tenant).await,
                Kind::Spans => self.listed(&shared.traces, tenant).await,
            }
        })
    }

    fn apply(&self) -> DeletionFuture<'_, ()> {
        Box::pin(self.command(Command::to_all(APPLY_DELETIONS_PATH)))
    }
}
