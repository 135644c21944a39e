//! The checker: what weir answers, compared with the accounts.

use std::collections::HashMap;

use futures_util::StreamExt;
use serde_json::Value;

use super::write::stream_of;
use super::{Account, Ledger};
use crate::weir::{Weir, eventually};

/// Traces that are looked up at the same time.
const ASKED_AT_ONCE: usize = 4;

/// Of a container.
const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Who is asked for what is stored.
pub(super) trait Asked {
    /// A complete answer.
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value;
    /// Everything in heads sealed (`seal`), or everything mergeable merged (`compact`).
    async fn admin(&self, action: &str);
    /// The end of what it wrote to stderr, for whoever reads a failure.
    fn log(&self) -> String;
}

impl Asked for Weir {
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let (status, body) = self.try_get(path, parameters).await;
        // A trace that nobody has seen is an answer too.
        assert!(status == 200 || status == 404, "{path} {parameters:?}: {status} {body}\n{}", Weir::log(self));
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    async fn admin(&self, action: &str) {
        Weir::admin(self, action).await;
    }

    fn log(&self) -> String {
        Weir::log(self)
    }
}

/// Every stored body of a log source, in the order of its lines' permanent ids (partition, offset, ordinal).
async fn stored_lines(weir: &impl Asked, selector: &str) -> Vec<String> {
    let mut lines: Vec<((u64, u64, u64), String)> = Vec::new();
    let mut start = 0_u64;
    loop {
        let (from, limit) = (start.to_string(), "20000");
        let parameters =
            [("query", selector), ("start", from.as_str()), ("end", "4102444800"), ("limit", limit), ("direction", "forward")];
        let answer = weir.ask("/api/weir/v1/logs", &parameters).await;
        let page = answer["lines"].as_array().expect("lines");
        let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        for line in page {
            let id: Vec<u64> = text(line, "id").split('-').map(|part| part.parse().expect("a line id")).collect();
            lines.push(((id[0], id[1], id[2]), text(line, "line")));
        }
        let Some(last) = page.last().filter(|_| page.len() == 20_000) else { break };
        let next: u64 = text(last, "t").parse().expect("a time");
        assert!(next > start, "more lines of one nanosecond than a page holds");
        start = next;
    }
    lines.sort();
    // Pages overlap by the nanosecond that they break at.
    lines.dedup();
    lines.into_iter().map(|(_, line)| line).collect()
}

async fn stored_spans(weir: &impl Asked, account: &Account) -> Vec<String> {
    let mut ids: Vec<&str> = account.sent.iter().map(|key| &key[..32]).collect();
    ids.dedup();
    let traces = futures_util::stream::iter(ids).map(async |id| {
        let answer = weir.ask(&format!("/api/weir/v1/traces/{id}"), &[]).await;
        let spans = answer["trace"]["spans"].as_array().cloned().unwrap_or_default();
        spans.iter().map(|span| format!("{id} {}", span["id"].as_str().unwrap_or_default())).collect::<Vec<_>>()
    });
    traces.buffer_unordered(ASKED_AT_ONCE).concat().await
}

/// Every stored sample of a source, as its writer has them in its account.
async fn stored_samples(weir: &impl Asked, source: &str) -> Vec<String> {
    let query = format!("ledger_number{{ledger={source:?}}}[1d]");
    let answer = weir.ask("/api/v1/query", &[("query", &query)]).await;
    let series = answer["data"]["result"].as_array().expect("series");
    let samples = series.iter().flat_map(|series| series["values"].as_array().expect("samples"));
    let milliseconds = |at: &Value| (at.as_f64().expect("seconds") * 1000.0).round();
    samples.map(|sample| format!("{} {}", milliseconds(&sample[0]), sample[1].as_str().expect("a value"))).collect()
}

/// acknowledged ⊆ stored ⊆ sent, each once, in order.
fn compare(when: &str, source: &str, account: &Account, stored: &[String], ordered: bool) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    stored.iter().for_each(|body| *seen.entry(body).or_default() += 1);
    let doubled: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).take(3).collect();
    assert!(doubled.is_empty(), "{when}: {source}: stored more than once: {doubled:?}");
    let lost: Vec<_> = account.sent[..account.acknowledged].iter().filter(|body| !seen.contains_key(body.as_str())).collect();
    assert!(
        lost.is_empty(),
        "{when}: {source}: {} of {} acknowledged records are not stored, the first: {:?}",
        lost.len(),
        account.acknowledged,
        lost[0]
    );
    let position: HashMap<&str, usize> = account.sent.iter().enumerate().map(|(i, body)| (body.as_str(), i)).collect();
    let places: Vec<usize> = stored
        .iter()
        .map(|body| *position.get(body.as_str()).unwrap_or_else(|| panic!("{when}: {source}: stored and never sent: {body:?}")))
        .collect();
    if ordered {
        let out = places.windows(2).find(|pair| pair[0] > pair[1]);
        assert!(out.is_none(), "{when}: {source}: out of order: {out:?}");
    }
}

pub(super) async fn check(weir: &impl Asked, ledger: &Ledger, when: &str) {
    let accounts = std::mem::take(&mut *ledger.accounts.lock().unwrap());
    for (source, account) in &accounts {
        if source.starts_with("push") {
            compare(when, source, account, &stored_lines(weir, &format!("{{ledger={source:?}}}")).await, true);
        } else if source.starts_with("file") {
            // A CRI file carries two streams, and only within a stream is there an order to keep.
            let mut all = Vec::new();
            for stream in STREAMS {
                let lines = stored_lines(weir, &format!("{{pod={source:?}, stream={stream:?}}}")).await;
                let of_stream = Account { sent: account.sent.clone(), acknowledged: 0 };
                compare(when, source, &of_stream, &lines, true);
                all.extend(lines);
            }
            compare(when, source, account, &all, false);
        } else if source.starts_with("meter") {
            compare(when, source, account, &stored_samples(weir, source).await, true);
        } else {
            compare(when, source, account, &stored_spans(weir, account).await, false);
        }
    }
    *ledger.accounts.lock().unwrap() = accounts;
}

/// Waits until the last line of each of the file's streams can be found: files are acknowledged by being written, and found
/// a moment later, each stream at its own.
async fn settle(weir: &impl Asked, ledger: &Ledger) {
    let file = &ledger.file;
    let written = ledger.accounts.lock().unwrap().get(file).map_or(0, |account| account.sent.len());
    for stream in STREAMS {
        let Some(last) = (0..written).rev().find(|number| stream_of(*number) == stream) else { continue };
        let needle = format!("ledger {file} {last:08}");
        let query = format!("{{pod={file:?}, stream={stream:?}}} |= {needle:?}");
        eventually("the last line of a stream of the file", async || {
            let answer = weir.ask("/api/weir/v1/logs", &[("query", &query), ("start", "0"), ("end", "4102444800")]).await;
            if answer["lines"].as_array().is_some_and(|lines| !lines.is_empty()) {
                Ok(())
            } else {
                Err(format!("{needle} has not arrived"))
            }
        })
        .await;
    }
}

pub(super) async fn check_all_ways(weir: &impl Asked, ledger: &Ledger) {
    settle(weir, ledger).await;
    check(weir, ledger, "live").await;
    weir.admin("seal").await;
    check(weir, ledger, "sealed").await;
    weir.admin("compact").await;
    check(weir, ledger, "compacted").await;
}
