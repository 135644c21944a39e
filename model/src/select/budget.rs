//! What a request may take, and why a read stopped. Implemented by who answers requests; asked by readers and languages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use crate::time::TimeRange;

/// Why a read stopped. What is merely missing is in the coverage, not here.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The request would take more than it may.
    #[error("the query needs more than {limit} {what}; narrow the time range or the selector, or raise {key}")]
    Budget {
        /// The limit's value.
        limit: u64,
        /// What is counted: "samples", "series", "lines", "bytes".
        what: &'static str,
        /// The configuration key.
        key: &'static str,
    },
    /// All requests together are at a limit; later it may be different.
    #[error("weir is asked for too much at once: {what} are at the limit of {limit} ({key}); try again in a moment")]
    Busy {
        /// The limit's value.
        limit: u64,
        /// What is at its limit: "queries that run or wait", "bytes of all queries".
        what: &'static str,
        /// The configuration key.
        key: &'static str,
    },
    /// The request would take more than one of its tenants allows it.
    #[error(
        "tenant {tenant:?}: the query needs more than {limit} {what} ({key} of this tenant); narrow the time range or the selector"
    )]
    TenantBudget {
        tenant: Arc<str>,
        /// The limit's value, with its unit where `what` does not say it.
        limit: String,
        what: &'static str,
        /// The key in the file of overrides.
        key: &'static str,
    },
    /// The requests of one tenant are at a limit; later it may be different. Loki's clients know the first words.
    #[error("too many outstanding requests: tenant {tenant:?} has {limit} {what} ({key}); try again in a moment")]
    TenantBusy { tenant: Arc<str>, limit: u64, what: &'static str, key: &'static str },
    /// The request took longer than one of its tenants allows it.
    #[error("the query was cancelled: it took longer than the {limit} that tenant {tenant:?} allows ({key})")]
    TenantTime { tenant: Arc<str>, limit: String, key: &'static str },
    /// The request took too long, or its client has gone.
    #[error("the query was cancelled: {0}")]
    Cancelled(&'static str),
    /// The store failed as a whole.
    #[error("the store cannot be read: {0}")]
    Store(String),
}

/// Told to a reader; checked between chunks.
pub trait Budget: Send + Sync {
    /// Errors when the request should stop. Called often; cheap.
    fn check(&self) -> Result<(), ReadError>;
    /// Takes note of work about to be done: samples or lines decoded. Errors when that is too much. Memory is told of on its own.
    fn spend(&self, count: u64) -> Result<(), ReadError>;
    /// Takes note of bytes about to be read: of chunks and groups as they lie in a block. Errors when that is too much.
    fn read(&self, _bytes: u64) -> Result<(), ReadError> {
        Ok(())
    }
    /// Errors when that is more time than one read may span. What lies ahead of now does not count.
    fn span(&self, _range: TimeRange) -> Result<(), ReadError> {
        Ok(())
    }
    /// Takes note of memory about to be held for the request. Errors when it, or all requests together, may not hold so much.
    fn reserve(&self, _bytes: u64) -> Result<(), ReadError> {
        Ok(())
    }
    /// Gives memory back. What is not given back is when the request ends.
    fn release(&self, _bytes: u64) {}
}

/// Whether the client of a request has left: for the side that works.
pub struct Cancellation(Arc<AtomicBool>);

/// Held by the side that waits; to drop it is to leave.
pub struct CancelOnDrop(Arc<AtomicBool>);

impl Cancellation {
    pub fn new() -> (Self, CancelOnDrop) {
        let left = Arc::new(AtomicBool::new(false));
        (Self(Arc::clone(&left)), CancelOnDrop(left))
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Never stops anything; for tests and tools.
pub struct NoBudget;

impl Budget for NoBudget {
    fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }
    fn spend(&self, _count: u64) -> Result<(), ReadError> {
        Ok(())
    }
}

/// Bounds memory alone; for the tests of languages.
#[doc(hidden)]
#[derive(Debug)]
pub struct MemoryBudget {
    bytes_max: u64,
    held: std::sync::atomic::AtomicU64,
    most: std::sync::atomic::AtomicU64,
}

impl MemoryBudget {
    /// Of one query.
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, held: Default::default(), most: Default::default() }
    }

    /// Bytes that are reserved and not given back.
    pub fn held(&self) -> u64 {
        self.held.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The most that were held at once.
    pub fn most(&self) -> u64 {
        self.most.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Budget for MemoryBudget {
    fn check(&self) -> Result<(), ReadError> {
        Ok(())
    }

    fn spend(&self, _count: u64) -> Result<(), ReadError> {
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> Result<(), ReadError> {
        let more = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        let order = std::sync::atomic::Ordering::Relaxed;
        let refused = |_| ReadError::Budget { limit: self.bytes_max, what: "bytes of memory", key: "query.query_memory_max" };
        let before = self.held.fetch_update(order, order, more).map_err(refused)?;
        self.most.fetch_max(before + bytes, order);
        Ok(())
    }

    fn release(&self, bytes: u64) {
        let order = std::sync::atomic::Ordering::Relaxed;
        let less = self.held.fetch_update(order, order, |held| held.checked_sub(bytes));
        less.expect("invariant: no more is given back than was reserved");
    }
}
