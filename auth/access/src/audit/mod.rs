//! The audit log: one JSON line for each denied request, admin action, sign-in and deletion. [`Audit`] takes events and never waits;
//! [`AuditLines`] gives lines to whoever ships them.
//!
//! Bounded twice: by a queue, whose drops are counted, and, for what strangers can cause at will (denials, failed sign-ins), by a
//! limit for each kind of event, above which events are counted and said in one line.
//!
//! - `event`: what is written of one event.
//! - `limit`: how many of a kind are written.

mod event;
mod limit;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::Instant;

pub use event::{Action, CLIENT_LEFT, Deleted, Event, SignInOutcome};
use limit::Limits;

/// Lines that wait: half a MiB of usual ones, 8 MiB of those that are as long as can be.
const QUEUE_LINES: usize = 1_024;
/// Lines that are shipped together.
const BATCH_LINES: usize = 256;
/// Lines are shipped this often at least, and what was counted is said.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// A line, and when it happened in Unix nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    pub at: i64,
    pub text: String,
}

/// Where events go.
pub trait AuditSink: Send + Sync {
    /// Returns at once.
    fn record(&self, event: &Event);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    action: &'static str,
}

#[derive(Clone, Debug, Default)]
struct Counters {
    events: Family<Kind, Counter>,
    summarised: Counter,
    dropped: Family<Reason, Counter>,
}

/// Takes events; cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit {
    lines: mpsc::Sender<AuditLine>,
    /// Held for as long as it takes to count an event.
    limits: Arc<Mutex<Limits>>,
    counters: Counters,
}

/// Gives lines.
#[derive(Debug)]
pub struct AuditLines {
    lines: mpsc::Receiver<AuditLine>,
    limits: Arc<Mutex<Limits>>,
    counters: Counters,
}

/// An audit log without a place yet: events wait for whoever takes the lines.
pub fn open(registry: &mut Registry) -> (Audit, AuditLines) {
    let counters = Counters::default();
    registry.register("weir_audit_events", "Events of the audit log, written or counted", counters.events.clone());
    let help = "Denials and failed sign-ins above the limit, which the audit log says by their number alone";
    registry.register("weir_audit_summarised", help, counters.summarised.clone());
    registry.register("weir_audit_dropped", "Lines of the audit log that were lost", counters.dropped.clone());
    let (tx, rx) = mpsc::channel(QUEUE_LINES);
    let limits = Arc::new(Mutex::new(Limits::default()));
    let audit = Audit { lines: tx, limits: Arc::clone(&limits), counters: counters.clone() };
    (audit, AuditLines { lines: rx, limits, counters })
}

impl AuditSink for Audit {
    fn record(&self, event: &Event) {
        self.counters.events.get_or_create(&Kind { action: event.action.name() }).inc();
        if event.is_limited() && !self.limits.lock().admits(event.action, event.status, Instant::now()) {
            self.counters.summarised.inc();
            return;
        }
        let at = now();
        if self.lines.try_send(AuditLine { at, text: event.line(at) }).is_err() {
            self.counters.dropped.get_or_create(&Reason { reason: "queue" }).inc();
        }
    }
}

impl AuditLines {
    /// What came within a second, with what was counted instead; `None` when nothing can come any more.
    pub async fn batch(&mut self) -> Option<Vec<AuditLine>> {
        loop {
            let (mut batch, mut is_closed) = (Vec::new(), false);
            match tokio::time::timeout(FLUSH_INTERVAL, self.lines.recv()).await {
                Ok(Some(line)) => batch.push(line),
                Ok(None) => is_closed = true,
                Err(_) => {}
            }
            while batch.len() < BATCH_LINES && !is_closed {
                match self.lines.try_recv() {
                    Ok(line) => batch.push(line),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => is_closed = true,
                }
            }
            let at = now();
            let counted = self.limits.lock().take(if is_closed { None } else { Some(Instant::now()) });
            batch.extend(counted.into_iter().map(|counted| AuditLine { at, text: counted.line(at) }));
            match (batch.is_empty(), is_closed) {
                (false, _) => return Some(batch),
                (true, true) => return None,
                (true, false) => {}
            }
        }
    }

    /// Takes no more events; what waits is still given.
    pub fn close(&mut self) {
        self.lines.close();
    }

    pub fn is_closed(&self) -> bool {
        self.lines.is_closed()
    }

    /// Counts lines that could not be shipped.
    pub fn lost(&self, lines: usize) {
        self.counters.dropped.get_or_create(&Reason { reason: "bus" }).inc_by(lines as u64);
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
