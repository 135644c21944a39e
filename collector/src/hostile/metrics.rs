//! Metrics of OTLP, read from their bytes without the protocol's structures: what comes out is what was put in.

use std::collections::BTreeMap;

use bytes::Bytes;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric, NumberDataPoint, Sum, Summary, SummaryDataPoint,
};
use prost::Message;
use weir_model::metric::STALE_NAN;

use super::{Bench, bench, histogram, metrics, word};
use crate::config::PushConfig;
use crate::otlp::{Encoded, Format, Metrics, decode};

const TIME: u64 = 1_700_000_000_000_000_000;

fn point(name: &str, value: Number) -> NumberDataPoint {
    NumberDataPoint { attributes: vec![word("a", name)], time_unix_nano: TIME, value: Some(value), ..NumberDataPoint::default() }
}

fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.into(), unit: "s".into(), description: "How long.".into(), data: Some(data), ..Metric::default() }
}

/// Series with their values' bits, families, and why the first that was rejected was.
fn read(bench: &Bench, format: Format, sent: Vec<Metric>) -> (BTreeMap<String, u64>, Vec<String>, (i64, String)) {
    let request = metrics(sent);
    let bytes = match format {
        Format::Protobuf => request.encode_to_vec(),
        Format::Json => serde_json::to_vec(&request).unwrap(),
    };
    let body = Encoded { bytes: Bytes::from(bytes), encoding: String::new(), format };
    let outcome = decode::<Metrics>(&bench.context, &bench.context.admit(), body).unwrap();
    let (mut series, mut families) = (BTreeMap::new(), Vec::new());
    for batch in outcome.sections.iter().map(|section| &section.batch) {
        assert_eq!(batch.target.to_string(), r#"{job="shop"}"#);
        families.extend(batch.schema.families.iter().map(|family| format!("{} {} {}", family.name, family.help, family.unit)));
        for row in &batch.rows {
            let values = row.values.iter().map(|value| value.to_bits());
            series.extend(batch.schema.series.iter().map(ToString::to_string).zip(values));
        }
    }
    series.retain(|name, _| !name.contains("target_info"));
    (series, families, (outcome.rejected.count, outcome.rejected.reason))
}

#[test]
fn what_was_sent_comes_out() {
    let bench = bench(PushConfig::default());
    let gone = NumberDataPoint { flags: 1, ..point("gone", Number::AsDouble(1.0)) };
    let quantile = ValueAtQuantile { quantile: 0.5, value: 7.0 };
    let summary = SummaryDataPoint {
        attributes: vec![word("a", "s")],
        time_unix_nano: TIME,
        count: 2,
        sum: 9.5,
        quantile_values: vec![quantile],
        ..SummaryDataPoint::default()
    };
    let sent = vec![
        metric("g", Data::Gauge(Gauge { data_points: vec![point("double", Number::AsDouble(-0.5)), gone] })),
        metric(
            "c",
            Data::Sum(Sum { data_points: vec![point("int", Number::AsInt(-3))], aggregation_temporality: 2, is_monotonic: true }),
        ),
        histogram(1, 3, 1),
        metric("s", Data::Summary(Summary { data_points: vec![summary] })),
    ];
    let expected = [
        (r#"{__name__="c_seconds_total", a="int"}"#, -3.0),
        (r#"{__name__="g_seconds", a="double"}"#, -0.5),
        (r#"{__name__="g_seconds", a="gone"}"#, STALE_NAN),
        (r#"{__name__="h1_seconds_bucket", a="a", b="b", c="c", le="1"}"#, 1.0),
        (r#"{__name__="h1_seconds_bucket", a="a", b="b", c="c", le="2"}"#, 2.0),
        (r#"{__name__="h1_seconds_bucket", a="a", b="b", c="c", le="+Inf"}"#, 3.0),
        (r#"{__name__="h1_seconds_count", a="a", b="b", c="c"}"#, 3.0),
        (r#"{__name__="h1_seconds_sum", a="a", b="b", c="c"}"#, 1.0),
        (r#"{__name__="s_seconds", a="s", quantile="0.5"}"#, 7.0),
        (r#"{__name__="s_seconds_count", a="s"}"#, 2.0),
        (r#"{__name__="s_seconds_sum", a="s"}"#, 9.5),
    ];
    let expected: BTreeMap<String, u64> = expected.map(|(name, value)| (name.to_owned(), value.to_bits())).into();
    for format in [Format::Protobuf, Format::Json] {
        let (series, mut families, rejected) = read(&bench, format, sent.clone());
        assert_eq!((&series, rejected), (&expected, (0, String::new())));
        families.sort();
        let families_expected = [
            "c_seconds_total How long. seconds",
            "g_seconds How long. seconds",
            "h1_seconds  seconds",
            "s_seconds How long. seconds",
        ];
        assert_eq!(families, families_expected);
    }
}

#[test]
fn what_cannot_be_kept_is_rejected_alone_and_with_its_reason() {
    let bench = bench(PushConfig::default());
    let good = || metric("good", Data::Gauge(Gauge { data_points: vec![point("x", Number::AsInt(1))] }));
    let check = |wrong: Metric, count: i64, expected: &str| {
        let (series, _, (rejected, reason)) = read(&bench, Format::Protobuf, vec![wrong, good()]);
        assert!(reason.contains(expected), "{reason}");
        assert_eq!((rejected, series.len()), (count, 1), "{expected}");
    };
    let gauge = |point| metric("wrong", Data::Gauge(Gauge { data_points: vec![point] }));
    check(gauge(NumberDataPoint { time_unix_nano: 0, ..point("x", Number::AsInt(1)) }), 1, "a point without a time");
    check(gauge(NumberDataPoint { value: None, ..point("x", Number::AsInt(1)) }), 1, "a point without a value");
    check(gauge(NumberDataPoint { time_unix_nano: u64::MAX, ..point("x", Number::AsInt(1)) }), 1, "beyond the year 2262");
    check(gauge(NumberDataPoint { attributes: vec![word("a", ""); 129], ..point("x", Number::AsInt(1)) }), 1, "129 attributes");
    let sum = Sum { data_points: vec![point("x", Number::AsInt(1)); 2], aggregation_temporality: 1, is_monotonic: true };
    check(metric("wrong", Data::Sum(sum)), 2, "metric \"wrong\" has delta temporality");
    let coarse = ExponentialHistogramDataPoint { time_unix_nano: TIME, scale: -5, ..ExponentialHistogramDataPoint::default() };
    let exponential = ExponentialHistogram { data_points: vec![coarse], aggregation_temporality: 2 };
    check(metric("wrong", Data::ExponentialHistogram(exponential)), 1, "an exponential histogram of scale -5, below -4");
    check(Metric { name: String::new(), ..good() }, 1, "a metric without a name");
    let mut uneven = histogram(1, 4, 1);
    let Some(Data::Histogram(data)) = &mut uneven.data else { panic!("a histogram") };
    data.data_points[0].explicit_bounds.pop();
    check(uneven, 1, "4 buckets with 2 bounds");
    check(metric("good", Data::Gauge(Gauge { data_points: vec![point("x", Number::AsInt(2))] })), 1, "two values of");
}
