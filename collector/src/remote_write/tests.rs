//! What senders write, decoded and over a socket: each sample once, and what is refused, with its reason.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use prost::Message;
use weir_model::config::ByteSize;
use weir_model::histogram::ResetHint;
use weir_model::metric::{MetricBatch, STALE_NAN, is_stale};
use weir_model::time::SECOND;
use weir_model::wire::{Mark, Section};

use weir_model::prompb::{
    BucketSpan, Exemplar, Histogram, Label, MetricMetadata, Sample, TimeSeries, WriteRequest, labels, upgrade,
};

use super::{Taken, Written, compress};
use crate::Retention;
use crate::config::PushConfig;
use crate::hostile::{Bench, bench};
use crate::push_tests::start_at;

/// Of [`bench`], in milliseconds.
pub(super) const NOW: i64 = 1_700_000_000_000;

pub(super) fn sample(timestamp: i64, value: f64) -> Sample {
    Sample { value, timestamp, start_timestamp: 0 }
}

pub(super) fn series(name: &str, job: &str, samples: Vec<Sample>) -> TimeSeries {
    let labels = labels([("__name__", name), ("instance", "a:9"), ("job", job), ("zone", "z")]);
    TimeSeries { labels, samples, ..TimeSeries::default() }
}

pub(super) fn request(timeseries: Vec<TimeSeries>) -> WriteRequest {
    WriteRequest { timeseries, metadata: Vec::new() }
}

/// The same request in both versions.
pub(super) fn both(request: &WriteRequest) -> [(bool, Vec<u8>); 2] {
    [(false, compress(request)), (true, compress(&upgrade(request)))]
}

pub(super) fn taken(bench: &Bench, (is_2, bytes): &(bool, Vec<u8>)) -> Taken {
    bench.remote_write(*is_2, bytes).unwrap()
}

/// Bits of every number by series and time. Errors on two of one series and time.
pub(super) fn numbers(sections: &[Section<MetricBatch>]) -> BTreeMap<(String, i64), u64> {
    let mut all = BTreeMap::new();
    for batch in sections.iter().map(|section| &section.batch) {
        assert!(batch.rows.is_sorted_by_key(|row| row.timestamp));
        for row in &batch.rows {
            assert_eq!(row.values.len(), batch.schema.series.len());
            for (own, value) in batch.schema.series.iter().zip(&row.values) {
                let key = (batch.target.merged(own).to_string(), row.timestamp / 1_000_000);
                assert_eq!(all.insert(key, value.to_bits()), None);
            }
        }
    }
    all
}

pub(super) fn digests(sections: &[Section<MetricBatch>]) -> HashSet<[u8; 16]> {
    let digest = |section: &Section<MetricBatch>| match section.header.mark {
        Mark::Digest(digest) => digest,
        Mark::Sequence { .. } => panic!("a push has no positions"),
    };
    sections.iter().map(digest).collect()
}

#[test]
fn each_sample_of_either_version_comes_out_once() {
    let odd = f64::from_bits(0x7ff8_0000_0000_0abc);
    let many = |job: &str| {
        let own =
            |i: i64| series(&format!("m{i}"), job, vec![sample(NOW, i as f64), sample(NOW + 5, odd), sample(NOW - 7, STALE_NAN)]);
        (0..300).map(own).collect::<Vec<_>>()
    };
    let mut all = [many("shop"), many("bank")].concat();
    // Of no target.
    all.push(TimeSeries { labels: labels([("__name__", "up")]), samples: vec![sample(NOW, 1.0)], ..TimeSeries::default() });
    let request = request(all);
    let mut expected = BTreeMap::new();
    for own in &request.timeseries {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let pairs = own.labels.iter().map(|label| (text(&label.name), text(&label.value)));
        let labels = weir_model::label::Labels::from_pairs(pairs).to_string();
        expected.extend(own.samples.iter().map(|sample| ((labels.clone(), sample.timestamp), sample.value.to_bits())));
    }
    let bench = bench(PushConfig::default());
    for body in both(&request) {
        let [first, second] = [(); 2].map(|()| taken(&bench, &body));
        assert_eq!(numbers(&first.sections), expected);
        assert_eq!(first.written, Written { samples: 1801, ..Written::default() });
        // Two targets of two chunks each, and the one without.
        assert_eq!(first.sections.len(), 5);
        assert!(
            first
                .sections
                .iter()
                .all(|section| section.batch.rows.len() == if section.header.source == "remote_write//" { 1 } else { 3 })
        );
        assert_eq!(digests(&first.sections), digests(&second.sections), "the same request again is known again");
        for (a, b) in first.sections.iter().zip(&second.sections) {
            assert!(Arc::ptr_eq(&a.batch.schema, &b.batch.schema), "a schema is made once");
        }
    }
}

