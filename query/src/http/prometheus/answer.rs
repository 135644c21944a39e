//! Prometheus' envelope: `status`, `data`, `errorType`, `error`, `warnings`, `infos`; and weir's coverage beside it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use weir_model::label::Labels;
use weir_model::select::{Coverage, ReadError};

use crate::http::covered::with_header;
use crate::promql::{Output, Points, QueryError};

/// An error as Prometheus' API names them.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Failure {
    /// The request is wrong: 400.
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let (status, kind) = match &error {
            ReadError::Budget { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            ReadError::Cancelled(_) => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            ReadError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self { status, kind, message: error.to_string() }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Parse(error) => Self::bad_data(format!("invalid parameter \"query\": {error}")),
            QueryError::Execution(message) => Self { status: StatusCode::UNPROCESSABLE_ENTITY, kind: "execution", message },
            QueryError::Read(error) => error.into(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({"status": "error", "errorType": self.kind, "error": self.message});
        (self.status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    }
}

/// A success.
#[derive(Default)]
pub(super) struct Success {
    /// JSON, already written.
    pub data: String,
    /// See the envelope.
    pub warnings: Vec<String>,
    /// See the envelope.
    pub infos: Vec<String>,
    /// What the answer has seen, if it has read the store.
    pub coverage: Option<Coverage>,
}

impl Success {
    /// An answer that needs no store.
    pub fn of(data: &serde_json::Value) -> Self {
        Self { data: data.to_string(), ..Self::default() }
    }
}

impl IntoResponse for Success {
    fn into_response(mut self) -> Response {
        if let Some(coverage) = &self.coverage {
            self.warnings.extend(gaps(coverage));
            self.infos.extend(behind(coverage));
        }
        let mut body = format!("{{\"status\":\"success\",\"data\":{}", self.data);
        for (name, texts) in [("warnings", &self.warnings), ("infos", &self.infos)] {
            if !texts.is_empty() {
                body.push_str(&format!(",\"{name}\":{}", json!(texts)));
            }
        }
        body.push('}');
        let answer = ([(header::CONTENT_TYPE, "application/json")], body);
        match &self.coverage {
            Some(coverage) => with_header(coverage, answer),
            None => answer.into_response(),
        }
    }
}

/// What is not in the answer and will not be: a warning each.
fn gaps(coverage: &Coverage) -> Vec<String> {
    let missing = coverage.missing.iter().map(|sentence| format!("coverage: {sentence}"));
    let losses = coverage.partitions.iter().flat_map(|seen| {
        let range = move |(first, next): &(u64, u64)| {
            format!("coverage: offsets {first} to {} of {} partition {} are declared lost", next - 1, seen.topic, seen.partition)
        };
        seen.losses.iter().filter(|(first, next)| first < next).map(range)
    });
    missing.chain(losses).collect()
}

/// What is not in the answer yet: a hint, because in a live system some record is always on its way.
fn behind(coverage: &Coverage) -> Vec<String> {
    let late = coverage.partitions.iter().filter(|seen| seen.searchable < seen.on_bus);
    let text = |seen: &weir_model::select::PartitionCoverage| {
        let count = seen.on_bus - seen.searchable;
        format!("coverage: {count} records of {} partition {} are on the bus and not searchable yet", seen.topic, seen.partition)
    };
    late.map(text).collect()
}

/// `{"resultType": …, "result": …}` for a query's value at an instant or over a range.
pub(super) fn write_output(output: &Output, at_ms: i64) -> String {
    match output {
        Output::Scalar(value) => {
            format!("{{\"resultType\":\"scalar\",\"result\":[{},\"{}\"]}}", timestamp(at_ms), sample(*value))
        }
        Output::String(text) => {
            format!("{{\"resultType\":\"string\",\"result\":[{},{}]}}", timestamp(at_ms), json!(text))
        }
        Output::Vector(samples) => {
            let mut out = String::from("{\"resultType\":\"vector\",\"result\":[");
            for (i, one) in samples.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                metric(&mut out, &one.labels);
                out.push_str(&format!(",\"value\":[{},\"{}\"]}}", timestamp(at_ms), sample(one.value)));
            }
            out + "]}"
        }
        Output::Matrix(rows) => {
            let mut out = String::from("{\"resultType\":\"matrix\",\"result\":[");
            for (i, row) in rows.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write_points(&mut out, row);
            }
            out + "]}"
        }
    }
}

fn write_points(out: &mut String, row: &Points) {
    metric(out, &row.labels);
    out.push_str(",\"values\":[");
    for (i, (at, value)) in row.points.iter().enumerate() {
        out.push_str(if i == 0 { "[" } else { ",[" });
        out.push_str(&timestamp(*at));
        out.push_str(",\"");
        out.push_str(&sample(*value));
        out.push_str("\"]");
    }
    out.push_str("]}");
}

/// `{"metric":{…}`, left open.
fn metric(out: &mut String, labels: &Labels) {
    out.push_str("{\"metric\":");
    out.push_str(&json!(labels).to_string());
}

/// Seconds, with three decimals unless they are all zero.
pub(super) fn timestamp(millis: i64) -> String {
    let (sign, rest) = (if millis < 0 { "-" } else { "" }, millis.unsigned_abs());
    match rest % 1000 {
        0 => format!("{sign}{}", rest / 1000),
        fraction => format!("{sign}{}.{fraction:03}", rest / 1000),
    }
}

/// A float as Prometheus writes it into its strings: plain, with an exponent only when very small or very large.
pub(super) fn sample(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |rest| ("-", rest));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    value.to_string()
}
