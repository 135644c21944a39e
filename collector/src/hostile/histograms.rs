//! What OTLP's histograms, exemplars, starts, deltas and resource attributes become, by the settings of `[collector.otlp]`.

use bytes::Bytes;
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use prost::Message;
use weir_model::histogram::{Histogram, ResetHint};
use weir_model::label::{Labels, NAME};
use weir_model::metric::MetricBatch;

use super::{Bench, bench_of, histogram, metrics, word};
use crate::config::PushConfig;
use crate::otlp::config::{DeltaTemporality, OtlpConfig, Translation};
use crate::otlp::{Encoded, Format, Metrics, decode};

const TIME: u64 = 1_700_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn exemplar(value: f64) -> Exemplar {
    Exemplar {
        time_unix_nano: TIME - 5,
        trace_id: vec![0xab; 16],
        span_id: vec![1; 8],
        filtered_attributes: vec![word("http.route", "/x")],
        value: Some(ExemplarValue::AsDouble(value)),
    }
}

pub(super) fn exponential(name: &str, temporality: i32, at: u64) -> Metric {
    let point = ExponentialHistogramDataPoint {
        attributes: vec![word("a.b", "c")],
        start_time_unix_nano: TIME - 60 * SECOND,
        time_unix_nano: TIME + at * SECOND,
        count: 7,
        sum: Some(9.5),
        scale: 9,
        zero_count: 1,
        positive: Some(Buckets { offset: 2, bucket_counts: vec![1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2] }),
        negative: Some(Buckets { offset: -1, bucket_counts: vec![1] }),
        exemplars: vec![exemplar(1.5)],
        ..ExponentialHistogramDataPoint::default()
    };
    let data = ExponentialHistogram { data_points: vec![point], aggregation_temporality: temporality };
    Metric { name: name.into(), unit: "s".into(), data: Some(Data::ExponentialHistogram(data)), ..Metric::default() }
}

fn sum(name: &str, temporality: i32, at: u64, value: f64) -> Metric {
    let point = NumberDataPoint {
        start_time_unix_nano: TIME - 60 * SECOND,
        time_unix_nano: TIME + at * SECOND,
        value: Some(Number::AsDouble(value)),
        exemplars: vec![exemplar(value)],
        ..NumberDataPoint::default()
    };
    let data = Sum { data_points: vec![point], aggregation_temporality: temporality, is_monotonic: true };
    Metric { name: name.into(), unit: "s".into(), data: Some(Data::Sum(data)), ..Metric::default() }
}

fn with(config: OtlpConfig) -> Bench {
    bench_of(PushConfig::default(), config)
}

fn send(bench: &Bench, sent: Vec<Metric>) -> (Vec<MetricBatch>, String) {
    let body = Encoded { bytes: Bytes::from(metrics(sent).encode_to_vec()), encoding: String::new(), format: Format::Protobuf };
    let outcome = decode::<Metrics>(&bench.context, &bench.context.admit(), body).unwrap();
    (outcome.sections.into_iter().map(|section| (*section.batch).clone()).collect(), outcome.rejected.reason)
}

fn series(batch: &MetricBatch) -> Vec<String> {
    batch.schema.series.iter().filter(|labels| labels.get(NAME) != "target_info").map(Labels::to_string).collect()
}

fn only_histogram(batch: &MetricBatch) -> Histogram {
    let extras = batch.rows[0].extras.as_ref().unwrap();
    assert_eq!((extras.histograms.len(), extras.histograms[0].0), (1, 0));
    (*extras.histograms[0].1).clone()
}

