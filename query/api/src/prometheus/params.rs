//! What a request says: query string and form body together, as Prometheus reads them.

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use weir_model::clip;
use weir_model::label::Matcher;
use weir_model::time::{SECOND, parse_time_seconds};
use weir_promql::parse::parse_selector;

use super::answer::ApiError;
use crate::params;

/// Names and values of query string and form.
pub(super) struct Params(params::Params);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let read = params::Params::from_request(request, state).await;
        let wrong = |(status, message)| {
            let mut response = ApiError::bad_data(message).into_response();
            *response.status_mut() = status;
            response
        };
        read.map(Self).map_err(wrong)
    }
}

impl Params {
    #[cfg(test)]
    pub fn none() -> Self {
        Self(params::Params::none())
    }

    /// The first non-empty value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }

    /// All of a name, `[]` included.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.all(name)
    }

    /// Yes or no.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.0.flag(name)?)
    }

    /// The query itself.
    pub fn query(&self) -> Result<String, ApiError> {
        self.get("query").map(str::to_owned).ok_or_else(|| {
            ApiError::bad_data("invalid parameter \"query\": unknown position: parse error: no expression found in input")
        })
    }

    /// A time, in milliseconds.
    pub fn time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let time = parse_time_seconds(text).map_err(|_| {
            ApiError::bad_data(format!("invalid parameter {name:?}: cannot parse {:?} to a valid timestamp", clip(text)))
        })?;
        Ok(Some(time.div_euclid(SECOND / 1000)))
    }

    /// A time that may be left out, of a call that is told so in Prometheus' words.
    pub fn bound(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.time(name).map_err(|error| error.within(&format!("invalid time value for '{name}'")))
    }

    /// A time that must be there.
    pub fn required_time(&self, name: &str) -> Result<i64, ApiError> {
        let missing = || ApiError::bad_data(format!("invalid parameter {name:?}: cannot parse \"\" to a valid timestamp"));
        self.time(name)?.ok_or_else(missing)
    }

    /// A duration or number of seconds, in milliseconds.
    pub fn duration(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let wrong =
            || ApiError::bad_data(format!("invalid parameter {name:?}: cannot parse {:?} to a valid duration", clip(text)));
        if let Ok(seconds) = text.parse::<f64>() {
            let fits = (seconds * 1e9).abs() <= i64::MAX as f64;
            return if fits { Ok(Some((seconds * 1000.0).round() as i64)) } else { Err(wrong().and(". It overflows int64")) };
        }
        weir_model::time::parse_duration(text).map(|nanos| Some(nanos / (SECOND / 1000))).map_err(|_| wrong())
    }

    /// `limit`: 0 and absent mean none.
    pub fn limit(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let wrong = |reason: String| ApiError::bad_data(format!("invalid parameter {name:?}: {reason}"));
        let limit: i64 = text.parse().map_err(|_| wrong(not_a_number("Atoi", text)))?;
        let limit = usize::try_from(limit).map_err(|_| wrong("limit must be non-negative".into()))?;
        Ok((limit > 0).then_some(limit))
    }

    /// Of metadata: a number, which means nothing where it is negative.
    pub fn count(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let count: i64 = text.parse().map_err(|_| ApiError::bad_data(format!("{name} must be a number")))?;
        Ok(usize::try_from(count).ok())
    }

    /// `match[]`, one list of matchers each, of which one does not take the empty text. Compiles their regexes: for work within a
    /// budget.
    pub fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let found = self.selectors_of_any("match[]")?;
        if found.iter().any(|matchers| matchers.iter().all(|matcher| matcher.matches(""))) {
            return Err(ApiError::bad_data("match[] must contain at least one non-empty matcher"));
        }
        Ok(found)
    }

    /// The same, whatever they take.
    pub fn selectors_of_any(&self, name: &str) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let parse = |text| {
            let selector =
                parse_selector(text).map_err(|error| ApiError::bad_data(format!("invalid parameter {name:?}: {error}")))?;
            Ok(selector.matchers)
        };
        self.0.all(name).map(parse).collect()
    }
}

/// As Go says it.
pub(super) fn not_a_number(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {:?}: invalid syntax", clip(text))
}
