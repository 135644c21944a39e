//! The functions of PromQL: one table, one idea a file.

mod absent;
mod aggregates;
mod date;
mod histogram;
mod labels;
mod math;
mod mixed;
mod mixed_edges;
mod mixed_points;
mod mixed_rate;
mod over_time;
mod rate;
mod rate_steps;
mod regression;
mod scalars;
mod series;
pub(crate) mod sums;

pub(crate) use aggregates::{Coarse, coarse};
pub(crate) use mixed::{Aside, Outcome};
pub(crate) use mixed_edges::interpolated;
pub(crate) use over_time::quantile;
pub(crate) use rate_steps::{Change, Stretch, fill as fill_changes};
pub(crate) use series::by_value;

use std::sync::Arc;

use weir_model::histogram::Histogram;

use super::ast::{Expr, Span, Type};
use super::error::QueryError;
use super::eval::{Eval, StepRange, Value};
use super::histogram::variance;
use rate::Reading;

/// A function's signature and body.
#[derive(Debug)]
pub struct Function {
    /// As written.
    pub name: &'static str,
    /// Types of the arguments; the last one's holds for all further ones.
    pub args: &'static [Type],
    /// How many further arguments than `args.len() - 1` there may be; −1 for any number, 0 for exactly `args`.
    pub variadic: i8,
    /// What it gives.
    pub returns: Type,
    pub(crate) body: Body,
}

/// The samples of one series in one window, oldest first, without staleness markers.
pub(crate) struct Window<'a> {
    /// Of numbers, milliseconds.
    pub times: &'a [i64],
    /// As many.
    pub values: &'a [f64],
    /// Since when each counts, milliseconds, 0 where that is unknown; as many, or none.
    pub starts: &'a [i64],
    /// Samples that are histograms, with their times.
    pub histograms: &'a [(i64, Arc<Histogram>)],
    /// As `starts`, of histograms.
    pub histogram_starts: &'a [i64],
    /// Exclusive.
    pub start_ms: i64,
    /// Inclusive.
    pub end_ms: i64,
    /// Scalar arguments at this step, in order.
    pub params: [f64; 2],
    /// The step itself (`end_ms` lacks offset and `@`).
    pub step_ms: i64,
    /// How the window's edges are treated.
    pub edge: super::ast::Edge,
}

impl Window<'_> {
    /// The window's width in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.end_ms.saturating_sub(self.start_ms) as f64 / 1000.0
    }
}

/// A call being evaluated.
pub(crate) struct Call<'a> {
    pub function: &'static Function,
    pub arguments: &'a [Expr],
    pub span: Span,
}

type Special = fn(&mut Eval<'_>, &Call<'_>, StepRange) -> Result<Value, QueryError>;

/// How a function computes.
#[derive(Debug)]
pub(crate) enum Body {
    /// Window to sample, per series and step.
    Range(Kernels),
    /// The same, and the metric name stays.
    RangeNamed(Kernels),
    /// Histogram to number.
    Native(fn(&Histogram) -> f64),
    /// Number to number.
    Math(fn(f64) -> f64),
    /// Unix seconds to a part of the date; `time()` when called without an argument.
    Date(fn(f64) -> f64),
    /// Anything else.
    Special(Special),
}

/// A function over windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernels {
    /// Of numbers alone, at least one.
    pub numbers: fn(&Window<'_>) -> Option<f64>,
    /// Of windows of series that have histograms, or start timestamps and [`Function::uses_starts`]; at least one sample.
    pub mixed: Mixed,
    /// Says the same as `numbers` of plain windows, of all of a series at once.
    pub change: Option<Change>,
}

type Mixed = fn(&Window<'_>, &mut Aside<'_>) -> Option<Outcome>;

