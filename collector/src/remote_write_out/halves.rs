//! A request that a receiver does not take for what is in it, in halves: one late sample costs its series alone, not the two thousand
//! that were sent with it. Called by [`super::shard`], off the async threads.

use super::request::{Counts, Part, Request, compressed};

/// Requests that one is divided into at most this often: each series that is refused takes about eleven, neighbours share most of
/// them. What is still refused then is dropped as it is.
pub(super) const DIVISIONS_MAX: usize = 48;

/// Its halves by series, each whole, in order; before them the metadata that 1.0 has beside series. Nothing where there is one series, or
/// metadata alone.
pub(super) fn halves(request: &Request) -> Vec<Request> {
    let message = snap::raw::Decoder::new().decompress_vec(&request.body).expect("invariant: it was compressed here");
    let (symbols, rest) = message.split_at(request.symbols);
    let (series, metadata) = rest.split_at(bytes(&request.parts));
    let (first, second) = request.parts.split_at(request.parts.len() / 2);
    let (first_bytes, second_bytes) = series.split_at(bytes(first));
    let mut found = Vec::new();
    if !metadata.is_empty() {
        let counts = Counts { metadata: request.counts.metadata, ..Counts::default() };
        found.push(Request { body: compressed(&[metadata]), counts, newest: i64::MIN, symbols: 0, parts: Vec::new() });
    }
    for (parts, bytes) in [(first, first_bytes), (second, second_bytes)] {
        if !parts.is_empty() {
            found.push(with_series(symbols, bytes, parts));
        }
    }
    if found.len() > 1 { found } else { Vec::new() }
}

fn with_series(symbols: &[u8], series: &[u8], parts: &[Part]) -> Request {
    let mut counts = Counts::default();
    parts.iter().for_each(|part| counts += part.counts);
    let newest = parts.iter().map(|part| part.newest).max().unwrap_or(i64::MIN);
    Request { body: compressed(&[symbols, series]), counts, newest, symbols: symbols.len(), parts: parts.to_vec() }
}

fn bytes(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.bytes as usize).sum()
}
