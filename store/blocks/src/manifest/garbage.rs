//! Removing what no manifest names any more.
//!
//! Readers may still hold views of older versions, and an owner that takes over may be about to publish a block, so nothing goes
//! before it has been superfluous for a grace period. That is taken from no wall clock, neither this machine's nor the store's:
//! an object goes when its owner has seen it superfluous twice, a grace period of passed time apart ([`Sightings`]). A version is
//! superfluous when its successor has been seen, a block when no remaining version names it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::publish::ManifestStore;
use crate::StoreError;

/// The newest versions are kept however old they are: they are the partition's recent history for people.
const VERSIONS_KEPT: usize = 8;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Manifest versions.
    pub manifests: u64,
    /// Block objects.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// When an owner first saw what is superfluous now, and what it has read; kept from one [`ManifestStore::collect`] to the next. A new
/// owner starts without, and waits a grace period before it removes anything.
#[derive(Debug, Default)]
pub struct Sightings {
    versions: HashMap<u64, Duration>,
    blocks: HashMap<String, Duration>,
    /// Versions that have been read for the blocks that they name: a version never changes, and may have a megabyte.
    read: HashSet<u64>,
    /// Of each block the last of them that names it.
    named: HashMap<String, u64>,
}

impl ManifestStore {
    /// Removes old manifest versions and blocks that no remaining version names. `version` is the one that the caller
    /// believes to be the newest: errors with `Fenced` when it is not. `now` is how much time has passed since some moment that
    /// stays the same for all calls with `seen`, by a clock that cannot be set. `grace` has to be longer than any query, any
    /// seal or merge, and any pause of an owner; an hour is usual.
    pub async fn collect(
        &self,
        version: u64,
        seen: &mut Sightings,
        now: Duration,
        grace: Duration,
    ) -> Result<Garbage, StoreError> {
        let versions = self.versions().await?;
        if versions.last() != Some(&version) {
            let epoch = self.load_latest().await?.map_or(0, |(_, manifest)| manifest.epoch);
            return Err(self.fenced(epoch));
        }
        seen.versions.retain(|version, _| versions.binary_search(version).is_ok());
        for version in &versions {
            seen.versions.entry(*version).or_insert(now);
        }
        let is_old = |first: Duration| now.saturating_sub(first) >= grace;
        let mut garbage = Garbage::default();
        let mut kept: Vec<u64> = Vec::new();
        for (i, candidate) in versions.iter().enumerate() {
            let successor = versions.get(i + 1).and_then(|next| seen.versions.get(next));
            if i + VERSIONS_KEPT < versions.len() && successor.is_some_and(|first| is_old(*first)) {
                self.remove(&self.manifest_path(*candidate)).await?;
                garbage.manifests += 1;
            } else {
                kept.push(*candidate);
            }
        }
        let superfluous = self.superfluous_blocks(&kept, seen).await?;
        seen.blocks.retain(|id, _| superfluous.contains_key(id));
        for (id, object) in superfluous {
            if is_old(*seen.blocks.entry(id).or_insert(now)) {
                self.remove(&object.location).await?;
                garbage.blocks += 1;
                garbage.bytes += object.size;
            }
        }
        Ok(garbage)
    }

    /// Blocks that none of these versions names, by id.
    async fn superfluous_blocks(&self, kept: &[u64], seen: &mut Sightings) -> Result<HashMap<String, ObjectMeta>, StoreError> {
        // Listed before the manifests are read: what is published in between is named by none of them, but then it has not been
        // superfluous before either.
        let objects = self.list(&self.block_prefix()).await?;
        for version in kept {
            if seen.read.contains(version) {
                continue;
            }
            let (_, manifest) = self.load(*version).await?;
            for block in manifest.blocks {
                let last = seen.named.entry(block.id).or_default();
                *last = (*version).max(*last);
            }
            seen.read.insert(*version);
        }
        // Versions go from the first on.
        let first = kept.first().copied().unwrap_or_default();
        seen.read.retain(|version| *version >= first);
        seen.named.retain(|_, last| *last >= first);
        let with_id = objects.into_iter().filter_map(|object| Some((object.location.filename()?.to_owned(), object)));
        Ok(with_id.filter(|(id, _)| !seen.named.contains_key(id)).collect())
    }

    async fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>, StoreError> {
        self.object_store.list(Some(prefix)).try_collect().await.map_err(|source| StoreError::object("list", prefix, source))
    }

    /// What is gone already need not be removed.
    async fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match self.object_store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(StoreError::object("delete", path, source)),
        }
    }
}