#[test]
fn a_request_that_begins_elsewhere_repeats_schemas_and_an_order_does_not_matter() {
    let all: Vec<TimeSeries> = (0..1000).map(|i| series(&format!("m{i:04}"), "shop", vec![sample(NOW, f64::from(i))])).collect();
    let bench = bench(PushConfig::default());
    let of = |own: &[TimeSeries]| taken(&bench, &(false, compress(&request(own.to_vec())))).sections;
    let whole = of(&all);
    let schemas: HashSet<usize> = whole.iter().map(|section| Arc::as_ptr(&section.batch.schema).addr()).collect();
    assert_eq!(schemas.len(), 4);
    let known = |sections: &[Section<MetricBatch>]| {
        sections.iter().filter(|section| schemas.contains(&Arc::as_ptr(&section.batch.schema).addr())).count()
    };
    // But of the chunk that was cut: a part of what is known, and few columns that stand by themselves.
    let is_part = |section: &&Section<MetricBatch>| {
        let (whole, _) = section.batch.schema.whole();
        section.batch.schema.is_part() && schemas.contains(&Arc::as_ptr(whole).addr())
    };
    for (cut, parts, made) in [(300, 2, 0), (256 + 31, 1, 1), (256 + 225, 1, 1)] {
        let own = [of(&all[..cut]), of(&all[cut..])].concat();
        assert_eq!((own.len(), known(&own), own.iter().filter(is_part).count()), (5, 3, parts), "cut at {cut}");
        assert_eq!(numbers(&own), numbers(&whole));
        assert_eq!(own.iter().filter(|section| !section.batch.schema.is_part()).count(), 3 + made);
        // They are the same rows to one who knows no more than these.
        let other = crate::hostile::bench(PushConfig::default());
        let of = |own: &[TimeSeries]| taken(&other, &(false, compress(&request(own.to_vec())))).sections;
        assert_eq!(digests(&own), digests(&[of(&all[..cut]), of(&all[cut..])].concat()));
    }
    let backwards: Vec<TimeSeries> = all.iter().rev().cloned().collect();
    let backwards = of(&backwards);
    assert_eq!((known(&backwards), digests(&backwards)), (4, digests(&whole)));
}

#[test]
fn what_is_forgotten_is_made_again() {
    let bench = bench(PushConfig { series_cache_max: ByteSize::bytes(1), ..PushConfig::default() });
    let all: Vec<TimeSeries> = (0..50).map(|i| series(&format!("m{i}"), "shop", vec![sample(NOW, f64::from(i))])).collect();
    let body = (false, compress(&request(all)));
    let [first, second] = [(); 2].map(|()| taken(&bench, &body).sections);
    assert_eq!(numbers(&first), numbers(&second));
    assert_eq!(digests(&first), digests(&second));
}

pub(super) fn integers(timestamp: i64) -> Histogram {
    Histogram {
        count_int: Some(9),
        sum: 18.5,
        schema: 1,
        zero_threshold: 0.25,
        zero_count_int: Some(2),
        negative_spans: vec![BucketSpan { offset: -1, length: 1 }],
        negative_deltas: vec![1],
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }, BucketSpan { offset: 3, length: 1 }],
        positive_deltas: vec![1, 2, -1],
        reset_hint: 2,
        timestamp,
        ..Histogram::default()
    }
}

