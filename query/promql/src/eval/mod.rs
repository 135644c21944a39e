//! Evaluation, series by series: `select` reads, `window` slides, `stream` passes rows on, `binary` and `aggregate` combine,
//! `finish` answers. Of the samples one series is held at a time; of rows, those that an operator needs at once.
//!
//! An instant query is a range query of one step. A vector is a list of rows; a row has one value a step, and
//! [`ABSENT`] where it has none. Metric names are dropped at the very end, as Prometheus 3 does: until then a row only
//! remembers that its name shall go.

mod aggregate;
mod aggregate_histograms;
mod binary;
mod binary_series;
mod binary_set;
mod coarse;
mod duration;
mod finish;
mod group_keys;
mod histogram_op;
mod info;
mod made;
mod pick;
mod present;
mod scalar_op;
mod select;
mod slide;
mod smooth;
mod steps;
mod stream;
mod sweep;
mod window;

pub(crate) use finish::join;
pub use finish::{Output, Points, Sample};
pub(crate) use select::Want;
pub(crate) use steps::{ABSENT, Row, StepRange, Value, is_absent};
pub(crate) use stream::RowSink;

use weir_model::pattern::PatternBudget;
use weir_model::scope::Scope;
use weir_model::select::Tally;
use weir_model::select::{Budget, Coverage, MetricReader};

use super::annotations::{Annotations, Level};
use super::ast::{Expr, Kind, Type};
use super::error::QueryError;
use super::functions::{Body, Call};
use super::parse::parse;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Series outside are as if they were not there.
    pub scope: Scope,
    /// PromQL.
    pub query: String,
    /// First step, Unix milliseconds.
    pub start_ms: i64,
    /// Last step at most, Unix milliseconds.
    pub end_ms: i64,
    /// Milliseconds between steps; 0 makes it an instant query at `start_ms`.
    pub step_ms: i64,
    /// How far back an instant selector looks, milliseconds.
    pub lookback_ms: i64,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The value.
    pub output: Output,
    /// What it has seen.
    pub coverage: Coverage,
    /// `PromQL warning: … (1:7)`
    pub warnings: Vec<String>,
    /// `PromQL info: … (1:7)`
    pub infos: Vec<String>,
    /// Samples read.
    pub samples: u64,
    /// The whole query's steps.
    pub steps: u64,
}

/// Evaluates queries over a reader.
pub struct Engine<'a> {
    /// Where samples come from.
    pub reader: &'a dyn MetricReader,
    /// What it may take, memory included.
    pub budget: &'a dyn Budget,
}

impl Engine<'_> {
    /// Parses and evaluates. Sync; takes as long as the budget lets it.
    pub fn query(&self, request: &Request) -> Result<Answer, QueryError> {
        let expr = parse(&request.query)?;
        self.evaluate(request, &expr)
    }

    /// Evaluates what has been parsed from `request.query`.
    pub fn evaluate(&self, request: &Request, expr: &Expr) -> Result<Answer, QueryError> {
        let instant = request.step_ms <= 0;
        let end_ms = if instant { request.start_ms } else { request.end_ms };
        let step_range = StepRange { start_ms: request.start_ms, end_ms, step_ms: request.step_ms.max(1) };
        if !instant && !matches!(expr.kind_type(), Type::Scalar | Type::Vector) {
            let got = expr.kind_type().name();
            return Err(QueryError::execution(format!(
                "invalid expression type {got:?} for range query, must be Scalar or instant Vector"
            )));
        }
        let mut eval = Eval {
            engine: self,
            request,
            whole: step_range,
            instant,
            notes: Annotations::default(),
            patterns: PatternBudget::default(),
            coverage: Coverage::default(),
            tally: Tally::new(self.budget),
            samples: 0,
            counts_only: false,
        };
        let output = if expr.kind_type() == Type::Matrix {
            eval.matrix(expr, step_range)?
        } else {
            let value = eval.eval(expr, step_range)?;
            // Points have their times beside them, and are there before the rows are gone.
            eval.tally.take(value.bytes().saturating_mul(2))?;
            finish::output(value, step_range, instant)?
        };
        Ok(Answer {
            output,
            warnings: eval.notes.texts(Level::Warning, &request.query),
            infos: eval.notes.texts(Level::Info, &request.query),
            coverage: eval.coverage,
            samples: eval.samples,
            steps: step_range.steps() as u64,
        })
    }
}

/// One evaluation under way.
pub(crate) struct Eval<'a> {
    engine: &'a Engine<'a>,
    request: &'a Request,
    /// Of the whole query, for `start()`, `@ start()`, `step()` and so on.
    pub whole: StepRange,
    pub instant: bool,
    pub notes: Annotations,
    /// What the patterns of functions take.
    pub patterns: PatternBudget,
    coverage: Coverage,
    /// What is held: the values of all expressions that wait for their operator, and what is being made.
    tally: Tally<'a>,
    samples: u64,
    /// Within `histogram_count` and its like: hints of histograms are then made by comparing, as Prometheus does where it skips
    /// buckets.
    pub counts_only: bool,
}

