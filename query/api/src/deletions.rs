//! What the APIs that take requests to delete share: whose records, the range, errors, and the mark for the audit log.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use weir_access::Granted;
use weir_access::audit::Deleted;
use weir_model::deletion::{
    DeletionChange, DeletionError, DeletionFuture, DeletionOrder, DeletionQuery, DeletionRequest, DeletionStatus, Deletions,
};
use weir_model::time::TimeRange;
use weir_model::wire::Kind;

use super::Api;
use super::error::ApiError;

/// Where nobody deletes.
pub(super) struct NoDeletions;

impl Deletions for NoDeletions {
    fn change(&self, _: DeletionOrder) -> DeletionFuture<'_, ()> {
        Box::pin(async { Err(DeletionError::Incomplete("nothing is deleted here".into())) })
    }

    fn list<'a>(&'a self, _: Kind, _: &'a str) -> DeletionFuture<'a, Vec<DeletionStatus>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn apply(&self) -> DeletionFuture<'_, ()> {
        Box::pin(async { Err(DeletionError::Incomplete("nothing is deleted here".into())) })
    }
}

/// The tenant whose records may be deleted, all of them: a right to a part is none to delete.
pub(super) fn tenant(granted: &Granted) -> Result<&str, ApiError> {
    let own = granted.scope.single().ok_or_else(|| ApiError::from("a deletion is of one tenant".to_owned()))?;
    if own.visible.is_all() {
        return Ok(&own.tenant);
    }
    let message = format!("{} may see a part of tenant {} and delete nothing of it", granted.principal.name, own.tenant);
    Err(ApiError::new(StatusCode::FORBIDDEN, message))
}

/// Has it accepted by all partitions of the kinds; its id.
pub(super) async fn accept(
    api: &Api,
    (tenant, kinds): (&str, &[Kind]),
    (asked, range): (DeletionQuery, TimeRange),
    can_cancel: bool,
) -> Result<String, ApiError> {
    let kind = kinds.first().copied().unwrap_or(Kind::Logs);
    let request = DeletionRequest::new((tenant, kind), asked, range, (api.clock)(), can_cancel)?;
    let id = request.id.clone();
    api.deletions
        .change(DeletionOrder { kinds: kinds.to_vec(), change: DeletionChange::Accept(request) })
        .await
        .map_err(failure)?;
    Ok(id)
}

pub(super) fn failure(error: DeletionError) -> ApiError {
    let (status, message) = match error {
        DeletionError::NotFound => (StatusCode::NOT_FOUND, "could not find delete request with given id".to_owned()),
        DeletionError::Refused(message) => (StatusCode::BAD_REQUEST, message),
        DeletionError::Incomplete(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
    };
    ApiError::new(status, message)
}

/// An answer that the audit log calls a deletion, of this request.
pub(super) fn told(answer: impl IntoResponse, request: &str) -> Response {
    let mut response = answer.into_response();
    response.extensions_mut().insert(Deleted { request: request.to_owned() });
    response
}
