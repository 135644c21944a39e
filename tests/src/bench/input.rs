//! The input of the benchmarks: Nezha's day where it lies beside the checkout, else a small one of the same shape.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use crate::nezha::{CriWriter, Day, Line, SpanRow};

/// Larger than any pod's log: no rotation, so that reading is all that is measured.
const NO_ROTATION: u64 = u64::MAX;

/// CRI files on disk (and, just written, in the page cache).
pub struct Files {
    /// One a pod.
    pub paths: Vec<PathBuf>,
    /// Of all of them.
    pub bytes: u64,
    /// In all of them.
    pub lines: u64,
}

/// Writes the lines as CRI files below `pods`.
pub fn write_files(pods: &Path, lines: &[Line]) -> Files {
    let mut writer = CriWriter::new(pods, NO_ROTATION);
    lines.iter().for_each(|line| writer.write(line));
    let names: std::collections::BTreeSet<&str> = lines.iter().map(|line| line.pod.as_str()).collect();
    let paths: Vec<PathBuf> = names.into_iter().map(|pod| writer.folder(pod).join("0.log")).collect();
    let bytes = paths.iter().map(|path| std::fs::metadata(path).expect("just written").len()).sum();
    Files { paths, bytes, lines: lines.len() as u64 }
}

/// Bytes of the lines themselves.
pub fn body_bytes(lines: &[Line]) -> u64 {
    lines.iter().map(|line| line.body.len() as u64).sum()
}

/// What the input is, for the printed line.
pub fn name(day: &Day) -> &'static str {
    if day.real { "Nezha's Train Ticket day" } else { "a made-up day (Nezha is absent)" }
}

/// OTLP export requests in protobuf of so many spans each, a resource a pod, as SDKs and collectors send them.
pub fn otlp_requests(spans: &[SpanRow], spans_a_request: usize) -> Vec<Vec<u8>> {
    spans.chunks(spans_a_request).map(|spans| request(spans).encode_to_vec()).collect()
}

fn request(spans: &[SpanRow]) -> ExportTraceServiceRequest {
    let mut by_pod: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for span in spans {
        by_pod.entry(&span.pod).or_default().push(Span {
            trace_id: hex::decode(&span.trace_id).expect("hex"),
            span_id: hex::decode(&span.span_id).expect("hex"),
            parent_span_id: hex::decode(&span.parent_id).expect("hex"),
            name: span.name.clone(),
            kind: 2,
            start_time_unix_nano: span.start,
            end_time_unix_nano: span.end,
            ..Span::default()
        });
    }
    let resource_spans = by_pod.into_iter().map(|(pod, spans)| {
        let service = pod.rsplitn(3, '-').last().unwrap_or(pod);
        let attributes = vec![text("service.name", service), text("k8s.pod.name", pod)];
        let scope = InstrumentationScope { name: "nezha".into(), ..InstrumentationScope::default() };
        ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}
