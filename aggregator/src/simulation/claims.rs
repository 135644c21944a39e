//! Partitions are taken over while the store fails: it is said as an outage, tried again, and over with the assignment.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use object_store::ObjectStore;
use weir_bus::sim::{Sim, SimConfig};
use weir_model::outage::Target;

use super::moods::Moody;
use super::quarantine::until;
use super::{Member, PARTITIONS, World};
use crate::config::AggregatorConfig;

/// Longer than the longest pause between two claims.
const NEXT_CLAIM: Duration = Duration::from_secs(20);

/// A member whose claims have been refused.
async fn refused(store: &Arc<Moody>) -> (World, Member) {
    let sim = Sim::new(SimConfig { partitions: PARTITIONS, ..SimConfig::default() });
    let object_store = Arc::clone(store) as Arc<dyn ObjectStore>;
    let (clock, config) = (Arc::new(AtomicI64::new(1)), AggregatorConfig::default());
    let world = World { sim, store: object_store, clock, config, seed: 1 };
    store.set(100, Duration::ZERO, false);
    let member = world.start("a");
    until("both are refused", || member.refusals() >= u64::from(PARTITIONS)).await;
    (world, member)
}

impl Member {
    /// Of the outage that lasts, which is the store's.
    fn refusals(&self) -> u64 {
        let now = self.outages.now();
        assert!(now.iter().all(|outage| outage.target == Target::ObjectStore), "{now:?}");
        now.first().map_or(0, |outage| outage.refused)
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_the_store_refuses_is_an_outage_until_it_is_taken() {
    let store = Arc::new(Moody::new(1));
    let (_world, member) = refused(&store).await;
    let before = member.refusals();
    tokio::time::sleep(NEXT_CLAIM).await;
    assert!(member.refusals() >= before + u64::from(PARTITIONS), "{:?}", member.outages.now());
    store.set(0, Duration::ZERO, false);
    until("both are served", || member.partitions.all().len() == PARTITIONS as usize).await;
    assert_eq!(member.outages.now(), []);
    member.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_under_way_ends_with_its_assignment_and_so_does_its_outage() {
    let store = Arc::new(Moody::new(1));
    let (world, member) = refused(&store).await;
    store.set(0, Duration::ZERO, true);
    tokio::time::sleep(NEXT_CLAIM).await;
    assert!(member.refusals() > 0, "the next claims have no answer yet");
    // The group gives one of the two to another process, whose own claim has no answer either, and which has not failed.
    let other = world.start("b");
    until("one is revoked", || member.registry.places().len() < PARTITIONS as usize).await;
    assert!(member.refusals() > 0, "the other one is still claimed");
    tokio::time::timeout(Duration::from_secs(60), member_end(member)).await.expect("ends with a claim under way");
    tokio::time::timeout(Duration::from_secs(60), other.end()).await.expect("ends with claims under way");
}

async fn member_end(member: Member) {
    let outages = member.outages.clone();
    member.end().await;
    assert_eq!(outages.now(), []);
}
