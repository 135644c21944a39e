//! Why a push is not taken, and what each protocol answers then.

use axum::http::StatusCode;
use thiserror::Error;

use crate::error::ShipError;
use crate::proto::ProtoError;

/// Why a push is not taken. The text goes to the client.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum PushError {
    /// 413
    #[error("{what} of more than {limit} bytes (limit {key})")]
    TooLarge { what: &'static str, limit: usize, key: &'static str },
    /// 400
    #[error("{0}")]
    Malformed(String),
    /// 400: some records lie outside of what is kept; the rest of the request is stored.
    #[error("{0}")]
    OutOfTime(String),
    /// 422
    #[error("{0}")]
    Empty(String),
    /// 415
    #[error("{0}")]
    Unsupported(String),
    /// 429: too many at once.
    #[error("too many requests at once, come again")]
    TooMany,
    /// 503: others hold the memory for requests.
    #[error("requests hold all of push.inflight_max, come again")]
    Crowded,
    /// 408: the body does not come.
    #[error("the body did not come in time (limit {0})")]
    Slow(&'static str),
    /// 503: the bus is slow, or the collector is going down.
    #[error("{0}")]
    Unavailable(String),
}

impl PushError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) | Self::OutOfTime(_) => StatusCode::BAD_REQUEST,
            Self::Empty(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Crowded | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The number of gRPC's code, as OTLP's clients read it: 14 (unavailable) is what they try again.
    pub(crate) fn grpc_code(&self) -> i32 {
        match self {
            Self::Malformed(_) | Self::OutOfTime(_) | Self::Empty(_) | Self::Unsupported(_) => 3,
            Self::TooLarge { .. } => 8,
            Self::Slow(_) => 4,
            Self::TooMany | Self::Crowded | Self::Unavailable(_) => 14,
        }
    }

    /// The counter's reason.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::OutOfTime(_) => "out_of_time",
            Self::Empty(_) => "empty",
            Self::Unsupported(_) => "unsupported",
            Self::TooMany => "too_many_requests",
            Self::Crowded => "inflight_bytes",
            Self::Slow(_) => "slow_body",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::TooMany | Self::Crowded | Self::Unavailable(_))
    }
}

impl From<ProtoError> for PushError {
    fn from(error: ProtoError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<ShipError> for PushError {
    fn from(error: ShipError) -> Self {
        match error {
            ShipError::Refused(reason) => Self::Malformed(reason),
            ShipError::Stopped | ShipError::Busy => Self::Unavailable(error.to_string()),
        }
    }
}
