//! What a method makes of a request's credentials.

use std::sync::Arc;

use weir_access::{Denied, Principal};

/// What a method makes of a request's credentials.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// They are not of its kind, or it does not know them: the next method is asked.
    Pass,
    Known(Arc<Principal>),
    /// They are of its kind, and wrong: no other method is asked.
    Wrong,
}

/// Nobody can say now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undecided {
    /// Whoever has to be asked does not answer. The text goes to the client.
    #[error("{0}")]
    Silent(String),
    /// Nobody is asked before so many seconds are over: too much that came from there was wrong.
    #[error("wait {0} s")]
    Throttled(u64),
}

impl From<Undecided> for Denied {
    fn from(undecided: Undecided) -> Self {
        match undecided {
            Undecided::Silent(text) => Self::Undecided(text),
            Undecided::Throttled(seconds) => Self::Throttled(seconds),
        }
    }
}

/// What a credential is found to be: its principal, or that it is wrong.
pub(crate) type Found = Option<Arc<Principal>>;
