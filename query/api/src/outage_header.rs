//! That new records are not stored, said in a header of every answer: whoever polls anything hears of it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::{Value, json};
use weir_model::status::OutageStatus;

use super::Api;
use super::coverage_header::ascii;

/// A JSON list of `{"what", "text"}`, empty while all is well: a 304 that lacked it would leave the one that a browser has kept.
const HEADER: HeaderName = HeaderName::from_static("x-weir-outage");

/// Sentences in the header: one of each kind of place that is written to.
const SENTENCES_MAX: usize = 4;

/// Characters of a sentence in the header; `status` has all of it.
const SENTENCE_CHARS_MAX: usize = 512;

/// Around every handler, and around 304.
pub(super) async fn tell(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let blocking = (api.outages)().into_iter().filter(|outage| outage.blocking);
    let told: Vec<Value> = blocking.take(SENTENCES_MAX).map(|outage| shape(&outage)).collect();
    if let Ok(value) = HeaderValue::from_str(&ascii(&Value::from(told).to_string())) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

fn shape(outage: &OutageStatus) -> Value {
    json!({"what": outage.target, "text": outage.text.chars().take(SENTENCE_CHARS_MAX).collect::<String>()})
}
