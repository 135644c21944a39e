//! How long questions wait for the object store.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::StoreError;

/// Once somebody has waited in vain, nobody waits at all for so long, and then only so long, until the store has answered again:
/// a question that needs a thousand parts of blocks waits once.
const WHILE_SILENT: Duration = Duration::from_secs(1);

/// One object store's, shared by all who ask it.
pub struct Patience {
    timeout: Duration,
    /// When somebody has last waited in vain; none since it has answered.
    in_vain: Mutex<Option<Instant>>,
}

impl Patience {
    /// As long as this for a store that answers.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, in_vain: Mutex::new(None) }
    }

    /// The store's answer; errors with `Silent` when there is none in time.
    pub async fn wait<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let in_vain = *self.in_vain.lock();
        let timeout = match in_vain {
            None => self.timeout,
            Some(at) if at.elapsed() < WHILE_SILENT => return Err(StoreError::Silent),
            Some(_) => self.timeout.min(WHILE_SILENT),
        };
        let answered = tokio::time::timeout(timeout, asked).await;
        *self.in_vain.lock() = answered.is_err().then(Instant::now);
        answered.unwrap_or(Err(StoreError::Silent))
    }

    /// It has answered somebody who waits as long as it takes.
    pub fn answered(&self) {
        *self.in_vain.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_store_is_waited_for_once() {
        let store = Patience::new(Duration::from_secs(10));
        let silence = async || {
            let begun = Instant::now();
            let error = store.wait(std::future::pending::<Result<(), StoreError>>()).await.unwrap_err();
            assert_eq!(error.to_string(), "the object store does not answer");
            begun.elapsed().as_secs()
        };
        let pause = async || tokio::time::sleep(WHILE_SILENT).await;
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
