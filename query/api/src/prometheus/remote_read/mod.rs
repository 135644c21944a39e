//! Prometheus' remote read: `POST /api/v1/read`, answered as samples or as streamed chunks, whichever the caller names first.
//! The whole answer is made before it is sent, within the query's budget. Hints are not followed: they say what may be left out.
//! Source: prompb/remote.proto of Prometheus.
//!
//! - [`prompb`]: its own messages. [`chunks`]: a series as chunks; [`xor`]: numbers as one; [`histograms`]: histograms; [`bits`]: what
//!   chunks are made of.

mod bits;
mod chunks;
mod histograms;
mod prompb;
#[cfg(test)]
mod tests;
mod xor;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use prost::Message;
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_model::label::{MatchOp, Matcher};
use weir_model::pattern::PatternBudget;
use weir_model::prompb::{Histogram, Sample, TimeSeries, labels};
use weir_model::scope::Scope;
use weir_model::select::{Budget, Coverage, MetricSelect, ReadError, Series};

use self::prompb::{ChunkedReadResponse, ChunkedSeries, Query, QueryResult, ReadRequest};
use super::Api;
use super::answer::ApiError;
use crate::call::Call;
use crate::reply::Reply;

/// A request as it is sent: matchers, no data.
const BODY_BYTES_MAX: usize = 1 << 20;
/// … and once it is decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 4 << 20;
/// Selects of one request; Prometheus sends one.
const QUERIES_MAX: usize = 64;
/// A frame holds chunks of so many bytes, as Prometheus' default has it.
const FRAME_BYTES: usize = 1 << 20;

const SAMPLES: &str = "application/x-protobuf";
const STREAMED: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// How the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Samples,
    Chunks,
}

/// `POST read`, a snappy block.
pub(super) async fn read(api: Call, granted: Granted, body: Body) -> Result<Response, ApiError> {
    let too_large = |_| ApiError::bad_data(format!("a body that does not come, or of more than {BODY_BYTES_MAX} bytes"));
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(too_large)?;
    let request = decode(&body)?;
    let work = move |api: &Api, budget: &RequestBudget| {
        let shape = shape(&request)?;
        answer(api, &granted.scope, &request, shape, budget)
    };
    let mut response = api.answer(work).await?;
    if response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == SAMPLES) {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    }
    Ok(response)
}

/// A declared size is checked before anything is allocated for it.
fn decode(body: &[u8]) -> Result<ReadRequest, ApiError> {
    let malformed = |error: snap::Error| ApiError::bad_data(format!("snappy: {error}"));
    let declared = snap::raw::decompress_len(body).map_err(malformed)?;
    if declared > DECOMPRESSED_BYTES_MAX {
        return Err(ApiError::bad_data(format!("a request that declares {declared} bytes, of {DECOMPRESSED_BYTES_MAX} at most")));
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(body).map_err(malformed)?;
    let request = ReadRequest::decode(&bytes[..]).map_err(|error| ApiError::bad_data(format!("protobuf: {error}")))?;
    if request.queries.len() > QUERIES_MAX {
        return Err(ApiError::bad_data(format!("{} queries in one request, of {QUERIES_MAX} at most", request.queries.len())));
    }
    Ok(request)
}

/// The first that the caller accepts and that is known; samples where it says nothing.
fn shape(request: &ReadRequest) -> Result<Shape, ApiError> {
    if request.accepted_response_types.is_empty() {
        return Ok(Shape::Samples);
    }
    let mut known = request.accepted_response_types.iter().filter_map(|number| match number {
        0 => Some(Shape::Samples),
        1 => Some(Shape::Chunks),
        _ => None,
    });
    known.next().ok_or_else(|| ApiError::bad_data("none of the accepted response types is known"))
}

/// Bytes of an answer, counted as they grow. What is not handed over is given back.
struct Bytes<'a> {
    budget: &'a RequestBudget,
    bytes: Vec<u8>,
}

impl Drop for Bytes<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes.capacity() as u64);
    }
}

impl Bytes<'_> {
    /// Room for so many bytes more.
    fn grow(&mut self, more: usize) -> Result<&mut Vec<u8>, ReadError> {
        let needed = self.bytes.len() + more;
        self.budget.check_answer(needed)?;
        if needed > self.bytes.capacity() {
            let growth = (needed - self.bytes.capacity()).max(self.bytes.capacity());
            self.budget.reserve(growth as u64)?;
            self.bytes.reserve_exact(self.bytes.capacity() + growth - self.bytes.len());
        }
        Ok(&mut self.bytes)
    }

    /// A message in a field, as if it were part of one that is never made as a whole.
    fn field(&mut self, number: u32, message: &impl Message) -> Result<(), ReadError> {
        let length = message.encoded_len();
        let out = self.grow(length + 2 * prost::encoding::encoded_len_varint(u64::MAX))?;
        prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, out);
        prost::encoding::encode_varint(length as u64, out);
        out.extend(message.encode_to_vec());
        Ok(())
    }

    /// A frame of the stream: length, checksum, message.
    fn frame(&mut self, message: &ChunkedReadResponse) -> Result<(), ReadError> {
        let message = message.encode_to_vec();
        let out = self.grow(message.len() + 14)?;
        prost::encoding::encode_varint(message.len() as u64, out);
        out.extend(crc32c::crc32c(&message).to_be_bytes());
        out.extend(message);
        Ok(())
    }
}

