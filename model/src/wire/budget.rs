//! What keeps a decoder from being talked into more memory than its limits allow, and the errors that say so.
//! Both directions charge it alike. Not an allocator: it counts, nothing more.

use super::{Limits, WireError};

/// Memory of a label or attribute beside its text: two fat pointers and their allocations.
const PAIR_BYTES: usize = 64;
/// Memory of a dictionary's entry beside its text, which stays in the body: a slice and a length.
pub(super) const TEXT_BYTES: usize = size_of::<&str>() + size_of::<u64>();

/// Memory that decoding a record will take. Both sides count with it, so what was encoded can be decoded.
pub struct Budget {
    left: u64,
    limit: u64,
    /// The limits it came from.
    pub(super) limits: Limits,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        let limit = limits.decoded_bytes();
        Self { left: limit, limit, limits }
    }

    /// Takes `bytes`, or says that the record would grow too large.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), WireError> {
        match self.left.checked_sub(bytes as u64) {
            Some(left) => self.left = left,
            None => return Err(limit("memory of the decoded record", self.limit - self.left + bytes as u64, self.limit)),
        }
        Ok(())
    }

    /// Checks the number of labels or attributes of one list and charges for them, texts apart.
    pub(super) fn charge_pairs(&mut self, count: usize) -> Result<(), WireError> {
        check_limit("labels", count as u64, self.limits.labels)?;
        self.charge(count * PAIR_BYTES)
    }

    /// Checks a text's length and charges for a copy of it.
    pub(super) fn charge_text(&mut self, text: &str) -> Result<(), WireError> {
        check_limit("text bytes", text.len() as u64, self.limits.text_bytes)?;
        self.charge(text.len())
    }

    /// A copy of a budget, to be given back when a section is refused.
    pub(super) fn snapshot(&self) -> u64 {
        self.left
    }

    /// Undoes everything charged since the snapshot.
    pub(super) fn restore(&mut self, snapshot: u64) {
        self.left = snapshot;
    }
}

pub(super) fn limit(what: &'static str, value: u64, limit: u64) -> WireError {
    WireError::Limit { what, value, limit }
}

pub(super) fn check_limit(what: &'static str, value: u64, allowed: u32) -> Result<(), WireError> {
    if value > u64::from(allowed) { Err(limit(what, value, u64::from(allowed))) } else { Ok(()) }
}

pub(super) fn invalid(what: &'static str, detail: impl Into<String>) -> WireError {
    WireError::Invalid { what, detail: detail.into() }
}
