//! `POST /loki/api/v1/push`: protobuf with snappy, and JSON, either with `Content-Encoding`. 204 once the bus has it.
//!
//! Refusals as the field knows them: no streams 422, a stream with the labels `{}` 400, a stream without values is fine.
//! A line whose timestamp is older than what is kept, or too far ahead, is refused with Loki's 400 and its words; the other
//! lines of the request are stored before that answer is given, as Loki does it.
//! A pushed line is recognised by its stream's digest when a client sends the same request again.

use std::collections::BTreeMap;
use std::fmt;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use prost::Message;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use weir_model::label::{Labels, normalise_label_name};
use weir_model::log::{LogBatch, LogRecord};
use weir_model::signal::Signal;
use weir_model::time::{SECOND, UnixNanos};
use weir_model::wire::{Kind, Section};

use crate::admission::Admission;
use crate::body::{self, PushError};
use crate::bounds::{OutOfTime, TimeBounds};
use crate::enrich;
use crate::proto_size::{self, Field, Shape};
use crate::push::{Digest, PushContext, push_line};
use crate::severity;

mod selector;

const SOURCE: &str = "loki_push";
/// Memory of a line in a batch beside its body: 46 bytes in columns that double.
const LINE_BYTES: usize = 92;
/// Memory of a line pushed as JSON beside its text: an [`Entry`] in a vector that doubles.
const JSON_ENTRY_BYTES: usize = 2 * size_of::<Entry>();
/// Letters of a stream's labels that an error shows.
const STREAM_SHOWN: usize = 256;

/// The route, for the main listener.
pub fn router(context: PushContext) -> Router {
    Router::new().route("/loki/api/v1/push", post(push)).with_state(context)
}

async fn push(State(context): State<PushContext>, headers: HeaderMap, body: HttpBody) -> Response {
    match take(&context, &headers, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            context.metrics.event(SOURCE, error.reason(), 1);
            let mut response = (error.status(), format!("{error}\n")).into_response();
            if error.is_retryable() {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            response
        }
    }
}

async fn take(context: &PushContext, headers: &HeaderMap, body: HttpBody) -> Result<(), PushError> {
    let admission = context.admit();
    let bytes = body::read(&context.config, &admission, headers, body).await?;
    let _slot = context.slot()?;
    let headers = headers.clone();
    let decode = move |context: &PushContext, admission: &Admission| decode(context, admission, &headers, bytes);
    let taken = context.decode(&admission, decode).await?;
    context.ship(taken.sections).await?;
    context.dropped(SOURCE, "too_old", taken.refused.old);
    context.dropped(SOURCE, "too_new", taken.refused.new);
    taken.refused.into_result(taken.entries)
}

fn decode(context: &PushContext, admission: &Admission, headers: &HeaderMap, bytes: Bytes) -> Result<Taken, PushError> {
    let limit = context.config.decompressed_max.to_usize();
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    let streams = match media_type {
        "application/json" => {
            let bytes = body::decode_content(&body::content_encoding(headers), bytes, limit, admission)?;
            admission.body_is(bytes.len());
            admission.charge(proto_size::decoded_json_bytes(&bytes, JSON_ENTRY_BYTES))?;
            from_json(&bytes)?
        }
        "" | "application/x-protobuf" => {
            // Promtail says nothing of snappy, others name it as the content encoding.
            let named = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value == "snappy");
            let encoding = if named { String::new() } else { body::content_encoding(headers) };
            let bytes = body::decode_content(&encoding, bytes, limit, admission)?;
            let bytes = body::decode_snappy(&bytes, limit, admission)?;
            admission.body_is(bytes.len());
            // Once as messages, and once as what they become.
            admission.charge(proto_size::decoded_bytes(&PUSH, &bytes).saturating_mul(2))?;
            from_protobuf(&bytes)?
        }
        other => {
            return Err(PushError::Unsupported(format!(
                "content type {other:?} is neither application/json nor application/x-protobuf"
            )));
        }
    };
    let taken = sections(context, admission, streams)?;
    admission.settle(taken.sections.iter().map(|section| section.batch.weight()).sum());
    Ok(taken)
}

