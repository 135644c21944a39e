//! Durations that are arithmetic, computed once the query's step and range are known.

use super::Eval;
use crate::ast::{Duration, DurationExpr};
use crate::error::QueryError;
use crate::parse::DURATION_MS_MAX;

impl Eval<'_> {
    /// Milliseconds.
    pub(super) fn duration(&self, duration: &Duration) -> Result<i64, QueryError> {
        let expr = match duration {
            Duration::Millis(millis) => return Ok(*millis),
            Duration::Computed(expr, _) => expr,
        };
        let millis = (self.seconds(expr)? * 1000.0).round();
        if millis.is_nan() || millis.abs() > DURATION_MS_MAX {
            return Err(QueryError::execution("duration out of range"));
        }
        Ok(millis as i64)
    }

    /// The same, and above zero.
    pub(super) fn positive_duration(&self, duration: &Duration) -> Result<i64, QueryError> {
        let millis = self.duration(duration)?;
        if millis > 0 { Ok(millis) } else { Err(QueryError::execution("duration must be greater than 0")) }
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, QueryError> {
        Ok(match expr {
            DurationExpr::Literal(seconds, _) => *seconds,
            DurationExpr::Step if self.instant => 0.0,
            DurationExpr::Step => self.whole.step_ms as f64 / 1000.0,
            DurationExpr::Range => (self.whole.end_ms - self.whole.start_ms) as f64 / 1000.0,
            DurationExpr::Extreme(max, a, b) => {
                let (a, b) = (self.seconds(a)?, self.seconds(b)?);
                if *max { a.max(b) } else { a.min(b) }
            }
            DurationExpr::Negative(inner) => -self.seconds(inner)?,
            DurationExpr::Paren(inner) => self.seconds(inner)?,
            DurationExpr::Chain(first, links) => {
                let mut left = self.seconds(first)?;
                for (operator, right) in links {
                    left = apply(*operator, left, self.seconds(right)?)?;
                }
                left
            }
        })
    }
}

fn apply(operator: char, left: f64, right: f64) -> Result<f64, QueryError> {
    Ok(match operator {
        '+' => left + right,
        '-' => left - right,
        '*' => left * right,
        '/' if right == 0.0 => return Err(QueryError::execution("division by zero in a duration")),
        '%' if right == 0.0 => return Err(QueryError::execution("modulo by zero in a duration")),
        '/' => left / right,
        '%' => left % right,
        _ => left.powf(right),
    })
}