impl Function {
    /// By name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|function| function.name == name)
    }

    /// All of them, by name.
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// The least and greatest number of arguments.
    pub fn arity(&self) -> (usize, usize) {
        let fixed = self.args.len();
        match self.variadic {
            0 => (fixed, fixed),
            more if more > 0 => (fixed - 1, fixed - 1 + more.unsigned_abs() as usize),
            _ => (fixed - 1, usize::MAX),
        }
    }

    /// Whether samples that say since when they count make a difference.
    pub(crate) fn uses_starts(&self) -> bool {
        matches!(self.name, "rate" | "irate" | "increase" | "resets")
    }

    /// Whether the answer depends on the step even when no argument does.
    pub(crate) fn depends_on_time(&self) -> bool {
        matches!(self.body, Body::Date(_)) || matches!(self.name, "predict_linear" | "time" | "timestamp")
    }
}

const fn function(name: &'static str, args: &'static [Type], variadic: i8, returns: Type, body: Body) -> Function {
    Function { name, args, variadic, returns, body }
}

const fn range(name: &'static str, numbers: fn(&Window<'_>) -> Option<f64>, mixed: Mixed) -> Function {
    function(name, &[Type::Matrix], 0, Type::Vector, Body::Range(Kernels { numbers, mixed, change: None }))
}

/// Of which the metric name stays.
const fn named(name: &'static str, numbers: fn(&Window<'_>) -> Option<f64>, mixed: Mixed) -> Function {
    function(name, &[Type::Matrix], 0, Type::Vector, Body::RangeNamed(Kernels { numbers, mixed, change: None }))
}