impl Eval<'_> {
    /// The value of an expression on a step_range.
    pub fn eval(&mut self, expr: &Expr, step_range: StepRange) -> Result<Value, QueryError> {
        let before = self.tally.bytes();
        let value = self.eval_once(expr, step_range)?;
        // Whatever else was made on the way is gone.
        self.tally.settle(before.saturating_add(value.bytes()))?;
        Ok(value)
    }

    fn eval_once(&mut self, expr: &Expr, step_range: StepRange) -> Result<Value, QueryError> {
        if step_range.steps() > 1 && is_invariant(expr) {
            let once = StepRange { end_ms: step_range.start_ms, ..step_range };
            let value = self.eval_here(expr, once)?;
            self.tally.take(value.bytes().saturating_mul(step_range.steps() as u64))?;
            return Ok(value.broadcast(step_range.steps()));
        }
        self.eval_here(expr, step_range)
    }

    fn eval_here(&mut self, expr: &Expr, step_range: StepRange) -> Result<Value, QueryError> {
        if stream::is_stream(expr) { self.collected(expr, step_range) } else { self.eval_whole(expr, step_range) }
    }

    /// The value of what is no stream.
    fn eval_whole(&mut self, expr: &Expr, step_range: StepRange) -> Result<Value, QueryError> {
        self.engine.budget.check()?;
        match &expr.kind {
            Kind::Number(value, _) => {
                self.account(step_range.steps())?;
                Ok(Value::Scalar(vec![*value; step_range.steps()]))
            }
            Kind::String(text) => Ok(Value::Text(text.clone())),
            Kind::Paren(inner) => self.eval(inner, step_range),
            Kind::Call(function, arguments) => self.call(&Call { function, arguments, span: expr.span }, step_range),
            Kind::Unary(negative, inner) => {
                let mut values = self.eval(inner, step_range)?.scalars()?;
                values.iter_mut().filter(|_| *negative).for_each(|value| *value = -*value);
                Ok(Value::Scalar(values))
            }
            Kind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span, step_range),
            Kind::Chain(chain) => self.chain(chain, step_range),
            Kind::Selector(_) | Kind::Range(_) | Kind::Subquery(_) => {
                Err(QueryError::execution("a range vector has no value of its own here"))
            }
        }
    }

    fn call(&mut self, call: &Call<'_>, step_range: StepRange) -> Result<Value, QueryError> {
        match call.function.body {
            Body::Special(body) => body(self, call, step_range),
            // Without an argument: of the time. All others are streams.
            Body::Date(kernel) => {
                let mut row = Row { values: step_range.times().map(|at| at as f64 / 1000.0).collect(), ..Row::default() };
                row.apply(kernel);
                Ok(Value::Vector(vec![row]))
            }
            Body::Range(_) | Body::RangeNamed(_) | Body::Math(_) | Body::Native(_) => {
                Err(QueryError::execution("a vector was expected"))
            }
        }
    }

    /// The value of an argument.
    pub fn argument(&mut self, call: &Call<'_>, i: usize, step_range: StepRange) -> Result<Value, QueryError> {
        let argument = call
            .arguments
            .get(i)
            .ok_or_else(|| QueryError::execution(format!("call to {:?} lacks argument {}", call.function.name, i + 1)))?;
        self.eval(argument, step_range)
    }

    /// Gives back what was taken for a row that its sink has had; what the sink has taken stays.
    fn give_back(&mut self, bytes: u64) -> Result<(), QueryError> {
        Ok(self.tally.settle(self.tally.bytes().saturating_sub(bytes))?)
    }

    /// Reserves memory for values about to be made, 8 bytes each; errors when the query may not hold so many.
    pub fn account(&mut self, cells: usize) -> Result<(), QueryError> {
        self.tally.take((cells as u64).saturating_mul(8))?;
        self.engine.budget.check()?;
        Ok(())
    }
}

/// Whether an expression has the same value at each step, whatever the step.
fn is_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Selector(selector) => selector.modifiers.at.is_some(),
        Kind::Range(range) => range.selector.modifiers.at.is_some(),
        Kind::Subquery(subquery) => subquery.modifiers.at.is_some(),
        // Cheaper to write than to broadcast.
        Kind::Number(..) | Kind::String(_) => false,
        Kind::Call(function, _) if function.depends_on_time() => false,
        Kind::Call(_, arguments) if arguments.is_empty() => false,
        _ => expr
            .children()
            .into_iter()
            .all(|child| matches!(child.kind, Kind::Number(..) | Kind::String(_)) || is_invariant(child)),
    }
}
