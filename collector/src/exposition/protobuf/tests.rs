//! Bodies made by the protocol's own structures.

use prost::Message;
use weir_model::histogram::{ResetHint, Span};
use weir_model::metric::MetricKind;

use super::*;

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoExemplar {
    #[prost(message, repeated, tag = "1")]
    label: Vec<Pair>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(message, optional, tag = "2")]
    exemplar: Option<ProtoExemplar>,
    #[prost(message, optional, tag = "3")]
    start: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
struct Quantile {
    #[prost(double, tag = "1")]
    quantile: f64,
    #[prost(double, tag = "2")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    quantile: Vec<Quantile>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    bound: f64,
    #[prost(message, optional, tag = "3")]
    exemplar: Option<ProtoExemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoHistogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(double, tag = "4")]
    count_float: f64,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "9")]
    negative_span: Vec<ProtoSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "10")]
    negative_delta: Vec<i64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<ProtoSpan>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
    #[prost(double, repeated, tag = "14")]
    positive_count: Vec<f64>,
    #[prost(message, optional, tag = "15")]
    start: Option<Time>,
    #[prost(message, repeated, tag = "16")]
    exemplars: Vec<ProtoExemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<Pair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(message, optional, tag = "4")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Number>,
    #[prost(int64, tag = "6")]
    timestamp_ms: i64,
    #[prost(message, optional, tag = "7")]
    histogram: Option<ProtoHistogram>,
}

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
    #[prost(string, tag = "5")]
    unit: String,
}

fn pair(name: &str, value: &str) -> Pair {
    Pair { name: name.into(), value: value.into() }
}

fn exemplar(id: &str) -> ProtoExemplar {
    let timestamp = Some(Time { seconds: 5, nanos: 7 });
    ProtoExemplar { label: vec![pair("trace_id", id)], value: 0.5, timestamp }
}

fn family(name: &str, kind: i32, metric: Metric) -> MetricFamily {
    MetricFamily { name: name.into(), help: "What.".into(), kind, metric: vec![metric], unit: "s".into() }
}

fn histogram() -> ProtoHistogram {
    ProtoHistogram {
        count: 7,
        sum: 9.5,
        bucket: vec![Bucket { count: 3, bound: 1.0, exemplar: Some(exemplar("classic")) }],
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1,
        negative_span: vec![ProtoSpan { offset: -2, length: 1 }],
        negative_delta: vec![1],
        positive_span: vec![ProtoSpan { offset: 0, length: 1 }, ProtoSpan { offset: 3, length: 1 }],
        positive_delta: vec![2, 1],
        start: Some(Time { seconds: 1, nanos: 0 }),
        exemplars: vec![exemplar("native")],
        ..ProtoHistogram::default()
    }
}

fn families() -> Vec<MetricFamily> {
    let label = || vec![pair("a", "ü\"x")];
    let number = |value| Some(Number { value, ..Number::default() });
    let counted = Number { value: 3.0, exemplar: Some(exemplar("one")), start: Some(Time { seconds: 2, nanos: 5 }) };
    let summary = Summary { count: 2, sum: 4.0, quantile: vec![Quantile { quantile: 0.5, value: 1.5 }] };
    vec![
        family("c_total", 0, Metric { label: label(), counter: Some(counted), ..Metric::default() }),
        family("g", 1, Metric { gauge: number(-0.0), timestamp_ms: 12, ..Metric::default() }),
        family("s", 2, Metric { summary: Some(summary), ..Metric::default() }),
        family("u", 3, Metric { untyped: number(f64::NAN), ..Metric::default() }),
        family("h", 4, Metric { label: label(), histogram: Some(histogram()), ..Metric::default() }),
    ]
}

fn encode(families: &[MetricFamily]) -> Vec<u8> {
    families.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}

/// One family of each sort.
pub(crate) fn body() -> Vec<u8> {
    encode(&families())
}

pub(crate) fn body_without_times() -> Vec<u8> {
    let mut families = families();
    families.iter_mut().flat_map(|family| &mut family.metric).for_each(|metric| metric.timestamp_ms = 0);
    encode(&families)
}

