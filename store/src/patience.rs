//! How long questions wait for the object store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::StoreError;

/// Once the store has let somebody wait in vain, the next ones wait only so long, until it has answered again.
const WHILE_SILENT: Duration = Duration::from_secs(1);

/// One object store's, shared by all who ask it.
pub struct Patience {
    timeout: Duration,
    /// It has not answered the last time.
    silent: AtomicBool,
}

impl Patience {
    /// As long as this for a store that answers.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, silent: AtomicBool::new(false) }
    }

    /// The store's answer; errors with `Silent` when there is none in time.
    pub async fn wait<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let silent = self.silent.load(Ordering::Relaxed);
        let timeout = if silent { self.timeout.min(WHILE_SILENT) } else { self.timeout };
        let answered = tokio::time::timeout(timeout, asked).await;
        self.silent.store(answered.is_err(), Ordering::Relaxed);
        answered.unwrap_or(Err(StoreError::Silent { waited: timeout }))
    }

    /// It has answered somebody who waits as long as it takes.
    pub fn answered(&self) {
        self.silent.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_store_is_waited_for_once() {
        let store = Patience::new(Duration::from_secs(10));
        let silence = async || {
            let begun = tokio::time::Instant::now();
            let error = store.wait(std::future::pending::<Result<(), StoreError>>()).await.unwrap_err();
            assert_eq!(error.to_string(), format!("the object store has not answered within {:?}", begun.elapsed()));
            begun.elapsed().as_secs()
        };
        assert_eq!((silence().await, silence().await, silence().await), (10, 1, 1));
        assert_eq!(store.wait(async { Ok(7) }).await.unwrap(), 7);
        assert_eq!((silence().await, silence().await), (10, 1));
        store.answered();
        assert_eq!(silence().await, 10);
    }
}
