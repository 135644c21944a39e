//! Remote write: mutated requests of both versions, and what requests take that were made to take much.

use prost::Message;
use weir_model::fuzz::{Fuzz, MemoryLimit, peak_of};
use weir_model::prompb::{
    BucketSpan, Exemplar, Histogram, MetricMetadata, Request2, Sample, TimeSeries, TimeSeries2, WriteRequest, labels, upgrade,
};

use super::bench;
use super::fuzz::readable;
use crate::config::PushConfig;
use crate::push_error::PushError;

const NOW: i64 = 1_700_000_000_000;

fn request() -> WriteRequest {
    let histogram = Histogram {
        count_int: Some(3),
        schema: 0,
        positive_spans: vec![BucketSpan { offset: 1, length: 2 }],
        positive_deltas: vec![1, 1],
        timestamp: NOW,
        ..Histogram::default()
    };
    let own = |i: i64| TimeSeries {
        labels: labels([
            ("__name__", "http_requests_total"),
            ("instance", "a:9"),
            ("job", "shop"),
            ("le", i.to_string().as_str()),
        ]),
        samples: (0..i).map(|at| Sample { value: at as f64, timestamp: NOW + at, start_timestamp: NOW - 5 }).collect(),
        exemplars: vec![Exemplar { labels: labels([("trace_id", "abc")]), value: 1.0, timestamp: NOW }],
        histograms: if i % 2 == 0 { vec![histogram.clone()] } else { Vec::new() },
    };
    let family = |kind| MetricMetadata {
        r#type: kind,
        metric_family_name: "http_requests_total".into(),
        help: "Help.".into(),
        unit: "s".into(),
    };
    WriteRequest { timeseries: (0..6).map(own).collect(), metadata: vec![family(1), family(3)] }
}

/// A request may take 16 MiB whatever its size; a part of that is the table of series, which stays.
const LIMIT: MemoryLimit = MemoryLimit { bytes: 20 << 20, per_input_byte: 64 };

fn fuzz(name: &'static str, is_2: bool, seed: Vec<u8>) {
    let bench = bench(PushConfig::default());
    let words = [
        "\u{a}\u{2}\u{a}\u{0}",
        "\u{12}\u{0}",
        "\u{1a}\u{0}",
        "\u{22}\u{0}",
        "\u{2a}\u{0}",
        "\u{7f}",
        "__name__",
        "job",
        "instance",
    ];
    Fuzz::new(name).seed(seed).words(&words).memory(LIMIT).run(move |input| {
        let packed = snap::raw::Encoder::new().compress_vec(input).unwrap();
        if let Ok(taken) = bench.remote_write(is_2, &packed) {
            readable(&taken.sections);
        }
    });
}

#[test]
fn fuzz_remote_write_1() {
    fuzz("remote-write-1", false, request().encode_to_vec());
}

#[test]
fn fuzz_remote_write_2() {
    fuzz("remote-write-2", true, upgrade(&request()).encode_to_vec());
}

#[test]
fn requests_that_are_all_structure_stay_within_their_multiple() {
    let bench = bench(PushConfig::default());
    let check = |what: &str, body: Vec<u8>, is_2: bool| {
        let packed = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        let (result, peak) = peak_of(None, || bench.remote_write(is_2, &packed).map(|taken| taken.sections.len()));
        println!("{what}: {} bytes, {peak} at most, {result:?}", body.len());
        assert!(peak < (16 << 20) + 24 * body.len(), "{what}: {peak} of {} bytes: {result:?}", body.len());
        result
    };
    let repeated = |field: &[u8], count: usize| field.repeat(count);
    // Series without labels, symbols of no bytes, samples of one series, samples at times of their own.
    assert_eq!(check("empty series", repeated(&[0x0a, 0], 400_000), false), Ok(0));
    check("empty symbols", repeated(&[0x22, 0], 4_000_000), true).unwrap();
    let own = |samples: Vec<u8>| {
        let series = [&[0x0a, 13, 0x0a, 8][..], b"__name__", &[0x12, 1, b'x'], &samples].concat();
        let mut body = vec![0x0a];
        weir_model::varint::put_varint(&mut body, series.len() as u64);
        [body, series].concat()
    };
    check("samples of no bytes", own(repeated(&[0x12, 0], 150_000)), false).unwrap();
    let times = (0..200_000_u32)
        .flat_map(|at| [&[0x12, 5, 0x10][..], &[at as u8 | 0x80, (at >> 7) as u8 | 0x80, (at >> 14) as u8 | 0x80, 1]].concat());
    let refused = check("times of their own", own(times.collect()), false);
    assert!(matches!(refused, Err(PushError::TooLarge { .. })), "{refused:?}");
    let spans = repeated(&[0x5a, 0], 1_000_000);
    let mut histogram = vec![0x22];
    weir_model::varint::put_varint(&mut histogram, spans.len() as u64);
    assert_eq!(check("spans of no bytes", own([histogram, spans].concat()), false), Ok(0), "refused alone");
    let targets: Vec<TimeSeries> = (0..20_000)
        .map(|i| TimeSeries {
            labels: labels([("__name__", "x"), ("job", i.to_string().as_str())]),
            samples: vec![Sample { value: 1.0, timestamp: NOW, start_timestamp: 0 }],
            ..TimeSeries::default()
        })
        .collect();
    let request = WriteRequest { timeseries: targets, metadata: Vec::new() };
    check("a target a sample", request.encode_to_vec(), false).unwrap_err();
}

/// A million symbols, of which those that are used have numbers that end alike, and each stands at two places.
#[test]
fn series_of_a_million_symbols_are_those_that_were_sent() {
    /// Numbers that are so far apart have one place in a table of fingerprints.
    const END: u32 = 1 << 14;
    let mut symbols: Vec<Vec<u8>> = (0..1_000_000).map(|i| format!("v{i}").into_bytes()).collect();
    symbols[..4].clone_from_slice(&["", "__name__", "m", "job"].map(|text| text.as_bytes().to_vec()));
    let own = |i: u32| TimeSeries2 {
        // A name and a value in turn.
        labels_refs: vec![1, 2, 3, 4 + i % 50 * END, 5 + i / 50 * END, 5 + i % 7 * END],
        samples: vec![Sample { value: f64::from(i), timestamp: NOW, start_timestamp: 0 }],
        ..TimeSeries2::default()
    };
    let text = |reference: u32| format!("v{reference}");
    let mut expected: Vec<(String, f64)> = (0..1000)
        .map(|i| {
            let pairs = own(i).labels_refs[3..].iter().map(|reference| text(*reference)).collect::<Vec<_>>();
            (format!("{{__name__=\"m\", job={:?}, {}={:?}}}", pairs[0], pairs[1], pairs[2]), f64::from(i))
        })
        .collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let request = Request2 { symbols, timeseries: (0..1000).map(own).collect() };
    let (packed, bench) =
        (snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap(), bench(PushConfig::default()));
    for _ in 0..2 {
        let mut taken: Vec<(String, f64)> = Vec::new();
        for section in &bench.remote_write(true, &packed).unwrap().sections {
            let batch = &section.batch;
            let own = batch.schema.series.iter().zip(&batch.rows[0].values);
            taken.extend(own.map(|(series, value)| (batch.target.merged(series).to_string(), *value)));
        }
        taken.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(taken, expected);
    }
}
