//! A live tail of a LogQL query: what arrived since the last look, through the query's pipeline. Loki's and our own
//! tail differ only in the shape of their messages.
//!
//! There are `query.tails_max` places, of which a tail takes one for each of its tenants. A client that is gone without a word would keep its own for ever: it is pinged, and
//! one that has not been heard of for [`Timing::silence`], or takes nothing for so long, loses its place.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};
use weir_access::{Denied, Held};
use weir_logql::LogExpr;
use weir_logql::eval::lines::Entry;
use weir_logql::pipeline::labels::LineLabels;
use weir_logql::pipeline::{Lines, Pipeline};
use weir_model::id::LineId;
use weir_model::log::LogRecord;
use weir_model::panic_guard;
use weir_model::scope::Scope;
use weir_model::select::{LogReader, LogTail, TailEvent};
use weir_model::time::TimeRange;

use super::Api;
use super::error::ApiError;
use super::metrics::HttpMetrics;

/// How often a tail looks: docs/api.md promises messages at most every 40 ms. With it a line is in its tail within 100 ms of its
/// push, the commit of the bus and the way into the head included.
pub(crate) const TICK: Duration = Duration::from_millis(40);

/// The client of a tail has nothing to say but pongs and a close.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// When a tail is given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) ping: Duration,
    pub(crate) silence: Duration,
}

impl Timing {
    /// Not heard of for so long is gone.
    pub(crate) fn within(silence: Duration) -> Self {
        Self { ping: silence / 3, silence }
    }
}

/// Places of tails, until they are dropped.
pub(crate) struct TailPlaces {
    _permit: OwnedSemaphorePermit,
}

impl Api {
    /// One for each tenant, which is followed by itself. Errors when fewer are free.
    pub(crate) fn tail_places(&self, scope: &Scope) -> Result<TailPlaces, ApiError> {
        let (wanted, max) = (scope.tenants().len(), self.config.tails_max);
        let taken = u32::try_from(wanted).ok().and_then(|n| Arc::clone(&self.tails).try_acquire_many_owned(n).ok());
        taken.map(|permit| TailPlaces { _permit: permit }).ok_or_else(|| {
            self.counters.load.refused("tails");
            let message = format!(
                "this tail takes {wanted} of the {max} places that query.tails_max allows, one for each tenant, and fewer are free"
            );
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
        })
    }
}

/// Takes little from the client.
pub(crate) fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX)
}

/// Sends what `step` has to say, which is asked every [`TICK`] off the async threads, until the client has gone, or what it was
/// granted has ended, which is looked at with each ping.
pub(crate) async fn follow(
    mut socket: WebSocket,
    (timing, counters, held, _places): (Timing, HttpMetrics, Held, TailPlaces),
    mut step: impl FnMut() -> Option<String> + Send + 'static,
) {
    let (mut tick, mut ping) = (interval(TICK), interval_at(Instant::now() + timing.ping, timing.ping));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let held = Arc::new(held);
    // Beside the lines, which are not to wait for an authenticator.
    let mut check: Option<BoxFuture<'static, Option<Denied>>> = None;
    loop {
        let message = tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {
                    heard = Instant::now();
                    continue;
                }
            },
            _ = ping.tick() => {
                if heard.elapsed() >= timing.silence {
                    return counters.tail_closed("silent");
                }
                if check.is_none() {
                    let held = Arc::clone(&held);
                    check = Some(Box::pin(async move { held.ended().await }));
                }
                Some(Message::Ping(Bytes::new()))
            }
            ended = async { check.as_mut()?.await }, if check.is_some() => {
                check = None;
                let Some(denied) = ended else { continue };
                // Nobody waits for a client that does not take it.
                drop(timeout(timing.ping, socket.send(closing(&denied))).await);
                return counters.tail_closed("denied");
            }
            _ = tick.tick() => {
                let asked = tokio::task::spawn_blocking(move || {
                    panic_guard::catch(|| {
                        let text = step();
                        (step, text)
                    })
                });
                let Ok(Ok((next, text))) = asked.await else { return };
                step = next;
                text.map(Message::text)
            }
        };
        let Some(message) = message else { continue };
        match timeout(timing.silence, socket.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => return counters.tail_closed("slow"),
        }
    }
}

/// A close with the reason, of which a frame holds 123 bytes.
fn closing(denied: &Denied) -> Message {
    let text = denied.to_string();
    let reason = &text[..text.floor_char_boundary(123)];
    let code = match denied {
        Denied::Undecided(_) | Denied::Throttled(_) => close_code::AGAIN,
        _ => close_code::POLICY,
    };
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

/// One open tail.
pub(crate) struct Live {
    tail: Box<dyn LogTail>,
    pipeline: Pipeline,
    labels: LineLabels,
    /// Lines that history has shown already.
    shown: HashSet<LineId>,
    detected_level: bool,
    counters: HttpMetrics,
}

/// What arrived.
#[derive(Default)]
pub(crate) struct Arrived {
    /// Lines that pass, in order of arrival.
    pub(crate) lines: Vec<Entry>,
    /// Lines that came too fast.
    pub(crate) dropped: u64,
}

impl Live {
    /// Opens it: from now on nothing that passes is missed, short of [`Arrived::dropped`].
    pub(crate) fn open(
        (reader, scope): (&Arc<dyn LogReader>, &Scope),
        text: &str,
        log: &LogExpr,
        detected_level: bool,
        counters: HttpMetrics,
    ) -> Result<Self, ApiError> {
        let pipeline = Pipeline::compile(text, log, Lines::Needed)?;
        let select = pipeline.select(log, scope, TimeRange::ALL, false);
        let (tail, labels, shown) = (reader.tail(select)?, LineLabels::default(), HashSet::new());
        Ok(Self { tail, pipeline, labels, shown, detected_level, counters })
    }

    /// Does not show these lines again.
    pub(crate) fn skip(&mut self, lines: &[Entry]) {
        self.shown.extend(lines.iter().map(|entry| entry.source.id));
    }

    /// Counts lines that the caller had to drop.
    pub(crate) fn note_dropped(&self, lines: u64) {
        self.counters.tail_dropped(lines);
    }

    /// What arrived since the last call.
    pub(crate) fn poll(&mut self) -> Arrived {
        let mut arrived = Arrived::default();
        for event in self.tail.poll() {
            match event {
                TailEvent::Dropped(count) => {
                    self.counters.tail_dropped(count);
                    arrived.dropped += count;
                }
                TailEvent::Line(source) if self.shown.remove(&source.id) => {}
                TailEvent::Line(source) => {
                    let record = LogRecord {
                        timestamp: source.timestamp,
                        sequence: 0,
                        body: &source.body,
                        severity: source.severity,
                        flags: 0,
                        trace_id: source.trace_id,
                        span_id: source.span_id,
                        attributes: (&source.attributes).into(),
                    };
                    self.labels.set_stream(&source.stream);
                    self.labels.begin_line(&record, self.detected_level);
                    let Some(line) = self.pipeline.run(&source.body, source.timestamp, &mut self.labels) else { continue };
                    let formatted = if *line == *source.body { None } else { Some(line.into_owned()) };
                    let (labels, categories) = (self.labels.all(), self.labels.categories());
                    arrived.lines.push(Entry { source, formatted, labels, categories });
                }
            }
        }
        arrived
    }
}
