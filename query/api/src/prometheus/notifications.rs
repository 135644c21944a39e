//! `notifications` and `notifications/live`: Prometheus' page shows there what is wrong with the server. Here it is what every answer
//! says in its header, too: what cannot be written now.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::Instant;
use weir_access::Granted;
use weir_model::time::format_rfc3339;

use super::answer::{ApiError, Success};
use crate::Api;
use crate::call::Call;
use crate::live::{TICK, TailPlaces};

/// A stream ends after so many times what a tail's client may be silent for, and a browser opens it again: who asks is decided anew.
const LIFETIME_SILENCES: u32 = 5;

/// `GET notifications`
pub(super) async fn all(api: Call) -> Result<Response, ApiError> {
    let body = current(&api);
    api.answer(move |_, budget| Success::of(budget, &body)?.reply(None)).await
}

/// `GET notifications/live`: server-sent events, one for each notification that begins or ends. Takes a place among tails.
pub(super) async fn live(State(api): State<Arc<Api>>, granted: Granted) -> Response {
    let places = match api.tail_places(&granted.scope) {
        Ok(places) => places,
        Err(error) => return ApiError::from(error).into_response(),
    };
    let now = Instant::now();
    let ends = now + LIFETIME_SILENCES * api.tail_timing.silence;
    let watch = Watch { api, shown: Vec::new(), ends, alive: now, _places: places };
    let events = stream::unfold(watch, |mut watch| async move {
        let bytes = watch.next().await?;
        Some((Ok::<_, Infallible>(bytes), watch))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events)).into_response()
}

struct Watch {
    api: Arc<Api>,
    shown: Vec<Value>,
    ends: Instant,
    /// When something was sent last.
    alive: Instant,
    _places: TailPlaces,
}

impl Watch {
    /// What began or ended; after a while of nothing a comment, which finds out that the client has gone.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let now = Instant::now();
            if now >= self.ends {
                return None;
            }
            let found = current(&self.api);
            let ended = self.shown.iter().filter(|own| !found.contains(own)).map(|own| {
                let mut own = own.clone();
                own["active"] = json!(false);
                own
            });
            let begun = found.iter().filter(|own| !self.shown.contains(own)).cloned();
            let events: String = ended.chain(begun).map(|event| format!("data: {event}\n\n")).collect();
            self.shown = found;
            if !events.is_empty() || now.duration_since(self.alive) >= self.api.tail_timing.ping {
                self.alive = now;
                return Some(if events.is_empty() { ":\n\n".into() } else { events.into() });
            }
            tokio::time::sleep(TICK).await;
        }
    }
}

/// One an outage. Its text tells what changes as it goes on, so it is told by what and since when.
fn current(api: &Api) -> Vec<Value> {
    let one = |outage: &weir_model::status::OutageStatus| {
        let since = outage.since.parse().map_or_else(|_| outage.since.clone(), format_rfc3339);
        json!({"text": format!("{}: {}", outage.target, outage.reason), "date": since, "active": true})
    };
    (api.outages)().iter().map(one).collect()
}
