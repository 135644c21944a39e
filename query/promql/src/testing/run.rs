//! Runs a script. Each instant eval is asked again with `@` from other times, and as the middle of a range of three.

use std::sync::Arc;

use weir_model::histogram::{Histogram, ResetHint};
use weir_model::metric::STALE_NAN;
use weir_model::select::MemoryBudget;

use super::compare::{compare, compare_error, compare_notes};
use super::script::{CommandKind, EvalCommand, Span, parse_script};
use super::series::{Line, Step};
use super::store::MemoryReader;
use crate::QueryError;
use crate::ast::{At, Expr, Kind};
use crate::eval::{Answer, Engine, Output, Request, Sample};
use crate::histogram::detect_reset;
use crate::parse::parse;

/// Prometheus' default.
const LOOKBACK_MS: i64 = 300_000;

/// What one query of a script may hold.
const MEMORY_MAX: u64 = 400 << 20;

/// What came of a script.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Evals that answered as expected.
    pub passed: usize,
    /// All others.
    pub failed: Vec<Failure>,
}

/// An eval that did not answer as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Line of the script, from 1.
    pub line: usize,
    /// What was asked.
    pub expr: String,
    /// What was wrong.
    pub why: String,
}

/// Runs a script against an empty in-memory store.
pub fn run_script(text: &str) -> Report {
    let mut report = Report::default();
    let mut store = MemoryReader::default();
    for command in parse_script(text) {
        let line = command.line;
        match command.kind {
            CommandKind::Clear => store = MemoryReader::default(),
            CommandKind::Load { step_ms, series } => load(&mut store, step_ms, &series),
            CommandKind::Broken(why) => report.failed.push(Failure { line, expr: String::new(), why }),
            CommandKind::Eval(eval) => match run(&store, &eval) {
                Ok(()) => report.passed += 1,
                Err(why) => report.failed.push(Failure { line, expr: eval.expr.clone(), why }),
            },
        }
    }
    report
}

fn load(store: &mut MemoryReader, step_ms: i64, series: &[Line]) {
    for line in series {
        let mut previous: Option<&Step> = None;
        for (i, step) in line.steps.iter().enumerate() {
            let at_ms = step_ms * i as i64;
            match step {
                Step::None => {}
                Step::Float(value) => {
                    store.push(&line.labels, at_ms, *value);
                    previous = None;
                }
                Step::Histogram(histogram, _) => {
                    let histogram = Arc::new(Histogram { reset: kept_hint(histogram, previous), ..(**histogram).clone() });
                    store.push_histogram(&line.labels, at_ms, histogram);
                    previous = Some(step);
                }
            }
            if let Some(Some(start)) = line.starts.get(i) {
                store.set_start(&line.labels, at_ms, at_ms + start);
            }
        }
    }
}

/// The hint that Prometheus' own store keeps, which the scripts count on: that counters went on is known within a chunk, that they
/// began anew is not said but found out by comparing.
fn kept_hint(histogram: &Histogram, previous: Option<&Step>) -> ResetHint {
    let Some(Step::Histogram(previous, _)) = previous else { return first_hint(histogram) };
    let same_chunk = previous.reset != ResetHint::Gauge
        && histogram.schema == previous.schema
        && histogram.zero_threshold == previous.zero_threshold
        && histogram.custom_bounds == previous.custom_bounds
        && !detect_reset(&Histogram { reset: ResetHint::Unknown, ..histogram.clone() }, previous);
    match histogram.reset {
        ResetHint::Unknown | ResetHint::NotReset if same_chunk => ResetHint::NotReset,
        _ => first_hint(histogram),
    }
}

fn first_hint(histogram: &Histogram) -> ResetHint {
    if histogram.reset == ResetHint::Gauge { ResetHint::Gauge } else { ResetHint::Unknown }
}

fn ask(store: &MemoryReader, query: &str, span: Span) -> Result<Answer, QueryError> {
    let budget = MemoryBudget::new(MEMORY_MAX);
    let engine = Engine { reader: store, budget: &budget };
    let Span { start_ms, end_ms, step_ms } = span;
    let scope = weir_model::scope::Scope::of("t");
    engine.query(&Request { scope, query: query.to_owned(), start_ms, end_ms, step_ms, lookback_ms: LOOKBACK_MS })
}