/// Sections of a request, without its transport.
#[cfg(test)]
pub(crate) fn decode_sections(
    context: &PushContext,
    admission: &Admission,
    headers: &HeaderMap,
    bytes: Bytes,
) -> Result<Vec<Section<LogBatch>>, PushError> {
    decode(context, admission, headers, bytes).map(|taken| taken.sections)
}

/// A stream as pushed, of either encoding.
struct Stream {
    labels: Labels,
    entries: Vec<Entry>,
}

struct Entry {
    timestamp: UnixNanos,
    line: Vec<u8>,
    metadata: Labels,
}

/// What a request came to.
struct Taken {
    sections: Vec<Section<LogBatch>>,
    refused: Refused,
    /// Lines of the request, refused ones included.
    entries: usize,
}

/// Lines that are outside of what is kept.
#[derive(Default)]
struct Refused {
    old: u64,
    new: u64,
    /// About the first.
    reason: String,
}

impl Refused {
    /// Whether the line is taken; counts it otherwise.
    fn check(&mut self, bounds: &TimeBounds, labels: &Labels, entry: &Entry) -> bool {
        let Err(error) = bounds.check(entry.timestamp) else { return true };
        if self.reason.is_empty() {
            let stream: String = labels.to_string().chars().take(STREAM_SHOWN).collect();
            self.reason = format!("entry for stream '{stream}' {error}");
        }
        match error {
            OutOfTime::Old { .. } => self.old += 1,
            OutOfTime::New { .. } => self.new += 1,
        }
        false
    }

    fn into_result(self, entries: usize) -> Result<(), PushError> {
        match self.old + self.new {
            0 => Ok(()),
            count => Err(PushError::OutOfTime(format!("{}; {count} of {entries} lines refused, others stored", self.reason))),
        }
    }
}

fn sections(context: &PushContext, admission: &Admission, streams: Vec<Stream>) -> Result<Taken, PushError> {
    if streams.is_empty() {
        return Err(PushError::Empty("no streams in the request".into()));
    }
    let entries: usize = streams.iter().map(|stream| stream.entries.len()).sum();
    if entries > context.config.records_max {
        let limit = context.config.records_max;
        return Err(PushError::Malformed(format!("{entries} lines in one request (limit push.records_max is {limit})")));
    }
    let (bounds, mut refused) = (context.bounds(Kind::Logs), Refused::default());
    let mut sections = Vec::with_capacity(streams.len());
    for mut stream in streams {
        check_labels(context, &stream)?;
        stream.entries.retain(|entry| refused.check(&bounds, &stream.labels, entry));
        if !stream.entries.is_empty() {
            let lines: usize = stream.entries.iter().map(|entry| LINE_BYTES + entry.line.len()).sum();
            admission.charge(lines)?;
            sections.push(section(context, stream));
        }
    }
    Ok(Taken { sections, refused, entries })
}

fn check_labels(context: &PushContext, stream: &Stream) -> Result<(), PushError> {
    let limit = context.config.labels_max;
    if stream.labels.is_empty() {
        return Err(PushError::Malformed("a stream needs at least one label, got {}".into()));
    }
    if stream.labels.len() > limit {
        let count = stream.labels.len();
        return Err(PushError::Malformed(format!("stream with {count} labels (limit push.labels_max is {limit})")));
    }
    match stream.entries.iter().position(|entry| entry.metadata.len() > limit) {
        Some(at) => Err(PushError::Malformed(format!("line {at} has more structured metadata than push.labels_max, {limit}"))),
        None => Ok(()),
    }
}

fn section(context: &PushContext, stream: Stream) -> Section<LogBatch> {
    let mut digest = Digest::new(&context.tenant, SOURCE);
    digest.number(stream.labels.stable_hash() as i64);
    let source = format!("loki/{:016x}", stream.labels.stable_hash());
    let of_stream = severity::of_labels(&stream.labels);
    let mut batch = LogBatch::new(stream.labels);
    for entry in &stream.entries {
        digest.number(entry.timestamp);
        digest.field(&entry.line);
        digest.number(entry.metadata.stable_hash() as i64);
        let (trace_id, span_id) = enrich::context_of(&entry.metadata, &entry.line);
        let named = severity::of_labels(&entry.metadata).or(of_stream);
        let record = LogRecord {
            timestamp: entry.timestamp,
            sequence: 0,
            body: &entry.line,
            severity: named.unwrap_or_else(|| severity::of_line(&entry.line)),
            flags: 0,
            trace_id,
            span_id,
            attributes: &entry.metadata,
        };
        push_line(&mut batch, record, context.config.line_max.to_usize());
    }
    context.section(source, digest.finish(), batch)
}

