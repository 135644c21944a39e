//! Why a push is not taken, and what each protocol answers then.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use thiserror::Error;

use crate::error::ShipError;
use crate::proto::ProtoError;
use crate::quota::{RATE_LIMITED, RateLimited};

/// Why a push is not taken. The text goes to the client.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum PushError {
    /// 413
    #[error("{what} of more than {limit} bytes (limit {key})")]
    TooLarge { what: &'static str, limit: usize, key: &'static str },
    /// 400
    #[error("{0}")]
    Malformed(String),
    /// 400: some records are refused; the rest of the request is stored.
    #[error("{text}")]
    Refused { text: String, reason: &'static str },
    /// 429: its tenant sends too much. What is over is not stored.
    #[error("{text}")]
    Limited { text: String, reason: &'static str, wait: Duration },
    /// 422
    #[error("{0}")]
    Empty(String),
    /// 415
    #[error("{0}")]
    Unsupported(String),
    /// 429: too many at once.
    #[error("too many requests at once, come again")]
    TooMany,
    /// 503: its tenant or others hold the memory for requests.
    #[error("requests hold all that this tenant may have of push.inflight_max now, come again")]
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
            Self::Malformed(_) | Self::Refused { .. } => StatusCode::BAD_REQUEST,
            Self::Empty(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooMany | Self::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Crowded | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The number of gRPC's code, as OTLP's clients read it: 14 (unavailable) is what they try again,
    /// and 8 (resource exhausted) where the answer says when.
    pub(crate) fn grpc_code(&self) -> i32 {
        match self {
            Self::Malformed(_) | Self::Refused { .. } | Self::Empty(_) | Self::Unsupported(_) => 3,
            Self::TooLarge { .. } | Self::Limited { .. } => 8,
            Self::Slow(_) => 4,
            Self::TooMany | Self::Crowded | Self::Unavailable(_) => 14,
        }
    }

    /// The counter's reason.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::Refused { reason, .. } | Self::Limited { reason, .. } => reason,
            Self::Empty(_) => "empty",
            Self::Unsupported(_) => "unsupported",
            Self::TooMany => "too_many_requests",
            Self::Crowded => "inflight_bytes",
            Self::Slow(_) => "slow_body",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// In how many seconds the same request may succeed; `None` where it never will.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Limited { wait, .. } => Some(wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)),
            Self::TooMany | Self::Crowded | Self::Unavailable(_) => Some(1),
            _ => None,
        }
    }

    /// `response`, and when to come again.
    pub(crate) fn timed(&self, mut response: Response) -> Response {
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// As a line of text, for protocols whose errors have no shape of their own.
    pub(crate) fn to_response(&self) -> Response {
        self.timed((self.status(), format!("{self}\n")).into_response())
    }
}

impl From<RateLimited> for PushError {
    fn from(error: RateLimited) -> Self {
        Self::Limited { text: error.to_string(), reason: RATE_LIMITED, wait: error.wait }
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
