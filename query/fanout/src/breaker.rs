//! How long a query waits for the object store: after a timeout, fail fast until the store may have come back.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use weir_blocks::StoreError;

/// After a timeout, reads fail fast for this long, and then wait no longer than this until one is answered: a query that reads a
/// thousand parts of blocks waits once.
const FAIL_FAST: Duration = Duration::from_secs(1);
/// A read that has waited for this long asks for a probe: a listing of partitions, which is answered within milliseconds.
const PROBE_AFTER: Duration = Duration::from_millis(250);
/// The store is silent when a probe and all other reads have had no answer for this long. With [`PROBE_AFTER`] it is a second
/// from the first query of a store that has gone silent to its answer.
const SILENT_AFTER: Duration = Duration::from_millis(750);

/// Of one object store, shared by all who read from it.
pub(super) struct CircuitBreaker {
    timeout: Duration,
    /// `None` once a read has been answered since.
    last_timeout: Mutex<Option<Instant>>,
    /// When a read was answered last.
    last_answer: Mutex<Instant>,
    /// Ends the reads that wait: the store is known not to answer.
    silence: Notify,
    /// A read has waited long enough to ask whether the store answers at all.
    probe: Notify,
}

impl CircuitBreaker {
    /// `timeout`: of a read while the store answers.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            last_timeout: Mutex::new(None),
            last_answer: Mutex::new(Instant::now()),
            silence: Notify::new(),
            probe: Notify::new(),
        }
    }

    /// The store's answer; errors with `Unavailable` when there is none in time.
    pub(super) async fn wait<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let last_timeout = *self.last_timeout.lock();
        let timeout = match last_timeout {
            None => self.timeout,
            Some(at) if at.elapsed() < FAIL_FAST => return Err(StoreError::Unavailable),
            Some(_) => self.timeout.min(FAIL_FAST),
        };
        let silence = self.silence.notified();
        tokio::pin!(silence);
        silence.as_mut().enable();
        let waited = async {
            tokio::time::sleep(timeout.min(PROBE_AFTER)).await;
            self.probe.notify_one();
            tokio::time::sleep(timeout.saturating_sub(PROBE_AFTER)).await;
        };
        tokio::select! {
            biased;
            answered = asked => {
                self.answered();
                return answered;
            }
            () = silence => {}
            () = waited => *self.last_timeout.lock() = Some(Instant::now()),
        }
        Err(StoreError::Unavailable)
    }

    /// Waits until a read that waits would know whether the store answers at all.
    pub(super) async fn probe_wanted(&self) {
        self.probe.notified().await;
    }

    /// The store's answer, however long it takes. For a read beside all queries, the probe: when nothing at all has been answered for
    /// [`SILENT_AFTER`], those that wait end, so that the first query of a silent store does not wait for a timeout of its own.
    pub(super) async fn watch<T>(&self, asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::pin!(asked);
        loop {
            if let Ok(answered) = tokio::time::timeout(SILENT_AFTER, &mut asked).await {
                self.answered();
                return answered;
            }
            if self.last_answer.lock().elapsed() >= SILENT_AFTER {
                *self.last_timeout.lock() = Some(Instant::now());
                self.silence.notify_waiters();
            }
        }
    }

    /// The store has answered a caller that waits without a timeout.
    pub(super) fn answered(&self) {
        *self.last_timeout.lock() = None;
        *self.last_answer.lock() = Instant::now();
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

    #[tokio::test(start_paused = true)]
    async fn a_read_beside_all_queries_tells_them_of_the_silence() {
        let store = CircuitBreaker::new(Duration::from_secs(10));
        let silent = || std::future::pending::<Result<(), StoreError>>();
        let query = async || {
            let begun = Instant::now();
            store.wait(silent()).await.unwrap_err();
            begun.elapsed()
        };
        let queries = async {
            // The first, and one that comes when it is known.
            let waited = (query().await, query().await);
            tokio::time::sleep(Duration::from_secs(60)).await;
            (waited, query().await)
        };
        let ((first, second), later) = tokio::select! {
            waited = queries => waited,
            _ = store.watch(silent()) => unreachable!("the store is silent"),
        };
        assert!(first <= FAIL_FAST && second.is_zero() && later <= FAIL_FAST, "{first:?} {second:?} {later:?}");
        // One slow read among others that are answered is no silence.
        let store = CircuitBreaker::new(Duration::from_secs(10));
        let others = async {
            for _ in 0..20 {
                let slow = async {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    Ok(())
                };
                store.wait(slow).await.unwrap();
            }
        };
        tokio::select! {
            () = others => {}
            _ = store.watch(silent()) => unreachable!("it is slow"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_query_of_a_silent_store_has_it_probed_and_waits_a_second() {
        let store = CircuitBreaker::new(Duration::from_secs(10));
        let silent = || std::future::pending::<Result<(), StoreError>>();
        let begun = Instant::now();
        let probing = async {
            store.probe_wanted().await;
            store.watch(silent()).await
        };
        tokio::select! {
            error = store.wait(silent()) => assert!(error.is_err()),
            _ = probing => unreachable!("the store is silent"),
        }
        assert_eq!(begun.elapsed(), PROBE_AFTER + SILENT_AFTER);
    }
}