#[test]
fn an_exponential_histogram_is_a_native_one() {
    let (batches, rejected) = send(&with(OtlpConfig::default()), vec![exponential("h", 2, 0)]);
    assert_eq!((series(&batches[0]), rejected), (vec![r#"{__name__="h_seconds", a_b="c"}"#.to_owned()], String::new()));
    let histogram = only_histogram(&batches[0]);
    assert_eq!((histogram.schema, histogram.reset, histogram.is_integer), (8, ResetHint::Unknown, true));
    assert_eq!([histogram.count, histogram.sum, histogram.zero_count, histogram.zero_threshold], [7.0, 9.5, 1.0, 1e-128]);
    let spans = |spans: &[weir_model::histogram::Span]| spans.iter().map(|span| (span.offset, span.length)).collect::<Vec<_>>();
    // Scale 9 halved once: 2 and 3 are 1, 12 is 6; each one further.
    assert_eq!((spans(&histogram.positive.spans), &histogram.positive.counts[..]), (vec![(2, 1), (4, 1)], &[3.0, 2.0][..]));
    assert_eq!((spans(&histogram.negative.spans), &histogram.negative.counts[..]), (vec![(0, 1)], &[1.0][..]));
    let extras = batches[0].rows[0].extras.as_ref().unwrap();
    assert_eq!(extras.starts.as_ref().unwrap()[..], [(TIME - 60 * SECOND) as i64, 0]);
    let (column, exemplar) = &extras.exemplars[0];
    let labels = format!("{{http_route=\"/x\", span_id=\"{}\", trace_id=\"{}\"}}", "01".repeat(8), "ab".repeat(16));
    assert_eq!((*column, exemplar.labels.to_string(), exemplar.value, exemplar.timestamp), (0, labels, 1.5, TIME as i64 - 5));
}

#[test]
fn explicit_bounds_are_series_or_custom_buckets() {
    let sent = || {
        let mut sent = histogram(1, 3, 1);
        let Some(Data::Histogram(data)) = &mut sent.data else { panic!("a histogram") };
        data.data_points[0].exemplars = vec![exemplar(1.5), exemplar(99.0)];
        vec![sent]
    };
    let (batches, _) = send(&with(OtlpConfig::default()), sent());
    assert_eq!(series(&batches[0]).len(), 5);
    let of: Vec<u32> = batches[0].rows[0].extras.as_ref().unwrap().exemplars.iter().map(|(column, _)| *column).collect();
    assert_eq!(of, [1, 2], "of the bucket that each lies in");
    let (batches, _) = send(&with(OtlpConfig { convert_histograms_to_nhcb: true, ..OtlpConfig::default() }), sent());
    assert_eq!(series(&batches[0]), [r#"{__name__="h1_seconds", a="a", b="b", c="c"}"#]);
    let histogram = only_histogram(&batches[0]);
    assert_eq!((&histogram.custom_bounds[..], &histogram.positive.counts[..]), (&[1.0, 2.0][..], &[1.0, 1.0, 1.0][..]));
    assert_eq!(batches[0].rows[0].extras.as_ref().unwrap().exemplars.len(), 2);
}

#[test]
fn deltas_are_rejected_summed_or_kept() {
    let of = |delta| with(OtlpConfig { delta, ..OtlpConfig::default() });
    let values = |batches: &[MetricBatch]| batches.iter().map(|batch| batch.rows[0].values[0]).collect::<Vec<_>>();
    let reject = of(DeltaTemporality::Reject);
    let (batches, rejected) = send(&reject, vec![sum("c", 1, 0, 1.0)]);
    assert!(batches.is_empty() && rejected.contains("see collector.otlp.delta"), "{rejected}");

    let cumulative = of(DeltaTemporality::Cumulative);
    let twice = || vec![sum("c", 1, 0, 5.0), sum("c", 1, 10, 2.0)];
    let (batches, rejected) = send(&cumulative, twice());
    assert_eq!((values(&batches), rejected.as_str()), (vec![5.0, 7.0], ""));
    let starts = batches.iter().map(|batch| batch.rows[0].extras.as_ref().unwrap().starts.as_ref().unwrap()[0]);
    assert_eq!(starts.collect::<Vec<_>>(), [(TIME - 60 * SECOND) as i64; 2]);
    // The newest is answered again, and is not counted twice.
    let (batches, rejected) = send(&cumulative, twice());
    assert_eq!((values(&batches), rejected.contains("before the newest")), (vec![7.0], true));
    let (batches, _) = send(&cumulative, vec![exponential("h", 1, 0), exponential("h", 1, 10)]);
    let counts: Vec<f64> = batches.iter().map(|batch| only_histogram(batch).count).collect();
    assert_eq!(counts, [7.0, 14.0]);
    let (batches, _) = send(&cumulative, vec![sum("c", 2, 20, 100.0)]);
    assert_eq!(values(&batches), [100.0], "what is cumulative is no delta");

    let native = of(DeltaTemporality::Native);
    let (batches, _) = send(&native, twice());
    assert_eq!(values(&batches), [5.0, 2.0]);
    assert_eq!(batches[0].schema.families[0].kind.name(), "unknown");
    let (batches, _) = send(&native, vec![exponential("h", 1, 0)]);
    assert_eq!(only_histogram(&batches[0]).reset, ResetHint::Gauge);
}

#[test]
fn names_and_resource_attributes_follow_the_settings() {
    let names = |translation_strategy| {
        let bench = with(OtlpConfig { translation_strategy, ..OtlpConfig::default() });
        series(&send(&bench, vec![exponential("h.x", 2, 0)]).0[0]).remove(0)
    };
    assert_eq!(names(Translation::UnderscoreEscapingWithSuffixes), r#"{__name__="h_x_seconds", a_b="c"}"#);
    assert_eq!(names(Translation::UnderscoreEscapingWithoutSuffixes), r#"{__name__="h_x", a_b="c"}"#);
    assert_eq!(names(Translation::NoUTF8EscapingWithSuffixes), r#"{__name__="h.x_seconds", a.b="c"}"#);
    assert_eq!(names(Translation::NoTranslation), r#"{__name__="h.x", a.b="c"}"#);
    let config = OtlpConfig {
        promote_resource_attributes: vec!["n".into(), "absent".into()],
        keep_identifying_resource_attributes: true,
        ..OtlpConfig::default()
    };
    let (batches, _) = send(&with(config), vec![sum("c", 2, 0, 1.0)]);
    assert_eq!(batches[0].target.to_string(), r#"{job="shop", n="NaN"}"#);
    let info = batches[0].schema.series.iter().find(|labels| labels.get(NAME) == "target_info").unwrap();
    assert_eq!((info.get("service_name"), info.get("n")), ("shop", "NaN"));
}
