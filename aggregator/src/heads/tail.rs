//! A live tail for another process: lines that pass, as they enter a head here, until one side ends it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_blocks::view::{TailSection, Tails};
use weir_heads::{Heartbeat, TailQuery, encode_heartbeat, encode_tail, frame, tail_records};
use weir_model::log::LogBatch;
use weir_model::select::LogSelect;
use weir_model::wire::Kind;

use super::service::{Refused, read};
use crate::open::Aggregator;

/// How often it is looked what entered a head: with the client's own 50 ms, a line is seen well within a second.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// A silent tail says that it is alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Messages on the way to the client; one is what arrived within a poll.
const MESSAGES: usize = 64;

/// Answers with frames for as long as both sides stay.
pub(super) async fn tail(
    State(aggregator): State<Arc<Aggregator>>,
    body: Result<Json<TailQuery>, JsonRejection>,
) -> Result<Response, Refused> {
    let query = read(body)?;
    let bad = |text| Refused(StatusCode::BAD_REQUEST, text);
    query.check().map_err(bad)?;
    let permit = Arc::clone(&aggregator.heads.tails).try_acquire_owned().map_err(|_| {
        aggregator.heads.count("tail", "busy", 1);
        Refused(StatusCode::SERVICE_UNAVAILABLE, "too many tails are open at this owner".into())
    })?;
    let compiled = tokio::task::spawn_blocking(move || query.select());
    let select = compiled.await.unwrap_or_else(|error| Err(error.to_string())).map_err(bad)?;
    // Subscribed before the answer begins: what enters after the client has seen the preamble is not missed.
    let subscription = aggregator.logs.subscribe();
    aggregator.heads.count("tail", "answered", 1);
    let (tx, rx) = mpsc::channel::<Bytes>(MESSAGES);
    tokio::spawn(async move {
        let _permit = permit;
        feed(&aggregator, subscription, select, tx).await;
    });
    let frames = futures_util::stream::unfold(rx, |mut rx| async move {
        let message = rx.recv().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(message), rx))
    });
    Ok(([(header::CONTENT_TYPE, "application/vnd.weir.heads")], Body::from_stream(frames)).into_response())
}

type Subscription = Box<dyn FnMut() -> Vec<TailSection<LogBatch>> + Send>;

/// Until the client leaves.
async fn feed(aggregator: &Aggregator, mut subscription: Subscription, select: LogSelect, tx: mpsc::Sender<Bytes>) {
    let select = Arc::new(select);
    let mut poll = tokio::time::interval(POLL_INTERVAL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut dropped, mut heartbeat) = (0, Instant::now());
    if tx.send(frame::preamble(Kind::Logs).to_vec().into()).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            () = tx.closed() => return,
            _ = poll.tick() => {}
        }
        let arrived = subscription();
        let mut message = Vec::new();
        if !arrived.is_empty() {
            let select = Arc::clone(&select);
            let Ok((found, lost)) = tokio::task::spawn_blocking(move || frames(&arrived, &select)).await else { return };
            (message, dropped) = (found, dropped + lost);
        }
        if dropped > 0 || heartbeat.elapsed() >= HEARTBEAT_INTERVAL {
            encode_heartbeat(&mut message, &Heartbeat { dropped });
        }
        if message.is_empty() {
            continue;
        }
        match tx.try_send(message.into()) {
            Ok(()) => (dropped, heartbeat) = (0, Instant::now()),
            // The client is slow: it will be told of what it lost.
            Err(mpsc::error::TrySendError::Full(message)) => {
                let sections = frame::count(&message, frame::Tag::Tail);
                aggregator.heads.count("tail", "dropped", sections);
                dropped += sections;
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}

/// Frames of what passes, and how many sections the subscription lost before it.
fn frames(arrived: &[TailSection<LogBatch>], select: &LogSelect) -> (Vec<u8>, u64) {
    let (mut message, mut lost) = (Vec::new(), 0);
    for section in arrived {
        lost += section.dropped;
        match tail_records(section, select) {
            Ok(records) => records.iter().for_each(|record| encode_tail(&mut message, section.position.partition, record)),
            Err(error) => {
                tracing::warn!(%error, "a section cannot be put on the wire for a tail");
                lost += 1;
            }
        }
    }
    (message, lost)
}
