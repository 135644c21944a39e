//! Errors of LogQL and of the readers as HTTP status.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use weir_logql::QueryError;
use weir_model::select::ReadError;

/// 400 for what the caller can mend, 503 for what a later try can, 429 where others of the same tenant are in the way, 504 for too slow, 500 for the store.
pub(crate) fn status(error: &QueryError) -> StatusCode {
    match error {
        QueryError::Parse(_)
        | QueryError::Bad(_)
        | QueryError::Pipeline { .. }
        | QueryError::Read(ReadError::Budget { .. } | ReadError::TenantBudget { .. }) => StatusCode::BAD_REQUEST,
        QueryError::Read(ReadError::TenantBusy { .. }) => StatusCode::TOO_MANY_REQUESTS,
        QueryError::Read(ReadError::Busy { .. }) => StatusCode::SERVICE_UNAVAILABLE,
        QueryError::Read(ReadError::Cancelled(_) | ReadError::TenantTime { .. }) => StatusCode::GATEWAY_TIMEOUT,
        QueryError::Read(ReadError::Store(_)) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Seconds after which one who was refused may come again: most queries are over by then.
const RETRY_AFTER_SECONDS: &str = "2";

/// A status and a sentence; each API puts it into its own shape.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

/// Says when to come again, to those who were refused because others are served.
pub(crate) fn with_retry(mut response: Response) -> Response {
    if matches!(response.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    response
}

/// Parameters that do not fit.
impl From<String> for ApiError {
    fn from(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self { status: status(&error), message: error.to_string() }
    }
}

impl From<weir_logql::ParseError> for ApiError {
    fn from(error: weir_logql::ParseError) -> Self {
        QueryError::from(error).into()
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        QueryError::from(error).into()
    }
}

impl From<(StatusCode, String)> for ApiError {
    fn from((status, message): (StatusCode, String)) -> Self {
        Self { status, message }
    }
}
