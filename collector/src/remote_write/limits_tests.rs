//! What a small request could grow to, and what must not be lost: texts that are referred to many times, families, histograms,
//! exemplars that come as series of their own.

use std::collections::{BTreeMap, BTreeSet};

use weir_model::metric::STALE_NAN;

use weir_model::prompb::{
    BucketSpan, Exemplar, Exemplar2, Histogram, MetricMetadata, Request2, TimeSeries, TimeSeries2, WriteRequest, labels, upgrade,
};

use super::tests::{NOW, both, integers, request, sample, series, taken};
use super::{Taken, Written, compress};
use crate::config::PushConfig;
use crate::hostile::{Bench, bench};
use crate::push_error::PushError;

fn send(bench: &Bench, sent: &WriteRequest) -> Taken {
    taken(bench, &(false, compress(sent)))
}

fn exemplar_alone(name: &str, id: &str) -> TimeSeries {
    let exemplar = Exemplar { labels: labels([("trace_id", id)]), value: 0.5, timestamp: NOW };
    TimeSeries { exemplars: vec![exemplar], ..series(name, "shop", Vec::new()) }
}

/// Of every section.
fn exemplars(taken: &Taken) -> Vec<(i64, f64, String)> {
    let rows = taken.sections.iter().flat_map(|section| &section.batch.rows);
    let of_row =
        rows.flat_map(|row| row.extras.iter().flat_map(move |extras| extras.exemplars.iter().map(move |own| (row, own))));
    of_row
        .map(|(row, (at, own))| (row.timestamp / 1_000_000, row.values[*at as usize], own.labels.get("trace_id").to_owned()))
        .collect()
}

