//! `/tail`: first what `start` and `limit` ask of the past, then lines as they arrive, delayed by `delay_for` seconds so
//! that lines of several streams come in order of time.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use weir_model::fault;
use weir_model::resource::TENANT_DEFAULT;
use weir_model::time::{SECOND, TimeRange};

use super::super::Api;
use super::super::failure::Failure;
use super::super::live::{Arrived, Live, TICK};
use super::super::params::{HOUR, Params};
use super::query::limit_of;
use super::{Plain, shape};
use crate::logql::eval::lines::{Entry, LogOptions, lines};
use crate::logql::{Expr, parse};

/// Loki's limit on `delay_for`, in seconds.
const DELAY_SECONDS_MAX: usize = 5;

/// Lines that wait for their delay; beyond that the oldest are dropped, and counted in the message.
const WAITING_MAX: usize = 10_000;

/// Upgrades to a WebSocket. Errors: a metric query, a delay above 5 s, too many tails.
pub(super) async fn tail(
    State(api): State<Arc<Api>>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
    params: Params,
) -> Result<Response, Plain> {
    let query = params.need("query")?.to_owned();
    let Expr::Log(log) = parse(&query)? else { return Err("a tail follows lines: a metric query has none".to_owned().into()) };
    let delay = params.number("delay_for", 0)?;
    if delay > DELAY_SECONDS_MAX {
        return Err(format!("parameter delay_for: at most {DELAY_SECONDS_MAX} seconds").into());
    }
    let limit = limit_of(&api, params.number("limit", 100)?)?;
    let start = params.time("start")?.unwrap_or((api.clock)() - HOUR);
    let permit = Arc::clone(&api.tails)
        .try_acquire_owned()
        .map_err(|_| Failure::new(StatusCode::TOO_MANY_REQUESTS, "too many tails are open on this weir"))?;
    let upgrade = upgrade.map_err(|error| Failure::new(error.status(), error.body_text()))?;
    let mut live = Live::open(&api.logs, &query, &log, api.config.detected_level, api.counters.clone())?;
    let past = api
        .run(move |api, budget| {
            let options = LogOptions {
                tenant: TENANT_DEFAULT.into(),
                range: TimeRange { start, end: i64::MAX },
                limit,
                newest_first: true,
                detected_level: api.config.detected_level,
            };
            let mut past = lines(&*api.logs, &query, &log, &options, budget)?.value;
            past.reverse();
            Ok::<_, crate::logql::QueryError>(past)
        })
        .await?;
    live.skip(&past);
    let feed = Feed { live, waiting: past.into_iter().map(|line| (Instant::now(), line)).collect(), dropped: 0, delay };
    Ok(upgrade.on_upgrade(move |socket| follow(socket, feed, permit)))
}

struct Feed {
    live: Live,
    waiting: VecDeque<(Instant, Entry)>,
    dropped: u64,
    delay: usize,
}

impl Feed {
    /// What is due at `now`.
    fn due(&mut self, now: Instant) -> Arrived {
        let arrived = self.live.poll();
        self.dropped += arrived.dropped;
        let due_at = now + std::time::Duration::from_secs(self.delay as u64);
        self.waiting.extend(arrived.lines.into_iter().map(|line| (due_at, line)));
        while self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front();
            self.live.note_dropped(1);
            self.dropped += 1;
        }
        let mut lines = Vec::new();
        while self.waiting.front().is_some_and(|(due, _)| *due <= now) {
            lines.extend(self.waiting.pop_front().map(|(_, line)| line));
        }
        if self.delay > 0 {
            lines.sort_by_key(|line| (line.source.timestamp, line.source.id));
        }
        Arrived { lines, dropped: std::mem::take(&mut self.dropped) }
    }
}

/// One message of the tail.
pub(super) fn message(arrived: &Arrived) -> Json {
    let mut message = json!({"streams": shape::streams(&arrived.lines, false)["result"]});
    if arrived.dropped > 0 {
        let at = arrived.lines.first().map_or(0, |line| line.source.timestamp / SECOND * SECOND);
        message["dropped_entries"] =
            json!([{"labels": {"weir_dropped_lines": arrived.dropped.to_string()}, "timestamp": at.to_string()}]);
    }
    message
}

async fn follow(mut socket: WebSocket, mut feed: Feed, _permit: OwnedSemaphorePermit) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            _ = tick.tick() => {}
        }
        let now = Instant::now();
        let polled = tokio::task::spawn_blocking(move || {
            fault::contained(|| {
                let arrived = feed.due(now);
                let text = (!arrived.lines.is_empty() || arrived.dropped > 0).then(|| message(&arrived).to_string());
                (feed, text)
            })
        });
        let Ok(Ok((next, text))) = polled.await else { return };
        feed = next;
        if let Some(text) = text
            && socket.send(Message::text(text)).await.is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_model::id::LineId;
    use weir_model::select::TailEvent;

    use super::*;
    use crate::logql::memory::{MemoryLogs, line};

    #[test]
    fn past_then_live_each_once_delayed_and_in_order_of_time() {
        let mut store = MemoryLogs::default();
        store.push(&[("a", "b")], 5, b"past");
        let arriving = Arc::clone(&store.arriving);
        let past = store.lines[0].clone();
        let query = r#"{a="b"} | line_format "<{{__line__}}>" != "skip""#;
        let Ok(Expr::Log(log)) = parse(query) else { panic!("{query}") };
        let reader: Arc<dyn weir_model::select::LogReader> = Arc::new(store);
        let mut live = Live::open(&reader, query, &log, false, Default::default()).unwrap();
        let shown = [Entry { source: past.clone(), formatted: None, labels: Default::default(), categories: Default::default() }];
        live.skip(&shown);
        let begin = Instant::now();
        let mut feed = Feed { live, waiting: VecDeque::new(), dropped: 0, delay: 2 };
        let new = |offset: u64, at: i64, text: &str| {
            TailEvent::Line(line(LineId { partition: 0, offset, ordinal: 0 }, &[("a", "b")], at, text.as_bytes()))
        };
        let events =
            vec![TailEvent::Line(past), new(2, 9, "late"), new(3, 8, "early"), new(4, 10, "skip"), TailEvent::Dropped(3)];
        *arriving.lock().unwrap() = events;
        let first = feed.due(begin);
        assert_eq!((first.lines.len(), first.dropped), (0, 3), "the lines wait for their delay");
        let second = feed.due(begin + Duration::from_secs(2));
        assert_eq!(message(&second), json!({"streams": [{"stream": {"a": "b"}, "values": [["8", "<early>"], ["9", "<late>"]]}]}));
        let dropped = json!({"streams": [], "dropped_entries": [{"labels": {"weir_dropped_lines": "3"}, "timestamp": "0"}]});
        assert_eq!(message(&first), dropped);
    }
}
