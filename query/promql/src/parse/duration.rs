//! Durations: a literal, or arithmetic over literals, `step()` and `range()`.

use super::Parser;
use crate::ast::{Duration, DurationExpr, Span};
use crate::error::ParseError;
use crate::lex::Tok;

/// What an i64 of nanoseconds holds: more is none of Prometheus' durations.
const LITERAL_SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;

/// Where a duration stands, and what may stand there, in Prometheus' words.
#[derive(Clone, Copy)]
pub(super) struct Context(&'static str, &'static str);

pub(super) const IN_RANGE: Context = Context("in subquery or range selector", "number, duration, step(), or range()");
pub(super) const IN_STEP: Context = Context("in subquery selector", "number, duration, step(), range(), or \"]\"");
pub(super) const IN_OFFSET: Context = Context("in offset", "number, duration, step(), or range()");

impl Parser<'_> {
    /// Any arithmetic, as brackets hold it.
    pub(super) fn duration(&mut self, context: Context) -> Result<Duration, ParseError> {
        let start = self.span().start;
        let expr = self.duration_expr(0, context)?;
        self.settle(expr, start)
    }

    /// One operand, as `offset` takes it: `offset 5m + 1` is `(… offset 5m) + 1`.
    pub(super) fn duration_operand(&mut self, context: Context) -> Result<Duration, ParseError> {
        let start = self.span().start;
        let expr = self.duration_primary(context)?;
        self.settle(expr, start)
    }

    fn settle(&self, expr: DurationExpr, start: usize) -> Result<Duration, ParseError> {
        let seconds = match &expr {
            DurationExpr::Literal(seconds, _) => Some(*seconds),
            DurationExpr::Negative(inner) => match **inner {
                DurationExpr::Literal(seconds, _) => Some(-seconds),
                _ => None,
            },
            _ => None,
        };
        match seconds {
            Some(seconds) if seconds.abs() <= LITERAL_SECONDS_MAX => Ok(Duration::Millis((seconds * 1000.0).round() as i64)),
            Some(_) => Err(ParseError::at(self.text, start, "duration out of range".into())),
            None => Ok(Duration::Computed(Box::new(expr), Span::new(start, self.end()))),
        }
    }

    fn duration_expr(&mut self, power_min: u8, context: Context) -> Result<DurationExpr, ParseError> {
        self.deeper()?;
        let first = match self.peek() {
            Tok::Op("-" | "+") => self.signed(3, context)?,
            _ => self.duration_primary(context)?,
        };
        let mut links = Vec::new();
        while let Tok::Op(operator @ ("+" | "-" | "*" | "/" | "%" | "^")) = *self.peek() {
            let power = match operator {
                "+" | "-" => 1,
                "^" => 3,
                _ => 2,
            };
            if power < power_min {
                break;
            }
            self.advance();
            let rhs = self.duration_expr(if operator == "^" { power } else { power + 1 }, context)?;
            links.push((operator.chars().next().unwrap_or('+'), rhs));
        }
        self.depth -= 1;
        Ok(if links.is_empty() { first } else { DurationExpr::Chain(Box::new(first), links) })
    }

    fn signed(&mut self, power: u8, context: Context) -> Result<DurationExpr, ParseError> {
        let negative = self.eat("-") || !self.eat("+");
        let inner = self.duration_expr(power, context)?;
        Ok(if negative { DurationExpr::Negative(Box::new(inner)) } else { inner })
    }

    fn duration_primary(&mut self, context: Context) -> Result<DurationExpr, ParseError> {
        self.deeper()?;
        let expr = match self.peek().clone() {
            Tok::Number(seconds) => {
                self.advance();
                DurationExpr::Literal(seconds, false)
            }
            Tok::Duration(millis) => {
                self.advance();
                DurationExpr::Literal(millis as f64 / 1000.0, true)
            }
            Tok::Op("-") => {
                self.advance();
                DurationExpr::Negative(Box::new(self.duration_primary(context)?))
            }
            Tok::Op("+") => {
                self.advance();
                self.duration_primary(context)?
            }
            Tok::Op("(") => {
                self.advance();
                let inner = self.duration_expr(0, context)?;
                self.expect(")", context.0)?;
                DurationExpr::Paren(Box::new(inner))
            }
            Tok::Ident(word) if self.peek_second() == &Tok::Op("(") => self.duration_call(&word.to_ascii_lowercase(), context)?,
            _ => return Err(self.unexpected(context.0, context.1)),
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn duration_call(&mut self, name: &str, context: Context) -> Result<DurationExpr, ParseError> {
        if !matches!(name, "step" | "range" | "min_of" | "max_of") {
            return Err(self.unexpected(context.0, context.1));
        }
        self.advance();
        self.expect("(", context.0)?;
        let expr = match name {
            "step" => DurationExpr::Step,
            "range" => DurationExpr::Range,
            _ => {
                let first = self.duration_expr(0, context)?;
                self.expect(",", context.0)?;
                DurationExpr::Extreme(name == "max_of", Box::new(first), Box::new(self.duration_expr(0, context)?))
            }
        };
        self.expect(")", context.0)?;
        Ok(expr)
    }
}
