//! `/tail`: first what `start` and `limit` ask of the past, for who may read it, then lines as they arrive, delayed by `delay_for` seconds so
//! that lines of several streams come in order of time.

use std::collections::VecDeque;

use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use weir_access::{Access, Granted, Held};
use weir_budget::Grant;
use weir_budget::RequestBudget;
use weir_logql::eval::lines::{Entry, LogOptions, lines};
use weir_logql::{Expr, parse};
use weir_model::scope::Scope;
use weir_model::time::{SECOND, TimeRange};

use super::super::error::ApiError;
use super::super::live::{Arrived, Live, bounded, follow};
use super::super::params::{HOUR, Params};
use super::super::{Api, READ_LOGS, TAIL_LOGS};
use super::query::{limit_of, wants_categories};
use super::{LokiError, query_of, shape};
use crate::call::Call;

/// Loki's limit on `delay_for`, in seconds.
const DELAY_SECONDS_MAX: usize = 5;

/// Bytes of lines that wait for their delay: 5 s of 3 MB/s. Beyond that the oldest are dropped, and counted in the message.
const WAITING_BYTES_MAX: u64 = 16 << 20;

/// Upgrades to a WebSocket. Errors: a metric query, a delay above 5 s, too many tails.
pub(super) async fn tail(
    api: Call,
    granted: Granted,
    Extension(access): Extension<Access>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, LokiError> {
    let categorize = wants_categories(&headers);
    let delay = params.number("delay_for", 0)?;
    if delay > DELAY_SECONDS_MAX {
        return Err(format!("parameter delay_for: at most {DELAY_SECONDS_MAX} seconds").into());
    }
    let places = api.tail_places(&granted.scope)?;
    // The past is read: who may not gets what arrives from now on.
    let past = access.grant_optional(READ_LOGS).await.ok().map(|granted| granted.scope);
    let held = Held::new(access, TAIL_LOGS, granted.clone());
    let open = move |api: &Api, budget: &RequestBudget| open((api, &granted.scope, past.as_deref()), &params, delay, budget);
    let mut feed = api.run(open).await?;
    let upgrade = upgrade.map_err(|error| ApiError::new(error.status(), error.body_text()))?;
    let kept = (api.tail_timing, api.counters.clone(), held, places);
    let step = move || {
        let arrived = feed.due(Instant::now());
        (!arrived.lines.is_empty() || arrived.dropped > 0).then(|| message(&arrived, categorize).to_string())
    };
    Ok(bounded(upgrade).on_upgrade(move |socket| follow(socket, kept, step)))
}

/// From now on nothing of `scope` is missed; and what there is of `past`.
fn open(
    (api, scope, past): (&Api, &Scope, Option<&Scope>),
    params: &Params,
    delay: usize,
    budget: &RequestBudget,
) -> Result<Feed, LokiError> {
    let query = query_of(params)?;
    let Expr::Log(log) = parse(query)? else { return Err("a tail follows lines: a metric query has none".to_owned().into()) };
    let limit = limit_of(api, params.number("limit", 100)?)?;
    let start = params.time("start")?.unwrap_or((api.clock)() - HOUR);
    let mut live = Live::open((&api.logs, scope), query, &log, api.config.detected_level, api.counters.clone())?;
    let read = |scope: &Scope| {
        let (range, detected_level) = (TimeRange { start, end: i64::MAX }, api.config.detected_level);
        let options = LogOptions { scope: scope.clone(), range, limit, newest_first: true, detected_level };
        lines(&*api.logs, query, &log, &options, budget)
    };
    let mut past = past.map(read).transpose()?.map_or_else(Vec::new, |found| found.value);
    past.reverse();
    live.skip(&past);
    let waiting_bytes = past.iter().map(Entry::bytes).sum();
    if waiting_bytes > WAITING_BYTES_MAX {
        let text = format!("the past of a tail has {waiting_bytes} bytes, at most {WAITING_BYTES_MAX}: ask for a lower limit");
        return Err(text.into());
    }
    let held = api.load().grant();
    held.settle(waiting_bytes)?;
    let waiting = past.into_iter().map(|line| (Instant::now(), line)).collect();
    Ok(Feed { live, waiting, waiting_bytes, held, dropped: 0, delay })
}

struct Feed {
    live: Live,
    waiting: VecDeque<(Instant, Entry)>,
    waiting_bytes: u64,
    /// The memory of what waits.
    held: Grant,
    dropped: u64,
    delay: usize,
}

impl Feed {
    /// What is due at `now`.
    fn due(&mut self, now: Instant) -> Arrived {
        let arrived = self.live.poll();
        self.dropped += arrived.dropped;
        let due_at = now + std::time::Duration::from_secs(self.delay as u64);
        for line in arrived.lines {
            self.waiting_bytes += line.bytes();
            self.waiting.push_back((due_at, line));
        }
        let mut lines = Vec::new();
        while self.waiting.front().is_some_and(|(due, _)| *due <= now) {
            lines.extend(self.next());
        }
        while self.waiting_bytes > WAITING_BYTES_MAX {
            self.lose();
        }
        while self.held.settle(self.waiting_bytes).is_err() && !self.waiting.is_empty() {
            // Everything goes at once: others need the memory now.
            (0..self.waiting.len()).for_each(|_| self.lose());
        }
        if self.delay > 0 {
            lines.sort_by_key(|line| (line.source.timestamp, line.source.id));
        }
        Arrived { lines, dropped: std::mem::take(&mut self.dropped) }
    }

    fn next(&mut self) -> Option<Entry> {
        let (_, line) = self.waiting.pop_front()?;
        self.waiting_bytes -= line.bytes();
        Some(line)
    }

    fn lose(&mut self) {
        if self.next().is_some() {
            self.live.note_dropped(1);
            self.dropped += 1;
        }
    }
}

/// One message of the tail.
fn message(arrived: &Arrived, categorize: bool) -> Json {
    let mut message = json!({"streams": shape::streams_json(&arrived.lines, categorize)});
    if categorize {
        message["encodingFlags"] = json!(["categorize-labels"]);
    }
    if arrived.dropped > 0 {
        let at = arrived.lines.first().map_or(0, |line| line.source.timestamp / SECOND * SECOND);
        message["dropped_entries"] =
            json!([{"labels": {"weir_dropped_lines": arrived.dropped.to_string()}, "timestamp": at.to_string()}]);
    }
    message
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use weir_model::id::LineId;
    use weir_model::select::TailEvent;

    use super::*;
    use weir_logql::memory::{MemoryLogs, line};

    #[test]
    fn past_then_live_each_once_delayed_and_in_order_of_time() {
        let mut store = MemoryLogs::default();
        store.push(&[("a", "b")], 5, b"past");
        let arriving = Arc::clone(&store.arriving);
        let past = store.lines[0].clone();
        let query = r#"{a="b"} | line_format "<{{__line__}}>" != "skip""#;
        let Ok(Expr::Log(log)) = parse(query) else { panic!("{query}") };
        let reader: Arc<dyn weir_model::select::LogReader> = Arc::new(store);
        let mut live = Live::open((&reader, &Scope::of("t")), query, &log, false, Default::default()).unwrap();
        let shown = [Entry { source: past.clone(), formatted: None, labels: Default::default(), categories: Default::default() }];
        live.skip(&shown);
        let begin = Instant::now();
        let load = weir_budget::Load::new(&weir_budget::QueryConfig::default(), Default::default());
        let mut feed = Feed { live, waiting: VecDeque::new(), waiting_bytes: 0, held: load.grant(), dropped: 0, delay: 2 };
        let new = |offset: u64, at: i64, text: &str| {
            TailEvent::Line(line(LineId { partition: 0, offset, ordinal: 0 }, &[("a", "b")], at, text.as_bytes()))
        };
        let events =
            vec![TailEvent::Line(past), new(2, 9, "late"), new(3, 8, "early"), new(4, 10, "skip"), TailEvent::Dropped(3)];
        *arriving.lock().unwrap() = events;
        let first = feed.due(begin);
        assert_eq!((first.lines.len(), first.dropped), (0, 3), "the lines wait for their delay");
        assert!(load.used() > 0 && load.used() == feed.waiting_bytes, "{}", load.used());
        let second = feed.due(begin + Duration::from_secs(2));
        assert_eq!(
            message(&second, false),
            json!({"streams": [{"stream": {"a": "b"}, "values": [["8", "<early>"], ["9", "<late>"]]}]})
        );
        assert_eq!((load.used(), feed.waiting_bytes), (0, 0));
        let dropped = json!({"streams": [], "dropped_entries": [{"labels": {"weir_dropped_lines": "3"}, "timestamp": "0"}]});
        assert_eq!(message(&first, false), dropped);
        let apart = json!([{"stream": {"a": "b"}, "values": [["8", "<early>", {}], ["9", "<late>", {}]]}]);
        assert_eq!(message(&second, true), json!({"streams": apart, "encodingFlags": ["categorize-labels"]}));
    }
}
