//! Range and vector aggregations, operators and functions.

use weir_model::label::Matcher;

use super::{CompareOp, Expr, LabelFilter, LogExpr, Unit};

/// What is computed over a range of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOp {
    Count,
    Rate,
    Bytes,
    BytesRate,
    Absent,
    RateCounter,
    Sum,
    Avg,
    Min,
    Max,
    Stddev,
    Stdvar,
    Quantile,
    First,
    Last,
}

/// Names of [`RangeOp`].
pub const RANGE_OPS: [(&str, RangeOp); 15] = [
    ("count_over_time", RangeOp::Count),
    ("rate", RangeOp::Rate),
    ("bytes_over_time", RangeOp::Bytes),
    ("bytes_rate", RangeOp::BytesRate),
    ("absent_over_time", RangeOp::Absent),
    ("rate_counter", RangeOp::RateCounter),
    ("sum_over_time", RangeOp::Sum),
    ("avg_over_time", RangeOp::Avg),
    ("min_over_time", RangeOp::Min),
    ("max_over_time", RangeOp::Max),
    ("stddev_over_time", RangeOp::Stddev),
    ("stdvar_over_time", RangeOp::Stdvar),
    ("quantile_over_time", RangeOp::Quantile),
    ("first_over_time", RangeOp::First),
    ("last_over_time", RangeOp::Last),
];

#[derive(Clone, Debug)]
pub struct RangeAgg {
    pub op: RangeOp,
    /// φ of `quantile_over_time`.
    pub parameter: Option<f64>,
    pub log: LogExpr,
    /// The label whose value is taken.
    pub unwrap: Option<Unwrap>,
    /// Nanoseconds, positive.
    pub range: i64,
    /// Nanoseconds back.
    pub offset: i64,
    /// `by`, `without`.
    pub grouping: Option<Grouping>,
}

/// `| unwrap duration(x) | filters`
#[derive(Clone, Debug)]
pub struct Unwrap {
    pub label: String,
    /// How it is read; `None` for a plain number. `Duration` gives seconds.
    pub unit: Unit,
    /// Filters after it.
    pub filters: Vec<LabelFilter>,
}

/// `by (a, b)`, `without (a)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// `without` instead of `by`.
    pub without: bool,
    pub labels: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    ApproxTopk,
    Sort,
    SortDesc,
}

/// Names of [`VectorOp`].
pub const VECTOR_OPS: [(&str, VectorOp); 12] = [
    ("sum", VectorOp::Sum),
    ("avg", VectorOp::Avg),
    ("min", VectorOp::Min),
    ("max", VectorOp::Max),
    ("count", VectorOp::Count),
    ("stddev", VectorOp::Stddev),
    ("stdvar", VectorOp::Stdvar),
    ("topk", VectorOp::Topk),
    ("bottomk", VectorOp::Bottomk),
    ("approx_topk", VectorOp::ApproxTopk),
    ("sort", VectorOp::Sort),
    ("sort_desc", VectorOp::SortDesc),
];

#[derive(Clone, Debug)]
pub struct VectorAgg {
    pub op: VectorOp,
    /// k of `topk`, `bottomk` and `approx_topk`.
    pub parameter: Option<usize>,
    /// `by`, `without`; none: one group of all.
    pub grouping: Option<Grouping>,
    pub of: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Compare(CompareOp),
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

impl BinaryOp {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Compare(op) => op.as_str(),
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Power => "^",
        }
    }
}

/// `variants(count_over_time({…}[5m]), bytes_over_time({…}[5m])) of ({…}[5m])`: several aggregations of the same lines, each of
/// whose series says in `__variant__` which one it is of.
#[derive(Clone, Debug)]
pub struct Variants {
    /// At least one, each over lines of these streams.
    pub each: Vec<Expr>,
    pub matchers: Vec<Matcher>,
    /// Nanoseconds.
    pub range: i64,
    /// Nanoseconds back.
    pub offset: i64,
}

/// Binary operators applied from left to right: `a * b + c ^ d` is `a`, then `* b`, then `+ (c ^ d)`.
///
/// A list instead of nested pairs, because what is nested is walked (evaluated, printed, dropped) by recursion: thousands of
/// operators in a row would end the stack. Nesting itself is bounded by the parser.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The leftmost operand.
    pub first: Expr,
    /// At least one.
    pub links: Vec<Link>,
}

/// A binary operator and its right side.
#[derive(Clone, Debug)]
pub struct Link {
    pub op: BinaryOp,
    /// `bool`: comparisons give 0 and 1.
    pub yields_bool: bool,
    /// How series find each other.
    pub matching: Matching,
    pub right: Expr,
}

/// How series of two sides find each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// `on (…)`: by these; else all but these.
    pub on: bool,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Which side may have many.
    pub many: Many,
    /// Labels taken over from the one side.
    pub include: Vec<String>,
}

/// Which side may have several series for one of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Many {
    #[default]
    Neither,
    /// `group_left`
    Left,
    /// `group_right`
    Right,
}

/// `label_replace(of, to, replacement, from, pattern)`
#[derive(Clone, Debug)]
pub struct LabelReplace {
    pub of: Expr,
    /// Label to set.
    pub to: String,
    /// What to, with `$1`.
    pub replacement: String,
    /// Label to read.
    pub from: String,
    /// Anchored.
    pub pattern: regex::Regex,
    pub pattern_text: String,
}
