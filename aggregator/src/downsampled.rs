//! Downsampling over the metrics engine: a partition's task, blocks that are older than the age from which on one tenant has aggregates.

use std::sync::Arc;
use std::time::Duration;

use weir_metrics::MetricsReader;
use weir_model::limits::{MetricLimits, Overrides, OverridesFile, TenantLimits};
use weir_model::metric::Aggregate;
use weir_model::scope::Scope;
use weir_model::select::{MetricReader, MetricSelect, NoBudget};
use weir_model::wire::Kind;

use crate::beyond_bytes::Owner;
use crate::config::{AggregatorConfig, Downsampling, nanos};
use crate::metrics::PartitionLabels;

/// Of the first series of a tenant.
async fn aggregates(owner: &Owner, tenant: &'static str) -> Vec<Aggregate> {
    let partitions = Arc::clone(&owner.partitions);
    let read = move || {
        let select = MetricSelect { scope: Scope::of(tenant), matchers: Vec::new(), start_ms: i64::MIN, end_ms: i64::MAX };
        MetricsReader::new(partitions).select(&select, &NoBudget).expect("selects").value.remove(0).aggregates
    };
    tokio::task::spawn_blocking(read).await.expect("reads")
}

fn resolutions(owner: &Owner) -> Vec<u32> {
    let live = owner.partitions.all().remove(0);
    let blocks = &live.snapshot.read().manifest.blocks;
    blocks.iter().map(|entry| entry.summary.resolution).collect()
}

#[tokio::test]
async fn what_is_old_enough_becomes_aggregates_and_new_samples_stand_beside_them() {
    let minutes = |count: u64| Duration::from_secs(count * 60);
    let downsampling = Downsampling { resolution_5m_after: minutes(30), resolution_1h_after: minutes(600) };
    let config = AggregatorConfig { downsampling, ..AggregatorConfig::default() };
    let metrics = MetricLimits { resolution_5m_after: Some(Duration::ZERO), ..MetricLimits::default() };
    let tenants = [("bank".to_owned(), TenantLimits { metrics, ..TenantLimits::default() })].into();
    let overrides = Overrides::try_from(OverridesFile { tenants, ..OverridesFile::default() }).expect("overrides");
    // The clock is a day ahead: what was stored says how old it may be.
    let mut owner = Owner::with(&config, overrides, nanos(minutes(24 * 60))).await;
    // 50 seconds each.
    owner.seal(14).await;
    owner.expire().await;
    assert_eq!(owner.seconds("shop").await, [0, 300, 600, 699]);
    let counts = |own: Vec<Aggregate>| own.iter().map(|own| own.count).collect::<Vec<_>>();
    assert_eq!(counts(aggregates(&owner, "shop").await), [1.0, 300.0, 300.0, 99.0], "no stretch is in parts");
    assert_eq!(owner.seconds("bank").await, (0..700).collect::<Vec<_>>(), "it wants all of its samples");
    assert_eq!(resolutions(&owner), [300], "one block");
    let labels = PartitionLabels { topic: Kind::Metrics.topic().into(), partition: 0 };
    // They are merged before, so that no stretch has a part in two blocks.
    assert_eq!(owner.metrics.downsampled_records.get_or_create(&labels).get(), (700 - 4) * 40);
    // What is there is not looked at in vain, and what comes is as it came.
    owner.seal(1).await;
    owner.command(crate::machine::OwnerCommand::Compact).await;
    assert_eq!(resolutions(&owner), [300, 0], "they are not merged");
    assert_eq!(owner.seconds("shop").await.len(), 4 + 50);
    assert_eq!(aggregates(&owner, "shop").await.len(), 4);
    owner.revoked.cancel();
}
