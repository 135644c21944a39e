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

/// Nobody can say now. The text goes to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Undecided(pub String);

impl From<Undecided> for Denied {
    fn from(undecided: Undecided) -> Self {
        Self::Undecided(undecided.0)
    }
}

/// What a credential is found to be: its principal, or that it is wrong.
pub(crate) type Found = Option<Arc<Principal>>;