// ---- protobuf: logproto's PushRequest, only what is read

static PUSH: Shape = Shape { size: size_of::<PushRequest>(), fields: &[(1, Field::Many(&STREAM))] };
static STREAM: Shape = Shape { size: size_of::<StreamMessage>(), fields: &[(2, Field::Many(&ENTRY))] };
static ENTRY: Shape = Shape { size: size_of::<EntryMessage>(), fields: &[(1, Field::One(&TIMESTAMP)), (3, Field::Many(&PAIR))] };
static TIMESTAMP: Shape = Shape { size: 0, fields: &[] };
static PAIR: Shape = Shape { size: size_of::<PairMessage>(), fields: &[] };

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<StreamMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct StreamMessage {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<EntryMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct EntryMessage {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    /// A string in logproto; bytes here, so that what is not UTF-8 is kept.
    #[prost(bytes = "vec", tag = "2")]
    line: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<PairMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PairMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn from_protobuf(bytes: &[u8]) -> Result<Vec<Stream>, PushError> {
    let request = PushRequest::decode(bytes).map_err(|error| PushError::Malformed(format!("protobuf: {error}")))?;
    let stream = |(at, stream): (usize, StreamMessage)| {
        let labels =
            selector::parse(&stream.labels).map_err(|error| PushError::Malformed(format!("labels of stream {at}: {error}")))?;
        Ok(Stream { labels, entries: stream.entries.into_iter().map(entry_of_message).collect() })
    };
    request.streams.into_iter().enumerate().map(stream).collect()
}

fn entry_of_message(entry: EntryMessage) -> Entry {
    let timestamp = entry.timestamp.unwrap_or_default();
    let metadata = entry.metadata.iter().map(|pair| (normalise_label_name(&pair.name), &pair.value));
    Entry {
        timestamp: timestamp.seconds.saturating_mul(SECOND).saturating_add(i64::from(timestamp.nanos)),
        metadata: Labels::from_pairs(metadata),
        line: entry.line,
    }
}

// ---- JSON

#[derive(Deserialize)]
struct JsonRequest {
    #[serde(default)]
    streams: Vec<JsonStream>,
}

#[derive(Deserialize)]
struct JsonStream {
    stream: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<JsonEntry>,
}

/// `["nanoseconds", "line"]` or `["nanoseconds", "line", {"name": "value"}]`
struct JsonEntry(Entry);

impl<'de> Deserialize<'de> for JsonEntry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = JsonEntry;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("[\"nanoseconds\", \"line\"] with optional structured metadata")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<JsonEntry, A::Error> {
                let time: String = values.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let timestamp = time.parse().map_err(|_| A::Error::custom(format!("not a time in nanoseconds: {time:?}")))?;
                let line: String = values.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                let metadata: BTreeMap<String, String> = values.next_element()?.unwrap_or_default();
                let metadata = Labels::from_pairs(metadata.iter().map(|(name, value)| (normalise_label_name(name), value)));
                Ok(JsonEntry(Entry { timestamp, line: line.into_bytes(), metadata }))
            }
        }
        from.deserialize_seq(Values)
    }
}

fn from_json(bytes: &[u8]) -> Result<Vec<Stream>, PushError> {
    let request: JsonRequest = serde_json::from_slice(bytes).map_err(|error| PushError::Malformed(format!("json: {error}")))?;
    let stream = |stream: JsonStream| Stream {
        labels: Labels::from_pairs(stream.stream.iter().map(|(name, value)| (normalise_label_name(name), value))),
        entries: stream.values.into_iter().map(|entry| entry.0).collect(),
    };
    Ok(request.streams.into_iter().map(stream).collect())
}
