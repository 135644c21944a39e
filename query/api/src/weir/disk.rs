//! `GET /api/weir/v1/admin/disk`: what logs take on disk, by tenant, by stream and by part of the format. Of blocks only: what is in
//! heads is not on disk. Told from directories that are in memory, so that it costs no reading.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};
use weir_budget::RequestBudget;
use weir_model::label::Labels;
use weir_model::select::Coverage;
use weir_model::usage::{Amount, LogsDisk};

use super::super::Api;
use super::super::call::Call;
use super::super::params::Params;
use super::{WeirError, answer};

/// Streams that are shown when nothing is said, and at most.
const STREAMS_DEFAULT: usize = 100;
const STREAMS_MAX: usize = 10_000;

/// The largest `limit` streams, and all tenants and parts.
pub(super) async fn disk(api: Call, params: Params) -> Result<Response, WeirError> {
    let limit = params.number("limit", STREAMS_DEFAULT)?.min(STREAMS_MAX);
    let work = move |api: &Api, budget: &RequestBudget| {
        let disk = api.stored.as_ref().map(|stored| stored.logs_disk(budget)).transpose()?.unwrap_or_default();
        let mut coverage = Coverage::default();
        disk.missing.iter().for_each(|sentence| coverage.miss(sentence.clone()));
        answer(budget, &shape(&disk, limit), coverage)
    };
    api.answer(work).await
}

fn shape(disk: &LogsDisk, limit: usize) -> Value {
    let mut tenants = BTreeMap::<&str, Amount>::new();
    disk.streams.iter().for_each(|((tenant, _), own)| *tenants.entry(&**tenant).or_default() += *own);
    let amount = |own: &Amount| json!({"records": own.records, "bytes": own.bytes});
    let mut all = Amount::default();
    let of_tenants: Vec<Value> = tenants
        .iter()
        .map(|(tenant, own)| {
            all += *own;
            json!({"tenant": tenant, "stored": amount(own)})
        })
        .collect();
    let mut streams: Vec<_> = disk.streams.iter().collect();
    streams.sort_by(|(a, own), (b, other)| other.bytes.cmp(&own.bytes).then_with(|| a.cmp(b)));
    let stream = |((tenant, labels), own): &(&(Arc<str>, Labels), &Amount)| json!({"tenant": &**tenant, "stream": labels, "stored": amount(own)});
    json!({
        "blocks": disk.blocks,
        "records": all.records,
        "bytes": disk.parts.values().sum::<u64>(),
        "parts": disk.parts.iter().map(|(part, bytes)| json!({"part": part, "bytes": bytes})).collect::<Vec<_>>(),
        "tenants": of_tenants,
        "streams_total": streams.len(),
        "streams": streams.iter().take(limit).map(stream).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_streams_come_first_and_sums_are_of_all() {
        let mut disk = LogsDisk { blocks: 2, ..LogsDisk::default() };
        for (tenant, pod, bytes) in [("a", "x", 10), ("a", "y", 30), ("b", "x", 20)] {
            let key = (tenant.into(), Labels::from_pairs([("pod", pod)]));
            disk.streams.insert(key, Amount { records: 1, bytes });
        }
        disk.parts.extend([("chunks.2".to_owned(), 60), ("ids.1".to_owned(), 5)]);
        let expected = json!({
            "blocks": 2, "records": 3, "bytes": 65,
            "parts": [{"part": "chunks.2", "bytes": 60}, {"part": "ids.1", "bytes": 5}],
            "tenants": [
                {"tenant": "a", "stored": {"records": 2, "bytes": 40}},
                {"tenant": "b", "stored": {"records": 1, "bytes": 20}},
            ],
            "streams_total": 3,
            "streams": [
                {"tenant": "a", "stream": {"pod": "y"}, "stored": {"records": 1, "bytes": 30}},
                {"tenant": "b", "stream": {"pod": "x"}, "stored": {"records": 1, "bytes": 20}},
            ],
        });
        assert_eq!(shape(&disk, 2), expected);
    }
}
