//! `traces/{id}/logs`: the log lines of a trace in causal order, where its spans tell it, and by time where they do not.

use axum::Extension;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use weir_access::{Access, Granted};
use weir_budget::RequestBudget;
use weir_logql::Expr;
use weir_logql::eval::lines::{Entry, LogOptions, lines};
use weir_logql::search::{Search, to_logql};
use weir_model::id::TraceId;
use weir_model::scope::Scope;
use weir_model::select::{Budget, Coverage, Trace};
use weir_model::time::{TimeRange, UnixNanos, format_rfc3339};

use super::super::error::ApiError;
use super::super::params::{HOUR, Params};
use super::super::reply::Text;
use super::super::trace_search::read_trace;
use super::super::{Api, READ_TRACES};
use super::logs::entry;
use super::{WeirError, end};
use crate::call::Call;
use crate::causal::{Basis, CausalOrder, Clock, Place};

/// Lines of one answer when nothing is said.
const LIMIT_DEFAULT: usize = 1000;

/// Lines are looked for from so long before the first span until so long after the last one: clocks that are off by more are rare,
/// and `start` and `end` say more.
const AROUND: i64 = HOUR;

/// Spans that begin further than this from the median one are not looked around: a single one with a clock that was never set
/// would have all of time searched. A week is longer than traces are.
const APART_MAX: u64 = 7 * 24 * HOUR as u64;

/// What the places of lines need on the way to them, for each: a clock, its place in its stream's order, and a reference.
const PLACING_BYTES: usize = 4 * size_of::<usize>();

