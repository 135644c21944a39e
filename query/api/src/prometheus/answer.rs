//! Prometheus' envelope: `status`, `data`, `errorType`, `error`, `warnings`, `infos`; and weir's coverage beside it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use weir_budget::RequestBudget;
use weir_model::select::{Coverage, ReadError};
use weir_promql::{Output, QueryError};

use super::series::{write_matrix, write_vector};
use crate::error::with_retry;
use crate::reply::{Reply, Text};

/// An error as Prometheus' API names them.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    kind: &'static str,
    pub(super) message: String,
}

impl ApiError {
    /// The request is wrong: 400.
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }

    /// What is asked for is not here: 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, kind: "not_found", message: message.into() }
    }

    /// The same, with these words behind it.
    pub fn and(mut self, words: &str) -> Self {
        self.message.push_str(words);
        self
    }

    /// The same, with these words in the place of the parameter's name.
    pub fn instead(mut self, words: &str) -> Self {
        let reason = self.message.split_once(": ").map_or(&*self.message, |(_, reason)| reason);
        self.message = format!("{words}: {reason}");
        self
    }

    /// The same, with the reason behind a few words more.
    pub fn within(mut self, words: &str) -> Self {
        let (place, reason) = self.message.split_once(": ").unwrap_or(("", &self.message));
        self.message = format!("{place}: {words}: {reason}");
        self
    }
}

/// Of a request to delete.
impl From<crate::error::ApiError> for ApiError {
    fn from(error: crate::error::ApiError) -> Self {
        let kind = match error.status {
            StatusCode::BAD_REQUEST => "bad_data",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "not_found",
            _ => "unavailable",
        };
        Self { status: error.status, kind, message: error.message }
    }
}

/// A parameter is wrong.
impl From<String> for ApiError {
    fn from(message: String) -> Self {
        Self::bad_data(message)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let (status, kind) = match &error {
            ReadError::Budget { .. } | ReadError::TenantBudget { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            ReadError::Busy { .. } | ReadError::TenantBusy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            ReadError::Cancelled(_) | ReadError::TenantTime { .. } => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            ReadError::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let has_timed_out = match &error {
            ReadError::Cancelled(why) => why.starts_with("it took longer"),
            ReadError::TenantTime { .. } => true,
            _ => false,
        };
        let words = if has_timed_out { "query timed out in expression evaluation: " } else { "" };
        let message = format!("{words}{error}");
        Self { status, kind, message }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Parse(error) => Self::bad_data(format!("invalid parameter \"query\": {error}")),
            // Known before anything is evaluated.
            QueryError::Execution(message) if message.starts_with("invalid expression type") => {
                Self::bad_data(format!("invalid parameter \"query\": {message}"))
            }
            QueryError::Execution(message) => Self { status: StatusCode::UNPROCESSABLE_ENTITY, kind: "execution", message },
            QueryError::Read(error) => error.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"status": "error", "errorType": self.kind, "error": self.message});
        let response = (self.status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response();
        if self.kind == "unavailable" { with_retry(response) } else { response }
    }
}

/// A success under way: `data` first, then what goes beside it.
pub(super) struct Success<'a> {
    text: Text<'a>,
    /// See the envelope.
    pub warnings: Vec<String>,
    /// See the envelope.
    pub infos: Vec<String>,
}

impl<'a> Success<'a> {
    /// `data` is written by `write`.
    pub fn write(
        budget: &'a RequestBudget,
        write: impl FnOnce(&mut Text<'a>) -> Result<(), ReadError>,
    ) -> Result<Self, ReadError> {
        let mut text = Text::new(budget);
        text.raw("{\"status\":\"success\",\"data\":")?;
        write(&mut text)?;
        Ok(Self { text, warnings: Vec::new(), infos: Vec::new() })
    }

    /// `data` is this.
    pub fn of(budget: &'a RequestBudget, data: &impl Serialize) -> Result<Self, ReadError> {
        Self::write(budget, |text| text.json(data))
    }

    /// The whole answer, and what it has seen if it has read the store.
    pub fn reply(mut self, coverage: Option<Coverage>) -> Result<Reply, ApiError> {
        if let Some(coverage) = &coverage {
            self.warnings.extend(gaps(coverage));
            self.infos.extend(behind(coverage));
        }
        for (name, texts) in [("warnings", &self.warnings), ("infos", &self.infos)] {
            if !texts.is_empty() {
                self.text.raw(&format!(",\"{name}\":"))?;
                self.text.json(texts)?;
            }
        }
        self.text.raw("}")?;
        Ok(self.text.reply(coverage))
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
    let late = coverage.partitions.iter().filter(|seen| seen.indexed_offset < seen.high_watermark);
    let text = |seen: &weir_model::select::PartitionCoverage| {
        let count = seen.high_watermark - seen.indexed_offset;
        format!("coverage: {count} records of {} partition {} are on the bus and not searchable yet", seen.topic, seen.partition)
    };
    late.map(text).collect()
}

/// `{"resultType": …, "result": …`, left open, for a query's value at an instant or over a range.
pub(super) fn write_output(out: &mut Text<'_>, output: &Output, at_ms: i64) -> Result<(), ReadError> {
    match output {
        Output::Scalar(value) => {
            out.raw(&format!("{{\"resultType\":\"scalar\",\"result\":[{},\"{}\"]", timestamp(at_ms), sample(*value)))
        }
        Output::String(text) => {
            out.raw(&format!("{{\"resultType\":\"string\",\"result\":[{},{}]", timestamp(at_ms), json!(text)))
        }
        Output::Vector(samples) => write_vector(out, samples, at_ms),
        Output::Matrix(rows) => write_matrix(out, rows),
    }
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
