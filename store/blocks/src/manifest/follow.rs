//! Reading manifests without owning them: which partitions there are, and one version after the other.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use weir_model::wire::Kind;

use super::Manifest;
use super::publish::ManifestStore;
use crate::StoreError;

/// Partitions of a kind that somebody has begun, ascending. Foreign names are passed over.
pub async fn partitions(object_store: &Arc<dyn ObjectStore>, kind: Kind) -> Result<Vec<u32>, StoreError> {
    let prefix = Path::from(kind.name());
    let listed = object_store.list_with_delimiter(Some(&prefix)).await;
    let listed = listed.map_err(|source| StoreError::object("list", &prefix, source))?;
    let mut found: Vec<u32> = listed.common_prefixes.iter().filter_map(|path| path.filename()?.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

impl ManifestStore {
    /// What a version says; `None` when there is none of that number, or none any more. A version never changes.
    pub async fn load_version(&self, version: u64) -> Result<Option<Manifest>, StoreError> {
        match self.load(version).await {
            Ok((_, manifest)) => Ok(Some(manifest)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