/// Of the change over a window.
const fn change(
    name: &'static str,
    numbers: fn(&Window<'_>) -> Option<f64>,
    mixed: Mixed,
    (reading, per_second): (Reading, bool),
) -> Function {
    let kernels = Kernels { numbers, mixed, change: Some(Change { reading, per_second }) };
    function(name, &[Type::Matrix], 0, Type::Vector, Body::Range(kernels))
}

/// Over windows, of numbers alone.
const fn numbers(name: &'static str, args: &'static [Type], numbers: fn(&Window<'_>) -> Option<f64>) -> Function {
    function(name, args, 0, Type::Vector, Body::Range(Kernels { numbers, mixed: mixed::numbers_only, change: None }))
}

const fn math(name: &'static str, kernel: fn(f64) -> f64) -> Function {
    function(name, &[Type::Vector], 0, Type::Vector, Body::Math(kernel))
}

const fn date(name: &'static str, kernel: fn(f64) -> f64) -> Function {
    function(name, &[Type::Vector], 1, Type::Vector, Body::Date(kernel))
}

const fn native(name: &'static str, kernel: fn(&Histogram) -> f64) -> Function {
    function(name, &[Type::Vector], 0, Type::Vector, Body::Native(kernel))
}

const fn special(name: &'static str, args: &'static [Type], variadic: i8, returns: Type, body: Special) -> Function {
    function(name, args, variadic, returns, Body::Special(body))
}

const V: Type = Type::Vector;
const M: Type = Type::Matrix;
const S: Type = Type::Scalar;
const T: Type = Type::String;

static ALL: [Function; 90] = [
    math("abs", f64::abs),
    special("absent", &[V], 0, V, absent::absent),
    special("absent_over_time", &[M], 0, V, absent::absent_over_time),
    math("acos", f64::acos),
    math("acosh", f64::acosh),
    math("asin", f64::asin),
    math("asinh", f64::asinh),
    math("atan", f64::atan),
    math("atanh", f64::atanh),
    range("avg_over_time", over_time::avg, mixed::avg),
    math("ceil", f64::ceil),
    range("changes", rate::changes, mixed_points::changes),
    special("clamp", &[V, S, S], 0, V, scalars::clamp),
    special("clamp_max", &[V, S], 0, V, scalars::clamp),
    special("clamp_min", &[V, S], 0, V, scalars::clamp),
    math("cos", f64::cos),
    math("cosh", f64::cosh),
    range("count_over_time", over_time::count, mixed::count),
    date("day_of_month", date::day_of_month),
    date("day_of_week", date::day_of_week),
    date("day_of_year", date::day_of_year),
    date("days_in_month", date::days_in_month),
    math("deg", f64::to_degrees),
    change("delta", rate::delta, mixed_rate::delta, (Reading::Gauge, false)),
    numbers("deriv", &[M], regression::deriv),
    numbers("double_exponential_smoothing", &[M, S, S], regression::smoothing),
    special("end", &[], 0, S, scalars::bounds),
    math("exp", f64::exp),
    named("first_over_time", over_time::first, mixed::first),
    math("floor", f64::floor),
    native("histogram_avg", |own| own.sum / own.count),
    native("histogram_count", |own| own.count),
    special("histogram_fraction", &[S, S, V], 0, V, histogram::fraction),
    special("histogram_quantile", &[S, V], 0, V, histogram::quantile),
    special("histogram_quantiles", &[V, T, S, S], 9, V, histogram::quantiles),
    native("histogram_stddev", |own| variance(own).sqrt()),
    native("histogram_stdvar", variance),
    native("histogram_sum", |own| own.sum),
    date("hour", date::hour),
    range("idelta", rate::idelta, mixed_points::idelta),
    change("increase", rate::increase, mixed_rate::increase, (Reading::Counter, false)),
    special("info", &[V, V], 1, V, |eval, call, step_range| eval.info(call, step_range)),
    range("irate", rate::irate, mixed_points::irate),
    special("label_join", &[V, T, T, T], -1, V, labels::join),
    special("label_replace", &[V, T, T, T, T], 0, V, labels::replace),
    named("last_over_time", over_time::last, mixed::last),
    math("ln", f64::ln),
    math("log10", f64::log10),
    math("log2", f64::log2),
    numbers("mad_over_time", &[M], over_time::mad),
    special("max_of", &[S, S], 0, S, scalars::extreme),
    numbers("max_over_time", &[M], over_time::max),
    special("min_of", &[S, S], 0, S, scalars::extreme),
    numbers("min_over_time", &[M], over_time::min),
    date("minute", date::minute),
    date("month", date::month),
    special("pi", &[], 0, S, scalars::pi),
    numbers("predict_linear", &[M, S], regression::predict_linear),
    range("present_over_time", over_time::present, mixed::present),
    numbers("quantile_over_time", &[S, M], over_time::quantile_over_time),
    math("rad", f64::to_radians),
    special("range", &[], 0, S, scalars::bounds),
    change("rate", rate::rate, mixed_rate::rate, (Reading::Counter, true)),
    range("resets", rate::resets, mixed_points::resets),
    special("round", &[V, S], 1, V, scalars::round),
    special("scalar", &[V], 0, S, scalars::scalar),
    math("sgn", math::sgn),
    math("sin", f64::sin),
    math("sinh", f64::sinh),
    special("sort", &[V], 0, V, series::sort),
    special("sort_by_label", &[V, T], -1, V, series::sort_by_label),
    special("sort_by_label_desc", &[V, T], -1, V, series::sort_by_label),
    special("sort_desc", &[V], 0, V, series::sort),
    math("sqrt", f64::sqrt),
    special("start", &[], 0, S, scalars::bounds),
    special("start_timestamp", &[V], 0, V, series::start_timestamp),
    numbers("stddev_over_time", &[M], over_time::stddev),
    numbers("stdvar_over_time", &[M], over_time::stdvar),
    special("step", &[], 0, S, scalars::bounds),
    range("sum_over_time", over_time::sum, mixed::sum),
    math("tan", f64::tan),
    math("tanh", f64::tanh),
    special("time", &[], 0, S, scalars::time),
    special("timestamp", &[V], 0, V, series::timestamp),
    range("ts_of_first_over_time", over_time::time_of_first, mixed::time_of_first),
    range("ts_of_last_over_time", over_time::time_of_last, mixed::time_of_last),
    numbers("ts_of_max_over_time", &[M], over_time::time_of_max),
    numbers("ts_of_min_over_time", &[M], over_time::time_of_min),
    special("vector", &[S], 0, V, scalars::vector),
    date("year", date::year),
];