fn answer(api: &Api, scope: &Scope, request: &ReadRequest, shape: Shape, budget: &RequestBudget) -> Result<Reply, ApiError> {
    let (mut all, mut coverage) = (Bytes { budget, bytes: Vec::new() }, Coverage::default());
    let mut patterns = PatternBudget::default();
    for (index, query) in request.queries.iter().enumerate() {
        let select = select(scope, query, &mut patterns)?;
        let own = match shape {
            Shape::Samples => samples(api, &select, &mut all)?,
            Shape::Chunks => frames(api, &select, index as i64, &mut all)?,
        };
        coverage.merge(own);
    }
    if shape == Shape::Chunks {
        return Ok(Reply::of(StatusCode::OK, STREAMED, std::mem::take(&mut all.bytes), coverage));
    }
    budget.reserve(snap::raw::max_compress_len(all.bytes.len()) as u64)?;
    let packed = snap::raw::Encoder::new().compress_vec(&all.bytes);
    let packed = packed.map_err(|error| ReadError::Store(format!("an answer cannot be compressed: {error}")))?;
    Ok(Reply::of(StatusCode::OK, SAMPLES, packed, coverage))
}

fn select(scope: &Scope, query: &Query, patterns: &mut PatternBudget) -> Result<MetricSelect, ApiError> {
    let matcher = |own: &prompb::LabelMatcher| {
        let op = match own.r#type {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Regex,
            3 => MatchOp::NotRegex,
            other => return Err(ApiError::bad_data(format!("matcher of type {other}"))),
        };
        Matcher::within(patterns, own.name.as_str(), op, own.value.as_str())
            .map_err(|error| ApiError::bad_data(format!("matcher of {:?}: {error}", weir_model::clip(&own.name))))
    };
    let matchers: Vec<Matcher> = query.matchers.iter().map(matcher).collect::<Result<_, _>>()?;
    let (start_ms, end_ms) = (query.start_timestamp_ms, query.end_timestamp_ms);
    if end_ms < start_ms {
        return Err(ApiError::bad_data("a query that ends before it starts"));
    }
    Ok(MetricSelect { scope: scope.clone(), matchers, start_ms, end_ms })
}

/// One `QueryResult`: its series are written before its length is known, so apart.
fn samples(api: &Api, select: &MetricSelect, all: &mut Bytes<'_>) -> Result<Coverage, ReadError> {
    let mut result = Bytes { budget: all.budget, bytes: Vec::new() };
    let mut cursor = api.metrics.cursor(select, all.budget)?;
    let mut series = Series::default();
    while cursor.next(&mut series)? {
        if !series.drop_before(select.start_ms) {
            continue;
        }
        result.field(QueryResult::TIMESERIES, &time_series(&series))?;
    }
    let length = result.bytes.len();
    let out = all.grow(length + 12)?;
    out.push(1 << 3 | 2);
    prost::encoding::encode_varint(length as u64, out);
    out.extend(&result.bytes);
    Ok(cursor.coverage())
}

fn frames(api: &Api, select: &MetricSelect, query_index: i64, all: &mut Bytes<'_>) -> Result<Coverage, ReadError> {
    let mut cursor = api.metrics.cursor(select, all.budget)?;
    let mut series = Series::default();
    while cursor.next(&mut series)? {
        if !series.drop_before(select.start_ms) {
            continue;
        }
        // A series of many chunks goes in several frames, which the caller puts together.
        let chunks = chunks::chunks(&series);
        let mut rest = &chunks[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |chunk: &&prompb::Chunk| {
                bytes += chunk.data.len();
                bytes <= FRAME_BYTES
            };
            let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let own = ChunkedSeries { labels: labels(series.labels.iter()), chunks: now.to_vec() };
            all.frame(&ChunkedReadResponse { chunked_series: vec![own], query_index })?;
            rest = later;
        }
    }
    Ok(cursor.coverage())
}

fn time_series(series: &Series) -> TimeSeries {
    let mut histograms = series.histograms.iter().peekable();
    let mut own = TimeSeries { labels: labels(series.labels.iter()), ..TimeSeries::default() };
    for (at, (timestamp, value)) in series.timestamps.iter().zip(&series.values).enumerate() {
        match histograms.next_if(|(place, _)| *place as usize == at) {
            Some((_, histogram)) => own.histograms.push(Histogram::of(histogram, *timestamp)),
            None => own.samples.push(Sample { value: *value, timestamp: *timestamp, start_timestamp: 0 }),
        }
    }
    own
}
