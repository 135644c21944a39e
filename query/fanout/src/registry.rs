//! All partitions of one engine that somebody has begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// How many reads have found their block gone.
    gone: Arc<AtomicU64>,
}

impl<E: Engine> PartitionRegistry<E> {
    pub(super) fn new(engine: E, object_store: Arc<dyn ObjectStore>, cache: BlobCache, breaker: Arc<CircuitBreaker>) -> Self {
        Self { engine: Arc::new(engine), object_store, cache, breaker, parts: Mutex::new(None), gone: Arc::default() }
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
        let (breaker, gone) = (Arc::clone(&self.breaker), Arc::clone(&self.gone));
        RemotePartition::new(Arc::clone(&self.engine), store, self.cache.clone(), breaker, gone)
    }

    /// The blocks of all partitions as the manifests said at the last look, and what could not be opened, a sentence each.
    pub(super) async fn newest_blocks(&self) -> (Vec<Arc<E::Block>>, Vec<String>) {
        let (mut blocks, mut missing) = (Vec::new(), Vec::new());
        for part in self.known() {
            let Some(version) = part.newest() else { continue };
            let opened = part.open(&version).await;
            blocks.extend(opened.blocks.into_iter().map(|own| own.block));
            missing.extend(opened.missing);
        }
        (blocks, missing)
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

    /// How many reads have found their block gone: what a query notes before it looks which manifests are the newest, for
    /// [`Self::forget_gone`].
    pub(super) fn gone(&self) -> u64 {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether blocks were found gone since a query noted [`Self::gone`], by whichever query: then this one is to look and to read
    /// again, and sees newer manifests of their partitions than it did. Costs a load where none was.
    pub(super) fn forget_gone(&self, noted: u64) -> bool {
        let any = self.gone() != noted;
        if any {
            self.known().iter().for_each(|part| part.forget_gone());
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use object_store::memory::InMemory;
    use object_store::throttle::{ThrottleConfig, ThrottledStore};
    use weir_blocks::manifest::{BlockEntry, Manifest};
    use weir_logs::LogsEngine;
    use weir_model::wire::Kind;

    use super::*;

    /// A partition of which a version names a block that was deleted, and the way to publish the next one.
    async fn with_a_block_that_is_gone(object_store: Arc<dyn ObjectStore>) -> (PartitionRegistry<LogsEngine>, ManifestStore) {
        let nonces = random_nonces();
        let manifests = ManifestStore { object_store: Arc::clone(&object_store), kind: Kind::Logs, partition: 0, nonces };
        let block = BlockEntry { id: "deleted".into(), size: 100, next_offset: 5, ..BlockEntry::default() };
        let manifest = Manifest { epoch: 1, next_offset: 5, blocks: vec![block], ..Manifest::default() };
        manifests.publish(1, &manifest).await.expect("publishes");
        let breaker = Arc::new(CircuitBreaker::new(Duration::from_secs(60)));
        let registry = PartitionRegistry::new(LogsEngine::default(), object_store, BlobCache::new(1 << 20), breaker);
        registry.discover().await.expect("lists");
        (registry, manifests)
    }

    /// One look of a query at the partition, and how many blocks it lacks.
    async fn read(registry: &PartitionRegistry<LogsEngine>) -> (u64, usize) {
        let part = registry.known().remove(0);
        let version = part.refresh_manifest().await.expect("looks").expect("a version");
        (version.number, part.open(&version).await.missing.len())
    }

    #[tokio::test]
    async fn every_query_that_met_a_block_that_is_gone_sees_a_newer_manifest() {
        let (registry, manifests) = with_a_block_that_is_gone(Arc::new(InMemory::new())).await;
        let (first, second) = (registry.gone(), registry.gone());
        assert_eq!((read(&registry).await, read(&registry).await), ((1, 1), (1, 1)));
        manifests.publish(2, &Manifest { epoch: 1, next_offset: 5, ..Manifest::default() }).await.expect("publishes");
        assert!(registry.forget_gone(first));
        let third = registry.gone();
        assert_eq!(read(&registry).await, (2, 0));
        assert!(registry.forget_gone(second), "the first one has looked again; this one has not");
        // What was looked up since then is as new as it needs.
        assert_eq!(registry.known()[0].newest().map(|version| version.number), Some(2));
        assert!(!registry.forget_gone(third), "it began later");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_during_which_all_is_forgotten_finds_the_partition_all_the_same() {
        let throttled = Arc::new(ThrottledStore::new(InMemory::new(), ThrottleConfig::default()));
        let (registry, _manifests) = with_a_block_that_is_gone(Arc::clone(&throttled) as Arc<dyn ObjectStore>).await;
        let noted = registry.gone();
        assert_eq!(read(&registry).await, (1, 1));
        throttled.config_mut(|config| config.wait_get_per_call = Duration::from_secs(2));
        let part = registry.known().remove(0);
        let forget = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(registry.forget_gone(noted));
        };
        let (looked, ()) = tokio::join!(part.refresh_manifest(), forget);
        assert_eq!(looked.expect("looks").map(|version| version.number), Some(1));
    }
}
