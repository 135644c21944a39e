//! Removing what no manifest names any more.
//!
//! Readers may still hold views of older versions, so nothing goes before it has been superfluous for a grace period:
//! a version when its successor is that old, a block when it is that old itself and no remaining version names it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use weir_model::time::UnixNanos;

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

impl ManifestStore {
    /// Removes old manifest versions and blocks that no remaining version names. `version` is the one that the caller
    /// believes to be the newest: errors with `Fenced` when it is not. `grace` has to be longer than any query, any
    /// seal or merge, and any pause of an owner; an hour is usual.
    pub async fn collect(&self, version: u64, now: UnixNanos, grace: Duration) -> Result<Garbage, StoreError> {
        let ages = self.manifest_ages().await?;
        let mut versions: Vec<u64> = ages.keys().copied().collect();
        versions.sort_unstable();
        if versions.last() != Some(&version) {
            let epoch = self.load_latest().await?.map_or(0, |(_, manifest)| manifest.epoch);
            return Err(self.fenced(epoch));
        }
        let grace = i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX);
        let old = |written: UnixNanos| now.saturating_sub(written) > grace;
        let mut garbage = Garbage::default();
        let mut kept: Vec<u64> = Vec::new();
        for (i, candidate) in versions.iter().enumerate() {
            let successor = versions.get(i + 1).and_then(|next| ages.get(next));
            if i + VERSIONS_KEPT < versions.len() && successor.is_some_and(|written| old(*written)) {
                self.remove(&self.manifest_path(*candidate)).await?;
                garbage.manifests += 1;
            } else {
                kept.push(*candidate);
            }
        }
        self.collect_blocks(&kept, old, &mut garbage).await?;
        Ok(garbage)
    }

    async fn collect_blocks(
        &self,
        kept: &[u64],
        old: impl Fn(UnixNanos) -> bool,
        garbage: &mut Garbage,
    ) -> Result<(), StoreError> {
        let mut named: HashSet<String> = HashSet::new();
        // Listed before the manifests are read: a block that is published in between is younger than the grace period.
        let objects = self.list(&self.block_prefix()).await?;
        for version in kept {
            let (_, manifest) = self.load(*version).await?;
            named.extend(manifest.blocks.into_iter().map(|block| block.id));
        }
        for object in objects {
            let superfluous = object.location.filename().is_some_and(|id| !named.contains(id));
            if superfluous && old(written(&object)) {
                self.remove(&object.location).await?;
                garbage.blocks += 1;
                garbage.bytes += object.size;
            }
        }
        Ok(())
    }

    async fn manifest_ages(&self) -> Result<HashMap<u64, UnixNanos>, StoreError> {
        let prefix = self.manifest_path(0).parts().take(3).collect::<Path>();
        let objects = self.list(&prefix).await?;
        Ok(objects.iter().filter_map(|object| Some((object.location.filename()?.parse().ok()?, written(object)))).collect())
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

fn written(object: &ObjectMeta) -> UnixNanos {
    object.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX)
}
