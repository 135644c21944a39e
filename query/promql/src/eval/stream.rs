//! Vectors as streams: rows one after the other, so that what folds them never holds all of them. What cannot be had row by row
//! is evaluated as a whole and then given.

use super::binary::Side;
use super::{ABSENT, Eval, Row, StepRange, Value, Want, is_invariant};
use weir_model::histogram::Histogram;

use crate::ast::{Chain, Expr, Kind, Type};
use crate::error::QueryError;
use crate::functions::{Body, Call};

/// Takes the rows of a vector, one after the other, each with a sample. What it leaves of a row is used again for the next.
pub(crate) type RowSink<'s, 'e> = &'s mut dyn FnMut(&mut Eval<'e>, &mut Row) -> Result<(), QueryError>;

impl<'e> Eval<'e> {
    /// Gives the rows of a vector in their order.
    pub(crate) fn each_row(&mut self, expr: &Expr, step_range: StepRange, sink: RowSink<'_, 'e>) -> Result<(), QueryError> {
        let steps = step_range.steps();
        if steps < 2 || !is_invariant(expr) {
            return self.each_row_here(expr, step_range, sink);
        }
        self.account(steps)?;
        let once = StepRange { end_ms: step_range.start_ms, ..step_range };
        self.each_row_here(expr, once, &mut |eval, row| {
            row.spread(steps);
            sink(eval, row)
        })
    }

    fn each_row_here(&mut self, expr: &Expr, step_range: StepRange, sink: RowSink<'_, 'e>) -> Result<(), QueryError> {
        self.engine.budget.check()?;
        match &expr.kind {
            Kind::Paren(inner) => self.each_row(inner, step_range, sink),
            _ if !is_stream(expr) => self.each_made(expr, step_range, sink),
            Kind::Selector(selector) => self.each_selected((selector, expr.span), step_range, Want::Values, sink),
            Kind::Unary(false, inner) => self.each_row(inner, step_range, sink),
            Kind::Unary(true, inner) => self.each_negated(inner, step_range, sink),
            Kind::Call(function, arguments) => {
                let call = Call { function, arguments, span: expr.span };
                match function.body {
                    Body::Range(kernels) => self.range_call(&call, step_range, kernels, true, sink),
                    Body::RangeNamed(kernels) => self.range_call(&call, step_range, kernels, false, sink),
                    Body::Native(kernel) => self.each_estimated(&call, step_range, kernel, sink),
                    Body::Math(kernel) | Body::Date(kernel) => self.each_applied(&arguments[0], step_range, kernel, sink),
                    Body::Special(_) => self.each_made(expr, step_range, sink),
                }
            }
            Kind::Chain(chain) => self.each_scaled(chain, step_range, sink),
            _ => self.each_made(expr, step_range, sink),
        }
    }

    fn each_negated(&mut self, expr: &Expr, step_range: StepRange, sink: RowSink<'_, 'e>) -> Result<(), QueryError> {
        self.each_row(expr, step_range, &mut |eval, row| {
            let taken = eval.negate(row)?;
            sink(eval, row)?;
            eval.give_back(taken)
        })
    }

    fn each_applied(
        &mut self,
        expr: &Expr,
        step_range: StepRange,
        kernel: fn(f64) -> f64,
        sink: RowSink<'_, 'e>,
    ) -> Result<(), QueryError> {
        self.each_row(expr, step_range, &mut |eval, row| {
            row.apply(kernel);
            if row.is_present() { sink(eval, row) } else { Ok(()) }
        })
    }

    /// `histogram_count` and its like: a number of each histogram, nothing of numbers.
    fn each_estimated(
        &mut self,
        call: &Call<'_>,
        step_range: StepRange,
        kernel: fn(&Histogram) -> f64,
        sink: RowSink<'_, 'e>,
    ) -> Result<(), QueryError> {
        let before =
            std::mem::replace(&mut self.counts_only, !matches!(call.function.name, "histogram_stddev" | "histogram_stdvar"));
        let done = self.each_row(&call.arguments[0], step_range, &mut |eval, row| {
            let histograms = std::mem::take(&mut row.histograms);
            if histograms.is_empty() {
                return Ok(());
            }
            row.values.fill(ABSENT);
            for (step, histogram) in &histograms {
                row.values[*step as usize] = kernel(histogram);
            }
            row.drop_name = true;
            sink(eval, row)
        });
        self.counts_only = before;
        done
    }

