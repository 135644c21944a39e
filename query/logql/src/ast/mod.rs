//! The tree of a LogQL query. How it is written again: `print`.
//!
//! [`log`]: selectors and pipelines; [`metric`]: aggregations and operators.
//! Patterns of matchers and line filters are compiled already, so that a bad one has a position.

mod log;
mod metric;

pub use log::{
    CompareOp, Extraction, LINE, LabelChoice, LabelFilter, LabelFormat, LineStage, LineTest, LogExpr, Needle, Stage, StageKind,
    Unit,
};
pub use metric::{
    BinaryOp, Chain, Grouping, LabelReplace, Link, Many, Matching, RANGE_OPS, RangeAgg, RangeOp, Unwrap, VECTOR_OPS, Variants,
    VectorAgg, VectorOp,
};

#[derive(Clone, Debug)]
pub enum Expr {
    Log(LogExpr),
    /// `rate({…}[5m])`
    Range(Box<RangeAgg>),
    /// `sum by (pod) (…)`
    Vector(Box<VectorAgg>),
    /// `a + b - c …`
    Chain(Box<Chain>),
    /// `1.5`
    Number(f64),
    /// `vector(1)`
    VectorOf(f64),
    /// `label_replace(…)`
    LabelReplace(Box<LabelReplace>),
    /// `variants(a, b) of (…)`; only as a whole query.
    Variants(Box<Variants>),
}
