//! Deletions of records, in the partitions that this process owns: for the APIs of one process, and as routes for query nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use weir_access::{Needs, Routes, Verb};
use weir_blocks::engine::Engine;
use weir_blocks::manifest::{AcceptedRequest, DeletionKey, PendingDeletion};
use weir_bus::{Log, TopicPartition};
use weir_heads::{APPLY_DELETIONS_PATH, AdminResult, DELETIONS_PATH};
use weir_model::deletion::{
    DeletionChange, DeletionError, DeletionFuture, DeletionOrder, DeletionRequest, DeletionStatus, Deletions, sum_statuses,
};
use weir_model::wire::Kind;

use crate::AggregatorError;
use crate::live::Partitions;
use crate::machine::{Acceptance, OwnerCommand};
use crate::open::Aggregator;
use crate::registry::OwnerRegistry;

/// A partition that is not open, or has not sealed what is on its bus, within this is asked again by whoever asked.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers `POST /api/weir/v1/admin/{deletions,apply_deletions}` when it is done.
pub(crate) fn routes() -> Routes<Arc<Aggregator>> {
    let needs = Needs::Whole(Verb::Admin);
    Routes::new().post(DELETIONS_PATH, needs, change).post(APPLY_DELETIONS_PATH, needs, apply)
}

async fn change(State(aggregator): State<Arc<Aggregator>>, body: Result<Json<DeletionOrder>, JsonRejection>) -> Response {
    match body {
        Ok(Json(order)) => answer(aggregator.change_deletions(order).await),
        Err(error) => (error.status(), Json(json!({"error": error.body_text()}))).into_response(),
    }
}

async fn apply(State(aggregator): State<Arc<Aggregator>>) -> Response {
    answer(aggregator.apply_deletions().await)
}

fn answer(done: Result<AdminResult, DeletionError>) -> Response {
    let (status, error) = match done {
        Ok(done) => return Json(done).into_response(),
        Err(DeletionError::NotFound) => (StatusCode::NOT_FOUND, "there is no such deletion".into()),
        Err(DeletionError::Refused(error)) => (StatusCode::BAD_REQUEST, error),
        Err(DeletionError::Incomplete(error)) => (StatusCode::SERVICE_UNAVAILABLE, error),
    };
    (status, Json(json!({ "error": error }))).into_response()
}

impl Aggregator {
    async fn change_deletions(&self, order: DeletionOrder) -> Result<AdminResult, DeletionError> {
        let registry = &self.group.registry;
        let is_meant = |place: &TopicPartition| is_of(&order.kinds, place);
        registry.wait_open(is_meant, 0, ACCEPT_TIMEOUT).await;
        match order.change {
            DeletionChange::Accept(request) => {
                let accepting = accept(registry, &*self.group.bus, &order.kinds, compiled(request).await?);
                let late = |_| DeletionError::Incomplete(format!("not accepted by all partitions within {ACCEPT_TIMEOUT:?}"));
                tokio::time::timeout(ACCEPT_TIMEOUT, accepting).await.map_err(late)?
            }
            DeletionChange::Cancel { tenant, id } => {
                let key = DeletionKey { tenant, id };
                let command = |_: &_, reply| OwnerCommand::CancelDeletion(key.clone(), reply);
                registry.command_some(is_meant, command).await.map_err(said)
            }
        }
    }

    /// Waits until all partitions of these kinds are this process's and open. Errors where they do not become so.
    async fn wait_for_all(&self, kinds: &[Kind]) -> Result<usize, DeletionError> {
        let mut all = 0;
        for kind in kinds {
            all += self.partitions_of(*kind).await? as usize;
        }
        self.group.registry.wait_open(|place| is_of(kinds, place), all, ACCEPT_TIMEOUT).await;
        Ok(all)
    }

    /// Of a kind, as the bus has them.
    async fn partitions_of(&self, kind: Kind) -> Result<u32, DeletionError> {
        self.group.bus.partitions(kind.topic()).await.map_err(incomplete)
    }

    async fn apply_deletions(&self) -> Result<AdminResult, DeletionError> {
        self.group.registry.wait_open(|_| true, 0, ACCEPT_TIMEOUT).await;
        self.group.registry.command_all(|_, reply| OwnerCommand::ApplyDeletions(reply)).await.map_err(said)
    }
}

