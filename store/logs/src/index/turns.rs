//! How much of indexes is read ahead and unpacked at once by all requests of a process: threads, and bytes.
//!
//! Bytes are held while something is read and unpacked, never two turns of them by one thread, so that nobody waits for oneself.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_blocks::StoreError;
use weir_model::select::Budget;

/// Threads of all requests together, each waiting for the store: as many as open blocks at once.
pub(crate) const THREADS_MAX: usize = weir_blocks::blob::OPENED_AT_ONCE;

/// How often who waits asks whether the request has ended: too seldom to cost anything, and nobody waits longer than one notices.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Shared>);

struct Shared {
    bytes_max: u64,
    /// Guards what is left; held for a few instructions.
    left: Mutex<Left>,
    freed: Condvar,
}

struct Left {
    threads: usize,
    bytes: u64,
}

/// Given back when it is dropped.
pub(crate) struct Turn {
    turns: Turns,
    threads: usize,
    bytes: u64,
}

impl Turns {
    /// Of so many bytes at once.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let bytes_max = bytes_max.max(1);
        let left = Mutex::new(Left { threads: THREADS_MAX, bytes: bytes_max });
        Self(Arc::new(Shared { bytes_max, left, freed: Condvar::new() }))
    }

    /// A thread, if one is free: who gets none reads in place.
    pub(crate) fn thread(&self) -> Option<Turn> {
        let mut left = self.left();
        left.threads = left.threads.checked_sub(1)?;
        Some(Turn { turns: self.clone(), threads: 1, bytes: 0 })
    }

    /// Waits for so many bytes; more than there are have all to themselves. Errors with `Unavailable` when the request ends first.
    pub(super) fn bytes(&self, bytes: u64, budget: &dyn Budget) -> Result<Turn, StoreError> {
        let bytes = bytes.clamp(1, self.0.bytes_max);
        let mut left = self.left();
        while left.bytes < bytes {
            let waited = self.0.freed.wait_timeout(left, CHECK_INTERVAL);
            left = waited.unwrap_or_else(PoisonError::into_inner).0;
            if left.bytes < bytes {
                drop(left);
                budget.check().map_err(|_ended| StoreError::Unavailable)?;
                left = self.left();
            }
        }
        left.bytes -= bytes;
        Ok(Turn { turns: self.clone(), threads: 0, bytes })
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.0.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut left = self.turns.left();
        left.threads += self.threads;
        left.bytes += self.bytes;
        drop(left);
        self.turns.0.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use weir_model::select::{NoBudget, ReadError};

    use super::*;

    struct Ended;

    impl Budget for Ended {
        fn check(&self) -> Result<(), ReadError> {
            Err(ReadError::Cancelled("ended"))
        }
        fn spend(&self, _: u64) -> Result<(), ReadError> {
            Ok(())
        }
    }

    #[test]
    fn there_are_so_many_threads_and_bytes_and_they_come_back() {
        let turns = Turns::new(100);
        let threads: Vec<Turn> = std::iter::from_fn(|| turns.thread()).collect();
        assert_eq!(threads.len(), THREADS_MAX);
        drop(threads);
        assert!(turns.thread().is_some());
        let most = turns.bytes(70, &NoBudget).unwrap();
        assert!(turns.bytes(31, &Ended).is_err(), "who waits notices the end of the request");
        let rest = turns.bytes(30, &Ended).unwrap();
        drop((most, rest));
        let all = turns.bytes(1 << 40, &Ended).unwrap();
        assert!(turns.bytes(1, &Ended).is_err());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| turns.bytes(1, &NoBudget).is_ok());
            drop(all);
            assert!(waits.join().unwrap());
        });
    }
}
