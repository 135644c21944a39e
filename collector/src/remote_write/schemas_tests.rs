//! Schemas and their parts as they come and go: the same rows have the same digests, nothing is carried or held for ever, and the newest sample
//! of each series is known whatever rows it came in.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use weir_model::fuzz::Random;
use weir_model::label::Labels;
use weir_model::prompb::{Exemplar, MetricMetadata, TimeSeries, WriteRequest, labels};

use super::compress;
use super::tests::{NOW, both, digests, numbers, request, sample, series, taken};
use crate::config::PushConfig;
use crate::hostile::bench;

/// Series that come move the others into another schema between the rows of one request.
#[test]
fn what_is_sent_again_has_the_same_digests_whatever_is_known_by_then() {
    let times = |i: usize| if i < 100 { vec![NOW, NOW + 1, NOW + 2] } else { vec![NOW + 1] };
    let own = |i: usize| {
        let samples = times(i).into_iter().map(|time| sample(time, i as f64)).collect();
        series(&format!("m{i:03}"), "shop", samples)
    };
    for body in both(&request((0..150).map(own).collect())) {
        let bench = bench(PushConfig::default());
        let [first, again, later] = [(); 3].map(|()| taken(&bench, &body).sections);
        assert_eq!(first.len(), 2, "rows of the same columns are a batch");
        assert_eq!(digests(&first), digests(&again));
        assert_eq!(digests(&first), digests(&later));
        assert_eq!(numbers(&first), numbers(&again));
    }
}

#[test]
fn series_that_have_ended_are_not_carried_for_ever() {
    let bench = bench(PushConfig::default());
    let of = |columns: Range<usize>, time: i64| {
        let own = columns.map(|i| series(&format!("m{i:03}"), "shop", vec![sample(time, 1.0)])).collect();
        let sections = taken(&bench, &(false, compress(&request(own)))).sections;
        assert_eq!(sections.len(), 1);
        Arc::clone(&sections[0].batch.schema)
    };
    let whole = of(0..256, NOW - 100);
    let parts = (1..60).take_while(|at| of(200..256, NOW - 100 + at).is_part()).count();
    assert!((1..30).contains(&parts), "{parts}");
    let (left, again) = (of(200..256, NOW), of(200..256, NOW + 1));
    assert!(!left.is_part() && Arc::ptr_eq(&left, &again));
    assert!(Arc::ptr_eq(&whole, &of(0..256, NOW + 2)), "if they come again, so do their columns");
    assert!(of(200..256, NOW + 3).is_part());
}

#[test]
fn metadata_that_changes_again_and_again_takes_no_more_memory() {
    let bench = bench(PushConfig::default());
    let mut held = Vec::new();
    for round in 0..40_i64 {
        let help = ["one", "two"][(round % 2) as usize].repeat(200);
        let told = MetricMetadata { r#type: 1, metric_family_name: "m000".into(), help, unit: String::new() };
        let timeseries = (0..256).map(|i| series(&format!("m{i:03}"), "shop", vec![sample(NOW + round, 1.0)])).collect();
        let taken = taken(&bench, &(false, compress(&WriteRequest { timeseries, metadata: vec![told.clone()] })));
        assert_eq!(taken.sections[0].batch.schema.families[0].help, told.help);
        taken.told.stored();
        held.push(bench.series_bytes());
    }
    assert_eq!(held[4], held[39], "{held:?}");
}

/// Rows of all series of a target, of neighbours, and with gaps, one after the other: schemas and parts come and go.
#[test]
fn each_series_is_repeated_as_it_was_stored_last_whatever_rows_it_came_in() {
    let (mut random, bench) = (Random::new(5), bench(PushConfig::default()));
    let name = |i: usize| format!("m{i:03}");
    let mut stored: HashMap<usize, (i64, f64)> = HashMap::new();
    let mut parts = 0;
    for round in 0..300_i64 {
        // Some are late.
        let time = NOW - 10_000 + 2 * round - [0, 101][random.below(2)];
        let (first, count) = if random.below(3) == 0 { (0, 300) } else { (random.below(300), 1 + random.below(300)) };
        let gap = if random.below(3) == 0 { random.below(300) } else { 300 };
        let own: Vec<usize> = (first..300.min(first + count)).filter(|i| *i != gap).collect();
        let value = |i: usize| (1000 * round) as f64 + i as f64;
        let all = own.iter().map(|i| series(&name(*i), "shop", vec![sample(time, value(*i))])).collect();
        let sent = taken(&bench, &both(&request(all))[(round % 2) as usize]);
        parts += sent.sections.iter().filter(|section| section.batch.schema.is_part()).count();
        if random.below(4) > 0 {
            sent.told.stored();
            for i in own {
                // A series that comes in both versions is two.
                let newest = stored.entry(2 * i + (round % 2) as usize).or_insert((time, value(i)));
                *newest = if newest.0 < time { (time, value(i)) } else { *newest };
            }
        }
        for _ in 0..3 {
            let (i, version) = (random.below(300), random.below(2));
            let exemplar = Exemplar { labels: labels([("trace_id", "t")]), value: 1.0, timestamp: NOW };
            let own = request(vec![TimeSeries { exemplars: vec![exemplar], ..series(&name(i), "shop", Vec::new()) }]);
            let row = taken(&bench, &both(&own)[version]).sections.first().map(|section| section.batch.rows[0].clone());
            let found = row.map(|row| (row.timestamp / 1_000_000, row.values[0]));
            assert_eq!(found, stored.get(&(2 * i + version)).copied(), "round {round}, series {i}");
        }
    }
    assert!(parts > 50, "{parts}");
}

/// The figure of `push.series_cache_max` in weir.toml.
#[test]
fn a_series_takes_240_bytes_beside_its_labels() {
    let bench = bench(PushConfig::default());
    let own = |i: usize| series(&format!("m{:03}", i % 1000), &format!("job{}", i / 1000), vec![sample(NOW, 1.0)]);
    let sent = taken(&bench, &(false, compress(&request((0..20_000).map(own).collect()))));
    sent.told.stored();
    let schemas = || sent.sections.iter().map(|section| &section.batch.schema);
    let labels: usize = schemas().flat_map(|schema| &schema.series).map(Labels::memory).sum();
    let on_the_wire: usize = schemas().map(|schema| schema.weight()).sum();
    let own = (bench.series_bytes() - labels - on_the_wire) / 20_000;
    assert!((220..=240).contains(&own), "{own}");
}