#[test]
fn a_long_symbol_is_not_copied_for_each_reference() {
    let own = |references: Vec<u32>| {
        let exemplar = Exemplar2 { labels_refs: references.clone(), value: 1.0, timestamp: NOW };
        let wrong = TimeSeries2 { labels_refs: references, samples: vec![sample(NOW, 1.0)], ..TimeSeries2::default() };
        let good = TimeSeries2 {
            labels_refs: vec![1, 2],
            samples: vec![sample(NOW, 1.0)],
            exemplars: vec![exemplar],
            ..TimeSeries2::default()
        };
        vec![wrong, good]
    };
    let symbols = |long: usize| vec![Vec::new(), b"__name__".to_vec(), b"x".to_vec(), vec![b'y'; long]];
    let cases = [(vec![3; 60_000], "more labels than push.labels_max, 128"), (vec![1, 3], "is longer than 65536 bytes")];
    for (references, expected) in cases {
        let body = compress(&Request2 { symbols: symbols(4 << 20), timeseries: own(references) });
        let taken = bench(PushConfig::default()).remote_write(true, &body).unwrap();
        assert_eq!(taken.written, Written { samples: 1, ..Written::default() }, "the good one");
        assert_eq!(taken.refused.by_reason, BTreeMap::from([("exemplar", 1), ("invalid", 1)]));
        let error = taken.refused.into_result(taken.written).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn all_series_of_a_request_together_refer_to_a_multiple_of_it() {
    let value = b"v".repeat(2000);
    let names = (0..20).map(|i| format!("n{i}").into_bytes());
    let symbols = [b"__name__".to_vec(), b"x".to_vec(), value].into_iter().chain(names).collect();
    let references = [0, 1].into_iter().chain((3..23).flat_map(|name| [name, 2])).collect();
    let own = TimeSeries2 { labels_refs: references, samples: vec![sample(NOW, 1.0)], ..TimeSeries2::default() };
    // Of 40 kB each; 16 MiB are less than 420 of them.
    let body = compress(&Request2 { symbols, timeseries: vec![own; 430] });
    let taken = bench(PushConfig::default()).remote_write(true, &body).unwrap();
    assert!((410..420).contains(&taken.written.samples), "{:?}", taken.written);
    let error = taken.refused.into_result(taken.written).unwrap_err().to_string();
    assert!(error.contains("where a request of this size has"), "{error}");
}

#[test]
fn texts_of_families_are_cut_and_a_schema_has_some_of_them() {
    let long = format!("{}é and more", "h".repeat((1 << 10) - 1));
    let metadata = |name: &str, help: &str| MetricMetadata {
        r#type: 1,
        metric_family_name: name.into(),
        help: help.into(),
        unit: String::new(),
    };
    let name = "n".repeat(2000);
    let timeseries = vec![series("c_total", "shop", vec![sample(NOW, 1.0)]), series(&name, "shop", vec![sample(NOW, 1.0)])];
    let sent = WriteRequest { timeseries, metadata: vec![metadata("c_total", &long.repeat(1 << 11)), metadata(&name, "x")] };
    for body in both(&sent) {
        let taken = taken(&bench(PushConfig::default()), &body);
        let families = &taken.sections[0].batch.schema.families;
        assert_eq!((families.len(), families[0].name.as_str(), families[0].help.len()), (1, "c_total", (1 << 10) - 1));
        assert_eq!(taken.refused.by_reason, BTreeMap::from([("metadata", 1)]));
        assert_eq!(taken.refused.into_result(taken.written), Ok(()));
    }
    let names: Vec<String> = (0..256).map(|i| format!("m{i}")).collect();
    let timeseries = names.iter().map(|name| series(name, "shop", vec![sample(NOW, 1.0)])).collect();
    let help = "h".repeat(1 << 11);
    let units = names.iter().map(|name| MetricMetadata { unit: help.clone(), ..metadata(name, &help) }).collect();
    let taken = send(&bench(PushConfig::default()), &WriteRequest { timeseries, metadata: units });
    let schema = &taken.sections[0].batch.schema;
    assert_eq!(schema.series.len(), 256);
    let bytes: usize = schema.families.iter().map(weir_model::metric::Family::memory).sum();
    assert!((200 << 10..256 << 10).contains(&bytes), "{bytes}");
}

#[test]
fn families_that_have_no_room_in_a_schema_are_stored_in_turn() {
    let names: Vec<String> = (0..256).map(|i| format!("m{i}")).collect();
    let text = "h".repeat(1 << 10);
    let metadata =
        |name: &String| MetricMetadata { r#type: 1, metric_family_name: name.clone(), help: text.clone(), unit: text.clone() };
    let bench = bench(PushConfig::default());
    let mut stored = BTreeSet::new();
    for at in 0..4 {
        let timeseries = names.iter().map(|name| series(name, "shop", vec![sample(NOW + at, 1.0)])).collect();
        let taken = send(&bench, &WriteRequest { timeseries, metadata: names.iter().map(metadata).collect() });
        let [section] = &taken.sections[..] else { panic!("{} sections", taken.sections.len()) };
        let families = &section.batch.schema.families;
        assert!(families.is_sorted_by(|a, b| a.name < b.name));
        stored.extend(families.iter().map(|family| family.name.clone()));
        taken.told.stored();
    }
    assert_eq!(stored.len(), names.len());
    let alone = WriteRequest { timeseries: Vec::new(), metadata: names.iter().map(metadata).collect() };
    assert!(send(&bench, &alone).sections.is_empty(), "what is stored is not stored with each request");
    // Nor are schemas made with each.
    let schema = |at| {
        let timeseries = names.iter().map(|name| series(name, "shop", vec![sample(NOW + at, 1.0)])).collect();
        let taken = send(&bench, &WriteRequest { timeseries, metadata: names.iter().map(metadata).collect() });
        let schema = std::sync::Arc::clone(&taken.sections[0].batch.schema);
        taken.told.stored();
        schema
    };
    assert!(std::sync::Arc::ptr_eq(&schema(10), &schema(11)));
}

#[test]
fn an_exemplar_that_is_a_series_of_its_own_goes_with_its_sample() {
    let mut distribution = series("d", "shop", Vec::new());
    distribution.histograms = vec![integers(NOW)];
    let all = vec![
        exemplar_alone("c_total", "before"),
        series("c_total", "shop", vec![sample(NOW - 9, 1.0), sample(NOW, 4.0)]),
        distribution,
        exemplar_alone("d", "of a distribution"),
        exemplar_alone("c_total", "after"),
    ];
    for body in both(&request(all)) {
        let taken = taken(&bench(PushConfig::default()), &body);
        assert_eq!(taken.written, Written { samples: 2, histograms: 1, exemplars: 3 });
        assert!(taken.refused.by_reason.is_empty(), "{:?}", taken.refused.by_reason);
        let mut found = exemplars(&taken);
        found.sort_by(|a, b| a.2.cmp(&b.2));
        let found: Vec<(i64, u64, &str)> = found.iter().map(|(time, value, id)| (*time, value.to_bits(), id.as_str())).collect();
        let four = 4.0_f64.to_bits();
        assert_eq!(found, [(NOW, four, "after"), (NOW, four, "before"), (NOW, STALE_NAN.to_bits(), "of a distribution")]);
    }
}

#[test]
fn late_exemplars_of_a_histogram_and_of_a_sample_that_comes_twice_are_kept() {
    let bench = bench(PushConfig::default());
    let distribution = |at| TimeSeries { histograms: vec![integers(at)], ..series("d", "shop", Vec::new()) };
    let first = send(&bench, &request(vec![exemplar_alone("d", "too early")]));
    assert_eq!(first.refused.by_reason, BTreeMap::from([("exemplar_without_sample", 1)]));
    send(&bench, &request(vec![distribution(NOW)])).told.stored();
    let late = send(&bench, &request(vec![exemplar_alone("d", "1"), exemplar_alone("d", "2")]));
    assert_eq!(late.written, Written { exemplars: 2, ..Written::default() });
    assert_eq!(exemplars(&late).len(), 2);
    let row = &late.sections[0].batch.rows[0];
    assert_eq!((row.values.len(), row.extras.as_ref().unwrap().histograms.len()), (1, 1), "the same histogram once more");
    // With the second of two equal samples.
    let again = exemplar_alone("c_total", "t");
    let both = TimeSeries { samples: vec![sample(NOW, 1.0)], ..again };
    let twice = send(&bench, &request(vec![series("c_total", "shop", vec![sample(NOW, 1.0)]), both]));
    assert_eq!(exemplars(&twice), [(NOW, 1.0, "t".to_owned())]);
}

#[test]
fn histograms_of_an_ordinary_request_are_taken_and_too_long_ones_refused() {
    let buckets = |count: usize| Histogram {
        count_float: Some(count as f64),
        zero_count_float: Some(0.0),
        sum: 1.0,
        positive_spans: vec![BucketSpan { offset: 0, length: count as u32 }],
        positive_counts: vec![1.0; count],
        timestamp: NOW,
        ..Histogram::default()
    };
    let own = |i: usize, count| TimeSeries { histograms: vec![buckets(count)], ..series(&format!("d{i}"), "shop", Vec::new()) };
    let many = request((0..2000).map(|i| own(i, 60)).collect());
    for body in both(&many) {
        let taken = taken(&bench(PushConfig::default()), &body);
        assert_eq!(taken.written, Written { histograms: 2000, ..Written::default() });
    }
    let taken = send(&bench(PushConfig::default()), &request(vec![own(0, 100_000), own(1, 1)]));
    assert_eq!(taken.written, Written { histograms: 1, ..Written::default() });
    let error = taken.refused.into_result(taken.written).unwrap_err().to_string();
    assert!(error.contains("16385 buckets, at most 16384"), "{error}");
}

#[test]
fn metadata_of_a_request_that_fails_is_heard_again() {
    let bench = bench(PushConfig { records_max: 100, ..PushConfig::default() });
    let metadata =
        MetricMetadata { r#type: 1, metric_family_name: "c_total".into(), help: "Counts.".into(), unit: String::new() };
    let send = |samples: i64| {
        let timeseries = vec![
            series("c_total", "shop", vec![sample(NOW, 1.0)]),
            series("b", "shop", (0..samples).map(|at| sample(NOW - at, 1.0)).collect()),
        ];
        bench.remote_write(true, &compress(&upgrade(&WriteRequest { timeseries, metadata: vec![metadata.clone()] })))
    };
    assert!(send(200).is_err());
    assert_eq!(send(1).unwrap().sections[0].batch.schema.families.len(), 1);
}

#[test]
fn a_refused_histogram_is_one_and_the_reason_is_that_of_the_text() {
    let two = vec![integers(NOW), Histogram { sum: 1.0, ..integers(NOW) }];
    let wrong = TimeSeries { histograms: two, ..series("d", "shop", vec![]) };
    let old = series("c", "shop", vec![sample(i64::MAX, 1.0), sample(NOW, 1.0), sample(NOW, 2.0)]);
    let taken = send(&bench(PushConfig::default()), &request(vec![wrong, old]));
    assert_eq!(taken.written, Written { samples: 1, histograms: 1, exemplars: 0 });
    assert_eq!(taken.refused.by_reason, BTreeMap::from([("duplicate", 2), ("invalid", 1)]));
    let Err(PushError::Refused { text, reason }) = taken.refused.into_result(taken.written) else { panic!("some are refused") };
    assert!(text.contains("is not between 1677 and 2262") && text.contains("3 of 5 samples refused"), "{text}");
    assert_eq!(reason, "invalid");
}

/// A symbol of 60 KiB, at another place with each reference of two bytes: no more of it is hashed than a request of this size may refer to.
#[test]
fn a_long_symbol_is_not_hashed_for_ever() {
    let symbols = vec![Vec::new(), b"__name__".to_vec(), vec![b'x'; 60 << 10], b"a".to_vec()];
    let own = |i: u32| TimeSeries2 {
        labels_refs: if i.is_multiple_of(2) { vec![1, 2] } else { vec![1, 3, 3, 2] },
        samples: vec![sample(NOW, 1.0)],
        ..TimeSeries2::default()
    };
    let request = Request2 { symbols, timeseries: (0..2000).map(own).collect() };
    let taken = bench(PushConfig::default()).remote_write(true, &compress(&request)).unwrap();
    let refused = taken.refused.by_reason["invalid"];
    assert_eq!(taken.written.samples + refused, 2000);
    // 16 MiB of 60 KiB and some bytes each.
    assert_eq!(taken.written.samples, (16 << 20) / (61440 + 10), "{refused} refused");
}
