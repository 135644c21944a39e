//! Deletions of records, in the partitions that this process owns: for the APIs of one process, and as routes for query nodes.

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
use weir_blocks::manifest::{AcceptedRequest, DeletionKey};
use weir_bus::TopicPartition;
use weir_heads::{APPLY_DELETIONS_PATH, AdminResult, DELETIONS_PATH};
use weir_model::deletion::{
    DeletionChange, DeletionError, DeletionFuture, DeletionOrder, DeletionRequest, DeletionStatus, Deletions, sum_statuses,
};
use weir_model::wire::Kind;

use crate::AggregatorError;
use crate::live::Partitions;
use crate::machine::OwnerCommand;
use crate::open::Aggregator;

/// A partition that has not sealed what is on its bus within this is asked again by whoever asked.
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
        let is_meant = |topic: &str| order.kinds.iter().any(|kind| kind.topic() == topic);
        let changed = match order.change {
            DeletionChange::Accept(request) => {
                let request = compiled(request).await?;
                let mut ends = std::collections::BTreeMap::new();
                for place in registry.places().into_iter().filter(|place| is_meant(&place.topic)) {
                    let (_, next) = self.group.bus.bounds(&place).await.map_err(incomplete)?;
                    ends.insert(place, next);
                }
                // A partition that was assigned since has no end here, and is none of those that have accepted.
                let command = |place: &TopicPartition, reply| OwnerCommand::Delete(ends[place], Arc::clone(&request), reply);
                let accepting = registry.command_some(|place| ends.contains_key(place), command);
                let within = tokio::time::timeout(ACCEPT_TIMEOUT, accepting).await;
                within
                    .map_err(|_| DeletionError::Incomplete(format!("not accepted by all partitions within {ACCEPT_TIMEOUT:?}")))?
            }
            DeletionChange::Cancel { tenant, id } => {
                let key = DeletionKey { tenant, id };
                let command = |_: &_, reply| OwnerCommand::CancelDeletion(key.clone(), reply);
                registry.command_some(|place| is_meant(&place.topic), command).await
            }
        };
        changed.map_err(said)
    }

    /// Of a kind, as the bus has them.
    async fn partitions_of(&self, kind: Kind) -> Result<u32, DeletionError> {
        self.group.bus.partitions(kind.topic()).await.map_err(incomplete)
    }

    async fn apply_deletions(&self) -> Result<AdminResult, DeletionError> {
        self.group.registry.command_all(|_, reply| OwnerCommand::ApplyDeletions(reply)).await.map_err(said)
    }
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

/// What the partitions of an engine have of a tenant's requests.
fn list<E: Engine>(owned: &Partitions<E>, partitions: u32, tenant: &str) -> Vec<DeletionStatus> {
    let manifests: Vec<_> = owned.all().iter().map(|live| Arc::clone(&live.snapshot.read().manifest)).collect();
    let all = manifests.iter().flat_map(|manifest| &manifest.deletions);
    let own = all.filter(|known| known.request.said().tenant == tenant);
    sum_statuses((E::KIND, partitions), own.map(|known| (known.request.said(), known.is_processed())))
}

/// Where one process owns all partitions.
impl Deletions for Aggregator {
    fn change(&self, order: DeletionOrder) -> DeletionFuture<'_, ()> {
        Box::pin(async move {
            let kinds = order.kinds.clone();
            let done = self.change_deletions(order).await?.partitions.len();
            let mut all = 0;
            for kind in kinds {
                all += self.partitions_of(kind).await? as usize;
            }
            if done < all {
                return Err(DeletionError::Incomplete(format!("{done} of {all} partitions are this process's now")));
            }
            Ok(())
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
        Box::pin(async move { self.apply_deletions().await.map(drop) })
    }
}
