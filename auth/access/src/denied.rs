//! Why a request may not.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Why a request may not. It goes with the response as an extension, so that the front door can say it in the words of the API
/// that was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There are no credentials, or none that count: 401.
    #[error("{0}")]
    Unauthenticated(String),
    /// It is known who asks, and they may not: 403.
    #[error("{0}")]
    Forbidden(String),
    /// The request does not say clearly for whom it asks: 400.
    #[error("{0}")]
    Unclear(String),
    /// So much that came from there was wrong that nothing more is looked at, for so many seconds: 429.
    #[error("too many wrong credentials; try again in {0} s")]
    Throttled(u64),
    /// Who decides does not answer: 503.
    #[error("{0}")]
    Undecided(String),
}

impl Denied {
    /// In metrics and the audit log.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::Unclear(_) => "unclear",
            Self::Throttled(_) => "throttled",
            Self::Undecided(_) => "undecided",
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unclear(_) => StatusCode::BAD_REQUEST,
            Self::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Undecided(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let mut response = (self.status(), format!("{self}\n")).into_response();
        response.extensions_mut().insert(self);
        response
    }
}
