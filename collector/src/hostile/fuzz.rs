//! Mutated input for every decoder. `WEIR_FUZZ_SECONDS` sets how long each runs.

use bytes::Bytes;
use weir_model::config::ByteSize;
use weir_model::fuzz::{Fuzz, MemoryLimit};
use weir_model::signal::Signal;
use weir_model::wire::{self, Kind, Limits, RecordBuilder, Section};

use super::{LOKI_JSON, bench, request};
use crate::body;
use crate::config::PushConfig;
use crate::exposition::protobuf::{self, Native};
use crate::exposition::{Exposition, created, custom_buckets, openmetrics, text};
use crate::influx;
use crate::otlp::{Export, Format, Logs, Metrics, Traces};
use crate::push_error::PushError;

/// A request may take 16 MiB whatever its size; a part of its decoder's own.
const PUSH_LIMIT: MemoryLimit = MemoryLimit { bytes: 20 << 20, per_input_byte: 32 };

/// What can be written can be read.
pub(super) fn readable<S: Signal>(sections: &[Section<S>]) {
    for section in sections {
        let mut builder = RecordBuilder::new(Limits::default());
        if builder.push(section).is_ok()
            && let Ok(record) = builder.finish()
        {
            let read = wire::decode::<S>(&record, &Limits::default()).unwrap();
            assert_eq!(read.len(), 1);
        }
    }
}

fn fuzz_otlp<E: Export>(name: &'static str, format: Format) {
    let kind = E::Batch::KIND;
    let words: &[&str] = match format {
        Format::Protobuf => {
            &["\u{a}\u{0}", "\u{12}\u{2}\u{12}\u{0}", "\u{2a}\u{4}\u{a}\u{2}", "\u{32}", "\u{7f}", "service.name"]
        }
        Format::Json => &[
            "{\"arrayValue\":{\"values\":[",
            "{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":",
            "{\"stringValue\":\"x\"}",
            "\"attributes\":[",
            "18446744073709551615",
            "{},",
            "[",
            "null",
        ],
    };
    let fuzz = Fuzz::new(name).seed(request(kind, format, 0)).seed(request(kind, format, 7)).seed(request(kind, format, 30));
    let bench = bench(PushConfig::default());
    fuzz.words(words).memory(PUSH_LIMIT).run(move |input| {
        if let Ok(sections) = bench.otlp::<E>(format, Bytes::copy_from_slice(input)) {
            readable(&sections);
        }
    });
}

#[test]
fn fuzz_otlp_protobuf_logs() {
    fuzz_otlp::<Logs>("otlp-protobuf-logs", Format::Protobuf);
}

#[test]
fn fuzz_otlp_protobuf_metrics() {
    fuzz_otlp::<Metrics>("otlp-protobuf-metrics", Format::Protobuf);
}

#[test]
fn fuzz_otlp_protobuf_traces() {
    fuzz_otlp::<Traces>("otlp-protobuf-traces", Format::Protobuf);
}

#[test]
fn fuzz_otlp_json_logs() {
    fuzz_otlp::<Logs>("otlp-json-logs", Format::Json);
}

#[test]
fn fuzz_otlp_json_metrics() {
    fuzz_otlp::<Metrics>("otlp-json-metrics", Format::Json);
}

#[test]
fn fuzz_otlp_json_traces() {
    fuzz_otlp::<Traces>("otlp-json-traces", Format::Json);
}

#[test]
fn fuzz_loki_json() {
    let bench = bench(PushConfig::default());
    let words = ["[", "{", "[\"1\",\"x\"],", "\"values\":", "{\"stream\":{}},", "\\u0000", "\u{fffd}"];
    Fuzz::new("loki-json").seed(LOKI_JSON).words(&words).memory(PUSH_LIMIT).run(move |input| {
        if let Ok(sections) = bench.loki("application/json", Bytes::copy_from_slice(input)) {
            readable(&sections);
        }
    });
}

/// Actions of every kind and documents of several clients; also one in which only the path names the index.
const BULK: &str = concat!(
    "{\"create\":{\"_index\":\"a\"}}\n",
    "{\"@timestamp\":\"2023-11-14T22:13:20.5Z\",\"message\":\"one\",\"log\":{\"level\":\"error\",\"offset\":5},\"trace.id\":\"4bf9\"}\n",
    "{\"index\":{\"_id\":\"x\"}}\r\n{\"timestamp\":1700000000,\"log\":\"two\",\"kubernetes\":{\"labels\":[1,null,{\"a\":true}]}}\n\n",
    "{\"delete\":{\"_index\":\"a\"}}\n{\"update\":{\"_index\":\"a\"}}\n{\"doc\":{}}\n",
);

