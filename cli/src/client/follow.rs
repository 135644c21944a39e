//! `weir logs --follow`: the newest lines of the past, then lines as they arrive, until Ctrl-C.

use std::collections::HashSet;

use futures_util::StreamExt;
use reqwest::StatusCode;
use serde_json::Value;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};
use weir_model::time::SECOND;

use super::address::Address;
use super::lines::{Query, Style, newest, note_limit};
use super::print::{self, number, text};
use super::{http, unreachable};
use crate::args::Output;
use crate::service::lifecycle::now;
use crate::text::units::count;
use crate::{Failure, stdout};

/// The clocks of other machines may be ahead by so much; the past that is read first ends there, in nanoseconds.
const AHEAD: i64 = 3600 * SECOND;
/// One message: what arrives within 100 ms.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// Ends with a failure when the connection does, and with none when nobody reads stdout any more.
pub(super) async fn follow(query: &Query, address: &Address, output: Output, style: &Style) -> Result<(), Failure> {
    // Opened before the past is read, so that nothing lies between; what is in both is told by its id.
    let mut url = address.url("/api/weir/v1/logs/tail", &[("query", query.text.clone())]);
    url.set_scheme("ws").map_err(|()| Failure::input(format!("--addr {address}: a tail needs http")))?;
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    let opened = tokio_tungstenite::connect_async_with_config(url.as_str(), Some(config), false).await;
    let (mut tail, _) = opened.map_err(|error| refused(address, error))?;
    let past = Query { text: query.text.clone(), range: (query.range.0, now().saturating_add(AHEAD)), limit: query.limit };
    let (past, answer) = newest(&past, address).await?;
    print::note_coverage(&answer, false);
    note_limit(past.len(), query.limit);
    let seen: HashSet<String> = past.iter().map(|line| text(&line["id"]).to_owned()).collect();
    if !write(&past, output, style)? {
        return Ok(());
    }
    loop {
        let message = match tail.next().await {
            Some(Ok(Message::Text(message))) => message,
            Some(Ok(Message::Close(_))) | None => return Err(lost(address, "weir ended it")),
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(lost(address, &error.to_string())),
        };
        let message: Value = serde_json::from_str(&message).map_err(|_| lost(address, "it said what weir does not say"))?;
        let mut lines = message["lines"].as_array().cloned().unwrap_or_default();
        lines.retain(|line| !seen.contains(text(&line["id"])));
        if !write(&lines, output, style)? {
            return Ok(());
        }
        let dropped = number(&message["dropped"]).unsigned_abs();
        if dropped > 0 {
            print::note(&format!("{} arrived faster than they could be sent, and are left out here", count(dropped, "line")));
        }
    }
}

fn write(lines: &[Value], output: Output, style: &Style) -> Result<bool, Failure> {
    stdout::write(&lines.iter().map(|line| style.written(line, output)).collect::<String>())
}

fn lost(address: &Address, why: &str) -> Failure {
    Failure::failed(format!("the connection to {address} was lost ({why}); lines after this are in `weir logs` again"))
}

fn refused(address: &Address, error: Error) -> Failure {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let said: Option<Value> = serde_json::from_slice(body).ok();
            let said = said.map_or_else(|| String::from_utf8_lossy(body).into_owned(), |said| text(&said["error"]).to_owned());
            let status = StatusCode::from_u16(response.status().as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            http::refusal(status, &said)
        }
        other => Failure::failed(unreachable::in_words(address, &other)),
    }
}
