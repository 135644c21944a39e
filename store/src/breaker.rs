//! How long reads wait for the object store: after a timeout, fail fast until it may have come back.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::StoreError;

/// After a timeout, reads fail fast for this long, and then wait no longer than this until one is answered: a query that reads a
/// thousand parts of blocks waits once.
const FAIL_FAST: Duration = Duration::from_secs(1);

/// Of one object store, shared by all who read from it.
pub struct CircuitBreaker {
    timeout: Duration,
    /// `None` once a read has been answered since.
    last_timeout: Mutex<Option<Instant>>,
}

impl CircuitBreaker {
    /// `timeout`: of a read while the store answers.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, last_timeout: Mutex::new(None) }
    }

    /// The store's answer; errors with `Unavailable` when there is none in time.
    pub async fn wait<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let last_timeout = *self.last_timeout.lock();
        let timeout = match last_timeout {
            None => self.timeout,
            Some(at) if at.elapsed() < FAIL_FAST => return Err(StoreError::Unavailable),
            Some(_) => self.timeout.min(FAIL_FAST),
        };
        let answered = tokio::time::timeout(timeout, asked).await;
        *self.last_timeout.lock() = answered.is_err().then(Instant::now);
        answered.unwrap_or(Err(StoreError::Unavailable))
    }

    /// The store has answered a caller that waits without a timeout.
    pub fn answered(&self) {
        *self.last_timeout.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_store_is_waited_for_once() {
        let store = CircuitBreaker::new(Duration::from_secs(10));
        let silence = async || {
            let begun = Instant::now();
            let error = store.wait(std::future::pending::<Result<(), StoreError>>()).await.unwrap_err();
            assert_eq!(error.to_string(), "the object store does not answer");
            begun.elapsed().as_secs()
        };
        let pause = async || tokio::time::sleep(FAIL_FAST).await;
        assert_eq!((silence().await, silence().await, silence().await), (10, 0, 0));
        pause().await;
        assert_eq!((silence().await, silence().await), (1, 0));
        assert!(store.wait(async { Ok(7) }).await.is_err(), "not even asked");
        pause().await;
        assert_eq!(store.wait(async { Ok(7) }).await.unwrap(), 7);
        assert_eq!((silence().await, silence().await), (10, 0));
        store.answered();
        assert_eq!(silence().await, 10);
    }
}
