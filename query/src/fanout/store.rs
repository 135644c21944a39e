//! How long a question waits for the object store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_store::StoreError;

/// Once the store has let a question wait in vain, the next ones wait only so long, until it has answered again.
const WHILE_SILENT: Duration = Duration::from_secs(1);

pub(super) struct StorePatience {
    timeout: Duration,
    /// It has not answered the last time.
    silent: AtomicBool,
}

impl StorePatience {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, silent: AtomicBool::new(false) }
    }

    /// The store's answer, or why there is none.
    pub(super) async fn wait<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
        let silent = self.silent.load(Ordering::Relaxed);
        let timeout = if silent { self.timeout.min(WHILE_SILENT) } else { self.timeout };
        let answered = tokio::time::timeout(timeout, asked).await;
        self.silent.store(answered.is_err(), Ordering::Relaxed);
        match answered {
            Ok(answered) => answered.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the object store has not answered within {timeout:?}")),
        }
    }

    /// It has answered somebody who waits as long as it takes.
    pub(super) fn answered(&self) {
        self.silent.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_store_is_waited_for_once() {
        let store = StorePatience::new(Duration::from_secs(10));
        let silence = async || {
            let begun = tokio::time::Instant::now();
            let said = store.wait(std::future::pending::<Result<(), StoreError>>()).await.unwrap_err();
            assert_eq!(said, format!("the object store has not answered within {:?}", begun.elapsed()));
            begun.elapsed().as_secs()
        };
        assert_eq!((silence().await, silence().await, silence().await), (10, 1, 1));
        assert_eq!(store.wait(async { Ok(7) }).await, Ok(7));
        assert_eq!((silence().await, silence().await), (10, 1));
        store.answered();
        assert_eq!(silence().await, 10);
    }
}
