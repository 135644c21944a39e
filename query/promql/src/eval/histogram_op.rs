//! Binary operators of which an operand is a histogram, and the trim operators `</` and `>/`.

use std::sync::Arc;

use weir_model::histogram::{Histogram, ResetHint};

use super::binary::Side;
use super::made::Made;
use super::scalar_op::as_bool;
use super::{ABSENT, Eval, Row, is_absent};
use crate::annotations::Annotations;
use crate::ast::{BinaryOp, Link, Span};
use crate::error::QueryError;
use crate::histogram::{self, HistogramSum, Incompatible, Merged, Trim};

/// One side of an operator.
#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    Number(f64),
    Histogram(&'a Arc<Histogram>),
}

impl<'a> Operand<'a> {
    /// The histogram if there is one, else the number.
    pub(super) fn of(histogram: Option<&'a Arc<Histogram>>, number: f64) -> Self {
        histogram.map_or(Self::Number(number), Self::Histogram)
    }

    fn kind(self) -> &'static str {
        if matches!(self, Self::Number(_)) { "float" } else { "histogram" }
    }
}

/// Where notes about an operator go.
pub(super) struct OperatorNotes<'a> {
    notes: &'a mut Annotations,
    op: BinaryOp,
    span: Span,
}

impl Eval<'_> {
    /// Of an operator whose left side begins at `start`.
    pub(super) fn operator_notes(&mut self, link: &Link, start: usize) -> OperatorNotes<'_> {
        OperatorNotes { notes: &mut self.notes, op: link.op, span: Span::new(start, link.rhs.span.end) }
    }

    /// The operator on each histogram of a row and a number a step, which stands at `side`; answers the memory that was taken.
    pub(super) fn histograms_with_scalar(
        &mut self,
        (link, start): (&Link, usize),
        row: &mut Row,
        scalars: &[f64],
        side: Side,
    ) -> Result<u64, QueryError> {
        let span = Span::new(start, link.rhs.span.end);
        let mut notes = OperatorNotes { notes: &mut self.notes, op: link.op, span };
        let mut made = Made::new(&mut self.tally);
        let mut kept = Ok(());
        row.histograms.retain_mut(|(step, own)| {
            let number = scalars[*step as usize];
            let apply = || {
                let (own, number) = (Operand::Histogram(own), Operand::Number(number));
                let (a, b) = if side == Side::Left { (number, own) } else { (own, number) };
                apply(a, b, &mut notes)
            };
            match kept.is_ok().then(|| made.of(own, number, apply)) {
                Some(Ok(Some((_, keep)))) if link.returns_bool => row.values[*step as usize] = as_bool(keep),
                Some(Ok(Some((result, true)))) => {
                    *own = result;
                    return true;
                }
                Some(Err(error)) => kept = Err(error),
                _ => {}
            }
            false
        });
        kept?;
        Ok(made.bytes())
    }

    /// Every sample of a row with its sign turned; answers the memory that was taken for histograms.
    pub(super) fn negate(&mut self, row: &mut Row) -> Result<u64, QueryError> {
        let histograms = std::mem::take(&mut row.histograms);
        row.apply(|value| -value);
        row.histograms = histograms;
        let mut made = Made::new(&mut self.tally);
        for (_, own) in &mut row.histograms {
            *own = made.one(own, |own| histogram::multiplied(own, -1.0))?;
        }
        Ok(made.bytes())
    }
}

impl OperatorNotes<'_> {
    pub(super) fn incompatible(&mut self, a: Operand<'_>, b: Operand<'_>) {
        let (a, op, b) = (a.kind(), self.op.name(), b.kind());
        let message = format!("incompatible sample types encountered for binary operator {op:?}: {a} {op} {b}");
        self.notes.info(message, self.span);
    }

    fn merged(&mut self, merged: Result<Merged, Incompatible>, operation: &str) -> Option<()> {
        let Ok(merged) = merged else {
            let message = format!("incompatible bucket layout encountered for binary operator {}", self.op.name());
            self.notes.warn(message, self.span);
            return None;
        };
        self.notes.merged(merged, operation, self.span);
        Some(())
    }
}

/// The result, and whether a filtering comparison keeps it. `None`, and a note, where the operator has no meaning.
pub(super) fn apply(a: Operand<'_>, b: Operand<'_>, notes: &mut OperatorNotes<'_>) -> Option<(Arc<Histogram>, bool)> {
    let result = match (notes.op, a, b) {
        (BinaryOp::Multiply, Operand::Histogram(own), Operand::Number(factor))
        | (BinaryOp::Multiply, Operand::Number(factor), Operand::Histogram(own)) => histogram::multiplied(own, factor),
        (BinaryOp::Divide, Operand::Histogram(own), Operand::Number(divisor)) => histogram::divided(own, divisor),
        (BinaryOp::TrimUpper, Operand::Histogram(own), Operand::Number(bound)) => histogram::trimmed(own, bound, Trim::Below),
        (BinaryOp::TrimLower, Operand::Histogram(own), Operand::Number(bound)) => histogram::trimmed(own, bound, Trim::Above),
        (BinaryOp::Equal, Operand::Histogram(a), Operand::Histogram(b)) => return Some((a.clone(), histogram::equal(a, b))),
        (BinaryOp::NotEqual, Operand::Histogram(a), Operand::Histogram(b)) => return Some((a.clone(), !histogram::equal(a, b))),
        (BinaryOp::Add, Operand::Histogram(a), Operand::Histogram(b)) => {
            let mut sum = HistogramSum::new(a);
            notes.merged(sum.add(b), "addition")?;
            sum.total(None)
        }
        (BinaryOp::Subtract, Operand::Histogram(a), Operand::Histogram(b)) => {
            let mut sum = HistogramSum::new(a);
            notes.merged(sum.subtract(b), "subtraction")?;
            sum.total(Some(ResetHint::Gauge))
        }
        _ => {
            notes.incompatible(a, b);
            return None;
        }
    };
    Some((Arc::new(result), true))
}

/// Numbers have no buckets to trim: they go, with a note.
pub(super) fn trim_numbers(row: &mut Row, notes: &mut OperatorNotes<'_>) {
    if row.values.iter().any(|value| !is_absent(*value)) {
        notes.incompatible(Operand::Number(0.0), Operand::Number(0.0));
        row.values.fill(ABSENT);
    }
}
