//! All partitions of one engine that somebody has begun.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use parking_lot::Mutex;
use weir_blocks::StoreError;
use weir_blocks::blob::BlobCache;
use weir_blocks::engine::Engine;
use weir_blocks::manifest::{ManifestStore, partitions, random_nonces};

use super::breaker::CircuitBreaker;
use super::remote_partition::RemotePartition;

pub(super) struct PartitionRegistry<E: Engine> {
    pub engine: Arc<E>,
    object_store: Arc<dyn ObjectStore>,
    cache: BlobCache,
    breaker: Arc<CircuitBreaker>,
    /// `None` until they were listed once.
    parts: Mutex<Option<BTreeMap<u32, Arc<RemotePartition<E>>>>>,
}

impl<E: Engine> PartitionRegistry<E> {
    pub(super) fn new(engine: E, object_store: Arc<dyn ObjectStore>, cache: BlobCache, breaker: Arc<CircuitBreaker>) -> Self {
        Self { engine: Arc::new(engine), object_store, cache, breaker, parts: Mutex::new(None) }
    }

    /// Those known, by number, without a look.
    pub(super) fn known(&self) -> Vec<Arc<RemotePartition<E>>> {
        self.parts.lock().iter().flatten().map(|(_, part)| Arc::clone(part)).collect()
    }

    /// Lists them.
    pub(super) async fn discover(&self) -> Result<(), StoreError> {
        let found = partitions(&self.object_store, E::KIND).await?;
        let mut parts = self.parts.lock();
        let parts = parts.get_or_insert_default();
        for partition in found {
            parts.entry(partition).or_insert_with(|| Arc::new(self.part(partition)));
        }
        Ok(())
    }

    fn part(&self, partition: u32) -> RemotePartition<E> {
        let object_store = Arc::clone(&self.object_store);
        // Nothing is written here, so no name is ever made up.
        let store = ManifestStore { object_store, kind: E::KIND, partition, nonces: random_nonces() };
        RemotePartition::new(Arc::clone(&self.engine), store, self.cache.clone(), Arc::clone(&self.breaker))
    }

    /// Looks at everything between queries: new partitions, new versions, and their blocks.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        self.breaker.watch(self.discover()).await?;
        for part in self.known() {
            if let Some(version) = self.breaker.watch(part.refresh_manifest()).await? {
                part.open(&version).await;
            }
        }
        Ok(())
    }

    /// Whether blocks were gone while they were read; then everything of their partitions is looked up again.
    pub(super) fn forget_gone(&self) -> bool {
        let mut any = false;
        for part in self.parts.lock().iter().flatten().map(|(_, part)| part).filter(|part| part.take_gone()) {
            part.forget();
            any = true;
        }
        any
    }
}
