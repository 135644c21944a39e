//! The tree of a query. Made by `parse`, read by `eval` and `print`.

use weir_model::label::Matcher;

use super::functions::Function;

pub use super::operators::{AggregateOp, BinaryOp};

/// Bytes `[start, end)` of the query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Inclusive.
    pub start: usize,
    /// Exclusive.
    pub end: usize,
}

impl Span {
    /// Bytes `[start, end)`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// One number a step.
    Scalar,
    /// A string.
    String,
    /// Series with at most one sample a step.
    Vector,
    /// Series with a window of samples a step.
    Matrix,
}

impl Type {
    /// As Prometheus' messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

/// A node and where it stands.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Span,
}

/// What a node is. Small, since parser and evaluator hold several a frame and recurse.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A float literal; `true` when it was written as a duration (`5m` = 300).
    Number(f64, bool),
    /// A string literal.
    String(String),
    /// `name{matchers} offset … @ …`
    Selector(Box<Selector>),
    /// `selector[range]`
    Range(Box<RangeSelector>),
    /// `expr[range:step] offset … @ …`
    Subquery(Box<Subquery>),
    /// `function(arguments)`
    Call(&'static Function, Vec<Expr>),
    /// `sum by (…) (expr)`
    Aggregate(Box<Aggregate>),
    /// `first op rhs op rhs …`
    Chain(Box<Chain>),
    /// `-expr` (true) or `+expr`
    Unary(bool, Box<Expr>),
    /// `(expr)`
    Paren(Box<Expr>),
}

/// `offset` and `@` of a selector or subquery.
#[derive(Clone, Debug, Default)]
pub struct Modifiers {
    /// How far back.
    pub offset: Option<Duration>,
    /// At which time instead of the step's.
    pub at: Option<At>,
}

/// `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the Unix epoch.
    Time(i64),
    /// The query's start.
    Start,
    /// The query's end.
    End,
}

/// An instant selector.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The name before the braces, "" if none. It is among the matchers, first.
    pub name: String,
    /// All must pass.
    pub matchers: Vec<Matcher>,
    /// `offset` and `@`.
    pub modifiers: Modifiers,
    /// `smoothed`: interpolated between the neighbouring samples.
    pub smoothed: bool,
}

/// How the edges of a window are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// `(T − range, T]`
    Plain,
    /// `anchored`: the last sample at or before the start stands in for the start.
    Anchored,
    /// `smoothed`: interpolated at both ends.
    Smoothed,
}

/// A range selector.
#[derive(Clone, Debug)]
pub struct RangeSelector {
    /// Which series.
    pub selector: Selector,
    /// How wide the window is.
    pub range: Duration,
    /// How its edges are treated.
    pub edge: Edge,
}

/// A subquery.
#[derive(Clone, Debug)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// How wide the window is.
    pub range: Duration,
    /// How often it is evaluated within; the default interval when absent.
    pub step: Option<Duration>,
    /// `offset` and `@`.
    pub modifiers: Modifiers,
}

/// A duration, written as a literal or as arithmetic over literals, `step()` and `range()`.
#[derive(Clone, Debug)]
pub enum Duration {
    /// Milliseconds.
    Millis(i64),
    /// Any arithmetic.
    Computed(Box<DurationExpr>, Span),
}

/// Arithmetic over seconds.
#[derive(Clone, Debug)]
pub enum DurationExpr {
    /// Seconds, and whether they were written with a unit.
    Literal(f64, bool),
    /// `step()`: of the range query.
    Step,
    /// `range()`: end minus start of the range query.
    Range,
    /// `min_of(a, b)` (true: `max_of`).
    Extreme(bool, Box<DurationExpr>, Box<DurationExpr>),
    /// `-a`
    Negative(Box<DurationExpr>),
    /// `a + b - c …`: the first, then `+ - * / % ^` and what follows each, applied from left to right.
    Chain(Box<DurationExpr>, Vec<(char, DurationExpr)>),
    /// `(a)`
    Paren(Box<DurationExpr>),
}

/// An aggregation.
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// Over what.
    pub expr: Expr,
    /// `topk(param, …)`
    pub param: Option<Expr>,
    /// `by` or `without` these.
    pub grouping: Vec<String>,
    /// `without`.
    pub without: bool,
}

/// Which side may have several series for one match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are PromQL's")]
pub enum Cardinality {
    OneToOne,
    ManyToOne,
    OneToMany,
    ManyToMany,
}

/// `on`, `ignoring`, `group_left`, `group_right`, `fill`.
#[derive(Clone, Debug)]
pub struct Matching {
    /// Which side may have several series for one match.
    pub cardinality: Cardinality,
    /// Names after `on` or `ignoring`.
    pub labels: Vec<String>,
    /// `on` instead of `ignoring`.
    pub on: bool,
    /// Names after `group_left` or `group_right`: copied from the one side.
    pub include: Vec<String>,
    /// Stands in for an absent left sample.
    pub fill_left: Option<f64>,
    /// Stands in for an absent right sample.
    pub fill_right: Option<f64>,
}

/// Binary operators applied from left to right: `a * b + c ^ d` is `a`, then `* b`, then `+ (c ^ d)`.
///
/// A list instead of nested pairs, because what is nested is walked (checked, evaluated, printed, dropped) by recursion:
/// thousands of operators in a row would end the stack. Nesting itself is bounded by the parser.
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
    /// Which.
    pub op: BinaryOp,
    /// Right.
    pub rhs: Expr,
    /// `bool`: a comparison gives 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// How series find each other.
    pub matching: Matching,
    /// Where the operator stands.
    pub op_span: Span,
}

impl Expr {
    /// What it evaluates to. Arguments are assumed checked.
    pub fn kind_type(&self) -> Type {
        match &self.kind {
            Kind::Number(..) => Type::Scalar,
            Kind::String(_) => Type::String,
            Kind::Selector(_) | Kind::Aggregate(_) => Type::Vector,
            Kind::Range(_) | Kind::Subquery(_) => Type::Matrix,
            Kind::Call(function, _) => function.returns,
            Kind::Unary(_, expr) | Kind::Paren(expr) => expr.kind_type(),
            Kind::Chain(chain) => {
                let mut operands = [&chain.first].into_iter().chain(chain.links.iter().map(|link| &link.rhs));
                if operands.all(|operand| operand.kind_type() == Type::Scalar) { Type::Scalar } else { Type::Vector }
            }
        }
    }

    /// The expression inside any parentheses.
    pub fn bare(&self) -> &Self {
        match &self.kind {
            Kind::Paren(inner) => inner.bare(),
            _ => self,
        }
    }

    /// Direct children.
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Number(..) | Kind::String(_) | Kind::Selector(_) | Kind::Range(_) => Vec::new(),
            Kind::Subquery(subquery) => vec![&subquery.expr],
            Kind::Call(_, arguments) => arguments.iter().collect(),
            Kind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
            Kind::Chain(chain) => [&chain.first].into_iter().chain(chain.links.iter().map(|link| &link.rhs)).collect(),
            Kind::Unary(_, inner) | Kind::Paren(inner) => vec![inner],
        }
    }
}
