//! Parameters of a request, from the query string and, for POST, from a form. Shared by all APIs. Errors are sentences
//! that name the parameter.

use axum::body::{Body, Bytes};
use axum::extract::{Form, FromRequest, Query, Request};
use axum::http::{Method, StatusCode, header};
use weir_model::clip;
use weir_model::time::{SECOND, TimeRange, UnixNanos, parse_duration, parse_time_loki};

/// In order; names may repeat.
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = (StatusCode, String);

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let bad = |error: String| (StatusCode::BAD_REQUEST, error);
        check_count(request.uri().query().unwrap_or_default().as_bytes()).map_err(bad)?;
        let Query(mut pairs) =
            Query::<Vec<(String, String)>>::try_from_uri(request.uri()).map_err(|error| bad(error.body_text()))?;
        let form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        if request.method() == Method::POST && form {
            let (parts, body) = request.into_parts();
            let whole = Request::from_parts(parts.clone(), body);
            let bytes = Bytes::from_request(whole, state).await.map_err(|error| match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => (error.status(), "the form has more bytes than weir takes (1 MiB)".to_owned()),
                status => (status, error.body_text()),
            })?;
            check_count(&bytes).map_err(bad)?;
            let again = Request::from_parts(parts, Body::from(bytes));
            let Form(more) = Form::<Vec<(String, String)>>::from_request(again, state)
                .await
                .map_err(|error| (error.status(), error.body_text()))?;
            pairs.extend(more);
        }
        Ok(Self(pairs))
    }
}

/// Parameters of one request, repeated ones included: a selector each for some hundred panels.
const PARAMS_MAX: usize = 1000;

/// Each takes far more memory than its bytes, so they are counted before they are read.
fn check_count(encoded: &[u8]) -> Result<(), String> {
    let count = encoded.split(|byte| *byte == b'&').count();
    if count > PARAMS_MAX { Err(format!("{count} parameters are more than the {PARAMS_MAX} that weir takes")) } else { Ok(()) }
}

impl Params {
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// The first of that name that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, value)| own == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// All of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// One that has to be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, String> {
        self.get(name).ok_or_else(|| format!("parameter {name} is missing"))
    }

    /// Errors when one of these is there: parameters of the API that weir does not know how to obey, and whose absence
    /// would make another answer.
    pub(crate) fn refuse(&self, names: &[&str]) -> Result<(), String> {
        match names.iter().find(|name| self.get(name).is_some()) {
            Some(name) => Err(format!("parameter {name} is not supported by weir")),
            None => Ok(()),
        }
    }

    /// Yes or no, as Go's `strconv.ParseBool` reads them.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("0" | "f" | "false") => Ok(false),
            Some("1" | "t" | "true") => Ok(true),
            Some(other) => Err(format!("parameter {name}: {:?} is neither true nor false", clip(other))),
        }
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str, default: usize) -> Result<usize, String> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("parameter {name}: {:?} is no whole number from 0 on", clip(text))),
        }
    }

    /// A time as Loki takes it.
    pub(crate) fn time(&self, name: &str) -> Result<Option<UnixNanos>, String> {
        self.get(name).map(|text| parse_time_loki(text).map_err(|error| format!("parameter {name}: {error}"))).transpose()
    }

    /// A duration, or a number of seconds, in nanoseconds.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<i64>, String> {
        self.get(name).map(|text| parse_duration(text).map_err(|error| format!("parameter {name}: {error}"))).transpose()
    }

    /// `start`, `end` and `since`; by default the `default` nanoseconds up to `now`. Errors when the end is before the
    /// start, or a time lies outside of the years 1678 to 2262.
    pub(crate) fn range(&self, now: UnixNanos, default: i64) -> Result<TimeRange, String> {
        let end = self.time("end")?.unwrap_or(now);
        let since = self.duration("since")?.unwrap_or(default);
        let start = self.time("start")?.unwrap_or(end.min(now).saturating_sub(since));
        if end < start {
            return Err(format!(
                "end timestamp must not be before or equal to start time: end ({end}) is before start ({start})"
            ));
        }
        Ok(TimeRange { start, end })
    }

    /// `forward` or `backward`, as whether the newest come first.
    pub(crate) fn newest_first(&self) -> Result<bool, String> {
        match self.get("direction").map(str::to_ascii_lowercase).as_deref() {
            None | Some("backward") => Ok(true),
            Some("forward") => Ok(false),
            Some(other) => Err(format!("parameter direction: {:?} is neither forward nor backward", clip(other))),
        }
    }
}

/// The default range of Loki's API and of ours.
pub(crate) const HOUR: i64 = 3600 * SECOND;

/// 11000 → `11,000`
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let grouped: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|part| std::str::from_utf8(part).ok()).collect();
    grouped.join(",")
}
