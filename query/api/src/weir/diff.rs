//! `logs/diff`: what is new in the lines of a query, and what is gone: patterns and fields of one time or selector beside another's.

use std::collections::BTreeMap;

use axum::response::Response;
use serde_json::{Value, json};
use weir_access::Granted;
use weir_budget::RequestBudget;
use weir_logql::eval::fields::{Field, fields};
use weir_logql::eval::lines::{LogOptions, lines};
use weir_logql::eval::patterns::{self, PatternOptions};
use weir_model::scope::Scope;
use weir_model::select::{Budget, Coverage};
use weir_model::time::TimeRange;

use super::super::Api;
use super::super::params::{HOUR, Params};
use super::logs::log_query;
use super::{WeirError, answer};
use crate::call::Call;

/// Lines of each side that fields are looked for in, when nothing is said.
const FIELD_LINES_DEFAULT: usize = 1000;
/// Lines of each side that patterns are counted in: some seconds of one core.
const PATTERN_LINES_MAX: u64 = 5_000_000;

/// `query` from `start` to `end`, beside `against` (the same query, if not said) from `against_start` to `against_end`: by default the same
/// time for another query, and for the same one the time before, as long.
pub(super) async fn diff(api: Call, granted: Granted, params: Params) -> Result<Response, WeirError> {
    let work = move |api: &Api, budget: &RequestBudget| {
        let range = params.range((api.clock)(), HOUR)?;
        let query = params.get("query").unwrap_or("{}");
        let other = params.get("against").unwrap_or(query);
        let default = match other == query {
            true => TimeRange { start: range.start.saturating_sub(range.end.saturating_sub(range.start)), end: range.start },
            false => range,
        };
        let (start, end) = (params.time("against_start")?, params.time("against_end")?);
        let before = TimeRange { start: start.unwrap_or(default.start), end: end.unwrap_or(default.end) };
        if before.start >= before.end {
            return Err("parameter against_start: not before against_end".to_owned().into());
        }
        let limit = params.number("line_limit", FIELD_LINES_DEFAULT)?;
        if limit > api.config.lines_max {
            return Err(format!("parameter line_limit: {limit} is above query.lines_max ({})", api.config.lines_max).into());
        }
        // Patterns of both are made in one way, or lines that are alike would be new and gone.
        let is_by_line = |query: &str| Ok::<_, WeirError>(patterns::is_by_line(query, &log_query(Some(query))?)?);
        let by_line = is_by_line(query)? || is_by_line(other)?;
        let now = Side::of((api, &granted.scope), (query, by_line), (range, limit), budget)?;
        let then = Side::of((api, &granted.scope), (other, by_line), (before, limit), budget)?;
        let body = json!({
            "start": range.start.to_string(),
            "end": range.end.to_string(),
            "against_start": before.start.to_string(),
            "against_end": before.end.to_string(),
            "patterns": {"new": now.patterns_beyond(&then), "gone": then.patterns_beyond(&now)},
            "fields": {"new": now.fields_beyond(&then), "gone": then.fields_beyond(&now)},
        });
        let mut coverage = now.coverage;
        coverage.merge(then.coverage);
        answer(budget, &body, coverage)
    };
    api.answer(work).await
}

/// What lines of one query and time have.
struct Side {
    /// Lines by pattern and level.
    patterns: BTreeMap<(String, &'static str), u64>,
    fields: BTreeMap<String, Field>,
    coverage: Coverage,
}

impl Side {
    fn of(
        (api, scope): (&Api, &Scope),
        (query, by_line): (&str, bool),
        (range, limit): (TimeRange, usize),
        budget: &RequestBudget,
    ) -> Result<Self, WeirError> {
        let (log, detected_level) = (log_query(Some(query))?, api.config.detected_level);
        // One bucket.
        let step = range.end.saturating_sub(range.start).max(1);
        let (scope, lines_max) = (scope.clone(), PATTERN_LINES_MAX);
        let options = PatternOptions { scope: scope.clone(), range, step, detected_level, lines_max, by_line };
        let found = patterns::patterns(&*api.logs, query, &log, &options, budget)?;
        budget.reserve(found.value.iter().map(|pattern| 64 + pattern.text.len() as u64).sum())?;
        let mut coverage = found.coverage;
        let counted = found.value.into_iter().map(|pattern| {
            let lines = pattern.count();
            ((pattern.text, pattern.level), lines)
        });
        let patterns = counted.collect();
        let options = LogOptions { scope, range, limit, newest_first: true, detected_level };
        let found = lines(&*api.logs, query, &log, &options, budget)?;
        coverage.merge(found.coverage);
        if found.value.len() >= limit {
            coverage.miss(format!("fields are those of the newest {limit} lines (line_limit) of each side"));
        }
        Ok(Self { patterns, fields: fields(&found.value, budget)?, coverage })
    }

    /// The most frequent first.
    fn patterns_beyond(&self, other: &Self) -> Vec<Value> {
        let mut own: Vec<_> = self.patterns.iter().filter(|(key, _)| !other.patterns.contains_key(key)).collect();
        own.sort_by_key(|(_, lines)| std::cmp::Reverse(**lines));
        own.into_iter().map(|((text, level), lines)| json!({"pattern": text, "level": level, "lines": lines})).collect()
    }

    fn fields_beyond(&self, other: &Self) -> Vec<Value> {
        let own = self.fields.iter().filter(|(name, _)| !other.fields.contains_key(*name));
        let shape = |(name, field): (&String, &Field)| json!({"label": name, "type": field.kind.name(), "cardinality": field.values.len(), "parsers": field.parsers});
        own.map(shape).collect()
    }
}
