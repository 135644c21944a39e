//! `/federate`: the newest sample of each series that passes, as a target's answer, for a Prometheus that scrapes weir.
//!
//! As Prometheus answers: series whose newest sample in the lookback is a staleness marker are left out; each has its time; the
//! external labels are added where a series has no label of that name, and an empty `instance`, so that the scraping Prometheus
//! puts none of its own there. The text formats have no native histograms: those are left out, those with custom buckets come as
//! classic ones. What is kept on the way counts as memory of the query.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use weir_access::Granted;
use weir_budget::{RequestBudget, millis};
use weir_model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram};
use weir_model::label::{Labels, NAME, is_metric_name};
use weir_model::metric::is_stale;
use weir_model::select::{Budget, Coverage, MetricSelect, ReadError, Series, label_bytes};
use weir_model::time::SECOND;

use super::Api;
use super::answer::{ApiError, sample, timestamp};
use super::escaping::{Escaping, escaped};
use super::params::Params;
use crate::call::Call;
use crate::reply::Text;

/// `GET federate?match[]`
pub(super) async fn federate(api: Call, granted: Granted, headers: HeaderMap, params: Params) -> Response {
    let format = Format::of(&headers);
    let work = move |api: &Api, budget: &RequestBudget| {
        let end_ms = (api.clock)().div_euclid(SECOND / 1000);
        let start_ms = end_ms.saturating_sub(millis(api.config.lookback));
        let (mut found, mut coverage) = (Vec::new(), Coverage::default());
        for matchers in params.selectors_of_any("match[]")? {
            let select = MetricSelect { scope: (*granted.scope).clone(), matchers, start_ms, end_ms };
            let mut cursor = api.metrics.cursor(&select, budget)?;
            let mut series = Series::default();
            while cursor.next(&mut series)? {
                if let Some(newest) = newest(&series) {
                    budget.reserve(label_bytes(&newest.labels) + size_of::<Newest>() as u64)?;
                    found.push(newest);
                }
            }
            coverage.merge(cursor.coverage());
        }
        let key = |own: &Newest| (own.labels.get(NAME).to_owned(), own.histogram.is_some());
        found.sort_by(|one, other| key(one).cmp(&key(other)).then_with(|| one.labels.cmp(&other.labels)));
        found.dedup_by(|one, other| one.labels == other.labels);
        let mut out = Exposition { text: Text::new(budget), format, external: &api.external_labels };
        out.write(&found)?;
        Ok::<_, ApiError>(out.text.reply_as(format.content_type(), coverage))
    };
    api.answer(work).await.unwrap_or_else(|error| {
        let status = error.status;
        (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{}\n", error.message)).into_response()
    })
}

struct Newest {
    labels: Labels,
    at_ms: i64,
    value: f64,
    histogram: Option<Arc<Histogram>>,
}

/// `None` of a series that has ended or has no name, and of a native histogram that no text holds.
fn newest(series: &Series) -> Option<Newest> {
    let last = series.timestamps.len().checked_sub(1)?;
    let histogram =
        series.histograms.last().filter(|(at, own)| *at as usize == last && !own.is_stale()).map(|(_, own)| Arc::clone(own));
    let is_left_out = match &histogram {
        Some(own) => own.schema != CUSTOM_BUCKETS_SCHEMA,
        None => is_stale(series.values[last]),
    };
    if is_left_out || series.labels.get(NAME).is_empty() {
        return None;
    }
    Some(Newest { labels: series.labels.clone(), at_ms: series.timestamps[last], value: series.values[last], histogram })
}

/// What the client takes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Format {
    is_openmetrics: bool,
    /// As the client named it.
    escaping: Option<Escaping>,
}

impl Format {
    fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (mut best, mut best_weight) = (Self { is_openmetrics: false, escaping: None }, 0.0);
        for clause in accept.flat_map(|value| value.split(',')) {
            let mut parts = clause.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut escaping, mut version) = (1.0, None, String::new());
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = value.trim().parse().unwrap_or(0.0),
                    "escaping" => escaping = Escaping::of(value.trim()),
                    "version" => version = value.trim().to_owned(),
                    _ => {}
                }
            }
            let is_openmetrics = kind == "application/openmetrics-text" && ["", "1.0.0", "0.0.1"].contains(&version.as_str());
            let is_text = kind == "text/plain" && ["", "0.0.4", "1.0.0"].contains(&version.as_str());
            if (is_openmetrics || is_text) && weight > best_weight {
                (best, best_weight) = (Self { is_openmetrics, escaping }, weight);
            }
        }
        best
    }

    fn content_type(self) -> &'static str {
        use Escaping::{AllowUtf8, Dots, Underscores, Values};
        match (self.is_openmetrics, self.escaping) {
            (false, None) => "text/plain; version=0.0.4; charset=utf-8",
            (false, Some(Underscores)) => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            (false, Some(Dots)) => "text/plain; version=0.0.4; charset=utf-8; escaping=dots",
            (false, Some(Values)) => "text/plain; version=0.0.4; charset=utf-8; escaping=values",
            (false, Some(AllowUtf8)) => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            (true, None) => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            (true, Some(Underscores)) => "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
            (true, Some(Dots)) => "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=dots",
            (true, Some(Values)) => "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=values",
            (true, Some(AllowUtf8)) => "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        }
    }

    fn escaping(self) -> Escaping {
        self.escaping.unwrap_or(Escaping::Underscores)
    }
}

