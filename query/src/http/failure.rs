//! Errors of LogQL and of the readers as HTTP status.

use axum::http::StatusCode;
use weir_model::select::ReadError;

use crate::logql::QueryError;

/// 400 for what the caller can mend, 504 for too slow, 500 for the store.
pub(crate) fn status(error: &QueryError) -> StatusCode {
    match error {
        QueryError::Parse(_) | QueryError::Bad(_) | QueryError::Pipeline { .. } | QueryError::Read(ReadError::Budget { .. }) => {
            StatusCode::BAD_REQUEST
        }
        QueryError::Read(ReadError::Cancelled(_)) => StatusCode::GATEWAY_TIMEOUT,
        QueryError::Read(ReadError::Store(_)) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A status and a sentence; each API puts it into its own shape.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

/// Parameters that do not fit.
impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self { status: status(&error), message: error.to_string() }
    }
}

impl From<crate::logql::ParseError> for Failure {
    fn from(error: crate::logql::ParseError) -> Self {
        QueryError::from(error).into()
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        QueryError::from(error).into()
    }
}

impl From<(StatusCode, String)> for Failure {
    fn from((status, message): (StatusCode, String)) -> Self {
        Self { status, message }
    }
}