/// Lines of a trace; 404 with the coverage when neither a span nor a line of it has been seen.
pub(super) async fn trace_logs(
    api: Call,
    granted: Granted,
    Extension(access): Extension<Access>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, WeirError> {
    let id: TraceId = id.parse().map_err(|error| format!("{error}"))?;
    // Who may read lines and no spans gets the lines by time, and hears why.
    let traces = access.grant_optional(READ_TRACES).await;
    let work = move |api: &Api, budget: &RequestBudget| {
        let limit = params.number("limit", LIMIT_DEFAULT)?;
        if limit > api.config.lines_max {
            return Err(format!("parameter limit: {limit} is above query.lines_max ({})", api.config.lines_max).into());
        }
        let (trace, mut coverage, refused) = match traces {
            Ok(granted) => {
                let (read, _) = read_trace(&*api.traces, &granted.scope, id, budget)?;
                (read.value, read.coverage, None)
            }
            Err(denied) => (None, Coverage::default(), Some(denied.to_string())),
        };
        if let Some(trace) = &trace {
            budget.reserve(starts(trace).count().saturating_mul(size_of::<UnixNanos>()) as u64)?;
        }
        let (range, apart) = around(trace.as_ref(), &params, (api.clock)())?;
        if apart > 0 {
            coverage.miss(format!("lines around {apart} spans that begin more than 7 days from the trace's other ones"));
        }
        let asked = LogOptions {
            scope: Scope::clone(&granted.scope),
            range,
            limit: limit.saturating_add(1),
            newest_first: false,
            detected_level: api.config.detected_level,
        };
        let mut found = find(api, id, &asked, budget, &mut coverage)?;
        if trace.is_none() && found.is_empty() {
            let failure = ApiError::new(StatusCode::NOT_FOUND, unknown(id, range, refused.as_deref()));
            return Err(WeirError::with_coverage(failure, coverage));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let trace = trace.unwrap_or_default();
        let order = CausalOrder::of(&trace, budget)?;
        budget.reserve((found.len() * (size_of::<(Place, Entry)>() + size_of::<Place>() + PLACING_BYTES)) as u64)?;
        let places = order.place(&found.iter().map(|line| &line.source).collect::<Vec<_>>());
        let mut placed: Vec<(Place, Entry)> = places.into_iter().zip(found).collect();
        placed.sort_by_key(|(place, line)| (place.rank(), line.source.id));
        let mut text = Text::new(budget);
        text.raw("{\"lines\":")?;
        text.each(placed.iter().map(|(place, line)| shape(place, line)))?;
        for (name, value) in summary(&placed, order.clocks(), refused.as_deref(), more) {
            text.raw(&format!(",\"{name}\":"))?;
            text.json(&value)?;
        }
        end(text, coverage)
    };
    api.answer(work).await
}

fn starts(trace: &Trace) -> impl Iterator<Item = UnixNanos> {
    trace.batches.iter().flat_map(|batch| &batch.spans).map(|span| span.start)
}

/// `start` and `end` where they are said, else around the spans; and how many spans are too far from the others for that.
fn around(trace: Option<&Trace>, params: &Params, now: i64) -> Result<(TimeRange, usize), String> {
    let asked = params.range(now, HOUR)?;
    let mut all: Vec<UnixNanos> = trace.into_iter().flat_map(starts).collect();
    if all.is_empty() {
        return Ok((asked, 0));
    }
    let middle = all.len() / 2;
    let median = *all.select_nth_unstable(middle).1;
    let is_near = |at: UnixNanos| at.abs_diff(median) <= APART_MAX;
    let spans = trace.into_iter().flat_map(|trace| &trace.batches).flat_map(|batch| &batch.spans);
    let (mut first, mut last, mut apart) = (median, median, 0);
    for span in spans {
        if is_near(span.start) {
            first = first.min(span.start);
            // An end that far off is none.
            last = last.max(if is_near(span.end) { span.end.max(span.start) } else { span.start });
        } else {
            apart += 1;
        }
    }
    let is_said = |name: &str| params.get(name).is_some();
    let (is_start_said, is_end_said) = (is_said("start") || is_said("since"), is_said("end"));
    let start = if is_start_said { asked.start } else { first.saturating_sub(AROUND) };
    let end = if is_end_said { asked.end } else { last.saturating_add(AROUND) };
    // One side alone is said, and lies beyond the spans: the other is what it is elsewhere.
    let range = if start > end { asked } else { TimeRange { start, end } };
    Ok((range, if is_start_said && is_end_said { 0 } else { apart }))
}

/// What was looked for, and where, when nothing was found.
fn unknown(id: TraceId, range: TimeRange, refused: Option<&str>) -> String {
    let spans = match refused {
        Some(refused) => format!("the spans of trace {id} were not read ({refused}), and"),
        None => format!("no span of trace {id} has been seen, and"),
    };
    let (start, end) = (format_rfc3339(range.start), format_rfc3339(range.end));
    format!("{spans} no line of it from {start} to {end}; start and end say where else to look")
}

/// The oldest lines with the trace's id in the record or in the text.
fn find(
    api: &Api,
    id: TraceId,
    asked: &LogOptions,
    budget: &RequestBudget,
    coverage: &mut Coverage,
) -> Result<Vec<Entry>, WeirError> {
    let query = to_logql(&Search { trace: Some(id), ..Search::default() })?;
    let Expr::Log(log) = weir_logql::parse_open(&query)? else {
        return Err("the query for a trace's lines is none, a fault of weir's".to_owned().into());
    };
    let found = lines(&*api.logs, &query, &log, asked, budget)?;
    coverage.merge(found.coverage);
    Ok(found.value)
}

/// A line as everywhere, with its place: `moved_by_clock`, `moved_by_span` and `moved_by_stream` add up to what it was moved by.
fn shape(place: &Place, line: &Entry) -> Value {
    let moved = place.at.saturating_sub(line.source.timestamp);
    let by_span = moved.saturating_sub(place.clock_offset).saturating_sub(place.stream_offset);
    let mut shape = entry(line);
    shape["at"] = json!(place.at.to_string());
    shape["placed"] = json!(place.basis);
    shape["moved_by_clock"] = json!(place.clock_offset.to_string());
    shape["moved_by_span"] = json!(by_span.to_string());
    shape["moved_by_stream"] = json!(place.stream_offset.to_string());
    shape
}

/// How the lines are ordered, and what that rests on.
fn summary(placed: &[(Place, Entry)], clocks: &[Clock], refused: Option<&str>, more: bool) -> [(&'static str, Value); 5] {
    let of = |basis: Basis| placed.iter().filter(|(place, _)| place.basis == basis).count();
    let moved = placed.iter().filter(|(place, line)| place.at != line.source.timestamp).count();
    let by_time = of(Basis::Time);
    let order = match () {
        () if by_time == placed.len() => "time",
        () if by_time > 0 => "mixed",
        () => "causal",
    };
    let clocks: Vec<Value> = clocks
        .iter()
        .map(|clock| json!({"clock": clock.name, "offset": clock.offset.to_string(), "calls": clock.calls}))
        .collect();
    [
        ("order", json!(order)),
        ("moved", json!(moved)),
        ("clocks", json!(clocks)),
        ("spans_refused", json!(refused.unwrap_or_default())),
        ("more", json!(more)),
    ]
}
