//! Taking a partition over: the newest manifest, published under the next epoch.

use std::time::Duration;

use weir_blocks::manifest::ManifestStore;
use weir_bus::{Log, TopicPartition};

use crate::AggregatorError;
use crate::machine::Claimed;

/// How long the bus is waited for before a partition is taken over.
const BOUNDS_WITHIN: Duration = Duration::from_secs(2);

/// From when it returns on every older owner is fenced.
pub(super) async fn claim(
    place: &TopicPartition,
    bus: &dyn Log,
    store: &ManifestStore,
    member: &str,
) -> Result<Claimed, AggregatorError> {
    let (version, mut manifest) = store.load_latest().await?.unwrap_or_default();
    // A bus that does not answer is asked again when it is read from.
    let bounds = tokio::time::timeout(BOUNDS_WITHIN, bus.bounds(place)).await;
    if let Ok(Ok((_, next))) = bounds
        && next < manifest.next_offset
    {
        return Err(AggregatorError::BusReplaced { place: place.clone(), committed: manifest.next_offset, next });
    }
    manifest.epoch += 1;
    manifest.owner = member.to_owned();
    store.publish(version + 1, &manifest).await?;
    Ok(Claimed { version: version + 1, manifest })
}