    /// The rows of a vector that is held whole.
    fn each_made(&mut self, expr: &Expr, step_range: StepRange, sink: RowSink<'_, 'e>) -> Result<(), QueryError> {
        let before = self.tally.bytes();
        let value = self.eval_whole(expr, step_range)?;
        let bytes = value.bytes();
        self.tally.settle(before.saturating_add(bytes))?;
        for mut row in value.rows()? {
            sink(self, &mut row)?;
        }
        self.give_back(bytes)
    }

    /// A chain of which one operand is a vector and all others are scalars.
    fn each_scaled(&mut self, chain: &Chain, step_range: StepRange, sink: RowSink<'_, 'e>) -> Result<(), QueryError> {
        let at = only_vector(chain).ok_or_else(|| QueryError::execution("one vector was expected"))?;
        let counts_only = self.enter_chain(chain);
        let mut left = None;
        if at > 0 {
            let mut value = self.eval(&chain.first, step_range)?;
            for link in &chain.links[..at - 1] {
                let rhs = self.eval(&link.rhs, step_range)?;
                value = self.link(link, chain.first.span.start, value, rhs, step_range)?;
            }
            left = Some((&chain.links[at - 1], value.scalars()?));
        }
        let mut rights = Vec::new();
        for link in &chain.links[at..] {
            rights.push((link, self.eval(&link.rhs, step_range)?.scalars()?));
        }
        let vector = if at == 0 { &chain.first } else { &chain.links[at - 1].rhs };
        let start = chain.first.span.start;
        self.each_row(vector, step_range, &mut |eval, row| {
            let mut taken = 0;
            let left = left.iter().map(|(link, scalars)| (link, scalars, Side::Left));
            for (link, scalars, side) in left.chain(rights.iter().map(|(link, scalars)| (link, scalars, Side::Right))) {
                let more = eval.with_scalar((link, start), row, scalars, side)?;
                // What the operator before has made is gone.
                eval.give_back(std::mem::replace(&mut taken, more))?;
            }
            if row.is_present() {
                sink(eval, row)?;
            }
            eval.give_back(taken)
        })?;
        self.counts_only = counts_only;
        Ok(())
    }

    /// The rows of a stream as a vector.
    pub(crate) fn collect(
        &mut self,
        stream: impl FnOnce(&mut Self, RowSink<'_, 'e>) -> Result<(), QueryError>,
    ) -> Result<Value, QueryError> {
        let mut rows = Vec::new();
        stream(self, &mut |eval, row| {
            eval.tally.take(row.bytes())?;
            rows.push(std::mem::take(row));
            Ok(())
        })?;
        Ok(Value::Vector(rows))
    }

    /// A vector that can be had row by row, whole.
    pub(super) fn collected(&mut self, expr: &Expr, step_range: StepRange) -> Result<Value, QueryError> {
        self.collect(|eval, sink| eval.each_row_here(expr, step_range, sink))
    }
}

/// Whether an expression's rows can be had one by one: `each_row_here` knows how.
pub(super) fn is_stream(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Selector(_) => true,
        Kind::Unary(_, inner) => inner.kind_type() == Type::Vector,
        Kind::Call(function, arguments) => match function.body {
            Body::Range(_) | Body::RangeNamed(_) | Body::Native(_) => true,
            Body::Math(_) | Body::Date(_) => !arguments.is_empty(),
            Body::Special(_) => false,
        },
        Kind::Chain(chain) => only_vector(chain).is_some(),
        _ => false,
    }
}

/// Which operand of a chain is a vector, when the others are scalars.
fn only_vector(chain: &Chain) -> Option<usize> {
    let operands = [&chain.first].into_iter().chain(chain.links.iter().map(|link| &link.rhs));
    let mut vectors = operands.enumerate().filter(|(_, operand)| operand.kind_type() == Type::Vector);
    let (at, _) = vectors.next()?;
    vectors.next().is_none().then_some(at)
}
