//! Binary operators on two numbers.

use crate::ast::BinaryOp;

/// The result, and whether a filtering comparison keeps it.
pub(super) fn apply(op: BinaryOp, a: f64, b: f64) -> (f64, bool) {
    match op {
        BinaryOp::Add => (a + b, true),
        BinaryOp::Subtract => (a - b, true),
        BinaryOp::Multiply => (a * b, true),
        BinaryOp::Divide => (a / b, true),
        BinaryOp::Modulo => (a % b, true),
        BinaryOp::Power => (a.powf(b), true),
        BinaryOp::Atan2 => (a.atan2(b), true),
        BinaryOp::Equal => (a, a == b),
        BinaryOp::NotEqual => (a, a != b),
        BinaryOp::Less => (a, a < b),
        BinaryOp::LessEqual => (a, a <= b),
        BinaryOp::Greater => (a, a > b),
        BinaryOp::GreaterEqual => (a, a >= b),
        // Sets never come here; keeping the left side is what they would mean. Trims do not come here either: numbers have no buckets.
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::TrimUpper | BinaryOp::TrimLower => (a, true),
    }
}

/// 0 or 1 for a `bool` comparison.
pub(super) fn as_bool(keep: bool) -> f64 {
    if keep { 1.0 } else { 0.0 }
}