/// Has a request accepted by the open partitions of the kinds that are this process's, which the result names: what is on the bus now is
/// unseen from then on.
pub(crate) async fn accept(
    registry: &OwnerRegistry,
    bus: &dyn Log,
    kinds: &[Kind],
    request: Arc<AcceptedRequest>,
) -> Result<AdminResult, DeletionError> {
    let mut found = BTreeMap::new();
    for kind in kinds {
        let partitions = bus.partitions(kind.topic()).await.map_err(incomplete)?;
        for place in registry.places().into_iter().filter(|place| place.topic == kind.topic()) {
            let (_, upto) = bus.bounds(&place).await.map_err(incomplete)?;
            found.insert(place, (upto, partitions));
        }
    }
    let command = |place: &TopicPartition, reply| {
        let (upto, partitions) = found[place];
        OwnerCommand::Delete(Acceptance { request: Arc::clone(&request), upto, partitions }, reply)
    };
    // A partition that was assigned since has no end here, and is none of those that have accepted.
    registry.command_some(|place| found.contains_key(place), command).await.map_err(said)
}

fn is_of(kinds: &[Kind], place: &TopicPartition) -> bool {
    kinds.iter().any(|kind| kind.topic() == place.topic)
}

/// Its patterns are compiled off the async threads, and once for all partitions.
async fn compiled(request: DeletionRequest) -> Result<Arc<AcceptedRequest>, DeletionError> {
    let compile = move || {
        request.check().map_err(DeletionError::Refused)?;
        request.compile().map_err(DeletionError::Refused)?;
        let request = AcceptedRequest::shared(request);
        request.deletion();
        Ok(request)
    };
    tokio::task::spawn_blocking(compile).await.map_err(incomplete)?
}

fn incomplete(error: impl ToString) -> DeletionError {
    DeletionError::Incomplete(error.to_string())
}

fn said(error: AggregatorError) -> DeletionError {
    let is_begun = |error: &AggregatorError| matches!(error, AggregatorError::DeletionBegun { .. });
    match &error {
        AggregatorError::Partitions(refusals) if refusals.0.iter().any(|(_, error)| is_begun(error)) => {
            DeletionError::Refused(error.to_string())
        }
        _ => incomplete(error),
    }
}

/// Errors where that is not all partitions that there are.
fn done_by_all(done: &AdminResult, all: usize) -> Result<(), DeletionError> {
    let done = done.partitions.len();
    if done < all {
        return Err(DeletionError::Incomplete(format!("{done} of {all} partitions are this process's now")));
    }
    Ok(())
}

/// What the partitions of an engine have of a tenant's requests.
fn list<E: Engine>(owned: &Partitions<E>, partitions: u32, tenant: &str) -> Vec<DeletionStatus> {
    let manifests: Vec<_> = owned.all().iter().map(|live| Arc::clone(&live.snapshot.read().manifest)).collect();
    let all = manifests.iter().flat_map(|manifest| &manifest.deletions);
    let own = all.filter(|known| known.request.said().tenant == tenant);
    sum_statuses((E::KIND, partitions), own.map(PendingDeletion::known))
}

