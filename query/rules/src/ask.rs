//! The expression of a rule: PromQL over the tenant's series, or LogQL over its lines. Parsed when the file is read, asked at an instant.

use std::sync::Arc;
use std::time::Duration;

use weir_budget::{RequestBudget, millis};
use weir_logql::eval::metric::{MetricOptions, metric};
use weir_logql::eval::{Steps, Value};
use weir_model::label::Labels;
use weir_model::scope::Scope;
use weir_promql::{Engine, Output, Request};

use super::evaluate::{Made, RuleDeps};

/// What the expressions of a file are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleLanguage {
    #[default]
    PromQl,
    LogQl,
}

/// Parsed.
#[derive(Clone, Debug)]
pub(super) enum RuleQuery {
    PromQl(weir_promql::ast::Expr),
    LogQl(weir_logql::Expr),
}

impl RuleQuery {
    pub fn parse(text: &str, language: RuleLanguage) -> Result<Self, String> {
        match language {
            RuleLanguage::PromQl => weir_promql::parse::parse(text).map(Self::PromQl).map_err(|error| error.to_string()),
            RuleLanguage::LogQl => match weir_logql::parse(text).map_err(|error| error.to_string())? {
                weir_logql::Expr::Log(_) => Err("a log query is no number: put it into count_over_time(… [5m]) or rate".into()),
                expr => Ok(Self::LogQl(expr)),
            },
        }
    }

    /// Asks for a tenant, with a fresh budget, and gives a vector. `text`: what was parsed.
    pub fn ask(&self, (deps, tenant): (&RuleDeps, &Arc<str>), text: &str, at_ms: i64) -> Result<Vec<Made>, String> {
        let (mut budget, _guard) = RequestBudget::new(&deps.query, &deps.load, std::slice::from_ref(tenant));
        budget.begin(Duration::ZERO);
        let scope = Scope::of(tenant);
        match self {
            Self::PromQl(expr) => {
                let engine = Engine { reader: &*deps.reader, budget: &budget };
                let lookback_ms = millis(deps.query.lookback);
                let query = text.to_owned();
                let request = Request { scope, query, start_ms: at_ms, end_ms: at_ms, step_ms: 0, lookback_ms };
                match engine.evaluate(&request, expr).map_err(|error| error.to_string())?.output {
                    Output::Vector(samples) => {
                        Ok(samples.into_iter().map(|sample| (sample.labels, sample.value, sample.histogram)).collect())
                    }
                    Output::Scalar(value) => Ok(vec![(Labels::EMPTY, value, None)]),
                    _ => Err("rule result is not a vector or scalar".into()),
                }
            }
            Self::LogQl(expr) => {
                let (detected_level, series_max) = (deps.query.detected_level, deps.query.series_max);
                let steps = Steps::instant(at_ms.saturating_mul(1_000_000));
                let options = MetricOptions { scope, steps, detected_level, series_max };
                let answer = metric(&*deps.logs, text, expr, &options, &budget).map_err(|error| error.to_string())?;
                Ok(match answer.value {
                    Value::Scalar(value) => vec![(Labels::EMPTY, value, None)],
                    Value::Vector(series) => {
                        let point = |series: weir_logql::eval::Series| {
                            let value = series.points.first().copied().flatten()?;
                            Some((Labels::from_pairs(series.labels.iter()), value, None))
                        };
                        series.into_iter().filter_map(point).collect()
                    }
                })
            }
        }
    }
}
