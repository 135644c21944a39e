//! A line and its neighbours in its whole container: what came over stderr beside what came over stdout, by time.

use std::collections::BTreeSet;

use weir_budget::RequestBudget;
use weir_logql::LogExpr;
use weir_logql::eval::lines::{LogOptions, lines};
use weir_model::id::LineId;
use weir_model::label::{Labels, Matcher};
use weir_model::scope::Scope;
use weir_model::select::{Coverage, Covered, LogSelect, OwnedLine};
use weir_model::time::TimeRange;

use super::super::Api;
use super::super::params::HOUR;
use super::WeirError;

/// The label in which streams of one container differ.
const STREAM: &str = "stream";

/// Neighbours lie within so long of the line: a day.
const WITHIN: i64 = 24 * HOUR;

/// Up to `context` lines before and as many behind the line, which is among them; none where there is no such line.
pub(super) fn of_container(
    api: &Api,
    scope: &Scope,
    (id, context): (LineId, usize),
    budget: &RequestBudget,
) -> Result<Covered<Vec<OwnedLine>>, WeirError> {
    let mut found = api.logs.line(scope, id, 0, budget)?;
    let Some(own) = found.value.pop().filter(|own| own.id == id) else { return Ok(found) };
    let at = own.timestamp;
    let day = TimeRange { start: at.saturating_sub(WITHIN), end: at.saturating_add(WITHIN) };
    let Some(matchers) = matchers(api, (scope, day), &own.stream, (budget, &mut found.coverage))? else {
        // Nothing says what it belongs to: its own stream is all that is known.
        return Ok(api.logs.line(scope, id, context, budget)?);
    };
    let log = LogExpr { matchers, stages: Vec::new() };
    let mut all = vec![own];
    for (start, end, newest_first, limit) in [
        (day.start, at, true, context),
        (at, at.saturating_add(1), false, api.config.lines_max),
        (at.saturating_add(1), day.end, false, context),
    ] {
        let (scope, range) = (scope.clone(), TimeRange { start, end });
        let options = LogOptions { scope, range, limit, newest_first, detected_level: api.config.detected_level };
        let part = lines(&*api.logs, "", &log, &options, budget)?;
        all.extend(part.value.into_iter().map(|entry| entry.source));
        found.coverage.merge(part.coverage);
    }
    all.sort_by_key(|line| (line.timestamp, line.id));
    all.dedup_by_key(|line| line.id);
    let place = all.iter().position(|line| line.id == id).unwrap_or_default();
    all.truncate(place + context + 1);
    all.drain(..place.saturating_sub(context));
    Ok(Covered { value: all, coverage: found.coverage })
}

/// Of the streams that have exactly the labels of this one's container; `None` where it has none.
fn matchers(
    api: &Api,
    (scope, range): (&Scope, TimeRange),
    own: &Labels,
    (budget, coverage): (&RequestBudget, &mut Coverage),
) -> Result<Option<Vec<Matcher>>, WeirError> {
    let labels = own.iter().filter(|(name, _)| *name != STREAM);
    let matchers: Vec<Matcher> = labels.map(|(name, value)| Matcher::equal(name, value)).collect();
    if matchers.is_empty() {
        return Ok(None);
    }
    let filters = Vec::new();
    let select = LogSelect { scope: scope.clone(), matchers, range, filters, newest_first: false };
    let streams = api.logs.streams(&select, budget)?;
    coverage.merge(streams.coverage);
    // A stream with more labels is another container's, and its matchers alone do not tell.
    let names = streams.value.iter().flat_map(Labels::iter).map(|(name, _)| name);
    let others: BTreeSet<&str> = names.filter(|name| *name != STREAM && own.get(name).is_empty()).collect();
    let others = others.into_iter().map(|name| Matcher::equal(name, ""));
    Ok(Some(select.matchers.into_iter().chain(others).collect()))
}