#[test]
fn fuzz_elasticsearch_bulk() {
    let bench = bench(PushConfig::default());
    let words = ["\n", "{\"index\":{}}\n", "{\"create\":{\"_index\":", "{\"a\":", "[[", "\\u0000", "\\ud800", "1e999", "null"];
    Fuzz::new("elasticsearch-bulk").seed(BULK).words(&words).memory(PUSH_LIMIT).run(move |input| {
        for index in [None, Some("of-path")] {
            if let Ok(taken) = bench.bulk(index, input) {
                readable(&taken.sections);
                let refused = taken.items.iter().filter(|item| item.is_refused()).count() as u64;
                assert_eq!(taken.refused.values().sum::<u64>(), refused, "each refusal is counted once");
            }
        }
    });
}

/// One stream with two lines, in protobuf.
fn loki_protobuf() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8][..], bytes].concat();
    let time = [8, 0x80, 0xe2, 0xcf, 0xaa, 6, 16, 5];
    let metadata = field(3, &[field(1, b"trace_id"), field(2, b"4bf9")].concat());
    let entry = |line: &[u8]| field(2, &[field(1, &time), field(2, line), metadata.clone()].concat());
    field(1, &[field(1, br#"{a="b", c="\u00e9"}"#), entry(b"one"), entry(&[0xff, 0])].concat())
}

#[test]
fn fuzz_loki_protobuf() {
    let bench = bench(PushConfig::default());
    let words = ["\u{12}\u{0}", "{a=\"b\"}", "\u{a}", "\\U0010ffff", "`"];
    Fuzz::new("loki-protobuf").seed(loki_protobuf()).words(&words).memory(PUSH_LIMIT).run(move |input| {
        let packed = snap::raw::Encoder::new().compress_vec(input).unwrap();
        if let Ok(sections) = bench.loki("application/x-protobuf", packed.into()) {
            readable(&sections);
        }
    });
}

#[test]
fn fuzz_influx_lines() {
    let bench = bench(PushConfig::default());
    let words = ["m,a=b ", "f=1i,", "=\"", "\\,", "\\\"", " 1700000000000000000\n", "t,", "\u{e9}=", "#"];
    let line = "m\\ x,host=a,b=c\\,d f=1i,g=\"q\\\"\n\",h=t 1700000000000000000\nn f=1.5e3\n";
    Fuzz::new("influx").seed(line).words(&words).memory(PUSH_LIMIT).run(move |input| {
        let admission = bench.context.admit();
        admission.body_is(input.len());
        if let Ok(sections) = influx::decode_sections(&bench.context, &admission, input) {
            readable(&sections);
        }
    });
}

#[test]
fn fuzz_compressed_bodies() {
    let bench = bench(PushConfig { decompressed_max: ByteSize::mib(1), body_max: ByteSize::mib(1), ..PushConfig::default() });
    let plain = loki_protobuf().repeat(20);
    let gzip = {
        let mut encoder = flate2::read::GzEncoder::new(&plain[..], flate2::Compression::default());
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut encoder, &mut bytes).unwrap();
        bytes
    };
    let fuzz = Fuzz::new("compressed").seed(gzip).seed(zstd::bulk::compress(&plain, 1).unwrap());
    let limit = MemoryLimit { bytes: 6 << 20, per_input_byte: 8 };
    fuzz.seed(snap::raw::Encoder::new().compress_vec(&plain).unwrap()).memory(limit).run(move |input| {
        for encoding in ["gzip", "deflate", "zstd"] {
            let decoded = body::decode_content(encoding, Bytes::copy_from_slice(input), 1 << 20, &bench.context.admit());
            assert!(decoded.map_or(0, |bytes| bytes.len()) <= 1 << 20);
        }
        let decoded = body::decode_snappy(input, 1 << 20, &bench.context.admit());
        assert!(decoded.map_or(0, |bytes| bytes.len()) <= 1 << 20);
    });
}

const TEXT: &str = "# HELP http_requests_total The \\n total.\n# TYPE http_requests_total counter\n\
     http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\nx{a=\"\\\"\\\\\"} NaN\ny +Inf\n";
const OPENMETRICS: &str = "# TYPE a histogram\n# UNIT a seconds\n# HELP a \"b\"\na_bucket{le=\"1\"} 1 # {t=\"x\"} 0.5 1.5\n\
     a_bucket{le=\"+Inf\"} 2\na_count 2\na_sum 1.5\na_created 1.0\n# TYPE s stateset\ns{s=\"on\"} 1\n# EOF\n";

fn valid(exposition: &Exposition) {
    exposition.samples.iter().filter_map(|sample| sample.histogram.as_ref()).for_each(|histogram| histogram.validate().unwrap());
}

#[test]
fn fuzz_exposition() {
    let limit = MemoryLimit { bytes: 1 << 20, per_input_byte: 150 };
    let words =
        ["a 1\n", "{a=\"", "\\", "# TYPE ", "# EOF\n", "le=\"+Inf\"", "1e308", "_bucket", " # {} 1", "\u{e9}", "\u{fffd}1"];
    Fuzz::new("exposition").seed(TEXT).seed(OPENMETRICS).words(&words).text().memory(limit).run(|input| {
        let input = std::str::from_utf8(input).unwrap();
        let _ = text::parse(input);
        if let Ok(mut exposition) = openmetrics::parse(input) {
            created::become_starts(&mut exposition);
            custom_buckets::convert(&mut exposition, true);
            valid(&exposition);
        }
    });
}

#[test]
fn fuzz_exposition_in_protobuf() {
    let limit = MemoryLimit { bytes: 17 << 20, per_input_byte: 64 };
    let words = ["\u{22}\u{0}", "\u{3a}\u{4}", "\u{1a}\u{0}", "\u{62}\u{4}\u{8}\u{0}\u{10}\u{7f}"];
    Fuzz::new("exposition-protobuf").seed(protobuf::tests::body()).words(&words).memory(limit).run(|input| {
        for native in [Native::Ignored, Native::Sample, Native::SampleAndSeries] {
            let mut left = 16_usize << 20;
            let mut charge = |bytes| {
                left = left.checked_sub(bytes).ok_or(PushError::TooMany)?;
                Ok(())
            };
            if let Ok(mut exposition) = protobuf::parse(input, native, &mut charge) {
                valid(&exposition);
                custom_buckets::convert(&mut exposition, false);
                valid(&exposition);
            }
        }
    });
}

/// Values within values beyond what any decoder allows, as bytes: the message itself could not be made nor dropped.
#[test]
fn values_within_values_end_in_an_error() {
    let wrapped = |inner: Vec<u8>, tags: &[u8]| {
        tags.iter().fold(inner, |inner, tag| {
            let mut length = Vec::new();
            prost::encoding::encode_varint(inner.len() as u64, &mut length);
            [&[*tag][..], &length, &inner].concat()
        })
    };
    let deep = (0..3_000).fold(vec![0x18, 1], |inner, _| wrapped(inner, &[0x0a, 0x2a]));
    // Of an attribute (value 2, of a record 6) and of a body (5), in a record (2) of a scope (2) of a resource (1).
    let protobuf = [&[0x12, 0x32][..], &[0x2a]].map(|tags| wrapped(wrapped(deep.clone(), tags), &[0x12, 0x12, 0x0a]));
    let json = format!("{}{}", "{\"arrayValue\":{\"values\":[".repeat(3_000), "]}}".repeat(3_000));
    let json = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{json}}}]}}]}}]}}"#);
    let bench = bench(PushConfig::default());
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let run = move || {
        for bytes in protobuf {
            let error = bench.otlp::<Logs>(Format::Protobuf, bytes.into()).unwrap_err().to_string();
            assert!(error.contains("recursion limit"), "{error}");
        }
        let error = bench.otlp::<Logs>(Format::Json, json.into()).unwrap_err().to_string();
        assert!(error.contains("recursion limit"), "{error}");
        // The deepest that decoders take is converted as well: two levels of protobuf each, four levels of JSON.
        for (format, depth) in [(Format::Protobuf, 30), (Format::Json, 20)] {
            let sections = bench.otlp::<Logs>(format, request(Kind::Logs, format, depth).into()).unwrap();
            assert_eq!(sections.iter().map(|section| section.batch.records()).sum::<u64>(), 3);
        }
    };
    small.spawn(run).unwrap().join().unwrap();
}