struct Exposition<'a> {
    text: Text<'a>,
    format: Format,
    external: &'a Labels,
}

impl Exposition<'_> {
    fn write(&mut self, found: &[Newest]) -> Result<(), ReadError> {
        let mut before = None;
        for own in found {
            let name = own.labels.get(NAME);
            let kind = if own.histogram.is_some() { "histogram" } else { self.untyped() };
            if before != Some((name, kind)) {
                let name = self.name(name);
                self.text.raw(&format!("# TYPE {name} {kind}\n"))?;
                before = Some((name_of(own), kind));
            }
            match &own.histogram {
                Some(histogram) => self.histogram(own, histogram)?,
                None => self.line(own, "", None, own.value)?,
            }
        }
        if self.format.is_openmetrics { self.text.raw("# EOF\n") } else { Ok(()) }
    }

    fn untyped(&self) -> &'static str {
        if self.format.is_openmetrics { "unknown" } else { "untyped" }
    }

    /// As a classic one.
    fn histogram(&mut self, own: &Newest, histogram: &Histogram) -> Result<(), ReadError> {
        let (mut count, mut bucket, mut buckets) = (0.0, 0_i64, Vec::new());
        let mut counts = histogram.positive.counts.iter();
        for span in &histogram.positive.spans {
            bucket += i64::from(span.offset);
            for value in counts.by_ref().take(span.length as usize) {
                buckets.push((bucket, *value));
                bucket += 1;
            }
        }
        let mut buckets = buckets.into_iter().peekable();
        for (i, bound) in (0_i64..).zip(&histogram.custom_bounds) {
            while let Some((_, value)) = buckets.next_if(|(at, _)| *at <= i) {
                count += value;
            }
            self.line(own, "_bucket", Some(&sample(*bound)), count)?;
        }
        self.line(own, "_bucket", Some("+Inf"), histogram.count)?;
        self.line(own, "_sum", None, histogram.sum)?;
        self.line(own, "_count", None, histogram.count)
    }

    fn line(&mut self, own: &Newest, suffix: &str, le: Option<&str>, value: f64) -> Result<(), ReadError> {
        let name = format!("{}{suffix}", name_of(own));
        let is_quoted = self.format.escaping() == Escaping::AllowUtf8 && !is_metric_name(&name);
        let mut line = if is_quoted { format!("{{{}", self.name(&name)) } else { format!("{}{{", self.name(&name)) };
        let mut is_first = !is_quoted;
        let mut put = |name: &str, value: &str| {
            line.push_str(if is_first { "" } else { "," });
            is_first = false;
            line.push_str(&format!("{}=\"{}\"", self.label_name(name), escaped(value)));
        };
        own.labels.iter().filter(|(name, _)| *name != NAME).for_each(|(name, value)| put(name, value));
        let missing = self.external.iter().filter(|(name, _)| own.labels.get(name).is_empty());
        missing.for_each(|(name, value)| put(name, value));
        if own.labels.get("instance").is_empty() && self.external.get("instance").is_empty() {
            put("instance", "");
        }
        le.into_iter().for_each(|le| put("le", le));
        let at = if self.format.is_openmetrics { timestamp(own.at_ms) } else { own.at_ms.to_string() };
        line.push_str(&format!("}} {} {at}\n", sample(value)));
        self.text.raw(&line)
    }

    fn name(&self, name: &str) -> String {
        self.format.escaping().metric(name)
    }

    fn label_name(&self, name: &str) -> String {
        self.format.escaping().label(name)
    }
}

fn name_of(own: &Newest) -> &str {
    own.labels.get(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_what_the_client_prefers() {
        let check = |accept: &str, expected: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(Format::of(&headers).content_type(), expected, "{accept}");
        };
        let text = "text/plain; version=0.0.4; charset=utf-8";
        let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        check("*/*", text);
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5",
            openmetrics,
        );
        check("application/openmetrics-text;q=0.1,text/plain;version=0.0.4;q=0.2", text);
        check("application/vnd.google.protobuf;q=0.9,text/plain;q=0.2", text);
        let utf8 = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
        check("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.5", utf8);
        check("text/plain;version=1.0.0;escaping=allow-utf-8", "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8");
        for escaping in ["underscores", "dots", "values"] {
            check(&format!("application/openmetrics-text;escaping={escaping}"), &format!("{openmetrics}; escaping={escaping}"));
            check(&format!("text/plain;version=0.0.4;escaping={escaping}"), &format!("{text}; escaping={escaping}"));
        }
        check("text/plain;escaping=runes", text);
    }
}