#[test]
fn histograms_starts_exemplars_and_metadata_are_carried() {
    let floats = Histogram {
        count_float: Some(2.5),
        zero_count_float: Some(0.0),
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_counts: vec![1.0, 1.5],
        schema: -53,
        custom_values: vec![0.5, 1.0],
        timestamp: NOW + 1,
        start_timestamp: NOW - 1000,
        reset_hint: 3,
        ..Histogram::default()
    };
    let stale = Histogram { count_int: Some(0), sum: STALE_NAN, timestamp: NOW + 2, ..Histogram::default() };
    let exemplar = |name: &str, timestamp| Exemplar { labels: labels([("trace_id", name)]), value: 0.5, timestamp };
    let long = Exemplar { labels: labels([("trace_id", "x".repeat(121).as_str())]), value: 0.5, timestamp: NOW };
    let mut distribution = series("d", "shop", Vec::new());
    distribution.histograms = vec![integers(NOW), floats, stale];
    distribution.exemplars = vec![exemplar("of a distribution", NOW)];
    let mut counter = series("c_total", "shop", vec![Sample { value: 3.0, timestamp: NOW, start_timestamp: NOW - 500 }]);
    counter.exemplars = vec![exemplar("late", NOW + 3), exemplar("early", NOW - 3), long];
    let metadata =
        vec![MetricMetadata { r#type: 1, metric_family_name: "c_total".into(), help: "Counts.".into(), unit: "s".into() }];
    let gauge = series("g", "shop", vec![sample(NOW, 1.0)]);
    let request = WriteRequest { timeseries: vec![gauge, distribution, counter], metadata };
    for body in both(&request) {
        let bench = bench(PushConfig::default());
        let taken = taken(&bench, &body);
        assert_eq!(taken.written, Written { samples: 2, histograms: 3, exemplars: 3 });
        assert_eq!(taken.refused.by_reason, BTreeMap::from([("exemplar", 1)]));
        assert_eq!(taken.refused.into_result(taken.written), Ok(()), "an exemplar is no reason to refuse");
        let batch = |columns: usize| {
            let found: Vec<_> = taken.sections.iter().filter(|section| section.batch.schema.series.len() == columns).collect();
            assert_eq!(found.len(), 1);
            Arc::clone(&found[0].batch)
        };
        let first = batch(3);
        let (row, extras) = (&first.rows[0], first.rows[0].extras.as_ref().unwrap());
        assert_eq!((row.timestamp, row.values[0], row.values[2]), (NOW * 1_000_000, 1.0, 3.0));
        let histogram = &extras.histograms[0].1;
        assert_eq!((extras.histograms.len(), extras.histograms[0].0, histogram.validate().is_ok()), (1, 1, true));
        assert_eq!((histogram.schema, histogram.reset, histogram.is_integer), (1, ResetHint::NotReset, true));
        assert_eq!((histogram.count, histogram.sum, histogram.zero_count), (9.0, 18.5, 2.0));
        assert_eq!((&histogram.positive.counts[..], &histogram.negative.counts[..]), (&[1.0, 3.0, 2.0][..], &[1.0][..]));
        assert_eq!(histogram.positive.spans[1].offset, 3);
        assert_eq!(extras.starts.as_deref(), Some(&[0, 0, (NOW - 500) * 1_000_000][..]));
        let seen: Vec<(u32, &str)> = extras.exemplars.iter().map(|(at, own)| (*at, own.labels.get("trace_id"))).collect();
        assert_eq!(seen, [(2, "early"), (2, "late")]);
        let rest = batch(1);
        let extras: Vec<_> = rest.rows.iter().map(|row| row.extras.as_ref().unwrap()).collect();
        let floats = &extras[0].histograms[0].1;
        assert_eq!((floats.is_integer, floats.reset, &floats.custom_bounds[..]), (false, ResetHint::Gauge, &[0.5, 1.0][..]));
        assert_eq!(extras[0].starts.as_deref(), Some(&[(NOW - 1000) * 1_000_000][..]));
        assert!(extras[1].histograms.is_empty() && is_stale(rest.rows[1].values[0]), "a marker is a number");
        assert_eq!(extras[1].exemplars[0].1.labels.get("trace_id"), "of a distribution");
        let families: Vec<_> = taken.sections.iter().flat_map(|section| section.batch.schema.families.clone()).collect();
        assert_eq!(families.len(), 1);
        assert_eq!(
            (families[0].name.as_str(), families[0].help.as_str(), families[0].unit.as_str()),
            ("c_total", "Counts.", "s")
        );
    }
}

#[test]
fn an_exemplar_that_comes_after_its_sample_is_stored_with_it() {
    let bench = bench(PushConfig::default());
    let send = |bench: &Bench, samples: Vec<Sample>, exemplars: usize| {
        let exemplar = Exemplar { labels: labels([("trace_id", "t")]), value: 1.0, timestamp: NOW };
        let own = TimeSeries { exemplars: vec![exemplar; exemplars], ..series("c_total", "shop", samples) };
        taken(bench, &(false, compress(&request(vec![own]))))
    };
    assert_eq!(send(&bench, Vec::new(), 1).refused.by_reason, BTreeMap::from([("exemplar_without_sample", 1)]));
    for bench in [bench, crate::hostile::bench(PushConfig::default())] {
        // Also the first of a series.
        send(&bench, vec![sample(NOW, 4.0)], 0).told.stored();
        // The bus did not take it.
        send(&bench, vec![sample(NOW + 5, 5.0)], 0);
        let late = send(&bench, Vec::new(), 1);
        assert_eq!(late.written, Written { exemplars: 1, ..Written::default() });
        let row = &late.sections[0].batch.rows[0];
        assert_eq!((row.timestamp, row.values[0]), (NOW * 1_000_000, 4.0), "the same sample once more");
    }
}

#[test]
fn metadata_that_comes_alone_is_stored_with_the_newest_sample() {
    let bench = bench(PushConfig::default());
    let metadata =
        |help: &str| MetricMetadata { r#type: 3, metric_family_name: "h".into(), help: help.into(), unit: String::new() };
    let alone = |help: &str| {
        let sent = WriteRequest { timeseries: Vec::new(), metadata: vec![metadata(help)] };
        taken(&bench, &(false, compress(&sent)))
    };
    let samples = (false, compress(&request(vec![series("h_bucket", "shop", vec![sample(NOW, 1.0)])])));
    assert!(alone("Zero.").sections.is_empty(), "of a metric that nobody knows yet");
    let first = taken(&bench, &samples);
    assert_eq!(first.sections[0].batch.schema.families[0].help, "Zero.", "it goes with the first samples");
    assert!(alone("Half.").sections.is_empty(), "a sample that is not stored is none to repeat");
    first.told.stored();
    for help in ["One.", "Two."] {
        let sent = alone(help);
        let [section] = &sent.sections[..] else { panic!("{} sections", sent.sections.len()) };
        assert_eq!(section.batch.schema.families[0].help, help);
        let row = &section.batch.rows[0];
        assert_eq!((row.timestamp, row.values[0]), (NOW * 1_000_000, 1.0), "the same sample once more");
        assert_eq!(sent.written, Written::default(), "which the sender has not sent");
        // The bus did not take it: the sender says it again, and is heard.
        let again = alone(help);
        assert_eq!(digests(&again.sections), digests(&sent.sections));
        again.told.stored();
        assert!(alone(help).sections.is_empty(), "what is stored is not stored with each request");
        assert_eq!(taken(&bench, &samples).sections[0].batch.schema.families[0].help, help);
    }
    // A request that has a sample of it stores it with that.
    let both = WriteRequest {
        timeseries: vec![series("h_bucket", "shop", vec![sample(NOW + 1, 2.0)])],
        metadata: vec![metadata("Three.")],
    };
    let sent = taken(&bench, &(false, compress(&both)));
    assert_eq!((sent.sections.len(), sent.sections[0].batch.rows.len()), (1, 1));
    assert_eq!(sent.sections[0].batch.schema.families[0].help, "Three.");
}

#[test]
fn metadata_of_a_series_without_samples_is_stored_with_its_newest() {
    let bench = bench(PushConfig::default());
    let mut all = request(vec![series("c_total", "shop", vec![sample(NOW, 1.0)])]);
    taken(&bench, &(true, compress(&upgrade(&all)))).told.stored();
    all.timeseries[0].samples.clear();
    all.metadata =
        vec![MetricMetadata { r#type: 1, metric_family_name: "c_total".into(), help: "Calls.".into(), unit: String::new() }];
    let body = (true, compress(&upgrade(&all)));
    for _ in 0..2 {
        let sent = taken(&bench, &body);
        let [section] = &sent.sections[..] else { panic!("{} sections", sent.sections.len()) };
        assert_eq!((section.batch.rows[0].values[0], &*section.batch.schema.families[0].help), (1.0, "Calls."));
    }
    taken(&bench, &body).told.stored();
    assert!(taken(&bench, &body).sections.is_empty());
}

#[test]
fn metadata_that_comes_alone_goes_with_the_series_that_was_made_last() {
    let bench = bench(PushConfig::default());
    let send = |own: TimeSeries| taken(&bench, &(false, compress(&request(vec![own])))).told.stored();
    // A pod that has ended, and the one that took its place.
    send(series("c_total", "before", vec![sample(NOW - 1000, 1.0)]));
    send(series("c_total", "after", vec![sample(NOW, 2.0)]));
    let metadata = MetricMetadata { r#type: 1, metric_family_name: "c_total".into(), help: "Calls.".into(), unit: String::new() };
    let alone = WriteRequest { timeseries: Vec::new(), metadata: vec![metadata] };
    let sent = taken(&bench, &(false, compress(&alone)));
    let [section] = &sent.sections[..] else { panic!("{} sections", sent.sections.len()) };
    assert_eq!((section.batch.target.get("job"), section.batch.rows[0].values[0]), ("after", 2.0));
}

#[test]
fn of_samples_in_any_order_the_newest_is_repeated_and_none_that_was_refused() {
    let bench = bench(PushConfig::default());
    let samples = vec![sample(NOW, 3.0), sample(NOW - 5, 1.0), sample(NOW, 4.0)];
    let sent = taken(&bench, &(false, compress(&request(vec![series("c_total", "shop", samples)]))));
    assert_eq!(sent.refused.by_reason, BTreeMap::from([("duplicate", 1)]));
    sent.told.stored();
    let late = request(vec![series("c_total", "shop", vec![sample(NOW - 9, 0.0)])]);
    taken(&bench, &(false, compress(&late))).told.stored();
    let exemplar = Exemplar { labels: labels([("trace_id", "t")]), value: 1.0, timestamp: NOW };
    let own = TimeSeries { exemplars: vec![exemplar], ..series("c_total", "shop", Vec::new()) };
    let sent = taken(&bench, &(false, compress(&request(vec![own]))));
    let row = &sent.sections[0].batch.rows[0];
    assert_eq!((row.timestamp, row.values[0]), (NOW * 1_000_000, 3.0));
}

#[test]
fn what_cannot_be_taken_is_refused_alone_and_with_its_reason() {
    let raw = |pairs: &[(&[u8], &[u8])]| {
        let label = |(name, value): &(&[u8], &[u8])| Label { name: name.to_vec(), value: value.to_vec() };
        TimeSeries { labels: pairs.iter().map(label).collect(), samples: vec![sample(NOW, 1.0)], ..TimeSeries::default() }
    };
    let (name, shop): ((&[u8], &[u8]), &[u8]) = ((b"__name__", b"x"), b"shop");
    let with = |histogram: Histogram| TimeSeries { histograms: vec![histogram], ..series("x", "shop", Vec::new()) };
    let cases = [
        (raw(&[name, (b"a", b"1"), (b"a", b"2")]), "label \"a\" stands twice"),
        (raw(&[(b"", b"1"), name]), "a label without a name"),
        (raw(&[(b"job", shop)]), "no metric name"),
        (raw(&[name, (b"a", b"\xff")]), "field 2 of a label is not UTF-8"),
        (raw(&[name, (b"a", "x".repeat(70_000).as_bytes())]), "label \"a\" is longer than 65536 bytes"),
        (raw(&vec![name; 129]), "more labels than push.labels_max, 128"),
        (series("x", "shop", vec![sample(NOW + 3_600_000, 1.0)]), "has timestamp too new"),
        (series("x", "shop", vec![sample(i64::MAX, 1.0)]), "is not between 1677 and 2262"),
        (series("x", "shop", vec![sample(NOW, 1.0), sample(NOW, 1.0), sample(NOW, 2.0)]), "two samples at one time"),
        (with(Histogram { schema: 9, ..integers(NOW) }), "histogram schema 9 is unknown"),
        (with(Histogram { count_int: Some(10), ..integers(NOW) }), "its count is 10"),
        (with(Histogram { positive_deltas: vec![i64::MAX, 1, 1], ..integers(NOW) }), "a bucket of more than 64 bits"),
    ];
    for (wrong, expected) in cases {
        let sent = request(vec![wrong, series("good", "shop", vec![sample(NOW, 7.0)])]);
        for body in both(&sent) {
            let bench = bench(PushConfig::default());
            let taken = taken(&bench, &body);
            let good = numbers(&taken.sections);
            assert!(good.iter().any(|((own, _), value)| own.contains("good") && *value == 7.0_f64.to_bits()), "{expected}");
            let error = taken.refused.into_result(taken.written).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("samples refused, others stored"), "{error}");
        }
    }
    // References are of 2.0 alone.
    for (references, expected) in
        [(vec![1, 2, 3], "3 references to names and values"), (vec![1, 9], "a reference to symbol 9 of 5")]
    {
        let mut sent = upgrade(&request(vec![series("x", "shop", vec![sample(NOW, 1.0)])]));
        sent.symbols.truncate(5);
        sent.timeseries[0].labels_refs = references;
        let taken = taken(&bench(PushConfig::default()), &(true, compress(&sent)));
        let error = taken.refused.into_result(taken.written).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn labels_may_come_in_any_place_of_a_series() {
    let own = series("x", "shop", vec![sample(NOW, 1.0)]);
    let field = |number: u8, bytes: Vec<u8>| [vec![number << 3 | 2, bytes.len() as u8], bytes].concat();
    let mut message = field(2, own.samples[0].encode_to_vec());
    message.extend(own.labels.iter().flat_map(|label| field(1, label.encode_to_vec())));
    let scattered = snap::raw::Encoder::new().compress_vec(&field(1, message)).unwrap();
    let bench = bench(PushConfig::default());
    let [a, b] = [scattered, compress(&request(vec![own]))].map(|body| numbers(&taken(&bench, &(false, body)).sections));
    assert_eq!((a.len(), &a), (1, &b));
}

const ONE: &str = "application/x-protobuf";
const TWO: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

#[tokio::test]
async fn a_request_is_negotiated_answered_and_counted() {
    let server =
        start_at(NOW * 1_000_000, Retention { metrics: std::time::Duration::from_secs(60), ..Retention::default() }).await;
    let good = request(vec![series("x", "shop", vec![sample(NOW, 1.0)])]);
    let [(_, one), (_, two)] = both(&good);
    for path in ["/api/v1/write", "/api/v1/push", "/api/v1/receive"] {
        assert_eq!(server.post(path, ONE, "snappy", one.clone()).await, (204, String::new()), "{path}");
    }
    let send = async |kind: &str, encoding: &str, body: &[u8]| {
        let request = server.client.post(format!("{}/api/v1/write", server.url)).body(body.to_vec());
        let answer = request.header("content-type", kind).header("content-encoding", encoding).send().await.unwrap();
        let count = |what: &str| {
            let header = answer.headers().get(format!("x-prometheus-remote-write-{what}-written"))?;
            header.to_str().ok()?.parse::<u64>().ok()
        };
        let counts = [count("samples"), count("histograms"), count("exemplars")];
        (answer.status().as_u16(), counts, answer.text().await.unwrap())
    };
    let none = [None; 3];
    let kind = "application/x-protobuf; proto=\"prometheus.WriteRequest\"";
    assert_eq!(send(kind, "snappy", &one).await, (204, none, String::new()));
    assert_eq!(send(TWO, "snappy", &two).await, (204, [Some(1), Some(0), Some(0)], String::new()));
    for (kind, encoding) in [("application/json", "snappy"), ("application/x-protobuf;proto=x.Y", "snappy"), (ONE, "gzip")] {
        let (status, counts, text) = send(kind, encoding, &one).await;
        assert_eq!((status, counts), (415, none), "{kind} {encoding}: {text}");
    }
    let old = |at: i64| request(vec![series("y", "shop", vec![sample(NOW, 1.0), sample(at, 1.0)])]);
    let (status, counts, text) = send(TWO, "snappy", &both(&old(NOW - 61_000))[1].1).await;
    assert_eq!((status, counts), (400, [Some(1), Some(0), Some(0)]), "{text}");
    assert!(text.contains("has timestamp too old") && text.contains("1 of 2 samples refused"), "{text}");
    assert_eq!(server.metrics.dropped_of("remote_write", "t", "too_old"), 1);
    let stored: Vec<_> = server.log.sections::<MetricBatch>().into_iter().flatten().collect();
    assert_eq!(digests(&stored).len(), 2, "what was sent five times has one digest");
    // A block that declares more than a request may be, and one that is none.
    let (status, counts, text) = send(TWO, "snappy", &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]).await;
    assert_eq!((status, counts, text.contains("push.decompressed_max")), (413, none, true), "{text}");
    let (status, counts, text) = send(TWO, "snappy", b"\x04nope").await;
    assert_eq!((status, counts), (400, none), "{text}");
}

#[tokio::test]
async fn a_bus_that_is_slow_is_told_to_the_sender_and_the_second_attempt_is_known() {
    let server = start_at(NOW * 1_000_000, Retention::default()).await;
    let body = compress(&request(vec![series("x", "shop", vec![sample(NOW, 1.0)])]));
    server.log.flow(false);
    let request = server.client.post(format!("{}/api/v1/write", server.url)).body(body.clone());
    let answer = request.header("content-encoding", "snappy").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    server.log.flow(true);
    assert_eq!(server.post("/api/v1/write", ONE, "snappy", body).await.0, 204);
    let stored: Vec<_> = server.log.sections::<MetricBatch>().into_iter().flatten().collect();
    assert_eq!((stored.len(), digests(&stored).len()), (2, 1));
    assert!(stored.iter().all(|section| section.batch.rows[0].timestamp == NOW / 1000 * SECOND));
}