fn run(store: &MemoryReader, eval: &EvalCommand) -> Result<(), String> {
    let span = eval.span.ok_or("eval without a time")?;
    let answer = match ask(store, &eval.expr, span) {
        Ok(_) if eval.fail.wanted => return Err("expected an error".into()),
        Ok(answer) => answer,
        Err(error) if eval.fail.wanted => return compare_error(&eval.fail, &error.to_string()),
        Err(error) => return Err(error.to_string()),
    };
    compare(eval, span, &answer.output)?;
    compare_notes(eval, &answer)?;
    if span.step_ms > 0 {
        return Ok(());
    }
    run_at(store, eval, span)?;
    run_range(store, eval, span, &answer)
}

/// The same as the middle of a range query.
fn run_range(store: &MemoryReader, eval: &EvalCommand, span: Span, answer: &Answer) -> Result<(), String> {
    let skipped = eval.expr.contains("range()")
        || eval.expr.contains("step()")
        || eval.expr.contains("start()")
        || eval.expr.contains("end()");
    if eval.ordered || skipped || matches!(answer.output, Output::Matrix(_) | Output::String(_)) {
        return Ok(());
    }
    let range = Span { start_ms: span.start_ms - 60_000, end_ms: span.start_ms + 60_000, step_ms: 60_000 };
    let answer = ask(store, &eval.expr, range).map_err(|error| format!("as a range: {error}"))?;
    let Output::Matrix(rows) = answer.output else { return Err("as a range: no matrix".into()) };
    let middle = rows.into_iter().filter_map(|row| {
        let value = row.points.iter().find(|(at, _)| *at == span.start_ms).map(|(_, value)| *value);
        let histogram = row.histograms.into_iter().find(|(at, _)| *at == span.start_ms).map(|(_, own)| own);
        let any = value.is_some() || histogram.is_some();
        any.then(|| Sample { labels: row.labels, value: value.unwrap_or(STALE_NAN), histogram })
    });
    compare(eval, span, &Output::Vector(middle.collect())).map_err(|why| format!("as a range: {why}"))
}

/// The same with every selector fixed by `@`, printed, read again and asked from elsewhere.
fn run_at(store: &MemoryReader, eval: &EvalCommand, span: Span) -> Result<(), String> {
    let mut expr = parse(&eval.expr).map_err(|error| error.to_string())?;
    if !fix(&mut expr, span.start_ms) {
        return Ok(());
    }
    let (text, at) = (expr.to_string(), span.start_ms);
    let times = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    for start_ms in times {
        let answer = ask(store, &text, Span { start_ms, end_ms: start_ms, step_ms: 0 });
        let answer = answer.map_err(|error| format!("as {text:?} at {start_ms} ms: {error}"))?;
        compare(eval, span, &answer.output).map_err(|why| format!("as {text:?} at {start_ms} ms: {why}"))?;
    }
    Ok(())
}

/// Sets `@` on every outermost selector; false when the answer depends on the time anyway.
fn fix(expr: &mut Expr, at_ms: i64) -> bool {
    match &mut expr.kind {
        Kind::Number(..) | Kind::String(_) => true,
        Kind::Selector(selector) => fix_at(&mut selector.modifiers.at, at_ms),
        Kind::Range(range) => fix_at(&mut range.selector.modifiers.at, at_ms),
        Kind::Subquery(subquery) => fix_at(&mut subquery.modifiers.at, at_ms),
        Kind::Call(function, _) if function.depends_on_time() || matches!(function.name, "start" | "end") => false,
        Kind::Call(_, arguments) => arguments.iter_mut().all(|argument| fix(argument, at_ms)),
        Kind::Aggregate(aggregate) => {
            let param = aggregate.param.as_mut().is_none_or(|param| fix(param, at_ms));
            param && fix(&mut aggregate.expr, at_ms)
        }
        Kind::Chain(chain) => fix(&mut chain.first, at_ms) && chain.links.iter_mut().all(|link| fix(&mut link.rhs, at_ms)),
        Kind::Unary(_, inner) | Kind::Paren(inner) => fix(inner, at_ms),
    }
}

fn fix_at(own: &mut Option<At>, at_ms: i64) -> bool {
    // `@ start()` means the time of asking.
    if matches!(own, Some(At::Start | At::End)) {
        return false;
    }
    own.get_or_insert(At::Time(at_ms));
    true
}
