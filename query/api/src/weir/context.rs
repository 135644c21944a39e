//! A line and its neighbours in its whole container: what came over stderr beside what came over stdout, by time.

use weir_budget::RequestBudget;
use weir_logql::LogExpr;
use weir_logql::eval::lines::{LogOptions, lines};
use weir_model::id::LineId;
use weir_model::label::Matcher;
use weir_model::scope::Scope;
use weir_model::select::{Covered, OwnedLine};
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
    let labels = own.stream.iter().filter(|(name, _)| *name != STREAM);
    let matchers: Vec<Matcher> = labels.map(|(name, value)| Matcher::equal(name, value)).collect();
    if matchers.is_empty() {
        // Nothing says what it belongs to: its own stream is all that is known.
        return Ok(api.logs.line(scope, id, context, budget)?);
    }
    let log = LogExpr { matchers, stages: Vec::new() };
    let at = own.timestamp;
    let mut all = vec![own];
    for (start, end, newest_first, limit) in [
        (at.saturating_sub(WITHIN), at, true, context),
        (at, at.saturating_add(1), false, api.config.lines_max),
        (at.saturating_add(1), at.saturating_add(WITHIN), false, context),
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
