//! Whether the bus answers: asked in the background, because an outage makes each question wait for its time-out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_bus::{BusError, Log, TopicPartition};
use weir_model::wire::Kind;

use super::startup_gate::Waiting;
use crate::Failure;

/// Between two questions.
const PAUSE: Duration = Duration::from_secs(1);

/// A broker that answers later than this is not there for a reader either.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is known of the bus; cheap to ask.
#[derive(Clone)]
pub(crate) struct BusHealth(watch::Receiver<Result<(), String>>);

impl BusHealth {
    /// Asks the partitions of all topics in turn, and those that did not answer again and again, until shutdown.
    pub fn watch(bus: Arc<dyn Log>, places: Vec<TopicPartition>, shutdown: CancellationToken) -> Self {
        let (tx, rx) = watch::channel(Err("the bus has not answered yet".to_owned()));
        tokio::spawn(async move {
            let asking = ask_all(&*bus, places, &tx);
            tokio::select! {
                () = asking => {}
                () = shutdown.cancelled() => {}
            }
        });
        Self(rx)
    }

    /// Errors with the partition that does not answer, and what was said.
    pub fn check(&self) -> Result<(), String> {
        self.0.borrow().clone()
    }
}

/// All partitions of the three topics, which are made when absent. Waits for brokers that are not there yet: a role may start
/// before them, or while they are away.
pub(crate) async fn places(bus: &dyn Log, waiting: &Waiting) -> Result<Vec<TopicPartition>, Failure> {
    let mut places = Vec::new();
    for kind in Kind::ALL {
        for partition in 0..partitions(bus, kind.topic(), waiting).await? {
            places.push(TopicPartition { topic: kind.topic().to_owned(), partition });
        }
    }
    Ok(places)
}

async fn partitions(bus: &dyn Log, topic: &str, waiting: &Waiting) -> Result<u32, Failure> {
    loop {
        match bus.partitions(topic).await {
            Err(error @ BusError::Kafka { .. }) => {
                tracing::warn!(topic, %error, "the bus cannot be used yet; trying again");
                waiting.because(&error);
                tokio::time::sleep(PAUSE).await;
            }
            known => return known.map_err(Failure::failed),
        }
    }
}

async fn ask_all(bus: &dyn Log, places: Vec<TopicPartition>, tx: &watch::Sender<Result<(), String>>) {
    let mut silent: BTreeMap<TopicPartition, String> = BTreeMap::new();
    for place in places.iter().cycle() {
        let again = silent.keys().next().cloned();
        for place in again.iter().chain([place]) {
            match tokio::time::timeout(PATIENCE, bus.bounds(place)).await {
                Ok(Ok(_)) => drop(silent.remove(place)),
                Ok(Err(error)) => drop(silent.insert(place.clone(), error.to_string())),
                Err(_) => drop(silent.insert(place.clone(), format!("no answer within {PATIENCE:?}"))),
            }
        }
        let state = match silent.iter().next() {
            None => bus.obstacles().map_or(Ok(()), |why| Err(format!("the bus: {why}"))),
            Some((place, error)) => Err(format!("the bus: {place}: {error}")),
        };
        tx.send_if_modified(|last| std::mem::replace(last, state.clone()) != state);
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use weir_bus::sim::{Sim, SimConfig};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_partition_that_is_not_there_is_named() {
        let bus: Arc<dyn Log> = Arc::new(Sim::new(SimConfig::default()));
        let shutdown = CancellationToken::new();
        let good = BusHealth::watch(Arc::clone(&bus), places(&*bus, &Waiting::default()).await.unwrap(), shutdown.clone());
        let bad = TopicPartition { topic: "weir.logs".into(), partition: 999 };
        let bad = BusHealth::watch(bus, vec![bad], shutdown);
        assert_eq!(good.check(), Err("the bus has not answered yet".into()));
        tokio::time::sleep(PAUSE * 2).await;
        assert_eq!(good.check(), Ok(()));
        let error = bad.check().unwrap_err();
        assert!(error.starts_with("the bus: weir.logs partition 999:"), "{error}");
    }
}
