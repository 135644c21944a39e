//! How far the bus is, asked again and again beside the loops of the group: a broker that is away must not hold those up.
//!
//! Coverage lives on it: an answer is complete when it has seen all that is on the bus, and a bus that has been silent for a
//! while may hold more than anybody knows. An answer of the bus is as old as its question: what was appended while it was on its
//! way, or waited for a busy machine, is not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use weir_bus::{Log, TopicPartition};

use crate::owners::AllOwners;
use crate::registry::OwnerRegistry;

/// How often each partition is asked.
const INTERVAL: Duration = Duration::from_millis(250);

/// How often it is looked for partitions that are due, and for new ones.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Partitions that are asked at once: a silent bus holds a thread for each until its client gives up.
const ASKED_AT_ONCE: usize = 16;

#[derive(Default)]
struct Asked {
    last: Option<Instant>,
    /// Not answered yet.
    is_open: bool,
}

/// Until a task is lost, which none is.
pub(crate) async fn poll_watermarks(bus: Arc<dyn Log>, owners: AllOwners, registry: OwnerRegistry) -> JoinError {
    let mut tick = tokio::time::interval(POLL_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut all: BTreeMap<TopicPartition, Asked> = BTreeMap::new();
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let owned: BTreeSet<TopicPartition> = registry.places().into_iter().collect();
                all.retain(|place, _| owned.contains(place));
                for place in owned {
                    all.entry(place).or_default();
                }
            }
            Some(answered) = asking.join_next() => {
                let (place, asked, next): (TopicPartition, Instant, Option<u64>) = match answered {
                    Ok(answered) => answered,
                    Err(error) => return error,
                };
                let Some(partition) = all.get_mut(&place) else { continue };
                partition.is_open = false;
                if let (Some(next), Some(owners)) = (next, owners.get(place.topic.as_str())) {
                    owners.record_watermark(place.partition, next, asked);
                }
            }
        }
        // Whoever has waited longest is asked first.
        let rested = |partition: &Asked| partition.last.is_none_or(|last| last.elapsed() >= INTERVAL);
        let mut due: Vec<_> = all.iter_mut().filter(|(_, partition)| !partition.is_open && rested(partition)).collect();
        due.sort_by_key(|(_, partition)| partition.last);
        for (place, partition) in due.into_iter().take(ASKED_AT_ONCE.saturating_sub(asking.len())) {
            let asked = Instant::now();
            *partition = Asked { last: Some(asked), is_open: true };
            let (bus, place) = (Arc::clone(&bus), place.clone());
            asking.spawn(async move {
                let bounds = bus.bounds(&place).await;
                (place, asked, bounds.ok().map(|(_, next)| next))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use bytes::Bytes;
    use tokio_util::sync::CancellationToken;
    use weir_bus::{Ack, BusError, Consumer};

    use super::*;
    use crate::owners::{Owners, ToGroup};

    const ROUND_TRIP: Duration = Duration::from_secs(4);

    /// Takes its time to say that it is as far as the seconds it was asked after.
    struct Slow(Instant);

    #[async_trait]
    impl Log for Slow {
        async fn bounds(&self, _: &TopicPartition) -> Result<(u64, u64), BusError> {
            let next = self.0.elapsed().as_secs();
            tokio::time::sleep(ROUND_TRIP).await;
            Ok((0, next))
        }
        async fn partitions(&self, _: &str) -> Result<u32, BusError> {
            unreachable!("only bounds are asked for")
        }
        async fn append(&self, _: &TopicPartition, _: Bytes) -> Result<Ack, BusError> {
            unreachable!("only bounds are asked for")
        }
        async fn consume(&self, _: &[&str], _: &str) -> Result<Box<dyn Consumer>, BusError> {
            unreachable!("only bounds are asked for")
        }
        async fn release(&self, _: &TopicPartition, _: u64) -> Result<(), BusError> {
            unreachable!("only bounds are asked for")
        }
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, Instant)>>);

    impl Owners for Heard {
        fn own(&self, _: ToGroup, _: CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            unreachable!("nothing is assigned")
        }
        fn close(&self, _: u32) {}
        fn quarantine(&self, _: u32, _: String) {}
        fn record_watermark(&self, _: u32, high_watermark: u64, asked: Instant) {
            self.0.lock().unwrap().push((high_watermark, asked));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_the_bus_is_as_old_as_its_question() {
        let (begun, heard) = (Instant::now(), Arc::new(Heard::default()));
        let owners: AllOwners = [("weir.logs", Arc::clone(&heard) as Arc<dyn Owners>)].into();
        let registry = OwnerRegistry::default();
        registry.set(&TopicPartition { topic: "weir.logs".into(), partition: 0 }, None);
        let asking = poll_watermarks(Arc::new(Slow(begun)), owners, registry);
        let _ended = tokio::time::timeout(5 * ROUND_TRIP, asking).await;
        let heard = heard.0.lock().unwrap();
        assert!(heard.len() >= 3, "{heard:?}");
        for (high_watermark, asked) in &*heard {
            assert_eq!((*asked - begun).as_secs(), *high_watermark);
        }
    }
}