/// Where one process owns all partitions.
impl Deletions for Aggregator {
    fn change(&self, order: DeletionOrder) -> DeletionFuture<'_, ()> {
        Box::pin(async move {
            let all = self.wait_for_all(&order.kinds).await?;
            done_by_all(&self.change_deletions(order).await?, all)
        })
    }

    fn list<'a>(&'a self, kind: Kind, tenant: &'a str) -> DeletionFuture<'a, Vec<DeletionStatus>> {
        Box::pin(async move {
            let partitions = self.partitions_of(kind).await?;
            Ok(match kind {
                Kind::Logs => list(&self.logs, partitions, tenant),
                Kind::Metrics => list(&self.metrics, partitions, tenant),
                Kind::Spans => list(&self.traces, partitions, tenant),
            })
        })
    }

    fn apply(&self) -> DeletionFuture<'_, ()> {
        Box::pin(async move {
            let all = self.wait_for_all(&Kind::ALL).await?;
            done_by_all(&self.apply_deletions().await?, all)
        })
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use parking_lot::Mutex;
    use tokio::sync::mpsc;
    use weir_bus::{Ack, BusError, Consumer};
    use weir_model::deletion::DeletionQuery;
    use weir_model::time::TimeRange;

    use super::*;
    use crate::machine::Committed;

    /// A bus of two partitions. When it is asked how far one is, the group assigns the second.
    struct Assigning {
        registry: OwnerRegistry,
        second: Mutex<Option<mpsc::Sender<OwnerCommand>>>,
    }

    fn place(partition: u32) -> TopicPartition {
        TopicPartition { topic: Kind::Logs.topic().into(), partition }
    }

    #[async_trait]
    impl Log for Assigning {
        async fn partitions(&self, _: &str) -> Result<u32, BusError> {
            Ok(2)
        }

        async fn append(&self, _: &TopicPartition, _: Bytes) -> Result<Ack, BusError> {
            unreachable!("nothing is appended")
        }

        async fn consume(&self, _: &[&str], _: &str) -> Result<Box<dyn Consumer>, BusError> {
            unreachable!("nothing is consumed")
        }

        async fn bounds(&self, asked: &TopicPartition) -> Result<(u64, u64), BusError> {
            let assigned = self.second.lock().take();
            self.registry.set(&place(1), assigned);
            Ok((0, 7 + u64::from(asked.partition)))
        }

        async fn release(&self, _: &TopicPartition, _: u64) -> Result<(), BusError> {
            unreachable!("nothing is released")
        }
    }

    /// An owner that accepts all; where it was asked up to, of how many partitions.
    async fn owner(mut commands: mpsc::Receiver<OwnerCommand>) -> Vec<(u64, u32)> {
        let mut asked = Vec::new();
        while let Some(command) = commands.recv().await {
            let OwnerCommand::Delete(acceptance, reply) = command else { panic!("another command") };
            asked.push((acceptance.upto, acceptance.partitions));
            reply.send(Ok(Committed::default())).expect("somebody waits");
        }
        asked
    }

    #[tokio::test]
    async fn a_partition_that_is_assigned_while_a_deletion_is_accepted_is_none_of_those_that_have() {
        let registry = OwnerRegistry::default();
        let [(first, commands), (second, others)] = [(); 2].map(|()| mpsc::channel(1));
        let owners = [commands, others].map(|commands| tokio::spawn(owner(commands)));
        registry.set(&place(0), Some(first));
        let bus = Assigning { registry: registry.clone(), second: Mutex::new(Some(second)) };
        let request =
            DeletionRequest::new(("t", Kind::Logs), DeletionQuery::default(), TimeRange { start: 0, end: 9 }, 0, false).unwrap();
        let request = Arc::new(AcceptedRequest::from(request));
        let done = accept(&registry, &bus, &[Kind::Logs], Arc::clone(&request)).await.unwrap();
        assert_eq!(done.partitions, [place(0)], "the second was assigned after its end was asked");
        let all = DeletionError::Incomplete("1 of 2 partitions are this process's now".into());
        assert_eq!(done_by_all(&done, 2), Err(all), "so that its client makes it again");
        // This time it is assigned anew, and not open yet.
        let refused = accept(&registry, &bus, &[Kind::Logs], request).await.unwrap_err();
        let names = |error: &str| error.contains(&place(1).to_string()) && !error.contains(&place(0).to_string());
        assert!(matches!(&refused, DeletionError::Incomplete(error) if names(error)), "{refused:?}");
        registry.remove(&[place(0), place(1)]);
        let [first, second] = owners;
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (vec![(7, 2), (7, 2)], Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_waits_until_what_is_assigned_is_open() {
        let registry = OwnerRegistry::default();
        let [(first, _commands), (second, _others)] = [(); 2].map(|()| mpsc::channel(1));
        registry.set(&place(0), Some(first));
        let begun = tokio::time::Instant::now();
        let opening = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            registry.set(&place(1), None);
            tokio::time::sleep(Duration::from_secs(1)).await;
            registry.set(&place(1), Some(second));
        };
        tokio::join!(registry.wait_open(|_| true, 2, ACCEPT_TIMEOUT), opening);
        assert!((2..3).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        registry.set(&place(1), None);
        registry.wait_open(|place| place.partition == 0, 0, ACCEPT_TIMEOUT).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "the other one is not meant");
        registry.wait_open(|_| true, 0, ACCEPT_TIMEOUT).await;
        assert!(begun.elapsed() >= ACCEPT_TIMEOUT, "no longer than that");
    }
}
