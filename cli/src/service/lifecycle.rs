//! A process's life: the clock, the signals, what ends it, and how it drains.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::{JoinError, JoinHandle};
use weir_aggregator::Aggregator;

use crate::Failure;
use crate::front::Servers;

/// At the end, open requests may take this long to finish.
const DRAIN: Duration = Duration::from_secs(5);

/// Sealing at the end saves the next owner a replay; it is not needed for anything to be safe.
const SEAL_AT_END: Duration = Duration::from_secs(20);

/// Leaving the group at the end lets others take over at once; whoever does not manage to is found gone by the group.
const LEAVE_AT_END: Duration = Duration::from_secs(5);

/// Unix nanoseconds.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A task that a process cannot do without.
pub(crate) type Running = JoinHandle<Result<(), String>>;

/// Resolves when SIGTERM or SIGINT asks for the end.
pub(crate) async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        },
        // Without handlers the signals end the process by themselves, which loses nothing either.
        _ => std::future::pending().await,
    }
}

/// Resolves when one of the listeners ends, which none does by itself.
pub(crate) async fn server_ended(servers: &mut Servers) -> Failure {
    match servers.join_next().await {
        Some(ended) => why("a listener", ended),
        None => std::future::pending().await,
    }
}

/// Resolves when a part has ended that does not end by itself.
pub(crate) async fn part_ended(name: &str, part: &mut Running) -> Failure {
    why(name, part.await)
}

fn why(name: &str, ended: Result<Result<(), String>, JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => Failure::failed(format!("{name} ended by itself")),
        Ok(Err(error)) => Failure::failed(format!("{name}: {error}")),
        Err(error) => Failure::failed(format!("{name}: {error}")),
    }
}

/// Waits for open requests, for a bounded time.
pub(crate) async fn drain_requests(servers: &mut Servers) {
    let finished = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, finished).await.is_err() {
        tracing::warn!("some requests did not finish in time");
        servers.abort_all();
    }
}

/// Sends what is left of weir's own spans.
pub(crate) async fn flush_spans(spans: opentelemetry_sdk::trace::SdkTracerProvider) {
    let flushed = tokio::task::spawn_blocking(move || spans.shutdown());
    if let Ok(Err(error)) = flushed.await {
        tracing::debug!(%error, "spans of weir's own were dropped");
    }
}

/// Seals the heads, for a bounded time.
pub(crate) async fn seal_at_end(aggregator: &Aggregator) {
    match tokio::time::timeout(SEAL_AT_END, aggregator.seal()).await {
        Ok(Ok(committed)) => tracing::info!(blocks = committed.blocks, records = committed.records, "sealed"),
        Ok(Err(error)) => tracing::warn!(error, "not sealed; the next owner replays the bus"),
        Err(_) => tracing::warn!("not sealed in time; the next owner replays the bus"),
    }
}

/// Waits for a part that was told to stop, for a bounded time.
pub(crate) async fn leave(name: &str, part: &mut Running) {
    if part.is_finished() {
        return;
    }
    match tokio::time::timeout(LEAVE_AT_END, part).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::error!(error, name, "a part ended with an error"),
        Ok(Err(error)) => tracing::error!(%error, name, "a part was lost"),
        Err(_) => tracing::warn!(name, "a part did not end in time"),
    }
}