fn read(body: &[u8], native: Native) -> Result<Exposition, String> {
    parse(body, native, &mut |_| Ok(())).map_err(|error| error.to_string())
}

fn show(sample: &Sample) -> (String, f64, Option<i64>, Option<i64>) {
    let value = if sample.value.is_nan() { 77.0 } else { sample.value };
    (sample.labels.to_string(), value, sample.timestamp, sample.start)
}

#[test]
fn numbers_summaries_and_classic_histograms_are_series() {
    let seen = read(&body(), Native::Ignored).unwrap();
    let a = r#"a="ü\"x""#;
    let (created, begun) = (Some(2_000_000_005), Some(1_000_000_000));
    let expected = [
        (format!("{{__name__=\"c_total\", {a}}}"), 3.0, None, created),
        (r#"{__name__="g"}"#.to_owned(), 0.0, Some(12_000_000), None),
        (r#"{__name__="s_count"}"#.to_owned(), 2.0, None, None),
        (r#"{__name__="s_sum"}"#.to_owned(), 4.0, None, None),
        (r#"{__name__="s", quantile="0.5"}"#.to_owned(), 1.5, None, None),
        (r#"{__name__="u"}"#.to_owned(), 77.0, None, None),
        (format!("{{__name__=\"h_count\", {a}}}"), 7.0, None, begun),
        (format!("{{__name__=\"h_sum\", {a}}}"), 9.5, None, begun),
        (format!("{{__name__=\"h_bucket\", {a}, le=\"1.0\"}}"), 3.0, None, begun),
        (format!("{{__name__=\"h_bucket\", {a}, le=\"+Inf\"}}"), 7.0, None, begun),
    ];
    assert_eq!(seen.samples.iter().map(show).collect::<Vec<_>>(), expected);
    let exemplars: Vec<_> =
        seen.exemplars.iter().map(|one| (one.sample, one.labels.get("trace_id"), one.value, one.timestamp)).collect();
    assert_eq!(exemplars, [(0, "one", 0.5, Some(5_000_000_007)), (8, "classic", 0.5, Some(5_000_000_007))]);
    let kinds: Vec<_> = seen.families.iter().map(|family| family.kind).collect();
    assert_eq!(kinds, [MetricKind::Counter, MetricKind::Gauge, MetricKind::Summary, MetricKind::Unknown, MetricKind::Histogram]);
    let first = &seen.families[0];
    assert_eq!((first.name.as_str(), first.help.as_str(), first.unit.as_str()), ("c_total", "What.", "s"));
}

#[test]
fn a_native_histogram_is_one_sample() {
    let seen = read(&body(), Native::Sample).unwrap();
    assert_eq!((seen.samples.len(), seen.exemplars.len()), (7, 2));
    let (sample, exemplar) = (&seen.samples[6], &seen.exemplars[1]);
    assert_eq!((sample.labels.get(NAME), sample.start), ("h", Some(1_000_000_000)));
    assert_eq!((exemplar.sample, exemplar.labels.get("trace_id")), (6, "native"));
    let histogram = sample.histogram.as_deref().unwrap();
    assert_eq!((histogram.schema, histogram.is_integer, histogram.reset), (3, true, ResetHint::Unknown));
    let numbers = [histogram.count, histogram.sum, histogram.zero_threshold, histogram.zero_count];
    assert_eq!(numbers, [7.0, 9.5, 0.001, 1.0]);
    let spans = [Span { offset: 0, length: 1 }, Span { offset: 3, length: 1 }];
    assert_eq!((&histogram.positive.spans[..], &histogram.positive.counts[..]), (&spans[..], &[2.0, 3.0][..]));
    assert_eq!((histogram.negative.spans[0].offset, &histogram.negative.counts[..]), (-2, &[1.0][..]));
    let seen = read(&body(), Native::SampleAndSeries).unwrap();
    assert_eq!((seen.samples.len(), seen.exemplars.len()), (11, 3));
}

#[test]
fn floats_and_gauges_are_told_from_integers() {
    let float = ProtoHistogram {
        count_float: 4.5,
        positive_span: vec![ProtoSpan { offset: 0, length: 2 }],
        positive_count: vec![1.5, 3.0],
        ..ProtoHistogram::default()
    };
    let gauge = family("f", 5, Metric { histogram: Some(float), ..Metric::default() });
    let seen = read(&encode(&[gauge]), Native::Sample).unwrap();
    let histogram = seen.samples[0].histogram.as_deref().unwrap();
    assert_eq!((histogram.is_integer, histogram.reset, histogram.count), (false, ResetHint::Gauge, 4.5));
    assert_eq!(histogram.positive.counts, [1.5, 3.0]);
}

#[test]
fn what_is_wrong_is_said_with_its_family() {
    let check = |family: MetricFamily, expected: &str| {
        let error = read(&encode(&[family]), Native::Sample).unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    let broken = |change: fn(&mut ProtoHistogram)| {
        let mut histogram = histogram();
        change(&mut histogram);
        family("h", 4, Metric { histogram: Some(histogram), ..Metric::default() })
    };
    check(broken(|histogram| histogram.positive_span[0].length = u32::MAX), "h: positive spans of the histogram");
    check(broken(|histogram| histogram.positive_delta[0] = -5), "h: count of a positive bucket of the histogram is -5");
    check(broken(|histogram| histogram.count = 9), "h: buckets of the histogram have 7 observations, its count is 9");
    check(broken(|histogram| histogram.schema = 99), "h: histogram schema 99 is unknown");
    check(broken(|histogram| histogram.schema = -1000), "h: a histogram has the schema -1000");
    check(
        broken(|histogram| histogram.positive_delta = vec![i64::MAX, 1]),
        "h: the counts of a histogram's buckets are beyond 64 bits",
    );
    check(family("c", 1, Metric::default()), "c: a metric has no gauge");
    check(family("c", 9, Metric::default()), "c: its type is 9, which is none");
    check(family("", 1, Metric::default()), "a metric family without a name");
    let twice = Metric { label: vec![pair("a", "1"), pair("a", "2")], gauge: Some(Number::default()), ..Metric::default() };
    check(family("g", 1, twice), "g: label \"a\" appears twice");
    let late = Metric { gauge: Some(Number::default()), timestamp_ms: i64::MAX, ..Metric::default() };
    check(family("g", 1, late), "g: a time beyond the year 2262");
    assert!(read(&[5, 1], Native::Sample).unwrap_err().contains("ends early"));
}

#[test]
fn exemplars_with_long_labels_are_counted() {
    let long = Number { exemplar: Some(exemplar(&"x".repeat(121))), ..Number::default() };
    let fits = Number { exemplar: Some(exemplar(&"x".repeat(120))), ..Number::default() };
    let families = [long, fits].map(|counter| family("c", 0, Metric { counter: Some(counter), ..Metric::default() }));
    let seen = read(&encode(&families), Native::Sample).unwrap();
    assert_eq!((seen.exemplars_too_long, seen.exemplars.len(), seen.exemplars[0].sample), (1, 1, 1));
}

/// One name said once, and repeated by a million series.
#[test]
fn memory_is_charged_before_it_is_taken() {
    let family = MetricFamily { name: "n".repeat(100_000), kind: 1, ..MetricFamily::default() };
    let metrics = [0x22, 2, 0x12, 0].repeat(10_000);
    let message = [family.encode_to_vec(), metrics].concat();
    let mut length = Vec::new();
    prost::encoding::encode_varint(message.len() as u64, &mut length);
    let mut left = 1_usize << 20;
    let mut charge = |bytes| {
        left = left.checked_sub(bytes).ok_or(PushError::TooMany)?;
        Ok(())
    };
    assert_eq!(parse(&[length, message].concat(), Native::Sample, &mut charge).unwrap_err(), PushError::TooMany);
}

#[test]
fn bounds_are_written_as_go_writes_them() {
    for (number, expected) in [
        (1.0, "1.0"),
        (0.005, "0.005"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (100_000.0, "100000.0"),
        (1e6, "1e+06"),
        (1_234_567.0, "1.234567e+06"),
        (2.5e-7, "2.5e-07"),
        (1e100, "1e+100"),
        (-0.0, "-0.0"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(number_text(number), expected);
    }
}
