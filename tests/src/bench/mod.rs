//! What the benchmarks share. Each prints one line with a limit beside it, measured in the same run; no time decides anything.
//!
//! - [`watch`]: processor and wall time of this process, and how figures are printed.
//! - [`input`]: a real day (or one made here) as CRI files and as OTLP requests.
//! - [`export`]: OTLP requests of a day's pods.
//! - [`bus`]: a bus that counts what it has acknowledged.
//! - [`path`]: the parts that `weir up` wires, in this process and one at a time, so that each step can be timed alone.
//! - [`otlp`]: a client that sends export requests.
//! - [`snappy`]: what Loki's clients compress with.
//! - [`limits`]: the least that anybody would have to do with the same bytes.

pub mod bus;
pub mod export;
pub mod input;
pub mod limits;
pub mod otlp;
pub mod path;
pub mod snappy;
pub mod watch;

use std::time::{Duration, Instant};

use crate::weir::PATIENCE;

/// How often a condition is looked at: cheap enough not to show in processor time, short enough not to show in wall time.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Runs a bench as the binary would run: tokio with a worker a core.
pub fn run(bench: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("tokio starts");
    runtime.block_on(bench);
}

/// Waits until something holds; panics after a long time with what it was.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
